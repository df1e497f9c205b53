"""Reads the meters of Azure Voice Live: `Voice Live API Pro - LLM Audio Input Tokens`.

It bills by tier, whatever the model. Audio that the model itself hears and speaks has other meters than audio that
Azure Speech turns into text and back, with voices of its own or of the customer's.
"""

from __future__ import annotations

import re

from realtime_spend.core.line_items import Component, Modality, Part
from realtime_spend.core.reconciliation.bills import Meter

_NAME = re.compile(
    r"voice live api (?P<tier>pro|plus|std|basic|lite) ?- (?P<kind>llm|standard speech|custom speech) "
    r"(?P<modality>audio|text) (?P<component>input|cached?|output|outpt) tokens"
).fullmatch
# Until October 2025 two of the tiers had other names, at the same prices.
_TIERS = {"pro": "pro", "plus": "pro", "std": "std", "basic": "std", "lite": "lite"}
_VERSIONS = {"llm": None, "standard speech": "standard-speech", "custom speech": "custom-speech"}
_COMPONENTS = {
    "input": Component.INPUT,
    "cached": Component.CACHED_INPUT,
    "cache": Component.CACHED_INPUT,
    "output": Component.OUTPUT,
    "outpt": Component.OUTPUT,
}


def read_voice_live(name: str) -> Meter:
    """Return what the name of a meter of Voice Live says.

    Raises:
        ValueError: it is not one of those that are known.
    """
    found = _NAME(" ".join(name.casefold().split()))
    if found is None:
        raise ValueError("it is a meter of Voice Live, which is billed by tier, of a kind that is not known")
    modality = Modality(found["modality"])
    if found["kind"] != "llm" and modality is not Modality.AUDIO:
        raise ValueError("it is a meter of Voice Live, and Azure Speech has audio alone")
    return Meter(
        name=name,
        model=f"voice-live-{_TIERS[found['tier']]}",
        version=_VERSIONS[found["kind"]],
        part=Part(modality, _COMPONENTS[found["component"]]),
    )
