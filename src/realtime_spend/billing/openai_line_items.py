"""From a line item of OpenAI's bill to what it charges for: `gpt-realtime-2025-08-28 audio, cached input`.

The model stands in full, with its snapshot, so nothing has to be known of it but the kind of word that makes it one of
ours. Models that are paid by the minute have no modality, and some no component: their unit tells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from realtime_spend.core.line_items import Component, Modality, Part
from realtime_spend.core.reconciliation.bills import Meter

# A model with any of these words is ours: it talks, listens or translates.
_OURS = {"realtime", "transcribe", "transcription", "whisper", "live"}
_NOT_OURS = {"tts"}
# Paid by the minute whatever the line item says; the rest of ours are paid by the token.
_BY_TIME = {"whisper", "translate", "live"}
_BY_TIME_NAMES = {"gpt-transcribe"}
_SNAPSHOT = re.compile(r"(?P<model>.+)-(?P<version>20\d\d-[01]\d-[0-3]\d)").fullmatch
_MODEL = re.compile(r"[a-z0-9]+(?:[-.][a-z0-9]+)*").fullmatch
_WORDS = re.compile(r"[^\W_]+").findall
_MODALITIES = {"text": Modality.TEXT, "audio": Modality.AUDIO, "image": Modality.IMAGE}
_COMPONENTS = {
    frozenset({"input"}): Component.INPUT,
    frozenset({"uncached", "input"}): Component.INPUT,
    frozenset({"cached", "input"}): Component.CACHED_INPUT,
    frozenset({"output"}): Component.OUTPUT,
}
_TIME_WORDS = {"duration", "second", "seconds", "minute", "minutes", "hour", "hours"}
_TAIL_WORDS = {"token", "tokens"}


@dataclass(frozen=True, slots=True)
class _Said:
    """What a line item says: the model as written, and the words that are left of it."""

    model: str
    words: frozenset[str]
    modalities: frozenset[str]


def read_line_item(text: str, quantity_unit: str | None = None) -> Meter:
    """Return what `text` says; `quantity_unit` is what the bill counts it in, where it tells."""
    said = _said(text)
    if not _is_ours(said.model):
        return Meter(name=text, is_realtime=False)
    try:
        part = _part(said, quantity_unit or "")
    except ValueError as error:
        return Meter(name=text, problem=f"the line item {text!r} cannot be read: {error}")
    model, version = _snapshot(said.model)
    return Meter(name=text, model=model, version=version, part=part)


def _said(text: str) -> _Said:
    """Take the text apart. The dashboard writes the product before a bar; the last comma parts name and component."""
    whole = text.rpartition("|")[2].strip().casefold()
    name, comma, component = whole.rpartition(",")
    if not comma:
        name, component = whole, ""
    names = name.split()
    words = set(_WORDS(component))
    # The modality is the last word of the name; of a spelling like `audio_input_tokens` it is in the component.
    while len(names) > 1 and names[-1] in _MODALITIES:
        words.add(names.pop())
    return _Said(
        model=" ".join(names),
        words=frozenset(words - _MODALITIES.keys()),
        modalities=frozenset(words & _MODALITIES.keys()),
    )


def _is_ours(model: str) -> bool:
    words = set(_WORDS(model))
    return bool(words & _OURS) and not words & _NOT_OURS


def _part(said: _Said, unit: str) -> Part:
    if not _MODEL(said.model):
        raise ValueError(f"{said.model!r} is no name of a model")
    if _TIME_WORDS & set(_WORDS(unit.casefold())) or (not unit and _is_paid_by_time(said)):
        if said.modalities - {"audio"}:
            raise ValueError("it is counted in time, and time has no text or image")
        return Part(Modality.AUDIO, Component.DURATION)
    component = _COMPONENTS.get(said.words - _TAIL_WORDS)
    if component is None:
        raise ValueError("it says neither input, nor cached input, nor output")
    if len(said.modalities) != 1:
        raise ValueError("it does not say one of text, audio and image")
    return Part(_MODALITIES[next(iter(said.modalities))], component)


def _is_paid_by_time(said: _Said) -> bool:
    if said.words & _TIME_WORDS:
        return True
    words = set(_WORDS(said.model))
    # Transcribing a live stream is paid by the minute, and so is a whole Live session.
    is_by_time = bool(words & _BY_TIME) or said.model in _BY_TIME_NAMES
    return is_by_time and not said.words & _TAIL_WORDS


def _snapshot(name: str) -> tuple[str, str | None]:
    found = _SNAPSHOT(name)
    return (found["model"], found["version"]) if found else (name, None)
