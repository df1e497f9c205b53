"""Exact amounts: decimals from text, in a context of our own, written as plain decimals."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation, Overflow

# The host program may have changed the default decimal context (its precision, its rounding, its traps), so no
# arithmetic on money is ever done in the default one.
CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999, traps=[InvalidOperation, Overflow])

ZERO = Decimal(0)
PLACES = Decimal("1e-12")
MOST_PLACES = 12
# Decimal() would also take blanks around and underscores within.
_PLAIN = re.compile(r"\S+").fullmatch
_MOST_DIGITS = 40
_MOST_BEFORE_POINT = 20
_add, _quantize, _divide, _multiply = CONTEXT.add, CONTEXT.quantize, CONTEXT.divide, CONTEXT.multiply


def exact(text: str) -> Decimal:
    """Return the finite decimal that `text` spells, to its last digit.

    Raises:
        ValueError: it spells none, or one beyond all money (over 40 digits, 10**20 and more, finer than 10**-40).
    """
    if not _PLAIN(text) or "_" in text:
        raise ValueError(f"{text!r} is not a decimal number")
    try:
        # The constructor takes every digit; a context would round, and the host's could do anything.
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None
    if not amount.is_finite():
        raise ValueError(f"{text!r} is not a finite number")
    _, digits, exponent = amount.as_tuple()
    is_large = (amount and amount.adjusted() >= _MOST_BEFORE_POINT) or int(exponent) > _MOST_BEFORE_POINT
    if is_large or len(digits) > _MOST_DIGITS or int(exponent) < -_MOST_DIGITS:
        raise ValueError(f"{text!r} has more digits than any amount of money")
    return amount


def add(*amounts: Decimal) -> Decimal:
    """Return the exact sum of `amounts`; 0 of none."""
    total = ZERO
    for amount in amounts:
        total = _add(total, amount)
    return total


def subtract(left: Decimal, right: Decimal) -> Decimal:
    """Return `left` - `right`."""
    return CONTEXT.subtract(left, right)


def multiply(left: Decimal, right: Decimal) -> Decimal:
    """Return `left` times `right`."""
    return CONTEXT.multiply(left, right)


def divide(left: Decimal, right: Decimal) -> Decimal:
    """Return `left` divided by `right`, which is not zero."""
    return CONTEXT.divide(left, right)


def cost(quantity: Decimal, unit_price: Decimal, per: int) -> Decimal:
    """Return what `quantity` units cost at `unit_price` for each `per` of them, to 12 places, half to even.

    The division comes last: 0.017 USD a minute has no finite price per second.
    """
    return _quantize(_divide(_multiply(quantity, unit_price), Decimal(per)), PLACES)


def share(unit_price: Decimal, per: int) -> Decimal | None:
    """Return the exact price of one unit, None where it has no end: that of a second at a price per minute."""
    power = len(str(per)) - 1
    return CONTEXT.scaleb(unit_price, Decimal(-power)) if per == 10**power else None


def decimal_places(amount: Decimal) -> int:
    """Return how many digits `amount` has behind its point, zeros at the end not counted."""
    return max(-int(amount.normalize(CONTEXT).as_tuple().exponent), 0)


def in_places(amount: Decimal, places: int) -> int:
    """Return `amount`, which has no more digits behind its point than `places`, as a number of the last of them."""
    return int(CONTEXT.scaleb(amount, places))


def of_places(number: int, places: int) -> Decimal:
    """Return the amount that `in_places` made `number` of, as `cost` would."""
    return _quantize(CONTEXT.scaleb(Decimal(number), -places), PLACES)


def ratio(left: Decimal, right: Decimal) -> Decimal | None:
    """Return `left` / `right` to 12 places, or None where `right` is zero."""
    return CONTEXT.quantize(divide(left, right), PLACES) if right else None


def plain(amount: Decimal) -> str:
    """Write `amount` without exponent and without trailing zeros, as every JSON contract of ours does."""
    text = f"{amount:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
