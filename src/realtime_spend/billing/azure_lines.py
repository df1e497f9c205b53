"""Rows of an answer of Azure's Cost Management, as items of a bill: which has no unit, so the price tells the scale."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from realtime_spend.billing.azure_meters import read_meter
from realtime_spend.core import money
from realtime_spend.core.line_items import Provider, Scope, Sku, Unit
from realtime_spend.core.rates import Prices
from realtime_spend.core.reconciliation.bills import Bill, BilledItem, BillProblem, Scale

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realtime_spend.core.rates import RateBook
    from realtime_spend.core.reconciliation.bills import Meter

USD = "USD"
OTHER_METERS = "other meters"
# Answers have eight places.
_PRECISION = Decimal("1e-8")
# By which of them a unit is a list price, within any region's surcharge and a great discount.
_BLOCKS = {Unit.TOKENS: (1, 1_000, 1_000_000), Unit.SECONDS: (1, 60, 3_600)}
_CHEAPEST, _DEAREST = Decimal("0.4"), Decimal("1.6")


class Line(NamedTuple):
    """One row of an answer."""

    day: date
    meter: str
    account: str | None
    cost: Decimal
    quantity: Decimal
    currency: str

    @property
    def key(self) -> tuple[date, str, str | None]:
        """What the row is about."""
        return (self.day, self.meter, self.account)


def take(bill: Bill, lines: list[Line], in_usd: Mapping[tuple[date, str, str | None], Decimal], book: RateBook) -> None:
    """Add the rows to the bill. `in_usd` are the costs of those that are in another currency."""
    told = {problem.message for problem in bill.problems}
    for line in lines:
        meter = read_meter(line.meter)
        if not meter.is_realtime:
            bill.leave_out(OTHER_METERS, line.cost, line.currency)
            continue
        if meter.problem and meter.problem not in told:
            told.add(meter.problem)
            bill.problems.append(BillProblem(message=meter.problem))
        to_usd = _to_usd(line, in_usd)
        quantity, scale = _quantity(line, meter, to_usd, book)
        bill.items.append(
            BilledItem(
                day=line.day,
                provider=Provider.AZURE,
                account=line.account,
                meter=meter,
                quantity=quantity,
                cost=line.cost,
                currency=line.currency,
                scale=scale,
                precision=_PRECISION,
                to_usd=to_usd,
            )
        )


def _to_usd(line: Line, in_usd: Mapping[tuple[date, str, str | None], Decimal]) -> Decimal | None:
    if line.currency == USD:
        return Decimal(1)
    usd = in_usd.get(line.key)
    return None if usd is None else money.ratio(usd, line.cost)


def _quantity(line: Line, meter: Meter, to_usd: Decimal | None, book: RateBook) -> tuple[Decimal | None, Scale]:
    """Return the quantity in tokens or seconds: in the block that makes the cost a list price."""
    if meter.part is None or meter.unit is None:
        return None, Scale.SINGLE
    if not line.quantity:
        return line.quantity, Scale.SINGLE
    each = _each(line, meter, book)
    if not each or to_usd is None:
        return None, Scale.UNSETTLED
    usd = money.multiply(line.cost, to_usd)
    for block in _BLOCKS[meter.unit]:
        single = money.multiply(line.quantity, Decimal(block))
        if _CHEAPEST <= money.divide(usd, money.multiply(single, each)) <= _DEAREST:
            return single, Scale.SINGLE if block == 1 else Scale.BLOCKS
    return None, Scale.UNSETTLED


def _each(line: Line, meter: Meter, book: RateBook) -> Decimal | None:
    """Return a list price of one token or second. It only tells a token from a thousand, so any version's will do."""
    at = datetime.combine(line.day, time.max, UTC)
    for version in dict.fromkeys((meter.version, None)):
        sku = Sku(provider=Provider.AZURE, model=str(meter.model), version=version, scope=Scope.GLOBAL)
        prices = book.prices(sku, at)
        if isinstance(prices, Prices) and meter.part is not None and (rate := prices.rates.get(meter.part)):
            return money.divide(rate.unit_price, Decimal(rate.per))
    return None
