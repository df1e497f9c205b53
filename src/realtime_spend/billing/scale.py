"""What a billed quantity counts: single tokens or seconds, or the blocks of them that a price is for.

A bill says neither, so each row tells by its own arithmetic: whether quantity times price is its cost as it stands, or
after a division by the block of the price. Names and conventions are not believed, as sources contradict each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.line_items import Unit
from realtime_spend.core.reconciliation.bills import Scale

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WRITTEN = re.compile(
    r"\s*(?P<count>\d+(?:[.,]\d+)*)?\s*(?P<size>[KMB](?![a-z])|thousand|million)?\s*/?\s*(?P<word>[^\W\d]*)",
    re.IGNORECASE,
)
_SIZES = {"": 1, "k": 10**3, "thousand": 10**3, "m": 10**6, "million": 10**6, "b": 10**9}
_SECONDS = {
    **dict.fromkeys(("hour", "hours", "hr", "hrs", "h", "stunde", "stunden", "heure", "heures", "hora", "horas"), 3600),
    **dict.fromkeys(("minute", "minutes", "min", "mins", "minuten"), 60),
    **dict.fromkeys(("second", "seconds", "sec", "secs", "s", "sekunde", "sekunden"), 1),
}
_TOKENS = {"token", "tokens"}
# What rounding of a blended price may do to quantity times price.
_SLACK = Decimal("0.01")
# A list price is what was paid before a discount: the cost is at least so much of it, and no more than it.
_CHEAPEST, _DEAREST = Decimal("0.4"), Decimal("1.02")
_HALF = Decimal("0.5")
# No price is for fewer tokens than this, unless it is for one.
_SMALLEST_BLOCK = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What a price is for: `count` times `each` single units. `unit` None where the bill does not say what they are.

    `is_single` says that the bill itself states that it counts single tokens or seconds.
    """

    count: int
    each: int = 1
    unit: Unit | None = None
    is_single: bool = False

    @property
    def size(self) -> int:
        """How many single units."""
        return self.count * self.each


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a row says of its own quantity. `paid` are pairs of a price and the cost that it led to, in one currency.

    `listed` are such pairs with a price before discounts; `each` is the list price of a single unit, if known.
    """

    quantity: Decimal
    cost: Decimal
    block: Block
    paid: Sequence[tuple[Decimal, Decimal]]
    listed: Sequence[tuple[Decimal, Decimal]] = ()
    each: Decimal | None = None


@lru_cache(maxsize=1024)
def read_block(unit: str, size: str | None = None) -> Block | None:
    """Return what a price is for by the column of units (`1K`, `1M Tokens`, `100 Hours`), None where it is not said.

    `size` is the block as a column of its own gives it, and wins.
    """
    found = _WRITTEN.match(unit)
    if found is None or not any(found.groups()):
        return None
    count = int(re.sub(r"[.,]", "", found["count"] or "1")) * _SIZES[(found["size"] or "").lower()]
    if size is not None:
        try:
            stated = money.exact(size.strip())
        except ValueError:
            stated = money.ZERO
        count = int(stated) if stated >= 1 else count
    word = found["word"].lower()
    if word in _SECONDS:
        return Block(count=count, each=_SECONDS[word], unit=Unit.SECONDS, is_single=count * _SECONDS[word] == 1)
    is_tokens = word in _TOKENS
    return (
        Block(count=count, unit=Unit.TOKENS if is_tokens else None, is_single=is_tokens and count == 1)
        if count
        else None
    )


def settle(row: Evidence) -> tuple[Decimal | None, Scale]:
    """Return how many single units the row is about, and how that is known."""
    if not row.quantity or row.block.is_single:
        return row.quantity, Scale.SINGLE
    found = [fit for price, cost in row.paid if (fit := _fitting(row, price, cost)) is not None]
    found += [fit for price, cost in row.listed if (fit := _discounted(row, price, cost)) is not None]
    settled = next((fit for fit in found if fit[1] is not Scale.ASSUMED), found[0] if found else None)
    if settled is not None:
        return settled
    return (None, Scale.UNSETTLED) if row.cost else _assumed(row)


def _fitting(row: Evidence, price: Decimal, cost: Decimal) -> tuple[Decimal | None, Scale] | None:
    """Return the scale by which quantity times price is the cost, None where there is none."""
    # A cost of zero may be rounded, or waived: it tells nothing.
    is_telling = price and cost
    fits = [one for one in _divisors(row.block) if is_telling and _is_cost(row.quantity, price, one, cost)]
    if not fits:
        return None
    return _assumed(row) if len(fits) > 1 else _by(row, fits[0], price)


def _discounted(row: Evidence, price: Decimal, cost: Decimal) -> tuple[Decimal | None, Scale] | None:
    """Return the scale by which quantity times a list price is somewhat more than the cost."""
    full = money.multiply(row.quantity, price)
    if not full or not cost:
        return None
    for divisor in _divisors(row.block):
        if _CHEAPEST <= money.divide(money.multiply(cost, Decimal(divisor)), full) <= _DEAREST:
            return _by(row, divisor, price)
    return None


def _divisors(block: Block) -> list[int]:
    """What quantity times price may have to be divided by, each once."""
    return list(dict.fromkeys((block.size, block.count, 1)))


def _is_cost(quantity: Decimal, price: Decimal, divisor: int, cost: Decimal) -> bool:
    shared = money.divide(quantity, Decimal(divisor))
    rounded = money.add(
        money.multiply(abs(cost), _SLACK),
        money.multiply(last_place(cost), _HALF),
        money.multiply(money.multiply(last_place(price), _HALF), abs(shared)),
    )
    return abs(money.subtract(money.multiply(shared, price), cost)) <= rounded


def _by(row: Evidence, divisor: int, price: Decimal) -> tuple[Decimal | None, Scale]:
    block = row.block
    if divisor == block.size and block.size > 1:
        return row.quantity, Scale.SINGLE
    if divisor == block.count and block.count > 1:
        # Hours, at a price for a hundred of them.
        return money.multiply(row.quantity, Decimal(block.each)), Scale.BLOCKS
    if row.each is None or not row.each:
        return None, Scale.UNSETTLED
    # Tokens at a price per token, or blocks at a price per block: the list price that it lies nearer to tells.
    ratio = abs(money.divide(price, row.each))
    if money.multiply(ratio, ratio) < (block.size if block.size > 1 else _SMALLEST_BLOCK):
        return row.quantity, Scale.SINGLE
    if block.size == 1:
        # The price is that of a block, and of how many the unit does not say.
        return None, Scale.UNSETTLED
    return money.multiply(row.quantity, Decimal(block.size)), Scale.BLOCKS


def _assumed(row: Evidence) -> tuple[Decimal, Scale]:
    # Nobody counts seconds where the unit says hours; of tokens the single ones are what is counted.
    return money.multiply(row.quantity, Decimal(row.block.each)), Scale.ASSUMED


def last_place(amount: Decimal) -> Decimal:
    """Return one unit of the last digit that is written of `amount`."""
    return money.CONTEXT.scaleb(Decimal(1), int(amount.as_tuple().exponent))


def precision_of(costs: Iterable[Decimal], coarsest: Decimal) -> Decimal:
    """Return the last place that a file states its costs to: the finest of any, as zeros at the end are left out."""
    return min((last_place(cost) for cost in costs if cost), default=coarsest)
