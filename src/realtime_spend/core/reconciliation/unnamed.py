"""Usage that was counted without a price, beside a billed model that it is missing from: the same tokens.

A transcription on Azure says the name of a deployment, which is on no price list: the ledger has its tokens under no
model, or under that name, and the bill has them under the model. Where some of the model was counted under its name,
the rest of its bill has to be that usage and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_spend.core.line_items import Scope
from realtime_spend.core.reconciliation import wording
from realtime_spend.core.reconciliation.compared import agree
from realtime_spend.core.reconciliation.drift import Cause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_spend.core.reconciliation.compared import Compared, Group


def find_unnamed(groups: Sequence[Group]) -> None:
    """Put what is billed for usage that was counted under no listed model under `unpriced`."""
    places: dict[object, list[Group]] = {}
    for group in groups:
        places.setdefault(group.key[:3], []).append(group)
    for those in places.values():
        unknown = [group for group in those if _is_unknown(group)]
        billed = [group for group in those if any(cell.billed for cell in group.cells)]
        for group in unknown:
            found = _counterpart(group, billed)
            if found is not None:
                _take(group, found)
                billed.remove(found)


def _is_unknown(group: Group) -> bool:
    cells = group.cells
    return group.key.scope is not Scope.PROVISIONED and all(
        cell.unpriced and not cell.estimated and not cell.billed for cell in cells
    )


def _counterpart(group: Group, billed: Sequence[Group]) -> Group | None:
    """Return the billed model that has all of it: that which lacks the same, else the only one that has as much.

    A model of which something was counted may lack more for many reasons, so that as much of it tells nothing.
    """
    same = [other for other in billed if _is_same(group, other)]
    absent = [other for other in billed if not any(cell.estimates for cell in other.cells)]
    found = same or [other for other in absent if all(_covers(cell, other) for cell in group.cells)]
    return found[0] if len(found) == 1 else None


def _covers(cell: Compared, other: Group) -> bool:
    billed = other.by_part.get(cell.part)
    return billed is not None and (billed.left >= cell.unpriced or agree(billed.left, cell.unpriced))


def _is_same(group: Group, other: Group) -> bool:
    return set(group.by_part) <= set(other.by_part) and all(
        _is_rest(cell, group.by_part.get(cell.part)) for cell in other.cells
    )


def _is_rest(cell: Compared, unnamed: Compared | None) -> bool:
    """Whether what is billed more than was counted is the unnamed usage, and nothing where there is none."""
    if unnamed is None or not unnamed.unpriced:
        return agree(cell.billed_quantity, cell.estimated)
    return agree(cell.left, unnamed.unpriced)


def _take(group: Group, billed: Group) -> None:
    whose = (
        f"under the name {group.key.model}, which no rate card lists" if group.key.model else "without a model's name"
    )
    for cell in group.cells:
        other = billed.by_part[cell.part]
        quantity = other.left if agree(other.left, cell.unpriced) else cell.unpriced
        counted = wording.units(cell.unpriced, cell.row.unit)
        other.take(Cause.UNPRICED, quantity, f"{counted} of the same kind were counted {whose}.")
