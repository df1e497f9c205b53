"""The recipe for browsers with WebRTC, run as it stands."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from tests.sideband.conftest import costs, has_begun, records

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sideband.conftest import Calling

    from realtime_spend.simulator import Simulator

_RECIPE = Path(__file__).resolve().parents[2] / "examples" / "webrtc_calls.py"
_OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
_PATIENCE = 60.0


async def _url_of(program: asyncio.subprocess.Process) -> str:
    """Return where it listens, as it says when it does."""
    assert program.stdout is not None
    async with asyncio.timeout(_PATIENCE):
        while line := await program.stdout.readline():
            if found := re.search(rb"Running on (http://127\.0\.0\.1:\d+)", line):
                return found[1].decode()
    raise AssertionError("it has ended")


def _are(number: int, found: Callable[[], list[Any]]) -> bool:
    return len(found()) == number


def _sidebands(simulator: Simulator) -> list[object]:
    return [socket for session in simulator._sessions.values() for socket in session._sockets if socket.sideband]


async def _offered(url: str, user: str) -> str:
    """Offer a call as a browser does, and return the answer, which does not tell it the id of the call."""
    async with (
        aiohttp.ClientSession() as http,
        asyncio.timeout(_PATIENCE),
        http.post(url, data=_OFFER, headers={"X-User": user}) as answer,
    ):
        assert answer.status == 201
        assert answer.content_type == "application/sdp"
        assert "Location" not in answer.headers
        return await answer.text()


async def test_each_browser_is_metered_by_the_server_that_set_up_its_call(
    simulator: Simulator, calling: Calling, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    surroundings = {
        "OPENAI_API_KEY": "sk-of-the-server",
        "OPENAI_BASE_URL": f"{simulator.url}/v1",
        "REALTIME_SPEND_LEDGER": str(ledger),
        "PORT": "0",
        # So that what it says comes through the pipe at once.
        "PYTHONUNBUFFERED": "1",
    }
    program = await asyncio.create_subprocess_exec(
        sys.executable, _RECIPE, env={**os.environ, **surroundings}, stdout=asyncio.subprocess.PIPE
    )
    try:
        url = await _url_of(program)
        for number, user in enumerate(("ada", "bob"), 1):
            assert (await _offered(f"{url}/call", user)).startswith("v=0")
            await has_begun(partial(_are, number, lambda: simulator.truth.as_json()["sessions"]))
            call = simulator.truth.as_json()["sessions"][-1]["call_id"]
            async with calling(simulator, f"/v1/realtime?model=any&sim_call_id={call}&webrtcfilter=on") as browser:
                await has_begun(partial(_are, 1, lambda: _sidebands(simulator)))
                # Has every socket of the call told the model: the sideband may not have asked yet.
                await browser.send("session.update", session={"type": "realtime"})
                await browser.turns(heard="response.output_audio_transcript.done")
                assert "response.done" not in browser.types()
            await has_begun(partial(_are, number, lambda: records(ledger)))
        program.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(program.wait(), _PATIENCE) == 0
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    written, truth = records(ledger), simulator.truth.as_json()
    assert costs(written) == costs(truth["usages"])
    assert [(record["attributes"], record["source"]) for record in written] == [
        ({"user": "ada"}, "openai.sideband"),
        ({"user": "bob"}, "openai.sideband"),
    ]
    assert {record["model"] for record in written} == {"gpt-realtime"}
