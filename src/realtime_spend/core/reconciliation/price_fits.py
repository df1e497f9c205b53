"""What a billed price may be, given what was estimated: another scope's, an older one, a discount, another rate."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.line_items import Provider, Scope
from realtime_spend.core.reconciliation import wording
from realtime_spend.core.reconciliation.compared import Price
from realtime_spend.core.reconciliation.exchange import USD

if TYPE_CHECKING:
    from realtime_spend.core.reconciliation.compared import Compared
    from realtime_spend.core.reconciliation.evidence import Evidence

_ONE = Decimal(1)
# A listed price is met within a ten-thousandth: lists round to three digits, bills to many.
_CLOSE = Decimal("0.0001")
_WHOLE_PERCENT = Decimal("0.01")
_MOST_DISCOUNT = Decimal("0.5")
# What the same tokens cost more where they run elsewhere, where no list has the very meter.
_FACTORS = {
    Provider.AZURE: (
        (Decimal("1.1"), "the data-zone price (that of most regions too)"),
        (Decimal("1.21"), "the regional price of Sweden Central"),
        (Decimal("1.32"), "the regional price of North Europe"),
    ),
    Provider.OPENAI: ((Decimal("1.1"), "the price with data residency"),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times its estimate a unit was billed at, and by how much rounding may have moved that."""

    value: Decimal
    doubt: Decimal

    @classmethod
    def of(cls, cell: Compared) -> Ratio | None:
        """Return the ratio of a cell, None where either side has no price."""
        billed = cell.billed_price
        if billed is None or cell.price is None or cell.unpriced:
            return None
        value = billed.times(cell.price)
        worth = cell.worth(cell.billed_quantity)
        if value is None or worth <= 0:
            return None
        return cls(value=value, doubt=money.divide(cell.rounding, worth))

    def fits(self, expected: Decimal) -> bool:
        """Whether it is `expected`, as far as can be told."""
        near = max(money.multiply(_CLOSE, expected), self.doubt)
        return money.subtract(self.value, expected).copy_abs() <= near


def reference(cell: Compared) -> Price | None:
    """Return what a unit was estimated at in USD, before it was converted into the bill's currency."""
    costs = [item.cost for item in cell.estimates if item.cost is not None and item.currency == USD]
    if len(costs) == len(cell.estimates) and costs and cell.estimated > 0:
        return Price(money.add(*costs), cell.estimated)
    if cell.estimates or cell.price is None or not cell.row.to_usd:
        return None
    return Price(money.multiply(cell.price.cost, cell.row.to_usd), cell.price.quantity)


def list_fits(cell: Compared, ratio: Ratio, evidence: Evidence) -> list[str]:
    """Return every listed price of this part that the billed one is."""
    base = reference(cell)
    if base is None:
        return []
    found: list[str] = []
    for said, price in evidence.listed.all(cell):
        times = price.times(base)
        if times is not None and times != _ONE and ratio.fits(times) and said not in found:
            found.append(said)
    return found


def factor_fits(cell: Compared, ratio: Ratio) -> list[str]:
    """Return what the ratio is where no list has the very meter: what other scopes cost more."""
    return [said for times, said in _FACTORS[cell.row.provider] if ratio.fits(times)]


def discount_fits(cell: Compared, ratio: Ratio) -> list[str]:
    """Return the flat discounts that a ratio may be, off this price or off another scope's."""
    found = []
    if ratio.value < _ONE:
        found.append(f"a flat discount of {wording.percent(money.subtract(_ONE, ratio.value))}")
    for times, said in _FACTORS[cell.row.provider]:
        if cell.row.scope is Scope.GLOBAL or (cell.row.scope is Scope.DATAZONE and times != Decimal("1.1")):
            continue
        off = money.subtract(_ONE, money.divide(ratio.value, times))
        whole = money.CONTEXT.quantize(off, _WHOLE_PERCENT)
        if 0 < whole <= _MOST_DISCOUNT and ratio.fits(money.multiply(times, money.subtract(_ONE, whole))):
            found.append(f"{wording.percent(whole)} off {said}")
    return found


def exchange_fit(cell: Compared, ratio: Ratio, evidence: Evidence) -> list[str]:
    """Return the rate of exchange by which the prices would be the same, where the bill is in another currency."""
    base = reference(cell)
    if evidence.currency == USD or base is None or cell.price is None or not ratio.value:
        return []
    used = base.times(cell.price)
    if used is None:
        return []
    wanted = wording.factor(money.divide(used, ratio.value))
    return [f"a rate of exchange of {wanted} USD for one {evidence.currency} instead of {wording.factor(used)}"]
