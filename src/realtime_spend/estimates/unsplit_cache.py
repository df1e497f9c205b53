"""The bounds of each part's cost where a service said how many tokens were cached, but not of which modality.

They follow from what a record holds: the input of a modality, cached or not, is known, and so is the sum of what was
cached. What one modality has of that sum is at least what the others have no room for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.line_items import CACHED_INPUT_OF, INPUT_OF, Modality, Provider, Scope, Sku
from realtime_spend.core.rates import Prices

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from realtime_spend.core.line_items import Part
    from realtime_spend.core.rates import RateBook
    from realtime_spend.estimates.ledger import Entry


def bounds_of(entry: Entry, book: RateBook | None) -> Mapping[str, tuple[Decimal, Decimal]]:
    """Return the least and the most that each part in doubt may cost; none of a usage whose cost is no interval.

    A part that has no tokens in the split that was recorded has no price there either: its rate is that of `book`.
    Without one it is left out.
    """
    if entry.low is None or entry.low == entry.high:
        return {}
    quantities = entry.quantities
    inputs = {
        modality: money.add(*(quantities.get(of[modality], money.ZERO) for of in (INPUT_OF, CACHED_INPUT_OF)))
        for modality in Modality
    }
    room = money.add(*inputs.values())
    cached = money.add(*(quantities.get(part, money.ZERO) for part in CACHED_INPUT_OF.values()))
    found: dict[str, tuple[Decimal, Decimal]] = {}
    for modality, whole in inputs.items():
        least = max(money.ZERO, money.subtract(cached, money.subtract(room, whole)))
        most = min(cached, whole)
        for part, low, high in (
            (CACHED_INPUT_OF[modality], least, most),
            (INPUT_OF[modality], money.subtract(whole, most), money.subtract(whole, least)),
        ):
            price = _recorded(entry, part) or _listed(entry, part, book)
            if price is not None and low != high:
                found[part] = (money.multiply(low, price), money.multiply(high, price))
    return found


def _recorded(entry: Entry, part: Part) -> Decimal | None:
    quantity, cost = entry.quantities.get(part), entry.costs.get(part)
    return money.divide(cost, quantity) if quantity and cost is not None else None


def _listed(entry: Entry, part: Part, book: RateBook | None) -> Decimal | None:
    if book is None or entry.model is None:
        return None
    sku = Sku(
        provider=Provider(entry.provider),
        model=entry.model,
        version=entry.version,
        scope=Scope(entry.scope) if entry.scope in set(Scope) else None,
        region=entry.region,
    )
    prices = book.prices(sku, entry.at)
    rate = prices.rates.get(part) if isinstance(prices, Prices) else None
    return None if rate is None else rate.each
