"""Ways to run a simulator: beside a synchronous test, as a program of its own, and under a load of sessions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from realtime_spend.simulator.load import drive
from realtime_spend.simulator.server import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from realtime_spend.simulator.load import LoadOptions, LoadResult
    from realtime_spend.simulator.options import SimulatorOptions
    from realtime_spend.simulator.truth import Truth

_START_SECONDS = 10.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSimulator:
    """A simulator that runs in a thread of its own."""

    url: str
    port: int
    truth: Truth
    _simulator: Simulator
    _loop: asyncio.AbstractEventLoop

    def wait_idle(self, timeout: float = 5.0) -> None:
        """Wait until every session has ended, so that the truth is complete.

        Raises:
            TimeoutError: some session is still open after that many seconds.
        """
        waiting = asyncio.run_coroutine_threadsafe(self._simulator.wait_idle(timeout), self._loop)
        waiting.result(timeout + 1)


@contextlib.contextmanager
def run_in_thread(options: SimulatorOptions | None = None) -> Iterator[RunningSimulator]:
    """Run a simulator in a thread for as long as the `with` block lasts, for tests that are not asynchronous.

    Raises:
        OSError: it cannot listen, for instance because the port is taken.
    """
    started: Future[RunningSimulator] = Future()
    stop = asyncio.Event()
    thread = threading.Thread(target=_work, args=(options, started, stop), name="realtime-simulator", daemon=True)
    thread.start()
    running = started.result(_START_SECONDS)
    try:
        yield running
    finally:
        # A loop that failed is gone already; its thread has said why.
        with contextlib.suppress(RuntimeError):
            running._loop.call_soon_threadsafe(stop.set)  # noqa: SLF001 - our own class
        thread.join(_STOP_SECONDS)


def _work(options: SimulatorOptions | None, started: Future[RunningSimulator], stop: asyncio.Event) -> None:
    try:
        asyncio.run(_live(options, started, stop))
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)


async def _live(options: SimulatorOptions | None, started: Future[RunningSimulator], stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    async with Simulator(options) as simulator:
        url, port, truth = simulator.url, simulator.port, simulator.truth
        started.set_result(RunningSimulator(url=url, port=port, truth=truth, _simulator=simulator, _loop=loop))
        await stop.wait()


async def hold(
    options: SimulatorOptions,
    load: LoadOptions,
    *,
    url: str | None,
    truth_file: Path | None,
    advance: Callable[[int], None],
) -> LoadResult:
    """Hold the sessions of a load test, at a simulator of our own or at the one of the URL.

    Raises:
        aiohttp.ClientError: there is no simulator at the URL.
        OSError: our own cannot listen, or the truth cannot be written.
    """
    if url is not None:
        return await drive(url, load, advance)
    room = max(options.max_sessions, load.concurrency)
    simulator = Simulator(replace(options, max_sessions=room))
    try:
        async with simulator:
            return await drive(simulator.url, load, advance)
    finally:
        # As much as there was, when it is interrupted.
        if truth_file is not None:
            await _write(simulator.truth, truth_file)


async def _write(truth: Truth, truth_file: Path) -> None:
    text = json.dumps(truth.as_json(), indent=1) + "\n"
    await asyncio.to_thread(truth_file.write_text, text, encoding="utf-8")


async def serve(options: SimulatorOptions, *, truth_file: Path | None, announce: Callable[[str], None]) -> None:
    """Run a simulator until SIGINT or SIGTERM.

    `announce` is called once, when it listens, with the URL: a command prints it. With `truth_file` the truth is
    written there as JSON after the last session has ended, also when serving ends by an error or a cancellation. A
    command needs no more than `asyncio.run(serve(...))` in the main thread, where signals arrive.

    Raises:
        OSError: it cannot listen, or the truth cannot be written.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        # Event loops on Windows have no signal handlers; there Ctrl-C cancels us.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    simulator = Simulator(options)
    try:
        async with simulator:
            announce(simulator.url)
            await stop.wait()
    finally:
        for number in signals:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
        if truth_file is not None:
            await _write(simulator.truth, truth_file)
