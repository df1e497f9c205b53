from __future__ import annotations

from decimal import ROUND_UP, Context, Decimal, Inexact, Rounded, localcontext

import pytest

from realtime_spend.core import money


@pytest.mark.parametrize("text", ["0.4", "32", "0", "-1.5", "1e-6", "0.000283333333333"])
def test_a_number_written_as_text_is_read_to_its_last_digit(text: str) -> None:
    assert money.exact(text) == Decimal(text)


@pytest.mark.parametrize("text", ["", "four", "0,4", "1_000", " 4 ", "0.4 USD", "--1", "0x10"])
def test_text_that_spells_no_number_is_refused_with_the_text_in_the_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="is not a decimal number") as refused:
        money.exact(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    "text",
    ["9" * 20 + "." + "1" * 20, "0." + "1" * 40, "-" + "0." + "1" * 40, "9" * 20, "1e19", "1e-40", "0." + "0" * 40],
)
def test_an_amount_keeps_every_digit_of_the_40_that_it_may_have(text: str) -> None:
    amount = money.exact(text)
    assert amount == Decimal(text)
    assert amount.as_tuple() == Decimal(text).as_tuple()


@pytest.mark.parametrize(
    "text",
    [
        "9" * 20 + "." + "1" * 21,
        "0." + "1" * 41,
        "1" * 41,
        "1" + "0" * 20,
        "1e20",
        "-1e20",
        "1e50",
        "0e50",
        "1e9999999",
        "1e-41",
        "1e-9999999",
        "0e-9999999",
    ],
)
def test_an_amount_beyond_all_money_is_refused_with_the_text_in_the_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="has more digits than any amount of money") as refused:
        money.exact(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-inf"])
def test_a_number_that_is_not_finite_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a finite number"):
        money.exact(text)


def test_the_sum_of_nothing_is_zero() -> None:
    assert money.add() == 0


def test_sums_and_differences_keep_every_digit() -> None:
    large, small = Decimal(123456789012345678901234567890), Decimal("0.000000000001")
    assert str(money.add(large, small, small)) == "123456789012345678901234567890.000000000002"
    assert money.subtract(money.add(large, small), large) == small


def test_products_and_quotients_are_what_arithmetic_says() -> None:
    assert money.multiply(Decimal("0.4"), Decimal(2816)) == Decimal(4 * 2816) / 10
    assert money.divide(Decimal(3), Decimal(8)) == Decimal("0.375")


def test_the_division_comes_last_so_that_a_minute_costs_the_price_of_a_minute() -> None:
    assert money.cost(Decimal(60), Decimal("0.017"), 60) == Decimal("0.017")
    assert money.cost(Decimal(3), Decimal("0.017"), 60) == Decimal("0.017") / 20


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("1", "0"), ("3", "2e-12"), ("5", "2e-12"), ("7", "4e-12")],
    ids=["half goes down to 0", "one and a half goes up to 2", "two and a half goes down to 2", "three and a half up"],
)
def test_a_cost_is_quantised_to_12_places_half_to_even(quantity: str, expected: str) -> None:
    amount = money.cost(Decimal(quantity), Decimal("0.0000005"), 1_000_000)
    assert amount == Decimal(expected)
    assert amount.as_tuple().exponent == -12


def test_a_ratio_is_the_quotient_to_12_places() -> None:
    assert money.ratio(Decimal(1), Decimal(3)) == Decimal("0.333333333333")


@pytest.mark.parametrize("zero", ["0", "0.00", "-0"])
def test_there_is_no_ratio_to_zero(zero: str) -> None:
    assert money.ratio(Decimal(1), Decimal(zero)) is None


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0.023728800000", "0.0237288"),
        ("100", "100"),
        ("1E+3", "1000"),
        ("1E-12", "0.000000000001"),
        ("0E-12", "0"),
        ("-0", "0"),
        ("-0.000", "0"),
        ("-1.50", "-1.5"),
        ("10.0", "10"),
    ],
)
def test_amounts_are_written_plainly(amount: str, text: str) -> None:
    assert money.plain(Decimal(amount)) == text


def test_a_host_that_changed_the_default_context_changes_no_amount() -> None:
    quantity, unit_price = Decimal(123456789), Decimal("0.0123456789")

    def amounts() -> list[str]:
        cost = money.cost(quantity, unit_price, 1_000_000)
        return [
            str(amount)
            for amount in (
                cost,
                money.exact("1234.56789"),
                money.add(quantity, unit_price),
                money.subtract(quantity, unit_price),
                money.multiply(quantity, unit_price),
                money.divide(quantity, unit_price),
                money.ratio(quantity, unit_price),
                money.plain(Decimal("1234.567890")),
            )
        ]

    undisturbed = amounts()
    with localcontext(Context(prec=3, rounding=ROUND_UP, traps=[Inexact, Rounded])):
        assert amounts() == undisturbed
