"""The sums that people want of a reconciliation: by cause, by part of a model, by day; and how its figures are written.

JSON has every digit. In tables money is rounded to as many places as the whole of it deserves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from realtime_spend.core import money
from realtime_spend.core.reconciliation.drift import State
from realtime_spend.reports.printing import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from datetime import date
    from decimal import Decimal

    from realtime_spend.core.reconciliation.drift import Cause, DriftShare, Reconciliation, Row

_Made = TypeVar("_Made")
# The last place to round money to, by how large the larger side is as a whole.
_PLACES = ((money.exact("10"), 2), (money.exact("0.1"), 4), (money.exact("0.001"), 6))
_FINEST = 9
# Seconds are sent in milliseconds; those made of the hours of a bill would have digits without end.
_FINEST_QUANTITY = money.exact("0.001")
_HUNDRED = money.exact("100")


# --- Sums ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Sums:
    """Rows added up. A quantity that one of them does not know is not known; costs are the sum of those known."""

    rows: list[Row] = field(default_factory=list)

    @property
    def estimated_quantity(self) -> Decimal | None:
        """What was counted, in tokens or seconds."""
        return _whole([row.estimated_quantity for row in self.rows])

    @property
    def billed_quantity(self) -> Decimal | None:
        """What the bill counts."""
        return _whole([row.billed_quantity for row in self.rows])

    @property
    def estimated_cost(self) -> Decimal | None:
        """What it was estimated to cost; None where nothing of it has a price."""
        return _known([row.estimated_cost for row in self.rows])

    @property
    def billed_cost(self) -> Decimal:
        """What it is billed."""
        return money.add(*(row.billed_cost for row in self.rows))

    @property
    def is_converted(self) -> bool:
        """Whether all of what is billed is in `billed_cost`: none of it lacks a rate of exchange."""
        return not any(row.unconverted for row in self.rows)

    @property
    def drift_cost(self) -> Decimal | None:
        """Billed less estimated; None where a rate of exchange is missing."""
        return _whole([row.drift_cost for row in self.rows])

    @property
    def beyond(self) -> int:
        """How many of the rows decide something and are beyond the tolerance."""
        return sum(is_beyond(row) for row in self.rows)


def is_beyond(row: Row) -> bool:
    """Whether this row is one that makes the exit status 1."""
    return row.is_beyond and row.state is not State.OPEN


@dataclass(slots=True)
class PartSum(Sums):
    """The rows of one part of one sku over the time: those of open days, or all others."""

    @property
    def first(self) -> Row:
        """Any row: what they have in common."""
        return self.rows[0]

    @property
    def is_open(self) -> bool:
        """Whether the bill of these days may still change."""
        return self.first.state is State.OPEN


@dataclass(slots=True)
class DaySum(Sums):
    """The rows of one UTC day. The day is as settled as the least settled of them."""

    @property
    def day(self) -> date:
        """The day."""
        return self.rows[0].day

    @property
    def state(self) -> State:
        """How much of the day's bill may still change."""
        return min((row.state for row in self.rows), key=list(State).index)


@dataclass(slots=True)
class CauseSum:
    """All that is under one cause, the most money first."""

    cause: Cause
    shares: list[DriftShare]

    @property
    def cost(self) -> Decimal:
        """The money under it."""
        return money.add(*(share.cost for share in self.shares))

    def by_evidence(self) -> list[list[DriftShare]]:
        """Return the shares in groups of the same sentence, the most money first."""
        groups = _grouped(self.shares, lambda share: share.evidence)
        return sorted(groups, key=lambda group: abs(money.add(*(share.cost for share in group))), reverse=True)


def place_of(shares: list[DriftShare]) -> str:
    """Return what a sentence of evidence is about: a day and a part, and how many rows it is about as well."""
    row, more = shares[0].row, len(shares) - 1
    said = " ".join(filter(None, (row.model, row.part)))
    about = f"{row.day}, {said}" if said else f"{row.day}"
    return f"{about} and {counted(more, 'more row')}" if more else about


def by_part(found: Reconciliation) -> list[list[PartSum]]:
    """Return the parts of each sku: first what is beyond the tolerance, open days last, then by drift."""
    groups = _grouped(
        found.rows,
        lambda row: (
            _sku(row),
            row.part,
            row.unit,
            row.state is State.OPEN,
        ),
    )
    sums = [PartSum(rows) for rows in groups]
    of_sku = _grouped(sums, lambda one: (_sku(one.first), one.is_open))
    return [sorted(several, key=lambda one: _rank([one])) for several in sorted(of_sku, key=_rank)]


def _sku(row: Row) -> Hashable:
    return row.provider, row.account, row.model, row.version, row.scope, row.meters if row.part is None else ()


def _rank(several: list[PartSum]) -> tuple[Any, ...]:
    drift = money.add(*(abs(one.drift_cost or money.ZERO) for one in several))
    billed = money.add(*(one.billed_cost for one in several))
    return several[0].is_open, not any(one.beyond for one in several), -drift, -billed


def by_day(found: Reconciliation) -> list[DaySum]:
    """Return the rows by UTC day, in order."""
    return sorted((DaySum(rows) for rows in _grouped(found.rows, lambda row: row.day)), key=lambda one: one.day)


def by_cause(found: Reconciliation) -> list[CauseSum]:
    """Return the shares of drift by cause, the most money first."""
    sums = [
        CauseSum(shares[0].cause, sorted(shares, key=lambda share: abs(share.cost), reverse=True))
        for shares in _grouped(found.shares, lambda share: share.cause)
    ]
    return sorted(sums, key=lambda one: abs(one.cost), reverse=True)


def _grouped(several: Iterable[_Made], key: Callable[[_Made], Hashable]) -> list[list[_Made]]:
    groups: dict[Hashable, list[_Made]] = {}
    for one in several:
        groups.setdefault(key(one), []).append(one)
    return list(groups.values())


def _whole(amounts: list[Decimal | None]) -> Decimal | None:
    known = [amount for amount in amounts if amount is not None]
    return money.add(*known) if len(known) == len(amounts) else None


def _known(amounts: list[Decimal | None]) -> Decimal | None:
    known = [amount for amount in amounts if amount is not None]
    return money.add(*known) if known else None


# --- How figures are written -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Writing:
    """Writes the money of one reconciliation, all of it to the same place. `minus` stands before what is less."""

    places: int
    minus: str = "-"
    gap: str = " "

    @classmethod
    def of(cls, found: Reconciliation, minus: str = "-", gap: str = " ") -> Writing:
        """Return the writing that fits the sums of `found`."""
        largest = max(abs(found.totals.billed_cost), abs(found.totals.estimated_cost or money.ZERO))
        places = next((places for least, places in _PLACES if largest >= least), _FINEST if largest else 2)
        return cls(places, minus, gap)

    def amount(self, amount: Decimal | None) -> str:
        """Return `1,234.50`; `unknown` of nothing known, `~0` of what is less than the last place shown."""
        if amount is None:
            return "unknown"
        rounded = money.CONTEXT.quantize(amount, money.CONTEXT.scaleb(money.exact("1"), -self.places))
        if amount and not rounded:
            return "~0"
        return f"{abs(rounded):,f}" if rounded >= 0 else f"{self.minus}{abs(rounded):,f}"

    def change(self, amount: Decimal | None) -> str:
        """Return the same with a sign before what is more, too."""
        written = self.amount(amount)
        return f"+{written}" if amount is not None and amount > 0 and written != "~0" else written

    def share(self, part: Decimal | None, whole: Decimal | None) -> str | None:
        """Return how large `part` is beside `whole` in percent, with its sign; None where that says nothing."""
        if part is None or not whole:
            return None
        percent = money.multiply(money.divide(part, abs(whole)), _HUNDRED)
        rounded = money.CONTEXT.quantize(percent, money.exact("0.1"))
        sign = "+" if rounded > 0 else self.minus if rounded < 0 else ""
        return f"{sign}{abs(rounded):,f}{self.gap}%"


def quantity(amount: Decimal | None) -> str:
    """Return tokens or seconds with their thousands apart: `1,234,567`, `42.5`."""
    if amount is None:
        return "unknown"
    amount = money.CONTEXT.quantize(amount, _FINEST_QUANTITY)
    whole, point, rest = money.plain(amount).partition(".")
    return f"{int(whole):,}{point}{rest}" if whole.lstrip("-").isdigit() and whole != "-0" else money.plain(amount)


def days_of(found: Reconciliation) -> str:
    """Return the days that were compared, in words."""
    if found.first is None or found.last is None:
        return "no day"
    return f"{found.first}" if found.first == found.last else f"{found.first} to {found.last}"


def days_by_state(found: Reconciliation) -> list[str]:
    """Return `2 open`, `28 settled`: how many of the days with usage are how far."""
    states = [one.state for one in by_day(found)]
    return [f"{states.count(state)} {state}" for state in State if state in states]


@dataclass(frozen=True, slots=True)
class Naming:
    """Names the sku of a row, with its provider and account where the reconciliation is about more than one."""

    several: bool

    @classmethod
    def of(cls, found: Reconciliation) -> Naming:
        """Return the naming that tells the rows of `found` apart."""
        return cls(len({(row.provider, row.account) for row in found.rows}) > 1)

    def sku(self, row: Row) -> str:
        """Return `gpt-realtime 2025-08-28 datazone`; of what could not be read the names of its meters."""
        if row.model is None and row.part is None:
            said = ", ".join(row.meters) or "no meter"
        else:
            said = " ".join(filter(None, (row.model or "no model", row.version, row.scope)))
        if not self.several:
            return said
        return f"{said} ({', '.join(filter(None, (row.provider, row.account)))})"

    def part(self, row: Row) -> str:
        """Return `audio.cached_input`; of what could not be read that it is a meter."""
        return "meter not read" if row.part is None else str(row.part)
