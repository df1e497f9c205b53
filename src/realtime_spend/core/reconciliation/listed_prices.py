"""What the price lists say of one part: here, on other scopes, in other regions, at other times."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from realtime_spend.core.line_items import Scope, Sku
from realtime_spend.core.rates import Reason
from realtime_spend.core.reconciliation import wording
from realtime_spend.core.reconciliation.compared import Price
from realtime_spend.core.reconciliation.exchange import USD
from realtime_spend.core.reconciliation.matching import end_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from realtime_spend.core.line_items import Part
    from realtime_spend.core.reconciliation.compared import Compared
    from realtime_spend.core.reconciliation.price_history import PriceHistory

_SCOPES = {
    Scope.GLOBAL: "the global price",
    Scope.DATAZONE: "the data-zone price",
    Scope.RESIDENCY: "the price with data residency",
}


class _Item(NamedTuple):
    """What a price is of: a part of a sku whose scope and region may be any of several."""

    sku: Sku
    part: Part
    scopes: tuple[Scope | None, ...]
    regions: tuple[str | None, ...]


class ListedPrices:
    """Reads the price lists in USD. Every day of a stretch on which no price changes has the same answers."""

    def __init__(self, history: PriceHistory) -> None:
        self._history = history
        self._known: dict[tuple[_Item, int], tuple[tuple[str, Price], ...]] = {}

    def one(self, cell: Compared, scope: Scope | None, region: str | None) -> Price | None:
        """Return the price of the part of `cell` on its day, for that scope and region."""
        item = _item(cell)
        return None if item is None else self._price(item, scope, region, end_of(cell.row.day))

    def all(self, cell: Compared) -> tuple[tuple[str, Price], ...]:
        """Return every price that the part of `cell` has anywhere, or has had or will have, and what it is."""
        item, day = _item(cell), end_of(cell.row.day)
        if item is None:
            return ()
        key = (item, self._history.period(item.sku, day))
        if key not in self._known:
            self._known[key] = (*self._scoped(item, day), *self._regional(item, day), *self._dated(item, day))
        return self._known[key]

    def _price(self, item: _Item, scope: Scope | None, region: str | None, at: datetime) -> Price | None:
        sku = Sku(
            provider=item.sku.provider, model=item.sku.model, version=item.sku.version, scope=scope, region=region
        )
        prices = self._history.prices(sku, at)
        if isinstance(prices, Reason) or prices.currency != USD:
            return None
        rate = prices.rates.get(item.part)
        return None if rate is None else Price(rate.unit_price, Decimal(rate.per))

    def _scoped(self, item: _Item, day: datetime) -> Iterator[tuple[str, Price]]:
        for scope, said in _SCOPES.items():
            price = self._price(item, scope, None, day)
            if price is not None:
                yield said, price

    def _regional(self, item: _Item, day: datetime) -> Iterator[tuple[str, Price]]:
        """Yield each regional price once, with all the regions that have it."""
        regions: dict[Price, list[str]] = {}
        for region in self._history.regions(item.sku.provider, item.sku.model):
            price = self._price(item, Scope.REGIONAL, region, day)
            if price is not None:
                regions.setdefault(price, []).append(region)
        for price, names in regions.items():
            yield f"the regional price of {wording.several(names, 'or')}", price

    def _dated(self, item: _Item, day: datetime) -> Iterator[tuple[str, Price]]:
        """Yield the prices of other times: which of them a bill still has, or has already."""
        for scope in item.scopes:
            for region in item.regions if scope is Scope.REGIONAL else (None,):
                before, now = None, self._price(item, scope, region, day)
                for instant in self._history.changes(item.sku):
                    price = self._price(item, scope, region, instant)
                    if price is not None and price not in (now, before):
                        when = "older" if instant <= day else "newer"
                        yield f"the {when} price that begins on {instant:%Y-%m-%d}", price
                    before = price


def _item(cell: Compared) -> _Item | None:
    row = cell.row
    if row.model is None:
        return None
    scopes = {row.scope} | {item.scope for item in cell.estimates}
    regions = {item.region for item in cell.estimates} | {item.region for item in cell.billed}
    return _Item(
        Sku(provider=row.provider, model=row.model, version=row.version),
        cell.part,
        tuple(sorted(scopes, key=str)),
        tuple(sorted(regions, key=str)),
    )
