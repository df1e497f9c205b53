"""The cost export of OpenAI's dashboard: a CSV with a row a line item and day, under headers that have changed."""

from __future__ import annotations

import csv
import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from realtime_spend.billing.openai_results import Result, Results, amount_of
from realtime_spend.billing.source_text import SourceError, source_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from decimal import Decimal
    from pathlib import Path

    from realtime_spend.core.reconciliation.bills import Bill

_DAY, _AMOUNT, _LINE_ITEM = "day", "amount", "line item"
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    _DAY: ("start_time_iso", "start_time", "date", "day", "usage_date", "start_date", "timestamp"),
    _AMOUNT: ("amount_value", "amount", "cost", "amount_usd", "cost_usd", "total_cost", "value"),
    _LINE_ITEM: ("line_item", "lineitem", "item", "line_item_name"),
    "currency": ("amount_currency", "currency"),
    "quantity": ("quantity", "usage_quantity"),
    "unit": ("quantity_unit", "unit"),
    "project": ("project_id", "project"),
}
# What tells apart rows of one day and line item, where the export was grouped by it.
_GROUPED_BY = ("api_key_id", "user_id", "organization_id", "api_source")
# Columns of ids and words, none of which is the beginning of another one.
_OF_CLOSED_SETS = {*_GROUPED_BY, "project_id", "quantity_unit", "unit", "amount_currency", "currency"}
_DELIMITERS = ",;\t"
# A name in a cell may have a line end.
_MOST_LINES = 4
_SHOWN = 40
_SPELLING = re.compile(r"[^a-z0-9]+")
_ISO_DAY = re.compile(r"20\d\d-[01]\d-[0-3]\d").match


def read_dashboard(path: Path) -> Bill:
    """Return what the export at `path` says. Rows are counted from 1, the header included."""
    results = Results(str(path))
    try:
        text = source_text(path)
    except SourceError as error:
        results.problem(str(error))
        return results.whole()
    lines = text.lstrip().replace("\r\n", "\n").split("\n")
    delimiter = max(_DELIMITERS, key=lines[0].count)
    header = [_SPELLING.sub("_", name.strip().lower()).strip("_") for name in _cells([lines[0]], delimiter) or ()]
    places = {role: found for role, names in _COLUMNS.items() if (found := _place(header, names)) is not None}
    absent = [role for role in (_DAY, _AMOUNT) if role not in places]
    if absent:
        results.problem(f"it has no column for the {' and the '.join(absent)}; export cost data, not activity", row=1)
        return results.whole()
    if "quantity" not in places:
        results.problem("it has no quantities, so only money is compared; export the costs by line item", row=1)
    reader = _Rows(results, header, places)
    rows = list(_numbered(lines, delimiter, len(header)))
    if rows and _ends_within(lines[rows[-1][0] - 1 :], header, [row for _, row in rows]):
        number, _ = rows.pop()
        results.problem("the file breaks off in this row, in its last cell; export it again", number, header[-1])
    for number, row in rows:
        reader.read(number, row)
    return results.whole()


def _ends_within(last: Sequence[str], header: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the last row has all its cells, and `last`, the lines of it, break off within the last of them.

    Many programs write no line end behind the last row, so that its lack alone tells nothing.
    """
    *above, row = rows
    if not last[-1] or len(row) != len(header):
        return False
    if "\n".join(last).count('"') % 2:
        return True
    cell = row[-1].strip()
    others = {other[-1].strip() for other in above if len(other) == len(header)}
    is_begun = cell not in others and any(other.startswith(cell) for other in others)
    return bool(cell) and (cell.endswith(".") or (is_begun and header[-1] in _OF_CLOSED_SETS))


def _place(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _numbered(lines: Sequence[str], delimiter: str, width: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows and the lines that they begin in.

    A row has several lines only where they make it whole: a quote that a cut left open must not swallow the rest.
    """
    at = 1
    while at < len(lines):
        longest = 1 if lines[at].count('"') % 2 == 0 else _MOST_LINES
        joined = (_cells(lines[at : at + count], delimiter) for count in range(1, longest + 1))
        whole = next(((count, row) for count, row in enumerate(joined, start=1) if row and len(row) == width), None)
        count, row = whole or (1, _cells(lines[at : at + 1], delimiter) or [lines[at][:_SHOWN]])
        yield at + 1, row
        at += count


def _cells(lines: Sequence[str], delimiter: str) -> list[str] | None:
    """Return the cells of the one row that `lines` are, None if they are none or several."""
    try:
        rows = list(csv.reader([f"{line}\n" for line in lines], delimiter=delimiter))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


class _Rows:
    """Reads the rows under one header."""

    def __init__(self, results: Results, header: Sequence[str], places: Mapping[str, int]) -> None:
        self._results = results
        self._header = header
        self._places = places
        self._others = [header.index(name) for name in _GROUPED_BY if name in header]

    def read(self, number: int, row: list[str]) -> None:
        """Take one row; say what is wrong with it where it is."""
        if not any(cell.strip() for cell in row):
            return
        if len(row) != len(self._header):
            what = "is cut off" if len(row) < len(self._header) else "has cells too many, perhaps for want of quotes"
            self._results.problem(f"the row {what}: {len(row)} cells under {len(self._header)} headers", row=number)
            return
        day = self._day(row)
        if day is None:
            self._results.problem(f"{self._cell(row, _DAY)!r} is no day", number, self._name(_DAY))
            return
        self._results.cover(day)
        written = self._cell(row, _AMOUNT)
        if not written and not self._cell(row, _LINE_ITEM):
            # A day without costs.
            return
        try:
            amount = amount_of(written.removeprefix("$"))
        except ValueError as error:
            self._results.problem(str(error), number, self._name(_AMOUNT))
            return
        self._results.add(
            Result(
                day=day,
                line_item=self._cell(row, _LINE_ITEM),
                amount=amount,
                currency=self._cell(row, "currency").upper() or "USD",
                quantity=self._quantity(number, row),
                quantity_unit=self._cell(row, "unit").lower() or None,
                account=self._cell(row, "project") or None,
                key=self._key(day, number, row),
                row=number,
            )
        )

    def _key(self, day: date, number: int, row: Sequence[str]) -> tuple[object, ...]:
        """Return what makes this row that one and no other; without a line item rows cannot be told apart."""
        if not self._cell(row, _LINE_ITEM):
            return (number,)
        said = (self._cell(row, role) for role in (_LINE_ITEM, "currency", "project"))
        return (day, *said, *(row[place] for place in self._others))

    def _day(self, row: Sequence[str]) -> date | None:
        written = self._cell(row, _DAY)
        try:
            if _ISO_DAY(written):
                at = datetime.fromisoformat(written)
                return (at.astimezone(UTC) if at.tzinfo else at).date()
            return datetime.fromtimestamp(int(written), UTC).date()
        except (ValueError, OverflowError, OSError):
            return None

    def _quantity(self, number: int, row: Sequence[str]) -> Decimal | None:
        written = self._cell(row, "quantity")
        if not written:
            return None
        try:
            return amount_of(written)
        except ValueError:
            self._results.problem(f"{written[:40]!r} is no quantity", number, self._name("quantity"))
            return None

    def _cell(self, row: Sequence[str], role: str) -> str:
        return row[self._places[role]].strip() if role in self._places else ""

    def _name(self, role: str) -> str:
        return self._header[self._places[role]]
