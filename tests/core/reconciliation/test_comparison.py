"""What is compared at all, in which currency, and what is alarming."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal, localcontext

import pytest
from tests.core.reconciliation.two_sides import (
    AUDIO_IN,
    AUDIO_OUT,
    BOOK,
    EXACT,
    LATER,
    MONDAY,
    TUESDAY,
    WEDNESDAY,
    WHISPER,
    Sides,
    at,
    billed,
    billed_day,
    by_cause,
    compare,
    counted,
    counted_day,
    more,
    named,
    values,
)

from realtime_spend.core.line_items import Provider
from realtime_spend.core.reconciliation.bills import Bill, BillProblem, LeftOut
from realtime_spend.core.reconciliation.comparison import Settings, reconcile
from realtime_spend.core.reconciliation.drift import State
from realtime_spend.core.reconciliation.estimated import Estimates, EstimateSource
from realtime_spend.core.reconciliation.settling import settled_from, state_of

# --- what is compared at all


def test_all_days_of_the_bill_are_compared_and_no_others() -> None:
    found = compare([counted(day) for day in (MONDAY, TUESDAY, WEDNESDAY)], [billed(TUESDAY)], days=(MONDAY, TUESDAY))
    assert (found.first, found.last) == (MONDAY, TUESDAY)
    assert [(row.day, row.billed_cost) for row in found.rows] == [(MONDAY, 0), (TUESDAY, at("32", 1000))]
    assert not found.problems


def test_only_the_days_that_are_asked_for_are_compared() -> None:
    days = (MONDAY, TUESDAY, WEDNESDAY)
    found = compare(
        [counted(day) for day in days], [billed(day) for day in days], settings={"first": TUESDAY, "last": TUESDAY}
    )
    assert {row.day for row in found.rows} == {TUESDAY}
    assert (found.first, found.last) == (TUESDAY, TUESDAY)
    assert not found.problems


def test_days_that_the_bill_has_not_are_said_and_not_compared() -> None:
    found = compare(
        [counted(day) for day in (MONDAY, TUESDAY)], [billed(TUESDAY)],
        days=(TUESDAY, TUESDAY), settings={"first": MONDAY, "last": WEDNESDAY},
    )  # fmt: skip
    assert [row.day for row in found.rows] == [TUESDAY]
    (problem,) = found.problems
    assert "2026-11-03 to 2026-11-03 only" in problem.message


def test_a_bill_of_no_day_compares_nothing() -> None:
    found = reconcile(
        Estimates(source=EstimateSource.LEDGER, items=[counted()]), Bill(), book=BOOK, settings=Settings(at=LATER)
    )
    assert (found.first, found.last, found.rows, found.shares) == (None, None, [], [])
    assert found.totals.drift_cost == 0
    assert not found.is_beyond


def test_a_bill_without_any_of_our_meters_still_covers_its_days() -> None:
    found = compare([counted()], [], days=(MONDAY, MONDAY))
    assert by_cause(found) == {"unexplained": -at("32", 1000)}


def test_the_provider_of_another_bill_is_said_and_not_compared() -> None:
    found = compare([counted(), counted(provider=Provider.OPENAI, account=None)], [billed()])
    assert {row.provider for row in found.rows} == {Provider.AZURE}
    assert "The bill has no usage of openai" in found.problems[0].message


def test_one_account_alone() -> None:
    found = compare(
        [counted(), counted(account="voice-east"), counted(account=None)],
        [billed(), billed(account="voice-east")],
        settings={"account": "Voice-West"},
    )
    assert {row.account for row in found.rows} == {"voice-west"}
    assert found.totals.drift_cost == 0


def test_one_account_of_a_bill_that_tells_none() -> None:
    names = named(provider=Provider.OPENAI)
    found = compare(
        [counted(**names, account="proj_1"), counted(**names, account="proj_2")],
        [billed(**names, account=None)],
        settings={"account": "proj_1"},
    )
    (row,) = found.rows
    assert row.drift_cost == 0


def test_meters_of_other_models_are_left_out_and_their_sum_is_said() -> None:
    found = compare([counted()], [billed(), billed(model="gpt-audio", is_realtime=False, cost=Decimal("7.5"))])
    assert found.left_out == [LeftOut(what="other meters", rows=1, cost=Decimal("7.5"), currency="USD")]
    assert found.totals.billed_cost == at("32", 1000)


def test_problems_and_what_was_left_out_of_either_side_are_handed_on() -> None:
    unread, skipped = BillProblem(message="row 7 has no price", file="a.csv", row=7), BillProblem(message="line 3")
    tax = LeftOut(what="tax", rows=2, cost=Decimal("1.90"), currency="USD")
    found = reconcile(
        Estimates(source=EstimateSource.LEDGER, items=[counted()], problems=[skipped]),
        Bill(items=[billed()], problems=[unread], left_out=[tax], first=MONDAY, last=MONDAY),
        book=BOOK,
        settings=Settings(at=LATER),
    )
    assert found.problems == [unread, skipped]
    assert found.left_out == [tax]


# --- currencies


def test_estimates_are_converted_by_the_rate_of_the_row_itself() -> None:
    found = compare(
        [counted(part=AUDIO_IN), counted(part=AUDIO_OUT), counted(TUESDAY, part=AUDIO_OUT)],
        [
            billed(part=AUDIO_IN, price="25.6", currency="EUR", to_usd=Decimal("1.25")),
            billed(part=AUDIO_OUT, price="32", currency="EUR", to_usd=Decimal(2)),
        ],
        days=(MONDAY, TUESDAY),
    )
    assert found.currency == "EUR"
    assert [(row.estimated_cost, row.to_usd) for row in found.rows[:2]] == [
        (at("25.6", 1000), Decimal("1.25")),
        (at("32", 1000), Decimal(2)),
    ]
    # No row of the bill: the rate of the nearest day, on which 25.6 and 32 EUR were 32 and 64 USD.
    assert found.rows[2].to_usd == EXACT.divide(Decimal(96), Decimal("57.6"))
    assert found.rows[2].estimated_cost == at("38.4", 1000)
    assert found.rows[0].drift_cost == found.rows[1].drift_cost == 0


def test_a_rate_that_is_given_serves_where_the_bill_has_none() -> None:
    found = compare([counted()], [billed(price="25.6", currency="EUR")], settings={"fx": {"EUR": Decimal("1.25")}})
    assert found.totals.drift_cost == 0
    assert not found.problems


def test_the_bills_own_rate_wins_over_one_that_is_given() -> None:
    item = billed(price="25.6", currency="EUR", to_usd=Decimal("1.25"))
    assert compare([counted()], [item], settings={"fx": {"EUR": Decimal(9)}}).totals.drift_cost == 0


def test_without_any_rate_only_quantities_are_compared() -> None:
    found = compare([counted(), counted(part=AUDIO_OUT)], [
        billed(currency="EUR"), billed(part=AUDIO_OUT, currency="EUR", quantity=1021),
    ])  # fmt: skip
    assert found.currency == "EUR"
    assert [(row.estimated_cost, row.drift_cost, row.to_usd) for row in found.rows] == [(None, None, None)] * 2
    assert (found.totals.estimated_cost, found.totals.drift_cost, found.totals.explained_cost) == (None, None, None)
    assert found.totals.billed_cost == at("32", 1000) + at("64", 1021)
    assert not found.shares
    # 21 of 1,021 is more than 2 %.
    assert [row.is_beyond for row in found.rows] == [False, True]
    assert "--fx EUR=" in found.problems[0].message


def test_without_any_rate_nothing_is_said_to_be_unobserved() -> None:
    found = compare([counted()], [billed(currency="EUR"), billed(part=AUDIO_OUT, currency="EUR")])
    assert [row.drift_cost for row in found.rows] == [None, None]
    assert not found.shares


def test_a_rate_for_estimates_by_a_card_of_another_currency() -> None:
    assert "--fx GBP=" in compare([counted(currency="GBP")], [billed()]).problems[0].message
    found = compare([counted(currency="GBP")], [billed(price="40")], settings={"fx": {"GBP": Decimal("1.25")}})
    assert found.totals.drift_cost == 0


def test_several_currencies_are_compared_in_dollars() -> None:
    found = compare(
        [counted(part=AUDIO_IN), counted(part=AUDIO_OUT)],
        [billed(part=AUDIO_IN, price="25.6", currency="EUR", to_usd=Decimal("1.25")), billed(part=AUDIO_OUT)],
    )
    assert found.currency == "USD"
    assert [row.billed_cost for row in found.rows] == [at("32", 1000), at("64", 1000)]
    assert found.totals.drift_cost == 0


def test_of_several_currencies_the_money_of_one_without_a_rate_is_left_out_and_said() -> None:
    found = compare([counted()], [billed(), billed(part=AUDIO_OUT, currency="SEK", cost=Decimal(70))])
    assert found.left_out == [LeftOut(what="no rate of exchange", rows=1, cost=Decimal(70), currency="SEK")]
    assert ["--fx SEK=" in problem.message for problem in found.problems] == [True]
    assert found.totals.billed_cost == at("32", 1000)


def test_of_several_currencies_the_quantities_of_one_without_a_rate_are_compared() -> None:
    """OpenAI bills in dollars and Azure in euros, at a rate that nobody tells."""
    openai = named(provider=Provider.OPENAI, account=None)
    found = compare(
        [*counted_day(**openai), *counted_day()],
        [*billed_day(**openai), *billed_day(factor="0.8", currency="EUR")],
    )
    assert found.currency == "USD"
    assert all(row.billed_quantity == row.estimated_quantity for row in found.rows)
    assert {values(row, "estimated_cost", "drift_cost", "is_beyond") for row in found.rows} == {(None, None, False)}
    assert not found.is_beyond
    assert not found.shares
    assert {row.provider: row.unconverted for row in found.rows if row.part == AUDIO_OUT} == {
        Provider.OPENAI: (),
        Provider.AZURE: (("EUR", at("51.2", 100_000)),),
    }
    totals = found.totals
    euros = sum(row.billed_cost for row in compare([], billed_day(factor="0.8")).rows)
    assert totals.unconverted == (("EUR", euros),)
    assert (totals.estimated_cost, totals.drift_cost, totals.explained_cost, totals.unexplained_cost) == (None,) * 4
    assert ["--fx EUR=" in problem.message for problem in found.problems] == [True]


def test_of_several_currencies_a_quantity_of_one_without_a_rate_that_differs_is_alarming() -> None:
    found = compare(
        [counted(), counted(part=AUDIO_OUT)],
        [billed(), billed(part=AUDIO_OUT, currency="SEK", quantity=1021)],
    )
    assert [values(row, "billed_quantity", "is_beyond") for row in found.rows] == [(1000, False), (1021, True)]


def test_a_row_in_several_currencies_says_what_of_it_has_no_rate() -> None:
    items = [billed(), billed(currency="SEK", cost=Decimal(3)), billed(currency="SEK", cost=Decimal(4)),
             billed(currency="NOK", cost=Decimal(5))]  # fmt: skip
    (row,) = compare([counted(quantity=4000)], items).rows
    assert values(row, "estimated_quantity", "billed_quantity", "drift_cost") == (4000, 4000, None)
    assert values(row, "billed_cost", "unconverted") == (at("32", 1000), (("NOK", Decimal(5)), ("SEK", Decimal(7))))


def test_estimates_by_a_card_in_the_bills_currency_need_no_rate() -> None:
    found = compare([counted(currency="EUR")], [billed(currency="EUR")])
    assert found.totals.drift_cost == 0
    assert found.totals.estimated_cost == at("32", 1000)


# --- what is alarming, and when


@pytest.mark.parametrize(
    ("estimated", "bill", "is_beyond"),
    [
        # Within the floor of 0.50, whatever the share.
        ("0.10", "0.60", False),
        ("0.10", "0.61", True),
        # Within 2 % of the larger side.
        ("98", "100", False),
        ("97.99", "100", True),
        ("100", "98", False),
        ("100", "97.99", True),
    ],
)
def test_a_row_is_beyond_the_tolerance(estimated: str, bill: str, *, is_beyond: bool) -> None:
    found = compare([counted(cost=Decimal(estimated))], [billed(cost=Decimal(bill))])
    assert found.rows[0].is_beyond is is_beyond
    assert found.is_beyond is is_beyond
    assert found.shares, "what is within the tolerance is attributed all the same"


def test_tolerance_and_floor_are_settings() -> None:
    sides = Sides(
        estimates=[counted(cost=Decimal(100))], items=[billed(cost=Decimal(104))],
        settings={"tolerance": Decimal("0.05"), "floor": Decimal(1)},
    )  # fmt: skip
    assert not sides.reconciled().is_beyond
    sides.settings["tolerance"] = Decimal("0.01")
    assert sides.reconciled().is_beyond


def test_an_open_day_is_never_alarming() -> None:
    found = compare(
        [counted(cost=Decimal(100))], [], days=(MONDAY, MONDAY), settings={"at": datetime(2026, 11, 3, tzinfo=UTC)}
    )
    assert found.rows[0].is_beyond
    assert not found.is_beyond


@pytest.mark.parametrize(
    ("provider", "instant", "state"),
    [
        (Provider.OPENAI, "2026-10-31T23:59:59", State.OPEN),
        (Provider.OPENAI, "2026-11-01T00:00:00", State.FINAL),
        (Provider.AZURE, "2026-10-31T23:59:59", State.OPEN),
        (Provider.AZURE, "2026-11-01T00:00:00", State.SETTLED),
        (Provider.AZURE, "2026-11-05T23:59:59", State.SETTLED),
        (Provider.AZURE, "2026-11-06T00:00:00", State.FINAL),
    ],
)
def test_a_day_is_open_then_settled_then_final(provider: Provider, instant: str, state: State) -> None:
    assert state_of(date(2026, 10, 30), provider, datetime.fromisoformat(instant).replace(tzinfo=UTC)) is state


def test_the_last_day_of_a_year_is_final_in_the_next_one() -> None:
    assert state_of(date(2026, 12, 31), Provider.AZURE, datetime(2027, 1, 5, tzinfo=UTC)) is State.SETTLED
    assert state_of(date(2026, 12, 31), Provider.AZURE, datetime(2027, 1, 6, tzinfo=UTC)) is State.FINAL
    assert settled_from(date(2026, 12, 31)) == datetime(2027, 1, 2, tzinfo=UTC)


def test_seconds_that_an_hour_with_few_places_cannot_state_are_rounding() -> None:
    # 0.1668 hours are 600.48 seconds.
    found = compare([counted(**WHISPER, quantity="600.3")], [billed(**WHISPER, quantity="600.48")])
    assert set(by_cause(found)) == {"rounding"}


def test_the_hosts_decimal_context_changes_nothing() -> None:
    def reconciled() -> object:
        found = compare(
            [*counted_day(), *counted_day(TUESDAY)],
            [
                *billed_day(
                    tokens=more(audio_output=-2_501),
                    factor="0.8800000001",
                    currency="EUR",
                    to_usd=Decimal("1.1712345678901234567"),
                ),
                *billed_day(
                    TUESDAY, tokens=more(audio_output=2_501, text_input=17), currency="EUR", to_usd=Decimal("1.18")
                ),
            ],
        )
        return found.totals, [(share.cost, share.evidence) for share in found.shares]

    expected = reconciled()
    with localcontext() as context:
        context.prec = 2
        assert reconciled() == expected
