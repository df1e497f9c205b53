"""The one door to bills in files: finds out what each file is, and reads all of them into one bill."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from realtime_spend.billing.columns import plain_name
from realtime_spend.billing.exports import Source, sources_of
from realtime_spend.billing.openai_costs import read_pages
from realtime_spend.billing.openai_dashboard import read_dashboard
from realtime_spend.billing.openai_saves import Age, newest_only
from realtime_spend.billing.scan import engine
from realtime_spend.billing.sheets import NotReadableError, text_start
from realtime_spend.billing.table import Reader, read_charges
from realtime_spend.core import money
from realtime_spend.core.reconciliation.bills import Bill, BillProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from realtime_spend.core.rates import RateBook

# A header with any of these is of OpenAI's dashboard.
_OF_DASHBOARD = {"lineitem", "amountvalue"}
_OF_CHARGES = {"metername", "meter", "skumeter", "xskumetername", "billedcost", "costinbillingcurrency"}
_NAMES = re.compile(r'[^,;\t|"]+')


def read_bill(
    paths: Sequence[Path],
    *,
    book: RateBook,
    first: date | None = None,
    last: date | None = None,
    advance: Callable[[int], None] = lambda _bytes: None,
) -> Bill:
    """Return what files and folders bill for the days `first` to `last`; None is no bound.

    `advance` is told of each number of bytes read, which add up to `bill_size`. Whatever cannot be read is a problem of
    the bill, never an error.

    Raises:
        ValueError: DuckDB is not installed.
    """
    found = sources_of(paths)
    bill = Bill(made=found.made)
    ages: dict[str, Age] = {}
    with engine() as (connection, copies):
        reader = Reader(connection=connection, copies=copies, book=book, advance=advance)
        for source in found.files:
            told = _Told(advance, source.path.stat().st_size)
            bill.add(_read(source, replace(reader, advance=told), first, last, ages))
            told.end()
    bill.items, older = newest_only(bill.items, ages)
    # Where nothing can be read, why not comes first.
    bill.problems += [*found.problems, *older, *_beside(bill), *_repeated(bill)]
    if bill.first is None and not bill.problems:
        names = ", ".join(map(str, paths))
        bill.problems.append(BillProblem(message="no row is about any day that was asked for", file=names))
    return bill


class _Told:
    """Tells of a file's bytes, no more and in the end no less of them, however often it was read."""

    def __init__(self, advance: Callable[[int], None], size: int) -> None:
        self._advance, self._left = advance, size

    def __call__(self, step: int) -> None:
        self._advance(min(step, self._left))
        self._left -= min(step, self._left)

    def end(self) -> None:
        self(self._left)


def bill_size(paths: Sequence[Path]) -> int:
    """Return how many bytes `read_bill` has to read."""
    return sum(source.path.stat().st_size for source in sources_of(paths).files)


def _read(source: Source, reader: Reader, first: date | None, last: date | None, ages: dict[str, Age]) -> Bill:
    """Return what a file bills; of a file of OpenAI's its age is added to `ages`."""

    def covers(day: date) -> bool:
        return (first is None or day >= first) and (last is None or day <= last) and source.covers(day)

    path = source.path
    try:
        read = _of_openai(text_start(path))
    except NotReadableError as error:
        return Bill(problems=[BillProblem(message=f"the file {error}", file=str(path))])
    if read is None:
        return read_charges(path, reader, covers)
    bill = read(path)
    ages[str(path)] = Age(until=bill.last or date.min, written=path.stat().st_mtime)
    return _within(bill, covers, first, last)


def _of_openai(text: str) -> Callable[[Path], Bill] | None:
    """Return the reader of OpenAI's own files that a text is for, None where it is no such file."""
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith(("{", "[")):
        return read_pages
    names = {plain_name(name) for name in _NAMES.findall(start.partition("\n")[0])}
    return read_dashboard if names & _OF_DASHBOARD and not names & _OF_CHARGES else None


def _within(bill: Bill, covers: Callable[[date], bool], first: date | None, last: date | None) -> Bill:
    """Return a whole bill cut to the days that were asked for."""
    bill.items = [item for item in bill.items if covers(item.day)]
    if bill.first is not None and bill.last is not None:
        begin, end = max(bill.first, first or bill.first), min(bill.last, last or bill.last)
        bill.first, bill.last = (begin, end) if begin <= end else (None, None)
    return bill


def _beside(bill: Bill) -> list[BillProblem]:
    """Return a problem for each correction of a day that nothing else of the bill is about."""
    if bill.first is None or bill.last is None:
        return []
    outside = [item for item in bill.items if not bill.first <= item.day <= bill.last]
    return [
        BillProblem(
            message=(
                f"{money.plain(item.cost)} {item.currency} corrects {item.meter.name!r} on {item.day}, "
                "which is not among the days of this bill; read it together with that day's"
            ),
            file=item.file,
            row=item.row,
        )
        for item in outside
    ]


def _repeated(bill: Bill) -> list[BillProblem]:
    """Return a problem for each file of which another has most rows too: they may be two runs of one export."""
    seen: dict[tuple[object, ...], str | None] = {}
    rows: Counter[str | None] = Counter()
    again: Counter[tuple[str | None, str | None]] = Counter()
    for item in bill.items:
        rows[item.file] += 1
        other = seen.setdefault((item.day, item.account, item.meter, item.quantity, item.cost, item.region), item.file)
        if other != item.file:
            again[item.file, other] += 1
    return [
        BillProblem(
            message=(
                f"{count} of its {rows[file]} rows are in {other} as well, and were counted twice; "
                "if they are two runs of one export, give the newer one alone"
            ),
            file=file,
        )
        for (file, other), count in again.items()
        if count * 2 >= rows[file]
    ]
