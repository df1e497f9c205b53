"""What the bench says: tables for a terminal and for a document."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BEGIN, END = "<!-- bench: written by `make bench DOCS=1` -->", "<!-- end of bench -->"


@dataclass(kw_only=True)
class Table:
    """One measured table: its first column says what, the others are figures or short answers."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def show(self, console: Console) -> None:
        """Print it."""
        grid = Grid(title=self.title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for number, heading in enumerate(self.columns):
            grid.add_column(heading, justify="right" if number else "left", no_wrap=number > 0)
        for row in self.rows:
            grid.add_row(*row)
        console.print(grid)
        for note in self.notes:
            console.print(f"  {note}", markup=False, highlight=False)
        console.print()

    def markdown(self) -> str:
        """Return it for a document."""
        lines = [f"### {self.title}", "", _row(self.columns), "| --- |" + " ---: |" * (len(self.columns) - 1)]
        lines += [_row(row) for row in self.rows]
        lines += [line for note in self.notes for line in ("", note)]
        return "\n".join([*lines, ""])


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def between_marks(document: str, text: str) -> str:
    """Return `document` with what stands between its two marks replaced.

    Raises:
        ValueError: the marks are not there.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def console() -> Console:
    """Return where tables are printed: as wide as they are, whatever the terminal."""
    return Console(width=160)


def progress(text: str) -> None:
    """Say on stderr what is going on, since measuring takes minutes."""
    print(text, file=sys.stderr, flush=True)


def program(measure: Callable[[bool], list[Table]]) -> None:
    """Run one program of the bench: measure, and print tables, or their JSON for the program that runs them all."""
    parser = argparse.ArgumentParser(description=(sys.modules["__main__"].__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few rounds, to see that it works")
    parser.add_argument("--json", action="store_true", help="print the tables as JSON")
    arguments = parser.parse_args()
    tables = measure(arguments.quick)
    if arguments.json:
        print(json.dumps([asdict(table) for table in tables]))
        return
    out = console()
    for table in tables:
        table.show(out)
