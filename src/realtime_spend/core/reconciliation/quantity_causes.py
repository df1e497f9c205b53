"""The causes of a difference in quantity that one day's parts of one sku show by themselves."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, NamedTuple

from realtime_spend.core import money
from realtime_spend.core.line_items import CACHED_INPUT_OF, INPUT_OF, Component, Modality, Part
from realtime_spend.core.reconciliation import wording
from realtime_spend.core.reconciliation.compared import AGREEMENT, agree, total
from realtime_spend.core.reconciliation.drift import Cause
from realtime_spend.core.reconciliation.estimated import EstimateSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime_spend.core.reconciliation.compared import Compared, Group
    from realtime_spend.core.reconciliation.estimated import Gap
    from realtime_spend.core.reconciliation.evidence import Evidence

_TWICE = 2
_INPUT = (Component.INPUT, Component.CACHED_INPUT)
# A session ends after an hour at the latest, and ten tokens are a second.
_LONGEST_AUDIO = {
    Part(Modality.AUDIO, Component.DURATION): Decimal(3_600),
    Part(Modality.AUDIO, Component.INPUT): Decimal(36_000),
}


def cache(group: Group) -> None:
    """Find tokens that moved between the cached and the uncached meter of one modality.

    `cache_not_billed`: what we counted as cached is billed as uncached input, at its full price. `cache_overbilled`:
    the cached meter is billed above what we counted on it, and the uncached one below. Both rows name it: the net of
    the two is the money. Tokens moved where the sum of both meters agrees, or where one of them is not on the bill at
    all and the other has most of what it lacks.
    """
    moves = list(_moves(group))
    if group.is_interval and not _is_cached_total(moves, group):
        return
    for move in moves:
        cause = Cause.CACHE_NOT_BILLED if move.is_not_billed else Cause.CACHE_OVERBILLED
        said = _cache_words(move)
        move.lacking.take(cause, move.quantity.copy_negate(), said)
        move.having.take(cause, move.quantity, said)


class _Move(NamedTuple):
    """Tokens that moved from one meter of a modality's input to the other."""

    modality: Modality
    lacking: Compared
    having: Compared
    quantity: Decimal
    is_not_billed: bool


def _moves(group: Group) -> Iterator[_Move]:
    for modality in Modality:
        uncached, cached = group.by_part.get(INPUT_OF[modality]), group.by_part.get(CACHED_INPUT_OF[modality])
        if uncached is None or cached is None:
            continue
        lacking, having = (cached, uncached) if cached.left < 0 else (uncached, cached)
        if lacking.left < 0 < having.left and _has_moved(lacking, having):
            is_gone = not lacking.billed_quantity
            moved = lacking.left.copy_negate() if is_gone else min(lacking.left.copy_negate(), having.left)
            yield _Move(modality, lacking, having, moved, lacking is cached)


def _is_cached_total(moves: Sequence[_Move], group: Group) -> bool:
    """Whether `moves` are the whole difference in cached tokens, all in one direction.

    That is asked where cached tokens came without their modality: their total is known all the same, and a token that
    is billed under another modality than the estimate took it for is still a cached one.
    """
    cells = [cell for cell in group.cells if cell.part.component is Component.CACHED_INPUT]
    if any(cell.row.estimated_cost and not cell.row.estimated_quantity for cell in cells):
        return False
    if len({move.is_not_billed for move in moves}) != 1:
        return False
    return agree(total(move.quantity for move in moves), total(cell.left for cell in cells).copy_abs())


def _has_moved(lacking: Compared, having: Compared) -> bool:
    lack, more = lacking.left.copy_negate(), having.left
    if money.subtract(lack, more).copy_abs() <= money.multiply(min(lack, more), AGREEMENT):
        return True
    # Half of it at least: where another fault lowers the same meter, not all of what moved is seen on it.
    return not lacking.billed_quantity and lacking.estimated > 0 and money.multiply(more, Decimal(_TWICE)) >= lack


def _cache_words(move: _Move) -> str:
    cached = move.lacking if move.is_not_billed else move.having
    counted = wording.units(cached.estimated)
    billed = wording.units(cached.billed_quantity)
    what = "cached and billed as uncached" if move.is_not_billed else "uncached and billed as cached"
    return (
        f"{wording.units(move.quantity, cached.row.unit)} of {move.modality} input were counted as {what}: "
        f"{counted} cached ones were counted and {billed} billed."
    )


def split_unknown(group: Group, evidence: Evidence) -> None:
    """Find usage whose cached tokens had no modality: all input adds up, and its cost lies between the bounds.

    The quantities of all input together agree, so that nothing was lost or unobserved, and those of all cached input
    too, so that each cached token is billed as one: only the split differs.
    """
    if not group.is_interval:
        return
    cells = [cell for cell in group.cells if cell.part.component in _INPUT]
    cached = [cell for cell in cells if cell.part.component is Component.CACHED_INPUT]
    if not _agree_together(cells) or not _agree_together(cached) or not all(_is_within(cell) for cell in cells):
        return
    for cell in cells:
        low, high = (wording.amount(bound, evidence.currency) for bound in _bounds(cell))
        worth = wording.amount(cell.worth(cell.billed_quantity), evidence.currency)
        said = (
            f"Cached tokens came without their modality: this part costs {low} to {high}, and {worth} is billed "
            "at the estimated price. All input together agrees, and all that is cached."
        )
        cell.take(Cause.SPLIT_UNKNOWN, cell.left, said)


def _agree_together(cells: Sequence[Compared]) -> bool:
    return agree(total(cell.estimated for cell in cells), total(cell.billed_quantity for cell in cells))


def _bounds(cell: Compared) -> tuple[Decimal, Decimal]:
    row = cell.row
    cost = row.estimated_cost or money.ZERO
    low = cost if row.estimated_low is None else row.estimated_low
    return low, cost if row.estimated_high is None else row.estimated_high


def _is_within(cell: Compared) -> bool:
    """Whether what is billed lies within the bounds of what was counted; where there are none, agrees with it."""
    low, high = _bounds(cell)
    if low == high:
        return agree(cell.estimated, cell.billed_quantity)
    worth = cell.worth(cell.billed_quantity)
    slack = max(cell.rounding, money.multiply(worth, AGREEMENT))
    return money.subtract(low, slack) <= worth <= money.add(high, slack)


def transcription(group: Group, evidence: Evidence) -> None:
    """Find transcriptions that came without their usage: the ledger knows of them, the bill has more than it."""
    gaps = evidence.transcription_gaps(group.key)
    if not gaps or not evidence.is_transcription(group.key):
        return
    count = sum(gap.count for gap in gaps)
    usages = max(gap.usages for gap in gaps)
    of_all = f" of {usages}" if usages >= count else ""
    for cell in group.cells:
        if cell.left <= 0:
            continue
        bound = _most_transcribed(gaps, cell.part)
        quantity = cell.left if bound is None else min(cell.left, bound)
        more = wording.units(cell.left, cell.row.unit)
        said = f"{count}{of_all} transcriptions of the day came without usage"
        if bound is not None and bound < cell.left:
            limit = wording.units(bound, cell.row.unit)
            said = f"{said}, and can have used {limit} at most; {more} more are billed than counted."
        else:
            each = wording.units(money.divide(cell.left, Decimal(count)))
            said = f"{said}; {more} more are billed than counted, {each} for each of them."
        cell.take(Cause.TRANSCRIPTION_UNOBSERVED, quantity, said)


def _most_transcribed(gaps: Sequence[Gap], part: Part) -> Decimal | None:
    """Return the most that transcriptions without usage can have used: each as much as the largest that was seen.

    Where none was, no audio is longer than a session; None where the part is no audio, as text has no such end.
    """
    # A transcription that says 0 seconds has been seen to be billed all the same.
    each = [gap.largest.get(part) or _LONGEST_AUDIO.get(part) for gap in gaps]
    known = [amount for amount in each if amount is not None]
    if len(known) < len(each):
        return None
    return total(money.multiply(amount, Decimal(gap.count)) for amount, gap in zip(known, gaps, strict=True))


def lost(group: Group, evidence: Evidence) -> None:
    """Find responses that were created and never done: the bill may have as much more as they can have used."""
    found = evidence.lost(group.key)
    if found is None:
        return
    cells = group.cells
    taken: dict[Part, Decimal] = {}
    for cell in cells:
        if cell.left <= 0:
            continue
        bound = found.bound(cell.part, cells)
        if bound is None or bound <= 0:
            # A bound that nobody knows is no evidence: one response that was lost would explain any bill.
            continue
        quantity = min(cell.left, bound)
        limit = f", and can have used {wording.units(bound, cell.row.unit)} at most"
        more = wording.units(cell.left, cell.row.unit)
        cell.take(Cause.LOST_RESPONSES, quantity, f"{found.words()}{limit}; {more} more are billed than counted.")
        taken[cell.part] = quantity
    if taken:
        evidence.use(group.key, found, taken, cells)


def observed_twice(group: Group, evidence: Evidence) -> None:
    """Find usage that metrics were told of by two observers: a whole multiple of the bill, on every meter."""
    cells = [cell for cell in group.cells if cell.estimated > 0]
    if evidence.source is not EstimateSource.PROMETHEUS or not cells:
        return
    times = {_times(cell) for cell in cells}
    factor = next(iter(times))
    if len(times) != 1 or factor is None:
        return
    for cell in cells:
        counted, billed = wording.units(cell.estimated, cell.row.unit), wording.units(cell.billed_quantity)
        said = (
            f"{counted} are {factor} times the {billed} billed, as on every meter of the model: counted {factor} times."
        )
        cell.take(Cause.OBSERVED_TWICE, cell.left, said)


def _times(cell: Compared) -> int | None:
    """Return the whole number of times that the estimate is above the bill, None if it is none."""
    if cell.left >= 0 or cell.billed_quantity <= 0:
        return None
    whole = int(money.divide(cell.estimated, cell.billed_quantity).to_integral_value(ROUND_HALF_EVEN))
    near = agree(cell.estimated, money.multiply(cell.billed_quantity, Decimal(whole)))
    return whole if whole >= _TWICE and near else None
