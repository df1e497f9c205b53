"""The real collector with the configuration for a fleet, and programs that send to it as its header tells them to."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import trustme
import yaml
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExporter, MetricExportResult
from opentelemetry.sdk.resources import Resource
from tests.stack.conftest import free_ports, get, running

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stack.conftest import Programs, Prometheus, StartPrometheus

TOKEN = "a-token-of-the-fleet"  # noqa: S105 - made up here
PROTOCOLS = ("http/protobuf", "grpc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A running collector of the fleet's configuration."""

    process: subprocess.Popen[bytes]
    ports: dict[str, int]
    metrics_port: int
    log: Path

    def waiting(self) -> float:
        """How many requests wait for Prometheus, as the collector says of itself."""
        _, body = get(self.metrics_port, "/metrics")
        name = "otelcol_exporter_queue_size{"
        return sum(float(line.rsplit(" ", 1)[1]) for line in body.decode().splitlines() if line.startswith(name))


class StartGateway(Protocol):
    def __call__(self, folder: Path, *, prometheus_url: str, config: Path = ..., **environment: str) -> Gateway: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """A certificate for loopback, the authority that signed it, and one that did not."""

    authority: Path
    stranger: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="session")
def gateway_file(repository: Path) -> Path:
    return repository / "collector-config" / "gateway.yaml"


@pytest.fixture(scope="session")
def text(gateway_file: Path) -> str:
    return gateway_file.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def configuration(text: str) -> Any:
    return yaml.safe_load(text)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    made = Certificates(
        authority=folder / "authority.crt",
        stranger=folder / "stranger.crt",
        certificate=folder / "server.crt",
        key=folder / "server.key",
    )
    authority.cert_pem.write_to_path(str(made.authority))
    trustme.CA().cert_pem.write_to_path(str(made.stranger))
    issued.private_key_pem.write_to_path(str(made.key))
    for pem in issued.cert_chain_pems:
        pem.write_to_path(str(made.certificate), append=True)
    return made


@pytest.fixture(scope="module")
def start_gateway(
    programs: Programs, started: ExitStack, certificates: Certificates, gateway_file: Path
) -> StartGateway:
    def start(folder: Path, *, prometheus_url: str, config: Path = gateway_file, **environment: str) -> Gateway:
        grpc_port, http_port, health, metrics = free_ports(4)
        settings = {
            "COLLECTOR_TLS_CERT_FILE": str(certificates.certificate),
            "COLLECTOR_TLS_KEY_FILE": str(certificates.key),
            "COLLECTOR_OTLP_GRPC_ENDPOINT": f"127.0.0.1:{grpc_port}",
            "COLLECTOR_OTLP_HTTP_ENDPOINT": f"127.0.0.1:{http_port}",
            "COLLECTOR_HEALTH_ENDPOINT": f"127.0.0.1:{health}",
            "COLLECTOR_METRICS_PORT": str(metrics),
            "COLLECTOR_QUEUE_DIRECTORY": str(folder / "queue"),
            "PROMETHEUS_OTLP_METRICS_URL": prometheus_url,
        } | (environment or {"COLLECTOR_TOKEN": TOKEN})
        log = folder / "gateway.log"
        process = started.enter_context(
            running([programs.otelcol, f"--config={config}"], log=log, ready=(health, "/"), environment=settings)
        )
        ports = {"grpc": grpc_port, "http/protobuf": http_port}
        return Gateway(process=process, ports=ports, metrics_port=metrics, log=log)

    return start


@pytest.fixture(scope="module")
def prometheus(start_prometheus: StartPrometheus, tmp_path_factory: pytest.TempPathFactory) -> Prometheus:
    return start_prometheus(tmp_path_factory.mktemp("prometheus"))


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return start_gateway(tmp_path_factory.mktemp("gateway"), prometheus_url=prometheus.otlp_metrics_url)


class Program:
    """A program of the fleet: one counter, exported by the real exporter as the environment says."""

    def __init__(self, instance: str, exporter: MetricExporter) -> None:
        self._reader = InMemoryMetricReader()
        self._exporter = exporter
        resource = Resource({"service.name": "voice", "service.instance.id": instance})
        self._provider = MeterProvider([self._reader], resource=resource)
        self._cost = self._provider.get_meter("realtime_spend").create_counter("realtime_spend.cost", "USD")

    def spend(self, dollars: float, **attributes: str) -> None:
        self._cost.add(dollars, attributes)

    def export(self) -> MetricExportResult:
        data = self._reader.get_metrics_data()
        assert data is not None
        return self._exporter.export(data)

    def end(self) -> None:
        self._exporter.shutdown()
        self._provider.shutdown()


class MakeProgram(Protocol):
    def __call__(
        self,
        gateway: Gateway,
        *,
        instance: str,
        protocol: str = ...,
        scheme: str = ...,
        token: str | None = ...,
        authority: Path = ...,
        seconds: int = ...,
    ) -> Program: ...


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, certificates: Certificates, text: str) -> Iterator[MakeProgram]:
    """Makes a program that sets what the header of the file tells it to set, but for what the test says otherwise."""
    told = dict(re.findall(r"^#   (OTEL_EXPORTER_OTLP_\w+)=(\S+(?: \S+)*)", text, flags=re.MULTILINE))
    # The library below the HTTP exporter prefers these two to the certificate that the exporter was given.
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    assert set(told) == {f"OTEL_EXPORTER_OTLP_{name}" for name in ("PROTOCOL", "ENDPOINT", "HEADERS", "CERTIFICATE")}
    with ExitStack() as ends:

        def make(
            gateway: Gateway,
            *,
            instance: str,
            protocol: str = "http/protobuf",
            scheme: str = "https",
            token: str | None = TOKEN,
            authority: Path = certificates.authority,
            seconds: int = 30,
        ) -> Program:
            # An export that is to fail is tried again for so long.
            endpoint = f"{scheme}://127.0.0.1:{gateway.ports[protocol]}"
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(authority))
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", str(seconds))
            header = told["OTEL_EXPORTER_OTLP_HEADERS"]
            assert "<the token>" in header
            monkeypatch.setenv(
                "OTEL_EXPORTER_OTLP_HEADERS", "" if token is None else header.replace("<the token>", token)
            )
            exporter = GrpcExporter() if protocol == "grpc" else HttpExporter()
            made = Program(instance, exporter)
            ends.callback(made.end)
            return made

        yield make


def stored(prometheus: Prometheus, instance: str) -> list[float]:
    """What Prometheus holds of a program, a number a series."""
    return sorted(
        prometheus.query(f'last_over_time(realtime_spend_cost_USD_total{{instance="{instance}"}}[1h])').values()
    )
