"""One table of charges, from its file to a bill: read, mended where it is damaged, read again to say in which rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from realtime_spend.billing.charges import Charges
from realtime_spend.billing.columns import accepted, layout_of
from realtime_spend.billing.scan import Rejected, ScanError, Scanned, parquet_header, scan
from realtime_spend.billing.sheets import (
    NotReadableError,
    Sheet,
    is_parquet,
    open_sheet,
    rewritten,
    without_open_quotes,
)
from realtime_spend.billing.statement import MOST_NAMED
from realtime_spend.core.reconciliation.bills import Bill, BillProblem

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

    from duckdb import DuckDBPyConnection

    from realtime_spend.core.rates import RateBook

# A file that lacks more columns than this is no bill; what else they may be called would help nobody.
_MOST_MISSING = 3
_NOT_UTF8 = "Invalid unicode"
# Either takes everything up to the next quote, or the end, for one cell.
_OPEN_QUOTE = ("Value with unterminated quote", "Maximum line size")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """What reading a table needs: DuckDB, a folder to put copies in, the prices, and whom to tell of bytes read."""

    connection: DuckDBPyConnection
    copies: Path
    book: RateBook
    advance: Callable[[int], None]


def read_charges(path: Path, reader: Reader, covers: Callable[[date], bool]) -> Bill:
    """Return what a table of charges says of the days that `covers` is true of; what is wrong is a problem in it."""
    bill = Bill()
    try:
        sheet = _sheet(path, reader)
        if sheet.layout.missing:
            bill.problems += [_missing(sheet), *sheet.problems]
            return bill
        bill.add(_read(sheet, reader, covers))
    except (NotReadableError, ScanError) as error:
        bill.problems.append(BillProblem(message=f"the file {error}", file=str(path)))
    return bill


def _sheet(path: Path, reader: Reader) -> Sheet:
    if not is_parquet(path):
        return open_sheet(path, reader.copies)
    header = parquet_header(reader.connection, path)
    return Sheet(file=str(path), path=path, layout=layout_of(header), is_parquet=True)


def _missing(sheet: Sheet) -> BillProblem:
    """Return in one sentence which columns a sheet lacks, and what they may be called."""
    missing = sheet.layout.missing
    names = {role: accepted(sheet.layout.family, role) for role in missing}
    row = None if sheet.is_parquet else sheet.lines_above + 1
    column = names[missing[0]].partition(",")[0]
    if len(missing) > _MOST_MISSING:
        firsts = ", ".join(known.partition(",")[0] for known in names.values())
        message = (
            f"the header has no column for the {', '.join(missing[:-1])} and {missing[-1]}, "
            f"which a bill calls {firsts}; "
            "give an export of cost details or of FOCUS from Azure, or of costs from OpenAI"
        )
    else:
        called = "; it has none for the ".join(f"{role}; it may be called {known}" for role, known in names.items())
        message = f"the header has no column for the {called}"
    return BillProblem(message=message, file=sheet.file, row=row, column=column)


def _read(sheet: Sheet, reader: Reader, covers: Callable[[date], bool]) -> Bill:
    """Read a sheet; where anything is wrong once more, to say in which rows."""
    reading = _Reading(sheet=sheet, reader=reader)
    scanned = reading.scan()
    charges = Charges(reading.sheet, scanned, reader.book, covers)
    if charges.is_any_row_wrong and not sheet.is_parquet:
        charges = Charges(reading.sheet, reading.pass_over(numbered=True), reader.book, covers)
    charges.bill.problems = sheet.problems + reading.problems + charges.bill.problems
    return charges.bill


@dataclass(slots=True, kw_only=True)
class _Reading:
    """Passes over one sheet, of which a copy is made where DuckDB cannot read it as it is."""

    sheet: Sheet
    reader: Reader
    problems: list[BillProblem] = field(default_factory=list)
    # Rows that a copy has been made without.
    left: list[Rejected] = field(default_factory=list)

    def scan(self) -> Scanned:
        """Return what a pass found, after as many copies as it takes."""
        try:
            scanned = self.pass_over(numbered=self.sheet.is_parquet)
        except ScanError:
            if self.sheet.is_parquet:
                raise
            # Packed data that is damaged, or lines that end now in one way and now in another.
            scanned = self._again()
        if foreign := [one for one in scanned.rejected if one.why.startswith(_NOT_UTF8)]:
            self.problems += self._foreign(foreign)
            scanned = self._again()
        if any(one.why.startswith(_OPEN_QUOTE) for one in scanned.rejected):
            places = {one.line: one.place for one in scanned.rejected}
            lines = without_open_quotes(self.sheet, self.reader.copies)
            why = "a quote in it is not closed"
            self.left = [Rejected(line=line, place=places.get(line), why=why) for line in lines]
            scanned = self.pass_over(numbered=False)
        return scanned

    def pass_over(self, *, numbered: bool) -> Scanned:
        """Return what one pass found."""
        size = self.sheet.path.stat().st_size
        scanned = scan(self.reader.connection, self.sheet, size, self.reader.advance, numbered=numbered)
        scanned.rejected = sorted([*self.left, *scanned.rejected], key=lambda one: one.line)
        return scanned

    def _again(self) -> Scanned:
        rewritten(self.sheet, self.reader.copies)
        return self.pass_over(numbered=False)

    def _foreign(self, rows: list[Rejected]) -> list[BillProblem]:
        header = self.sheet.layout.header
        message = "the row is not UTF-8; it was read as Windows-1252"
        found = [
            BillProblem(
                message=message,
                file=self.sheet.file,
                row=one.line,
                column=None if one.place is None else header[one.place],
            )
            for one in rows[:MOST_NAMED]
        ]
        if len(rows) > MOST_NAMED:
            found.append(BillProblem(message=f"{len(rows) - MOST_NAMED} more rows are not UTF-8", file=self.sheet.file))
        return found
