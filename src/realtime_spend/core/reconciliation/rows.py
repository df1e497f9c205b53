"""One row of the comparison from its two sides: sums in one currency, how settled it is, whether it is alarming."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from realtime_spend.core import money
from realtime_spend.core.line_items import Unit
from realtime_spend.core.reconciliation.compared import Compared, Price
from realtime_spend.core.reconciliation.drift import Row
from realtime_spend.core.reconciliation.exchange import USD
from realtime_spend.core.reconciliation.settling import state_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from realtime_spend.core.line_items import Provider
    from realtime_spend.core.reconciliation.bills import BilledItem
    from realtime_spend.core.reconciliation.exchange import Exchange
    from realtime_spend.core.reconciliation.matching import Key, Sides

# Seconds come from hours, which bills state to so many places.
_PLACES_OF_HOURS = Decimal("0.36")
# A rate of exchange is stated to so many digits at least.
_DIGITS_OF_EXCHANGE = Decimal("1e-9")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How much drift is fine: a `share` of the larger side, or `floor` in the bill's currency, whichever is more."""

    share: Decimal
    floor: Decimal

    def is_beyond(self, row: Row) -> bool:
        """Whether a row drifts further; by its quantities where the money is not known."""
        if row.drift_cost is not None:
            larger = max((row.estimated_cost or money.ZERO).copy_abs(), row.billed_cost.copy_abs())
            return row.drift_cost.copy_abs() > max(money.multiply(self.share, larger), self.floor)
        counted, billed = row.estimated_quantity, row.billed_quantity
        if counted is None or billed is None:
            # Neither money nor quantity is known: nothing says that it drifts.
            return False
        off = money.subtract(counted, billed).copy_abs()
        return off > money.multiply(self.share, max(counted, billed))


@dataclass(frozen=True, slots=True)
class _Estimated:
    """What the estimates of a key cost in the bill's currency. `is_known` False: a rate of exchange is missing."""

    cost: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    is_known: bool = True


class _Billed(NamedTuple):
    """What a key is billed: `cost` in the currency of the comparison, and what no rate of exchange converts into it."""

    cost: Decimal
    unconverted: tuple[tuple[str, Decimal], ...]


class Rows:
    """Makes the rows of one comparison. `unknown_currencies` are those that a rate of exchange was missing for."""

    def __init__(self, exchange: Exchange, items: Iterable[BilledItem], *, at: datetime) -> None:
        self._exchange, self._at = exchange, at
        self._precision = _precision(items)
        self.unknown_currencies: set[str] = set()

    def compared(self, key: Key, sides: Sides, tolerance: Tolerance) -> Compared:
        """Return the row of `key`, and what its causes are looked for in."""
        row = self._row(key, sides)
        unpriced = money.add(*(item.unpriced for item in sides.estimates))
        priced = money.subtract(row.estimated_quantity or money.ZERO, unpriced)
        cost = row.estimated_cost
        return Compared(
            row=replace(row, is_beyond=tolerance.is_beyond(row)),
            estimates=sides.estimates,
            billed=sides.billed,
            rounding=self._rounding(row, sides),
            unpriced=unpriced,
            price=Price(cost, priced) if cost is not None and priced > 0 else None,
        )

    def _row(self, key: Key, sides: Sides) -> Row:
        billed = self._billed(sides.billed)
        estimated = self._estimated(sides)
        quantities = [item.quantity for item in sides.billed]
        known = [quantity for quantity in quantities if quantity is not None]
        is_comparable = estimated.is_known and not billed.unconverted
        return Row(
            day=key.day,
            provider=key.provider,
            account=key.account,
            model=key.model,
            version=key.version,
            part=key.part,
            scope=key.scope,
            unit=None if key.part is None else key.part.unit,
            estimated_quantity=None if key.part is None else money.add(*(item.quantity for item in sides.estimates)),
            billed_quantity=money.add(*known) if len(known) == len(quantities) and key.part is not None else None,
            estimated_cost=estimated.cost,
            estimated_low=estimated.low,
            estimated_high=estimated.high,
            billed_cost=billed.cost,
            drift_cost=money.subtract(billed.cost, estimated.cost or money.ZERO) if is_comparable else None,
            state=state_of(key.day, key.provider, self._at),
            meters=tuple(sorted({item.meter.name for item in sides.billed})),
            to_usd=self._exchange.rate(self._exchange.currency, key.day, sides.billed),
            unconverted=billed.unconverted,
        )

    def _billed(self, items: Sequence[BilledItem]) -> _Billed:
        costs: list[Decimal] = []
        lost: list[tuple[str, Decimal]] = []
        for item in items:
            found = self._exchange.convert(item.cost, item.currency, item.day, [item])
            if found is None:
                lost.append((item.currency, item.cost))
            else:
                costs.append(found)
        self.unknown_currencies |= {currency for currency, _ in lost}
        return _Billed(money.add(*costs), by_currency(lost))

    def _estimated(self, sides: Sides) -> _Estimated:
        costs: list[Decimal] = []
        lows: list[Decimal] = []
        highs: list[Decimal] = []
        for item in sides.estimates:
            if item.cost is None:
                continue
            low = item.cost if item.low is None else item.low
            high = item.cost if item.high is None else item.high
            for amounts, amount in ((costs, item.cost), (lows, low), (highs, high)):
                found = self._exchange.convert(amount, item.currency, item.day, sides.billed)
                if found is None:
                    self.unknown_currencies.add(self._exchange.currency if item.currency == USD else item.currency)
                    return _Estimated(is_known=False)
                amounts.append(found)
        if sides.estimates and not costs:
            return _Estimated()
        is_interval = any(item.low is not None or item.high is not None for item in sides.estimates)
        bounds = (money.add(*lows), money.add(*highs)) if is_interval else (None, None)
        return _Estimated(money.add(*costs), *bounds)

    def _rounding(self, row: Row, sides: Sides) -> Decimal:
        """Return the most that rounding can come to: the bill's own places, ours, and those of a rate of exchange."""
        rows = Decimal(len(sides.billed))
        stated = [self._precision[item.provider, item.file, item.currency] for item in sides.billed]
        found = money.multiply(max(stated, default=money.ZERO), rows)
        # A cost of ours is rounded once for each usage. Prices of tokens have an end before that; a usage that is
        # billed by time is a second or more.
        times = rows if row.unit is Unit.TOKENS else max(row.estimated_quantity or money.ZERO, rows)
        found = money.add(found, money.multiply(money.PLACES, money.add(times, Decimal(1))))
        if _currencies(sides) - {self._exchange.currency}:
            larger = max((row.estimated_cost or money.ZERO).copy_abs(), row.billed_cost.copy_abs())
            found = money.add(found, money.multiply(larger, _DIGITS_OF_EXCHANGE))
        if row.unit is Unit.SECONDS and row.estimated_cost and row.estimated_quantity:
            second = money.divide(row.estimated_cost, row.estimated_quantity)
            found = money.add(found, money.multiply(money.multiply(second, _PLACES_OF_HOURS), rows))
        return found


def by_currency(amounts: Iterable[tuple[str, Decimal]]) -> tuple[tuple[str, Decimal], ...]:
    """Return the sum of `amounts` in each currency, in order."""
    sums: dict[str, Decimal] = {}
    for currency, amount in amounts:
        sums[currency] = money.add(sums.get(currency, money.ZERO), amount)
    return tuple(sorted(sums.items()))


def without_money(cell: Compared, tolerance: Tolerance) -> Compared:
    """Return `cell` with its quantities alone."""
    row = replace(cell.row, estimated_cost=None, estimated_low=None, estimated_high=None, drift_cost=None)
    return replace(cell, row=replace(row, is_beyond=tolerance.is_beyond(row)))


def _precision(items: Iterable[BilledItem]) -> dict[tuple[Provider, str | None, str], Decimal]:
    """Return the finest place that each bill states: a cost of exactly 20 is not one that is rounded to whole units."""
    found: dict[tuple[Provider, str | None, str], Decimal] = {}
    for item in items:
        key = (item.provider, item.file, item.currency)
        found[key] = min(found.get(key, item.precision), item.precision)
    return found


def _currencies(sides: Sides) -> set[str]:
    return {item.currency for item in sides.estimates} | {item.currency for item in sides.billed}
