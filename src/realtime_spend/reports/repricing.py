"""The answer of `realtime-spend reprice`: what usage cost, what it costs now, and what the difference consists of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realtime_spend.core import money
from realtime_spend.reports.printing import amount_json, print_sums, sums_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from realtime_spend.core.price_changes import PriceChange, Side, Tally
    from realtime_spend.core.spending import Group

_SCHEMA = "realtime-spend/repricing/1"


def repricing_json(
    by: Sequence[str],
    groups: Mapping[Group, PriceChange],
    totals: Mapping[str, PriceChange],
    problems: Sequence[str],
    output: str | None,
) -> dict[str, Any]:
    """Return the diff as JSON: money as plain decimal text, null where it is not known."""
    return {
        "schema": _SCHEMA,
        **sums_json(by, groups, totals, _sums),
        "output": output,
        "problems": list(problems),
    }


def print_repricing(
    console: Console,
    by: Sequence[str],
    groups: Mapping[Group, PriceChange],
    totals: Mapping[str, PriceChange],
    problems: Sequence[str],
) -> None:
    """Print a row a group, a total a currency, and what the figures leave out."""
    print_sums(console, by, groups, totals, problems, figures=_FIGURES, always=_ALWAYS)


def _cost(currency: str, side: Side) -> str:
    if side.cost is None:
        return "unknown" if side.usages else "-"
    return f"{'at most ' if side.is_interval else ''}{money.plain(side.cost)} {currency}"


def _difference(_currency: str, change: PriceChange) -> str:
    if change.difference is None:
        return "-"
    return f"{'+' if change.difference > 0 else ''}{money.plain(change.difference)}"


def _tally(tally: Tally, sign: str) -> str:
    if tally.cost is None:
        return "-"
    return f"{sign}{money.plain(tally.cost)} ({tally.usages})"


_FIGURES: dict[str, Any] = {
    "usages": lambda _currency, change: str(change.usages),
    "changed": lambda _currency, change: str(change.changed),
    "before": lambda currency, change: _cost(currency, change.before),
    "after": lambda currency, change: _cost(currency, change.after),
    "difference": _difference,
    "price gained": lambda _currency, change: _tally(change.gained, "+"),
    "price lost": lambda _currency, change: _tally(change.lost, "-"),
}
_ALWAYS = ("usages", "changed", "before", "after", "difference")


def _sums(change: PriceChange) -> dict[str, Any]:
    return {
        "usages": change.usages,
        "changed": change.changed,
        "before": _side(change.before),
        "after": _side(change.after),
        "difference": amount_json(change.difference),
        "price_gained": _tally_json(change.gained),
        "price_lost": _tally_json(change.lost),
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "cost": amount_json(side.cost),
        "low": amount_json(side.low) if side.is_interval else None,
        "high": amount_json(side.cost) if side.is_interval else None,
        "unpriced": side.unpriced,
    }


def _tally_json(tally: Tally) -> dict[str, Any]:
    return {"usages": tally.usages, "cost": amount_json(tally.cost)}
