"""What a collection of the metrics takes, beside the bare SDK collecting as many observations.

    python -m bench.collection [--quick]

The bare side observes the very same points, made beforehand: what is left are the SDK's own costs.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from bench import session_events as events
from bench.measuring import CELLS, clock, interleaved, rounds_of
from bench.tables import Table, program, progress
from realtime_spend import RealtimeInstrumentor
from realtime_spend.core.endpoints import recognise
from realtime_spend.observing import RUNNING
from realtime_spend.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from opentelemetry.metrics import CallbackOptions

# So many tenants, each with one session, give about 10, 100, 1,000 and 10,000 series: one has some forty of them.
_TENANTS = {1: 15, 3: 15, 24: 9, 240: 5}
_WAITING = 1_000
_ROUNDS_WAITING = 3


def measure(quick: bool) -> list[Table]:  # noqa: FBT001 - what every program of the bench is asked
    """Measure collections of more and more series, and one of what histograms wait for."""
    table = Table(title="A collection: ms of the thread that collects", columns=["series", *CELLS])
    for tenants, rounds in list(_TENANTS.items())[: 2 if quick else None]:
        progress(f"collection: {tenants} tenants")
        with _metered(tenants) as (reader, bare, _):
            found = interleaved(_timed(bare.collect), _timed(reader.collect), rounds_of(quick=quick, rounds=rounds))
            table.rows.append([f"{_count(reader):,}", *found.scaled(1e-6).cells()])
    progress(f"collection: after {_WAITING} responses")
    with _metered(1) as (reader, bare, watcher):
        after = interleaved(_timed(bare.collect), lambda: _after_responses(watcher, reader), _ROUNDS_WAITING)
        table.rows.append([f"{_count(reader):,}, {_WAITING:,} responses since", *after.scaled(1e-6).cells()])
    table.notes = [
        "“bare” is the SDK that collects as many observations, made beforehand, of instruments of the same names.",
        "The last row is a collection after that many responses, whose histograms are recorded then.",
    ]
    return [table]


@contextmanager
def _metered(tenants: int) -> Iterator[tuple[InMemoryMetricReader, InMemoryMetricReader, Watcher]]:
    """Hold so many sessions; yield the reader of their metrics, one of the bare SDK's, and one session."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    RealtimeInstrumentor().instrument(meter_provider=provider)
    try:
        watchers = [_session(number) for number in range(tenants)]
        bare, bare_provider = _bare(_points(reader))
        try:
            yield reader, bare, watchers[0]
        finally:
            bare_provider.shutdown()
    finally:
        RealtimeInstrumentor().uninstrument()
        provider.shutdown()


def _count(reader: InMemoryMetricReader) -> int:
    return sum(len(points) for points in _points(reader).values())


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        begun = clock()
        work()
        return clock() - begun

    return timed


def _session(number: int) -> Watcher:
    """Hold a session of one tenant, with a response and a transcription in it."""
    endpoint = recognise("api.openai.com", 443, "/v1/realtime", "model=gpt-realtime")
    assert endpoint is not None  # noqa: S101 - it is the protocol's own URL
    # No attribute may have more values than a metric should carry, so there are two of them.
    watcher = Watcher(
        RUNNING[-1].metering, endpoint, {"tenant": f"tenant-{number % 150}", "plan": f"plan-{number // 150}"}
    )
    watcher.opened()
    watcher.frame(events.session_created())
    _answer(watcher, number)
    watcher.frame(events.committed(number))
    watcher.frame(events.transcribed(number))
    return watcher


def _answer(watcher: Watcher, number: int) -> None:
    watcher.frame(events.response_created(number))
    watcher.frame(events.response_done(number))


_ANSWERED = count(1_000_000)


def _after_responses(watcher: Watcher, reader: InMemoryMetricReader) -> float:
    """Return the nanoseconds of a collection after many responses."""
    for _ in range(_WAITING):
        _answer(watcher, next(_ANSWERED))
    return _timed(reader.collect)()


def _points(reader: InMemoryMetricReader) -> dict[str, Sequence[NumberDataPoint]]:
    data: Any = reader.get_metrics_data()
    metrics = [
        metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics
    ]
    return {
        metric.name: metric.data.data_points
        for metric in metrics
        if all(isinstance(point, NumberDataPoint) for point in metric.data.data_points)
    }


def _bare(points: dict[str, Sequence[NumberDataPoint]]) -> tuple[InMemoryMetricReader, MeterProvider]:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter("bare")
    for name, of_name in points.items():
        made = [Observation(point.value, dict(point.attributes or {})) for point in of_name]

        def observe(_options: CallbackOptions, made: list[Observation] = made) -> Iterable[Observation]:
            return made

        meter.create_observable_counter(name, [observe])
    return reader, provider


if __name__ == "__main__":
    program(measure)
