"""The answer of `realtime-spend report`: what was spent, by day, model, session or attribute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realtime_spend.core import money
from realtime_spend.reports.printing import amount_json, print_sums, sums_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from realtime_spend.core.spending import Group, Spending


def spending_json(
    by: Sequence[str], groups: Mapping[Group, Spending], totals: Mapping[str, Spending], problems: Sequence[str]
) -> dict[str, Any]:
    """Return the sums as JSON: money and seconds as plain decimal text."""
    return {**sums_json(by, groups, totals, _sums), "problems": list(problems)}


def print_spending(
    console: Console,
    by: Sequence[str],
    groups: Mapping[Group, Spending],
    totals: Mapping[str, Spending],
    problems: Sequence[str],
) -> None:
    """Print a row a group, a total a currency, and what the figures leave out."""
    print_sums(console, by, groups, totals, problems, figures=_FIGURES, always=_ALWAYS)


def _cost(currency: str, spent: Spending) -> str:
    if spent.cost is None:
        return "unknown"
    return f"{'at most ' if spent.is_interval else ''}{money.plain(spent.cost)} {currency}"


def _tokens(part: str) -> Any:
    def figure(_currency: str, spent: Spending) -> str:
        found = [quantity for name, quantity in spent.quantities.items() if name.endswith(f".{part}")]
        return money.plain(money.add(*found)) if found else "-"

    return figure


_FIGURES: dict[str, Any] = {
    "input": _tokens("input"),
    "cached": _tokens("cached_input"),
    "output": _tokens("output"),
    "seconds": _tokens("duration"),
    "usages": lambda _currency, spent: str(spent.usages),
    "lost": lambda _currency, spent: str(spent.lost),
    "missing": lambda _currency, spent: str(spent.missing),
    "unpriced": lambda _currency, spent: str(spent.unpriced),
    "cost": _cost,
}


_ALWAYS = ("usages", "cost")


def _sums(spent: Spending) -> dict[str, Any]:
    return {
        "cost": amount_json(spent.cost),
        "low": amount_json(spent.low) if spent.is_interval else None,
        "high": amount_json(spent.cost) if spent.is_interval else None,
        "quantities": {part: money.plain(quantity) for part, quantity in spent.quantities.items()},
        "costs": {part: money.plain(cost) for part, cost in spent.costs.items()},
        "usages": spent.usages,
        "lost": spent.lost,
        "missing": spent.missing,
        "unpriced": spent.unpriced,
    }
