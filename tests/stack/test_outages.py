"""Outages of Prometheus and of the collector, and late batches: nothing is lost, and nothing is counted twice."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING

import pytest
from grafana.names import COST
from tests.stack.conftest import wait_until_handed_on, wait_until_queue_is_empty
from tests.stack.filling.fleet import Run, run_one, simulator_options
from tests.stack.filling.recording import Replay, entries_of, play, points_of
from tests.stack.filling.totals import accounts, growth, spent

from realtime_spend.simulator import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.stack.conftest import Collector, Lived, Prometheus, StartCollector, StartPrometheus
    from tests.stack.filling.recording import Recorded

# The fleet is run within the setup of the first test that looks at it.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

HOUR, DAY = 3_600, 86_400
NANO = 10**9

# Refused requests would take their neighbours with them: what the shipped configuration must never do.
BATCHING = """\
exporters:
  otlp_http/prometheus:
    sending_queue:
      batch: {enabled: true, sizer: items, min_size: 100000, flush_timeout: 3s}
"""


def test_an_outage_of_prometheus_and_a_killed_collector_cost_nothing(
    start_prometheus: StartPrometheus,
    start_collector: StartCollector,
    unused_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    begin, port, ledgers = round(time.time(), 3), unused_port(), tmp_path / "ledgers"
    prometheus = start_prometheus(tmp_path, port=unused_port())
    collector = start_collector(tmp_path, prometheus_url=prometheus.otlp_metrics_url, port=port)
    numbers = count(1)
    with run_in_thread(simulator_options()) as simulator, ThreadPoolExecutor(1) as pool:
        url = f"{simulator.url.replace('http', 'ws', 1)}/v1/realtime?model=gpt-realtime"

        def hold(*, answers: int, pause: float = 0.0, interval: float = 60) -> None:
            run = Run(
                name=f"program-{next(numbers)}",
                plan=[{"url": url, "transcription": "gpt-4o-transcribe", "answers": answers, "pause": pause}],
                export_interval=interval,
            )
            run_one(run, ledgers=ledgers, otlp_endpoint=f"http://127.0.0.1:{port}")

        throughout = pool.submit(hold, answers=30, pause=1, interval=0.8)
        hold(answers=1)
        prometheus.stop()
        # Ended while only the collector knew of it.
        hold(answers=2)
        collector.kill()
        collector = start_collector(tmp_path, prometheus_url=prometheus.otlp_metrics_url, port=port)
        hold(answers=3, pause=0.4, interval=0.5)
        was_running = not throughout.done()
        prometheus = start_prometheus(tmp_path, port=prometheus.port)
        throughout.result()
        simulator.wait_idle()
        wait_until_queue_is_empty(collector)
        sent = simulator.truth.as_json()["usages"]
    entries = [entry for folder in ledgers.iterdir() for entry in entries_of(folder)]
    took = accounts(prometheus, entries, what="over two outages", series=COST, edges=[begin, round(time.time() + 1, 3)])
    assert was_running
    assert {entry.id for entry in entries} == {usage["id"] for usage in sent}
    assert took.exact == pytest.approx([float(spent(entries))], rel=1e-9), str(took)
    assert set(prometheus.query(f"resets({COST}[{HOUR}s])").values()) == {0}


# --- Late batches -----------------------------------------------------------------------------------------------------


def late(recorded: Recorded, *, seconds: float, number: int) -> Replay:
    return Replay(recorded=recorded, instant=recorded.end, onto=round((time.time() - seconds) * NANO), number=number)


def received(
    replays: list[Replay],
    *,
    start_prometheus: StartPrometheus,
    start_collector: StartCollector,
    unused_port: Callable[[], int],
    folder: Path,
    overrides: tuple[Path, ...] = (),
) -> tuple[Prometheus, Collector]:
    """A Prometheus that was down when all of them were sent, and so finds them in the collector's queue together."""
    url = f"http://127.0.0.1:{(port := unused_port())}/api/v1/otlp/v1/metrics"
    collector = start_collector(folder, prometheus_url=url, overrides=overrides)
    play(replays, port=collector.otlp_http_port, ledger=folder / "ledger")
    prometheus = start_prometheus(folder, port=port)
    wait_until_handed_on(collector)
    return prometheus, collector


def exact(prometheus: Prometheus, replays: list[Replay]) -> list[float]:
    """What each of them cost according to Prometheus."""
    end = round(time.time() + 1, 3)
    series = [f'{COST}{{job="{replay.recorded.name}", instance=~".+-{replay.number}"}}' for replay in replays]
    return [growth(prometheus, one, begin=end - 20 * DAY, end=end) for one in series]


def expected(replays: list[Replay]) -> list[float]:
    return [sum(float(record["cost"] or 0) for record in replay.records()) for replay in replays]


def test_a_late_batch_does_not_poison_its_neighbours(
    lived: Lived,
    start_prometheus: StartPrometheus,
    start_collector: StartCollector,
    unused_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    ages = (60, 2 * HOUR, 30, 2 * DAY, 10, 6 * DAY, 5)
    replays = [
        late(lived.recorded["short-1" if age > HOUR else "once-1"], seconds=age, number=number)
        for number, age in enumerate(ages, start=1)
    ]
    prometheus, collector = received(
        replays,
        start_prometheus=start_prometheus,
        start_collector=start_collector,
        unused_port=unused_port,
        folder=tmp_path,
    )
    assert exact(prometheus, replays) == pytest.approx(expected(replays), rel=1e-9)
    assert sum(exact(prometheus, replays)) == pytest.approx(float(spent(entries_of(tmp_path / "ledger"))), rel=1e-9)
    assert not collector.own_metric("otelcol_exporter_send_failed_metric_points")


def too_late_among_others(lived: Lived) -> list[Replay]:
    once = lived.recorded["once-1"]
    return [late(once, seconds=age, number=number) for number, age in enumerate((60, 8 * DAY, 30, 2 * HOUR), start=1)]


def test_what_is_older_than_the_window_is_refused_alone_and_said(
    lived: Lived,
    start_prometheus: StartPrometheus,
    start_collector: StartCollector,
    unused_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    replays = too_late_among_others(lived)
    prometheus, collector = received(
        replays,
        start_prometheus=start_prometheus,
        start_collector=start_collector,
        unused_port=unused_port,
        folder=tmp_path,
    )
    wanted = expected(replays)
    assert exact(prometheus, replays) == pytest.approx([wanted[0], 0, wanted[2], wanted[3]], rel=1e-9)
    (request,) = replays[1].recorded.requests
    points = len(list(points_of(request)))
    assert collector.own_metric("otelcol_exporter_send_failed_metric_points") == points
    assert "Exporting failed. Dropping data." in collector.log.read_text()


def test_with_batching_it_would_take_its_neighbours_with_it(
    lived: Lived,
    start_prometheus: StartPrometheus,
    start_collector: StartCollector,
    unused_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    """Why the shipped configuration says `batch: {enabled: false}`, and that the test above would notice."""
    (batching := tmp_path / "batching.yaml").write_text(BATCHING)
    replays = too_late_among_others(lived)
    prometheus, _ = received(
        replays,
        start_prometheus=start_prometheus,
        start_collector=start_collector,
        unused_port=unused_port,
        folder=tmp_path,
        overrides=(batching,),
    )
    assert exact(prometheus, replays) == [0, 0, 0, 0]
