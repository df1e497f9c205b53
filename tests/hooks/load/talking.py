"""Holds many metered sessions with one client library, and says what was counted and what they left behind.

Its argument is a JSON object: `client`, the folder of the `ledger`, a file for the metrics, `points`, and the `plans`.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import gc
import json
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from realtime_spend import RealtimeInstrumentor
from realtime_spend.core import session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

PATIENCE = 300.0
# G.711, as telephones speak: eight bytes a millisecond.
TELEPHONE = {"type": "audio/pcmu"}
SILENCE = b"\xff" * 8


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A number of sessions, so many of them at once."""

    url: str
    sessions: int
    at_once: int
    turns: int
    speech_ms: int = 0
    """How long the user speaks in a turn; with 0 a response is asked for without it, and beside the conversation."""
    transcription: str = "gpt-4o-transcribe"
    leaves_early: bool = False
    """Whether the client goes when a last response has begun."""


def conversation(plan: Plan) -> Iterator[tuple[dict[str, Any], str]]:
    """Say what a client sends, and which event it then waits for."""
    if plan.speech_ms:
        yield from spoken_turns(plan)
    else:
        for _ in range(plan.turns):
            yield {"type": "response.create", "response": {"conversation": "none"}}, "rate_limits.updated"
    if plan.leaves_early:
        yield {"type": "response.create"}, "response.created"


def spoken_turns(plan: Plan) -> Iterator[tuple[dict[str, Any], str]]:
    """Speak, and have it transcribed and answered."""
    sound = base64.b64encode(SILENCE * plan.speech_ms).decode()
    heard = {"format": TELEPHONE, "transcription": {"model": plan.transcription}}
    yield {"type": "session.update", "session": {"type": "realtime", "audio": {"input": heard}}}, "session.updated"
    for _ in range(plan.turns):
        yield {"type": "input_audio_buffer.append", "audio": sound}, "response.done"
        # What the server still had to say after that has come when it answers this.
        yield {"type": "input_audio_buffer.clear"}, "input_audio_buffer.cleared"


# --- Clients ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def through_websockets(url: str) -> AsyncIterator[Any]:
    from websockets.asyncio.client import connect  # noqa: PLC0415 - a program knows its one library alone

    async with connect(url, proxy=None, compression=None) as socket:
        yield socket.send, socket.recv


@asynccontextmanager
async def through_aiohttp(url: str) -> AsyncIterator[Any]:
    from aiohttp import ClientSession  # noqa: PLC0415 - as above

    async with ClientSession() as session, session.ws_connect(url) as socket:
        yield socket.send_str, socket.receive_str


@contextmanager
def through_websockets_in_threads(url: str) -> Iterator[Any]:
    from websockets.sync.client import connect  # noqa: PLC0415 - as above

    with connect(url, proxy=None, compression=None) as socket:
        yield socket.send, lambda: socket.recv(PATIENCE)


@contextmanager
def through_websocket_client(url: str) -> Iterator[Any]:
    from websocket import create_connection  # noqa: PLC0415 - as above

    socket = create_connection(url, timeout=PATIENCE)
    try:
        yield socket.send, socket.recv
    finally:
        socket.close()


ASYNC = {"websockets": through_websockets, "aiohttp": through_aiohttp}
IN_THREADS = {
    "websockets in threads": through_websockets_in_threads,
    "websocket-client": through_websocket_client,
}


async def talk(plan: Plan, connect: Any, everybody_is_here: Callable[[], Awaitable[Any]]) -> None:
    async with connect(plan.url) as (send, receive):
        await everybody_is_here()
        for event, awaited in conversation(plan):
            await send(json.dumps(event))
            while json.loads(await receive())["type"] != awaited:
                pass


def talk_in_a_thread(plan: Plan, connect: Any, everybody_is_here: Callable[[], Any]) -> None:
    with connect(plan.url) as (send, receive):
        everybody_is_here()
        for event, awaited in conversation(plan):
            send(json.dumps(event))
            while json.loads(receive())["type"] != awaited:
                pass


# --- What is counted and what is left --------------------------------------------------------------------------------


class Scales:
    """The metrics of this process, and what it holds apart from them."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.most_open = 0
        self.weights: list[dict[str, Any]] = []

    def metrics(self) -> Any:
        """Return what a collection finds, as JSON has it."""
        data = self.reader.get_metrics_data()
        found = {"resource_metrics": []} if data is None else json.loads(data.to_json())
        scopes = [scope for resource in found["resource_metrics"] for scope in resource["scope_metrics"]]
        return [metric for scope in scopes for metric in scope["metrics"]]

    def count_open(self) -> None:
        """Note how many sessions are open now, as the metrics have it."""
        data: Any = self.reader.get_metrics_data()
        [scope] = data.resource_metrics[0].scope_metrics
        [active] = [one for one in scope.metrics if one.name == "realtime_spend.session.active"]
        self.most_open = max(self.most_open, sum(point.value for point in active.data.data_points))

    def weigh(self, tasks: int = 0) -> None:
        """Note what there is in this process when nothing goes on."""
        settle()
        # As exporters do all the time: what was measured waits for it.
        self.reader.get_metrics_data()
        gc.collect()
        gc.collect()
        ours = Counter(
            type(one).__qualname__ for one in gc.get_objects() if str(type(one).__module__).startswith("realtime_spend")
        )
        self.weights.append(
            {
                "objects": dict(sorted(ours.items())),
                "blocks": sys.getallocatedblocks(),
                "large": in_large_blocks(),
                "tasks": tasks,
                "threads": sorted(thread.name for thread in threading.enumerate()),
                "descriptors": len(list(Path("/proc/self/fd").iterdir())),
            }
        )


class _Mallinfo(ctypes.Structure):
    """What glibc has handed out, by the kind of it: `mallinfo2(3)`."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in ["arena", "ordblks", "smblks", "hblks", "hblkhd"])
    _fields_ += tuple((name, ctypes.c_size_t) for name in ["usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"])


def in_large_blocks() -> int:
    """Return the bytes in blocks too large for the interpreter's own allocator, which `getallocatedblocks` leaves out.

    That of glibc says what is in use. The memory of the process would say what was, in holes kept for later.
    """
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo
    found = mallinfo2()
    return int(found.uordblks + found.hblkhd)


def settle() -> None:
    """Wait for the thread that flushes when the last session is closed."""
    ends = time.monotonic() + PATIENCE
    while any(thread.name == "realtime-spend-flush" for thread in threading.enumerate()):
        if time.monotonic() > ends:
            raise TimeoutError("the thread that flushes does not end")
        time.sleep(0.05)


async def hold(client: str, plans: list[Plan], scales: Scales) -> None:
    """Hold the sessions on an event loop."""

    async def everybody_is_here() -> None:
        if await gate.wait() == 0:
            scales.count_open()
        await gate.wait()

    for plan in plans:
        for _ in range(plan.sessions // plan.at_once):
            gate = asyncio.Barrier(plan.at_once)
            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
                for _ in range(plan.at_once):
                    group.create_task(talk(plan, ASYNC[client], everybody_is_here))
        scales.weigh(tasks=len(asyncio.all_tasks()) - 1)


def hold_in_threads(client: str, plans: list[Plan], scales: Scales) -> None:
    """Hold the sessions, each in a thread of its own."""

    def everybody_is_here() -> None:
        if gate.wait(PATIENCE) == 0:
            scales.count_open()
        gate.wait(PATIENCE)

    for plan in plans:
        for _ in range(plan.sessions // plan.at_once):
            gate = threading.Barrier(plan.at_once)
            with ThreadPoolExecutor(plan.at_once) as pool:
                arguments = (plan, IN_THREADS[client], everybody_is_here)
                talks = [pool.submit(talk_in_a_thread, *arguments) for _ in range(plan.at_once)]
            for one in talks:
                one.result()
        scales.weigh()


def main() -> None:
    """Hold the sessions and write down the outcome."""
    order = json.loads(sys.argv[1])
    plans = [Plan(**plan) for plan in order["plans"]]
    # The ids of the last usages are remembered to know repetitions. That many are reached only after an hour of this.
    session._MOST_USAGES_REMEMBERED = 1_000
    scales = Scales()
    provider = MeterProvider(metric_readers=[scales.reader], shutdown_on_exit=False)
    RealtimeInstrumentor().instrument(meter_provider=provider, ledger=order["ledger"])
    scales.weigh()
    if order["client"] in ASYNC:
        asyncio.run(hold(order["client"], plans, scales))
    else:
        hold_in_threads(order["client"], plans, scales)
    RealtimeInstrumentor().uninstrument()
    scales.weigh()
    Path(order["points"]).write_text(json.dumps(scales.metrics()), encoding="utf-8")
    sys.stdout.write(json.dumps({"most_open": scales.most_open, "weights": scales.weights}))


if __name__ == "__main__":
    main()
