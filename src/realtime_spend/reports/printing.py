"""Printing tables so that nothing is lost: a terminal that is too narrow wraps lines, but no column is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.measure import Measurement

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDEST = 200


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
