"""Whatever is wrong with where the metrics go: the program ends as it would without us, and the log says it once."""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.stack.conftest import free_port, free_ports, running
from tests.stack.listening import MailServer, Silent, listening, way_to
from tests.stack.ordinary_program import (
    GRPC,
    HTTP,
    PROGRAM,
    STATUS,
    Ended,
    ended,
    is_as_without_us,
    is_said_once,
    run_to_the_end,
    started,
)

from realtime_spend.simulator import SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    import socketserver
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.stack.conftest import Programs, StartPrometheus

TOKEN = "the-right-one"  # noqa: S105 - of a collector that lives for this test
# Longer than a name may be: it is found to be nobody's without asking anybody for it, so that nothing leaves loopback.
NOBODY = ".".join(["a-collector-that-nobody-has"] * 10)
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


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ended]:
    return partial(run_to_the_end, tmp_path / "ledger")


# --- Nobody is there --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "endpoint", "reason"),
    [
        (HTTP, "http://127.0.0.1:{port}", "Connection refused"),
        (GRPC, "http://127.0.0.1:{port}", "UNAVAILABLE"),
        (HTTP, f"http://{NOBODY}:{{port}}", NOBODY),
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
@pytest.mark.parametrize(("protocol", "reason"), [(HTTP, "404"), (GRPC, "UNAVAILABLE")])
def test_an_endpoint_that_is_no_collector_leaves_the_program_alone(
    run: Callable[..., Ended], start_prometheus: StartPrometheus, tmp_path: Path, protocol: str, reason: str
) -> None:
    prometheus = start_prometheus(tmp_path)
    told = run(endpoint=f"http://127.0.0.1:{prometheus.port}", protocol=protocol)
    is_said_once(told, reason)
    is_as_without_us(run, told)


@pytest.mark.parametrize(
    ("protocol", "handler", "reason"),
    [
        (HTTP, MailServer, "220 mail.example.com"),
        (GRPC, MailServer, "UNAVAILABLE"),
        (HTTP, Silent, "timeout|timed out"),
        (GRPC, Silent, "DEADLINE_EXCEEDED"),
    ],
    ids=["mail over HTTP", "mail over gRPC", "silence over HTTP", "silence over gRPC"],
)
def test_a_port_that_speaks_something_else_leaves_the_program_alone(
    run: Callable[..., Ended], protocol: str, handler: type[socketserver.BaseRequestHandler], reason: str
) -> None:
    with listening(handler) as port:
        # Not so long as is usual, but long enough for a second attempt.
        told = run(endpoint=f"http://127.0.0.1:{port}", protocol=protocol, timeout="3")
    is_said_once(told, reason)
    is_as_without_us(run, told)


@pytest.mark.stack
@pytest.mark.parametrize("protocol", [HTTP, GRPC])
def test_the_port_of_the_other_protocol_leaves_the_program_alone(
    programs: Programs, run: Callable[..., Ended], tmp_path: Path, protocol: str
) -> None:
    with guarded(programs, tmp_path) as collector:
        (other,) = collector.endpoints.keys() - {protocol}
        told = run(endpoint=collector.endpoints[other], protocol=protocol, timeout="3")
        assert collector.received.read_text() == ""
    is_said_once(told, "Transient error|Failed to export")
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


@pytest.mark.stack
def test_a_collector_that_comes_back_while_the_program_ends_gets_everything(programs: Programs, tmp_path: Path) -> None:
    """The last export is tried for some seconds, and nobody cuts that short: there is none after it."""
    port, ledger = free_port(), tmp_path / "ledger"
    program = PROGRAM.replace('print("done")', 'print("done", flush=True)')
    with guarded(programs, tmp_path) as collector, run_in_thread(SimulatorOptions(seed=41)) as simulator:
        process = started(
            program, ledger, simulator, endpoint=f"http://127.0.0.1:{port}", headers=f"authorization=Bearer%20{TOKEN}"
        )
        assert process.stdout is not None
        assert "done\n" in iter(process.stdout.readline, "")
        # About as long as another one takes to come up in its place; that it really takes might be too long here.
        time.sleep(2.5)
        with listening(way_to(int(collector.endpoints[HTTP].rpartition(":")[2])), port=port):
            told = ended(process, ledger, simulator)
    assert spent_by(collector.received) == pytest.approx(float(told.truth), rel=1e-9)
    assert (told.status, told.ledger) == (STATUS, told.truth)
    is_said_once(told, "Connection refused")


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
