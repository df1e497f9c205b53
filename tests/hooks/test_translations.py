"""Translation sessions, of which no event tells the usage: what the client's audio comes to, marked as an estimate."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import sys
import threading
import warnings
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import httpx
import httpx_ws
import pytest
import websocket
import websockets
from openai import AsyncOpenAI
from websockets.sync.client import connect as connect_in_threads
from wsproto.events import BytesMessage, TextMessage

from realtime_spend import RealtimeInstrumentor
from realtime_spend.simulator import Simulator, SimulatorOptions, run_in_thread
from realtime_spend.simulator.bill.writing import BillForm, bill_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
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


# What sends a message for each library, and of which object of its connection that is the method.
_SENDS: dict[str, Callable[[Any], tuple[Any, str]]] = {
    "websockets": lambda connection: (connection.protocol, "send_text"),
    "websockets in threads": lambda connection: (connection.protocol, "send_text"),
    "websockets legacy": lambda connection: (connection, "write_frame_sync"),
    "aiohttp": lambda connection: (connection, "send_str"),
    "websocket-client": lambda connection: (connection, "send_frame"),
    "websocket-client app": lambda connection: (connection, "send_frame"),
    "httpx-ws": lambda connection: (connection.connection, "send"),
    "httpx-ws in threads": lambda connection: (connection.connection, "send"),
}


@pytest.mark.parametrize("name", _SENDS)
def test_whatever_library_sends_the_audio(
    name: str, transports: dict[str, Transport], ledger: Path, seen: Seen
) -> None:
    says = [json.dumps({"type": "session.input_audio_buffer.append", "audio": audio(700)}) for _ in range(3)]
    with run_in_thread(SimulatorOptions(seed=5)) as simulator:
        url = f"ws://127.0.0.1:{simulator.port}{_PATH}"
        transports[name].read(url, *says, json.dumps({"type": "session.close"}))
    [truth], [record] = simulator.truth.as_json()["usages"], records(ledger)
    assert truth["quantities"] == {"audio.duration": "2.1"}
    assert record["usage"] == "estimated"
    assert [record[field] for field in ("quantities", "costs", "cost")] == [
        truth[field] for field in ("quantities", "costs", "cost")
    ]
    assert sum(value for _, value in seen.points("realtime_spend.billable.duration")) == pytest.approx(2.1)


_CLOSE = json.dumps({"type": "session.close"})
_EVENT = {"type": "session.input_audio_buffer.append", "event_id": "größer 🎧", "audio": audio(700)}
_CHUNK = json.dumps(_EVENT, ensure_ascii=False).encode()
_HALVES = (_CHUNK.decode()[:9000], _CHUNK.decode()[9000:])
# Their types leave open which class of session it is.
_HTTPX_WS: Any = httpx_ws.connect_ws
_HTTPX_WS_ASYNC: Any = httpx_ws.aconnect_ws


def legacy() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from websockets.legacy import client  # noqa: PLC0415 - warns as it is imported

    return client


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


async def by_legacy_websockets(url: str, say: Callable[[bytes], Any]) -> None:
    async with legacy().connect(url) as socket:
        for _ in range(3):
            await socket.send(say(_CHUNK))
        await socket.send(_CLOSE)
        async for _ in socket:
            pass


async def by_legacy_websockets_piece_by_piece(url: str, say: Callable[[bytes], Any]) -> None:
    async def pieces() -> AsyncIterator[Any]:
        for piece in say(_CHUNK):
            yield piece
            await socket.ping(no_message())

    async with legacy().connect(url) as socket:
        # Of several tasks that send at once, all but one wait.
        await asyncio.gather(*[socket.send(pieces()) for _ in range(2)], socket.send(_CHUNK))
        await socket.send(_CLOSE)
        async for _ in socket:
            pass


async def by_httpx_ws(url: str, say: Callable[[bytes], Any]) -> None:
    async with in_httpx_ws(url) as socket:
        for _ in range(3):
            for message in messages(list(say(_CHUNK))):
                await socket.send(message)
                await socket.ping(no_message())
        await socket.send_text(_CLOSE)
        with contextlib.suppress(httpx_ws.WebSocketDisconnect, anyio.EndOfStream):
            while await socket.receive():
                pass


@contextlib.asynccontextmanager
async def in_httpx_ws(url: str) -> AsyncIterator[Any]:
    async with (
        httpx.AsyncClient(trust_env=False) as http,
        _HTTPX_WS_ASYNC(url, http, keepalive_ping_interval_seconds=None) as socket,
    ):
        yield socket


async def by_httpx_ws_in_threads(url: str, say: Callable[[bytes], Any]) -> None:
    def talk() -> None:
        with (
            httpx.Client(trust_env=False) as http,
            _HTTPX_WS(url, http, keepalive_ping_interval_seconds=None) as socket,
        ):
            for _ in range(3):
                for message in messages(list(say(_CHUNK))):
                    socket.send(message)
                    socket.ping(no_message())
            socket.send_text(_CLOSE)
            with contextlib.suppress(httpx_ws.WebSocketDisconnect):
                while socket.receive(20):
                    pass

    await asyncio.to_thread(talk)


_PINGS = itertools.count()


def no_message() -> bytes:
    """Return what a ping may hold; of one connection each must be another."""
    return json.dumps({"type": "session.input_audio_buffer.append", "audio": "AAAA" * 3, "x": next(_PINGS)}).encode()


def messages(pieces: list[Any]) -> Iterator[TextMessage | BytesMessage]:
    for place, piece in enumerate(pieces):
        kind = TextMessage if isinstance(piece, str) else BytesMessage
        yield kind(data=piece, message_finished=place == len(pieces) - 1)


async def by_websocket_client(url: str, say: Callable[[bytes], Any]) -> None:
    def talk() -> None:
        socket = websocket.create_connection(url)
        with contextlib.ExitStack() as stack:
            stack.callback(socket.shutdown)
            for _ in range(3):
                for opcode, last, piece in framed(list(say(_CHUNK))):
                    socket.send_frame(websocket.ABNF.create_frame(piece, opcode, last))
            socket.send('{"type": "session.close"}')
            with contextlib.suppress(websocket.WebSocketConnectionClosedException):
                while socket.recv():
                    pass

    await asyncio.to_thread(talk)


def framed(pieces: list[Any]) -> Iterator[tuple[int, int, bytes]]:
    for place, piece in enumerate(pieces):
        kind = websocket.ABNF.OPCODE_TEXT if isinstance(piece, str) else websocket.ABNF.OPCODE_BINARY
        opcode = websocket.ABNF.OPCODE_CONT if place else kind
        yield opcode, int(place == len(pieces) - 1), piece.encode() if isinstance(piece, str) else bytes(piece)


def in_pieces(data: bytes) -> Iterator[bytes | memoryview]:
    yield data[:20]
    yield b""
    yield memoryview(data)[20:9000]
    yield data[9000:]


def in_pieces_of_text(data: bytes) -> Iterator[str]:
    text = data.decode()
    yield text[:20]
    yield ""
    yield text[20:9000]
    yield text[9000:]


@pytest.mark.parametrize("say", [in_pieces, in_pieces_of_text])
@pytest.mark.parametrize(
    "by",
    [
        by_websockets,
        by_websockets_in_threads,
        by_legacy_websockets,
        by_legacy_websockets_piece_by_piece,
        by_httpx_ws,
        by_httpx_ws_in_threads,
        by_websocket_client,
    ],
)
async def test_audio_that_is_sent_in_several_frames_is_measured_as_a_whole(by: Any, say: Any, ledger: Path) -> None:
    async with Simulator(SimulatorOptions(seed=5)) as simulator, asyncio.timeout(30):
        await by(f"ws://127.0.0.1:{simulator.port}{_PATH}", say)
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
        async with legacy().connect(url) as older:
            await older.send(form(_CHUNK))
            await older.send(_CLOSE)
            async for _ in older:
                pass
        async with in_httpx_ws(url) as another:
            await another.send_bytes(form(_CHUNK))
            await another.send_json({"type": "session.close"}, mode="binary")
            with contextlib.suppress(httpx_ws.WebSocketDisconnect, anyio.EndOfStream):
                while await another.receive():
                    pass
    assert [record["quantities"] for record in records(ledger)] == [{"audio.duration": "0.7"}] * 4


async def test_a_message_that_another_task_ends_is_measured_as_it_is_on_the_wire(ledger: Path) -> None:
    async with Simulator(SimulatorOptions(seed=5)) as simulator, asyncio.timeout(30):
        async with in_httpx_ws(f"ws://127.0.0.1:{simulator.port}{_PATH}") as socket:
            await asyncio.create_task(socket.send(TextMessage(data=_HALVES[0], message_finished=False)))
            # `httpx-ws` sends it as the end of what was begun, as it must: a message cannot stand inside another one.
            await asyncio.create_task(socket.send_text(_HALVES[1]))
            await socket.send_text(_CHUNK.decode())
            await socket.send_text(_CLOSE)
            with contextlib.suppress(httpx_ws.WebSocketDisconnect, anyio.EndOfStream):
                while await socket.receive():
                    pass
        await simulator.wait_idle()
    assert simulator.truth.as_json()["usages"][0]["quantities"] == {"audio.duration": "1.4"}
    assert [record["quantities"] for record in records(ledger)] == [{"audio.duration": "1.4"}]


async def test_what_a_library_refuses_to_send_is_refused_and_not_measured(ledger: Path) -> None:
    async with Simulator(SimulatorOptions(seed=5)) as simulator, asyncio.timeout(30):
        url = f"ws://127.0.0.1:{simulator.port}{_PATH}"
        async with in_httpx_ws(url) as socket:
            await socket.send(TextMessage(data=_HALVES[0], message_finished=False))
            with pytest.raises(TypeError):
                await socket.send_bytes(_HALVES[1].encode())
            await socket.send_text(_HALVES[1])
            await socket.send_text(_CLOSE)
            with contextlib.suppress(httpx_ws.WebSocketDisconnect, anyio.EndOfStream):
                while await socket.receive():
                    pass
        async with legacy().connect(url) as older:
            await older.send(_CHUNK)
            with pytest.raises(TypeError):
                # It closes the connection, since half a message was sent.
                await older.send([_HALVES[0], _HALVES[1].encode()])
        await simulator.wait_idle()
    assert [usage["quantities"] for usage in simulator.truth.as_json()["usages"]] == [{"audio.duration": "0.7"}] * 2
    assert [record["quantities"] for record in records(ledger)] == [{"audio.duration": "0.7"}] * 2


async def test_what_is_broadcast_is_measured(ledger: Path) -> None:
    async with Simulator(SimulatorOptions(seed=5)) as simulator, asyncio.timeout(30):
        url = f"ws://127.0.0.1:{simulator.port}{_PATH}"
        async with legacy().connect(url) as one, legacy().connect(url) as other:
            sys.modules["websockets.legacy.protocol"].broadcast([one, other], _CHUNK)
            for socket in (one, other):
                await socket.send(_CLOSE)
                async for _ in socket:
                    pass
        await simulator.wait_idle()
    assert [record["quantities"] for record in records(ledger)] == [{"audio.duration": "0.7"}] * 2


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    """Have the interpreter change threads as often as it may."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("impatient_threads")
@pytest.mark.parametrize("name", ["websockets in threads", "websocket-client", "httpx-ws in threads"])
def test_of_several_threads_that_send_none_is_forgotten(
    name: str, transports: dict[str, Transport], ledger: Path
) -> None:
    text = json.dumps({"type": "session.input_audio_buffer.append", "audio": audio(5)})

    begin = threading.Barrier(8)

    def talk(send: Callable[[str], Any]) -> None:
        begin.wait(20)
        for _ in range(200):
            send(text)

    with run_in_thread(SimulatorOptions(seed=5)) as simulator:
        with transports[name].open(f"ws://127.0.0.1:{simulator.port}{_PATH}") as socket:
            threads = [threading.Thread(target=talk, args=(socket.send,)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            socket.send(_CLOSE)
            socket.to_the_end()
        simulator.wait_idle()
    assert simulator.truth.as_json()["usages"][0]["quantities"] == {"audio.duration": "8"}
    assert records(ledger)[-1]["quantities"] == {"audio.duration": "8"}


@pytest.mark.parametrize("name", _SENDS)
def test_taken_off_a_translation_goes_on_as_it_would_without_us(
    name: str, transports: dict[str, Transport], ledger: Path
) -> None:
    with run_in_thread(SimulatorOptions(seed=5)) as simulator:
        with transports[name].open(f"ws://127.0.0.1:{simulator.port}{_PATH}") as socket:
            target, method = _SENDS[name](socket.connection)
            assert method in vars(target)
            socket.send(_CHUNK.decode())
            RealtimeInstrumentor().uninstrument()
            assert method not in vars(target)
            socket.send(_CHUNK.decode())
            socket.send(_CLOSE)
            socket.to_the_end()
        simulator.wait_idle()
    assert simulator.truth.as_json()["usages"][0]["quantities"] == {"audio.duration": "1.4"}
    # Who stopped the watching has no end of it to account for.
    assert not ledger.exists() or records(ledger) == []


async def test_a_release_in_which_what_is_sent_cannot_be_seen_has_the_session_missing(ledger: Path) -> None:
    module = legacy()

    class Another(module.WebSocketClientProtocol):  # type: ignore[misc, name-defined]  # of a module that is imported late
        @property
        def write_frame_sync(self) -> Any:
            raise AttributeError

        async def write_frame(self, fin: bool, opcode: int, data: bytes, **_: Any) -> None:  # noqa: FBT001 - as it was
            frame = sys.modules["websockets.legacy.framing"].Frame(fin, opcode, data)
            frame.write(self.transport.write, mask=True, extensions=self.extensions)
            await self.drain()

    async with Simulator(SimulatorOptions(seed=5)) as simulator, asyncio.timeout(30):
        url = f"ws://127.0.0.1:{simulator.port}{_PATH}"
        async with module.connect(url, create_protocol=Another) as socket:
            await socket.send(_CHUNK)
            await socket.send(_CLOSE)
            async for _ in socket:
                pass
        await simulator.wait_idle()
    assert simulator.truth.as_json()["usages"][0]["quantities"] == {"audio.duration": "0.7"}
    assert [(record["kind"], record["usage"]) for record in records(ledger)] == [("translation", "missing")]


@pytest.mark.parametrize("name", _SENDS)
def test_what_is_sent_in_other_sessions_is_left_alone(
    name: str, transports: dict[str, Transport], ledger: Path
) -> None:
    with run_in_thread(SimulatorOptions(seed=5)) as simulator:
        url = f"ws://127.0.0.1:{simulator.port}/v1/realtime?model=gpt-realtime"
        with transports[name].open(url) as socket:
            target, method = _SENDS[name](socket.connection)
            assert method not in vars(target)
            socket.send(json.dumps({"type": "session.input_audio_buffer.append", "audio": audio(700)}))
            socket.until("error")
    assert not ledger.exists() or records(ledger) == []


def test_a_translation_in_which_nothing_is_said_is_missing(transports: dict[str, Transport], ledger: Path) -> None:
    with run_in_thread(SimulatorOptions(seed=5)) as simulator:
        url = f"ws://127.0.0.1:{simulator.port}{_PATH}"
        transports["websockets"].read(url, json.dumps({"type": "session.close"}))
    assert [(record["kind"], record["usage"]) for record in records(ledger)] == [("translation", "missing")]
