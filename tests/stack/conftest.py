"""Starts the real collector and Prometheus on free loopback ports, and stops by pid whatever a test has started."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlencode

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

REPOSITORY = Path(__file__).resolve().parents[2]

# Long enough for a machine whose cores are busy elsewhere, short enough that a hang is noticed.
PATIENCE_SECONDS = 30.0

PROMETHEUS_CONFIGURATION = """\
storage:
  tsdb:
    out_of_order_time_window: 7d
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Where the real programs are."""

    otelcol: Path
    prometheus: Path
    promtool: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """A running Prometheus, asked through its HTTP API."""

    port: int

    @property
    def otlp_metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1/otlp/v1/metrics"

    def ask(self, path: str, **parameters: str | float) -> Any:
        status, body = get(self.port, f"/api/v1/{path}?{urlencode(parameters)}")
        answer = json.loads(body)
        assert status == http.HTTPStatus.OK, answer
        return answer["data"]

    def query(self, expr: str, *, at: float | None = None) -> dict[frozenset[tuple[str, str]], float]:
        """The value of each series of an instant vector, by its labels."""
        result = self.ask("query", query=expr, time=time.time() if at is None else at)["result"]
        return {frozenset(one["metric"].items()): float(one["value"][1]) for one in result}


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """A running collector."""

    process: subprocess.Popen[bytes]
    otlp_http_port: int
    health_port: int
    metrics_port: int
    log: Path

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.otlp_http_port}/v1/metrics"

    def own_metric(self, name: str) -> float | None:
        """The sum of a metric that the collector keeps about itself, or nothing while it has none."""
        _, body = get(self.metrics_port, "/metrics")
        values = [float(line.rsplit(" ", 1)[1]) for line in body.decode().splitlines() if line.startswith(name + "{")]
        return sum(values) if values else None

    def kill(self) -> None:
        """Ends it as a power cut would, without a chance to save anything."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)


class StartPrometheus(Protocol):
    def __call__(self, folder: Path, *, port: int | None = None) -> Prometheus: ...


class StartCollector(Protocol):
    def __call__(self, folder: Path, *, prometheus_url: str, config: Path = ...) -> Collector: ...


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(probe: Callable[[], T | None], *, what: str) -> T:
    """Asks until there is an answer; fails in words when none came in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (answer := probe()) is None:
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE_SECONDS:.0f} s in vain for {what}")
        time.sleep(0.1)
    return answer


@contextmanager
def running(
    argv: Sequence[str | Path], *, log: Path, ready: tuple[int, str], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program from the moment when it says that it is ready until the end of the block."""

    def is_ready() -> bool | None:
        if process.poll() is not None:
            pytest.fail(f"{argv[0]} ended with status {process.returncode}:\n{log.read_text()[-4000:]}")
        try:
            status, _ = get(*ready)
        except (OSError, http.client.HTTPException):
            return None
        return True if status == http.HTTPStatus.OK else None

    with log.open("ab") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ | environment
        )
    try:
        wait_for(is_ready, what=f"{argv[0]} to be ready; its log is {log}")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS / 3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(PATIENCE_SECONDS)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def single_host() -> Path:
    return REPOSITORY / "collector-config" / "single-host.yaml"


@pytest.fixture(scope="session")
def programs() -> Programs:
    """The programs that `make stack` obtains; without them a test is skipped, but in CI it fails."""
    where = subprocess.run(
        [shutil.which("bash") or "/bin/bash", REPOSITORY / "tests" / "stack" / "obtain.sh", "--where"],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    paths = dict(line.split("=", 1) for line in where.stdout.splitlines())
    absent = sorted(name for name, path in paths.items() if not path)
    if absent:
        reason = f"{', '.join(absent)} not found: run make stack"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return Programs(**{name: Path(path) for name, path in paths.items()})


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    return wait_for


@pytest.fixture(scope="session")
def unused_port() -> Callable[[], int]:
    return free_port


@pytest.fixture(scope="module")
def started() -> Iterator[ExitStack]:
    """What a module's tests have started, stopped in the opposite order after the last of them."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def start_prometheus(programs: Programs, started: ExitStack) -> StartPrometheus:
    def start(folder: Path, *, port: int | None = None) -> Prometheus:
        port = port or free_port()
        configuration = folder / "prometheus.yml"
        configuration.write_text(PROMETHEUS_CONFIGURATION)
        argv: list[str | Path] = [
            programs.prometheus,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-otlp-receiver",
        ]
        started.enter_context(running(argv, log=folder / "prometheus.log", ready=(port, "/-/ready"), environment={}))
        return Prometheus(port=port)

    return start


@pytest.fixture(scope="module")
def start_collector(programs: Programs, started: ExitStack, single_host: Path) -> StartCollector:
    """Starts a collector whose queue is kept in the folder, so that a second one in it goes on with the first one's."""

    def start(folder: Path, *, prometheus_url: str, config: Path = single_host) -> Collector:
        grpc, otlp_http, health, metrics = (free_port() for _ in range(4))
        environment = {
            "COLLECTOR_OTLP_GRPC_ENDPOINT": f"127.0.0.1:{grpc}",
            "COLLECTOR_OTLP_HTTP_ENDPOINT": f"127.0.0.1:{otlp_http}",
            "COLLECTOR_HEALTH_ENDPOINT": f"127.0.0.1:{health}",
            "COLLECTOR_METRICS_PORT": str(metrics),
            "COLLECTOR_QUEUE_DIRECTORY": str(folder / "queue"),
            "PROMETHEUS_OTLP_METRICS_URL": prometheus_url,
        }
        log = folder / "collector.log"
        process = started.enter_context(
            running([programs.otelcol, f"--config={config}"], log=log, ready=(health, "/"), environment=environment)
        )
        return Collector(process=process, otlp_http_port=otlp_http, health_port=health, metrics_port=metrics, log=log)

    return start
