"""The geometry of the page's picture by day: estimated and billed side by side, a slot a day, or a month of long times.

Templates of our own draw the pictures: there are two, they take their colours from the page (light, dark, on paper),
and they need no script and nothing to load. Coordinates are binary numbers; money is written from decimals.
"""

from __future__ import annotations

import math
from calendar import month_abbr
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

from realtime_spend.core.reconciliation.drift import State
from realtime_spend.reports.reconciliation_sums import Sums, by_day

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

    from realtime_spend.core.reconciliation.drift import Reconciliation
    from realtime_spend.reports.reconciliation_sums import DaySum, Writing

# Of more days than that, months are drawn.
_MOST_DAYS = 100
# Of more months than that, which is a wrong date on a bill, only those are drawn in which something happened.
_MOST_MONTHS = 120
_LINES = 4
# What lines may be apart, times a power of ten.
_APART = (1.0, 2.0, 2.5, 5.0, 10.0)
_TOP, _BELOW, _DIGIT = 12.0, 26.0, 9.0
# So that what is not 0 can be seen.
_THINNEST = 1.5


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle. `kind` is what it stands for, and its class in the style; `tip` the figures behind it."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    tip: str


@dataclass(frozen=True, slots=True)
class Label:
    """A text, and where it stands on its axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A day or a month. Nothing happened where there are no rows."""

    name: str
    short: str
    sums: Sums
    state: State | None


@dataclass(slots=True)
class Bars:
    """The picture: its size, where its lines begin and its names stand, and what is on it."""

    width: float
    height: float
    left: float
    bars: list[Bar] = field(default_factory=list)
    lines: list[Label] = field(default_factory=list)
    names: list[Label] = field(default_factory=list)


def slots_of(found: Reconciliation) -> list[Slot]:
    """Return every day from first to last, also those on which nothing happened; of long times every month."""
    days = by_day(found)
    said = [day for day in (found.first, found.last, *(one.day for one in days)) if day is not None]
    if not said:
        return []
    first, last = min(said), max(said)
    if (last - first).days < _MOST_DAYS:
        known = {one.day: one for one in days}
        return [_day(first + timedelta(days=number), known) for number in range((last - first).days + 1)]
    months = _months(first, last) if (last - first).days < _MOST_MONTHS * 31 else sorted(_months_of(days))
    return [_month(month, days) for month in months]


def unit_of(slots: Sequence[Slot]) -> str:
    """Return what a slot is: `day` or `month`."""
    return "month" if slots and len(slots[0].name) == len("2026-11") else "day"


def _day(day: date, known: dict[date, DaySum]) -> Slot:
    found = known.get(day)
    short = f"{day.day} {month_abbr[day.month]}"
    return Slot(day.isoformat(), short, found or Sums(), None if found is None else found.state)


def _months(first: date, last: date) -> Iterator[date]:
    month = first.replace(day=1)
    while month <= last:
        yield month
        month = (month + timedelta(days=31)).replace(day=1)


def _months_of(days: Sequence[DaySum]) -> set[date]:
    return {one.day.replace(day=1) for one in days}


def _month(month: date, days: Sequence[DaySum]) -> Slot:
    within = [one for one in days if one.day.replace(day=1) == month]
    state = min((one.state for one in within), key=list(State).index, default=None)
    rows = [row for one in within for row in one.rows]
    return Slot(month.isoformat()[: len("2026-11")], f"{month_abbr[month.month]} {month.year}", Sums(rows), state)


def bars_of(slots: Sequence[Slot], writing: Writing, *, width: float, height: float, most_names: int) -> Bars:
    """Return the picture of `slots`, at most `most_names` of them with their name below."""
    costs = [float(cost) for slot in slots for _, cost in _costs(slot) if cost]
    levels = _levels(min([0.0, *costs]), max([0.0, *costs]))
    left = 10 + _DIGIT * max(len(text) for _, text in levels)
    picture = Bars(width=width, height=height, left=left)
    per = (height - _BELOW - _TOP) / (levels[-1][0] - levels[0][0])

    def y_of(value: float) -> float:
        return height - _BELOW - (value - levels[0][0]) * per

    picture.lines = [Label(_place(y_of(value)), text) for value, text in levels]
    room = (width - left) / max(len(slots), 1)
    every = max(math.ceil(len(slots) / most_names), 1)
    for number, slot in enumerate(slots):
        begin = left + room * number
        if number % every == 0:
            picture.names.append(Label(_place(begin + room / 2), slot.short))
        for order, (what, cost) in enumerate(_costs(slot)):
            if cost:
                low, high = sorted((y_of(0), y_of(float(cost))))
                tall = max(high - low, _THINNEST)
                kind = f"{what} is-open" if slot.state is State.OPEN else what
                tip = f"{slot.name}: {what} {writing.amount(cost)}" + (" (open)" if slot.state is State.OPEN else "")
                x, thick = begin + room * (0.1 + 0.4 * order), room * 0.4
                picture.bars.append(Bar(_place(x), _place(high - tall), _place(thick), _place(tall), kind, tip))
    return picture


def _costs(slot: Slot) -> tuple[tuple[str, Decimal | None], ...]:
    return ("estimated", slot.sums.estimated_cost), ("billed", slot.sums.billed_cost)


def _levels(lowest: float, highest: float) -> list[tuple[float, str]]:
    """Return where lines go, from one at or below `lowest` to one at or above `highest`, with what they are called."""
    if lowest == highest:
        return [(0.0, "0"), (1.0, "1")]
    step = round_step((highest - lowest) / _LINES)
    digits = max(-math.floor(math.log10(step) + 1e-9), 0) + (1 if _has_half(step) else 0)
    numbers = range(math.floor(lowest / step + 1e-9), math.ceil(highest / step - 1e-9) + 1)
    return [(number * step, f"{number * step:,.{digits}f}" if number else "0") for number in numbers]


def round_step(least: float) -> float:
    """Return the smallest round number that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(times * power for times in _APART if times * power >= least * (1 - 1e-9))


def _has_half(step: float) -> bool:
    """Whether it is 2.5 of some power of ten."""
    # 25 and more need no digit behind the point.
    return f"{step:e}".startswith("2.5") and step < _APART[-1]


def _place(value: float) -> float:
    """Return a coordinate as exact as a screen is."""
    return round(value, 2)
