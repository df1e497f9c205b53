"""What an open session keeps in memory: a thousand of them, with and without us, in processes of their own.

    python -m bench.memory [--quick]

The sessions are connections of `websockets` whose handshake is over and which have heard what a session hears: what
begins it, a few responses with their deltas, transcriptions. No network is needed for that.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from bench import session_events as events
from bench.libraries import Websockets
from bench.tables import Table, program, progress
from realtime_spend import RealtimeInstrumentor

_SESSIONS, _QUICK_SESSIONS, _RESPONSES, _DELTAS = 1_000, 50, 2, 2


def measure(quick: bool) -> list[Table]:  # noqa: FBT001 - what every program of the bench is asked
    """Measure processes that hold sessions, by turns with us and without."""
    table = Table(title="An open session: KB of memory", columns=["by", "bare", "with us", "added"])
    sessions = _QUICK_SESSIONS if quick else _SESSIONS
    for by, unit in (("tracemalloc", "traced"), ("resident set", "resident")):
        progress(f"memory: {by}")
        bare, with_us = (_in_a_process(sessions, unit, ours=ours) for ours in (False, True))
        table.rows.append([by, f"{bare:.1f}", f"{with_us:.1f}", f"{with_us - bare:+.1f}"])
    table.notes = [
        (
            f"{sessions:,} sessions, {_RESPONSES} responses in each. What was counted is remembered for all sessions "
            "together, so that nothing is counted twice: at most 16,384 usages."
        ),
    ]
    return [table]


def _in_a_process(sessions: int, unit: str, *, ours: bool) -> float:
    """Return the kilobytes of one session."""
    command = [sys.executable, "-m", "bench.memory", "--hold", str(sessions), "--unit", unit]
    command += ["--ours"] if ours else []
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)  # noqa: S603 - ourselves
    return float(json.loads(done.stdout))


def _hold(sessions: int, unit: str, *, ours: bool) -> float:
    """Hold so many sessions; return the kilobytes that each of them takes."""
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    if ours:
        RealtimeInstrumentor().instrument(meter_provider=provider)
    # What the first sessions of a process load and fill is not theirs alone.
    held = [_session(number) for number in range(10)]
    if unit == "traced":
        tracemalloc.start()
    before = _kilobytes(unit)
    held += [_session(number) for number in range(10, 10 + sessions)]
    return (_kilobytes(unit) - before) / sessions


def _kilobytes(unit: str) -> float:
    gc.collect()
    if unit == "traced":
        return tracemalloc.get_traced_memory()[0] / 1024
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return float(next(line for line in status if line.startswith("VmRSS")).split()[1])


def _session(number: int) -> Any:
    session, first = Websockets(), number * _RESPONSES
    session.take(events.session_created().replace(b"sess_1", b"sess_%d" % number), 1)
    for response in range(first, first + _RESPONSES):
        session.take(events.response_created(response), 1)
        session.take(events.delta(events.SIZES[0]).replace(b"resp_0", b"resp_%d" % response), _DELTAS)
        session.take(events.response_done(response), 1)
        session.take(events.committed(response), 1)
        session.take(events.transcribed(response), 1)
    return session


def _main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--hold", type=int)
    parser.add_argument("--unit", default="traced")
    parser.add_argument("--ours", action="store_true")
    arguments, _ = parser.parse_known_args()
    if arguments.hold is None:
        program(measure)
    else:
        print(_hold(arguments.hold, arguments.unit, ours=arguments.ours))


if __name__ == "__main__":
    _main()
