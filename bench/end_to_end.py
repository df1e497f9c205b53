"""What watching adds to whole clients: the openai SDK and plain `websockets`, against a service on loopback.

    python -m bench.end_to_end [--quick]

Sessions with us and without follow each other in one process; the service runs in another and sends as fast as the
client takes.
"""

from __future__ import annotations

import asyncio
import tempfile
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from bench.measuring import CELLS, interleaved, rounds_of
from bench.sdk_sessions import CLIENTS, TURNS
from bench.session_events import SIZES
from bench.simulated import simulated
from bench.tables import Table, program, progress
from realtime_spend import RealtimeInstrumentor
from realtime_spend.observing import RUNNING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_DELTAS, _QUICK_DELTAS = 50, 10
_ROUNDS = 21
_PATIENCE = 60.0


def measure(quick: bool) -> list[Table]:  # noqa: FBT001 - what every program of the bench is asked
    """Measure both clients with audio deltas of several sizes."""
    deltas = _QUICK_DELTAS if quick else _DELTAS
    table = Table(
        title="End to end: µs of CPU an event, in the thread that holds the session", columns=["client", *CELLS]
    )
    for size in SIZES[:1] if quick else SIZES:
        with simulated(delta_bytes=size, deltas=deltas) as service:
            for name in ("openai", "websockets"):
                progress(f"end to end: {name}, {size // 1024} KB")
                cells = _measure(CLIENTS[name], service.url, rounds_of(quick=quick, rounds=_ROUNDS))
                table.rows.append([f"{_NAMES[name]}, audio deltas of {size // 1024} KB", *cells])
    table.notes = [
        (
            f"A session has {TURNS} answers with {deltas} audio deltas each and some twenty other events: all that "
            "we do for them, to the totals and the ledger, is in here."
        ),
    ]
    return [table]


_NAMES = {"openai": "openai SDK", "websockets": "websockets and json.loads"}


def _measure(hold: Callable[[str], Awaitable[float]], url: str, rounds: int) -> list[str]:
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    with tempfile.TemporaryDirectory() as ledger:

        def bare() -> float:
            return asyncio.run(_bounded(hold, url))

        def ours() -> float:
            RealtimeInstrumentor().instrument(meter_provider=provider, ledger=ledger)
            try:
                # As long as another session is open, nothing is sent in the background.
                other = RUNNING[-1](library="none", host="127.0.0.1", port=1, path="/v1/realtime", query="")
                assert other is not None  # noqa: S101 - it is the protocol's own path
                other.opened()
                return asyncio.run(_bounded(hold, url))
            finally:
                RealtimeInstrumentor().uninstrument()

        found = interleaved(bare, ours, rounds)
    provider.shutdown()
    return found.cells(1)


async def _bounded(hold: Callable[[str], Awaitable[float]], url: str) -> float:
    return await asyncio.wait_for(hold(url), _PATIENCE)


if __name__ == "__main__":
    program(measure)
