"""The real collector and Prometheus, started with the command lines, settings and files of compose.yaml."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from tests.stack.compose.reading import SERVICES, on_this_side
from tests.stack.conftest import PATIENCE_SECONDS, Prometheus, free_port, free_ports, running, wait_for

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from tests.stack.conftest import Programs

pytestmark = pytest.mark.stack


def command(name: str, folder: Path) -> list[str]:
    """The command line of a service, with the paths of this side and a folder for what it keeps."""
    translated = []
    for argument in SERVICES[name]["command"]:
        option, _, value = argument.partition("=")
        if option in {"--config", "--config.file"}:
            value = str(on_this_side(name, value))
        elif option == "--storage.tsdb.path":
            value = str(folder / "prometheus")
        translated.append(f"{option}={value}" if value else option)
    return translated


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("as-mounted")


@pytest.fixture(scope="module")
def prometheus(programs: Programs, started: ExitStack, folder: Path) -> Prometheus:
    port = free_port()
    argv: list[str | Path] = [
        programs.prometheus,
        *command("prometheus", folder),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = folder / "prometheus.log"
    process = started.enter_context(running(argv, log=log, ready=(port, "/-/ready"), environment={}))
    return Prometheus(port=port, process=process)


@pytest.fixture(scope="module")
def otlp_port(programs: Programs, started: ExitStack, folder: Path, prometheus: Prometheus) -> int:
    """Where the collector listens, once it does."""
    ports = dict(zip(("4317", "4318", "13133", "8888"), free_ports(4), strict=True))
    environment = {"COLLECTOR_METRICS_PORT": str(ports["8888"])}
    for name, value in SERVICES["collector"]["environment"].items():
        port = value.rpartition(":")[2]
        environment[name] = f"127.0.0.1:{ports[port]}" if port in ports else value
    environment["COLLECTOR_METRICS_HOST"] = "127.0.0.1"
    environment["COLLECTOR_QUEUE_DIRECTORY"] = str(folder / "queue")
    url = environment["PROMETHEUS_OTLP_METRICS_URL"]
    assert "//prometheus:9090/" in url
    environment["PROMETHEUS_OTLP_METRICS_URL"] = url.replace("//prometheus:9090/", f"//127.0.0.1:{prometheus.port}/")
    argv: list[str | Path] = [programs.otelcol, *command("collector", folder)]
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


def test_prometheus_looks_for_its_neighbours_under_their_names(prometheus: Prometheus) -> None:
    assert {"collector", "alertmanager"} <= set(SERVICES)
    targets = wait_for(lambda: prometheus.ask("targets")["activeTargets"] or None, what="the targets")
    assert [(one["labels"]["job"], one["scrapeUrl"]) for one in targets] == [
        ("otelcol", "http://collector:8888/metrics")
    ]
    alertmanagers = wait_for(lambda: prometheus.ask("alertmanagers")["activeAlertmanagers"] or None, what="them")
    assert [one["url"] for one in alertmanagers] == ["http://alertmanager:9093/api/v2/alerts"]


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
