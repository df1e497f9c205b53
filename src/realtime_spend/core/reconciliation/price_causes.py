"""The share of a drift that is a difference in price: what it comes to, and what the billed price is."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.line_items import Scope, Unit
from realtime_spend.core.reconciliation import wording
from realtime_spend.core.reconciliation.bills import Scale
from realtime_spend.core.reconciliation.compared import Compared, Price, agree
from realtime_spend.core.reconciliation.drift import Cause
from realtime_spend.core.reconciliation.price_fits import Ratio, discount_fits, exchange_fit, factor_fits, list_fits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_spend.core.reconciliation.evidence import Evidence

# A quantity whose scale was assumed is believed where its price comes out near the estimated one: the other scale is a
# thousand times off.
_PLAUSIBLE = (Decimal("0.5"), Decimal(2))
_BLOCKS = (Decimal(1_000), Decimal(1_000_000))
_FEWEST = 2
# What rounding to 12 places leaves of a price without an end belongs to the quantity.
_DUST = Decimal("1e-11")


def split(cell: Compared, evidence: Evidence) -> Decimal:
    """Set what of the drift is a difference in quantity, and return what is one in price.

    Usage that no card prices is set apart first, at the billed price.
    """
    row = cell.row
    unpriced = min(cell.unpriced, max(cell.billed_quantity, money.ZERO))
    billed = money.subtract(cell.billed_quantity, unpriced)
    apart = _set_apart(cell, unpriced, evidence) if cell.unpriced else money.ZERO
    drift = money.subtract(cell.drift, apart)
    if cell.price is None and billed > 0:
        cell.price = Price(money.subtract(row.billed_cost, apart), billed)
    cell.left = money.subtract(billed, cell.estimated)
    if cell.price is None or billed <= 0 or cell.price == cell.billed_price:
        cell.money_left = drift
        return money.ZERO
    cell.money_left = cell.worth(cell.left)
    price = money.subtract(drift, cell.money_left)
    if _is_scale_assumed(cell) and (_is_in_blocks(cell) or not _is_plausible(cell, price)):
        cell.left = cell.money_left = money.ZERO
        is_small = drift.copy_abs() <= cell.rounding
        said = wording.amount(row.billed_cost, evidence.currency)
        cell.put(
            Cause.ROUNDING if is_small else Cause.UNIT_SCALE,
            drift,
            f"{said} is too little to tell the unit of its quantity.",
        )
        return money.ZERO
    if cell.left and price.copy_abs() <= _DUST:
        cell.money_left = drift
        return money.ZERO
    return price


def name_prices(priced: Sequence[tuple[Compared, Decimal]], evidence: Evidence) -> None:
    """Put each difference in price under its cause, and say what the billed price fits."""
    found = [(cell, cost) for cell, cost in priced if cost]
    commons = _Commons([cell for cell, _ in priced] if found else ())
    for cell, cost in found:
        if cost.copy_abs() <= cell.rounding:
            cell.put(Cause.ROUNDING, cost, wording.rounding(cost, len(cell.billed), evidence.currency))
        else:
            cell.put(Cause.PRICE, cost, _words(cell, commons, evidence))


def other_scope(cells: Sequence[Compared]) -> None:
    """Find usage that was counted under one scope or version, and billed under another: the same tokens, another price.

    Both rows then say so: one has what was estimated, the other what was billed. Where either could be another's as
    well, nobody can tell which of them it is.
    """
    models: dict[object, dict[object, list[Compared]]] = {}
    for cell in cells:
        row = cell.row
        groups = models.setdefault((row.day, row.provider, row.account, row.model), {})
        groups.setdefault(cell.group, []).append(cell)
    for groups in models.values():
        counted = [group for group in groups.values() if not any(cell.billed for cell in group)]
        billed = [group for group in groups.values() if not any(cell.estimates for cell in group)]
        fits = [(ours, theirs) for ours in counted for theirs in billed if _is_same_usage(ours, theirs)]
        for ours, theirs in fits:
            if sum(ours is other or theirs is another for other, another in fits) == 1:
                _move_scope(ours, theirs)


def _is_same_usage(ours: Sequence[Compared], theirs: Sequence[Compared]) -> bool:
    if ours[0].row.scope is None and theirs[0].row.scope is not None:
        # A scope that nobody configured is the bill's only one; of several it is none by guessing.
        return False
    here = {cell.row.part: cell.left.copy_negate() for cell in ours if cell.left}
    there = {cell.row.part: cell.left for cell in theirs if cell.left}
    return bool(here) and here.keys() == there.keys() and all(agree(here[part], there[part]) for part in here)


def _move_scope(ours: Sequence[Compared], theirs: Sequence[Compared]) -> None:
    counted, billed = ours[0].row, theirs[0].row
    if counted.scope is not billed.scope:
        said = f"were counted under the scope {counted.scope} and billed under {billed.scope or 'none'}"
    else:
        said = f"were counted as version {counted.version or 'none'} and billed as {billed.version or 'none'}"
    for cell in (*ours, *theirs):
        cell.take(Cause.PRICE, cell.left, f"The same {wording.units(cell.left.copy_abs(), cell.row.unit)} {said}.")


def _set_apart(cell: Compared, unpriced: Decimal, evidence: Evidence) -> Decimal:
    """Put what was counted without a price under its cause, at what it is billed, and return that."""
    is_provisioned = cell.row.scope is Scope.PROVISIONED
    billed = cell.billed_price
    if billed is None or not unpriced:
        cost = money.ZERO
    else:
        cost = cell.row.billed_cost if unpriced == cell.billed_quantity else billed.of(unpriced)
    counted = wording.units(cell.unpriced, cell.row.unit)
    said = wording.amount(cost, evidence.currency)
    if is_provisioned:
        cell.put(Cause.PROVISIONED, cost, f"{counted} ran on provisioned capacity, which is billed by the hour.")
    else:
        cell.put(Cause.UNPRICED, cost, f"{counted} were counted that no rate card prices; they are billed {said}.")
    return cost


def _is_scale_assumed(cell: Compared) -> bool:
    return any(item.scale is Scale.ASSUMED for item in cell.billed)


def _is_in_blocks(cell: Compared) -> bool:
    """Whether rows that cost nothing count blocks, and not the single tokens that they were taken to count.

    No cost tells. But there is no half of a token, and what was counted may be a thousand or a million times as much.
    """
    if (
        cell.row.unit is not Unit.TOKENS
        or cell.row.billed_cost
        or any(item.scale is not Scale.ASSUMED for item in cell.billed)
    ):
        return False
    quantity = cell.billed_quantity
    is_whole = quantity == quantity.to_integral_value()
    return not is_whole or any(agree(cell.estimated, money.multiply(quantity, block)) for block in _BLOCKS)


def _is_plausible(cell: Compared, price_drift: Decimal) -> bool:
    ratio = Ratio.of(cell)
    least, most = _PLAUSIBLE
    return price_drift.copy_abs() <= cell.rounding or (ratio is not None and least <= ratio.value <= most)


class _Commons:
    """Which ratio all meters of an account, or of a model, have in common on a day."""

    def __init__(self, cells: Sequence[Compared]) -> None:
        ratios: dict[object, list[Ratio]] = {}
        for cell in cells:
            ratio = Ratio.of(cell) if cell.estimates else None
            if ratio is not None:
                for place, _ in _places(cell):
                    ratios.setdefault(place, []).append(ratio)
        self._meters = {place: len(those) for place, those in ratios.items() if _have_one(those)}

    def of(self, cell: Compared) -> str | None:
        """Say who has the ratio of `cell` in common, None if only some do."""
        for place, whose in _places(cell):
            if place in self._meters and cell.estimates:
                return f"All {self._meters[place]} meters of {whose} have this factor."
        return None


def _places(cell: Compared) -> list[tuple[object, str]]:
    row = cell.row
    account = (row.day, row.provider, row.account)
    return [(account, "the account"), ((*account, row.model), "the model")]


def _have_one(ratios: Sequence[Ratio]) -> bool:
    """Whether several meters have one ratio, as far as rounding lets anybody tell: that of the surest of them."""
    surest = min(ratios, key=lambda ratio: (ratio.doubt, ratio.value))
    near = all(Ratio(value=one.value, doubt=money.add(one.doubt, surest.doubt)).fits(surest.value) for one in ratios)
    return len(ratios) >= _FEWEST and near


def _words(cell: Compared, commons: _Commons, evidence: Evidence) -> str:
    row, billed, price = cell.row, cell.billed_price, cell.price
    if billed is None or price is None:
        return "The bill has a cost without a quantity."
    quantity = wording.units(cell.billed_quantity, row.unit)
    at = wording.unit_price(*billed, row.unit, evidence.currency)
    instead = wording.unit_price(*price, row.unit, evidence.currency)
    ratio = Ratio.of(cell)
    if ratio is None:
        return f"{quantity} billed at {at}, estimated at {instead}."
    said = f"{quantity} billed at {at}, estimated at {instead}: {wording.factor(ratio.value)} times as much."
    if agree(cell.billed_quantity, cell.estimated):
        said = f"{said} The quantities agree."
    return f"{said} {_fit(cell, ratio, commons, evidence)}"


def _fit(cell: Compared, ratio: Ratio, commons: _Commons, evidence: Evidence) -> str:
    common = commons.of(cell)
    fits = list_fits(cell, ratio, evidence) or factor_fits(cell, ratio)
    if common:
        fits += discount_fits(cell, ratio) + exchange_fit(cell, ratio, evidence)
    shared = f" {common}" if common else ""
    if not fits:
        return f"It fits no price known here.{shared}"
    return f"It fits {wording.several(fits, 'or')}.{shared}"
