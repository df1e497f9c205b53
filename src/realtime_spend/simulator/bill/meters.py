"""How Azure names the meters of Realtime and transcription models, and in what units it counts them.

Names as the public price list has them (https://prices.azure.com/api/retail/prices, service Foundry Models), which
spells scope, direction and cache in another way for nearly every model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime_spend.simulator.models import Scope
from realtime_spend.simulator.prices import DURATION

if TYPE_CHECKING:
    from collections.abc import Mapping


class NoMeterError(ValueError):
    """Azure has no such meter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """The names of one model's meters. Each of the word lists is text, audio, image; input, cached input, output."""

    form: str
    modalities: str
    components: tuple[str, str, str]
    scopes: tuple[str, str, str]
    unit: str
    product: str = "Azure OpenAI Media"


_MEDIA_1M = (" in", " cd in", " out")
_INP_OPT = (" inp", " cd inp", " opt")
_INP_OUTP = (" Inp", " cchd Inp", " Outp")


def _media(stem: str, scopes: tuple[str, str, str] = ("Gl", "DZ", "Rg")) -> _Family:
    form = stem + " {modality}{component} {scope} 1M Tokens"
    return _Family(form=form, modalities="Text Audio Image", components=_INP_OPT, scopes=scopes, unit="1M")


def _stamped(form: str, product: str = "Azure OpenAI") -> _Family:
    scopes = ("glbl", "DZone", "regnl")
    form += "{component} {scope} Tokens"
    return _Family(form=form, modalities="txt aud img", components=_INP_OUTP, scopes=scopes, unit="1K", product=product)


def _transcribe(form: str, scopes: tuple[str, str, str], components: tuple[str, str, str], unit: str) -> _Family:
    product = "Azure OpenAI Media" if unit == "1M" else "Azure OpenAI"
    return _Family(
        form=form, modalities="txt aud img", components=components, scopes=scopes, unit=unit, product=product
    )


def _hourly(name: str) -> _Family:
    scopes = ("glbl", "dz", "regnl")
    return _Family(form=name, modalities="- audio -", components=("", "", ""), scopes=scopes, unit="1 Hour")


_DASHED = ("-inp", "", "-out")
_MINI_1215 = _Family(
    form="gpt rt {modality} mn{component} {scope} 1215 1M Tokens",
    modalities="txt aud img",
    components=_MEDIA_1M,
    scopes=("gl", "DZ", "rg"),
    unit="1M",
)
_FIRST_MINI_TRANSCRIBE = _transcribe(
    "gpt-4o-mini-transcribe-{modality}{component}-{scope} Tokens", ("glbl", "dz", "rgnl"), _DASHED, "1K"
)


def _voice_live(tier: str) -> _Family:
    return _Family(
        form=f"Voice Live API {tier} - LLM {{modality}}{{component}} Tokens",
        modalities="Text Audio Image",
        components=(" Input", " Cached", " Output"),
        scopes=("", "", ""),
        unit="1K",
        product="Speech",
    )


_FAMILIES: Mapping[tuple[str, str | None], _Family] = {
    ("gpt-4o-realtime-preview", "2024-12-17"): _stamped("gpt-4o-rt-{modality}-1217"),
    ("gpt-4o-realtime-preview", "2025-06-03"): _stamped("gpt-4o-rt-{modality}-0603"),
    ("gpt-4o-mini-realtime-preview", "2024-12-17"): _stamped("gpt4omini-rt-{modality}1217"),
    ("gpt-realtime", "2025-08-28"): _stamped("gpt rt {modality} 0828", "Azure OpenAI Media"),
    ("gpt-realtime-mini", "2025-10-06"): _stamped("gpt rt {modality} mini", "Azure OpenAI Media"),
    ("gpt-realtime-mini", "2025-12-15"): _MINI_1215,
    ("gpt-realtime-1.5", "2026-02-23"): _Family(
        form="gpt rt 1.5 {modality}{component} {scope} 1M Tokens",
        modalities="txt aud img",
        components=_INP_OPT,
        scopes=("Gl", "Dz", "Rg"),
        unit="1M",
    ),
    ("gpt-realtime-2", None): _media("gpt-realtime-2"),
    ("gpt-realtime-2.1", None): _media("gpt-realtime-2.1"),
    ("gpt-realtime-2.1-mini", None): _media("gpt-realtime-2.1-mini"),
    ("gpt-4o-transcribe", None): _transcribe(
        "gpt-4o-transcribe-{modality}{component}-{scope} Tokens", ("glbl", "dz", "rgnl"), _DASHED, "1K"
    ),
    ("gpt-4o-transcribe-diarize", None): _transcribe(
        "gpt 4o tcrb d {modality}{component} {scope} Tokens", ("glbl", "dz", "rgnl"), (" inp", "", " out"), "1K"
    ),
    ("gpt-4o-mini-transcribe", None): _FIRST_MINI_TRANSCRIBE,
    ("gpt-4o-mini-transcribe", "2025-03-20"): _FIRST_MINI_TRANSCRIBE,
    ("gpt-4o-mini-transcribe", "2025-12-15"): _transcribe(
        "gpt4o mn trscb {modality}{component} {scope} 1215 1M Tokens", ("gl", "dz", "rg"), _MEDIA_1M, "1M"
    ),
    ("voice-live-pro", None): _voice_live("Pro"),
    ("voice-live-std", None): _voice_live("Std"),
    ("voice-live-lite", None): _voice_live("Lite"),
    ("whisper", None): _hourly("Speech-to-Text-Batch-Whisper-{scope} Unit"),
    ("gpt-realtime-whisper", None): _hourly("gpt-realtime-whisper Opt Gl Unit"),
}
_SCOPES = (Scope.GLOBAL, Scope.DATAZONE, Scope.REGIONAL)
_COMPONENTS = ("input", "cached_input", "output")
_MODALITIES = ("text", "audio", "image")
BLOCK = {"1K": 1000, "1M": 1_000_000, "1 Hour": 3600}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterName:
    """A meter as a bill names it. `unit` is its unit of measure."""

    name: str
    product: str
    unit: str


def meter_name(model: str, version: str | None, scope: Scope, component: str) -> MeterName:
    """Return the meter of one part of a model, such as `audio.cached_input`.

    Raises:
        NoMeterError: there is none.
    """
    family = _FAMILIES.get((model, version))
    if family is None or scope not in _SCOPES or (component == DURATION) != (family.unit == "1 Hour"):
        raise NoMeterError(f"Azure has no meter for {component} of {model} {version or ''} in {scope} scope")
    modality, _, part = component.partition(".")
    word = "" if component == DURATION else family.components[_COMPONENTS.index(part)]
    if not word and component != DURATION:
        raise NoMeterError(f"{model} has no {component} on Azure")
    scope_word = family.scopes[_SCOPES.index(scope)]
    if word == " cchd Inp" or (word == " Inp" and modality == "image"):
        # It is spelled shorter there.
        scope_word = {"DZone": "DZn", "regnl": "rgnl"}.get(scope_word, scope_word)
    modality_word = family.modalities.split()[_MODALITIES.index(modality)]
    name = family.form.format(modality=modality_word, component=word, scope=scope_word)
    return MeterName(name=name, product=family.product, unit=family.unit)
