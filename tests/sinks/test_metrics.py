from __future__ import annotations

import decimal
import gc
import weakref
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, Histogram, InMemoryMetricReader, Sum
from tests.forked import forks, in_a_child

from realtime_spend.sinks import metrics as module
from realtime_spend.sinks.metrics import Metrics, metrics_of
from realtime_spend.version import __version__

# Written out rather than imported: these names are what dashboards and alerts are built on.
_INTEGER_COUNTERS = {
    "gen_ai.client.inference.usage.input_tokens": "{token}",
    "gen_ai.client.inference.usage.cache_read.input_tokens": "{token}",
    "gen_ai.client.inference.usage.output_tokens": "{token}",
    "gen_ai.client.inference.usage.reasoning.output_tokens": "{token}",
    "realtime_spend.usages": "{event}",
    "realtime_spend.unpriced": "{event}",
    "realtime_spend.duplicates": "{event}",
    "realtime_spend.errors": "{error}",
}
_DECIMAL_COUNTERS = {
    "realtime_spend.cost": "USD",
    "realtime_spend.cost.uncertainty": "USD",
    "realtime_spend.cache.savings": "USD",
    "realtime_spend.billable.duration": "s",
    "realtime_spend.session.time": "s",
}
_HISTOGRAMS = {
    "gen_ai.client.inference.operation.input_tokens": "{token}",
    "gen_ai.client.inference.operation.output_tokens": "{token}",
    "gen_ai.client.operation.duration": "s",
    "gen_ai.client.operation.time_to_first_chunk": "s",
    "realtime_spend.session.duration": "s",
    "realtime_spend.time_to_first_audio": "s",
}


@pytest.fixture
def metrics(provider: MeterProvider) -> Metrics:
    return metrics_of(provider)


def _add(metrics: Metrics, name: str, amount: int | Decimal, **extra: str) -> None:
    series = metrics.series({"tenant": "acme"})
    with metrics.lock:
        series.add(name, tuple(extra.items()), amount)


@pytest.mark.parametrize(("name", "unit"), _INTEGER_COUNTERS.items())
def test_a_counter_of_tokens_or_events_is_a_monotonic_sum_of_integers(
    name: str, unit: str, metrics: Metrics, seen: Any
) -> None:
    _add(metrics, name, 7, part="one")
    metric = seen.metrics()[name]
    assert metric.unit == unit
    assert isinstance(metric.data, Sum)
    assert metric.data.is_monotonic
    assert metric.data.aggregation_temporality is AggregationTemporality.CUMULATIVE
    [(attributes, value)] = seen.points(name)
    assert attributes == {"tenant": "acme", "part": "one"}
    assert (value, type(value)) == (7, int)


@pytest.mark.parametrize(("name", "unit"), _DECIMAL_COUNTERS.items())
def test_a_counter_of_money_or_seconds_is_a_monotonic_sum_of_floats(
    name: str, unit: str, metrics: Metrics, seen: Any
) -> None:
    _add(metrics, name, Decimal("0.25"))
    metric = seen.metrics()[name]
    assert metric.unit == unit
    assert isinstance(metric.data, Sum)
    assert metric.data.is_monotonic
    [(attributes, value)] = seen.points(name)
    assert attributes == {"tenant": "acme"}
    assert (value, type(value)) == (0.25, float)


@pytest.mark.parametrize(("name", "unit"), _HISTOGRAMS.items())
def test_a_histogram_has_its_unit_and_boundaries_of_its_own(name: str, unit: str, metrics: Metrics, seen: Any) -> None:
    metrics.record(name, 3, {"tenant": "acme"})
    metric = seen.metrics()[name]
    assert metric.unit == unit
    assert isinstance(metric.data, Histogram)
    [point] = metric.data.data_points
    assert dict(point.attributes or {}) == {"tenant": "acme"}
    assert (point.count, point.sum) == (1, 3)
    bounds = list(point.explicit_bounds)
    assert bounds == sorted(set(bounds))
    # The default boundaries would end at 10,000: too few for tokens, and nearly all of them too large for seconds.
    assert bounds[-1] > 1_000_000 if unit == "{token}" else 60 < bounds[-1] <= 3_600


def test_active_sessions_are_an_up_down_counter_that_can_return_to_zero(metrics: Metrics, seen: Any) -> None:
    series = metrics.series({"tenant": "acme"})
    assert "realtime_spend.session.active" not in seen.metrics()
    for count in (1, 2, 1, 0):
        with metrics.lock:
            series.active = count
        metric = seen.metrics()["realtime_spend.session.active"]
        assert isinstance(metric.data, Sum)
        assert not metric.data.is_monotonic
        assert metric.unit == "{session}"
        assert seen.points("realtime_spend.session.active") == [({"tenant": "acme"}, count)]


def test_there_are_no_other_instruments(metrics: Metrics, seen: Any) -> None:
    for name in _INTEGER_COUNTERS:
        _add(metrics, name, 1)
    for name in _DECIMAL_COUNTERS:
        _add(metrics, name, Decimal(1))
    for name in _HISTOGRAMS:
        metrics.record(name, 1, {})
    metrics.series({}).active = 1
    expected = {*_INTEGER_COUNTERS, *_DECIMAL_COUNTERS, *_HISTOGRAMS, "realtime_spend.session.active"}
    assert set(seen.metrics()) == expected


def test_every_instrument_says_what_it_counts_and_the_scope_bears_our_version(
    metrics: Metrics, reader: InMemoryMetricReader
) -> None:
    _add(metrics, "realtime_spend.cost", Decimal(1))
    data = reader.get_metrics_data()
    assert data is not None
    [scope] = data.resource_metrics[0].scope_metrics
    assert (scope.scope.name, scope.scope.version) == ("realtime_spend", __version__)
    assert all(metric.description for metric in scope.metrics)


def test_an_amount_of_zero_makes_a_series_appear(metrics: Metrics, seen: Any) -> None:
    _add(metrics, "realtime_spend.usages", 0)
    _add(metrics, "realtime_spend.cost", Decimal(0))
    assert seen.points("realtime_spend.usages") == [({"tenant": "acme"}, 0)]
    assert seen.points("realtime_spend.cost") == [({"tenant": "acme"}, 0.0)]
    assert isinstance(seen.value("realtime_spend.cost"), float)


def test_totals_stay_right_over_several_collections(metrics: Metrics, seen: Any) -> None:
    for turn in range(1, 5):
        _add(metrics, "realtime_spend.usages", 3)
        assert seen.value("realtime_spend.usages") == 3 * turn
        assert seen.value("realtime_spend.usages") == 3 * turn


def test_many_small_amounts_of_money_add_up_exactly(metrics: Metrics, seen: Any) -> None:
    for _ in range(10_000):
        _add(metrics, "realtime_spend.cost", Decimal("0.1"))
    assert seen.value("realtime_spend.cost") == float(10_000 * Decimal("0.1"))


def test_the_decimal_context_of_the_host_does_not_round_our_sums(metrics: Metrics, seen: Any) -> None:
    with decimal.localcontext(decimal.Context(prec=2)):
        _add(metrics, "realtime_spend.cost", Decimal("123.456"))
        _add(metrics, "realtime_spend.cost", Decimal("0.001"))
    assert seen.value("realtime_spend.cost") == float(Decimal("123.456") + Decimal("0.001"))


def test_equal_attributes_share_a_series_in_whatever_order_they_are_given(metrics: Metrics) -> None:
    one = metrics.series({"tenant": "acme", "server.port": 443})
    assert metrics.series({"server.port": 443, "tenant": "acme"}) is one
    assert metrics.series({"server.port": 444, "tenant": "acme"}) is not one


def test_a_second_look_at_a_provider_finds_the_same_totals(
    provider: MeterProvider, metrics: Metrics, seen: Any
) -> None:
    _add(metrics, "realtime_spend.usages", 2)
    again = metrics_of(provider)
    _add(again, "realtime_spend.usages", 3)
    assert again is metrics
    assert seen.value("realtime_spend.usages") == 2 + 3


def test_two_providers_do_not_share_totals(metrics: Metrics, seen: Any) -> None:
    other_reader = InMemoryMetricReader()
    other = MeterProvider([other_reader], shutdown_on_exit=False)
    _add(metrics_of(other), "realtime_spend.usages", 5)
    assert metrics_of(other) is not metrics
    assert seen.points("realtime_spend.usages") == []
    other.shutdown()


def test_a_provider_that_the_program_drops_is_not_kept_alive() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    metrics_of(provider)
    gone = weakref.ref(provider)
    provider.shutdown()
    del provider, reader
    gc.collect()
    assert gone() is None


def test_the_two_hundred_and_first_value_of_a_key_becomes_other(metrics: Metrics) -> None:
    values = [f"tenant-{number}" for number in range(200)]
    assert [metrics.bounded("tenant", value) for value in values] == values
    assert metrics.bounded("tenant", "tenant-200") == "other"
    assert metrics.bounded("tenant", "tenant-0") == "tenant-0"
    assert metrics.bounded("team", "tenant-200") == "tenant-200"


@forks
def test_a_child_that_begins_anew_counts_from_zero_and_the_parent_keeps_its_totals(metrics: Metrics, seen: Any) -> None:
    _add(metrics, "realtime_spend.usages", 100)
    _add(metrics, "realtime_spend.cost", Decimal(5))
    metrics.series({}).active = 3
    assert seen.value("realtime_spend.usages") == 100

    def work() -> list[Any]:
        metrics.begin_anew()
        before = sorted(seen.metrics())
        _add(metrics, "realtime_spend.usages", 10)
        return [before, seen.points("realtime_spend.usages")]

    assert in_a_child(work) == [[], [[{"tenant": "acme"}, 10]]]
    assert seen.value("realtime_spend.usages") == 100
    assert seen.value("realtime_spend.cost") == 5.0
    assert seen.value("realtime_spend.session.active") == 3


@forks
def test_a_child_does_not_say_the_time_of_its_parents_sessions_again(metrics: Metrics, seen: Any) -> None:
    metrics.record(module.SESSION_DURATION, 12.5, {"tenant": "acme"})
    assert seen.points(module.SESSION_TIME) == [({"tenant": "acme"}, 12.5)]

    def work() -> list[Any]:
        metrics.begin_anew()
        metrics.record(module.SESSION_DURATION, 0.25, {"tenant": "acme"})
        [histogram] = seen.metrics()[module.SESSION_DURATION].data.data_points
        return [seen.points(module.SESSION_TIME), histogram.sum]

    # The histogram, which the SDK keeps, does.
    assert in_a_child(work) == [[[{"tenant": "acme"}, 0.25]], 12.75]


def test_the_time_of_sessions_is_added_up_exactly(metrics: Metrics, seen: Any) -> None:
    for _ in range(10):
        metrics.record(module.SESSION_DURATION, 0.1, {})
    metrics.record(module.SESSION_DURATION, 3e-9, {})
    metrics.record(module.OPERATION_DURATION, 5.0, {})
    [total] = metrics.series({}).totals[module.SESSION_TIME].values()
    assert total == Decimal("1.000000003")
    assert seen.points(module.SESSION_TIME) == [({}, 1.000000003)]


@forks
def test_a_child_can_collect_although_another_thread_held_the_lock_when_it_was_forked(
    metrics: Metrics, seen: Any
) -> None:
    def work() -> Any:
        metrics.begin_anew()
        _add(metrics, "realtime_spend.usages", 1)
        return seen.value("realtime_spend.usages")

    with metrics.lock:
        assert in_a_child(work) == 1


@pytest.fixture
def delta_reader() -> InMemoryMetricReader:
    return InMemoryMetricReader(preferred_temporality={ObservableCounter: AggregationTemporality.DELTA})


def test_a_reader_of_deltas_gets_what_was_added_between_two_collections(delta_reader: InMemoryMetricReader) -> None:
    provider = MeterProvider([delta_reader], shutdown_on_exit=False)
    metrics = metrics_of(provider)

    def collected() -> list[Any]:
        data = delta_reader.get_metrics_data()
        assert data is not None
        [metric] = data.resource_metrics[0].scope_metrics[0].metrics
        return [getattr(point, "value", None) for point in metric.data.data_points]

    _add(metrics, "realtime_spend.usages", 100)
    assert collected() == [100]
    _add(metrics, "realtime_spend.usages", 10)
    assert collected() == [10]
    provider.shutdown()


def test_measurements_that_nobody_collects_are_bounded_and_none_is_lost(
    reader: InMemoryMetricReader, provider: MeterProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 3)
    metrics = module.metrics_of(provider)
    for seconds in range(10):
        metrics.record(module.SESSION_DURATION, seconds, {})
        assert len(metrics._measured) <= 3
    data = reader.get_metrics_data()
    assert data is not None
    points = [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == module.SESSION_DURATION
        for point in metric.data.data_points
    ]
    assert [(point.count, point.sum) for point in points] == [(10, sum(range(10)))]  # type: ignore[union-attr]  # histograms


def test_what_runs_amid_our_own_work_may_come_back_to_us(provider: MeterProvider) -> None:
    # A signal handler that flushes, or a finalizer that ends a session, runs on the thread that holds our lock.
    metrics = module.metrics_of(provider)
    series = metrics.series({})
    with metrics.lock:
        series.add(module.USAGES, (), 1)
        provider.force_flush()
        assert metrics.series({}) is series
