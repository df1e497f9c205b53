"""An ordinary program with a session of its own, run to its end with and without us, and what the two must share."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from tests.stack.conftest import REPOSITORY

from realtime_spend.estimates.ledger import read_ledger
from realtime_spend.simulator import RunningSimulator, SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 90.0
STATUS = 7
NOTE = "said once, until no export has failed for a while; this program is not affected"
HTTP, GRPC = "http/protobuf", "grpc"
# An ordinary program that stays for a while after its session, while its metrics are exported again and again.
PROGRAM = f"""\
import runpy, sys, time
runpy.run_path({str(REPOSITORY / "examples" / "plain_websockets.py")!r}, run_name="__main__")
time.sleep(2)
print("done")
sys.exit({STATUS})
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
    timeout: str = "",
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
            # Empty, the exporter would not begin.
            **({"OTEL_EXPORTER_OTLP_TIMEOUT": timeout} if timeout else {}),
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


def run_to_the_end(
    ledger: Path,
    program: str = PROGRAM,
    *,
    endpoint: str | None = None,
    protocol: str = HTTP,
    headers: str = "",
    timeout: str = "",
) -> Ended:
    """Run the program to its end, against a simulator that always does the same."""
    with run_in_thread(SimulatorOptions(seed=41)) as simulator:
        process = started(
            program, ledger, simulator, endpoint=endpoint, protocol=protocol, headers=headers, timeout=timeout
        )
        return ended(process, ledger, simulator)


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
