"""The answer of `realtime-spend report`: what was spent, by day, model, session or attribute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from realtime_spend.core import money
from realtime_spend.reports.printing import print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from rich.console import Console

    from realtime_spend.core.spending import Group, Spending


def spending_json(
    by: Sequence[str], groups: Mapping[Group, Spending], totals: Mapping[str, Spending], problems: Sequence[str]
) -> dict[str, Any]:
    """Return the sums as JSON: money and seconds as plain decimal text."""
    return {
        "rows": [
            {**dict(zip(by, group, strict=True)), "currency": currency, **_sums(spent)}
            for (group, currency), spent in groups.items()
        ],
        "totals": [{"currency": currency, **_sums(spent)} for currency, spent in totals.items()],
        "problems": list(problems),
    }


def print_spending(
    console: Console,
    by: Sequence[str],
    groups: Mapping[Group, Spending],
    totals: Mapping[str, Spending],
    problems: Sequence[str],
) -> None:
    """Print a row a group, a total a currency, and what the figures leave out."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    for heading in by:
        table.add_column(heading, no_wrap=True, footer="total" if heading == by[0] else "")
    # What is nothing everywhere would only take the room of what is something.
    figures = {
        heading: figure
        for heading, figure in _FIGURES.items()
        if heading in _ALWAYS or any(figure(currency, spent) not in ("-", "0") for currency, spent in totals.items())
    }
    for heading, figure in figures.items():
        footer = "\n".join(figure(currency, spent) for currency, spent in totals.items())
        table.add_column(heading, justify="right", no_wrap=True, footer=footer)
    for (group, currency), spent in groups.items():
        table.add_row(*(value or "-" for value in group), *(figure(currency, spent) for figure in figures.values()))
    print_table(console, table)
    for problem in problems:
        console.print(f"! {problem}", style="yellow", markup=False)


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
        "cost": _text(spent.cost),
        "low": _text(spent.low) if spent.is_interval else None,
        "high": _text(spent.cost) if spent.is_interval else None,
        "quantities": {part: money.plain(quantity) for part, quantity in spent.quantities.items()},
        "costs": {part: money.plain(cost) for part, cost in spent.costs.items()},
        "usages": spent.usages,
        "lost": spent.lost,
        "missing": spent.missing,
        "unpriced": spent.unpriced,
    }


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else money.plain(amount)
