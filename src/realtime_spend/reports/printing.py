"""Printing tables so that nothing is lost: a terminal that is too narrow wraps lines, but no column is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from rich.measure import Measurement
from rich.table import Table

from realtime_spend.core import money

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from decimal import Decimal

    from rich.console import Console

    from realtime_spend.core.spending import Group

Sums = TypeVar("Sums")

_WIDEST = 200
# Figures of nothing.
_NOTHING = ("-", "0")


def print_sums(
    console: Console,
    by: Sequence[str],
    groups: Mapping[Group, Sums],
    totals: Mapping[str, Sums],
    problems: Sequence[str],
    *,
    figures: Mapping[str, Callable[[str, Sums], str]],
    always: Collection[str],
) -> None:
    """Print a row a group, a total a currency, and what the figures leave out; `figures` are the columns of sums."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    for heading in by:
        table.add_column(heading, no_wrap=True, footer="total" if heading == by[0] else "")
    # What is nothing everywhere would only take the room of what is something.
    figures = {
        heading: figure
        for heading, figure in figures.items()
        if heading in always or any(figure(currency, sums) not in _NOTHING for currency, sums in totals.items())
    }
    for heading, figure in figures.items():
        footer = "\n".join(figure(currency, sums) for currency, sums in totals.items())
        table.add_column(heading, justify="right", no_wrap=True, footer=footer)
    for (group, currency), sums in groups.items():
        table.add_row(
            *(visible(value or "-") for value in group), *(figure(currency, sums) for figure in figures.values())
        )
    print_table(console, table)
    for problem in problems:
        console.print(f"! {visible(problem)}", style="yellow", markup=False)


def visible(text: str) -> str:
    """Return `text` without what would move a terminal's cursor or change its colours: names may hold it."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def sums_json(
    by: Sequence[str],
    groups: Mapping[Group, Sums],
    totals: Mapping[str, Sums],
    sums: Callable[[Sums], dict[str, Any]],
) -> dict[str, Any]:
    """Return the rows and the totals of the same as JSON."""
    return {
        "rows": [
            {**dict(zip(by, group, strict=True)), "currency": currency, **sums(found)}
            for (group, currency), found in groups.items()
        ],
        "totals": [{"currency": currency, **sums(found)} for currency, found in totals.items()],
    }


def amount_json(amount: Decimal | None) -> str | None:
    """Return plain decimal text; None for what is not known."""
    return None if amount is None else money.plain(amount)


def print_table(console: Console, table: Table) -> None:
    """Print `table` at the console's width if its figures fit there whole, else as wide as it needs to be."""
    wanted = Measurement.get(console, console.options.update(width=_WIDEST), table)
    if wanted.maximum <= console.width or wanted.minimum <= console.width - _FOR_WORDS:
        console.print(table)
    else:
        # rich cuts at the console's width whatever it is told to print; the terminal wraps, which loses nothing.
        before, console.width = console.width, min(wanted.maximum, _WIDEST)
        try:
            console.print(table)
        finally:
            console.width = before


# What a column of sentences needs to be readable beside the figures.
_FOR_WORDS = 30


def counted(number: int, noun: str) -> str:
    """Return `1 usage`, `2 usages`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
