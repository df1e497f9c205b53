"""The gauges of estimate beside bill: names, units, values, and what becomes of a series that is no longer said."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider, ObservableGauge
from opentelemetry.sdk.metrics.export import Gauge, InMemoryMetricReader
from tests.reconciled import days_before, reconciliation, row

from realtime_spend.core.line_items import Provider
from realtime_spend.core.reconciliation.drift import Cause, State
from realtime_spend.sinks import metrics as names
from realtime_spend.sinks.drift import DriftGauges, snapshot_of

if TYPE_CHECKING:
    from realtime_spend.sinks.drift import Snapshot

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
TODAY = NOW.date()
SETTLED = date(2026, 11, 20)

METER = {
    "gen_ai.provider.name": "openai",
    "realtime_spend.account": "proj_a",
    "realtime_spend.model": "gpt-realtime",
    "gen_ai.token.modality": "audio",
    "realtime_spend.component": "output",
    "realtime_spend.scope": "global",
}
ON_SETTLED = {**METER, "realtime_spend.day": "2026-11-20"}


def said(snapshot: Snapshot, metric: str) -> list[tuple[dict[str, str], Decimal]]:
    return [(dict(labels), value) for labels, value in snapshot.values.get(metric, {}).items()]


def test_a_day_says_both_sides_and_how_settled_it_is() -> None:
    snapshot = snapshot_of(reconciliation(row(SETTLED, estimated="100", billed="120")), at=NOW, days=35)
    assert said(snapshot, "realtime_spend.estimated.cost") == [(ON_SETTLED, Decimal(100))]
    assert said(snapshot, "realtime_spend.billed.cost") == [(ON_SETTLED, Decimal(120))]
    assert said(snapshot, "realtime_spend.bill.state") == [(ON_SETTLED, Decimal(1))]


@pytest.mark.parametrize(("state", "number"), [(State.OPEN, 0), (State.SETTLED, 1), (State.FINAL, 2)])
def test_the_states_are_numbers(state: State, number: int) -> None:
    snapshot = snapshot_of(reconciliation(row(SETTLED, estimated="1", billed="1", state=state)), at=NOW, days=35)
    assert said(snapshot, "realtime_spend.bill.state") == [(ON_SETTLED, Decimal(number))]


def test_drift_is_over_the_settled_days_and_has_no_day() -> None:
    rows = [
        row(SETTLED - timedelta(days=1), estimated="100", billed="110", state=State.FINAL),
        row(SETTLED, estimated="100", billed="140"),
        row(TODAY, estimated="100", billed="10", state=State.OPEN),
    ]
    snapshot = snapshot_of(reconciliation(*rows, cause=Cause.PRICE), at=NOW, days=35)
    assert said(snapshot, "realtime_spend.drift.cost") == [
        ({**METER, "realtime_spend.cause": "unexplained"}, Decimal(0)),
        ({**METER, "realtime_spend.cause": "price"}, Decimal(10 + 40)),
    ]
    # Of 250 that were billed.
    assert said(snapshot, "realtime_spend.drift.ratio") == [(METER, Decimal(50) / 250)]


def test_a_ratio_is_of_the_larger_side_and_below_zero_where_less_was_billed() -> None:
    snapshot = snapshot_of(reconciliation(row(SETTLED, estimated="100", billed="80")), at=NOW, days=35)
    assert said(snapshot, "realtime_spend.drift.ratio") == [(METER, Decimal("-0.2"))]


def test_where_nothing_drifts_there_is_a_series_that_says_so() -> None:
    snapshot = snapshot_of(reconciliation(row(SETTLED, estimated="5", billed="5")), at=NOW, days=35)
    assert said(snapshot, "realtime_spend.drift.cost") == [
        ({**METER, "realtime_spend.cause": "unexplained"}, Decimal(0))
    ]
    assert said(snapshot, "realtime_spend.drift.ratio") == [(METER, Decimal(0))]


def test_nothing_billed_and_nothing_estimated_is_no_division_by_zero() -> None:
    snapshot = snapshot_of(reconciliation(row(SETTLED, estimated="0", billed="0")), at=NOW, days=35)
    assert said(snapshot, "realtime_spend.drift.ratio") == [(METER, Decimal(0))]


def test_what_no_card_prices_has_no_estimate_which_is_not_an_estimate_of_nothing() -> None:
    snapshot = snapshot_of(
        reconciliation(row(SETTLED, estimated=None, billed="7"), cause=Cause.UNPRICED), at=NOW, days=35
    )
    assert said(snapshot, "realtime_spend.estimated.cost") == []
    assert ({**METER, "realtime_spend.cause": "unpriced"}, Decimal(7)) in said(snapshot, "realtime_spend.drift.cost")


def test_meters_that_cannot_be_read_are_added_up_and_are_as_open_as_the_most_open_of_them() -> None:
    unread: dict[str, Any] = {"model": None, "part": None, "scope": None}
    rows = [
        row(SETTLED, estimated="0", billed="3", meters=("one",), state=State.FINAL, **unread),
        row(SETTLED, estimated="0", billed="4", meters=("two",), **unread),
    ]
    snapshot = snapshot_of(reconciliation(*rows, cause=Cause.UNMAPPED_METER), at=NOW, days=35)
    bare = {key: ON_SETTLED[key] for key in ("gen_ai.provider.name", "realtime_spend.account", "realtime_spend.day")}
    assert said(snapshot, "realtime_spend.billed.cost") == [(bare, Decimal(7))]
    assert said(snapshot, "realtime_spend.bill.state") == [(bare, Decimal(1))]


def test_only_the_last_days_are_said() -> None:
    rows = [row(day, estimated="1", billed="2") for day in days_before(TODAY, 5)]
    snapshot = snapshot_of(reconciliation(*rows), at=NOW, days=3)
    days = [labels["realtime_spend.day"] for labels, _ in said(snapshot, "realtime_spend.billed.cost")]
    assert days == ["2026-11-20", "2026-11-21", "2026-11-22"]
    assert sum(value for _, value in said(snapshot, "realtime_spend.drift.cost")) == 3


# --- Currencies -------------------------------------------------------------------------------------------------------


def test_money_is_said_in_usd_at_the_rate_of_the_row_and_else_at_the_one_that_was_given() -> None:
    rows = [
        row(SETTLED - timedelta(days=1), estimated="10", billed="20", to_usd=Decimal("1.5")),
        row(SETTLED, estimated="10", billed="20"),
    ]
    snapshot = snapshot_of(reconciliation(*rows, currency="EUR"), at=NOW, days=35, fx={"EUR": Decimal("1.1")})
    assert [value for _, value in said(snapshot, "realtime_spend.billed.cost")] == [Decimal(30), Decimal(22)]
    assert [value for _, value in said(snapshot, "realtime_spend.estimated.cost")] == [Decimal(15), Decimal(11)]
    assert sum(value for _, value in said(snapshot, "realtime_spend.drift.cost")) == 15 + 11
    assert snapshot.without_rate == 0


def test_money_that_nobody_converts_is_not_said_but_how_settled_its_day_is() -> None:
    snapshot = snapshot_of(reconciliation(row(SETTLED, estimated="10", billed="20"), currency="EUR"), at=NOW, days=35)
    assert set(snapshot.values) == {
        "realtime_spend.bill.state",
        "realtime_spend.bill.last_settled",
        "realtime_spend.bill.last_success",
    }
    assert snapshot.without_rate == 1


def test_where_the_rate_is_missing_on_one_side_only_the_bill_is_said_and_no_drift() -> None:
    unknown = row(SETTLED, estimated=None, billed="20", drift_cost=None, to_usd=Decimal("1.1"))
    snapshot = snapshot_of(reconciliation(unknown, currency="EUR"), at=NOW, days=35)
    assert [value for _, value in said(snapshot, "realtime_spend.billed.cost")] == [Decimal(22)]
    assert said(snapshot, "realtime_spend.drift.ratio") == []


# --- How old it is ----------------------------------------------------------------------------------------------------


def instants(snapshot: Snapshot, metric: str) -> dict[str, datetime]:
    return {
        labels[names.PROVIDER_NAME]: datetime.fromtimestamp(int(value), UTC) for labels, value in said(snapshot, metric)
    }


def test_a_bill_is_settled_to_the_end_of_its_newest_settled_day() -> None:
    rows = [row(day, estimated="1", billed="1") for day in days_before(SETTLED, 4)]
    rows.append(row(TODAY, estimated="1", billed="1", state=State.OPEN))
    snapshot = snapshot_of(reconciliation(*rows), at=NOW, days=35)
    assert instants(snapshot, "realtime_spend.bill.last_settled") == {"openai": datetime(2026, 11, 21, tzinfo=UTC)}
    assert instants(snapshot, "realtime_spend.bill.last_success") == {"openai": NOW}


def test_days_on_which_nothing_was_used_are_covered_all_the_same() -> None:
    found = reconciliation(row(date(2026, 11, 2), estimated="1", billed="1"))
    found.last = date(2026, 11, 19)
    snapshot = snapshot_of(found, at=NOW, days=35)
    assert instants(snapshot, "realtime_spend.bill.last_settled") == {"openai": datetime(2026, 11, 20, tzinfo=UTC)}


def test_a_day_that_was_open_when_the_bill_was_written_is_not_settled_by_the_clock() -> None:
    rows = [
        row(date(2026, 11, 9), estimated="1", billed="1"),
        row(date(2026, 11, 10), estimated="1", billed="1", state=State.OPEN),
    ]
    snapshot = snapshot_of(reconciliation(*rows), at=NOW, days=35)
    assert instants(snapshot, "realtime_spend.bill.last_settled") == {"openai": datetime(2026, 11, 10, tzinfo=UTC)}


def test_each_provider_has_its_own_newest_day() -> None:
    rows = [
        row(date(2026, 11, 20), estimated="1", billed="1"),
        row(date(2026, 11, 10), estimated="1", billed="1", provider=Provider.AZURE),
        row(date(2026, 11, 20), estimated="1", billed="0", provider=Provider.AZURE),
    ]
    snapshot = snapshot_of(reconciliation(*rows), at=NOW, days=35)
    assert instants(snapshot, "realtime_spend.bill.last_settled") == {
        "openai": datetime(2026, 11, 21, tzinfo=UTC),
        "azure.ai.openai": datetime(2026, 11, 11, tzinfo=UTC),
    }


# --- What the SDK makes of it -----------------------------------------------------------------------------------------


def test_each_gauge_has_its_name_its_unit_and_doubles(provider: MeterProvider, seen: Any) -> None:
    DriftGauges(provider).show(
        snapshot_of(reconciliation(row(SETTLED, estimated="0.1", billed="0.3")), at=NOW, days=35)
    )
    collected = seen.metrics()
    assert {name: metric.unit for name, metric in collected.items()} == {
        "realtime_spend.estimated.cost": "USD",
        "realtime_spend.billed.cost": "USD",
        "realtime_spend.bill.state": "{state}",
        "realtime_spend.drift.cost": "USD",
        "realtime_spend.drift.ratio": "1",
        "realtime_spend.bill.last_settled": "s",
        "realtime_spend.bill.last_success": "s",
    }
    assert all(isinstance(metric.data, Gauge) for metric in collected.values())
    assert seen.points("realtime_spend.billed.cost") == [(ON_SETTLED, 0.3)]
    assert seen.points("realtime_spend.bill.last_success") == [({"gen_ai.provider.name": "openai"}, NOW.timestamp())]


def test_a_restated_day_overwrites_and_a_series_that_is_no_longer_said_is_gone(
    provider: MeterProvider, seen: Any
) -> None:
    gauges = DriftGauges(provider)
    before = [row(SETTLED, estimated="1", billed="1"), row(SETTLED, estimated="1", billed="1", account="proj_b")]
    gauges.show(snapshot_of(reconciliation(*before), at=NOW, days=35))
    assert len(seen.points("realtime_spend.billed.cost")) == 2
    gauges.show(snapshot_of(reconciliation(row(SETTLED, estimated="1", billed="1.25")), at=NOW, days=35))
    assert seen.points("realtime_spend.billed.cost") == [(ON_SETTLED, 1.25)]


def test_a_cause_that_is_over_explains_nothing_from_then_on(seen: Any, provider: MeterProvider) -> None:
    gauges = DriftGauges(provider)
    drifting = row(SETTLED, estimated="1", billed="3")
    gone = row(SETTLED, estimated="1", billed="3", account="proj_b")
    gauges.show(snapshot_of(reconciliation(drifting, gone, cause=Cause.PRICE), at=NOW, days=35))
    gauges.show(snapshot_of(reconciliation(drifting, cause=Cause.UNOBSERVED_TRAFFIC), at=NOW, days=35))
    said = {
        (labels["realtime_spend.account"], labels["realtime_spend.cause"]): value
        for labels, value in seen.points("realtime_spend.drift.cost")
    }
    assert said == {
        ("proj_a", "unexplained"): 0,
        ("proj_a", "price"): 0,
        ("proj_a", "unobserved_traffic"): 2,
    }


def test_a_provider_of_whom_the_bill_says_nothing_any_more_was_read_all_the_same(
    provider: MeterProvider, seen: Any
) -> None:
    gauges = DriftGauges(provider)
    gauges.show(snapshot_of(reconciliation(row(SETTLED, estimated="1", billed="1")), at=NOW, days=35))
    later = NOW + timedelta(hours=1)
    gauges.show(snapshot_of(reconciliation(), at=later, days=35))
    assert seen.points("realtime_spend.bill.last_success") == [({"gen_ai.provider.name": "openai"}, later.timestamp())]


def test_without_a_snapshot_nothing_is_said(provider: MeterProvider, seen: Any) -> None:
    DriftGauges(provider)
    assert seen.metrics() == {}


@pytest.mark.parametrize(("limits", "number"), [(None, 2_000 + 1), ({ObservableGauge: 10_000}, 35 * 80)])
def test_the_sdk_keeps_as_many_series_as_its_reader_is_told_to(limits: Any, number: int) -> None:
    reader = InMemoryMetricReader(cardinality_limits=limits)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    rows = [
        row(day, estimated="1", billed="1", model=f"model-{model}")
        for day in days_before(TODAY, 35)
        for model in range(80)
    ]
    DriftGauges(provider).show(snapshot_of(reconciliation(*rows), at=NOW, days=35))
    data = reader.get_metrics_data()
    assert data is not None
    (metric,) = [
        metric
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == "realtime_spend.billed.cost"
    ]
    assert len(metric.data.data_points) == number
    provider.shutdown()
