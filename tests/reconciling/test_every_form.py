"""The same sessions on bills of every form, with every way of counting: what is found does not depend on it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from tests.reconciling.conversations import AZURE, DAYS, OPENAI, conversations
from tests.reconciling.playing import SETTLED, Scenario, assert_same_money
from tests.reconciling.recording import record
from tests.reconciling.scenarios import CAUSES, FAULTS, THESE, check, check_totals

from realtime_spend.core.reconciliation.drift import Cause
from realtime_spend.reconciler import Question, answer
from realtime_spend.simulator.bill import faults
from realtime_spend.simulator.bill.azure import Agreement, Counting, cost_details
from realtime_spend.simulator.bill.draft import draft_bill
from realtime_spend.simulator.bill.export import next_morning, write_run
from realtime_spend.simulator.bill.faults import inject
from realtime_spend.simulator.bill.writing import BillForm, until_day
from realtime_spend.simulator.models import Provider

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reconciling.conversations import Truth
    from tests.reconciling.playing import Play

    from realtime_spend.core.rates import RateBook

_WITH_QUANTITIES = [form for form in BillForm if form is not BillForm.OPENAI_CSV]


def _usages(form: BillForm) -> Truth:
    return conversations(OPENAI if form.provider is Provider.OPENAI else AZURE)


@pytest.mark.parametrize("form", BillForm)
def test_a_clean_bill_of_any_form_has_no_drift(form: BillForm, play: Play) -> None:
    outcome = play(form=form, usages=_usages(form))
    check_totals(outcome)
    assert outcome.money() == {}
    assert not outcome.found.is_beyond
    assert sum(row.billed_cost for row in outcome.found.rows) == sum(one.cost for one in outcome.draft.charges)
    assert {row.day for row in outcome.found.rows} == set(DAYS)


@pytest.mark.parametrize("counting", Counting)
@pytest.mark.parametrize("form", [BillForm.EA, BillForm.MCA, BillForm.C360, BillForm.FOCUS_1_0, BillForm.FOCUS_1_2])
def test_whatever_a_quantity_counts_the_bill_is_clean(form: BillForm, counting: Counting, play: Play) -> None:
    outcome = play(form=form, counting=counting)
    check(outcome)
    assert outcome.money() == {}


@pytest.mark.parametrize("name", ["lost responses", "cache not billed", "another team", "shifted day", "discount"])
@pytest.mark.parametrize("form", _WITH_QUANTITIES)
def test_the_form_of_the_bill_changes_nothing(form: BillForm, name: str, play: Play) -> None:
    scenario = FAULTS[name](THESE)
    check(play(scenario, form=form, usages=_usages(form)), scenario)


@pytest.mark.parametrize("name", ["transcription unobserved", "unobserved traffic", "unsettled day", "one meter high"])
def test_openai_is_no_other_than_azure(name: str, play: Play) -> None:
    scenario = FAULTS[name](THESE)
    check(play(scenario, form=BillForm.OPENAI_COSTS, usages=conversations(OPENAI)), scenario)


def test_a_line_item_of_openai_that_nobody_can_read_keeps_its_money(play: Play) -> None:
    scenario = Scenario(cause=Cause.UNMAPPED_METER, faults=(faults.unmapped_meter("gpt-realtime holograms, input"),))
    outcome = play(scenario, form=BillForm.OPENAI_COSTS, usages=conversations(OPENAI))
    assert_same_money(outcome.money(), outcome.injected(CAUSES))
    assert outcome.found.totals.unmapped_cost == sum(one.cost for one in outcome.draft.injected) > 0


@pytest.mark.parametrize("form", [BillForm.EXPORT, BillForm.FOCUS_1_2])
def test_a_day_is_shifted_from_one_month_into_the_next(form: BillForm, play: Play) -> None:
    days = [date(2026, 10, 30), date(2026, 10, 31), date(2026, 11, 1)]
    scenario = FAULTS["shifted day"](days[1:])
    outcome = play(scenario, form=form, usages=conversations(AZURE, days=days))
    check(outcome, scenario)
    assert {day for _, day, _ in outcome.money()} == set(days[1:])


@pytest.mark.parametrize("name", ["lost responses", "another team", "discount"])
def test_without_quantities_nothing_is_explained_but_the_money_is_right(name: str, play: Play) -> None:
    outcome = play(FAULTS[name](THESE), form=BillForm.OPENAI_CSV, usages=conversations(OPENAI))
    check_totals(outcome)
    assert {cause for cause, _, _ in outcome.money()} == {Cause.UNIT_SCALE}
    [problem] = outcome.found.problems
    assert "no quantities" in problem.message


@pytest.mark.parametrize("form", [BillForm.EA, BillForm.C360])
def test_a_bill_that_tells_no_rate_of_exchange_asks_for_one(form: BillForm, play: Play) -> None:
    scenario = FAULTS["another currency"](DAYS)
    without = play(scenario, form=form).found
    assert without.totals.drift_cost is None
    assert [problem for problem in without.problems if "--fx EUR=" in problem.message]


@pytest.mark.parametrize("form", [BillForm.EA, BillForm.C360])
def test_a_bill_that_tells_no_rate_of_exchange_takes_the_one_that_is_given(form: BillForm, play: Play) -> None:
    scenario = FAULTS["another currency"](DAYS)
    right = play(scenario, form=form, fx={"EUR": Decimal("1.25")})
    check(right, scenario)
    assert right.money() == {}


def test_with_another_rate_of_exchange_all_of_it_is_price(play: Play) -> None:
    outcome = play(FAULTS["another currency"](DAYS), form=BillForm.EA, fx={"EUR": Decimal("1.20")})
    totals = outcome.found.totals
    billed = sum((outcome.draft.billed(one.cost) for one in outcome.draft.charges), Decimal(0))
    assert {cause for cause, _, _ in outcome.money()} == {Cause.PRICE}
    assert totals.drift_cost is not None
    # 1.25 USD was the EUR, and 1.20 is what it is taken for.
    assert abs(totals.drift_cost - (billed - billed * Decimal("1.25") / Decimal("1.20"))) < Decimal("1e-9")


def test_runs_of_a_month_are_not_added_up_and_the_last_one_restates_the_days_of_the_others(
    tmp_path: Path, book: RateBook
) -> None:
    usages = conversations(AZURE)
    bill = tmp_path / "exports"
    for until in DAYS:
        draft = until_day(draft_bill(usages, provider=Provider.AZURE), DAYS[0].replace(day=1), until)
        # Each morning the day that has just ended is half there.
        inject(draft, [faults.unsettled_day(until, share=Decimal("0.5"))])
        write_run(bill, cost_details(draft, Agreement.EA), until, next_morning(until), compressed=until.day % 2 == 0)
    last = draft_bill(usages, provider=Provider.AZURE)
    write_run(bill, cost_details(last, Agreement.EA), DAYS[0], datetime(2026, 11, 19, tzinfo=UTC))
    ledger = record(usages, tmp_path / "ledger", book)
    found = answer(Question(bills=(bill,), at=SETTLED, ledger=ledger), book=book)
    assert found.totals.billed_cost == sum(charge.cost for charge in last.charges)
    assert found.totals.drift_cost == 0
    assert not found.problems
