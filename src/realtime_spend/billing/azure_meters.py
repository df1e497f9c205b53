"""From the name of an Azure meter to what it charges for: `gpt rt aud mn cd in gl 1215 1M Tokens`.

The order of the words is not reliable, nor is their spelling, so every word is sorted by what it means. A name is read
whole or not at all: one unknown word, and it is a problem, as its money would else be put under the wrong price.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_spend.billing.meter_grammar import built_in, near
from realtime_spend.billing.voice_live_meters import read_voice_live
from realtime_spend.core.line_items import Component, Modality, Part, Scope
from realtime_spend.core.reconciliation.bills import Meter

if TYPE_CHECKING:
    from realtime_spend.billing.meter_grammar import Grammar, NamedModel, Words

# Any of these makes a name ours to read. `translate` and `live` are ours beside one of them alone.
_OURS = {"realtime", "transcribe", "whisper"}
_SPELLED_OUT = ("realtime", "transcribe", "whisper")
_VOICE_LIVE = {"voice", "live"}


def read_meter(name: str, meter_id: str | None = None, *, grammar: Grammar | None = None) -> Meter:
    """Return what `name` says. `meter_id` is believed first, where the grammar knows it: ids outlive names."""
    grammar = grammar or built_in()
    meant = grammar.ids.get(meter_id.strip().lower(), name) if meter_id else name
    words = grammar.words(meant)
    if not _is_ours(words):
        return Meter(name=name, is_realtime=False)
    try:
        return _read(name, words, grammar)
    except ValueError as error:
        return Meter(name=name, problem=f"{name!r} cannot be read: {error}")


def family_of(name: str) -> str:
    """Return the sentence that says what a name is of which `read_meter` says that it is not ours."""
    words = built_in().words(name)
    if "tts" in words.all_of("family"):
        return f"{name!r} is a meter of text to speech, not of a Realtime model"
    if words.all_of("maker") and "audio" in words.all_of("modality"):
        return f"{name!r} is a meter of gpt-audio, not of a Realtime model"
    return f"{name!r} is no meter of a Realtime or transcription model"


def _is_ours(words: Words) -> bool:
    family = words.all_of("family")
    if family & _OURS or family >= _VOICE_LIVE:
        return True
    if "tts" in family:
        return False
    # One more way to write realtime, or a slip in it: of chat models alone no meter says that it is of text or audio.
    modalities = words.all_of("modality")
    is_of_openai = bool(words.all_of("maker")) or any("gpt" in word for word in words.unknown)
    is_like_ours = (bool(modalities) and "image" not in modalities) or near(words.unknown, _SPELLED_OUT)
    return bool(words.unknown) and ((is_of_openai and is_like_ours) or near(words.unknown, ["whisper"]))


def _read(name: str, words: Words, grammar: Grammar) -> Meter:
    family = words.all_of("family")
    if family >= _VOICE_LIVE:
        return read_voice_live(name)
    if words.unknown:
        raise ValueError(f"no word {' or '.join(map(repr, words.unknown[:3]))} is known")
    if words.has_gap:
        raise ValueError("a word seems to be missing between two separators")
    if words.repeated:
        raise ValueError(f"it says {' and '.join(map(repr, words.repeated[:3]))} twice")
    if "direction" in words.order and words.order.index("direction") < words.order.index("family"):
        # All names say the model first; where `rt` comes late it is a slip in `rg`.
        raise ValueError("it says input or output before the model")
    model = grammar.model(words)
    scope = words.one_of("scope")
    return Meter(
        name=name,
        model=model.model,
        version=model.version(words),
        scope=None if scope is None else Scope(scope),
        part=_part(model, words),
    )


def _part(model: NamedModel, words: Words) -> Part:
    direction = words.one_of("direction")
    tail = words.one_of("tail") if not words.all_of("tail") & {"block"} else "tokens"
    if model.is_by_the_hour:
        if tail == "tokens" or direction == "input":
            raise ValueError(f"{model.model} is billed by the hour, and this is not an hour's meter")
        return Part(Modality.AUDIO, Component.DURATION)
    if tail == "time":
        raise ValueError(f"{model.model} is billed by tokens, and this is an hour's meter")
    modality = words.one_of("modality")
    is_cached = bool(words.all_of("cached"))
    if direction is None and not is_cached:
        raise ValueError("it says neither input nor output")
    if is_cached and (direction == "output" or not model.is_ever_cached):
        of = "output" if direction == "output" else model.model
        raise ValueError(f"it says cached, and {of} is never cached")
    component = Component.CACHED_INPUT if is_cached else Component(str(direction))
    return Part(Modality(str(modality)), component)
