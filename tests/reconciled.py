"""Makes reconciliations by hand, for whoever shows what came of one."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from realtime_spend.core.line_items import OUTPUT_OF, Modality, Provider, Scope, Unit
from realtime_spend.core.reconciliation.drift import Cause, DriftShare, DriftTotals, Reconciliation, Row, State

AUDIO_OUTPUT = OUTPUT_OF[Modality.AUDIO]


def row(day: date, *, estimated: str | None, billed: str, **others: Any) -> Row:
    """A row of audio output that is settled, in as many tokens as cents."""
    cost = None if estimated is None else Decimal(estimated)
    made = Row(
        day=day,
        provider=Provider.OPENAI,
        account="proj_a",
        model="gpt-realtime",
        version=None,
        part=AUDIO_OUTPUT,
        scope=Scope.GLOBAL,
        unit=Unit.TOKENS,
        estimated_quantity=(cost or Decimal(0)) * 100,
        billed_quantity=Decimal(billed) * 100,
        estimated_cost=cost,
        estimated_low=None,
        estimated_high=None,
        billed_cost=Decimal(billed),
        drift_cost=Decimal(billed) - (cost or 0),
        state=State.SETTLED,
    )
    return replace(made, **others)


def reconciliation(*rows: Row, cause: Cause = Cause.UNEXPLAINED, currency: str = "USD") -> Reconciliation:
    """What these rows come to, the drift of each under one cause."""
    shares = [
        DriftShare(cause=cause, row=one, cost=one.drift_cost, evidence="said by hand") for one in rows if one.drift_cost
    ]
    drift = sum((share.cost for share in shares), Decimal(0))
    days = [one.day for one in rows]
    return Reconciliation(
        currency=currency,
        first=min(days, default=None),
        last=max(days, default=None),
        rows=list(rows),
        shares=shares,
        totals=DriftTotals(
            estimated_cost=sum((one.estimated_cost or Decimal(0) for one in rows), Decimal(0)),
            billed_cost=sum((one.billed_cost for one in rows), Decimal(0)),
            drift_cost=drift,
            explained_cost=drift if cause is not Cause.UNEXPLAINED else Decimal(0),
            unexplained_cost=Decimal(0) if cause is not Cause.UNEXPLAINED else drift,
            unmapped_cost=Decimal(0),
        ),
    )


def days_before(last: date, number: int) -> list[date]:
    """So many days up to `last`, the oldest first."""
    return [last - timedelta(days=back) for back in reversed(range(number))]
