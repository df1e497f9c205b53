from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import websockets

from realtime_spend.simulator import Simulator, SimulatorOptions

_PATIENCE = 10.0


class Talk:
    """A plain client that keeps every event it got."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.frames: list[str] = []
        self.events: list[dict[str, Any]] = []

    async def send(self, type_: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": type_, **fields}))

    async def say(self, milliseconds: int = 600) -> None:
        audio = base64.b64encode(bytes(48 * milliseconds)).decode()
        await self.send("input_audio_buffer.append", audio=audio)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(_PATIENCE):
            frame = await self.socket.recv()
        assert isinstance(frame, str)
        event: dict[str, Any] = json.loads(frame)
        self.frames.append(frame)
        self.events.append(event)
        return event

    async def until(self, type_: str) -> dict[str, Any]:
        while True:
            event = await self.next()
            if event["type"] == type_:
                return event

    async def until_closed(self) -> websockets.ConnectionClosed:
        try:
            while True:
                await self.next()
        except websockets.ConnectionClosed as closed:
            return closed

    async def respond(self, **response: Any) -> dict[str, Any]:
        await self.send("response.create", response=response)
        done = await self.until("response.done")
        answer: dict[str, Any] = done["response"]
        return answer

    async def settled(self) -> None:
        """Wait until the server has acted on all that was sent: it answers nonsense last."""
        await self.send("nonsense", event_id="settled")
        while (await self.until("error"))["error"]["event_id"] != "settled":
            pass

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def of(self, type_: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type_]


Connect = Callable[..., AbstractAsyncContextManager[Talk]]


@pytest.fixture
def connect() -> Connect:
    @contextlib.asynccontextmanager
    async def open_socket(
        simulator: Simulator, path: str = "/v1/realtime?model=gpt-realtime", **options: Any
    ) -> AsyncIterator[Talk]:
        # With a bounded queue a client that leaves events unread waits ten seconds for its own close handshake.
        options = {"proxy": None, "max_queue": None, **options}
        async with websockets.connect(f"ws://127.0.0.1:{simulator.port}{path}", **options) as socket:
            yield Talk(socket)

    return open_socket


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorOptions(seed=7)) as running:
        yield running
