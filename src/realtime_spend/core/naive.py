"""What the common wrong formulas make of usages that are priced rightly.

Each is one that people have published or filed as a bug. They are computed from the same usage at the same rates, so
that somebody who arrived at one of these numbers recognises his mistake by its amount.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.line_items import Component, Modality, Part
from realtime_spend.core.usage import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime_spend.core.line_items import LineItem
    from realtime_spend.core.pricing import Priced
    from realtime_spend.core.rates import Prices
    from realtime_spend.core.usage import Usage

_TEXT_OUTPUT = Part(Modality.TEXT, Component.OUTPUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedUsage:
    """One usage with everything found out about it."""

    usage: Usage
    model: str | None
    priced: Priced
    prices: Prices | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NaiveSum:
    """A common wrong formula: what it gives, how many times the right cost that is, and why it is wrong."""

    name: str
    total: Decimal
    ratio: Decimal | None
    why: str


def naive_sums(entries: Sequence[PricedUsage], total: Decimal | None) -> Iterator[NaiveSum]:
    """Return what the wrong formulas that apply make of `entries`, which rightly cost `total`.

    Where something has no price, or no exact one, there is no right sum to hold a wrong one against: then none.
    """
    if total is None or any(entry.priced.reasons or entry.priced.low is not None for entry in entries):
        return
    saved = money.add(*(saving for entry in entries for saving in entry.priced.savings.values()))
    if saved:
        why = "cached tokens are part of the input tokens and cost less; this charges them at the full rate"
        yield _sum("cache_ignored", money.add(total, saved), total, why)
        cached = money.add(*(line.cost or money.ZERO for entry in entries for line in _cached(entry)))
        why = "cached tokens are already inside the input tokens; this charges them in full and then once more"
        yield _sum("cache_added", money.add(total, saved, cached), total, why)
    flat = _at_text_rates(entries)
    if flat is not None:
        why = "each modality has its own rate, and audio costs several times what text does; this charges all as text"
        yield _sum("modality_ignored", flat, total, why)
    reasoning = money.add(*(_reasoning(entry) for entry in entries))
    if reasoning:
        why = "reasoning tokens are already inside the output text tokens; this charges them twice"
        yield _sum("reasoning_added", money.add(total, reasoning), total, why)
    transcribed = money.add(
        *(entry.priced.cost or money.ZERO for entry in entries if entry.usage.kind is Kind.TRANSCRIPTION)
    )
    if transcribed and transcribed != total:
        why = "input transcription is billed at a model of its own and is in no response; this leaves it out"
        yield _sum("transcription_ignored", money.subtract(total, transcribed), total, why)


def _sum(name: str, total: Decimal, right: Decimal, why: str) -> NaiveSum:
    return NaiveSum(name=name, total=total, ratio=money.ratio(total, right), why=why)


def _cached(entry: PricedUsage) -> Iterator[LineItem]:
    return (line for line in entry.priced.items if line.part.component is Component.CACHED_INPUT)


def _at_text_rates(entries: Sequence[PricedUsage]) -> Decimal | None:
    """Return what all tokens would cost at their models' text rates; None where that is no different, or unknown."""
    total = money.ZERO
    differs = False
    for entry in entries:
        for line in entry.priced.items:
            rates = entry.prices.rates if entry.prices else {}
            rate = (
                line.rate
                if line.part.component is Component.DURATION
                else rates.get(Part(Modality.TEXT, line.part.component))
            )
            if rate is None:
                return None
            differs = differs or rate != line.rate
            total = money.add(total, rate.cost(line.quantity))
    return total if differs else None


def _reasoning(entry: PricedUsage) -> Decimal:
    tokens = entry.usage.amounts.tokens
    rate = entry.prices.rates.get(_TEXT_OUTPUT) if entry.prices else None
    return money.ZERO if tokens is None or rate is None else rate.cost(Decimal(tokens.reasoning))
