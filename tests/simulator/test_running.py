from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from realtime_spend.simulator import SimulatorOptions, run_in_thread, serve

if TYPE_CHECKING:
    from pathlib import Path

_PROGRAM = """
import asyncio, pathlib, sys
from realtime_spend.simulator import SimulatorOptions, serve
truth_file = pathlib.Path(sys.argv[1])
asyncio.run(serve(SimulatorOptions(), truth_file=truth_file, announce=lambda url: print(url, flush=True)))
"""


def _one_response(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/v1/realtime?model=gpt-realtime", proxy=None) as socket:
        socket.send('{"type":"response.create"}')
        while json.loads(socket.recv(timeout=10))["type"] != "response.done":
            pass


def test_a_simulator_in_a_thread_serves_and_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with run_in_thread(SimulatorOptions(seed=1)) as simulator:
        assert simulator.url == f"http://127.0.0.1:{simulator.port}"
        _one_response(simulator.port)
        simulator.wait_idle()
        assert simulator.truth.as_json()["counts"]["responses"] == 1
    assert threading.active_count() == before
    with pytest.raises(OSError, match="refused"), connect(f"ws://127.0.0.1:{simulator.port}/", proxy=None):
        pass


def test_a_port_that_is_taken_is_an_error_where_the_thread_was_asked_for() -> None:
    with (
        run_in_thread() as simulator,
        pytest.raises(OSError, match="address"),
        run_in_thread(SimulatorOptions(port=simulator.port)),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_server_runs_until_a_signal_and_writes_the_truth(tmp_path: Path, number: signal.Signals) -> None:
    truth_file = tmp_path / "truth.json"
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, str(truth_file), stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    async with asyncio.timeout(30):
        url = (await program.stdout.readline()).decode().strip()
        await asyncio.to_thread(_one_response, int(url.rpartition(":")[2]))
        program.send_signal(number)
        assert await program.wait() == 0
    truth = json.loads(truth_file.read_text())
    assert truth["schema"] == "realtime-spend/truth/1"
    assert truth["counts"]["responses"] == 1


async def test_the_truth_is_written_when_serving_is_cancelled(tmp_path: Path) -> None:
    truth_file, announced = tmp_path / "truth.json", asyncio.Event()
    serving = asyncio.create_task(
        serve(SimulatorOptions(), truth_file=truth_file, announce=lambda _url: announced.set())
    )
    async with asyncio.timeout(10):
        await announced.wait()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
    assert json.loads(truth_file.read_text())["usages"] == []
