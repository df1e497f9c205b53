"""The simulator's own price table: what the services would bill for the numbers it sends.

It is written down apart from the product's rate cards on purpose: a proof that reads the prices of the thing it
proves would prove nothing. USD, global scope, seen in November 2026 at https://developers.openai.com/api/docs/pricing
and https://azure.microsoft.com/pricing/details/cognitive-services/openai-service/, which agree on all of these.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import TYPE_CHECKING, TypeAlias

from realtime_spend.simulator.models import Provider, Scope, Sku

if TYPE_CHECKING:
    from collections.abc import Mapping

Quantity: TypeAlias = int | Decimal

# Our own context: the host program may have changed the default one.
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
# A third of a cent per minute has no end as a decimal; a bill line is kept to 12 places.
_PLACES = Decimal("1e-12")
_MILLION = Decimal(1_000_000)
_SECONDS_PER_MINUTE = Decimal(60)

DURATION = "audio.duration"


def _row(*, text: str, audio: str, image: str = "- / - / -") -> dict[str, Decimal]:
    """Read `input / cached input / output` in USD per million tokens; a dash is a component that has no price."""
    return {
        f"{modality}.{component}": Decimal(price)
        for modality, cells in (("text", text), ("audio", audio), ("image", image))
        for component, price in zip(("input", "cached_input", "output"), cells.split(" / "), strict=True)
        if price != "-"
    }


_GPT_REALTIME = _row(text="4 / 0.4 / 16", audio="32 / 0.4 / 64", image="5 / 0.5 / -")
_GPT_REALTIME_2 = _row(text="4 / 0.4 / 24", audio="32 / 0.4 / 64", image="5 / 0.5 / -")
_GPT_REALTIME_MINI = _row(text="0.6 / 0.06 / 2.4", audio="10 / 0.3 / 20", image="0.8 / 0.08 / -")
# The model pages show one input row; 6 and 3 for audio are what fits the stated price of a minute, and Azure's list.
_TRANSCRIBE = _row(text="2.5 / - / 10", audio="6 / - / -")
_MINI_TRANSCRIBE = _row(text="1.25 / - / 5", audio="3 / - / -")

_PER_MILLION_TOKENS: Mapping[str, Mapping[str, Decimal]] = {
    "gpt-4o-realtime-preview": _row(text="5 / 2.5 / 20", audio="40 / 2.5 / 80"),
    "gpt-4o-mini-realtime-preview": _row(text="0.6 / 0.3 / 2.4", audio="10 / 0.3 / 20"),
    "gpt-realtime": _GPT_REALTIME,
    "gpt-realtime-1.5": _GPT_REALTIME,
    "gpt-realtime-2": _GPT_REALTIME_2,
    "gpt-realtime-2.1": _GPT_REALTIME_2,
    "gpt-realtime-mini": _GPT_REALTIME_MINI,
    "gpt-realtime-2.1-mini": _GPT_REALTIME_MINI,
    "voice-live-pro": _row(text="5.5 / 2.75 / 22", audio="44 / 2.75 / 88"),
    "voice-live-std": _row(text="0.66 / 0.33 / 2.64", audio="11 / 0.33 / 22"),
    "voice-live-lite": _row(text="0.08 / 0.04 / 0.32", audio="4 / 0.04 / -"),
    "gpt-4o-transcribe": _TRANSCRIBE,
    "gpt-4o-transcribe-diarize": _TRANSCRIBE,
    "gpt-4o-mini-transcribe": _MINI_TRANSCRIBE,
}

# Snapshots that cost something else than the rest of their family.
_OF_A_SNAPSHOT: Mapping[tuple[str, str | None], Mapping[str, Decimal]] = {
    ("gpt-4o-realtime-preview", "2024-10-01"): _row(text="5 / 2.5 / 20", audio="100 / 20 / 200"),
}

_PER_MINUTE: Mapping[str, Decimal] = {
    "whisper-1": Decimal("0.006"),
    "gpt-transcribe": Decimal("0.0045"),
    "gpt-realtime-whisper": Decimal("0.017"),
    "gpt-live-transcribe": Decimal("0.017"),
    "gpt-realtime-translate": Decimal("0.034"),
    "gpt-live-1": Decimal("0.05"),
    "gpt-live-1.1": Decimal("0.05"),
}

# By the hour there: 0.36 and 1.02, and in global scope only.
_PER_MINUTE_ON_AZURE: Mapping[str, Decimal] = {
    "whisper": Decimal("0.006"),
    "gpt-realtime-whisper": Decimal("0.017"),
}

# Regional prices depend on the region and provisioned capacity is billed by the hour: neither is in this table.
_OF_GLOBAL: Mapping[Scope, Decimal] = {Scope.GLOBAL: Decimal(1), Scope.DATAZONE: Decimal("1.10")}


def cost_of(sku: Sku, component: str, quantity: Quantity) -> Decimal | None:
    """Price one quantity such as `audio.cached_input`; `None` when the table has no price for it."""
    if not sku.listed:
        return None
    factor = _OF_GLOBAL.get(sku.scope) if sku.provider is Provider.AZURE else Decimal(1)
    if component == DURATION:
        price, per = _minute(sku), _SECONDS_PER_MINUTE
    else:
        row = _OF_A_SNAPSHOT.get((sku.model, sku.version)) or _PER_MILLION_TOKENS.get(sku.model, {})
        price, per = row.get(component), _MILLION
    if price is None or factor is None:
        return None
    total = _EXACT.divide(_EXACT.multiply(_EXACT.multiply(price, factor), Decimal(quantity)), per)
    return total.quantize(_PLACES, context=_EXACT)


def _minute(sku: Sku) -> Decimal | None:
    if sku.provider is Provider.OPENAI:
        return _PER_MINUTE.get(sku.model)
    return _PER_MINUTE_ON_AZURE.get(sku.model) if sku.scope is Scope.GLOBAL else None


def add(left: Decimal, right: Decimal) -> Decimal:
    """Add two amounts exactly, whatever the host did to the default decimal context."""
    return _EXACT.add(left, right)


def plain(amount: Decimal) -> str:
    """Print a decimal without exponent and without trailing zeros."""
    digits = format(amount, "f")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
