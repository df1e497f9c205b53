"""How numbers stand in a sentence: tokens in thousands, money to the cent or finer, prices as a price page has them."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.line_items import Unit

if TYPE_CHECKING:
    from collections.abc import Iterable

_PER = {Unit.TOKENS: (Decimal(1_000_000), "1M tokens"), Unit.SECONDS: (Decimal(60), "minute")}
_CENT = Decimal("0.01")
_TEN_CENTS = Decimal("0.10")
_DIGITS = 6


def units(quantity: Decimal, unit: Unit | None = None) -> str:
    """Write a quantity: `1,234 tokens`, `42.5 seconds`. The unit is left out where nobody knows it."""
    rounded = (
        quantity
        if quantity == quantity.to_integral_value(ROUND_HALF_EVEN)
        else money.CONTEXT.quantize(quantity, Decimal("0.001"))
    )
    whole, _, rest = money.plain(rounded).partition(".")
    text = f"{int(whole):,}" if whole.lstrip("-") else whole
    sign = "-" if quantity < 0 and not text.startswith("-") and rounded else ""
    return f"{sign}{text}{'.' + rest if rest else ''}{f' {unit}' if unit else ''}"


def amount(cost: Decimal, currency: str) -> str:
    """Write money: `12.34 USD`; what is less than ten cents to its first digits."""
    if cost.copy_abs() >= _TEN_CENTS or not cost:
        return f"{money.CONTEXT.quantize(cost, _CENT):,f} {currency}"
    return f"{significant(cost, 3)} {currency}"


def rounding(cost: Decimal, rows: int, currency: str) -> str:
    """Say that `cost` is what rounding leaves of so many rows of a bill."""
    where = "in its one row" if rows == 1 else f"in its {rows} rows"
    return f"{amount(cost, currency)} is below what the bill states {where}."


def unit_price(cost: Decimal, quantity: Decimal, unit: Unit | None, currency: str) -> str:
    """Write what `quantity` units cost in the words of a price page: `32 USD per 1M tokens`."""
    per, words = _PER[unit or Unit.TOKENS]
    each = money.divide(money.multiply(cost, per), quantity)
    return f"{significant(each, _DIGITS)} {currency} per {words}"


def factor(number: Decimal) -> str:
    """Write a ratio to its first digits: `1.1`."""
    return significant(number, _DIGITS)


def percent(share: Decimal) -> str:
    """Write a share: 0.12 is `12 %`."""
    return f"{significant(money.multiply(share, Decimal(100)), 4)} %"


def several(words: Iterable[str], link: str = "and") -> str:
    """Write a list as a sentence has it: `a, b and c`."""
    *first, last = list(words)
    return f"{', '.join(first)} {link} {last}" if first else last


def significant(number: Decimal, digits: int) -> str:
    """Write `number` with so many digits, without zeros at the end."""
    if not number:
        return "0"
    place = Decimal((0, (1,), number.adjusted() - digits + 1))
    return money.plain(money.CONTEXT.quantize(number, min(place, Decimal(1))))
