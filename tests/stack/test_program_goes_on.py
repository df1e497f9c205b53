"""Whatever is wrong with where the metrics go: the program ends as it would without us, and the log says it once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.stack.conftest import REPOSITORY, free_port, free_ports, running

from realtime_spend.estimates.ledger import read_ledger
from realtime_spend.simulator import RunningSimulator, SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.stack.conftest import Programs, StartPrometheus

PATIENCE = 90.0
STATUS = 7
NOTE = "said once, until no export has failed for a while; this program is not affected"
HTTP, GRPC = "http/protobuf", "grpc"
TOKEN = "the-right-one"  # noqa: S105 - of a collector that lives for this test
# An ordinary program that stays for a while after its session, while its metrics are exported again and again.
PROGRAM = f"""\
import runpy, sys, time
runpy.run_path({str(REPOSITORY / "examples" / "plain_websockets.py")!r}, run_name="__main__")
time.sleep(2)
print("done")
sys.exit({STATUS})
"""
LOUD = "import logging\nlogging.getLogger('opentelemetry.exporter.otlp.proto.http.metric_exporter').setLevel('DEBUG')\n"
CONFIGURATION = """\
extensions:
  health_check:
    endpoint: ${env:HEALTH}
  bearertokenauth:
    token: ${env:TOKEN}
receivers:
  otlp:
    protocols:
      http:
        endpoint: ${env:OTLP_HTTP}
        auth: {authenticator: bearertokenauth}
      grpc:
        endpoint: ${env:OTLP_GRPC}
        auth: {authenticator: bearertokenauth}
exporters:
  file:
    path: ${env:RECEIVED}
service:
  extensions: [health_check, bearertokenauth]
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics:
      receivers: [otlp]
      exporters: [file]
"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a program ended, and what was in its ledger and was really spent then."""

    status: int
    out: str
    err: str
    ledger: Decimal
    truth: Decimal


def started(
    program: str,
    ledger: Path,
    simulator: RunningSimulator,
    *,
    endpoint: str | None,
    protocol: str = HTTP,
    headers: str = "",
) -> subprocess.Popen[str]:
    """Start a program, under our instrumentation if there is an endpoint that its metrics go to."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "REALTIME_"))}
    instrument = () if endpoint is None else (str(Path(sys.executable).with_name("opentelemetry-instrument")),)
    return subprocess.Popen(
        [*instrument, sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **kept,
            "OPENAI_API_KEY": "any",
            "REALTIME_URL": f"ws://127.0.0.1:{simulator.port}/v1/realtime?model=gpt-realtime-mini",
            "NO_PROXY": "127.0.0.1,localhost",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint or "",
            "OTEL_EXPORTER_OTLP_HEADERS": headers,
            "REALTIME_SPEND_LEDGER": str(ledger),
        },
    )


def ended(process: subprocess.Popen[str], ledger: Path, simulator: RunningSimulator) -> Ended:
    with process:
        try:
            out, err = process.communicate("", PATIENCE)
        finally:
            process.kill()
    simulator.wait_idle()
    truth = sum((Decimal(total["cost"]) for total in simulator.truth.as_json()["totals"]), Decimal(0))
    entries = read_ledger(ledger).entries if ledger.exists() else []
    spent = sum((entry.cost for entry in entries if entry.cost is not None), Decimal(0))
    return Ended(status=process.returncode, out=out, err=err, ledger=spent, truth=truth)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ended]:
    """Run the program to its end, against a simulator that always does the same."""

    def go(program: str = PROGRAM, *, endpoint: str | None = None, protocol: str = HTTP, headers: str = "") -> Ended:
        with run_in_thread(SimulatorOptions(seed=41)) as simulator:
            process = started(
                program, tmp_path / "ledger", simulator, endpoint=endpoint, protocol=protocol, headers=headers
            )
            return ended(process, tmp_path / "ledger", simulator)

    return go


def is_as_without_us(run: Callable[..., Ended], told: Ended) -> None:
    alone = run()
    assert (alone.status, alone.err) == (STATUS, "")
    assert alone.out.endswith("done\n")
    assert (told.status, told.out) == (alone.status, alone.out), told.err
    assert told.ledger == told.truth > 0


def is_said_once(told: Ended, reason: str) -> None:
    lines = told.err.splitlines()
    assert len(lines) == 1, told.err
    assert NOTE in lines[0]
    assert re.search(reason, lines[0]), lines[0]


# --- Nobody is there --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "endpoint", "reason"),
    [
        (HTTP, "http://127.0.0.1:{port}", "Connection refused"),
        (GRPC, "http://127.0.0.1:{port}", "UNAVAILABLE"),
        (HTTP, "http://collector.invalid:{port}", "collector.invalid"),
        (HTTP, "127.0.0.1:{port}", "No connection adapters"),
    ],
    ids=["absent over HTTP", "absent over gRPC", "a name that is nobody's", "an address without http"],
)
def test_where_no_collector_listens_the_program_goes_on(
    run: Callable[..., Ended], protocol: str, endpoint: str, reason: str
) -> None:
    told = run(endpoint=endpoint.format(port=free_port()), protocol=protocol)
    is_said_once(told, reason)
    is_as_without_us(run, told)


# --- Somebody is there who does not take it ---------------------------------------------------------------------------


@pytest.mark.stack
def test_an_endpoint_that_is_no_collector_leaves_the_program_alone(
    run: Callable[..., Ended], start_prometheus: StartPrometheus, tmp_path: Path
) -> None:
    prometheus = start_prometheus(tmp_path)
    told = run(endpoint=f"http://127.0.0.1:{prometheus.port}")
    is_said_once(told, "404")
    is_as_without_us(run, told)


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A collector that asks for a token, and where it writes what it takes."""

    endpoints: dict[str, str]
    received: Path


@contextmanager
def guarded(programs: Programs, folder: Path, *, port: int | None = None) -> Iterator[Guarded]:
    config, received = folder / "with-token.yaml", folder / "received.json"
    config.write_text(CONFIGURATION, encoding="utf-8")
    http, grpc, health = free_ports(3)
    http = port or http
    environment = {
        "HEALTH": f"127.0.0.1:{health}",
        "OTLP_HTTP": f"127.0.0.1:{http}",
        "OTLP_GRPC": f"127.0.0.1:{grpc}",
        "TOKEN": TOKEN,
        "RECEIVED": str(received),
    }
    argv: list[str | Path] = [programs.otelcol, f"--config={config}"]
    with running(argv, log=folder / "collector.log", ready=(health, "/"), environment=environment):
        yield Guarded(endpoints={HTTP: f"http://127.0.0.1:{http}", GRPC: f"http://127.0.0.1:{grpc}"}, received=received)


@pytest.mark.stack
@pytest.mark.parametrize(("protocol", "reason"), [(HTTP, "401"), (GRPC, "UNAUTHENTICATED")])
def test_a_wrong_token_leaves_the_program_alone(
    programs: Programs, run: Callable[..., Ended], tmp_path: Path, protocol: str, reason: str
) -> None:
    with guarded(programs, tmp_path) as collector:
        endpoint = collector.endpoints[protocol]
        told = run(endpoint=endpoint, protocol=protocol, headers="authorization=Bearer%20a-wrong-one")
        assert collector.received.read_text() == ""
        well = run(endpoint=endpoint, protocol=protocol, headers=f"authorization=Bearer%20{TOKEN}")
    is_said_once(told, reason)
    is_as_without_us(run, told)
    assert well.err == ""
    assert "realtime_spend.cost" in collector.received.read_text()


@pytest.mark.stack
def test_who_wants_all_attempts_in_the_log_gets_them(
    programs: Programs, run: Callable[..., Ended], tmp_path: Path
) -> None:
    with guarded(programs, tmp_path) as collector:
        told = run(LOUD + PROGRAM, endpoint=collector.endpoints[HTTP])
    assert len(re.findall("401", told.err)) >= 2, told.err


@pytest.mark.stack
def test_a_collector_that_comes_later_gets_everything(
    programs: Programs, eventually: Callable[..., object], tmp_path: Path
) -> None:
    """Counters are cumulative: the next export that succeeds holds what all before it lost."""
    port, ledger = free_port(), tmp_path / "ledger"
    stays = PROGRAM.replace("time.sleep(2)", "print('talked', flush=True); sys.stdin.read()")
    with run_in_thread(SimulatorOptions(seed=41)) as simulator:
        process = started(
            stays, ledger, simulator, endpoint=f"http://127.0.0.1:{port}", headers=f"authorization=Bearer%20{TOKEN}"
        )
        assert process.stdout is not None
        assert process.stderr is not None
        assert "talked\n" in iter(process.stdout.readline, "")
        first = process.stderr.readline()
        with guarded(programs, tmp_path, port=port) as collector:
            eventually(lambda: spent_by(collector.received) or None, what="the metrics of the session")
            told = ended(process, ledger, simulator)
        assert told.ledger == told.truth > 0
        assert spent_by(collector.received) == pytest.approx(float(told.truth), rel=1e-9)
    assert told.status == STATUS
    is_said_once(replace(told, err=first + told.err), "Connection refused")


def spent_by(received: Path) -> float:
    """Return the newest sum of all costs that a collector has written down."""
    costs = [0.0]
    # The last line may still be in the making.
    for line in received.read_text(encoding="utf-8").splitlines(keepends=True):
        metrics = [
            metric
            for resource in (json.loads(line)["resourceMetrics"] if line.endswith("\n") else ())
            for scope in resource["scopeMetrics"]
            for metric in scope["metrics"]
        ]
        costs += [
            sum(float(point["asDouble"]) for point in metric["sum"]["dataPoints"])
            for metric in metrics
            if metric["name"] == "realtime_spend.cost"
        ]
    return costs[-1]


# --- A collector whose disk is full -----------------------------------------------------------------------------------


@contextmanager
def on_a_small_disk(
    programs: Programs, single_host: Path, folder: Path, prometheus_url: str
) -> Iterator[tuple[str, Path]]:
    """Run the collector with its queue on a disk of its own, which goes with it; give its endpoint and the disk."""
    disk = folder / "disk"
    disk.mkdir()
    grpc, http, health, metrics = free_ports(4)
    environment = {
        "COLLECTOR_OTLP_GRPC_ENDPOINT": f"127.0.0.1:{grpc}",
        "COLLECTOR_OTLP_HTTP_ENDPOINT": f"127.0.0.1:{http}",
        "COLLECTOR_HEALTH_ENDPOINT": f"127.0.0.1:{health}",
        "COLLECTOR_METRICS_PORT": str(metrics),
        "COLLECTOR_QUEUE_DIRECTORY": str(disk / "queue"),
        "PROMETHEUS_OTLP_METRICS_URL": prometheus_url,
    }
    script = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" --config="$3"'
    argv: list[str | Path] = ["unshare", "--mount", "sh", "-c", script, "sh", disk, programs.otelcol, single_host]
    with running(argv, log=folder / "collector.log", ready=(health, "/"), environment=environment) as process:
        yield f"http://127.0.0.1:{http}", Path(f"/proc/{process.pid}/root{disk}")


def fill(disk: Path) -> None:
    """Write until not one more byte fits."""
    with (disk / "in-the-way").open("wb", buffering=0) as file:
        for size in (65536, 512, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


@pytest.mark.stack
@pytest.mark.usefixtures("disk_can_be_mounted")
def test_a_collector_whose_disk_is_full_leaves_the_program_alone(
    programs: Programs, run: Callable[..., Ended], single_host: Path, tmp_path: Path
) -> None:
    with on_a_small_disk(programs, single_host, tmp_path, f"http://127.0.0.1:{free_port()}/nobody") as (url, place):
        assert f"tmpfs {tmp_path / 'disk'}" in Path(place.parts[0], *place.parts[1:3], "mounts").read_text()
        fill(place)
        told = run(endpoint=url)
    is_said_once(told, "Service Unavailable")
    is_as_without_us(run, told)
