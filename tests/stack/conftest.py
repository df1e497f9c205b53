"""Starts the real collector and Prometheus on free loopback ports, and stops by pid whatever a test has started."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlencode

import pytest
from tests.lacking import lacking
from tests.stack.filling.fleet import fleet, run_all, simulator_options
from tests.stack.filling.recording import RECORDER, play, read_recording

from realtime_spend.simulator import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.stack.filling.recording import Recorded, Replay

REPOSITORY = Path(__file__).resolve().parents[2]

# Longer than a collector rests at the most before it tries again (30 s and half of that by chance), for a machine whose
# cores are busy elsewhere; short enough that a hang is noticed.
PATIENCE_SECONDS = 60.0

# The system gives none of these to a client, or to a server that asks for any: between the choice of one and the start
# of the program that it is for, nobody comes by it. Each is tried once, in an order of this run's own.
_UNTRIED = iter(SystemRandom().sample(range(20_000, 32_000), 12_000))

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
    alertmanager: Path
    amtool: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """A running Prometheus, asked through its HTTP API."""

    port: int
    process: subprocess.Popen[bytes]

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

    def stop(self) -> None:
        """Ends it in good order; another one may be started on its port and its folder."""
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)


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

    def own_metric(self, name: str, *, of: str = "") -> float | None:
        """The sum of a metric that the collector keeps about itself, or nothing while it has none."""
        _, body = get(self.metrics_port, "/metrics")
        lines = [line for line in body.decode().splitlines() if line.startswith(name + "{") and of in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines) if lines else None

    def stop(self) -> None:
        """Ends it in good order."""
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """Ends it as a power cut would, without a chance to save anything."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lived:
    """What came of the fleet: in Prometheus, in the ledgers, and as the simulated service knows it."""

    prometheus: Prometheus
    ledgers: Path
    recorded: Mapping[str, Recorded]
    truth: Mapping[str, Any]
    begin: float
    end: float


class StartPrometheus(Protocol):
    def __call__(self, folder: Path, *, port: int | None = None, configuration: str = ...) -> Prometheus: ...


class StartCollector(Protocol):
    def __call__(
        self,
        folder: Path,
        *,
        prometheus_url: str,
        config: Path = ...,
        overrides: Sequence[Path] = ...,
        port: int | None = ...,
    ) -> Collector: ...


class PrometheusWith(Protocol):
    def __call__(self, replays: Sequence[Replay], folder: Path) -> Prometheus: ...


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(number: int) -> list[int]:
    """Ports that are free and were given to nobody before, who may not have come to listen on them yet."""
    return list(islice(filter(_is_free, _UNTRIED), number))


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def wait_for(probe: Callable[[], T | None], *, what: str) -> T:
    """Asks until there is an answer; fails in words when none came in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (answer := probe()) is None:
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE_SECONDS:.0f} s in vain for {what}")
        time.sleep(0.1)
    return answer


def wait_until_handed_on(collector: Collector) -> None:
    """Waits until Prometheus has answered for every point that the collector took in since it was started."""

    def points(name: str, *, of: str = "") -> float:
        return collector.own_metric(f"otelcol_{name}_metric_points", of=of) or 0

    def handed_on() -> bool | None:
        exporter = 'exporter="otlp_http/prometheus"'
        answered = points("exporter_sent", of=exporter) + points("exporter_send_failed", of=exporter)
        return True if points("receiver_accepted") == answered else None

    wait_for(handed_on, what="the collector to hand on what it has")


def wait_until_queue_is_empty(collector: Collector) -> None:
    """Waits until nothing waits for Prometheus any more, neither of this collector's nor of an earlier one's."""

    def is_empty() -> bool | None:
        waiting = [collector.own_metric(f"otelcol_exporter_{name}") for name in ("queue_size", "in_flight_requests")]
        return True if waiting == [0, 0] else None

    wait_for(is_empty, what="the queue of the collector to empty")


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
        lacking(f"{', '.join(absent)} not found: run make stack")
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
    return starting_prometheus(programs, started)


@pytest.fixture(scope="module")
def start_collector(programs: Programs, started: ExitStack, single_host: Path) -> StartCollector:
    """Starts a collector whose queue is kept in the folder, so that a second one in it goes on with the first one's."""
    return starting_collector(programs, started, single_host)


@pytest.fixture(scope="module")
def prometheus_with(start_prometheus: StartPrometheus, start_collector: StartCollector) -> PrometheusWith:
    """Sends replays through a collector to a Prometheus, and keeps their ledger in the folder."""

    def start(replays: Sequence[Replay], folder: Path) -> Prometheus:
        prometheus = start_prometheus(folder)
        collector = start_collector(folder, prometheus_url=prometheus.otlp_metrics_url)
        play(replays, port=collector.otlp_http_port, ledger=folder / "ledger")
        wait_until_handed_on(collector)
        return prometheus

    return start


def starting_prometheus(programs: Programs, started: ExitStack) -> StartPrometheus:
    """Returns what starts a Prometheus that runs until the stack is closed."""

    def start(folder: Path, *, port: int | None = None, configuration: str = PROMETHEUS_CONFIGURATION) -> Prometheus:
        port = port or free_port()
        file = folder / "prometheus.yml"
        file.write_text(configuration)
        argv: list[str | Path] = [
            programs.prometheus,
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-otlp-receiver",
        ]
        process = started.enter_context(
            running(argv, log=folder / "prometheus.log", ready=(port, "/-/ready"), environment={})
        )
        return Prometheus(port=port, process=process)

    return start


def starting_collector(programs: Programs, started: ExitStack, single_host: Path) -> StartCollector:
    """Returns what starts a collector that runs until the stack is closed."""

    def start(
        folder: Path,
        *,
        prometheus_url: str,
        config: Path = single_host,
        overrides: Sequence[Path] = (),
        port: int | None = None,
    ) -> Collector:
        grpc, otlp_http, health, metrics = free_ports(4)
        otlp_http = port or otlp_http
        environment = {
            "COLLECTOR_OTLP_GRPC_ENDPOINT": f"127.0.0.1:{grpc}",
            "COLLECTOR_OTLP_HTTP_ENDPOINT": f"127.0.0.1:{otlp_http}",
            "COLLECTOR_HEALTH_ENDPOINT": f"127.0.0.1:{health}",
            "COLLECTOR_METRICS_PORT": str(metrics),
            "COLLECTOR_QUEUE_DIRECTORY": str(folder / "queue"),
            "PROMETHEUS_OTLP_METRICS_URL": prometheus_url,
        }
        log = folder / "collector.log"
        argv: list[str | Path] = [programs.otelcol, *(f"--config={file}" for file in (config, *overrides))]
        process = started.enter_context(running(argv, log=log, ready=(health, "/"), environment=environment))
        return Collector(process=process, otlp_http_port=otlp_http, health_port=health, metrics_port=metrics, log=log)

    return start


@pytest.fixture(scope="session")
def lived(programs: Programs, single_host: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    """The fleet, run once for all tests: real programs to a real collector, which records, to a real Prometheus."""
    folder = tmp_path_factory.mktemp("fleet")
    ledgers, recording, recorder = folder / "ledgers", folder / "recording.jsonl", folder / "recorder.yaml"
    recorder.write_text(RECORDER.format(path=recording))
    with ExitStack() as started, run_in_thread(simulator_options()) as simulator:
        prometheus = starting_prometheus(programs, started)(folder)
        collector = starting_collector(programs, started, single_host)(
            folder, prometheus_url=prometheus.otlp_metrics_url, overrides=[recorder]
        )
        begin = time.time()
        endpoint = f"http://127.0.0.1:{collector.otlp_http_port}"
        run_all(fleet(simulator.url), ledgers=ledgers, otlp_endpoint=endpoint)
        simulator.wait_idle()
        wait_until_handed_on(collector)
        collector.stop()
        yield Lived(
            prometheus=prometheus,
            ledgers=ledgers,
            recorded=read_recording(recording, ledgers),
            truth=simulator.truth.as_json(),
            begin=begin,
            end=time.time(),
        )
