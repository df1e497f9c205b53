"""Everything that can be wrong with a bill, alone and two at a time: the cause names it, with the very money."""

from __future__ import annotations

from decimal import Decimal
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from tests.reconciling.conversations import DAYS
from tests.reconciling.playing import Scenario
from tests.reconciling.scenarios import FAULTS, OTHERS, THESE, check, check_totals

from realtime_spend.core.reconciliation.drift import Cause
from realtime_spend.simulator.bill.faults import Where, one_meter_high

if TYPE_CHECKING:
    from tests.reconciling.playing import Play

# Two that nobody could tell apart where they fall on the same day and model, and why.
_ALIKE = {
    ("transcription unobserved", "shifted day"): "of a day without numbers nobody sees that some of it is elsewhere",
    ("lost responses", "cache not billed"): "how much of a lost response was cached is known to nobody",
    ("lost responses", "unobserved traffic"): "both are more of the same, and what was lost is known by a bound alone",
    ("lost responses", "shifted day"): "what a day has too little of is made up for by what was lost on it",
    ("lost responses", "one meter high"): "a meter that is a little high is within what was lost",
    ("cache not billed", "unobserved traffic"): "how much of traffic that nobody saw was cached is known to nobody",
    ("cache not billed", "shifted day"): "no meter has too much of what the other day has too little of",
    ("unobserved traffic", "shifted day"): "half as much again of three quarters is an eighth more",
    ("unobserved traffic", "one meter high"): "the meters have no factor in common any more",
    ("another team", "shifted day"): "of what nobody counted it is not known what day it was on",
    ("shifted day", "one meter high"): "the meter that is high lacks less, and has more, than was shifted",
}
_TOGETHER = [pair for pair in combinations(FAULTS, 2) if pair not in _ALIKE]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_alone_is_named_and_has_the_very_money(name: str, play: Play) -> None:
    scenario = FAULTS[name](THESE)
    outcome = play(scenario)
    check(outcome, scenario)
    assert {cause for cause, _, _ in outcome.money()} == ({scenario.cause} if scenario.cause else set())


@pytest.mark.parametrize("factor", [Decimal("0.93"), Decimal(2)])
@pytest.mark.parametrize("part", ["audio.input", "audio.cached_input", "text.input", "text.output"])
def test_one_meter_that_is_off_stays_unexplained_whichever_it_is(part: str, factor: Decimal, play: Play) -> None:
    where = Where(models=["gpt-realtime"], days=THESE)
    scenario = Scenario(cause=Cause.UNEXPLAINED, faults=(one_meter_high(where, part, factor=factor),))
    outcome = play(scenario)
    check(outcome, scenario)
    assert outcome.found.totals.unexplained_cost == outcome.found.totals.drift_cost != 0


@pytest.mark.parametrize("pair", _TOGETHER, ids=" and ".join)
def test_two_faults_on_the_same_days_are_told_apart(pair: tuple[str, str], play: Play) -> None:
    scenarios = [FAULTS[name](THESE) for name in pair]
    check(play(*scenarios), *scenarios)


def test_a_month_in_which_everything_goes_wrong_is_taken_apart(play: Play) -> None:
    days = {
        "transcription unobserved": THESE,
        "lost responses": THESE[:1],
        "data zone": DAYS,
        "discount": DAYS,
        "another currency": DAYS,
        "cache not billed": THESE[1:],
        "unobserved traffic": DAYS[:1],
        "another team": THESE,
        "unmapped meter": OTHERS,
        "unsettled day": DAYS[-1:],
        "one meter high": OTHERS[:1],
    }
    scenarios = [FAULTS[name](of) for name, of in days.items()]
    outcome = play(*scenarios)
    check(outcome, *scenarios)
    assert {cause for cause, _, _ in outcome.money()} == {one.cause for one in scenarios if one.cause}


@pytest.mark.parametrize("pair", _ALIKE, ids=" and ".join)
def test_two_that_are_alike_on_one_day_are_told_apart_on_two(pair: tuple[str, str], play: Play) -> None:
    scenarios = [FAULTS[name](days) for name, days in zip(pair, (THESE, OTHERS), strict=True)]
    check(play(*scenarios), *scenarios)


@pytest.mark.parametrize("pair", _ALIKE, ids=" and ".join)
def test_two_that_are_alike_still_add_up(pair: tuple[str, str], play: Play) -> None:
    outcome = play(*(FAULTS[name](THESE) for name in pair))
    check_totals(outcome)
    for row in outcome.found.rows:
        shares = [share.cost for share in outcome.found.shares if share.row is row]
        assert sum(shares, Decimal(0)) == row.drift_cost


def test_pairs_are_named_in_order_and_once() -> None:
    assert set(_ALIKE) <= set(combinations(FAULTS, 2))
