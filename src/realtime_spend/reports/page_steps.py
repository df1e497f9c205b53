"""The geometry of the page's picture of the drift: from the estimate, cause by cause, down to the bill."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from realtime_spend.core import money
from realtime_spend.core.reconciliation.drift import Cause
from realtime_spend.reports.page_bars import Bar, round_step
from realtime_spend.reports.page_words import spoken
from realtime_spend.reports.reconciliation_sums import by_cause

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from realtime_spend.core.reconciliation.drift import Reconciliation
    from realtime_spend.reports.reconciliation_sums import Writing

# Where all steps are within so small a part of the whole, bars from 0 on would not show them.
_SMALL = 0.35
_THINNEST = 1.5


@dataclass(frozen=True, slots=True)
class Step:
    """One line: a sum, or what one cause adds to it. `text_y` is where its name and its amount stand."""

    name: str
    amount: str
    bar: Bar
    text_y: float


@dataclass(slots=True)
class Steps:
    """The picture. A joint leads from bar to bar: x, from y, to y. Bars are drawn from the amount `begin` on."""

    width: float
    height: float
    name_x: float
    steps: list[Step] = field(default_factory=list)
    joints: list[tuple[float, float, float]] = field(default_factory=list)
    begin: str | None = None


class _Level(NamedTuple):
    name: str
    kind: str
    amount: Decimal
    begin: Decimal
    end: Decimal


class _Layout(NamedTuple):
    """How the lines are laid out: where bars may be, how tall they are, how far apart, how far below its line's top."""

    left: float
    right: float
    tall: float
    each: float
    below: float
    text: float


_WIDE = _Layout(left=190, right=110, tall=22, each=38, below=8, text=15.5)
# The name stands above its bar.
_NARROW = _Layout(left=0, right=0, tall=14, each=48, below=24, text=-7)


def steps_of(found: Reconciliation, writing: Writing, *, width: float, is_narrow: bool) -> Steps | None:
    """Return the picture; None where a rate of exchange is missing, or where there is nothing to show."""
    levels = _levels(found)
    if levels is None:
        return None
    layout = _NARROW if is_narrow else _WIDE
    begin = _begin([float(level.end) for level in levels])
    values = [begin, *(float(level) for one in levels for level in (one.begin, one.end))]
    low, high = max(min(values), begin) if begin else min(values), max(values)
    per = (width - layout.left - layout.right) / ((high - low) or 1.0)

    def x_of(value: Decimal) -> float:
        return layout.left + (max(float(value), low) - low) * per

    picture = Steps(width=width, height=layout.each * len(levels), name_x=layout.left - 12 if layout.left else 0)
    for number, level in enumerate(levels):
        top = layout.each * number + layout.below
        near, far = sorted((x_of(level.begin), x_of(level.end)))
        is_sum = level.kind in ("estimated", "billed")
        amount = writing.amount(level.amount) if is_sum else writing.change(level.amount)
        tip = f"{level.name}: {amount} {found.currency}"
        bar = Bar(round(near, 2), top, round(max(far - near, _THINNEST), 2), layout.tall, level.kind, tip)
        picture.steps.append(Step(level.name, amount, bar, top + layout.text))
        if number:
            joint = round(x_of(levels[number - 1].end), 2)
            picture.joints.append((joint, top - layout.each + layout.tall, top))
    picture.begin = f"{begin:,.6f}".rstrip("0").rstrip(".") if begin else None
    return picture


def _levels(found: Reconciliation) -> list[_Level] | None:
    estimated, billed, drift = found.totals.estimated_cost, found.totals.billed_cost, found.totals.drift_cost
    if estimated is None or drift is None or not (estimated or billed):
        return None
    levels = [_Level("Estimate", "estimated", estimated, money.ZERO, estimated)]
    for one in by_cause(found):
        if one.cost:
            kind = "is-open" if one.cause is Cause.NOT_SETTLED else "more" if one.cost > 0 else "less"
            before = levels[-1].end
            levels.append(_Level(spoken(one.cause), kind, one.cost, before, money.add(before, one.cost)))
    return [*levels, _Level("Bill", "billed", billed, money.ZERO, billed)]


def _begin(levels: Sequence[float]) -> float:
    """Return what bars are drawn from: a round amount below all of them where they hardly differ, else 0."""
    low, high = min(levels), max(levels)
    if low <= 0 or not 0 < high - low < _SMALL * high:
        return 0.0
    step = round_step((high - low) / 2)
    return max(math.floor((low - (high - low) / 2) / step) * step, 0.0)
