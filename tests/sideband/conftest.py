"""Calls of the simulator, and what is needed to hold them, to listen beside them, and to look at what was written."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from opentelemetry.instrumentation.utils import suppress_instrumentation

from realtime_spend import RealtimeInstrumentor
from realtime_spend.sideband import Attachment, Patience, Service
from realtime_spend.simulator import Deployment, Simulator, SimulatorOptions

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.metrics import MeterProvider

KEY = "sk-planted-9f31c0ffee"
# Nobody waits for the end of it where all goes well, however slow the machine is.
QUICK = Patience(call=20, service=20, silence=30, whole=60, least=0.02, most=0.2)
_PATIENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A browser or a telephone: what holds the call, and is watched by nobody unless a test wants it."""

    socket: websockets.ClientConnection
    events: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, type_: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": type_, **fields}))

    async def say(self, milliseconds: int = 600) -> None:
        await self.send("input_audio_buffer.append", audio=base64.b64encode(bytes(48 * milliseconds)).decode())

    async def until(self, type_: str) -> dict[str, Any]:
        while True:
            async with asyncio.timeout(_PATIENCE):
                event: dict[str, Any] = json.loads(await self.socket.recv())
            self.events.append(event)
            if event["type"] == type_:
                return event

    async def turns(self, many: int = 1, *, heard: str = "response.done") -> None:
        """Speak and be answered."""
        for _ in range(many):
            await self.say()
            await self.until(heard)

    def types(self) -> set[str]:
        return {event["type"] for event in self.events}


Calling = Callable[..., AbstractAsyncContextManager[Caller]]


@pytest.fixture
def calling() -> Calling:
    @contextlib.asynccontextmanager
    async def call(simulator: Simulator, path: str, *, is_watched: bool = False) -> AsyncIterator[Caller]:
        url = f"ws://127.0.0.1:{simulator.port}{path}"
        with contextlib.nullcontext() if is_watched else suppress_instrumentation():
            socket = await websockets.connect(url, proxy=None, max_queue=None)
        async with socket:
            yield Caller(socket=socket)

    return call


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    deployments = {"voice": Deployment(model="gpt-realtime-mini", version="2025-12-15")}
    async with Simulator(SimulatorOptions(seed=11, deployments=deployments)) as running:
        yield running


@pytest.fixture
def ledger(tmp_path: Path, provider: MeterProvider) -> Path:
    """Instrument this process, and return the folder of its ledger."""
    folder = tmp_path / "ledger"
    RealtimeInstrumentor().instrument(meter_provider=provider, ledger=folder)
    return folder


def service(simulator: Simulator, path: str = "/v1", port: int | None = None) -> Service:
    header = "api-key" if path.startswith("/openai") else "Authorization"
    return Service(base_url=f"http://127.0.0.1:{port or simulator.port}{path}", headers={header: KEY})


def following(
    call: str, where: Service, patience: Patience = QUICK, **options: Any
) -> tuple[Attachment, asyncio.Task[Any]]:
    """Attach to a call in a task."""
    attachment = Attachment(call, where, patience=patience, **options)
    return attachment, asyncio.create_task(attachment.follow())


async def listening(
    call: str, where: Service, patience: Patience = QUICK, **options: Any
) -> tuple[Attachment, asyncio.Task[Any]]:
    """Attach to a call in a task, and wait until it was let in."""
    attachment, task = following(call, where, patience, **options)
    await has_begun(lambda: attachment.sockets)
    return attachment, task


async def has_begun(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(_PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for is seen from outside alone
            await asyncio.sleep(0.01)


def written_in(folder: Path) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in folder.iterdir())


def records(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("*.jsonl")) if folder.exists() else []
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def costs(usages: list[dict[str, Any]]) -> dict[tuple[str, str], Decimal | None]:
    """What each usage costs, of a ledger or of a truth, by its kind and id; each is there once."""
    found = {
        (usage["kind"], usage["id"]): None if usage["cost"] is None else Decimal(usage["cost"]) for usage in usages
    }
    assert len(found) == len(usages), "a usage is there twice"
    return found
