"""What a billed quantity counts, by the arithmetic of its row."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_spend.billing.scale import Block, Evidence, last_place, precision_of, read_block, settle
from realtime_spend.core import money
from realtime_spend.core.line_items import Unit
from realtime_spend.core.reconciliation.bills import Scale

_MILLION = Block(count=1_000_000)
_HOUR = Block(count=1, each=3600, unit=Unit.SECONDS)
# What a token costs by the list, at 32 for a million.
_EACH = Decimal("0.000032")


def _settled(
    quantity: str, price: str, cost: str, block: Block = _MILLION, each: Decimal | None = _EACH, *, listed: str = ""
) -> tuple[Decimal | None, Scale]:
    paid = [(Decimal(price), Decimal(cost))] if price else []
    before = [(Decimal(listed), Decimal(cost))] if listed else []
    return settle(
        Evidence(quantity=Decimal(quantity), cost=Decimal(cost), block=block, paid=paid, listed=before, each=each)
    )


def test_a_division_by_the_block_means_that_tokens_are_counted() -> None:
    # 258 x 32 / 1000000
    assert _settled("258", "32", "0.008256") == (Decimal(258), Scale.SINGLE)


def test_no_division_and_a_price_like_that_of_a_block_means_that_blocks_are_counted() -> None:
    # 0.000258 x 32
    assert _settled("0.000258", "32", "0.008256") == (Decimal(258), Scale.BLOCKS)


def test_no_division_and_a_price_like_that_of_a_token_means_that_tokens_are_counted() -> None:
    # 258 x 0.000032, and a discount or a dearer scope changes nothing about it.
    assert _settled("258", "0.000032", "0.008256") == (Decimal(258), Scale.SINGLE)
    assert _settled("258", "0.000016", "0.004128") == (Decimal(258), Scale.SINGLE)
    assert _settled("258", "0.0000422", "0.0108876") == (Decimal(258), Scale.SINGLE)


def test_without_a_list_price_it_stays_open_which_of_the_two_it_is() -> None:
    assert _settled("258", "0.000032", "0.008256", each=None) == (None, Scale.UNSETTLED)


def test_what_fits_neither_way_is_not_guessed() -> None:
    assert _settled("258", "32", "5") == (None, Scale.UNSETTLED)
    assert _settled("258", "", "0.008256") == (None, Scale.UNSETTLED)


def test_a_cost_too_small_to_tell_is_taken_for_tokens() -> None:
    # 3 x 0.000001 is below half a cent with a division and without.
    assert _settled("3", "0.000001", "0.00") == (Decimal(3), Scale.ASSUMED)
    assert _settled("3", "0", "0") == (Decimal(3), Scale.ASSUMED)


@pytest.mark.parametrize("cost", ["0", "0.0", "0.00", "0E+2"])
def test_a_cost_of_zero_tells_nothing_as_it_may_have_been_waived(cost: str) -> None:
    # 400 x 0.032 / 1000 is 0.0128, which whole dollars would make zero; 400 x 0.032 is 12.8, which they would not.
    assert _settled("400", "0.032", cost, Block(count=1000)) == (Decimal(400), Scale.ASSUMED)
    assert _settled("400", "", cost, Block(count=1000), listed="0.032") == (Decimal(400), Scale.ASSUMED)


def test_a_cost_in_the_currency_of_the_price_tells_where_the_other_is_zero() -> None:
    paid = [(Decimal("0.032"), Decimal("12.8")), (Decimal("0.032"), money.ZERO)]
    row = Evidence(quantity=Decimal(400), cost=money.ZERO, block=Block(count=1000), paid=paid, each=_EACH)
    assert settle(row) == (Decimal(400_000), Scale.BLOCKS)


def test_a_unit_that_nobody_knows_is_a_single_one_only_at_the_price_of_a_single_one() -> None:
    unknown = read_block("Zorks")
    assert unknown is not None
    # 400 blocks of a thousand at 0.032 each; the price is a thousand times what a token costs.
    assert _settled("400", "0.032", "12.8", unknown) == (None, Scale.UNSETTLED)
    assert _settled("400", "0.032", "12.8", unknown, each=None) == (None, Scale.UNSETTLED)
    assert _settled("258", "0.000032", "0.008256", unknown) == (Decimal(258), Scale.SINGLE)
    # A discount or a dearer scope is no block.
    assert _settled("258", "0.000064", "0.016512", unknown) == (Decimal(258), Scale.SINGLE)
    assert _settled("258", "0.000008", "0.002064", unknown) == (Decimal(258), Scale.SINGLE)


def test_no_quantity_is_no_quantity() -> None:
    assert _settled("0", "32", "0") == (Decimal(0), Scale.SINGLE)


def test_what_a_correction_takes_back_is_negative() -> None:
    assert _settled("-258", "32", "-0.008256") == (Decimal(-258), Scale.SINGLE)


def test_a_blended_price_that_was_rounded_still_fits() -> None:
    # 258 x 31.87 / 1000000 = 0.00822246
    assert _settled("258", "31.9", "0.00822246") == (Decimal(258), Scale.SINGLE)


def test_a_price_before_a_discount_tells_as_well() -> None:
    # 12 % off: 258 x 32 x 0.88 / 1000000 = 0.00726528
    assert _settled("258", "", "0.00726528", listed="32") == (Decimal(258), Scale.SINGLE)
    # But not what is dearer than the list, or next to nothing.
    assert _settled("258", "", "0.0165", listed="32") == (None, Scale.UNSETTLED)
    assert _settled("258", "", "0.0008", listed="32") == (None, Scale.UNSETTLED)


def test_the_price_that_was_paid_is_believed_before_the_one_of_the_list() -> None:
    # By the list it might be blocks; what was paid says tokens: 1000 x 0.032 / 1000 = 0.032.
    row = Evidence(
        quantity=Decimal(1000),
        cost=Decimal("0.032"),
        block=Block(count=1000),
        paid=[(Decimal("0.032"), Decimal("0.032"))],
        listed=[(Decimal("0.000064"), Decimal("0.032"))],
        each=_EACH,
    )
    assert settle(row) == (Decimal(1000), Scale.SINGLE)


def test_hours_become_seconds() -> None:
    each = Decimal("1.02") / 3600
    assert _settled("0.5", "1.02", "0.51", _HOUR, each) == (Decimal(1800), Scale.BLOCKS)
    # 1800 x 1.02 / 3600 = 0.51
    assert _settled("1800", "1.02", "0.51", _HOUR, each) == (Decimal(1800), Scale.SINGLE)
    # Hours, at the price of a hundred: 50 x 102 / 100 = 51.
    hundred = Block(count=100, each=3600, unit=Unit.SECONDS)
    assert _settled("50", "102", "51", hundred, each) == (Decimal(180_000), Scale.BLOCKS)
    assert _settled("0.5", "0", "0", _HOUR, each) == (Decimal(1800), Scale.ASSUMED)


def test_a_unit_of_one_token_needs_no_arithmetic() -> None:
    single = Block(count=1, unit=Unit.TOKENS, is_single=True)
    assert _settled("258", "5", "0.1", single) == (Decimal(258), Scale.SINGLE)


@pytest.mark.parametrize(
    ("unit", "size", "count", "each", "what", "is_single"),
    [
        ("1K", None, 1000, 1, None, False),
        ("1M", None, 10**6, 1, None, False),
        ("10K", None, 10_000, 1, None, False),
        ("1 M Tokens", None, 10**6, 1, Unit.TOKENS, False),
        ("1M/Tokens", None, 10**6, 1, Unit.TOKENS, False),
        ("1,000 Tokens", None, 1000, 1, Unit.TOKENS, False),
        ("1 Million", None, 10**6, 1, None, False),
        ("Tokens", None, 1, 1, Unit.TOKENS, True),
        ("Units", "1000", 1000, 1, None, False),
        ("1K", "1000000.0000", 10**6, 1, None, False),
        ("1K", "no number", 1000, 1, None, False),
        ("1 Hour", None, 1, 3600, Unit.SECONDS, False),
        ("100 Hours", None, 100, 3600, Unit.SECONDS, False),
        ("1/Minute", None, 1, 60, Unit.SECONDS, False),
        ("Seconds", None, 1, 1, Unit.SECONDS, True),
        ("1 Stunde", None, 1, 3600, Unit.SECONDS, False),
    ],
)
def test_units_are_read_as_they_are_written(
    unit: str, size: str | None, count: int, each: int, what: Unit | None, *, is_single: bool
) -> None:
    assert read_block(unit, size) == Block(count=count, each=each, unit=what, is_single=is_single)


@pytest.mark.parametrize("unit", ["", "  ", "0 Tokens"])
def test_no_unit_is_no_block(unit: str) -> None:
    assert read_block(unit) is None


@given(unit=st.text(max_size=30), size=st.none() | st.text(max_size=10))
def test_no_text_is_too_odd_for_a_unit(unit: str, size: str | None) -> None:
    block = read_block(unit, size)
    assert block is None or block.size >= 1


_PRICES = st.decimals(min_value=1, max_value=100, places=2)


@given(
    tokens=st.integers(min_value=1_000, max_value=10**9),
    price=_PRICES,
    discount=st.decimals(min_value="0.7", max_value="1.3", places=2),
    block=st.sampled_from([1000, 10**6]),
)
def test_whichever_way_a_bill_is_written_the_tokens_are_found(
    tokens: int, price: Decimal, discount: Decimal, block: int
) -> None:
    """`price` is the list's for a million; the bill has it with a discount or a surcharge, for its own block."""
    each = price / 10**6
    of_block = each * block * discount
    cost = tokens * of_block / block
    ways = [(Decimal(tokens), of_block), (Decimal(tokens), of_block / block), (Decimal(tokens) / block, of_block)]
    for quantity, written in ways:
        row = Evidence(quantity=quantity, cost=cost, block=Block(count=block), paid=[(written, cost)], each=each)
        found, scale = settle(row)
        assert scale in {Scale.SINGLE, Scale.BLOCKS}
        assert found == tokens


def test_the_last_place_is_what_is_written() -> None:
    assert last_place(Decimal("0.0082560")) == Decimal("0.0000001")
    assert last_place(Decimal("1.2E-5")) == Decimal("0.000001")
    assert last_place(money.ZERO) == Decimal(1)


def test_the_precision_of_a_file_is_that_of_its_finest_cost() -> None:
    cent = Decimal("0.01")
    assert precision_of([Decimal("0.5"), Decimal("0.0001"), Decimal(7)], cent) == Decimal("0.0001")
    assert precision_of([], cent) == cent
