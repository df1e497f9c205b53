"""The rates of a price list by sku and instant, each looked up once for all the days on which they hold."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from realtime_spend.core.line_items import Provider, Sku
    from realtime_spend.core.rates import Prices, RateBook, Reason


class PriceHistory:
    """A rate book that is asked about the same skus on many days."""

    def __init__(self, book: RateBook) -> None:
        self._book = book
        self._changes: dict[tuple[Provider, str], list[datetime]] = {}
        self._held: dict[tuple[Sku, int], Prices | Reason] = {}
        self._regions: dict[tuple[Provider, str], list[str]] = {}

    def prices(self, sku: Sku, at: datetime) -> Prices | Reason:
        """Return the rates that held for `sku` at the instant `at`, or the reason why there is none."""
        key = (sku, self.period(sku, at))
        if key not in self._held:
            self._held[key] = self._book.prices(sku, at)
        return self._held[key]

    def period(self, sku: Sku, at: datetime) -> int:
        """Return the number of the stretch of time around `at` in which the rates of `sku` do not change."""
        return bisect_right(self.changes(sku), at)

    def changes(self, sku: Sku) -> list[datetime]:
        """Return the instants at which the rates of `sku` may change, in order."""
        key = (sku.provider, sku.model)
        if key not in self._changes:
            self._changes[key] = self._book.changes(sku)
        return self._changes[key]

    def regions(self, provider: Provider, model: str) -> list[str]:
        """Return the regions that have prices of their own for the model, by name."""
        key = (provider, model)
        if key not in self._regions:
            rows = [row for card in self._book.cards if card.provider is provider for row in card.rows]
            self._regions[key] = sorted({name for row in rows if row.model == model for name in row.regions or ()})
        return self._regions[key]
