"""Each cause of other money, alone: the price, the unit, the rounding, and what no card or no bill has a price for."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from tests.core.reconciliation.two_sides import (
    AUDIO_CACHED,
    AUDIO_IN,
    AUDIO_OUT,
    DAY_COST,
    TEXT_CACHED,
    TEXT_IN,
    TEXT_OUT,
    TOKENS,
    TRANSCRIBES,
    at,
    billed,
    billed_day,
    by_cause,
    compare,
    counted,
    counted_day,
    more,
    named,
    said,
    times,
    unseen,
)

from realtime_spend.core.line_items import Provider, Scope
from realtime_spend.core.reconciliation.bills import Scale
from realtime_spend.core.reconciliation.drift import State


def test_a_bill_that_says_what_was_counted_has_no_drift_and_no_cause() -> None:
    found = compare(counted_day(), billed_day())
    assert found.totals.estimated_cost == found.totals.billed_cost == DAY_COST
    assert found.totals.drift_cost == 0
    assert not found.shares
    assert not found.is_beyond


def test_not_settled_is_all_the_drift_of_a_day_that_may_still_change() -> None:
    found = compare(
        counted_day(), billed_day(tokens={TEXT_IN: 10_000}), settings={"at": datetime(2026, 11, 3, 23, 59, tzinfo=UTC)}
    )
    assert by_cause(found) == {"not_settled": -(DAY_COST - at("4", 10_000))}
    assert {row.state for row in found.rows} == {State.OPEN}
    assert not found.is_beyond
    assert "2026-11-02 is settled from 2026-11-04 on" in said(found, "not_settled")


def test_a_bill_is_as_settled_as_its_days_were_when_it_was_written() -> None:
    found = compare(counted_day(), billed_day(tokens={TEXT_IN: 10_000}), made=datetime(2026, 11, 3, tzinfo=UTC))
    assert set(by_cause(found)) == {"not_settled"}
    assert "as of 2026-11-03 00:00" in said(found, "not_settled")


@pytest.mark.parametrize(
    ("factor", "fit"),
    [
        ("1.1", "the data-zone price"),
        ("1.21", "the regional price of Sweden Central"),
        ("1.32", "the regional price of northeurope"),
        ("0.88", "a flat discount of 12 % or 20 % off the data-zone price"),
        ("0.99", "a flat discount of 1 %, 10 % off the data-zone price"),
        ("0.9", "a flat discount of 10 %"),
    ],
)
def test_price_names_what_the_factor_fits(factor: str, fit: str) -> None:
    found = compare(counted_day(scope=None), billed_day(factor=factor, scope=None))
    assert by_cause(found) == {"price": DAY_COST * (Decimal(factor) - 1)}
    assert fit in said(found, "price")
    assert f"{factor} times as much. The quantities agree." in said(found, "price")
    assert "All 6 meters of the account have this factor" in said(found, "price")
    assert f"100,000 tokens billed at {Decimal(64) * Decimal(factor):f}".rstrip("0") in said(found, "price")


def test_price_of_a_meter_that_says_global_is_no_discount_off_another_scope() -> None:
    found = compare(counted_day(), billed_day(factor="0.99"))
    assert "a flat discount of 1 %" in said(found, "price")
    assert "data-zone" not in said(found, "price")


def test_price_names_every_region_that_has_it() -> None:
    old = named(model="gpt-4o-realtime-preview", version="2024-12-17", part=AUDIO_IN, quantity=1000)
    found = compare([counted(**old, price="40")], [billed(**old, price="48.4")])
    assert by_cause(found) == {"price": at("8.4", 1000)}
    assert "It fits the regional price of swedencentral." in said(found, "price")
    found = compare([counted(**old, price="40")], [billed(**old, price="44")])
    assert "the data-zone price or the regional price of eastus, eastus2," in said(found, "price")


def test_price_that_changed_on_a_day_is_dated() -> None:
    """Cached audio of the first preview had no price before December 2024: a ledger priced it by a card of its own."""
    early = named(model="gpt-4o-realtime-preview", version="2024-10-01", part=AUDIO_CACHED, quantity=1000)
    day = date(2024, 11, 4)
    found = compare([counted(day, **early, price="100")], [billed(day, **early, price="20")])
    assert by_cause(found) == {"price": -at("80", 1000)}
    assert "It fits the newer price that begins on 2024-12-01." in said(found, "price")


def test_price_of_another_currency_names_the_rate_of_exchange_that_would_do() -> None:
    found = compare(counted_day(), billed_day(factor="0.8", currency="EUR"), settings={"fx": {"EUR": Decimal("1.28")}})
    assert found.currency == "EUR"
    # 0.8 EUR for each USD is 1.25 USD for one EUR.
    assert "a rate of exchange of 1.25 USD for one EUR instead of 1.28" in said(found, "price")
    assert set(by_cause(found)) == {"price"}


def test_price_that_is_on_no_list_is_named_with_its_factor_and_no_fit() -> None:
    found = compare(
        counted_day(),
        [*billed_day(tokens=more(audio_input=-200_000)), billed(part=AUDIO_IN, quantity=200_000, price="39.04")],
    )
    assert by_cause(found) == {"price": at("7.04", 200_000)}
    assert said(found, "price") == (
        "200,000 tokens billed at 39.04 USD per 1M tokens, estimated at 32 USD per 1M tokens: 1.22 times as much. "
        "The quantities agree. It fits no price known here."
    )


def test_price_of_usage_counted_under_another_scope_stands_on_both_rows() -> None:
    found = compare(counted_day(), billed_day(factor="1.1", scope=Scope.DATAZONE))
    assert by_cause(found) == {"price": DAY_COST * Decimal("0.1")}
    assert len(found.shares) == 2 * len(TOKENS)
    assert "The same 100,000 tokens were counted under the scope global and billed under datazone." in said(
        found, "price"
    )


def test_price_of_usage_counted_as_another_version_stands_on_both_rows() -> None:
    model = named(model="gpt-4o-realtime-preview", part=AUDIO_OUT, quantity=500)
    found = compare(
        [counted(**model, version="2024-12-17", price="80")], [billed(**model, version="2024-10-01", price="200")]
    )
    assert by_cause(found) == {"price": at("120", 500)}
    assert "counted as version 2024-12-17 and billed as 2024-10-01" in said(found, "price")


def test_provisioned_usage_is_shown_without_a_cost() -> None:
    found = compare(
        [*counted_day(), counted(part=AUDIO_OUT, quantity=7_000, scope=Scope.PROVISIONED, price=None)], billed_day()
    )
    assert by_cause(found) == {"provisioned": Decimal(0)}
    assert said(found, "provisioned") == "7,000 tokens ran on provisioned capacity, which is billed by the hour."
    assert [row.estimated_cost for row in found.rows if row.scope is Scope.PROVISIONED] == [None]


def test_unmapped_meter_is_the_money_of_a_name_that_cannot_be_read() -> None:
    found = compare(
        counted_day(),
        [
            *billed_day(),
            billed(
                part=None,
                model=None,
                version=None,
                scope=None,
                name="gpt rt hlg in",
                problem="?",
                quantity=None,
                cost=Decimal("3.21"),
            ),
        ],
    )
    assert by_cause(found) == {"unmapped_meter": Decimal("3.21")}
    assert found.totals.unmapped_cost == Decimal("3.21")
    assert (
        said(found, "unmapped_meter") == "3.21 USD billed for `gpt rt hlg in`, which cannot be read as a meter we know."
    )
    assert found.is_beyond


def test_unpriced_is_what_no_card_prices_at_what_it_is_billed() -> None:
    model = named(model="gpt-realtime-9", version=None, scope=None, part=AUDIO_OUT)
    found = compare([counted(**model, quantity=4_000, price=None)], [billed(**model, quantity=4_000, price="70")])
    assert by_cause(found) == {"unpriced": at("70", 4_000)}
    assert found.rows[0].estimated_cost is None
    assert found.rows[0].drift_cost == at("70", 4_000)
    assert "4,000 tokens were counted that no rate card prices" in said(found, "unpriced")


def test_unpriced_usage_beside_priced_usage_of_the_same_part() -> None:
    estimates = [counted(part=AUDIO_OUT, quantity=1_000), counted(part=AUDIO_OUT, quantity=500, price=None)]
    found = compare(estimates, [billed(part=AUDIO_OUT, quantity=1_500)])
    assert by_cause(found) == {"unpriced": at("64", 500)}


def test_unpriced_usage_that_is_not_billed_is_shown_without_a_cost() -> None:
    found = compare([*counted_day(), counted(model="gpt-realtime-9", version=None, price=None)], billed_day())
    assert by_cause(found) == {"unpriced": Decimal(0)}


def test_unpriced_usage_of_a_deployment_is_the_billed_model_that_has_the_same_tokens() -> None:
    """On Azure a transcription says the name of a deployment: the tokens are known, the model is not."""
    nameless = named(model=None, version=None, scope=None, price=None)
    found = compare(
        [
            *counted_day(),
            counted(part=AUDIO_IN, quantity=5_000, **nameless),
            counted(part=TEXT_OUT, quantity=800, **nameless),
        ],
        [
            *billed_day(),
            billed(**TRANSCRIBES, part=AUDIO_IN, quantity=5_000, price="6"),
            billed(**TRANSCRIBES, part=TEXT_OUT, quantity=800, price="10"),
        ],
    )
    assert by_cause(found) == {"unpriced": at("6", 5_000) + at("10", 800)}
    assert "5,000 tokens of the same kind were counted without a model's name." in said(found, "unpriced")
    assert {share.row.model for share in found.shares} == {None, "gpt-4o-transcribe"}


def test_unpriced_usage_is_the_model_with_the_same_tokens_though_another_has_more() -> None:
    found = compare(
        [counted(model=None, version=None, scope=None, price=None, quantity=5_000)],
        [billed(quantity=9_000), billed(**TRANSCRIBES, quantity=5_000, price="6")],
    )
    assert by_cause(found) == {"unpriced": at("6", 5_000), "unobserved_traffic": at("32", 9_000)}


@pytest.mark.parametrize("name", [None, "hearing"])
def test_unpriced_usage_is_the_rest_of_a_model_that_was_counted_under_its_name_too(name: str | None) -> None:
    both = {AUDIO_IN: 5000, TEXT_OUT: 1200}
    beside = counted_day(tokens=both, version=None, scope=None, model=name, price=None)
    twice = {part: quantity + both.get(part, 0) for part, quantity in TOKENS.items()}
    found = compare([*counted_day(), *beside], billed_day(tokens=twice))
    assert by_cause(found) == {"unpriced": at("32", 5000) + at("16", 1200)}
    whose = f"under the name {name}, which" if name else "without a model's name."
    assert f"5,000 tokens of the same kind were counted {whose}" in said(found, "unpriced")
    # All meters of a model may be too high by one factor as well: the same tokens say which it is.
    unnamed = counted_day(version=None, scope=None, model=name, price=None)
    found = compare([*counted_day(), *unnamed], billed_day(tokens=times("2")))
    assert set(by_cause(found)) == {"unpriced"}


def test_unpriced_usage_of_a_deployment_beside_transcriptions_without_usage() -> None:
    found = compare(
        [counted(model="hearing", version=None, scope=None, price=None, quantity=5_000)],
        [billed(**TRANSCRIBES, quantity=7_000, price="6")],
        gaps=[unseen()],
    )
    assert by_cause(found) == {"unpriced": at("6", 5_000), "transcription_unobserved": at("6", 2_000)}
    assert "counted under the name hearing, which no rate card lists" in said(found, "unpriced")


def test_unit_scale_is_money_for_a_quantity_that_nobody_can_read() -> None:
    found = compare(
        [counted(part=AUDIO_OUT, quantity=1_000)],
        [billed(part=AUDIO_OUT, quantity=None, cost=Decimal("5.5"), scale=Scale.UNSETTLED)],
    )
    assert by_cause(found) == {"unit_scale": Decimal("5.5") - at("64", 1_000)}
    assert "5.50 USD billed, but not for how many tokens" in said(found, "unit_scale")


def test_unit_scale_where_the_assumed_one_makes_no_sense() -> None:
    """0.001 of a block or of a token: the cost of a few cents would be a thousand times the price."""
    found = compare(
        [counted(part=AUDIO_OUT, quantity=1_000)],
        [billed(part=AUDIO_OUT, quantity="0.0015", cost=Decimal("0.096"), scale=Scale.ASSUMED)],
    )
    assert by_cause(found) == {"unit_scale": Decimal("0.096") - at("64", 1_000)}


@pytest.mark.parametrize(
    ("quantity", "stated", "precision"),
    [(3, "0.003", "0.000001"), (3_000, "3", "0.00001"), (3_000_000, "3", "0.00001"), (40, "0.003", "0.000001")],
)
def test_unit_scale_of_a_part_that_costs_nothing_is_told_by_what_was_counted(
    quantity: int, stated: str, precision: str
) -> None:
    found = compare(
        [counted(part=TEXT_CACHED, quantity=quantity)],
        [
            billed(
                part=TEXT_CACHED,
                quantity=stated,
                cost=Decimal(0),
                scale=Scale.ASSUMED,
                precision=Decimal(precision),
            )
        ],
    )
    assert by_cause(found) == {"unit_scale": -at("0.4", quantity)}
    assert "0.00 USD is too little to tell the unit of its quantity." in said(found, "unit_scale")


def test_rounding_is_what_the_bill_does_not_state() -> None:
    exact = at("64", 1_001)
    found = compare(
        [counted(part=AUDIO_OUT, quantity=1_001)],
        [billed(part=AUDIO_OUT, quantity=1_001, cost=Decimal("0.06"), precision=Decimal("0.01"))],
    )
    assert by_cause(found) == {"rounding": Decimal("0.06") - exact}
    assert "below what the bill states" in said(found, "rounding")


def test_rounding_is_no_more_than_the_finest_place_of_the_bill() -> None:
    """A cost of exactly 20 is stated to whole units; the same bill states others to six places."""
    found = compare(
        [counted(part=AUDIO_OUT, quantity=300_000), counted(part=TEXT_OUT, quantity=100)],
        [
            billed(part=AUDIO_OUT, quantity=300_000, cost=Decimal(20), precision=Decimal(1)),
            billed(part=TEXT_OUT, quantity=100, precision=Decimal("0.000001")),
        ],
    )
    assert by_cause(found) == {"price": 20 - at("64", 300_000)}


def test_openai_has_one_factor_only() -> None:
    names = named(provider=Provider.OPENAI, account=None)
    found = compare(counted_day(**names), billed_day(factor="1.1", **names))
    assert "the price with data residency" in said(found, "price")
    assert found.rows[0].state is State.FINAL
