"""One currency for both sides: by the bill's own rates, else by a rate that somebody gave, else not at all."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from realtime_spend.core import money

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from realtime_spend.core.reconciliation.bills import BilledItem

USD = "USD"
_ONE = Decimal(1)


class Exchange:
    """Converts into `currency`.

    A row's own rate comes first, since its cost was made by it. A row that the bill does not have takes the rate of its
    day, then that of the nearest day, then `fx`, which says what one unit of a currency is in USD.
    """

    def __init__(self, items: Sequence[BilledItem], fx: Mapping[str, Decimal], currency: str) -> None:
        self.currency = currency
        self._fx = fx
        by_day: dict[str, dict[date, list[BilledItem]]] = {}
        for item in items:
            if item.to_usd and item.to_usd > 0:
                by_day.setdefault(item.currency, {}).setdefault(item.day, []).append(item)
        self._days = {
            currency: {day: rate for day, those in days.items() if (rate := _rate_of(those)) is not None}
            for currency, days in by_day.items()
        }

    def rate(self, currency: str, day: date, items: Iterable[BilledItem] = ()) -> Decimal | None:
        """Return what one unit of `currency` was in USD on `day` by the rates of `items`, else by what is nearest."""
        if currency == USD:
            return _ONE
        own = _rate_of([item for item in items if item.currency == currency])
        if own is not None:
            return own
        days = self._days.get(currency)
        if days:
            return days[min(days, key=lambda known: (abs(known - day), known))]
        return self._fx.get(currency)

    def convert(self, amount: Decimal, currency: str, day: date, items: Iterable[BilledItem] = ()) -> Decimal | None:
        """Return `amount` of `currency` in ours, to 12 places; None where no rate is known."""
        if currency == self.currency:
            return amount
        known = tuple(items)
        dollars = self.rate(currency, day, known)
        ours = self.rate(self.currency, day, known)
        if not dollars or not ours:
            return None
        return money.CONTEXT.quantize(money.divide(money.multiply(amount, dollars), ours), money.PLACES)


def _rate_of(items: Sequence[BilledItem]) -> Decimal | None:
    """Return the rate of `items`, weighted by their costs where they differ."""
    rated = [(item.cost.copy_abs(), item.to_usd) for item in items if item.to_usd is not None and item.to_usd > 0]
    rates = {rate for _, rate in rated}
    if len(rates) <= 1:
        return next(iter(rates), None)
    weight = money.add(*(cost for cost, _ in rated))
    if not weight:
        return rated[0][1]
    return money.divide(money.add(*(money.multiply(cost, rate) for cost, rate in rated)), weight)
