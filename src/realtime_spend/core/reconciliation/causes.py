"""Where each unit of drift went: every row's drift is put under causes that add up to it, to the last digit.

The order of precedence is that of `Cause`, where one difference would satisfy two causes. Most exclude one another by
what they ask for. Three are looked at before their place, because what they ask for rules the ones before them out: a
cache without its split (the quantities of all input add up, so that nothing was lost), a shift of days (a neighbour
lacks the very quantity that this day has too much), and usage that was counted under no model's name (so that it is
not unobserved). What no evidence supports stays `unexplained`.

Shares of one row may have different signs: where the bill says so, one fault adds to it and another one takes from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.reconciliation import wording
from realtime_spend.core.reconciliation.compared import Group
from realtime_spend.core.reconciliation.day_shift import shift_exact_days, shift_whole_days
from realtime_spend.core.reconciliation.drift import Cause
from realtime_spend.core.reconciliation.expected_prices import expect_prices
from realtime_spend.core.reconciliation.price_causes import name_prices, other_scope, split
from realtime_spend.core.reconciliation.quantity_causes import cache, lost, observed_twice, split_unknown, transcription
from realtime_spend.core.reconciliation.settling import settled_from
from realtime_spend.core.reconciliation.traffic import unobserved
from realtime_spend.core.reconciliation.unnamed import find_unnamed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_spend.core.reconciliation.compared import Compared
    from realtime_spend.core.reconciliation.evidence import Evidence


def attribute(cells: Sequence[Compared], evidence: Evidence) -> None:
    """Put the drift of every cell, all of which is known, under causes."""
    comparable = [cell for cell in cells if not _is_apart(cell, evidence)]
    expect_prices(comparable, evidence)
    name_prices([(cell, split(cell, evidence)) for cell in comparable], evidence)
    other_scope(comparable)
    groups: dict[object, Group] = {}
    for cell in comparable:
        groups.setdefault(cell.group, Group(cell.group)).add(cell)
    found = list(groups.values())
    shift_whole_days(found)
    find_unnamed(found)
    for group in found:
        split_unknown(group, evidence)
        cache(group)
    shift_exact_days(found)
    for group in found:
        transcription(group, evidence)
        lost(group, evidence)
    unobserved(found, {cell.group[1:4] for cell in cells if cell.estimates}, evidence.unplaced)
    for group in found:
        observed_twice(group, evidence)
    for cell in comparable:
        _rest(cell, evidence)


def _is_apart(cell: Compared, evidence: Evidence) -> bool:
    """Put the drift of a row whose quantities cannot be compared, or not yet, under its one cause."""
    row, drift = cell.row, cell.drift
    if cell.is_open:
        if drift:
            said = f"The bill was read as of {evidence.at:%Y-%m-%d %H:%M}"
            cell.put(
                Cause.NOT_SETTLED, drift, f"{said}, and {row.day} is settled from {settled_from(row.day):%Y-%m-%d} on."
            )
        return True
    if row.part is None:
        names = wording.several(f"`{name}`" for name in row.meters)
        billed = wording.amount(row.billed_cost, evidence.currency)
        cell.put(Cause.UNMAPPED_METER, drift, f"{billed} billed for {names}, which cannot be read as a meter we know.")
        return True
    if row.billed_quantity is None:
        if drift:
            _put_without_quantity(cell, evidence)
        return True
    return False


def _put_without_quantity(cell: Compared, evidence: Evidence) -> None:
    billed = wording.amount(cell.row.billed_cost, evidence.currency)
    if cell.drift.copy_abs() <= cell.rounding:
        cell.put(Cause.ROUNDING, cell.drift, f"The difference to the {billed} billed is below what the bill states.")
    else:
        said = "the bill states no quantity, or none that price times quantity = cost gives a unit to"
        cell.put(Cause.UNIT_SCALE, cell.drift, f"{billed} billed, but not for how many {cell.row.unit}: {said}.")


def _rest(cell: Compared, evidence: Evidence) -> None:
    """Put what nothing explains where it belongs."""
    if not cell.money_left:
        return
    row, rest = cell.row, cell.money_left
    said = wording.amount(rest, evidence.currency)
    if rest.copy_abs() <= cell.rounding:
        cell.put(Cause.ROUNDING, rest, wording.rounding(rest, len(cell.billed), evidence.currency))
    else:
        billed = wording.units(cell.billed_quantity, row.unit)
        counted = wording.units(row.estimated_quantity or money.ZERO, row.unit)
        left = wording.units(cell.left, row.unit)
        cell.put(
            Cause.UNEXPLAINED, rest, f"{billed} were billed and {counted} counted; nothing explains {left} ({said})."
        )
    cell.left = cell.money_left = money.ZERO
