"""What would have been estimated for usage that was billed and never counted, had it been seen."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.line_items import Scope
from realtime_spend.core.reconciliation.compared import Compared, Price
from realtime_spend.core.reconciliation.price_fits import Ratio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime_spend.core.reconciliation.evidence import Evidence

_ONE = Decimal(1)
# Two ratios are the same within this; a regional list rounds some of its prices, to this at worst.
_SAME = Decimal("0.0001")
_NEAR = Decimal("0.02")


def expect_prices(cells: Sequence[Compared], evidence: Evidence) -> None:
    """Give what was billed without having been counted the price that we would have estimated it at.

    That is the billed price, unless what was counted of the same model, else of the same account, is billed at another
    price than estimated, and a list price times the same ratio is the billed price: that surcharge or that discount
    is then on these tokens too.
    """
    uncounted = [cell for cell in cells if cell.price is None and not cell.unpriced]
    ratios = _Ratios(cells if uncounted else ())
    for cell in uncounted:
        billed = cell.billed_price
        if billed is not None:
            cell.price = _expected(cell, billed, ratios, evidence) or billed


class _Ratios:
    """How many times their estimates the counted meters of a day were billed at, the most frequent first."""

    def __init__(self, cells: Sequence[Compared]) -> None:
        self._found: dict[object, Counter[Decimal]] = {}
        for cell in cells:
            ratio = Ratio.of(cell)
            if ratio is not None and ratio.doubt <= _SAME:
                for place in _places(cell):
                    rounded = money.CONTEXT.quantize(ratio.value, _SAME)
                    self._found.setdefault(place, Counter())[rounded] += 1

    def of(self, cell: Compared) -> list[Decimal]:
        """Return the ratios of the model of `cell`, then the others of its account."""
        found: dict[Decimal, None] = {}
        for place in _places(cell):
            counts = self._found.get(place, Counter())
            found |= dict.fromkeys(sorted(counts, key=lambda ratio: (-counts[ratio], ratio)))
        return list(found)


def _places(cell: Compared) -> list[object]:
    row = cell.row
    account = (row.day, row.provider, row.account)
    return [(*account, row.model), account]


def _expected(cell: Compared, billed: Price, ratios: _Ratios, evidence: Evidence) -> Price | None:
    """Return the list price that one of the ratios leads from: the first that fits exactly, else the nearest."""
    nearest: tuple[Decimal, Price] | None = None
    prices = list(_list_prices(cell, evidence))
    for ratio in ratios.of(cell):
        for price in prices:
            times = billed.times(price)
            if times is None:
                continue
            expected = billed if ratio == _ONE else price
            off = money.divide(money.subtract(times, ratio).copy_abs(), ratio) if ratio else _ONE
            if off <= _SAME:
                return expected
            if off <= _NEAR and (nearest is None or off < nearest[0]):
                nearest = (off, expected)
    return nearest[1] if nearest else None


def _list_prices(cell: Compared, evidence: Evidence) -> Iterator[Price]:
    """Yield what a price list says of the part in the bill's currency: as global, then on the scope of the meter."""
    rate = cell.row.to_usd
    if not rate:
        return
    places: list[tuple[Scope | None, str | None]] = [(Scope.GLOBAL, None), (cell.row.scope, None)]
    if cell.row.scope is Scope.REGIONAL:
        places += [(Scope.REGIONAL, region) for region in sorted({item.region for item in cell.billed if item.region})]
    for scope, region in places:
        found = evidence.listed.one(cell, scope, region)
        if found is not None:
            yield Price(money.divide(found.cost, rate), found.quantity)
