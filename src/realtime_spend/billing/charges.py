"""From what a pass over a table of charges found to a bill: items, what was left out, what could not be read."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from realtime_spend.billing.columns import charge_of
from realtime_spend.billing.rows import CellError, ListPrices, Row, currency_of, day_of, item_of
from realtime_spend.billing.scale import precision_of
from realtime_spend.billing.statement import MOST_NAMED
from realtime_spend.core import money
from realtime_spend.core.reconciliation.bills import Bill, BilledItem, BillProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from realtime_spend.billing.scan import Group, Scanned
    from realtime_spend.billing.sheets import Sheet
    from realtime_spend.core.rates import RateBook

OTHER_METERS = "other meters"
# No bill is stated more coarsely than this, but in currencies that have no smaller coin.
_CENT, _WHOLE = Decimal("0.01"), Decimal(1)
_NO_CENTS = {"JPY", "KRW", "VND", "CLP", "ISK", "UGX", "PYG", "XAF", "XOF", "XPF"}


class Charges:
    """Makes a bill of what a pass over a sheet found."""

    def __init__(self, sheet: Sheet, scanned: Scanned, book: RateBook, covers: Callable[[date], bool]) -> None:
        self._sheet, self._scanned, self._prices, self._covers = sheet, scanned, ListPrices(book), covers
        self._told: Counter[tuple[str, str]] = Counter()
        self._corrected: list[date] = []
        # What will be the bill's items, each with the number of its row.
        self._found: list[tuple[int | None, BilledItem]] = []
        # The lines of rows that DuckDB skipped, which its numbers do not count.
        self._skipped = [one.line for one in scanned.rejected]
        self.bill = Bill(problems=rejected_rows(sheet, scanned))
        self.is_any_row_wrong = False
        for group in sorted(scanned.groups, key=lambda group: (group.date, group.charge, group.currency)):
            self._take(group)
        self._finish()

    def _take(self, group: Group) -> None:
        try:
            day = day_of(group.date)
        except CellError as error:
            self._each_place(group.places, group.count, error)
            return
        if not self._covers(day):
            return
        try:
            currency = currency_of(group.currency)
        except CellError as error:
            self._each_place(group.places, group.count, error)
            return
        what = charge_of(group.charge)
        counted = group.count - len(group.rows) - group.without_cost
        if group.without_cost:
            self._each_place(group.first_ones, group.without_cost, CellError("cost", "the cost is no number"))
        if counted:
            self.bill.leave_out(OTHER_METERS if what == "usage" else what, group.cost, currency, counted)
        if what != "usage":
            self._leave(group, what, currency)
            return
        is_correction = group.charge_class.strip().lower() == "correction"
        if is_correction:
            self._corrected.append(day)
        else:
            self._cover(day)
        for cells in group.rows:
            self._item(Row(cells, has_decimal_comma=self._sheet.has_decimal_comma), day, currency)

    def _cover(self, day: date) -> None:
        self.bill.first = min(day, self.bill.first or day)
        self.bill.last = max(day, self.bill.last or day)

    def _leave(self, group: Group, what: str, currency: str) -> None:
        for cells in group.rows:
            self._leave_row(Row(cells, has_decimal_comma=self._sheet.has_decimal_comma), what, currency)

    def _leave_row(self, row: Row, what: str, currency: str) -> None:
        try:
            self.bill.leave_out(what, row.needed("cost"), currency)
        except CellError as error:
            self._problem(row.place, error)

    def _item(self, row: Row, day: date, currency: str) -> None:
        try:
            item = item_of(row, day, currency, self._prices, lambda error: self._problem(row.place, error))
        except CellError as error:
            self._problem(row.place, error)
            return
        if item is None:
            self._leave_row(row, OTHER_METERS, currency)
        else:
            self._found.append((self._row(row.place) if row.place else None, item))

    def _each_place(self, places: Sequence[int], count: int, error: CellError) -> None:
        self.is_any_row_wrong = True
        for place in places:
            self._problem(place, error)
        if count > len(places):
            self._problem(0, CellError(error.role, f"{error} ({count - len(places)} more rows)"))

    def _problem(self, place: int, error: CellError) -> None:
        self.is_any_row_wrong = True
        key = (error.role, "" if place else str(error))
        self._told[key] += 1
        if self._told[key] > MOST_NAMED:
            return
        column = self._sheet.layout.name_of(error.role)
        row = self._row(place) if place else None
        self.bill.problems.append(BillProblem(message=str(error), file=self._sheet.file, row=row, column=column))

    def _row(self, place: int) -> int:
        """Return a row's number in the file, its header included."""
        if self._sheet.is_parquet:
            return place
        row = place + self._sheet.lines_above + 1
        for line in self._skipped:
            if line > row:
                break
            row += 1
        return row

    def _finish(self) -> None:
        bill = self.bill
        for (role, _), count in self._told.items():
            if count > MOST_NAMED:
                message = f"{count - MOST_NAMED} more rows have such a {role}"
                bill.problems.append(BillProblem(message=message, file=self._sheet.file))
        bill.left_out.sort(key=lambda one: (one.what, one.currency))
        if bill.first is None:
            for day in self._corrected:
                self._cover(day)
        # DuckDB hands rows over as its threads come to them.
        self._found.sort(
            key=lambda one: (one[1].day, one[0] or 0, one[1].meter.name, one[1].account or "", one[1].cost)
        )
        items = [item for _, item in self._found]
        digits = self._scanned.digits.get(self._sheet.layout.name_of("cost") or "")
        finest = {
            currency: precision_of((item.cost for item in items if item.currency == currency), _coarsest(currency))
            for currency in {item.currency for item in items}
        }
        file = self._sheet.file
        bill.items = [
            replace(item, precision=_precision(item, finest[item.currency], digits), file=file, row=row)
            for row, item in self._found
        ]


def _coarsest(currency: str) -> Decimal:
    return _WHOLE if currency in _NO_CENTS else _CENT


def _precision(item: BilledItem, finest: Decimal, digits: int | None) -> Decimal:
    """Return the last place of a cost. A column of binary fractions has no more `digits` than those hold."""
    precision = min(finest, _coarsest(item.currency))
    if digits is not None and item.cost:
        precision = max(precision, money.CONTEXT.scaleb(Decimal(1), item.cost.adjusted() + 1 - digits))
    return precision


def rejected_rows(sheet: Sheet, scanned: Scanned) -> list[BillProblem]:
    """Return a problem for each row that could not be parted into columns, for so many of them."""
    header, rejected = sheet.layout.header, scanned.rejected
    found = [
        BillProblem(
            message=f"the row cannot be read: {one.why}",
            file=sheet.file,
            row=one.line,
            column=header[one.place] if one.place is not None and one.place < len(header) else None,
        )
        for one in rejected[:MOST_NAMED]
    ]
    if len(rejected) > MOST_NAMED or scanned.are_more_rejected:
        least = "at least " if scanned.are_more_rejected else ""
        message = f"{least}{max(len(rejected) - MOST_NAMED, 1)} more rows cannot be read"
        found.append(BillProblem(message=message, file=sheet.file))
    return found
