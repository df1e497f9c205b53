"""The nouns of a bill: what it charges for one meter on one day, what was left out of it, what could not be read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.line_items import Unit, Word

if TYPE_CHECKING:
    from datetime import date, datetime
    from decimal import Decimal

    from realtime_spend.core.line_items import Part, Provider, Scope


class Scale(Word):
    """How the quantity of a billed row is known: bills do not say whether they count tokens or blocks of them."""

    # Quantity times price is the cost, or the bill names its unit.
    SINGLE = "single"
    BLOCKS = "blocks"
    # Too cheap to tell: taken for single units.
    ASSUMED = "assumed"
    # Neither fits: the quantity is not known.
    UNSETTLED = "unsettled"


@dataclass(frozen=True, slots=True, kw_only=True)
class BillProblem:
    """What of a bill, or of an estimate, could not be read, and where: the row counts from 1, a header included."""

    message: str
    file: str | None = None
    row: int | None = None
    column: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """What a meter's name, or a line item of OpenAI, says. None where the name leaves it out.

    `version` is the snapshot date that the name's stamp stands for. `problem` is a sentence where the name cannot be
    read: then all others are None, and its money is an unmapped meter's. `is_realtime` is False for a name of another
    family (chat, text to speech), which is no part of the comparison.
    """

    name: str
    model: str | None = None
    version: str | None = None
    scope: Scope | None = None
    part: Part | None = None
    problem: str | None = None
    is_realtime: bool = True

    @property
    def unit(self) -> Unit | None:
        """What the meter counts."""
        return None if self.part is None else self.part.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledItem:
    """One row of usage on a bill: `cost` in `currency` for `quantity` tokens or seconds of `meter` on a UTC day.

    `account` is the last segment of Azure's ResourceId in lower case, or the OpenAI project. `quantity` is None where
    the scale is unsettled or the meter unmapped. `to_usd` is what one unit of the currency is in USD by the row's own
    account, None where the row does not tell. `precision` is the last place that the cost is stated to.
    """

    day: date
    provider: Provider
    account: str | None
    meter: Meter
    quantity: Decimal | None
    cost: Decimal
    currency: str
    scale: Scale
    precision: Decimal
    to_usd: Decimal | None = None
    region: str | None = None
    file: str | None = None
    row: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Money of the bill that is no usage of these models, and what it is: `other meters`, `credits`, `tax`, ..."""

    what: str
    rows: int
    cost: Decimal
    currency: str


@dataclass(slots=True, kw_only=True)
class Bill:
    """All that was read of one or more bills. `first` and `last` are the days that any of their rows is about.

    `made` is when the newest of the sources was written, as it says itself; None where it does not.
    """

    items: list[BilledItem] = field(default_factory=list)
    problems: list[BillProblem] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    first: date | None = None
    last: date | None = None
    made: datetime | None = None

    def leave_out(self, what: str, cost: Decimal, currency: str, rows: int = 1) -> None:
        """Add money that is not compared to what is left out as the same, in the same currency."""
        for place, known in enumerate(self.left_out):
            if (known.what, known.currency) == (what, currency):
                self.left_out[place] = replace(known, rows=known.rows + rows, cost=money.add(known.cost, cost))
                return
        self.left_out.append(LeftOut(what=what, rows=rows, cost=cost, currency=currency))

    def add(self, other: Bill) -> None:
        """Take what another source says as well."""
        self.items += other.items
        self.problems += other.problems
        for one in other.left_out:
            self.leave_out(one.what, one.cost, one.currency, one.rows)
        self.first = min(filter(None, (self.first, other.first)), default=None)
        self.last = max(filter(None, (self.last, other.last)), default=None)
        self.made = max(filter(None, (self.made, other.made)), default=None)
