"""How the numbers of a cause stand in its sentence."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.core.reconciliation.two_sides import (
    AUDIO_OUT,
    MONDAY,
    TRANSCRIBES,
    TUESDAY,
    WEDNESDAY,
    WHISPER,
    at,
    billed,
    by_cause,
    compare,
    counted,
    gap,
    said,
)

from realtime_spend.core.line_items import Unit
from realtime_spend.core.reconciliation import wording
from realtime_spend.core.usage import Kind, Reported


@pytest.mark.parametrize(
    ("quantity", "unit", "text"),
    [
        ("0", Unit.TOKENS, "0 tokens"),
        ("1234567", Unit.TOKENS, "1,234,567 tokens"),
        ("-1234567", Unit.TOKENS, "-1,234,567 tokens"),
        ("1E+6", None, "1,000,000"),
        ("42.50", Unit.SECONDS, "42.5 seconds"),
        ("-0.5", Unit.SECONDS, "-0.5 seconds"),
        ("1000.00049", Unit.SECONDS, "1,000 seconds"),
        ("-0.0001", Unit.SECONDS, "0 seconds"),
    ],
)
def test_quantities(quantity: str, unit: Unit | None, text: str) -> None:
    assert wording.units(Decimal(quantity), unit) == text


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        ("0", "0.00 USD"),
        ("12345.678", "12,345.68 USD"),
        ("-3.2", "-3.20 USD"),
        ("0.1", "0.10 USD"),
        ("0.0123456", "0.0123 USD"),
        ("-0.0000004999", "-0.0000005 USD"),
    ],
)
def test_money_is_to_the_cent_and_less_than_that_to_its_first_digits(cost: str, text: str) -> None:
    assert wording.amount(Decimal(cost), "USD") == text


def test_prices_are_as_on_a_price_page() -> None:
    assert wording.unit_price(Decimal("0.0064"), Decimal(100), Unit.TOKENS, "USD") == "64 USD per 1M tokens"
    assert wording.unit_price(Decimal("1.02"), Decimal(3600), Unit.SECONDS, "EUR") == "0.017 EUR per minute"


def test_shares_and_lists() -> None:
    assert wording.percent(Decimal("0.125")) == "12.5 %"
    assert wording.factor(Decimal("1.3333333333")) == "1.33333"
    assert wording.several(["a"]) == "a"
    assert wording.several(["a", "b", "c"], "or") == "a, b or c"


def test_a_price_of_what_was_free_has_no_factor() -> None:
    found = compare([counted(price="0")], [billed(price="32")])
    assert by_cause(found) == {"price": at("32", 1000)}
    assert said(found, "price") == "1,000 tokens billed at 32 USD per 1M tokens, estimated at 0 USD per 1M tokens."


def test_a_price_of_a_time_is_per_minute() -> None:
    found = compare([counted(**WHISPER, quantity=600)], [billed(**(WHISPER | {"price": "1.122"}), quantity=600)])
    assert "600 seconds billed at 0.0187 USD per minute, estimated at 0.017 USD per minute: 1.1 times" in said(
        found, "price"
    )


def test_a_cost_without_a_quantity_stays_unexplained() -> None:
    found = compare([], [billed(part=AUDIO_OUT, quantity=0, cost=Decimal("2.5"))])
    assert by_cause(found) == {"unexplained": Decimal("2.5")}


def test_seconds_of_a_day_that_hours_state_to_a_few_places_are_shifted_all_the_same() -> None:
    """A quarter of 3,000 seconds is on the next day: 0.6250 and 1.0417 hours, which is 3,750.12 seconds."""
    found = compare(
        [counted(day, **WHISPER, quantity=3_000) for day in (MONDAY, TUESDAY, WEDNESDAY)],
        [
            billed(MONDAY, **WHISPER, quantity=2_250),
            billed(TUESDAY, **WHISPER, quantity="3750.12"),
            billed(WEDNESDAY, **WHISPER, quantity=3_000),
        ],
    )
    assert by_cause(found)["day_shift"] == 0
    assert set(by_cause(found)) == {"day_shift", "rounding"}
    assert "750 seconds counted on 2026-11-02 are on the bill of 2026-11-03." in said(found, "day_shift")


def test_rows_of_no_cost_have_the_rate_that_they_state() -> None:
    """Corrections may cancel a day to nothing: there is no weight then, and the first rate is as good as another."""
    items = [
        billed(cost=Decimal(0), currency="EUR", to_usd=Decimal("1.25")),
        billed(cost=Decimal(0), currency="EUR", to_usd=Decimal("1.26")),
    ]
    assert compare([counted(quantity=2000)], items).rows[0].to_usd == Decimal("1.25")


def test_what_a_card_of_yours_in_another_currency_lists_is_compared_with_no_list() -> None:
    found = compare([counted(currency="EUR")], [billed(price="35.2", currency="EUR", to_usd=Decimal("1.25"))])
    assert by_cause(found) == {"price": at("3.2", 1000)}
    assert "the data-zone price (that of most regions too)" in said(found, "price")


def test_lost_and_missing_responses_are_told_apart() -> None:
    found = compare(
        [counted(part=AUDIO_OUT)],
        [billed(part=AUDIO_OUT, quantity=1_030)],
        gaps=[gap(2), gap(1, reported=Reported.MISSING), gap(4, Kind.TRANSCRIPTION, Reported.MISSING)],
    )
    assert "2 responses were created and never done and 1 response came without usage" in said(found, "lost_responses")


def test_a_transcription_is_never_a_lost_response() -> None:
    found = compare(
        [counted(**TRANSCRIBES, price="6")],
        [billed(**TRANSCRIBES, quantity=1_030, price="6")],
        gaps=[gap(2, model=None)],
    )
    assert set(by_cause(found)) == {"unexplained"}
