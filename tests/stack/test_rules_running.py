"""The rules in a real Prometheus beside a real collector: processes that share an id, points that are turned away."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from grafana.names import label, series
from tests.stack.test_rules import ALERTS, COLLECTOR_METRICS, PAGES, PROMETHEUS, RULES, SCENARIOS, blocks

from realtime_spend.sinks import metrics as names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.stack.conftest import Collector, Prometheus, StartCollector, StartPrometheus

PROGRAM = SCENARIOS / "two_exports_a_second.py"
USAGES = series(names.USAGES)
USAGE = label(names.USAGE)
# How many responses the two processes of a service have before their first export, and each has ten more.
BEFORE = (0, 100)
# What makes a collector that has nothing to do turn points away: no memory, or a queue of one and nobody to send to.
NO_MEMORY = {"processors": {"memory_limiter": {"limit_mib": 1, "spike_limit_mib": 0, "limit_percentage": 0}}}
NO_QUEUE = {"exporters": {"otlp_http/prometheus": {"sending_queue": {"queue_size": 1, "block_on_overflow": False}}}}


@dataclass(frozen=True, kw_only=True)
class Running:
    """A Prometheus with our rules, which has seen processes that share an id and a collector that loses points."""

    prometheus: Prometheus
    collector: Collector

    def firing(self, alert: str) -> list[Mapping[str, str]]:
        found = self.prometheus.query(f'ALERTS{{alertname="{alert}", alertstate="firing"}}')
        return [dict(labels) for labels in found]


def post_a_point(collector: Collector) -> int:
    """Sends one point and takes the answer as it is, where an SDK would try again for a while."""
    point = {"asDouble": 1.0, "timeUnixNano": str(time.time_ns())}
    total = {"name": "some.total", "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [point]}}
    body = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [total]}]}]})
    connection = http.client.HTTPConnection("127.0.0.1", collector.otlp_http_port, timeout=30)
    try:
        connection.request("POST", "/v1/metrics", body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def in_a_hurry(folder: Path, ports: list[int]) -> str:
    """Our configuration with these collectors to scrape, and everything evaluated once a second."""
    rules = shutil.copytree(PROMETHEUS / "rules", folder / "rules")
    for path in rules.iterdir():
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"(interval|query_offset): \w+", r"\1: 1s", text), encoding="utf-8")
    text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
    targets = ", ".join(f"127.0.0.1:{port}" for port in ports)
    hurried = re.sub(r"_interval: \w+", "_interval: 1s", text).replace("127.0.0.1:8888", targets)
    assert hurried.count("_interval: 1s") == 2
    return hurried


def start_process(url: str, *, service: str, instance: str, before: int) -> subprocess.Popen[bytes]:
    attributes = f"service.name={service},service.instance.id={instance},deployment.environment.name=test"
    environment = os.environ | {"OTEL_RESOURCE_ATTRIBUTES": attributes}
    return subprocess.Popen([sys.executable, PROGRAM, url, f"call-{before}", str(before)], env=environment)


def run_two(url: str, *, service: str, instances: tuple[str, str]) -> list[subprocess.Popen[bytes]]:
    return [
        start_process(url, service=service, instance=instance, before=before)
        for instance, before in zip(instances, BEFORE, strict=True)
    ]


@pytest.fixture(scope="module")
def running(
    start_prometheus: StartPrometheus,
    start_collector: StartCollector,
    eventually: Callable[..., Any],
    unused_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Running:
    folder, other = tmp_path_factory.mktemp("rules"), tmp_path_factory.mktemp("losing")
    port = unused_port()
    collector = start_collector(folder, prometheus_url=f"http://127.0.0.1:{port}/api/v1/otlp/v1/metrics")
    losing = start_collector(other, prometheus_url=f"http://127.0.0.1:{port}/not/there")
    configuration = in_a_hurry(folder, [collector.metrics_port, losing.metrics_port])
    prometheus = start_prometheus(folder, port=port, configuration=configuration)
    processes = [
        *run_two(collector.metrics_url, service="shared", instances=("one", "one")),
        *run_two(collector.metrics_url, service="apart", instances=("one", "two")),
    ]
    try:
        assert post_a_point(losing) == http.HTTPStatus.OK
        assert [process.wait(60) for process in processes] == [0] * 4
    finally:
        for process in processes:
            process.kill()
            process.wait()
    counted = f'sum(last_over_time({USAGES}{{job="apart", {USAGE}="reported"}}[1h]))'
    eventually(
        lambda: list(prometheus.query(counted).values()) == [20 + sum(BEFORE)] or None, what="the last export to arrive"
    )
    return Running(prometheus=prometheus, collector=losing)


@pytest.mark.stack
def test_processes_that_share_an_id_are_told_and_others_are_not(
    running: Running, eventually: Callable[..., Any]
) -> None:
    alert = "RealtimeSpendInstanceIdShared"
    (firing,) = eventually(lambda: running.firing(alert) or None, what="the alert on processes that share an id")
    assert (firing["job"], firing["instance"], firing["severity"]) == ("shared", "one", "critical")


@pytest.mark.stack
def test_points_that_were_given_up_are_told_at_the_first_time(running: Running, eventually: Callable[..., Any]) -> None:
    (firing,) = eventually(
        lambda: running.firing("RealtimeSpendTelemetryLost") or None, what="the alert on lost points"
    )
    where = f"127.0.0.1:{running.collector.metrics_port}"
    assert (firing["instance"], firing["stage"]) == (where, "exporter_send_failed")


@pytest.mark.stack
def test_the_recorded_totals_are_what_the_processes_counted(running: Running, eventually: Callable[..., Any]) -> None:
    level = "job_environment_provider_account_model_kind_status_usage:realtime_spend_usages"
    expected = [20 + sum(BEFORE)]
    for window in ("1h", "1d"):
        query = f'sum({level}:exact{window}{{job="apart", {USAGE}="reported"}})'
        eventually(
            lambda query=query: list(running.prometheus.query(query).values()) == expected or None,
            what=f"{query} to be {expected}",
        )


@pytest.mark.stack
def test_every_rule_can_be_evaluated(running: Running, eventually: Callable[..., Any]) -> None:
    def all_evaluated() -> list[Any] | None:
        groups = running.prometheus.ask("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return None if any(rule["health"] == "unknown" for rule in rules) else rules

    rules = eventually(all_evaluated, what="every rule to be evaluated once")
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
    assert len(rules) == len(RULES)


@pytest.mark.stack
def test_nothing_else_fires(running: Running) -> None:
    expected = {"RealtimeSpendInstanceIdShared", "RealtimeSpendTelemetryLost"}
    assert {alert for alert in ALERTS if running.firing(alert)} <= expected


@pytest.mark.stack
def test_series_carry_the_attributes_that_are_promoted(running: Running) -> None:
    found = running.prometheus.query(f'last_over_time({USAGES}{{job="apart"}}[1h])')
    assert {dict(labels)["service_name"] for labels in found} == {"apart"}
    assert {dict(labels)["deployment_environment_name"] for labels in found} == {"test"}


@pytest.mark.stack
@pytest.mark.parametrize("page", PAGES)
def test_prometheus_can_read_the_queries_of_a_runbook(running: Running, page: str) -> None:
    for query in blocks(PAGES[page], "promql"):
        running.prometheus.query(query)


@pytest.mark.stack
def test_a_collector_has_the_metrics_that_the_rules_name(
    running: Running,
    start_collector: StartCollector,
    eventually: Callable[..., Any],
    unused_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    collectors = [running.collector]
    for number, override in enumerate((NO_MEMORY, NO_QUEUE)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "override.yaml").write_text(json.dumps(override), encoding="utf-8")
        nobody = f"http://127.0.0.1:{unused_port()}/api/v1/otlp/v1/metrics"
        collectors.append(start_collector(folder, prometheus_url=nobody, overrides=[folder / "override.yaml"]))

    def seen() -> set[str] | None:
        for collector in collectors[1:]:
            post_a_point(collector)
        found = {name for name in COLLECTOR_METRICS for one in collectors if one.own_metric(name) is not None}
        return found if found == COLLECTOR_METRICS else None

    eventually(seen, what=f"collectors that have {sorted(COLLECTOR_METRICS)}")
