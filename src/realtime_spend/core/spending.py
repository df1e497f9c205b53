"""Adding up what a ledger holds, by day, model, session or any attribute, without losing what has no price."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from realtime_spend.core import money
from realtime_spend.core.usage import Reported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from decimal import Decimal


class Spent(Protocol):
    """What one ledger entry says that can be added up."""

    @property
    def at(self) -> datetime:
        """The aware instant of the event."""

    @property
    def reported(self) -> Reported:
        """How the usage is known."""

    @property
    def quantities(self) -> Mapping[str, Decimal]:
        """Disjoint quantities by part."""

    @property
    def costs(self) -> Mapping[str, Decimal | None]:
        """Costs by part, None where there is no price."""

    @property
    def cost(self) -> Decimal | None:
        """The sum of what is priced."""

    @property
    def low(self) -> Decimal | None:
        """The lower bound where the cost is an interval."""

    @property
    def currency(self) -> str | None:
        """What the cost is in."""


@dataclass(slots=True, kw_only=True)
class Spending:
    """The sum of some usages in one currency, and how many of them are not, or not wholly, in it."""

    quantities: dict[str, Decimal] = field(default_factory=dict)
    costs: dict[str, Decimal] = field(default_factory=dict)
    cost: Decimal | None = None
    low: Decimal | None = None
    usages: int = 0
    unpriced: int = 0
    missing: int = 0
    lost: int = 0

    def add(self, entry: Spent) -> None:
        """Add one usage."""
        self.usages += 1
        self.missing += entry.reported is Reported.MISSING
        self.lost += entry.reported is Reported.LOST
        self.unpriced += any(cost is None for cost in entry.costs.values())
        for part, quantity in entry.quantities.items():
            self.quantities[part] = money.add(self.quantities.get(part, money.ZERO), quantity)
        for part, cost in entry.costs.items():
            if cost is not None:
                self.costs[part] = money.add(self.costs.get(part, money.ZERO), cost)
        if entry.cost is not None:
            low = entry.cost if entry.low is None else entry.low
            self.low = money.add(self.low or money.ZERO, low)
            self.cost = money.add(self.cost or money.ZERO, entry.cost)

    @property
    def is_interval(self) -> bool:
        """Whether the cost is an upper bound because a service did not split its counts."""
        return self.low != self.cost


# What a group's members have in common, and the currency of its sums.
Group = tuple[tuple[str | None, ...], str]
Entry = TypeVar("Entry", bound=Spent)


def spending(entries: Iterable[Entry], group: Callable[[Entry], tuple[str | None, ...]]) -> dict[Group, Spending]:
    """Add `entries` up by what `group` says of them and by currency.

    Usages without a price go with the only currency that there is, with USD where there are several or none.
    """
    entries = list(entries)
    currencies = {entry.currency for entry in entries if entry.currency is not None}
    home = currencies.pop() if len(currencies) == 1 else "USD"
    found: dict[Group, Spending] = {}
    for entry in entries:
        key = (group(entry), entry.currency or home)
        found.setdefault(key, Spending()).add(entry)
    return found
