"""One result of OpenAI's costs, from a page, a saved file or the dashboard's export, as an item of a bill."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, NamedTuple

from realtime_spend.billing.openai_line_items import read_line_item
from realtime_spend.core import money
from realtime_spend.core.line_items import Provider, Unit
from realtime_spend.core.reconciliation.bills import Bill, BilledItem, BillProblem, Scale

if TYPE_CHECKING:
    from collections.abc import Hashable
    from datetime import date

    from realtime_spend.core.reconciliation.bills import Meter

OTHER_MODELS = "other models"
NOT_GROUPED = "costs that are not grouped by line item"
HOW_TO_GROUP = "group_by=line_item, or export them by line item"
LONGER_THAN_A_DAY = "costs of more than a day"
PART_OF_A_DAY = "costs of a part of a day"
# Their amounts are exact, however many digits they print.
_PRECISION = money.PLACES
# They print up to 6176 places, nearly all of them zeros; what is beyond these is nobody's money.
_MOST_PLACES = 40
_FINEST = money.CONTEXT.scaleb(Decimal(1), -_MOST_PLACES)
_LONGEST = 10_000
_LARGEST = Decimal("1e20")
_UNITS: dict[str, tuple[Unit, int]] = {
    "tokens": (Unit.TOKENS, 1),
    "1000_tokens": (Unit.TOKENS, 1_000),
    "duration_seconds": (Unit.SECONDS, 1),
    "duration_minutes": (Unit.SECONDS, 60),
    "duration_hours": (Unit.SECONDS, 3_600),
}


def amount_of(text: str) -> Decimal:
    """Return the amount that `text` spells, which may have thousands of places; ValueError if it spells none."""
    try:
        amount = Decimal(text.strip()) if len(text) <= _LONGEST and "_" not in text else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or abs(amount) >= _LARGEST:
        raise ValueError(f"{text[:40]!r} is not an amount")
    if not amount:
        return money.ZERO
    amount = money.CONTEXT.normalize(amount)
    return amount if money.decimal_places(amount) <= _MOST_PLACES else money.CONTEXT.quantize(amount, _FINEST)


class Result(NamedTuple):
    """One result as it is written: nothing of it has been judged."""

    day: date
    line_item: str
    amount: Decimal
    currency: str
    quantity: Decimal | None
    quantity_unit: str | None
    account: str | None
    # What makes it that result and no other: two of the same are one that was fetched twice.
    key: Hashable
    row: int


@dataclass(slots=True)
class Results:
    """Collects results into a bill. Of a result that comes twice the later one counts."""

    file: str | None
    bill: Bill = field(default_factory=Bill)
    _found: dict[Hashable, Result] = field(default_factory=dict)
    _repeated: list[Result] = field(default_factory=list)

    def cover(self, day: date) -> None:
        """Note that the bill speaks of this day, even if it has nothing to say."""
        self.bill.first = min(day, self.bill.first or day)
        self.bill.last = max(day, self.bill.last or day)

    def problem(self, message: str, row: int | None = None, column: str | None = None) -> None:
        """Note what could not be read, and where."""
        self.bill.problems.append(BillProblem(message=message, file=self.file, row=row, column=column))

    def add(self, result: Result) -> None:
        """Take one result."""
        if result.key in self._found:
            self._repeated.append(result)
        self._found[result.key] = result

    def whole(self) -> Bill:
        """Return the bill of everything that was added."""
        if self._repeated:
            first = self._repeated[0]
            self.problem(
                f"{len(self._repeated)} results are there twice, as when two fetches are in one file "
                f"(the first is {first.line_item!r} of {first.day}); of each the later one counts",
                row=first.row,
            )
        unread: set[str] = set()
        for result in self._found.values():
            self._judge(result, unread)
        if self._found and not any(result.line_item for result in self._found.values()):
            # Days of which no model's cost is told would look as if nothing had been billed.
            self.bill.first = self.bill.last = None
            # That was said last, and is the reason why nothing can be compared.
            self.bill.problems.insert(0, self.bill.problems.pop())
        return self.bill

    def _judge(self, result: Result, unread: set[str]) -> None:
        if not result.line_item:
            self.bill.leave_out(NOT_GROUPED, result.amount, result.currency)
            if NOT_GROUPED not in unread:
                unread.add(NOT_GROUPED)
                self.problem(f"{NOT_GROUPED} tell no model; ask for them with {HOW_TO_GROUP}", result.row, "line_item")
            return
        meter = read_line_item(result.line_item, result.quantity_unit)
        if not meter.is_realtime:
            self.bill.leave_out(OTHER_MODELS, result.amount, result.currency)
            return
        if meter.problem and meter.name not in unread:
            unread.add(meter.name)
            self.problem(meter.problem, result.row, "line_item")
        quantity, scale = self._quantity(result, meter)
        self.bill.items.append(
            BilledItem(
                day=result.day,
                provider=Provider.OPENAI,
                account=result.account,
                meter=meter,
                quantity=quantity,
                cost=result.amount,
                currency=result.currency,
                scale=scale,
                precision=_PRECISION,
                file=self.file,
                row=result.row,
            )
        )

    def _quantity(self, result: Result, meter: Meter) -> tuple[Decimal | None, Scale]:
        """Return the quantity in tokens or seconds. Their units have names, so the scale is rarely in question."""
        if meter.part is None:
            return None, Scale.SINGLE
        if result.quantity is None:
            return None, Scale.UNSETTLED
        if not result.quantity_unit:
            # Without a name of the unit time could be anything; tokens have been seen as single ones only.
            is_time = meter.unit is Unit.SECONDS
            return (None, Scale.UNSETTLED) if is_time else (result.quantity, Scale.ASSUMED)
        unit, each = _UNITS.get(result.quantity_unit, (None, 1))
        if unit is not meter.unit:
            self.problem(
                f"{result.line_item!r} is counted in {result.quantity_unit!r}, which is not {meter.unit}",
                result.row,
                "quantity_unit",
            )
            return None, Scale.UNSETTLED
        return money.multiply(result.quantity, Decimal(each)), Scale.SINGLE
