"""Collector, Prometheus and Alertmanager, started with the command lines, settings and files of compose.yaml.

But for the names of the neighbours: only the network of the containers knows these, and no test asks another network
for them. What listens instead is on loopback, under ports of its own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from tests.stack.alerting import running_alertmanager
from tests.stack.compose.reading import REPOSITORY, SERVICES, command_line, flag, on_this_side
from tests.stack.conftest import PATIENCE_SECONDS, Prometheus, free_port, free_ports, get, running, wait_for

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from tests.stack.conftest import Programs

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("as-mounted")


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """The ports of this side, by those of the containers that speak to each other."""
    return dict(zip(("4317", "4318", "13133", "8888", "9093"), free_ports(5), strict=True))


def on_loopback(folder: Path, ports: dict[str, int]) -> Path:
    """The configuration of Prometheus, beside its rules as it is mounted, with its neighbours on loopback."""
    mounted = on_this_side("prometheus", flag("prometheus", "--config.file"))
    assert mounted.parent.parent == REPOSITORY / "prometheus"
    shutil.copytree(mounted.parent.parent / "rules", folder / "rules")
    names = "|".join(SERVICES)
    text, number = re.subn(
        rf"\b(?:{names}):(\d+)\b", lambda found: f"127.0.0.1:{ports[found[1]]}", mounted.read_text(encoding="utf-8")
    )
    assert number == len(["the collector", "Alertmanager"])
    (file := folder / mounted.parent.name / mounted.name).parent.mkdir()
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def prometheus(programs: Programs, started: ExitStack, folder: Path, ports: dict[str, int]) -> Prometheus:
    port = free_port()
    argv: list[str | Path] = [
        programs.prometheus,
        *command_line("prometheus", folder, config=on_loopback(folder, ports)),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = folder / "prometheus.log"
    process = started.enter_context(running(argv, log=log, ready=(port, "/-/ready"), environment={}))
    return Prometheus(port=port, process=process)


@pytest.fixture(scope="module")
def otlp_port(
    programs: Programs, started: ExitStack, folder: Path, prometheus: Prometheus, ports: dict[str, int]
) -> int:
    """Where the collector listens, once it does."""
    environment = {"COLLECTOR_METRICS_PORT": str(ports["8888"])}
    for name, value in SERVICES["collector"]["environment"].items():
        port = value.rpartition(":")[2]
        environment[name] = f"127.0.0.1:{ports[port]}" if port in ports else value
    environment["COLLECTOR_METRICS_HOST"] = "127.0.0.1"
    environment["COLLECTOR_QUEUE_DIRECTORY"] = str(folder / "queue")
    url = environment["PROMETHEUS_OTLP_METRICS_URL"]
    assert "//prometheus:9090/" in url
    environment["PROMETHEUS_OTLP_METRICS_URL"] = url.replace("//prometheus:9090/", f"//127.0.0.1:{prometheus.port}/")
    argv: list[str | Path] = [programs.otelcol, *command_line("collector", folder)]
    ready = (ports["13133"], "/")
    started.enter_context(running(argv, log=folder / "collector.log", ready=ready, environment=environment))
    return ports["4318"]


def test_money_goes_through_both(prometheus: Prometheus, otlp_port: int) -> None:
    exporter = OTLPMetricExporter(endpoint=f"http://127.0.0.1:{otlp_port}/v1/metrics")
    resource = Resource({"service.name": "voice", "service.instance.id": "in-compose"})
    provider = MeterProvider([PeriodicExportingMetricReader(exporter)], resource=resource)
    provider.get_meter("realtime_spend").create_counter("realtime_spend.cost", "USD").add(0.375)
    provider.shutdown()
    query = "last_over_time(realtime_spend_cost_USD_total[10m])"
    arrived = wait_for(lambda: prometheus.query(query) or None, what="the money")
    assert [(dict(labels)["instance"], value) for labels, value in arrived.items()] == [("in-compose", 0.375)]


@pytest.mark.usefixtures("otlp_port")
def test_prometheus_finds_its_neighbours(
    programs: Programs, prometheus: Prometheus, ports: dict[str, int], folder: Path
) -> None:
    with running_alertmanager(programs, folder, port=ports["9093"]):
        alertmanagers = wait_for(lambda: prometheus.ask("alertmanagers")["activeAlertmanagers"] or None, what="them")
        health = SERVICES["alertmanager"]["healthcheck"]["test"][-1]
        assert get(ports["9093"], health.partition(":9093")[2])[0] == 200
    assert [one["url"] for one in alertmanagers] == [f"http://127.0.0.1:{ports['9093']}/api/v2/alerts"]
    # As often as the shipped file says, which is seldom: so it is asked, not waited for.
    targets = wait_for(lambda: prometheus.ask("targets")["activeTargets"] or None, what="the targets")
    assert [(one["labels"]["job"], one["scrapeUrl"]) for one in targets] == [
        ("otelcol", f"http://127.0.0.1:{ports['8888']}/metrics")
    ]
    status, body = get(ports["8888"], "/metrics")
    assert (status, b"otelcol_exporter_queue_size{" in body) == (200, True)


def test_prometheus_holds_the_rules_and_the_retention(prometheus: Prometheus) -> None:
    groups = prometheus.ask("rules")["groups"]
    assert {rule["name"] for group in groups for rule in group["rules"]} >= {"RealtimeSpendBudgetBurnFast"}
    flags = prometheus.ask("status/flags")
    assert (flags["storage.tsdb.retention.time"], flags["web.enable-otlp-receiver"]) == ("400d", "true")


def test_the_health_check_of_prometheus_tells_a_ready_one_from_none(programs: Programs, prometheus: Prometheus) -> None:
    _, program, *arguments = SERVICES["prometheus"]["healthcheck"]["test"]
    assert program == "promtool"

    def ended(port: int) -> int:
        asked = [argument.replace(":9090", f":{port}") for argument in arguments]
        return subprocess.run(
            [programs.promtool, *asked], check=False, capture_output=True, timeout=PATIENCE_SECONDS
        ).returncode

    assert ended(prometheus.port) == 0
    assert ended(free_port()) != 0
