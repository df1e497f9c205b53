"""What of the estimates stands beside what of the bill."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.core.reconciliation.two_sides import (
    AUDIO_IN,
    AUDIO_OUT,
    MINI,
    MONDAY,
    TEXT_IN,
    TUESDAY,
    WEDNESDAY,
    at,
    billed,
    billed_day,
    by_cause,
    compare,
    counted,
    counted_day,
    named,
    said,
    values,
)

from realtime_spend.core.line_items import Provider, Scope, Unit
from realtime_spend.core.reconciliation.drift import State

_OLD = named(model="gpt-4o-realtime-preview", part=AUDIO_OUT)


def test_a_row_has_both_sides_and_all_that_they_are_made_of() -> None:
    found = compare(
        [counted(part=AUDIO_OUT, quantity=400), counted(part=AUDIO_OUT, quantity=600, region="eastus2")],
        [
            billed(part=AUDIO_OUT, quantity=900, name="gpt rt aud 0828 Outp glbl Tokens"),
            billed(part=AUDIO_OUT, quantity=100, name="gpt rt aud 0828 Outp gl Tokens"),
        ],
    )
    (row,) = found.rows
    assert (row.day, row.provider, row.account) == (MONDAY, Provider.AZURE, "voice-west")
    assert (row.model, row.version, row.scope, row.part, row.unit) == (
        "gpt-realtime", "2025-08-28", Scope.GLOBAL, AUDIO_OUT, Unit.TOKENS,
    )  # fmt: skip
    assert row.estimated_quantity == row.billed_quantity == 1000
    assert row.estimated_cost == row.billed_cost == at("64", 1000)
    assert row.drift_cost == 0
    assert row.state is State.FINAL
    assert row.meters == ("gpt rt aud 0828 Outp gl Tokens", "gpt rt aud 0828 Outp glbl Tokens")
    assert (row.estimated_low, row.estimated_high, row.to_usd) == (None, None, Decimal(1))


def test_what_only_one_side_has_is_nothing_on_the_other() -> None:
    found = compare([counted(part=AUDIO_OUT)], [billed(part=AUDIO_IN)])
    rows = {row.part: row for row in found.rows}
    assert values(rows[AUDIO_OUT], "billed_quantity", "billed_cost") == (0, 0)
    assert values(rows[AUDIO_IN], "estimated_quantity", "estimated_cost") == (0, 0)
    assert rows[AUDIO_IN].drift_cost == at("32", 1000)
    assert rows[AUDIO_OUT].drift_cost == -at("64", 1000)


def test_rows_are_in_the_order_of_their_days_models_and_parts() -> None:
    days = [TUESDAY, MONDAY]
    found = compare([counted(day, part) for day in days for part in (TEXT_IN, AUDIO_OUT, AUDIO_IN)], [billed()])
    assert [(row.day, row.part) for row in found.rows] == [
        (day, part) for day in (MONDAY, TUESDAY) for part in (AUDIO_IN, AUDIO_OUT, TEXT_IN)
    ]


@pytest.mark.parametrize("counted_as", [None, "2025-08-28"])
@pytest.mark.parametrize("billed_as", [None, "2025-08-28"])
def test_a_version_that_a_side_leaves_out_is_the_other_sides_only_one(
    counted_as: str | None, billed_as: str | None
) -> None:
    found = compare([counted(version=counted_as)], [billed(version=billed_as)])
    (row,) = found.rows
    assert row.version == (billed_as or counted_as)
    assert not found.shares


def test_versions_at_the_same_rates_are_one_row() -> None:
    mini = named(model="gpt-realtime-mini", part=AUDIO_OUT, price="20")
    found = compare(
        [counted(**mini, version="2025-10-06"), counted(**mini, version=None)],
        [billed(**mini, version="2025-12-15", quantity=2000)],
    )
    (row,) = found.rows
    assert row.version == "2025-12-15"
    assert row.drift_cost == 0


def test_versions_at_different_rates_never_mix() -> None:
    """The first preview costs 2.5 times what the second does. An alias that could be either stays by itself."""
    found = compare(
        [counted(**_OLD, version=None, price="80")],
        [billed(**_OLD, version="2024-10-01", price="200"), billed(**_OLD, version="2024-12-17", price="80")],
    )
    assert [values(row, "version", "estimated_quantity", "billed_quantity") for row in found.rows] == [
        (None, 1000, 0), ("2024-10-01", 0, 1000), ("2024-12-17", 0, 1000),
    ]  # fmt: skip


def test_an_alias_is_on_each_day_the_version_that_is_billed_on_it() -> None:
    dear, cheap = named(version="2024-10-01", price="200"), named(version="2024-12-17", price="80")
    found = compare(
        [counted(day, **_OLD, version=None, price="80") for day in (MONDAY, TUESDAY)],
        [billed(MONDAY, **_OLD, **dear), billed(TUESDAY, **_OLD, **cheap)],
    )
    assert [values(row, "version", "billed_quantity") for row in found.rows] == [
        ("2024-10-01", 1000), ("2024-12-17", 1000),
    ]  # fmt: skip
    assert by_cause(found) == {"price": at("120", 1000)}


def test_an_alias_joins_the_only_version_of_the_other_side_on_days_without_it_too() -> None:
    found = compare(
        [counted(MONDAY, **_OLD, version=None, price="80"), counted(TUESDAY, **_OLD, version=None, price="80")],
        [billed(MONDAY, **_OLD, version="2024-12-17", price="80", quantity=2000)],
        days=(MONDAY, TUESDAY),
    )
    assert [row.version for row in found.rows] == ["2024-12-17", "2024-12-17"]
    assert by_cause(found) == {"day_shift": Decimal(0)}


def test_a_scope_that_nobody_configured_is_the_bills_only_one_and_is_not_priced_again() -> None:
    found = compare([counted(scope=None)], [billed(scope=Scope.DATAZONE, price="35.2")])
    (row,) = found.rows
    assert row.scope is Scope.DATAZONE
    assert row.estimated_cost == at("32", 1000)
    assert by_cause(found) == {"price": at("3.2", 1000)}


def test_a_scope_that_nobody_configured_is_that_of_its_day_where_the_bill_changes_it() -> None:
    """A deployment was moved to a data zone: two scopes in the period, one on each day, none on the last."""
    found = compare(
        [counted(day, scope=None) for day in (MONDAY, TUESDAY, WEDNESDAY)],
        [billed(MONDAY, scope=Scope.GLOBAL), billed(TUESDAY, scope=Scope.DATAZONE, price="35.2")],
        days=(MONDAY, WEDNESDAY),
    )
    assert [row.scope for row in found.rows] == [Scope.GLOBAL, Scope.DATAZONE, None]
    assert by_cause(found) == {"price": at("3.2", 1000), "unexplained": -at("32", 1000)}


def test_a_scope_that_nobody_configured_stays_by_itself_where_the_bill_has_two() -> None:
    found = compare([counted(scope=None)], [billed(scope=Scope.GLOBAL), billed(scope=Scope.DATAZONE, price="35.2")])
    assert [row.scope for row in found.rows] == [None, Scope.DATAZONE, Scope.GLOBAL]


def test_a_meter_that_leaves_its_scope_out_is_of_the_only_one_that_was_counted() -> None:
    (row,) = compare([counted(scope=Scope.REGIONAL)], [billed(scope=None)]).rows
    assert row.scope is Scope.REGIONAL
    assert row.drift_cost == 0


def test_what_neither_scope_nor_bill_tells_is_of_the_only_one_that_is_known() -> None:
    (row,) = compare([counted(scope=None), counted(scope=Scope.GLOBAL)], [billed(scope=None, quantity=2000)]).rows
    assert values(row, "scope", "drift_cost") == (Scope.GLOBAL, 0)


def test_a_bill_that_tells_no_scopes_has_all_of_them_in_one_row() -> None:
    names = named(provider=Provider.OPENAI, account=None)
    found = compare(
        [counted(**names, scope=Scope.GLOBAL), counted(**names, scope=Scope.RESIDENCY)],
        [billed(**names, scope=None, quantity=2000)],
    )
    (row,) = found.rows
    assert row.scope is None
    assert row.drift_cost == 0


def test_provisioned_usage_joins_no_meter_of_tokens() -> None:
    found = compare([counted(scope=Scope.PROVISIONED, price=None)], [billed(scope=None)])
    assert [values(row, "scope", "billed_quantity") for row in found.rows] == [(None, 1000), (Scope.PROVISIONED, 0)]


def test_an_account_that_nobody_named_is_the_bills_only_one() -> None:
    (row,) = compare([counted(account=None)], [billed()]).rows
    assert row.account == "voice-west"


def test_an_account_that_nobody_named_stays_by_itself_where_the_bill_has_two() -> None:
    found = compare([counted(account=None)], [billed(), billed(account="voice-east")])
    assert [row.account for row in found.rows] == [None, "voice-east", "voice-west"]


def test_an_account_is_the_same_in_any_case() -> None:
    (row,) = compare([counted(account="Voice-West")], [billed()]).rows
    assert (row.account, row.drift_cost) == ("voice-west", Decimal(0))


def test_an_account_that_the_bill_does_not_know_is_said() -> None:
    found = compare([counted(account="prod")], [billed(), billed(account="voice-east")])
    assert [problem.message for problem in found.problems] == [
        "The bill knows no account prod, which usage was counted for; it has voice-east and voice-west."
    ]


def test_a_bill_that_tells_no_account_is_about_all_of_them() -> None:
    (row,) = compare([counted(account="a"), counted(account="b")], [billed(account=None, quantity=2000)]).rows
    assert values(row, "account", "drift_cost") == (None, 0)


def test_the_same_model_in_another_account_is_another_row() -> None:
    found = compare([counted(account="a")], [billed(account="b")])
    assert [values(row, "account", "drift_cost") for row in found.rows] == [
        ("a", -at("32", 1000)), ("b", at("32", 1000)),
    ]  # fmt: skip
    # Something of the model was counted: who is billed for it may be called by another name.
    assert set(by_cause(found)) == {"unexplained"}


def test_an_account_that_nobody_named_is_said_where_the_bill_has_two_and_nothing_is_unobserved() -> None:
    found = compare(counted_day(account=None), [*billed_day(), *billed_day(account="voice-east")])
    assert set(by_cause(found)) == {"unexplained"}
    (problem,) = found.problems
    assert problem.message == (
        "Usage of azure.ai.openai was counted without an account, and the bill has several: voice-east and voice-west. "
        "Which of them it belongs to is not known. Say so where it is counted: REALTIME_SPEND_ACCOUNT."
    )


def test_an_account_that_nobody_named_is_said_where_one_account_is_asked_for() -> None:
    found = compare(
        counted_day(account=None),
        [*billed_day(), *billed_day(account="voice-east")],
        settings={"account": "voice-east"},
    )
    assert {row.account for row in found.rows} == {"voice-east"}
    assert set(by_cause(found)) == {"unexplained"}
    assert "REALTIME_SPEND_ACCOUNT" in found.problems[0].message


def test_another_model_is_unobserved_whatever_has_no_account() -> None:
    found = compare([counted(account=None, **MINI)], [billed(), billed(account="voice-east")])
    assert by_cause(found) == {"unexplained": -at("32", 1000), "unobserved_traffic": 2 * at("32", 1000)}
    assert "none of it was counted on any day" in said(found, "unobserved_traffic")


def test_a_model_that_was_counted_without_an_account_on_another_day_is_not_said_to_be_never_counted() -> None:
    found = compare([counted(TUESDAY, account=None)], [billed(), billed(account="voice-east")], days=(MONDAY, TUESDAY))
    assert by_cause(found) == {"unexplained": -at("32", 1000), "unobserved_traffic": 2 * at("32", 1000)}
    assert "none of it was counted on 2026-11-02" in said(found, "unobserved_traffic")


def test_provisioned_usage_without_an_account_needs_none() -> None:
    found = compare(
        [counted(account=None, scope=Scope.PROVISIONED, price=None)], [billed(), billed(account="voice-east")]
    )
    assert by_cause(found)["unobserved_traffic"] == 2 * at("32", 1000)
    assert not found.problems


def test_unmapped_meters_of_an_account_and_day_are_one_row() -> None:
    unread = named(part=None, model=None, version=None, scope=None, problem="?", quantity=None)
    found = compare([], [billed(**unread, name="b", cost=Decimal(1)), billed(**unread, name="a", cost=Decimal(2))])
    (row,) = found.rows
    assert (row.model, row.part, row.unit, row.estimated_quantity, row.billed_quantity) == (None,) * 5
    assert values(row, "meters", "billed_cost") == (("a", "b"), 3)
    assert "3.00 USD billed for `a` and `b`" in said(found, "unmapped_meter")


def test_usage_of_a_model_that_nobody_named_is_a_row() -> None:
    found = compare([counted(model=None, version=None, scope=None, price=None)], [], days=(MONDAY, MONDAY))
    (row,) = found.rows
    assert values(row, "model", "part", "estimated_cost", "drift_cost") == (None, AUDIO_IN, None, 0)
