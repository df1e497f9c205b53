"""Usage that is billed on the day before or after the one it was counted on: what one day lacks its neighbour has."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.line_items import Component
from realtime_spend.core.reconciliation import wording
from realtime_spend.core.reconciliation.compared import agree
from realtime_spend.core.reconciliation.drift import Cause

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date
    from decimal import Decimal

    from realtime_spend.core.reconciliation.compared import Compared, Group

_DAY = timedelta(days=1)
_PAIR = 2


def shift_whole_days(groups: Sequence[Group]) -> None:
    """Find days of which the bill has nothing, while a neighbour has all of it and perhaps more.

    It is looked for first: what else is wrong with the neighbour can only be seen without it.
    """
    by_day = {group.key: group for group in groups}
    for group in groups:
        if not _is_wholly_unbilled(group):
            continue
        for step in (_DAY, -_DAY):
            neighbour = by_day.get(group.key._replace(day=group.key.day + step))
            if neighbour is not None and _has_all_of(neighbour, group):
                _move_day(group, neighbour)
                break


def shift_exact_days(groups: Sequence[Group]) -> None:
    """Find neighbouring days whose differences in a part cancel: a clock that is not UTC, usage around midnight."""
    series: dict[object, list[Compared]] = {}
    for group in groups:
        for part, cell in group.by_part.items():
            if cell.left:
                series.setdefault((*group.key[1:], part), []).append(cell)
    for cells in series.values():
        ordered = sorted(cells, key=lambda cell: cell.row.day)
        for run in _cancelling(ordered):
            _move_run(run)
        _move_nearly_equal([cell for cell in ordered if cell.left])


def _is_wholly_unbilled(group: Group) -> bool:
    cells = [cell for cell in group.cells if cell.left]
    return bool(cells) and all(not cell.billed_quantity and cell.left < 0 for cell in cells)


def _pool(cell: Compared) -> object:
    """Return what is compared as one: the cache may have been billed otherwise as well, so that input is one pool."""
    part = cell.part
    return (part.modality, "input" if part.component is Component.CACHED_INPUT else part.component)


def _pools(cells: Sequence[Compared]) -> dict[object, Decimal]:
    found: dict[object, Decimal] = {}
    for cell in cells:
        pool = _pool(cell)
        found[pool] = money.add(found.get(pool, money.ZERO), cell.left)
    return found


def _has_all_of(neighbour: Group, group: Group) -> bool:
    lacking = [cell for cell in group.cells if cell.left]
    if not all(cell.part in neighbour.by_part for cell in lacking):
        return False
    more = _pools(neighbour.cells)
    return all(more.get(pool, money.ZERO) >= lack.copy_negate() for pool, lack in _pools(lacking).items())


def _move_day(group: Group, neighbour: Group) -> None:
    for cell in group.cells:
        if cell.left:
            lack = cell.left.copy_negate()
            said = _words(lack, cell, group.key.day, neighbour.key.day)
            cell.take(Cause.DAY_SHIFT, cell.left, said)
            neighbour.by_part[cell.part].take(Cause.DAY_SHIFT, lack, said)


def _words(quantity: Decimal, cell: Compared, counted: date, billed: date) -> str:
    return f"{wording.units(quantity, cell.row.unit)} counted on {counted} are on the bill of {billed}."


def _cancelling(ordered: Sequence[Compared]) -> Iterator[Sequence[Compared]]:
    """Yield the shortest runs of neighbouring days whose differences add up to exactly nothing."""
    start, running, seen = 0, money.ZERO, {money.ZERO: 0}
    for place, cell in enumerate(ordered):
        if place and cell.row.day - ordered[place - 1].row.day != _DAY:
            start, running, seen = place, money.ZERO, {money.ZERO: place}
        running = money.add(running, cell.left)
        if running in seen:
            yield ordered[max(seen[running], start) : place + 1]
            start, running, seen = place + 1, money.ZERO, {money.ZERO: place + 1}
        else:
            seen[running] = place + 1


def _move_run(run: Sequence[Compared]) -> None:
    first, last = run[0], run[-1]
    if len(run) == _PAIR:
        counted, billed = (first, last) if first.left < 0 else (last, first)
        said = _words(billed.left, billed, counted.row.day, billed.row.day)
    else:
        said = (
            f"The differences from {first.row.day} to {last.row.day} cancel exactly: "
            "usage of one day is billed on the next."
        )
    for cell in run:
        cell.take(Cause.DAY_SHIFT, cell.left, said)


def _move_nearly_equal(ordered: Sequence[Compared]) -> None:
    for one, other in pairwise(ordered):
        is_near = other.row.day - one.row.day == _DAY and (one.left < 0) is not (other.left < 0)
        if is_near and agree(one.left.copy_abs(), other.left.copy_abs()):
            counted, billed = (one, other) if one.left < 0 else (other, one)
            moved = min(one.left.copy_abs(), other.left.copy_abs())
            said = _words(moved, billed, counted.row.day, billed.row.day)
            counted.take(Cause.DAY_SHIFT, moved.copy_negate(), said)
            billed.take(Cause.DAY_SHIFT, moved, said)
