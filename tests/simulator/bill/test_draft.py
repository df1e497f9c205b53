"""The draft of a bill: what the simulator sent is charged, by day and meter, among other things of a company."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from decimal import Decimal

import pytest
from tests.reconciling.conversations import AZURE, DAYS, OPENAI, conversations, lost_responses, unobserved_transcription

from realtime_spend.simulator.bill.draft import draft_bill
from realtime_spend.simulator.models import Provider, Scope
from realtime_spend.simulator.truth import Said


@pytest.mark.parametrize("provider", Provider)
def test_what_was_used_is_charged_and_nothing_else(provider: Provider) -> None:
    usages = conversations((*AZURE, *OPENAI))
    draft = draft_bill(usages, provider=provider)
    used = [usage for usage in usages if usage["provider"] == provider]
    assert sum(charge.cost for charge in draft.charges) == sum(Decimal(usage["cost"]) for usage in used)
    quantities: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for usage in used:
        for component, quantity in usage["quantities"].items():
            quantities[usage["at"][:10], component] += Decimal(quantity)
    charged: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for charge in draft.charges:
        charged[charge.day.isoformat(), charge.component] += charge.quantity
    assert charged == quantities
    assert draft.injected == []
    assert draft.days == list(DAYS)


def test_charges_follow_one_another_by_day_and_there_is_one_a_meter_and_day() -> None:
    draft = draft_bill(conversations(AZURE), provider=Provider.AZURE)
    meters = [(charge.day, charge.model, charge.component) for charge in draft.charges]
    assert len(set(meters)) == len(meters)
    assert [day for day, *_ in meters] == sorted(day for day, *_ in meters)


def test_a_day_is_shifted_as_one_pleases() -> None:
    usages = conversations(AZURE, days=DAYS[:1])
    [day] = draft_bill(usages, provider=Provider.AZURE, shift=timedelta(days=40)).days
    assert day == DAYS[0] + timedelta(days=40)


def test_openai_bills_the_snapshot_that_an_alias_stands_for() -> None:
    draft = draft_bill(conversations(OPENAI), provider=Provider.OPENAI)
    names = {(charge.model, charge.version) for charge in draft.charges}
    assert {("gpt-realtime", "2025-08-28"), ("gpt-4o-transcribe", None)} <= names


def test_what_nobody_was_told_of_is_billed_and_written_down() -> None:
    day = DAYS[1]
    usages = lost_responses(conversations(AZURE), model="gpt-realtime", days=[day])
    usages = unobserved_transcription(usages, days=[day])
    draft = draft_bill(usages, provider=Provider.AZURE)
    for said, fault in ((Said.LOST, "lost_responses"), (Said.MISSING, "transcription_unobserved")):
        untold = [usage for usage in usages if usage["usage"] == said]
        assert untold
        moved = [one for one in draft.injected if one.fault == fault]
        assert sum(one.cost for one in moved) == sum(Decimal(usage["cost"]) for usage in untold)
        assert {one.day for one in moved} == {day}
    clean = draft_bill(conversations(AZURE), provider=Provider.AZURE)
    assert draft.charges == clean.charges


def test_hidden_usage_is_traffic_that_nobody_observed() -> None:
    usages = conversations(AZURE, days=DAYS[:1])
    hidden = [{**usage, "usage": "hidden"} for usage in usages]
    draft = draft_bill(hidden, provider=Provider.AZURE)
    assert {one.fault for one in draft.injected} == {"unobserved_traffic", "transcription_unobserved"}
    assert sum(one.cost for one in draft.injected) == sum(charge.cost for charge in draft.charges)


def test_what_has_no_price_is_not_billed() -> None:
    usages = conversations(AZURE, days=DAYS[:1])
    regional = [{**usage, "scope": Scope.REGIONAL.value} for usage in usages]
    assert draft_bill(regional, provider=Provider.AZURE).charges == []


def test_the_same_seed_makes_the_same_bill_of_a_company() -> None:
    usages = conversations(AZURE)
    first, again, other = (draft_bill(usages, provider=Provider.AZURE, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.others != other.others
    assert {other.kind for other in first.others} == {"Usage", "Purchase", "Credit", "Tax", "Refund"}


def test_a_bill_of_nothing_is_empty() -> None:
    draft = draft_bill([], provider=Provider.AZURE)
    assert (draft.charges, draft.others, draft.days) == ([], [], [])
