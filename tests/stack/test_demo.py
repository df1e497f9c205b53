"""The demo's unchanged programs, through the real collector into the real Prometheus."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.stack.conftest import wait_until_handed_on

from realtime_spend.estimates.ledger import read_ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.stack.conftest import Programs, StartCollector, StartPrometheus

# A demo is three programs, a bill and two servers, one after the other; a busy machine took 90 seconds for it.
pytestmark = pytest.mark.timeout(300)
PATIENCE_SECONDS = 240

_COST = "sum by (realtime_spend_model, realtime_spend_component) (last_over_time(realtime_spend_cost_USD_total[1h]))"
_ACTIVE = "sum(last_over_time(realtime_spend_session_active[1h]))"


@pytest.mark.stack
def test_what_prometheus_holds_of_the_demo_is_what_its_ledger_says(
    start_prometheus: StartPrometheus, start_collector: StartCollector, tmp_path: Path
) -> None:
    prometheus = start_prometheus(tmp_path)
    collector = start_collector(tmp_path, prometheus_url=prometheus.otlp_metrics_url)
    ledger = tmp_path / "ledger"
    demo = subprocess.run(
        [Path(sys.executable).with_name("realtime-spend"), "demo", "--ledger", ledger],
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.otlp_http_port}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "truth and ledger agree" in demo.stdout
    wanted: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for entry in read_ledger(ledger).entries:
        for part, cost in entry.costs.items():
            assert cost is not None
            wanted[str(entry.model), part.partition(".")[2]] += cost

    def spent() -> dict[tuple[str, str], float]:
        found = {
            tuple(value for _, value in sorted(labels)): value for labels, value in prometheus.query(_COST).items()
        }
        return {(model, component): value for (component, model), value in found.items() if value}

    wait_until_handed_on(collector)
    assert spent() == {key: pytest.approx(float(cost), rel=1e-9) for key, cost in wanted.items()}
    assert prometheus.query(_ACTIVE) == {frozenset(): 0}


# --- With what `make stack` has obtained ------------------------------------------------------------------------------

_DEMO = Path(sys.executable).with_name("realtime-spend")


def _environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return {**kept, "TMPDIR": str(tmp_path), "COLUMNS": "160"}


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _children(process: int) -> list[int]:
    """The programs that a process has started and that are still there."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
            if int(fields["PPid"]) == process:
                found.append(int(fields["Pid"]))
    return found


@pytest.mark.stack
@pytest.mark.usefixtures("programs")
def test_promql_totals_stand_beside_the_ledgers_and_agree(tmp_path: Path) -> None:
    demo = subprocess.run(
        [_DEMO, "demo"],
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout
    assert re.search(r"sent +ledger +PromQL +USD sent +ledger +PromQL", demo.stdout)
    lines = re.findall(
        r"\.(?:input|cached_input|output|duration) +(\S+) +(\S+) +(\S+) +(\S+) +(\S+) +(\S+) +ok", demo.stdout
    )
    assert len(lines) == 22
    assert all(sent == ledger == promql for sent, ledger, promql, *_ in lines)
    assert all(sent == ledger == promql for *_, sent, ledger, promql in lines)
    assert "truth, ledger and PromQL agree for all 22 components" in demo.stdout
    assert "make stack" not in demo.stdout
    [folder] = tmp_path.glob("realtime-spend-demo-*")
    # The ledger is what stays; the two programs are gone, and with them what they wrote.
    assert {path.suffix for path in folder.iterdir()} == {".jsonl"}
    [port] = re.findall(r"OTLP to http://127\.0\.0\.1:(\d+)", demo.stdout)
    assert not _listening(int(port))


@pytest.mark.stack
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_no_program_behind(
    programs: Programs, eventually: Callable[..., Any], tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [_DEMO, "demo"],
        env=_environment(tmp_path) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        until = next(line for line in demo.stdout if line.startswith("$ opentelemetry-instrument"))
        assert "openai_sdk.py" in until
        started = [
            process
            for process in _children(demo.pid)
            if _program(process) in (programs.otelcol.resolve(), programs.prometheus.resolve())
        ]
        assert len(started) == 2
        demo.send_signal(number)
        rest = demo.stdout.read()
    assert demo.returncode == 128 + number, rest
    assert "Traceback" not in rest
    assert "what was recorded until then is in" in rest or not list(tmp_path.glob("realtime-spend-demo-*"))
    for process in started:
        eventually(lambda process=process: not Path(f"/proc/{process}").exists() or None, what=f"{process} to end")
    assert not list(tmp_path.glob("realtime-spend-demo-*/stack-*"))


def _program(process: int) -> Path | None:
    with suppress(OSError):
        return Path(f"/proc/{process}/exe").readlink()
    return None
