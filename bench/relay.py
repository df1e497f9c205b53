"""What relaying costs: directly, through our relay, through the plainest one with aiohttp, and through LiteLLM's proxy.

    python -m bench.relay [--quick] (REALTIME_SPEND_BENCH_WITHOUT=litellm leaves that out)

All of them carry the same frames between the same two ends, by turns. What a relay takes is the CPU time of its own
process, all threads together, whoever else is on the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.litellm import CannotStartError, litellm_proxy
from bench.tables import Table, program, progress
from realtime_spend.relay.frame_walk import header_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence

_ROOT = Path(__file__).resolve().parents[1]
SIZES = (1_024, 8_192, 40_960)
_ROUNDS, _QUICK_ROUNDS = 11, 2
_FRAMES, _QUICK_FRAMES = 6_000, 500
_TRIPS, _QUICK_TRIPS = 500, 50
_SESSIONS, _QUICK_SESSIONS = 100, 10
_PATIENCE = 60.0
_OURS = "from realtime_spend.relay_command import relay; relay()"
DIRECT, OURS, PLAIN, LITELLM = "direct", "realtime-spend relay", "aiohttp pass-through", "LiteLLM proxy"


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way from the client to the source, and the process in between."""

    name: str
    url: str
    process: int | None
    key: str = "sk-bench"


@dataclass(frozen=True, kw_only=True)
class Took:
    """What some frames took: seconds by the clock, and of the relay's CPU."""

    seconds: float
    cpu: float


def measure(quick: bool) -> list[Table]:  # noqa: FBT001 - what every program of the bench is asked
    """Measure every way with every size."""
    with ExitStack() as stack:
        ways, missing = _ways(stack)
        streams, trips = _rounds(ways, quick=quick)
        memory = {way.name: _memory(way, quick=quick) for way in ways if way.process is not None}
    notes = [f"{LITELLM}: {missing}"] if missing else []
    return [*_tables(ways, streams, trips, notes), _memory_table(memory)]


# --- What is measured -------------------------------------------------------------------------------------------------


def _ways(stack: ExitStack) -> tuple[list[Way], str]:
    source = stack.enter_context(_started("-m", "bench.relay_peers", "source"))[1]
    plain = stack.enter_context(_started("-m", "bench.relay_peers", "aiohttp", "--upstream", source))
    ledger = stack.enter_context(tempfile.TemporaryDirectory())
    ours = stack.enter_context(_started("-c", _OURS, "--port", "0", "--openai", source, ledger=ledger))
    ways = [
        Way(name=DIRECT, url=source, process=None),
        Way(name=OURS, url=ours[1], process=ours[0]),
        Way(name=PLAIN, url=plain[1], process=plain[0]),
    ]
    if os.environ.get("REALTIME_SPEND_BENCH_WITHOUT") == "litellm":
        return ways, "left out"
    try:
        process, url, key = stack.enter_context(litellm_proxy(source))
    except CannotStartError as error:
        return ways, str(error)
    return [*ways, Way(name=LITELLM, url=url, process=process, key=key)], ""


def _rounds(
    ways: Sequence[Way], *, quick: bool
) -> tuple[dict[tuple[str, int], list[Took]], dict[tuple[str, int], list[Took]]]:
    streams: dict[tuple[str, int], list[Took]] = defaultdict(list)
    trips: dict[tuple[str, int], list[Took]] = defaultdict(list)
    for size in SIZES:
        progress(f"relay: {size // 1024} KB")
        for number in range((_QUICK_ROUNDS if quick else _ROUNDS) + 1):
            # Each round begins with another one, and the first warms up.
            for way in [*ways[number % len(ways) :], *ways[: number % len(ways)]]:
                stream, trip = asyncio.run(_round(way, size, quick=quick))
                if number:
                    streams[way.name, size].append(stream)
                    trips[way.name, size].append(trip)
    return streams, trips


async def _round(way: Way, size: int, *, quick: bool) -> tuple[Took, Took]:
    frames, trips = (_QUICK_FRAMES, _QUICK_TRIPS) if quick else (_FRAMES, _TRIPS)
    # What a slow relay takes in one round must not take all day.
    frames = max(frames * SIZES[0] // size, 200) if way.name == LITELLM else frames
    async with asyncio.timeout(_PATIENCE):
        session = await Session.open(way)
        try:
            stream = await _timed(way, session.ask(size, frames), frames)
            trip = await _timed(way, _trips(session, size, trips), trips)
        finally:
            await session.close()
    return stream, trip


async def _trips(session: Session, size: int, count: int) -> None:
    for _ in range(count):
        await session.ask(size, 1)


async def _timed(way: Way, work: Awaitable[None], count: int) -> Took:
    cpu, begun = _cpu(way.process), time.perf_counter()
    await work
    return Took(seconds=(time.perf_counter() - begun) / count, cpu=(_cpu(way.process) - cpu) / count)


def _memory(way: Way, *, quick: bool) -> float:
    """Return the KB that an open session keeps in the relay."""
    count = _QUICK_SESSIONS if quick else _SESSIONS

    async def hold() -> float:
        # The first ones make what all share.
        first = [await Session.open(way) for _ in range(5)]
        before = _resident(way.process)
        sessions = [await Session.open(way) for _ in range(count)]
        for session in sessions:
            await session.ask(SIZES[1], 1)
        after = _resident(way.process)
        for session in [*first, *sessions]:
            await session.close()
        return (after - before) / count

    return asyncio.run(hold())


# --- A client ---------------------------------------------------------------------------------------------------------


class Session:
    """A client that counts the frames it gets, and does nothing else with them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._left = b""

    @classmethod
    async def open(cls, way: Way) -> Session:
        """Shake hands, and wait for the first event."""
        host, port = way.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
        lines = ["GET /v1/realtime?model=gpt-realtime HTTP/1.1", f"Host: {host}:{port}", "Connection: Upgrade"]
        lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        lines += [f"Authorization: Bearer {way.key}", "", ""]
        writer.write("\r\n".join(lines).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head:
            raise RuntimeError(f"{way.name}: {head.decode()}")
        session = cls(reader, writer)
        await session._frames(1)
        return session

    async def ask(self, size: int, count: int) -> None:
        """Ask for frames, and wait until they are here."""
        said = f'{{"type":"bench","ask":" frames {size} {count} "}}'.encode()
        # A mask of nothing: it is the relay that is measured.
        self._writer.write(bytes((0x81, 0x80 | len(said))) + bytes(4) + said)
        await self._frames(count)

    async def _frames(self, count: int) -> None:
        data, position = self._left, 0
        while True:
            found = header_at(data, position)
            while found is not None and position + (length := found[2] - position + found[3]) <= len(data):
                position += length
                count -= found[0] & 0x0F < 8  # noqa: PLR2004 - pings do not count
                if not count:
                    self._left = data[position:]
                    return
                found = header_at(data, position)
            more = await self._reader.read(1 << 18)
            if not more:
                raise RuntimeError("the connection has ended")
            data, position = data[position:] + more, 0

    async def close(self) -> None:
        """Leave."""
        self._writer.write(b"\x88\x82" + bytes(4) + b"\x03\xe8")
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                while await self._reader.read(1 << 18):
                    pass
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


# --- Processes --------------------------------------------------------------------------------------------------------


@contextmanager
def _started(*arguments: str, ledger: str | None = None) -> Iterator[tuple[int, str]]:
    """Run a program of ours; yield its process id and the URL that it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "REALTIME_"))}
    if ledger is not None:
        environment["REALTIME_SPEND_LEDGER"] = ledger
    process = subprocess.Popen(  # noqa: S603 - ours
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True, cwd=_ROOT, env=environment
    )
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"{arguments} does not start")
        yield process.pid, url
    finally:
        process.terminate()
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _cpu(process: int | None) -> float:
    """Return the seconds of CPU that a process has taken, all its threads."""
    if process is None:
        return 0.0
    tasks = Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _resident(process: int | None) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


# --- What is said -----------------------------------------------------------------------------------------------------


def _tables(
    ways: Sequence[Way],
    streams: dict[tuple[str, int], list[Took]],
    trips: dict[tuple[str, int], list[Took]],
    notes: list[str],
) -> list[Table]:
    stream = Table(
        title="Relaying a stream: frames that go as fast as they are taken",
        columns=["frames, and the way they go", "frames/s", "µs of CPU a frame", "of aiohttp's", "of LiteLLM's"],
        notes=[*notes, "One frame in a hundred carries usage, which our relay prices and writes into a ledger."],
    )
    trip = Table(
        title="Relaying one frame at a time: a short one there, one of that size back",
        columns=["frame, and the way it goes", "µs", "added µs", "µs of CPU", "of aiohttp's"],
        notes=["What is added, and each ratio, is the median of those within rounds."],
    )
    for size in SIZES:
        for way in ways:
            name, took = f"{size // 1024} KB: {way.name}", streams[way.name, size]
            rate, cpu = statistics.median(1 / one.seconds for one in took), statistics.median(one.cpu for one in took)
            ratios = [_ratio(took, streams.get((peer, size), [])) for peer in (PLAIN, LITELLM)]
            stream.rows.append([name, f"{rate:,.0f}", f"{cpu * 1e6:.1f}", *ratios])
            took, direct = trips[way.name, size], trips[DIRECT, size]
            taken, cpu = statistics.median(one.seconds for one in took), statistics.median(one.cpu for one in took)
            added = statistics.median(one.seconds - bare.seconds for one, bare in zip(took, direct, strict=True))
            cells = [f"{taken * 1e6:.0f}", f"{added * 1e6:+.0f}", f"{cpu * 1e6:.1f}"]
            trip.rows.append([name, *cells, _ratio(took, trips[PLAIN, size])])
    return [stream, trip]


def _ratio(ours: Sequence[Took], theirs: Sequence[Took]) -> str:
    """Return what part of the others' CPU is taken, within each round: the machine changes its speed between them."""
    found = [one.cpu / other.cpu for one, other in zip(ours, theirs, strict=False) if one.cpu and other.cpu]
    return f"{statistics.median(found):.2f}" if found else ""


def _memory_table(memory: dict[str, float]) -> Table:
    rows = [[name, f"{kilobytes:.0f}"] for name, kilobytes in memory.items()]
    return Table(title="Relaying: KB that an open session keeps", columns=["way", "KB"], rows=rows)


if __name__ == "__main__":
    program(measure)
