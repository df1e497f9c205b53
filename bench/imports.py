"""What importing and starting us takes, on top of the OpenTelemetry that a host has anyway.

    python -m bench.imports [--quick]

Every figure is of a new process, whose modules are compiled already.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measuring import CELLS, compared, interleaved, rounds_of
from bench.tables import Table, program, progress

_TARGET = "< 30 ms"
_ROUNDS, _ROUNDS_WHOLE = 9, 5
_INSTRUMENTOR = "import opentelemetry.instrumentation.instrumentor"
_SDK = f"{_INSTRUMENTOR}, opentelemetry.sdk.metrics"
_START = "from realtime_spend import RealtimeInstrumentor; RealtimeInstrumentor().instrument()"
# What is on top of what; each is timed in the process itself.
_TIMED = {
    "import realtime_spend": (_INSTRUMENTOR, "import realtime_spend", _TARGET),
    "import realtime_spend.instrumentor": (_INSTRUMENTOR, "import realtime_spend.instrumentor", ""),
    "the same, and instrument()": (_INSTRUMENTOR, _START, ""),
    "the same, the SDK there already": (_SDK, _START, ""),
}


def measure(quick: bool) -> list[Table]:  # noqa: FBT001 - what every program of the bench is asked
    """Measure imports in processes of their own, and then whole programs."""
    table = Table(title="Start: ms", columns=["what", *CELLS, "target"])
    for what, (first, then, target) in _TIMED.items():
        progress(f"imports: {what}")
        pairs = [_in_a_process(first, then) for _ in range(rounds_of(quick=quick, rounds=_ROUNDS))]
        found = compared([(before, before + after) for before, after in pairs])
        table.rows.append([what, *found.cells(1), target])
    progress("imports: opentelemetry-instrument")
    with tempfile.TemporaryDirectory() as folder:
        program_file = Path(folder) / "nothing.py"
        program_file.write_text("", encoding="utf-8")
        whole = interleaved(
            lambda: _whole(program_file, disabled=True),
            lambda: _whole(program_file, disabled=False),
            rounds_of(quick=quick, rounds=_ROUNDS_WHOLE),
        )
    table.rows.append(["opentelemetry-instrument, an empty program, CPU", *whole.cells(1), ""])
    table.notes = [
        (
            "“bare” is the import of `opentelemetry.instrumentation.instrumentor` (in the fourth row of the SDK too), "
            "then what comes on top of it. The last row is the CPU time of whole processes, with "
            "`OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=openai_realtime` and without."
        ),
    ]
    return [table]


def _in_a_process(first: str, then: str) -> tuple[float, float]:
    """Return the milliseconds that both took, one after the other."""
    code = (
        f"import time; begun = time.process_time(); {first}; between = time.process_time(); {then}; "
        "print((between - begun) * 1e3, (time.process_time() - between) * 1e3)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - ourselves
    before, after = map(float, output.stdout.split())
    return before, after


def _whole(program_file: Path, *, disabled: bool) -> float:
    """Return the milliseconds of CPU that a program takes which does nothing."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "REALTIME_"))}
    environment |= {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    if disabled:
        environment["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"] = "openai_realtime"
    # It starts the `python` that stands first in PATH.
    folder = Path(sys.executable).parent
    environment["PATH"] = f"{folder}{os.pathsep}{environment.get('PATH', '')}"
    before = os.times()
    command: list[str | Path] = [folder / "opentelemetry-instrument", "python", program_file]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)  # noqa: S603 - ourselves
    after = os.times()
    return (after.children_user + after.children_system - before.children_user - before.children_system) * 1e3


if __name__ == "__main__":
    program(measure)
