"""Each fault puts on a bill the very money that it says, on the days that it says."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import combinations

import pytest
from tests.reconciling.conversations import AZURE, DAYS, OPENAI, conversations, lost_responses, told

from realtime_spend.simulator.bill import faults
from realtime_spend.simulator.bill.draft import Draft, draft_bill
from realtime_spend.simulator.bill.faults import FAULT_FORMS, Fault, Where, inject, named_fault, with_untold_billed
from realtime_spend.simulator.models import Provider, Scope
from realtime_spend.simulator.truth import Said

_CLEAN = draft_bill(conversations(AZURE), provider=Provider.AZURE)
_ALL = {
    "unobserved traffic": faults.unobserved_traffic(Where(models=["gpt-realtime"], days=DAYS[:2])),
    "one meter high": faults.one_meter_high(Where(models=["gpt-realtime-mini"]), "audio.output"),
    "cache not billed": faults.cache_not_billed(),
    "another team": faults.another_team(),
    "unmapped meter": faults.unmapped_meter(),
    "day shift": faults.day_shift(Where(days=DAYS[1:2])),
    "discount": faults.discount(Decimal("0.85")),
    "datazone": faults.datazone(Where(models=["gpt-realtime"])),
    "regional": faults.regional("swedencentral", Where(models=["gpt-realtime-mini"])),
    "unsettled day": faults.unsettled_day(DAYS[-1]),
}
_PAIRS = [*combinations(_ALL, 2), *((name,) for name in _ALL)]


def _clean() -> Draft:
    return replace(_CLEAN, charges=list(_CLEAN.charges), injected=[])


def _total(draft: Draft) -> Decimal:
    return sum((charge.cost for charge in draft.charges), Decimal(0))


@pytest.mark.parametrize("names", _PAIRS, ids=" and ".join)
def test_what_is_injected_is_what_the_bill_is_off(names: tuple[str, ...]) -> None:
    draft = inject(_clean(), [_ALL[name] for name in names])
    assert _total(draft) - _total(_clean()) == sum(one.cost for one in draft.injected)
    assert {one.fault for one in draft.injected} == {name.replace(" ", "_") for name in names}
    assert all(charge.quantity == charge.quantity.quantize(Decimal("0.001")) for charge in draft.charges)


@pytest.mark.parametrize("name", _ALL)
def test_each_day_is_off_by_what_is_injected_into_it(name: str) -> None:
    draft, clean = inject(_clean(), [_ALL[name]]), _clean()
    for day in {*draft.days, *clean.days}:
        off = sum(one.cost for one in draft.charges if one.day == day) - sum(
            one.cost for one in clean.charges if one.day == day
        )
        assert off == sum(one.cost for one in draft.injected if one.day == day)


def test_faults_come_in_the_order_of_their_stages_whatever_order_they_are_given_in() -> None:
    both = [_ALL["discount"], _ALL["unobserved traffic"]]
    assert inject(_clean(), both) == inject(_clean(), both[::-1])


def test_a_price_is_that_of_what_is_billed_by_then() -> None:
    draft = inject(_clean(), [_ALL["discount"], _ALL["unobserved traffic"]])
    traffic = sum((one.cost for one in draft.injected if one.fault == "unobserved_traffic"), Decimal(0))
    discounted = sum(one.cost for one in draft.injected if one.fault == "discount")
    assert traffic > 0
    assert discounted == (_total(_clean()) + traffic) * (Decimal("0.85") - 1)


def test_a_cache_that_is_not_billed_moves_tokens_to_the_meter_of_the_uncached() -> None:
    draft = inject(_clean(), [_ALL["cache not billed"]])
    assert not [charge for charge in draft.charges if "cached" in charge.component]
    clean = {(one.day, one.model, one.component): one.quantity for one in _clean().charges}
    fresh = [charge for charge in draft.charges if charge.component == "audio.input" and "realtime" in charge.model]
    assert len(fresh) == 2 * len(DAYS)
    for charge in fresh:
        cached = clean[charge.day, charge.model, "audio.cached_input"]
        assert charge.quantity == clean[charge.day, charge.model, "audio.input"] + cached


def test_a_shifted_day_leaves_nothing_behind_and_loses_nothing() -> None:
    draft = inject(_clean(), [_ALL["day shift"]])
    assert {one.day for one in draft.injected} == set(DAYS[1:3])
    # An hour's part is rounded to 12 places in each usage, and to 15 here.
    assert abs(sum((one.cost for one in draft.injected), Decimal(0))) < Decimal("1e-9")


def test_another_currency_changes_no_charge() -> None:
    draft = inject(_clean(), [faults.currency("EUR", Decimal("1.25"))])
    assert draft.charges == _clean().charges
    assert (draft.currency, draft.billed(Decimal(10))) == ("EUR", Decimal(8))


def test_a_scope_changes_meter_and_price() -> None:
    draft = inject(_clean(), [_ALL["datazone"], _ALL["regional"]])
    scopes = {charge.model: (charge.scope, charge.region) for charge in draft.charges}
    assert scopes["gpt-realtime"] == (Scope.DATAZONE, "eastus2")
    assert scopes["gpt-realtime-mini"] == (Scope.REGIONAL, "swedencentral")
    assert {charge.price for charge in draft.charges if charge.component == "audio.input"} >= {
        Decimal(32) * Decimal("1.10"),
        Decimal(10) * Decimal("1.21"),
    }


def test_a_lost_response_is_billed_like_another_of_its_model() -> None:
    lost = [
        {**usage, "quantities": {}, "costs": {}, "cost": None} if usage["usage"] == "lost" else usage
        for usage in lost_responses(conversations(OPENAI), model="gpt-realtime", days=DAYS[:1])
    ]
    assert draft_bill(lost, provider=Provider.OPENAI).injected == []
    draft = draft_bill(with_untold_billed(lost), provider=Provider.OPENAI)
    assert {(one.fault, one.day) for one in draft.injected} == {("lost_responses", DAYS[0])}
    untold = [usage for usage in with_untold_billed(lost) if usage["usage"] == "lost"]
    assert sum(one.cost for one in draft.injected) == sum(Decimal(usage["cost"]) for usage in untold)


def test_a_transcription_that_says_nothing_is_billed_like_another_one() -> None:
    silent = [
        {**usage, "quantities": {}, "costs": {}, "cost": None} if usage["usage"] == "missing" else usage
        for usage in told(conversations(OPENAI), Said.MISSING, lambda usage: usage["id"].endswith("_0#0"))
    ]
    draft = draft_bill(with_untold_billed(silent), provider=Provider.OPENAI)
    assert {one.fault for one in draft.injected} == {"transcription_unobserved"}
    assert {one.model for one in draft.injected} == {"gpt-4o-transcribe", "gpt-realtime-whisper"}


def test_a_response_that_failed_without_usage_is_not_billed() -> None:
    [first, second, *_] = conversations(OPENAI)
    failed = {**first, "usage": "missing", "quantities": {}, "costs": {}, "cost": None}
    assert with_untold_billed([failed, second]) == [failed, second]


def test_a_lost_response_of_a_model_that_nothing_is_known_of_stays_unbilled() -> None:
    [first, *_] = conversations(OPENAI)
    alone = {**first, "usage": "lost", "quantities": {}, "costs": {}, "cost": None}
    assert with_untold_billed([alone]) == [alone]


@pytest.mark.parametrize("form", FAULT_FORMS)
def test_every_fault_has_a_name_and_most_a_value(form: str) -> None:
    name, _, _ = form.partition("[")
    given = {
        "unobserved-traffic": "0.25", "cache-not-billed": "gpt-realtime", "another-team": "gpt-realtime-2.1",
        "unmapped-meter": "gpt rt xyz", "day-shift": "3", "discount": "0.9", "datazone": "gpt-realtime",
        "regional": "northeurope", "currency": "GBP:1.3", "one-meter-high": "text.input",
    }  # fmt: skip
    for text in (name, f"{name}={given[name]}"):
        fault = named_fault(text)
        assert isinstance(fault, Fault)
        assert inject(_clean(), [fault]) != _clean()


@pytest.mark.parametrize("text", ["", "no-such", "discount=much", "regional=atlantis", "day-shift=x", "discount=1/2"])
def test_what_is_no_fault_is_refused_with_those_that_are(text: str) -> None:
    with pytest.raises(ValueError, match="write one of unobserved-traffic"):
        named_fault(text)
