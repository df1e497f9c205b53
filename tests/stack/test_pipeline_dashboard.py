"""Every query of `pipeline-health.json`, asked of a Prometheus that scrapes a collector to which something happened."""

from __future__ import annotations

import http.client
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from grafana import names
from grafana.asking import chosen, filled_in
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from tests.stack.voice_service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.stack.conftest import Collector, Prometheus, StartCollector, StartPrometheus

DASHBOARD = Path(__file__).resolve().parents[2] / "grafana" / "dashboards" / "pipeline-health.json"
BOARD: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
PANELS = {panel["title"]: panel for panel in BOARD["panels"]}
QUERIES = [
    pytest.param(target, id=f"{title} {target['refId']}")
    for title, panel in PANELS.items()
    for target in panel["targets"]
]
# The first two of the three processes share an id.
PROCESSES = ("shared", "shared", "alone")
CONFIGURATION = """\
storage:
  tsdb:
    out_of_order_time_window: 7d
scrape_configs:
  - job_name: otelcol
    scrape_interval: 200ms
    static_configs:
      - targets: ["127.0.0.1:{port}"]
"""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A collector that handed on what it could, and a Prometheus that watched it."""

    prometheus: Prometheus
    collector: Collector
    begin: float
    end: float

    def panel(self, title: str, ref: str = "A") -> dict[frozenset[tuple[str, str]], float]:
        (target,) = (target for target in PANELS[title]["targets"] if target["refId"] == ref)
        return self.prometheus.query(self.substituted(target["expr"]), at=self.end)

    def substituted(self, expr: str) -> str:
        times = {"__range": f"{self.end - self.begin:.0f}s", "__rate_interval": "10s"}
        return filled_in(expr, chosen(BOARD, **times))


def too_old() -> bytes:
    """An export of one point that Prometheus refuses for good."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="long_ago")
    metric.gauge.data_points.add(time_unix_nano=time.time_ns() - 30 * 86_400 * 10**9, as_double=1.0)
    serialized: bytes = request.SerializeToString()
    return serialized


def posted(port: int, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/v1/metrics", body, {"Content-Type": "application/x-protobuf"})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def pipeline(
    start_collector: StartCollector,
    start_prometheus: StartPrometheus,
    eventually: Callable[..., Any],
    unused_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Pipeline:
    folder, port = tmp_path_factory.mktemp("pipeline"), unused_port()
    begin = time.time()
    collector = start_collector(folder, prometheus_url=f"http://127.0.0.1:{port}/api/v1/otlp/v1/metrics")
    prometheus = start_prometheus(folder, port=port, configuration=CONFIGURATION.format(port=collector.metrics_port))
    services = [Service(url=collector.metrics_url, instance=instance) for instance in PROCESSES]
    # What the first has counted is more than what the second says of itself under the same id.
    for times, service in zip((3, 1, 1), services, strict=True):
        service.respond_and_export(times)
    kept = f'{names.UNPRICED}{{instance="alone"}}'
    eventually(lambda: prometheus.query(kept) or None, what="the exports to reach Prometheus")
    assert posted(collector.otlp_http_port, too_old()) == http.HTTPStatus.OK
    lost = f"{names.SEND_FAILED} == 1"
    eventually(lambda: prometheus.query(lost) or None, what="the collector to say that a point was refused")
    # Two scrapes at least, for the trends, and the last of them one that was answered in time.
    scraped = f"count_over_time({names.SEND_FAILED}[1m]) > 3 and {lost} and on (job, instance) up == 1"

    def settled() -> float | None:
        """An instant long enough ago that no scrape from before it is still without an answer."""
        instant = time.time() - 1
        return instant if prometheus.query(scraped, at=instant) else None

    end = eventually(settled, what="a few scrapes more")
    return Pipeline(prometheus=prometheus, collector=collector, begin=begin, end=end)


@pytest.mark.stack
@pytest.mark.parametrize("target", QUERIES)
def test_every_query_returns_data(pipeline: Pipeline, target: Any) -> None:
    values = pipeline.prometheus.query(pipeline.substituted(target["expr"]), at=pipeline.end).values()
    assert values
    assert all(math.isfinite(value) and value >= 0 for value in values)


@pytest.mark.stack
def test_the_names_of_the_collector_are_those_that_it_gives(pipeline: Pipeline) -> None:
    stored = set(pipeline.prometheus.ask("label/__name__/values"))
    # Two of the failures did not happen here; the first point that was refused shows the third.
    assert names.COLLECTOR_SERIES - stored == {names.MEMORY_LIMITER_REFUSED, names.ENQUEUE_FAILED}


@pytest.mark.stack
def test_a_collector_that_answers_is_up(pipeline: Pipeline) -> None:
    assert pipeline.panel("Collector") == {frozenset(): 1}


@pytest.mark.stack
def test_a_point_that_prometheus_refused_is_counted_as_lost(pipeline: Pipeline) -> None:
    title = "Points lost since the collector started"
    assert (pipeline.panel(title, "A"), pipeline.panel(title, "B")) == ({frozenset(): 0}, {frozenset(): 1})
    title = "Points refused since the collector started"
    assert (pipeline.panel(title, "A"), pipeline.panel(title, "B")) == ({frozenset(): 0}, {frozenset(): 0})


@pytest.mark.stack
def test_the_queue_is_empty_and_all_that_was_accepted_was_sent(pipeline: Pipeline) -> None:
    of_prometheus = frozenset({("exporter", "otlp_http/prometheus")})
    assert pipeline.panel("Queue in use") == {frozenset(): 0}
    assert pipeline.panel("Exports that wait in the collector") == {of_prometheus: 0}
    assert set(pipeline.panel("Points accepted and sent per minute", "B")) == {of_prometheus}


@pytest.mark.stack
def test_processes_that_share_an_id_are_one_and_are_found_out(pipeline: Pipeline) -> None:
    voice = frozenset({("job", "voice")})
    assert pipeline.panel("Processes that report, by service") == {voice: len(set(PROCESSES))}
    resets = pipeline.panel("Resets inside a series in the range")
    # Each series of the counter fell back once.
    both = " + ".join(f'count({name}{{instance="shared"}})' for name in (names.USAGES, names.COST))
    series = pipeline.prometheus.query(both, at=pipeline.end)
    assert resets == {voice: series[frozenset()]}


@pytest.mark.stack
def test_the_age_of_the_newest_export_is_that_of_the_last_process(pipeline: Pipeline) -> None:
    (age,) = pipeline.panel("Age of the newest export, by service").values()
    assert 0 <= age <= pipeline.end - pipeline.begin
