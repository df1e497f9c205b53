"""What pricing usage again changes: sums before and after, and of what their difference consists.

In each row, to the last digit: after = before + difference + what gained a price - what lost one. The difference is of
what has a price on both sides, part by part, so that no unknown price is ever taken for 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from realtime_spend.core import money

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from decimal import Decimal

    from realtime_spend.core.spending import Group, Spent

_UNPRICED_GOES_WITH = "USD"


@dataclass(slots=True, kw_only=True)
class Side:
    """What some usages cost by one set of prices: the sum of what is priced, from `low` to `cost`; None of nothing."""

    usages: int = 0
    unpriced: int = 0
    cost: Decimal | None = None
    low: Decimal | None = None

    def add(self, entry: Spent) -> None:
        """Add one usage."""
        self.usages += 1
        self.unpriced += None in entry.costs.values()
        if entry.cost is not None:
            self.low = money.add(self.low or money.ZERO, entry.cost if entry.low is None else entry.low)
            self.cost = money.add(self.cost or money.ZERO, entry.cost)

    @property
    def is_interval(self) -> bool:
        """Whether the cost is an upper bound because a service did not split its counts."""
        return self.low != self.cost


@dataclass(slots=True, kw_only=True)
class Tally:
    """A number of usages and what they, or those parts of them that are meant, cost together; None of none."""

    usages: int = 0
    cost: Decimal | None = None

    def add(self, cost: Decimal) -> None:
        """Add one usage."""
        self.usages += 1
        self.cost = money.add(self.cost or money.ZERO, cost)


@dataclass(slots=True, kw_only=True)
class PriceChange:
    """The sums of some usages in one currency before and after.

    `changed` counts the usages that cost, or may cost, another amount. `gained` is of those that had no price in this
    currency before, or none for some part; `lost` of those that have none any more, or none for some part.
    """

    before: Side = field(default_factory=Side)
    after: Side = field(default_factory=Side)
    difference: Decimal | None = None
    usages: int = 0
    changed: int = 0
    gained: Tally = field(default_factory=Tally)
    lost: Tally = field(default_factory=Tally)


Entry = TypeVar("Entry", bound="Spent")


def price_changes(
    pairs: Iterable[tuple[Entry, Entry]], group: Callable[[Entry], tuple[str | None, ...]]
) -> dict[Group, PriceChange]:
    """Add up usages before and after, by what `group` says of them as they are after, and by currency."""
    found: dict[Group, PriceChange] = {}
    for before, after in pairs:
        key = group(after)
        left, right = _currencies(before, after)
        old = found.setdefault((key, left), PriceChange())
        new = found.setdefault((key, right), PriceChange())
        old.before.add(before)
        new.after.add(after)
        new.usages += 1
        if old is not new:
            old.usages += 1
        if old is new and before.cost is not None and after.cost is not None:
            new.changed += (before.cost, before.low) != (after.cost, after.low)
            _compare(new, before, after, money.subtract(after.cost, before.cost))
            continue
        if before.cost is not None:
            old.lost.add(before.cost)
        if after.cost is not None:
            new.gained.add(after.cost)
    return found


def _compare(change: PriceChange, before: Spent, after: Spent, moved: Decimal) -> None:
    """Tell apart what of the amount that `moved` was gained, was lost, and is the difference of known prices."""
    gained, lost = _known_there_alone(after, before), _known_there_alone(before, after)
    if gained:
        change.gained.add(money.add(*gained))
    if lost:
        change.lost.add(money.add(*lost))
    difference = money.subtract(money.add(moved, *lost), money.add(*gained))
    # Where no part has a price on both sides, nothing is compared, not even to nothing.
    is_compared = any(
        cost is not None and before.costs.get(part, cost) is not None for part, cost in after.costs.items()
    )
    if is_compared or difference:
        change.difference = money.add(change.difference or money.ZERO, difference)


def _known_there_alone(there: Spent, here: Spent) -> list[Decimal]:
    """Return the costs of parts that have no price `here`. A part that is not `here` at all costs nothing there."""
    return [cost for part, cost in there.costs.items() if cost is not None and here.costs.get(part, cost) is None]


def _currencies(before: Spent, after: Spent) -> tuple[str, str]:
    """Return the currencies of both sides; a side without one stands with the other."""
    left, right = before.currency, after.currency
    return left or right or _UNPRICED_GOES_WITH, right or left or _UNPRICED_GOES_WITH
