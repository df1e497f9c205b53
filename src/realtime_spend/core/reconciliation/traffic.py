"""Usage that nobody observed: all meters of a model are billed above the count by one factor, or a model is unknown."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.line_items import Component
from realtime_spend.core.reconciliation import wording
from realtime_spend.core.reconciliation.drift import Cause

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet
    from datetime import date

    from realtime_spend.core.line_items import Provider
    from realtime_spend.core.reconciliation.compared import Compared, Group

_ONE = Decimal(1)
# Sessions that nobody saw are not the exact image of those that somebody did.
_SPREAD = Decimal("0.1")
# A factor on a small count is rounded to whole tokens.
_WHOLE = Decimal(2)
_LEAST = Decimal("0.001")
_FEWEST = 2


def unobserved(
    groups: Sequence[Group],
    counted: AbstractSet[object],
    unplaced: AbstractSet[tuple[date, Provider, str | None]],
) -> None:
    """Find traffic that was not seen at all.

    One meter that is too high is no traffic: sessions use all meters of a model. So the evidence is one factor on all
    of them, or a model (a version, a scope) of which nothing was counted while no other row of it lacks anything.
    `counted` has the provider, account and model of all that was counted on any day, those still open included.
    `unplaced` is the usage under no account that the bill has: a model of it may have been counted for any account.
    """
    ever = {use[1:] for use in unplaced}
    siblings: dict[object, list[Group]] = {}
    for group in groups:
        siblings.setdefault(group.key[:4], []).append(group)
    for group in groups:
        if any(cell.estimates for cell in group.cells):
            _factor(group)
        elif (key := group.key)[:2] + key[3:4] not in unplaced:
            is_ever_counted = key[1:4] in counted or (key.provider, key.model) in ever
            _absent(group, siblings[key[:4]], is_ever_counted=is_ever_counted)


def _absent(group: Group, siblings: Sequence[Group], *, is_ever_counted: bool) -> None:
    if any(cell.left < 0 for other in siblings for cell in other.cells):
        return
    key = group.key
    name = f"{key.model} {key.version}" if key.version else f"{key.model}"
    when = f"on {key.day}" if is_ever_counted else "on any day"
    for cell in group.cells:
        if cell.left > 0:
            billed = wording.units(cell.billed_quantity, cell.row.unit)
            account = f" in {key.account}" if key.account else ""
            where = f" on the scope {key.scope}" if len(siblings) > 1 and key.scope else ""
            said = f"{billed} of {name} billed{account}; none of it was counted{where} {when}."
            cell.take(Cause.UNOBSERVED_TRAFFIC, cell.left, said)


class _Meter:
    """One meter, or both of the input of a modality where tokens of it moved from one to the other."""

    def __init__(self, cells: Sequence[Compared]) -> None:
        self.cells = cells
        self.counted = money.add(*(cell.estimated for cell in cells))
        self.left = money.add(*(cell.left for cell in cells))

    @property
    def excess(self) -> Decimal:
        """Return how much more than was counted is left, as a share of it."""
        return money.divide(self.left, self.counted)

    def expected(self, excess: Decimal) -> Decimal:
        """Return what more a factor on all meters would come to."""
        return money.multiply(self.counted, excess)

    def is_near(self, excess: Decimal) -> bool:
        """Whether that is what is left."""
        expected = self.expected(excess)
        off = money.subtract(self.left, expected).copy_abs()
        return off <= max(money.multiply(expected, _SPREAD), _WHOLE)


def _meters(group: Group) -> list[_Meter]:
    moved = {cell.part.modality for cell in group.cells if cell.has(Cause.CACHE_NOT_BILLED, Cause.CACHE_OVERBILLED)}
    pools: dict[object, list[Compared]] = {}
    for cell in group.cells:
        part = cell.part
        is_input = part.component in (Component.INPUT, Component.CACHED_INPUT)
        pool = part.modality if is_input and part.modality in moved else part
        pools.setdefault(pool, []).append(cell)
    return [_Meter(cells) for cells in pools.values()]


def _factor(group: Group) -> None:
    """Find the factor that all meters have in common, but for one that may have more for a reason of its own."""
    meters = [meter for meter in _meters(group) if meter.counted > 0 or meter.left]
    if len(meters) < _FEWEST or not all(meter.counted > 0 and meter.left > 0 for meter in meters):
        return
    excess = sorted(meter.excess for meter in meters)[(len(meters) - 1) // 2]
    others = [meter for meter in meters if not meter.is_near(excess)]
    if excess <= _LEAST or len(meters) - len(others) < _FEWEST or len(others) > 1:
        return
    if any(meter.excess < excess for meter in others):
        return
    factor = wording.factor(money.add(_ONE, money.CONTEXT.quantize(excess, Decimal("0.0001"))))
    for meter in meters:
        for cell in meter.cells:
            counted = wording.units(cell.estimated, cell.row.unit)
            billed = wording.units(cell.billed_quantity, cell.row.unit)
            said = f"{billed} billed and {counted} counted: all {len(meters)} meters of it about {factor} times."
            quantity = cell.left
            if meter in others:
                quantity = money.CONTEXT.quantize(meter.expected(excess), _ONE)
            cell.take(Cause.UNOBSERVED_TRAFFIC, quantity, said)
