"""Translation sessions, of which no event tells the usage: what the client's audio comes to, marked as an estimate."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import websocket
import websockets
from openai import AsyncOpenAI
from websockets.sync.client import connect as connect_in_threads

from realtime_spend import RealtimeInstrumentor
from realtime_spend.simulator import Simulator, SimulatorOptions, run_in_thread
from realtime_spend.simulator.bill.writing import BillForm, bill_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from opentelemetry.sdk.metrics import MeterProvider
    from tests.conftest import Run, Seen
    from tests.hooks.conftest import Transport

_MINUTE = Decimal("0.034")
_PATH = "/v1/realtime/translations?model=gpt-realtime-translate"


def audio(milliseconds: int) -> str:
    return base64.b64encode(bytes(48 * milliseconds)).decode()


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]


@pytest.fixture
def ledger(tmp_path: Path, provider: MeterProvider) -> Path:
    RealtimeInstrumentor().instrument(meter_provider=provider, ledger=tmp_path / "ledger")
    return tmp_path / "ledger"


async def test_a_translation_of_the_sdk_is_measured_by_its_audio(
    ledger: Path, seen: Seen, run: Run, tmp_path: Path
) -> None:
    async with Simulator(SimulatorOptions(seed=5)) as simulator, asyncio.timeout(30):
        address = f"127.0.0.1:{simulator.port}/v1"
        async with (
            AsyncOpenAI(api_key="any", base_url=f"http://{address}", websocket_base_url=f"ws://{address}") as client,
            client.realtime.translations.connect(model="gpt-realtime-translate") as connection,
        ):
            # 26 chunks of 1.2 seconds, and one of 150 milliseconds.
            for _ in range(26):
                await connection.session.input_audio_buffer.append(audio=audio(1200))
            await connection.session.input_audio_buffer.append(audio=audio(150))
            await connection.session.close()
            async for event in connection:
                if event.type == "session.closed":
                    break
    seconds = 26 * Decimal("1.2") + Decimal("0.15")
    written = records(ledger)
    # It is told as it grows, so that a process that is killed loses little.
    assert [record["quantities"]["audio.duration"] for record in written] == ["10.8", "21.6", "31.35"]
    assert {(record["kind"], record["usage"], record["model"], record["service"]) for record in written} == {
        ("translation", "estimated", "gpt-realtime-translate", "translation")
    }
    cost = seconds * _MINUTE / 60
    assert Decimal(written[-1]["cost"]) == cost
    points = seen.points("realtime_spend.cost")
    assert sum(value for _, value in points) == pytest.approx(float(cost))
    [counted] = [
        (attributes["realtime_spend.usage"], value)
        for attributes, value in seen.points("realtime_spend.usages")
        if attributes["realtime_spend.kind"] == "translation"
    ]
    assert counted == ("estimated", 1)
    [usage] = simulator.truth.as_json()["usages"]
    assert (usage["kind"], Decimal(usage["cost"])) == ("translation", cost)
    [row] = run("report", ledger, "--by", "usage", "--json").json["rows"]
    assert (row["usage"], Decimal(row["cost"])) == ("estimated", cost)
    bill_for([usage], BillForm.OPENAI_COSTS, tmp_path / "bill")
    found = run("reconcile", "--ledger", ledger, "--bill", tmp_path / "bill", "--json").json["totals"]
    assert abs(Decimal(found["drift_cost"])) < Decimal("1e-9")
    assert Decimal(found["estimated_cost"]) == cost


_MEASURED = (
    "websockets",
    "websockets in threads",
    "aiohttp",
    "websocket-client",
    "websocket-client app",
)


@pytest.mark.parametrize("name", _MEASURED)
def test_whatever_library_sends_the_audio(
    name: str, transports: dict[str, Transport], ledger: Path, seen: Seen
) -> None:
    says = [json.dumps({"type": "session.input_audio_buffer.append", "audio": audio(700)}) for _ in range(3)]
    with run_in_thread(SimulatorOptions(seed=5)) as simulator:
        url = f"ws://127.0.0.1:{simulator.port}{_PATH}"
        transports[name].read(url, *says, json.dumps({"type": "session.close"}))
    assert simulator.truth.as_json()["usages"][0]["quantities"] == {"audio.duration": "2.1"}
    [record] = records(ledger)
    assert (record["usage"], record["quantities"]) == ("estimated", {"audio.duration": "2.1"})
    assert sum(value for _, value in seen.points("realtime_spend.billable.duration")) == pytest.approx(2.1)


_CHUNK = json.dumps({"type": "session.input_audio_buffer.append", "audio": audio(700)}).encode()


async def by_websockets(url: str, say: Callable[[bytes], Any]) -> None:
    async with websockets.connect(url, proxy=None) as socket:
        for _ in range(3):
            await socket.send(say(_CHUNK))
        await socket.send([b'{"type": "session', b'.close"}'])
        async for _ in socket:
            pass


async def by_websockets_in_threads(url: str, say: Callable[[bytes], Any]) -> None:
    def talk() -> None:
        with connect_in_threads(url, proxy=None) as socket:
            for _ in range(3):
                socket.send(say(_CHUNK))
            socket.send('{"type": "session.close"}')
            for _ in socket:
                pass

    await asyncio.to_thread(talk)


async def by_websocket_client(url: str, say: Callable[[bytes], Any]) -> None:
    def talk() -> None:
        socket = websocket.create_connection(url)
        with contextlib.ExitStack() as stack:
            stack.callback(socket.shutdown)
            for _ in range(3):
                for opcode, last, piece in framed([bytes(piece) for piece in say(_CHUNK)]):
                    socket.send_frame(websocket.ABNF.create_frame(piece, opcode, last))
            socket.send('{"type": "session.close"}')
            with contextlib.suppress(websocket.WebSocketConnectionClosedException):
                while socket.recv():
                    pass

    await asyncio.to_thread(talk)


def framed(pieces: list[bytes]) -> Iterator[tuple[int, int, bytes]]:
    for place, piece in enumerate(pieces):
        opcode = websocket.ABNF.OPCODE_CONT if place else websocket.ABNF.OPCODE_BINARY
        yield opcode, int(place == len(pieces) - 1), piece


def in_pieces(data: bytes) -> Iterator[bytes | memoryview]:
    yield data[:20]
    yield b""
    yield memoryview(data)[20:9000]
    yield data[9000:]


@pytest.mark.parametrize("by", [by_websockets, by_websockets_in_threads, by_websocket_client])
async def test_audio_that_is_sent_in_several_frames_is_measured_as_a_whole(by: Any, ledger: Path) -> None:
    async with Simulator(SimulatorOptions(seed=5)) as simulator, asyncio.timeout(30):
        await by(f"ws://127.0.0.1:{simulator.port}{_PATH}", in_pieces)
        await simulator.wait_idle()
    assert simulator.truth.as_json()["usages"][0]["quantities"] == {"audio.duration": "2.1"}
    [record] = records(ledger)
    assert (record["usage"], record["quantities"]) == ("estimated", {"audio.duration": "2.1"})


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
async def test_audio_that_is_sent_as_bytes_is_measured(form: Any, ledger: Path) -> None:
    async with Simulator(SimulatorOptions(seed=5)) as simulator, asyncio.timeout(30):
        url = f"ws://127.0.0.1:{simulator.port}{_PATH}"
        async with aiohttp.ClientSession() as http, http.ws_connect(url) as ours:
            await ours.send_bytes(form(_CHUNK))
            await ours.send_json({"type": "session.close"})
            async for _ in ours:
                pass
        async with websockets.connect(url, proxy=None) as theirs:
            await theirs.send(form(_CHUNK))
            await theirs.send('{"type": "session.close"}')
            async for _ in theirs:
                pass
    assert [record["quantities"] for record in records(ledger)] == [{"audio.duration": "0.7"}] * 2


@pytest.mark.parametrize("name", ["websockets", "aiohttp", "websocket-client"])
def test_what_is_sent_in_other_sessions_is_left_alone(
    name: str, transports: dict[str, Transport], ledger: Path
) -> None:
    with run_in_thread(SimulatorOptions(seed=5)) as simulator:
        url = f"ws://127.0.0.1:{simulator.port}/v1/realtime?model=gpt-realtime"
        with transports[name].open(url) as socket:
            socket.send(json.dumps({"type": "session.input_audio_buffer.append", "audio": audio(700)}))
            socket.until("error")
    assert not ledger.exists() or records(ledger) == []


def test_a_translation_in_which_nothing_is_said_is_missing(transports: dict[str, Transport], ledger: Path) -> None:
    with run_in_thread(SimulatorOptions(seed=5)) as simulator:
        url = f"ws://127.0.0.1:{simulator.port}{_PATH}"
        transports["websockets"].read(url, json.dumps({"type": "session.close"}))
    assert [(record["kind"], record["usage"]) for record in records(ledger)] == [("translation", "missing")]
