"""Running totals read back: the greatest that anybody wrote down counts, and each day has what it grew by on it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.usage import RANK

if TYPE_CHECKING:
    from decimal import Decimal

    from realtime_spend.estimates.ledger import Entry


def greatest(entry: Entry, known: Entry) -> Entry:
    """Return what two accounts of one total come to: the greater, at the price that either of them knows.

    It matters not which of them was reported: what is charged for a start over WebRTC is an estimate, and a reported
    total that is less has not used it up.
    """
    more, less = (entry, known) if _total(entry) > _total(known) else (known, entry)
    if not more.quantities and RANK[less.reported] > RANK[more.reported]:
        return less
    if more.cost is not None or less.cost is None or not _total(less):
        return more
    # A sideband that did not learn its model may have listened for longer than those who did.
    share = money.divide(_total(more), _total(less))
    return replace(_scaled(less, share), at=more.at, status=more.status, quantities=more.quantities, raw=more.raw)


def increase(entry: Entry, before: Entry) -> Entry | None:
    """Return what a total has grown by, None if it has not. A part of it has that share of the cost."""
    total, known = _total(entry), _total(before)
    if total <= known:
        return None
    grown = _scaled(entry, money.divide(money.subtract(total, known), total))
    quantities = {
        part: money.subtract(many, before.quantities.get(part, money.ZERO)) for part, many in entry.quantities.items()
    }
    return replace(grown, quantities=quantities)


def _total(entry: Entry) -> Decimal:
    return money.add(*entry.quantities.values())


def _scaled(entry: Entry, share: Decimal) -> Entry:
    """Return an entry of which all that it costs is so many times as much."""

    def of(amount: Decimal | None) -> Decimal | None:
        return None if amount is None else money.CONTEXT.quantize(money.multiply(amount, share), money.PLACES)

    return replace(
        entry,
        costs={part: of(cost) for part, cost in entry.costs.items()},
        cost=of(entry.cost),
        low=of(entry.low),
        high=of(entry.high),
    )
