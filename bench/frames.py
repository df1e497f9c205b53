"""What watching a socket costs, as ratios: the hooked method against the bare one, in interleaved rounds.

    make bench

The machine is noisy, so nothing here is asserted: rounds alternate between the two, and medians are printed.
"""

from __future__ import annotations

import base64
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from rich.console import Console
from rich.table import Table
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from realtime_spend import RealtimeInstrumentor
from realtime_spend.core.endpoints import recognise
from realtime_spend.instrumentor import RUNNING
from realtime_spend.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 41
FRAMES = 400
URL = "ws://127.0.0.1/v1/realtime?model=gpt-realtime"
SIZES = (1_024, 8_192, 40_960)
# The usage of the README: one that people were billed half of what they had worked out for.
_FILE = Path(__file__).resolve().parents[1] / "examples" / "usage.json"
USAGE = json.loads(_FILE.read_text(encoding="utf-8"))["usage"]


def delta(size: int) -> bytes:
    """Return an audio delta of about `size` bytes, with its keys in the order of the service."""
    event = {"type": "response.output_audio.delta", "event_id": "event_1", "response_id": "resp_1", "delta": ""}
    event["delta"] = base64.b64encode(bytes(size)).decode()[: size - len(json.dumps(event))]
    return json.dumps(event, separators=(",", ":")).encode()


def usage_event(number: int) -> bytes:
    """Return a `response.done` that was not seen before."""
    response = {"id": f"resp_{number}", "status": "completed", "usage": USAGE}
    return json.dumps({"type": "response.done", "response": response}).encode()


def protocol() -> Any:
    """Return a client protocol whose handshake is over, so that frames can be fed to it without a socket."""
    made = ClientProtocol(parse_uri(URL))
    made.state = OPEN
    made.events = [Response(101, "Switching Protocols", made.connect().headers)]
    made.events_received()
    return made


def per_call(work: Callable[[], object], times: int = FRAMES) -> float:
    """Return the microseconds of one call of `work`, averaged over `times`."""
    begun = time.perf_counter_ns()
    for _ in range(times):
        work()
    return (time.perf_counter_ns() - begun) / times / 1000


def interleaved(
    bare: Callable[[], object], ours: Callable[[], object], between: Callable[[], object] = lambda: None
) -> tuple[float, float]:
    """Return the medians of both, measured by turns. `between` rounds happens what another thread does in a host."""
    rounds = []
    for _ in range(ROUNDS):
        rounds.append((per_call(bare), per_call(ours)))
        between()
    return statistics.median(pair[0] for pair in rounds), statistics.median(pair[1] for pair in rounds)


def frames(table: Table) -> None:
    """Measure what the hook adds to `events_received` for audio deltas of several sizes."""
    bare = protocol()
    RealtimeInstrumentor().instrument(meter_provider=MeterProvider([InMemoryMetricReader()]))
    watched = protocol()
    for size in SIZES:
        frame = Frame(Opcode.TEXT, delta(size))

        def feed(target: Any, frame: Frame = frame) -> None:
            target.events = [frame]
            target.events_received()

        without, with_us = interleaved(lambda feed=feed: feed(bare), lambda feed=feed: feed(watched))  # type: ignore[misc]  # bound now, not later
        table.add_row(
            f"audio delta, {size // 1024} KB", f"{without:.2f}", f"{with_us:.2f}", f"+{with_us - without:.2f}"
        )


def usages(table: Table) -> None:
    """Measure a usage event through to totals and ledger, beside merely parsing its JSON."""
    with tempfile.TemporaryDirectory() as folder:
        RealtimeInstrumentor().uninstrument()
        reader = InMemoryMetricReader()
        RealtimeInstrumentor().instrument(meter_provider=MeterProvider([reader]), ledger=folder)
        endpoint = recognise("api.openai.com", 443, "/v1/realtime", "model=gpt-realtime")
        assert endpoint is not None  # noqa: S101 - it is the protocol's own URL
        watcher = Watcher(RUNNING[0].metering, endpoint, {})
        watcher.opened()
        watcher.frame(b'{"type":"session.created","session":{"id":"sess_1","model":"gpt-realtime"}}')
        events = iter([usage_event(number) for number in range(ROUNDS * FRAMES)])
        parse = usage_event(0)
        without, with_us = interleaved(lambda: json.loads(parse), lambda: watcher.frame(next(events)), reader.collect)
        table.add_row(
            "usage event to ledger (bare: parsing it)", f"{without:.2f}", f"{with_us:.2f}", f"+{with_us - without:.2f}"
        )


def imports(table: Table) -> None:
    """Measure what importing us takes, on top of the OpenTelemetry API that a host has anyway."""

    def run(module: str) -> float:
        begin = "import opentelemetry.instrumentation.instrumentor, time; begun = time.perf_counter(); "
        code = f"{begin}import {module}; print(time.perf_counter() - begun)"
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - ourselves
        return float(output.stdout) * 1e6

    rounds = [(run("email"), run("realtime_spend")) for _ in range(ROUNDS // 4)]
    without, with_us = (statistics.median(pair[side] for pair in rounds) for side in (0, 1))
    table.add_row(
        "import realtime_spend (bare: import email)", f"{without:.0f}", f"{with_us:.0f}", f"+{with_us - without:.0f}"
    )


def main() -> None:
    """Print the table."""
    table = Table(title=f"µs a call, medians of {ROUNDS} interleaved rounds", box=None)
    for heading in ("what", "bare", "with us", "added"):
        table.add_column(heading, justify="left" if heading == "what" else "right", no_wrap=True)
    for measure in (frames, usages, imports):
        measure(table)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
