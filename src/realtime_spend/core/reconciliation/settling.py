"""How much of a day's bill may still change: both providers go on writing down usage of a day that is over."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from realtime_spend.core.line_items import Provider
from realtime_spend.core.reconciliation.drift import State

# Late usage comes in for up to a day after the day's end, and a bill is written some hours later.
_SETTLING = timedelta(days=2)
# Azure closes a month within 72 hours, and may still move charges until the 5th.
_AZURE_CLOSES_ON = 6
_LONGEST_MONTH = 31


def state_of(day: date, provider: Provider, at: datetime) -> State:
    """Return how settled the bill of the UTC day `day` is in a bill as it stood at the aware instant `at`."""
    if at < settled_from(day):
        return State.OPEN
    if provider is not Provider.AZURE or at >= _closed_from(day):
        return State.FINAL
    return State.SETTLED


def settled_from(day: date) -> datetime:
    """Return the instant from which a bill is expected to hold all of `day`."""
    return datetime.combine(day, time(), UTC) + _SETTLING


def _closed_from(day: date) -> datetime:
    next_month = day.replace(day=1) + timedelta(days=_LONGEST_MONTH)
    return datetime.combine(next_month.replace(day=_AZURE_CLOSES_ON), time(), UTC)
