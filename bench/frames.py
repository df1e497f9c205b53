"""What watching a socket adds to each frame: the hooked method against the bare one, for every library.

    python -m bench.frames [--quick]

No network: each method is given frames from memory. What stands in "bare" is the one method, and not all that the
library does for a frame; so what counts is what was added, and not the ratio.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from bench import session_events as events
from bench.libraries import Aiohttp, Aiortc, HttpxWs, LegacyWebsockets, QuietServer, WebsocketClient, Websockets
from bench.measuring import CELLS, calls_of, interleaved, rounds_of
from bench.session_events import SIZES, Order
from bench.tables import Table, program, progress
from realtime_spend import RealtimeInstrumentor

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.libraries import Library

_TARGET = "≤ 1 µs"


def measure(quick: bool) -> list[Table]:  # noqa: FBT001 - what every program of the bench is asked
    """Measure every library, and `websockets` with other frames as well."""
    table = Table(title="A frame: µs that its hooked method takes", columns=["library and frame", *CELLS, "target"])
    quiet = QuietServer()
    try:
        for name, make in _libraries(quiet).items():
            progress(f"frames: {name}")
            _measure_library(table, name, make, quick=quick)
    finally:
        quiet.close()
    table.notes = [
        (
            "Medians of interleaved rounds, a round being a batch of calls; “added” is the median of the differences "
            "within rounds."
        ),
        "`websocket-client` with `skip_utf8_validation`; without it 40 KB take it milliseconds.",
    ]
    return [table]


def _libraries(quiet: QuietServer) -> dict[str, Callable[[], Library]]:
    return {
        "websockets": Websockets,
        "websockets (legacy)": lambda: LegacyWebsockets(quiet),
        "aiohttp": lambda: Aiohttp(quiet),
        "websocket-client": lambda: WebsocketClient(quiet),
        "httpx-ws": HttpxWs,
        "aiortc": Aiortc,
    }


def _measure_library(table: Table, name: str, make: Callable[[], Library], *, quick: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        bare, watched = make(), None
        provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
        RealtimeInstrumentor().instrument(meter_provider=provider)
        try:
            watched = make()
            for frame, what in _frames(name):
                _begin_response(watched, frame)
                table.rows.append([f"{name}: {what}", *_measure(bare, watched, frame, quick=quick), _target(what)])
        finally:
            for library in (bare, watched):
                if library is not None:
                    library.close()
            RealtimeInstrumentor().uninstrument()
            provider.shutdown()


def _frames(name: str) -> list[tuple[bytes, str]]:
    found = [(events.delta(size), f"audio delta, {size // 1024} KB") for size in SIZES]
    if name == "websockets":
        found += [
            (events.delta(SIZES[1], order), f"audio delta, {SIZES[1] // 1024} KB, {order}")
            for order in (Order.EVENT_ID_FIRST, Order.TYPE_LAST)
        ]
        found += [
            (events.text_delta(), "text delta of a response without audio"),
            (events.rate_limits(), "rate_limits.updated"),
        ]
    return found


def _target(what: str) -> str:
    return _TARGET if what.startswith("audio delta") else ""


def _begin_response(watched: Library, frame: bytes) -> None:
    """Bring the session to where deltas come: a response is begun, and the first of its deltas has come."""
    modality = "text" if frame == events.text_delta() else "audio"
    for event in (events.session_created(), events.response_created(0, modality), frame):
        watched.take(event, 1)


def _measure(bare: Library, watched: Library, frame: bytes, *, quick: bool) -> list[str]:
    calls = calls_of(bare.take(frame, 5))
    rounds = rounds_of(quick=quick)
    return interleaved(lambda: bare.take(frame, calls), lambda: watched.take(frame, calls), rounds).cells()


if __name__ == "__main__":
    program(measure)
