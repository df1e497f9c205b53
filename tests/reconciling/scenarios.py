"""Every fault of a bill as a scenario, and what must be found where some of them are played."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from tests.reconciling.conversations import DAYS, lost_responses, unobserved_transcription
from tests.reconciling.playing import NOTHING, Scenario, assert_same_money

from realtime_spend.core.reconciliation.drift import Cause
from realtime_spend.simulator.bill import faults
from realtime_spend.simulator.bill.faults import Where

if TYPE_CHECKING:
    from tests.reconciling.playing import Outcome

THESE, OTHERS = DAYS[1:3], DAYS[3:]
_DAY_AFTER = datetime(2026, 11, 14, 12, tzinfo=UTC)
_Days = Sequence[date]


def _of_model(days: _Days) -> Where:
    return Where(models=["gpt-realtime"], days=days)


# Each on the days it is given, and, where it is about one model, on the same one.
FAULTS: dict[str, Callable[[_Days], Scenario]] = {
    "transcription unobserved": lambda days: Scenario(
        cause=Cause.TRANSCRIPTION_UNOBSERVED,
        told=partial(unobserved_transcription, days=days),
    ),
    "lost responses": lambda days: Scenario(
        cause=Cause.LOST_RESPONSES, told=partial(lost_responses, model="gpt-realtime", days=days)
    ),
    "data zone": lambda _: Scenario(cause=Cause.PRICE, faults=(faults.datazone(_of_model(DAYS)),)),
    "regional": lambda _: Scenario(
        cause=Cause.PRICE, faults=(faults.regional("swedencentral", Where(models=["gpt-realtime-mini"])),)
    ),
    "discount": lambda days: Scenario(cause=Cause.PRICE, faults=(faults.discount(Decimal("0.85"), Where(days=days)),)),
    "another currency": lambda _: Scenario(cause=None, faults=(faults.currency("EUR", Decimal("1.25")),)),
    "cache not billed": lambda days: Scenario(
        cause=Cause.CACHE_NOT_BILLED, faults=(faults.cache_not_billed(_of_model(days)),)
    ),
    "unobserved traffic": lambda days: Scenario(
        cause=Cause.UNOBSERVED_TRAFFIC, faults=(faults.unobserved_traffic(_of_model(days)),)
    ),
    "another team": lambda days: Scenario(cause=Cause.UNOBSERVED_TRAFFIC, faults=(faults.another_team(days=days),)),
    "shifted day": lambda days: Scenario(cause=Cause.DAY_SHIFT, faults=(faults.day_shift(Where(days=days[:1])),)),
    "unsettled day": lambda _: Scenario(
        cause=Cause.NOT_SETTLED, faults=(faults.unsettled_day(DAYS[-1]),), at=_DAY_AFTER, open_days=DAYS[-1:]
    ),
    "unmapped meter": lambda days: Scenario(cause=Cause.UNMAPPED_METER, faults=(faults.unmapped_meter(days=days),)),
    "one meter high": lambda days: Scenario(
        cause=Cause.UNEXPLAINED, faults=(faults.one_meter_high(_of_model(days), "audio.output"),)
    ),
}
CAUSES = {
    "transcription_unobserved": Cause.TRANSCRIPTION_UNOBSERVED,
    "lost_responses": Cause.LOST_RESPONSES,
    "datazone": Cause.PRICE,
    "regional": Cause.PRICE,
    "discount": Cause.PRICE,
    "cache_not_billed": Cause.CACHE_NOT_BILLED,
    "unobserved_traffic": Cause.UNOBSERVED_TRAFFIC,
    "another_team": Cause.UNOBSERVED_TRAFFIC,
    "day_shift": Cause.DAY_SHIFT,
    "unsettled_day": Cause.NOT_SETTLED,
    "unmapped_meter": Cause.UNMAPPED_METER,
    "one_meter_high": Cause.UNEXPLAINED,
}


def check(outcome: Outcome, *scenarios: Scenario) -> None:
    """Hold what was found against what was injected, by cause, day and model; nothing else may be said."""
    open_days = tuple(day for scenario in scenarios for day in scenario.open_days)
    assert_same_money(outcome.money(), outcome.injected(CAUSES, open_days=open_days))
    check_totals(outcome)
    assert not outcome.found.problems


def check_totals(outcome: Outcome) -> None:
    """Hold the whole drift against the whole of what was injected."""
    drift = outcome.found.totals.drift_cost
    injected = sum((outcome.draft.billed(one.cost) for one in outcome.draft.injected), Decimal(0))
    assert drift is not None
    assert abs(drift - injected) < NOTHING
