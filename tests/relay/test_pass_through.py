from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
import websockets
from openai import AsyncOpenAI

from realtime_spend.simulator import SessionOptions, Simulator, SimulatorOptions
from tests.relay.conftest import RelayTo
from tests.relay.wires import Recorded, Wire


async def _until_closed(wire: Wire, count: int) -> list[Recorded]:
    for _ in range(200):
        if len(wire.connections) == count:
            return wire.connections
        await asyncio.sleep(0.01)
    raise AssertionError(f"{len(wire.connections)} connections, not {count}")


async def test_the_openai_sdk_sees_and_says_the_same_bytes(relay_to: RelayTo) -> None:
    async with (
        Simulator(SimulatorOptions(seed=5)) as simulator,
        Wire("127.0.0.1", simulator.port) as behind,
        relay_to(behind.url) as running,
        Wire(*running.address) as before,
    ):
        client = AsyncOpenAI(api_key="sk-test", base_url=f"{before.url}/v1")
        async with client.realtime.connect(model="gpt-realtime") as connection:
            for _ in range(3):
                await connection.response.create()
                async for event in connection:
                    if event.type == "response.done":
                        break
        await client.close()
        await simulator.wait_idle()
        await asyncio.sleep(0.2)
        [theirs], [ours] = before.connections, behind.connections
        assert theirs.frames_to_server == ours.frames_to_server
        assert theirs.frames_to_client == ours.frames_to_client
        assert theirs.answer == ours.answer
        running.meter.agrees_with(simulator.truth.as_json())
