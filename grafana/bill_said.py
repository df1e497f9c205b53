"""Says a bill beside the sessions of the pictures: what they cost over some weeks, billed with some faults.

Each day has a number of calls of each program, by a seed. The bill is made from what those calls used, so that what was
injected is known; the comparison and its causes are the product's own, and so is the way into Prometheus.
"""

import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from unittest.mock import patch

from grafana.filling import Filled, Recorded

from realtime_spend.core.line_items import Component, Modality, Part, Provider, Scope
from realtime_spend.core.reconciliation.bills import Bill, BilledItem, Meter, Scale
from realtime_spend.core.reconciliation.comparison import Settings, reconcile
from realtime_spend.core.reconciliation.drift import Reconciliation
from realtime_spend.core.reconciliation.estimated import Estimate, Estimates, EstimateSource
from realtime_spend.rate_cards import load_book
from realtime_spend.telemetry_pipe import pipe_of
from realtime_spend.watching import SERVICE_NAME, Emission

DAYS = 21
_CALLS = (2_000, 6_000)
# How many days ago something was billed otherwise than it was used.
_DEARER_SINCE, _UNOBSERVED, _UNREADABLE = 8, 12, 5
_TENTH_MORE, _QUARTER_MORE = Decimal("1.1"), Decimal("1.25")
_PARTS = {str(part): part for part in (Part(modality, component) for modality in Modality for component in Component)}
# Who pays where a session does not say: a provider's only account.
_ACCOUNTS = {Provider.OPENAI: "voice", Provider.AZURE: "contoso"}
_SPOKEN = "audio.output"
_SETTLING = 2
_SMALLEST = Decimal("1e-12")


@dataclass(frozen=True, kw_only=True)
class Said:
    """What was said, and when."""

    reconciliation: Reconciliation
    at: datetime


def say_bill(source: Filled, *, seed: int = 1) -> Said:
    """Hold a bill beside the sessions and say it to the Prometheus of `source`, once."""
    at = datetime.now(UTC)
    estimates = list(_estimates(_distinct(source), at.date(), seed))
    bill = Bill(
        items=list(_billed(estimates, at.date())),
        first=at.date() - timedelta(days=DAYS),
        last=at.date() - timedelta(days=1),
    )
    found = reconcile(
        Estimates(source=EstimateSource.LEDGER, items=estimates),
        bill,
        book=load_book(),
        settings=Settings(at=at),
    )
    address = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{source.url}/api/v1/otlp/v1/metrics"}
    environment = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    with patch.dict(os.environ, address):
        emission = Emission(lambda: pipe_of(environment, service=SERVICE_NAME, instance="pictures"))
        emission.say(found, at=at, days=DAYS + 1, fx={})
        arrived = emission.arrived
        emission.end()
    if not arrived:
        raise RuntimeError("Prometheus did not take in what was said of the bill")
    return Said(reconciliation=found, at=at)


def _distinct(source: Filled) -> list[Recorded]:
    return list({one.recorded.service: one.recorded for one in source.replayed}.values())


def _estimates(programs: Iterable[Recorded], today: date, seed: int) -> Iterator[Estimate]:
    """What each day's calls of each program are counted as."""
    dice = random.Random(seed)  # noqa: S311 - the same plan each time is the point
    by_program = [list(_of_one_call(program)) for program in programs]
    for back in range(DAYS, 0, -1):
        day = today - timedelta(days=back)
        for of_program in by_program:
            calls = dice.randint(*_CALLS)
            for one in of_program:
                yield replace(one, day=day, quantity=one.quantity * calls, cost=(one.cost or Decimal(0)) * calls)


def _of_one_call(program: Recorded) -> Iterator[Estimate]:
    for entry in program.entries:
        # What has no price, or only bounds, is left to the other dashboards.
        if entry.cost is None or entry.low is not None:
            continue
        for part, quantity in entry.quantities.items():
            yield Estimate(
                day=date.min,
                provider=Provider(entry.provider),
                account=entry.account,
                model=entry.model,
                version=entry.version,
                scope=None if entry.scope is None else Scope(entry.scope),
                region=entry.region,
                part=_PARTS[part],
                quantity=quantity,
                cost=entry.costs[part],
                unpriced=Decimal(0),
            )


def _billed(estimates: Iterable[Estimate], today: date) -> Iterator[BilledItem]:
    """What the provider sends for that, with what is wrong of it."""
    unreadable = Meter(name="gpt realtime somethng new Inp glbl", problem="its words say no model")
    for one in estimates:
        back = (today - one.day).days
        quantity, cost = one.quantity, one.cost or Decimal(0)
        if back < _SETTLING:
            quantity, cost = quantity / 2, cost / 2
        elif back < _DEARER_SINCE and one.provider is Provider.AZURE:
            cost *= _TENTH_MORE
        elif back == _UNOBSERVED and one.provider is Provider.OPENAI:
            quantity, cost = quantity * _QUARTER_MORE, cost * _QUARTER_MORE
        item = BilledItem(
            day=one.day,
            provider=one.provider,
            account=one.account or _ACCOUNTS[one.provider],
            meter=Meter(name="", model=one.model, version=one.version, scope=one.scope, part=one.part),
            quantity=quantity,
            cost=cost,
            currency="USD",
            scale=Scale.SINGLE,
            precision=_SMALLEST,
        )
        yield item
        if back == _UNREADABLE and one.part == _SPOKEN and one.provider is Provider.AZURE:
            yield replace(item, meter=unreadable, quantity=None, cost=cost / 4, scale=Scale.UNSETTLED)
