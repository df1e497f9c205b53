"""Outages of Prometheus and of the collector, and late batches: nothing is lost, and nothing is counted twice."""

from __future__ import annotations

import http
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pytest
from grafana.names import COST, series
from tests.stack.conftest import wait_until_handed_on, wait_until_queue_is_empty
from tests.stack.filling.between import between
from tests.stack.filling.fleet import Run, run_one, simulator_options
from tests.stack.filling.recording import Replay, entries_of, play, points_of
from tests.stack.filling.sent import told_by
from tests.stack.filling.totals import accounts, grown, growth, quantities, spent

from realtime_spend.simulator import run_in_thread
from realtime_spend.sinks import metrics as names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.stack.conftest import Collector, Lived, Prometheus, StartCollector, StartPrometheus
    from tests.stack.filling.recording import Recorded

    from realtime_spend.simulator import RunningSimulator

    Received = Callable[..., tuple[Prometheus, Collector]]

# The fleet is run within the setup of the first test that looks at it.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

HOUR, DAY = 3_600, 86_400
NANO = 10**9
# More than a program gives before it is told that it is enough.
MOST_ANSWERS = 1_000
# What must have been sent for the comparison to mean something.
PARTS = {
    (metric, modality)
    for metric in (names.INPUT_TOKENS, names.CACHE_READ_TOKENS, names.OUTPUT_TOKENS)
    for modality in ("text", "audio")
}

# Refused requests would take their neighbours with them: what the shipped configuration must never do. Batched are all
# points that a test sends, however long it takes to send them.
BATCHING = """\
exporters:
  otlp_http/prometheus:
    sending_queue:
      batch: {{enabled: true, sizer: items, min_size: {points}, flush_timeout: 10m}}
"""


@dataclass(frozen=True, kw_only=True)
class Service:
    """The simulated service, and the programs that talk to it while their metrics go to a collector."""

    simulator: RunningSimulator
    ledgers: Path
    otlp_port: int
    begin: float = field(default_factory=lambda: round(time.time(), 3))
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def hold(self, *, answers: int, pause: float = 0.0, interval: float = 60, **more: str) -> None:
        """Run a program to its end; with a long interval it exports once, when it ends."""
        url = f"{self.simulator.url.replace('http', 'ws', 1)}/v1/realtime?model=gpt-realtime"
        plan = {"url": url, "transcription": "gpt-4o-transcribe", "answers": answers, "pause": pause, **more}
        run = Run(name=f"program-{next(self.numbers)}", plan=[plan], export_interval=interval)
        run_one(run, ledgers=self.ledgers, otlp_endpoint=f"http://127.0.0.1:{self.otlp_port}")

    @contextmanager
    def throughout(self, folder: Path) -> Iterator[None]:
        """Have a program talk and export from before the block until after it, however long that takes."""
        enough = folder / "enough"
        with ThreadPoolExecutor(1) as pool:
            program = pool.submit(self.hold, answers=MOST_ANSWERS, pause=1, interval=0.8, until=str(enough))
            try:
                yield
                assert not program.done(), program.exception()
            finally:
                enough.touch()
            program.result()

    def is_counted_once(self, prometheus: Prometheus, *, what: str) -> None:
        """Everything that was sent is in the ledgers and in Prometheus, by modality and component, and once."""
        self.simulator.wait_idle()
        truth, end = self.simulator.truth.as_json(), round(time.time() + 1, 3)
        entries = [entry for folder in self.ledgers.iterdir() for entry in entries_of(folder)]
        assert {entry.id for entry in entries} == {usage["id"] for usage in truth["usages"]}
        took = accounts(prometheus, entries, what=what, series=COST, edges=[self.begin, end])
        assert took.exact == pytest.approx([float(spent(entries))], rel=1e-9), str(took)

        told, window = told_by(truth), f"{round((end - self.begin) * 1000)}ms"
        tokens = {key: float(value) for key, value in told.counted().items() if value}
        assert {(metric, modality) for metric, _, modality in tokens} >= PARTS
        assert quantities(prometheus, window=window, at=end) == pytest.approx(tokens, rel=1e-9)
        costs = {(whose, *part): float(cost) for (whose, part), cost in told.costs.items() if cost}
        billed = grown(prometheus, names.COST, names.MODALITY, names.COMPONENT, window=window, at=end)
        assert len(costs) > len(PARTS)
        assert billed == pytest.approx(costs, rel=1e-9)
        for counter in {COST, *(series(metric) for metric, _ in PARTS)}:
            assert set(prometheus.query(f"resets({counter}[{HOUR}s])", at=end).values()) == {0}, counter


@pytest.fixture
def service(unused_port: Callable[[], int], tmp_path: Path) -> Iterator[Service]:
    with run_in_thread(simulator_options()) as simulator:
        yield Service(simulator=simulator, ledgers=tmp_path / "ledgers", otlp_port=unused_port())


def test_an_outage_of_prometheus_and_a_killed_collector_cost_nothing(
    start_prometheus: StartPrometheus,
    start_collector: StartCollector,
    unused_port: Callable[[], int],
    service: Service,
    tmp_path: Path,
) -> None:
    prometheus = start_prometheus(tmp_path, port=unused_port())
    start = partial(start_collector, tmp_path, prometheus_url=prometheus.otlp_metrics_url, port=service.otlp_port)
    collector = start()
    with service.throughout(tmp_path):
        service.hold(answers=1)
        prometheus.stop()
        # Ended while only the collector knew of it.
        service.hold(answers=2)
        collector.kill()
        collector = start()
        service.hold(answers=3, pause=0.4, interval=0.5)
        prometheus = start_prometheus(tmp_path, port=prometheus.port)
    wait_until_queue_is_empty(collector)
    service.is_counted_once(prometheus, what="over two outages")


# --- Sent twice -------------------------------------------------------------------------------------------------------


def test_a_collector_that_is_killed_before_it_hears_that_its_export_was_taken_counts_it_once(
    start_prometheus: StartPrometheus,
    start_collector: StartCollector,
    eventually: Callable[..., object],
    service: Service,
    tmp_path: Path,
) -> None:
    """The next one finds the export in the queue and sends it again, after newer ones of the same process."""
    prometheus = start_prometheus(tmp_path)
    with between(prometheus.port) as (hop, port):
        url = prometheus.otlp_metrics_url.replace(str(prometheus.port), str(port))
        start = partial(start_collector, tmp_path, prometheus_url=url, port=service.otlp_port)
        collector = start()
        with service.throughout(tmp_path):
            eventually(lambda: prometheus.query(f"{COST} > 0") or None, what="the first export with money in it")
            hop.answers.clear()
            taken = len(hop.taken())
            eventually(lambda: len(hop.taken()) > taken or None, what="an export whose answer is kept back")
            unheard = hop.taken()[taken]
            # Behind the one that waits for its answer, and known to the collector alone.
            service.hold(answers=2)
            collector.kill()
            # Once, or more often where the collector was tired of waiting.
            times = hop.taken().count(unheard)
            hop.answers.set()
            collector = start()
        wait_until_queue_is_empty(collector)
    assert hop.taken().count(unheard) > times >= 1
    service.is_counted_once(prometheus, what="one export sent twice")


def test_an_export_that_prometheus_took_and_is_said_to_have_refused_is_counted_once(
    start_prometheus: StartPrometheus, start_collector: StartCollector, service: Service, tmp_path: Path
) -> None:
    """As a proxy does that gives up on Prometheus while it is still storing."""
    prometheus = start_prometheus(tmp_path)
    with between(prometheus.port) as (hop, port):
        hop.first_told = http.HTTPStatus.SERVICE_UNAVAILABLE
        url = prometheus.otlp_metrics_url.replace(str(prometheus.port), str(port))
        collector = start_collector(tmp_path, prometheus_url=url, port=service.otlp_port)
        service.hold(answers=1)
        service.hold(answers=7, pause=0.9, interval=0.9)
        wait_until_queue_is_empty(collector)
    assert not collector.own_metric("otelcol_exporter_send_failed_metric_points")
    times = Counter(hop.taken())
    assert len(times) >= 4
    assert set(times.values()) == {2}
    service.is_counted_once(prometheus, what="every export sent twice")


# --- Late batches -----------------------------------------------------------------------------------------------------


def late(recorded: Recorded, *, seconds: float, number: int) -> Replay:
    return Replay(recorded=recorded, instant=recorded.end, onto=round((time.time() - seconds) * NANO), number=number)


@pytest.fixture
def received(
    start_prometheus: StartPrometheus,
    start_collector: StartCollector,
    unused_port: Callable[[], int],
    tmp_path: Path,
) -> Received:
    """Sends replays to a Prometheus that is down, and so finds them in the collector's queue together."""

    def late_and_together(replays: list[Replay], *overrides: Path) -> tuple[Prometheus, Collector]:
        url = f"http://127.0.0.1:{(port := unused_port())}/api/v1/otlp/v1/metrics"
        collector = start_collector(tmp_path, prometheus_url=url, overrides=overrides)
        play(replays, port=collector.otlp_http_port, ledger=tmp_path / "ledger")
        prometheus = start_prometheus(tmp_path, port=port)
        wait_until_handed_on(collector)
        return prometheus, collector

    return late_and_together


def exact(prometheus: Prometheus, replays: list[Replay]) -> list[float]:
    """What each of them cost according to Prometheus."""
    end = round(time.time() + 1, 3)
    ours = [f'{COST}{{job="{replay.recorded.name}", instance=~".+-{replay.number}"}}' for replay in replays]
    return [growth(prometheus, one, begin=end - 20 * DAY, end=end) for one in ours]


def expected(replays: list[Replay]) -> list[float]:
    return [sum(float(record["cost"] or 0) for record in replay.records()) for replay in replays]


def test_a_late_batch_does_not_poison_its_neighbours(lived: Lived, received: Received, tmp_path: Path) -> None:
    ages = (60, 2 * HOUR, 30, 2 * DAY, 10, 6 * DAY, 5)
    replays = [
        late(lived.recorded["short-1" if age > HOUR else "once-1"], seconds=age, number=number)
        for number, age in enumerate(ages, start=1)
    ]
    prometheus, collector = received(replays)
    assert exact(prometheus, replays) == pytest.approx(expected(replays), rel=1e-9)
    assert sum(exact(prometheus, replays)) == pytest.approx(float(spent(entries_of(tmp_path / "ledger"))), rel=1e-9)
    assert not collector.own_metric("otelcol_exporter_send_failed_metric_points")


def too_late_among_others(lived: Lived) -> list[Replay]:
    once = lived.recorded["once-1"]
    return [late(once, seconds=age, number=number) for number, age in enumerate((60, 8 * DAY, 30, 2 * HOUR), start=1)]


def points_in(replays: list[Replay]) -> int:
    """How many points they are; a program that is slow to end has said its totals twice."""
    return sum(len(list(points_of(request))) for replay in replays for request in replay.requests())


def test_what_is_older_than_the_window_is_refused_alone_and_said(lived: Lived, received: Received) -> None:
    replays = too_late_among_others(lived)
    prometheus, collector = received(replays)
    wanted = expected(replays)
    assert exact(prometheus, replays) == pytest.approx([wanted[0], 0, wanted[2], wanted[3]], rel=1e-9)
    assert collector.own_metric("otelcol_exporter_send_failed_metric_points") == points_in(replays[1:2])
    assert "Exporting failed. Dropping data." in collector.log.read_text()


def test_with_batching_it_would_take_its_neighbours_with_it(lived: Lived, received: Received, tmp_path: Path) -> None:
    """Why the shipped configuration says `batch: {enabled: false}`, and that the test above would notice."""
    replays = too_late_among_others(lived)
    (batching := tmp_path / "batching.yaml").write_text(BATCHING.format(points=points_in(replays)))
    prometheus, _ = received(replays, batching)
    assert exact(prometheus, replays) == [0, 0, 0, 0]
