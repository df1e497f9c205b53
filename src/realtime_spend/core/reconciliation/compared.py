"""One key of the comparison: its two sides, and what of its drift no cause has taken yet.

The drift of a key, what was billed less what was estimated, falls into two parts:

    (billed quantity - estimated quantity) * estimated price      what is another quantity
    billed quantity * (billed price - estimated price)            what is another price

In this order a fault of quantity is worth what we would have estimated for it, had we seen it, and a fault of price is
its factor on all that was billed. Two faults at once are then each given the money that each brings about: a missing
transcription at the list price, and a regional surcharge on every billed token, those of the missing one among them.
The second part is the remainder of an exact subtraction, so that both always add up to the drift.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from realtime_spend.core import money
from realtime_spend.core.reconciliation.drift import Cause, DriftShare, Row, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from realtime_spend.core.line_items import Part, Provider, Scope
    from realtime_spend.core.reconciliation.bills import BilledItem
    from realtime_spend.core.reconciliation.estimated import Estimate

# Quantities agree within a thousandth: a bill counts the same tokens, but a session may end on the other side of
# midnight, and hours are stated to so many places.
AGREEMENT = Decimal("0.001")
_ORDER = {cause: place for place, cause in enumerate(Cause)}


class GroupKey(NamedTuple):
    """All parts of one sku on one day: what the causes of quantity look at together."""

    day: date
    provider: Provider
    account: str | None
    model: str | None
    version: str | None
    scope: Scope | None


class Price(NamedTuple):
    """So much `cost` for so much `quantity`: kept apart, since the price of one second may have no end."""

    cost: Decimal
    quantity: Decimal

    def of(self, quantity: Decimal) -> Decimal:
        """Return what `quantity` costs, to 12 places."""
        return money.CONTEXT.quantize(money.divide(money.multiply(quantity, self.cost), self.quantity), money.PLACES)

    def times(self, other: Price) -> Decimal | None:
        """Return how many times `other` this is, None where that is nothing."""
        below = money.multiply(other.cost, self.quantity)
        return money.divide(money.multiply(self.cost, other.quantity), below) if below else None


@dataclass(slots=True, kw_only=True)
class Compared:
    """A row and what it is made of.

    `rounding` is the most that rounding can come to. `unpriced` is the estimated quantity that no card prices, and
    `price` what the rest was estimated at, in the bill's currency. `left` and `money_left` are the difference in
    quantity that no cause has taken yet and what it is worth.
    """

    row: Row
    estimates: Sequence[Estimate]
    billed: Sequence[BilledItem]
    rounding: Decimal
    unpriced: Decimal
    price: Price | None = None
    left: Decimal = money.ZERO
    money_left: Decimal = money.ZERO
    _taken: dict[Cause, tuple[Decimal, list[str]]] = field(default_factory=dict)

    @property
    def group(self) -> GroupKey:
        """The sku and the day that this is a part of."""
        row = self.row
        return GroupKey(row.day, row.provider, row.account, row.model, row.version, row.scope)

    @property
    def part(self) -> Part:
        """The part, of which only a meter that nobody can read has none."""
        if self.row.part is None:
            raise ValueError("a meter that cannot be read has no part")
        return self.row.part

    @property
    def drift(self) -> Decimal:
        """The drift, 0 where it is not known."""
        return self.row.drift_cost or money.ZERO

    @property
    def is_open(self) -> bool:
        """Whether the bill of its day may still lack usage."""
        return self.row.state is State.OPEN

    @property
    def estimated(self) -> Decimal:
        """What was counted and has a price."""
        return money.subtract(self.row.estimated_quantity or money.ZERO, self.unpriced)

    @property
    def billed_quantity(self) -> Decimal:
        """What was billed, 0 where that is not known."""
        return self.row.billed_quantity or money.ZERO

    @property
    def billed_price(self) -> Price | None:
        """What a unit was billed at, None where nothing was."""
        return Price(self.row.billed_cost, self.billed_quantity) if self.billed_quantity > 0 else None

    def put(self, cause: Cause, cost: Decimal, evidence: str) -> None:
        """Put `cost` of the drift under `cause`."""
        before, sentences = self._taken.get(cause, (money.ZERO, []))
        kept = sentences if evidence in sentences else [*sentences, evidence]
        self._taken[cause] = (money.add(before, cost), kept)

    def take(self, cause: Cause, quantity: Decimal, evidence: str) -> None:
        """Put so much of the difference that is left under `cause`; with the last of it, all the money that is left."""
        if not quantity:
            return
        cost = self.money_left if quantity == self.left else self.worth(quantity)
        self.left = money.subtract(self.left, quantity)
        self.money_left = money.subtract(self.money_left, cost)
        self.put(cause, cost, evidence)

    def has(self, *causes: Cause) -> bool:
        """Whether any of its drift is under one of `causes`."""
        return any(cause in self._taken for cause in causes)

    def worth(self, quantity: Decimal) -> Decimal:
        """Return what `quantity` was estimated at."""
        return self.price.of(quantity) if self.price else money.ZERO

    def shares(self) -> list[DriftShare]:
        """Return where the drift went, in the order of precedence.

        No share is 0, but of usage that is not billed by the token: it has no drift, and should be seen all the same.
        """
        shown = (Cause.PROVISIONED, Cause.UNPRICED)
        return [
            DriftShare(cause=cause, row=self.row, cost=cost, evidence=" ".join(sentences))
            for cause, (cost, sentences) in sorted(self._taken.items(), key=lambda entry: _ORDER[entry[0]])
            if cost or cause in shown
        ]


def agree(left: Decimal, right: Decimal) -> bool:
    """Whether two quantities are the same within a thousandth of the larger."""
    return money.subtract(left, right).copy_abs() <= money.multiply(max(left.copy_abs(), right.copy_abs()), AGREEMENT)


def total(quantities: Iterable[Decimal]) -> Decimal:
    """Return the sum of `quantities`."""
    return money.add(*quantities)


class Group:
    """The cells of one sku on one day, by part."""

    def __init__(self, key: GroupKey) -> None:
        self.key = key
        self.by_part: dict[Part, Compared] = {}

    def add(self, cell: Compared) -> None:
        """Take another part."""
        self.by_part[cell.part] = cell

    @property
    def cells(self) -> list[Compared]:
        """All of them."""
        return list(self.by_part.values())

    @property
    def is_interval(self) -> bool:
        """Whether some usage of the day came without the split of its cached tokens.

        Metrics tell no bounds of it, but the cost of cached tokens that are counted as others.
        """
        return any(
            cell.row.estimated_low is not None or (cell.row.estimated_cost and not cell.row.estimated_quantity)
            for cell in self.cells
        )
