"""The recipes of the documentation that go through the relay, run as they stand; openai-node has a file of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from tests.hooks.clients.conftest import BUILD_PATIENCE, PACE
from tests.relay.programs import node_with

from realtime_spend.simulator import Simulator, SimulatorOptions

if TYPE_CHECKING:
    from tests.conftest import Environment
    from tests.relay.conftest import RelayTo, Running

_PROJECT = Path(__file__).resolve().parents[2]
_CLIENTS = _PROJECT / "tests" / "hooks" / "clients"
_PATIENCE = 120.0
# 20 ms of µ-law at 8 kHz, as Twilio sends them.
_SOUND = base64.b64encode(b"\xff" * 160).decode()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["livekit", "pipecat"])
async def test_an_agent_is_metered_by_its_base_url_alone(
    name: str, relay_to: RelayTo, environment: Environment
) -> None:
    lines = (_CLIENTS / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    python = await asyncio.to_thread(environment, *pinned, patience=BUILD_PATIENCE)
    async with (
        Simulator(SimulatorOptions(seed=9, session=PACE)) as simulator,
        relay_to(f"http://127.0.0.1:{simulator.port}") as running,
    ):
        # Nothing is instrumented in there.
        program = await asyncio.create_subprocess_exec(
            *(python, _CLIENTS / "programs" / f"{name}_openai.py", running.url),
            env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "no_proxy": "127.0.0.1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(program.communicate(), _PATIENCE)
        assert program.returncode == 0, err.decode()
        assert b"tokens" in out
        await simulator.wait_idle()
        await running.is_empty()
        truth = simulator.truth.as_json()
        assert truth["counts"]["responses"] >= 3
        running.meter.agrees_with(truth)


async def test_a_telephone_call_of_twilio_is_metered_under_its_own_id(relay_to: RelayTo, tmp_path: Path) -> None:
    node, home = await asyncio.to_thread(node_with, "ws@8.23.0")
    shutil.copytree(home / "node_modules", tmp_path / "node_modules", symlinks=True)
    shutil.copy(_PROJECT / "examples" / "twilio_node.mjs", tmp_path)
    async with (
        Simulator(SimulatorOptions(seed=9)) as simulator,
        relay_to(f"http://127.0.0.1:{simulator.port}", baggage_keys=("call",)) as running,
    ):
        surroundings = {
            "OPENAI_API_KEY": "sk-of-node",
            "RELAY_URL": f"ws://127.0.0.1:{running.relay.port}",
            "PORT": "0",
        }
        program = await asyncio.create_subprocess_exec(
            node,
            "twilio_node.mjs",
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **surroundings},
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert program.stdout is not None
            async with asyncio.timeout(_PATIENCE):
                url = (await program.stdout.readline()).decode().strip()
                heard = await _called(url, running)
        finally:
            program.kill()
            await program.wait()
        assert {event["event"] for event in heard} >= {"media", "clear"}
        assert {event["streamSid"] for event in heard} == {"MZ1"}
        await simulator.wait_idle()
        await running.is_empty()
        running.meter.agrees_with(simulator.truth.as_json())
        records = running.meter.records()
        assert records
        assert {json.dumps(record["attributes"]) for record in records} == {'{"call": "CA1"}'}


async def _called(url: str, running: Running) -> list[dict[str, Any]]:
    """Call as Twilio does: say something, listen to the answer until it is counted, and hang up."""
    heard: list[dict[str, Any]] = []
    async with websockets.connect(url, proxy=None) as twilio:
        await twilio.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        start = {"callSid": "CA1", "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}}
        await twilio.send(json.dumps({"event": "start", "streamSid": "MZ1", "start": start}))
        while not running.meter.records():
            await twilio.send(json.dumps({"event": "media", "streamSid": "MZ1", "media": {"payload": _SOUND}}))
            try:
                async with asyncio.timeout(0.02):
                    heard.append(json.loads(await twilio.recv()))
            except TimeoutError:
                pass
        await twilio.send(json.dumps({"event": "stop", "streamSid": "MZ1"}))
        heard += [json.loads(message) async for message in twilio]
    return heard
