"""The collector configuration for one machine: what it promises, read from the file and seen on the real collector."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.stack.conftest import Programs, StartCollector, StartPrometheus

ENVIRONMENT_VARIABLE = re.compile(r"\$\{env:(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")


@pytest.fixture(scope="module")
def text(single_host: Path) -> str:
    return single_host.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def configuration(text: str) -> Any:
    return yaml.safe_load(text)


def spend(url: str, *, dollars: float, instance: str) -> None:
    """A session that exports once and ends: nothing of it is ever sent a second time."""
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=url))
    resource = Resource({"service.name": "voice", "service.instance.id": instance})
    provider = MeterProvider([reader], resource=resource)
    provider.get_meter("realtime_spend").create_counter("realtime_spend.cost", "USD").add(dollars)
    provider.shutdown()


def test_every_environment_variable_has_a_default(text: str) -> None:
    without = [match["name"] for match in ENVIRONMENT_VARIABLE.finditer(text) if not match["default"]]
    assert len(ENVIRONMENT_VARIABLE.findall(text)) >= 6
    assert without == []


def test_everything_listens_on_loopback_unless_told_otherwise(configuration: Any) -> None:
    listens = [
        configuration["extensions"]["health_check"]["endpoint"],
        *(protocol["endpoint"] for protocol in configuration["receivers"]["otlp"]["protocols"].values()),
        configuration["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"]["host"],
    ]
    defaults = [ENVIRONMENT_VARIABLE.sub(lambda match: match["default"], endpoint) for endpoint in listens]
    assert [default.split(":")[0] for default in defaults] == ["127.0.0.1"] * 4


def test_the_money_pipeline_loses_nothing_by_design(configuration: Any) -> None:
    pipelines = configuration["service"]["pipelines"]
    exporter = configuration["exporters"]["otlp_http/prometheus"]
    queue = exporter["sending_queue"]
    assert pipelines == {
        "metrics": {"receivers": ["otlp"], "processors": ["memory_limiter"], "exporters": ["otlp_http/prometheus"]}
    }
    assert queue["storage"] in configuration["service"]["extensions"]
    assert configuration["extensions"][queue["storage"]]["fsync"] is True
    assert queue["batch"] == {"enabled": False}
    assert queue["block_on_overflow"] is True
    assert exporter["retry_on_failure"]["enabled"] is True
    assert exporter["retry_on_failure"]["max_elapsed_time"] == "0s"


@pytest.mark.stack
def test_the_collector_accepts_the_configuration(programs: Programs, single_host: Path) -> None:
    validated = subprocess.run(
        [programs.otelcol, "validate", f"--config={single_host}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (validated.returncode, validated.stderr) == (0, "")


@pytest.mark.stack
def test_what_was_sent_during_an_outage_arrives_after_the_collector_was_killed(
    start_collector: StartCollector,
    start_prometheus: StartPrometheus,
    eventually: Callable[..., Any],
    unused_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    port = unused_port()
    url = f"http://127.0.0.1:{port}/api/v1/otlp/v1/metrics"
    collector = start_collector(tmp_path, prometheus_url=url)
    spend(collector.metrics_url, dollars=0.125, instance="ended-during-the-outage")
    collector.kill()

    start_collector(tmp_path, prometheus_url=url)
    prometheus = start_prometheus(tmp_path, port=port)

    arrived = eventually(
        lambda: prometheus.query("last_over_time(realtime_spend_cost_USD_total[10m])") or None,
        what="the money that was sent while Prometheus was down",
    )
    assert list(arrived.values()) == [0.125]


@pytest.mark.stack
def test_the_collector_says_how_much_waits_for_prometheus(
    start_collector: StartCollector, eventually: Callable[..., Any], unused_port: Callable[[], int], tmp_path: Path
) -> None:
    collector = start_collector(tmp_path, prometheus_url=f"http://127.0.0.1:{unused_port()}/api/v1/otlp/v1/metrics")
    spend(collector.metrics_url, dollars=1.0, instance="waits")
    capacity = eventually(
        lambda: collector.own_metric("otelcol_exporter_queue_capacity"), what="the collector's own metrics"
    )
    assert (capacity, collector.own_metric("otelcol_exporter_queue_size")) == (100_000, 1)
