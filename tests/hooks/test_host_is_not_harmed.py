"""Whatever a host program does with its sockets, and whatever goes wrong in us: it never notices us."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import socket
import subprocess
import sys
import threading
import time
import weakref
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.metrics import MeterProvider
from tests.hooks.messages import CREATE, created, done, url_of
from websockets.asyncio.client import connect as connect_captured_at_import
from websockets.asyncio.server import ServerConnection, serve
from websockets.client import ClientProtocol
from websockets.sync.client import connect as connect_in_threads
from websockets.uri import parse_uri

from realtime_spend import RealtimeInstrumentor, instrumentor, observing
from realtime_spend.containment import Containment
from realtime_spend.simulator import RunningSimulator, SimulatorOptions, run_in_thread
from realtime_spend.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.hooks.conftest import Meter, MeterWith

    from realtime_spend.metering import Metering

PATIENCE = 20.0


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with run_in_thread(SimulatorOptions(seed=3)) as running:
        yield running


async def until(connection: Any, kind: str) -> list[str]:
    frames = []
    async with asyncio.timeout(PATIENCE):
        while True:
            frames.append(await connection.recv())
            if json.loads(frames[-1])["type"] == kind:
                return frames


async def one_turn(url: str) -> list[str]:
    async with websockets.connect(url, proxy=None) as connection:
        await connection.send(CREATE)
        return await until(connection, "rate_limits.updated")


def one_turn_in_threads(url: str) -> list[str | bytes]:
    frames = []
    with connect_in_threads(url, proxy=None) as connection:
        connection.send(CREATE)
        while True:
            frames.append(connection.recv(PATIENCE))
            if json.loads(frames[-1])["type"] == "rate_limits.updated":
                return frames


# --- A server of our own, for what the simulator does not do ---------------------------------------------------------


@contextlib.asynccontextmanager
async def serving(handler: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> AsyncIterator[str]:
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/v1/realtime?model=gpt-realtime"


# --- What a program does ---------------------------------------------------------------------------------------------


def test_an_exception_of_the_program_passes_and_its_session_is_closed(
    simulator: RunningSimulator, meter: Meter
) -> None:
    class OwnError(Exception):
        pass

    async def go() -> None:
        async with websockets.connect(url_of(simulator, outcomes="never_finished", deltas=1), proxy=None) as connection:
            await connection.send(CREATE)
            async for frame in connection:
                if json.loads(frame)["type"] == "response.created":
                    raise OwnError("mine", 7)

    with pytest.raises(OwnError) as raised:
        asyncio.run(go())
    assert raised.value.args == ("mine", 7)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    simulator.wait_idle()
    assert meter.sum("realtime_spend.usages", usage="lost") == 1
    meter.agrees_with(simulator.truth.as_json())


def test_thousands_of_cancelled_reads_lose_neither_a_frame_nor_a_usage(
    simulator: RunningSimulator, meter: Meter
) -> None:
    async def go() -> tuple[int, int]:
        frames, cancelled = 0, 0
        url = url_of(simulator, rate=500, deltas=400, delta_bytes=64, close_after=1)
        async with websockets.connect(url, proxy=None) as connection:
            await connection.send(CREATE)
            while True:
                reading = asyncio.ensure_future(connection.recv())
                await asyncio.sleep(0)
                if not reading.done():
                    reading.cancel()
                try:
                    await reading
                    frames += 1
                except asyncio.CancelledError:
                    cancelled += 1
                except websockets.ConnectionClosedOK:
                    return frames, cancelled

    cancelled = 0
    # While an answer comes, a busy machine reads less often in vain.
    for _ in range(50):
        frames, more = asyncio.run(asyncio.wait_for(go(), PATIENCE))
        # Around the deltas: session and response created; item and part added, with the conversation's word of the
        # item; audio, transcript, part, item done and the conversation's word again; the response done, the limits.
        assert frames >= 400 + 12
        cancelled += more
        if cancelled >= 2000:
            break
    assert cancelled >= 2000
    simulator.wait_idle()
    meter.agrees_with(simulator.truth.as_json())


def test_a_read_that_times_out_in_a_thread_loses_nothing(simulator: RunningSimulator, meter: Meter) -> None:
    frames: list[Any] = []
    said: set[str] = set()
    with connect_in_threads(url_of(simulator, rate=200, deltas=20), proxy=None) as connection:
        connection.send(CREATE)
        ends = time.monotonic() + PATIENCE
        while "rate_limits" not in str(frames[-1:]) and time.monotonic() < ends:
            try:
                frames.append(connection.recv(timeout=0.0005))
            except TimeoutError as error:
                said.add(str(error))
    assert len(said) == 1
    numbers = [json.loads(frame)["event_id"][-6:] for frame in frames]
    assert numbers == [f"{number:06d}" for number in range(1, len(frames) + 1)]
    simulator.wait_idle()
    meter.agrees_with(simulator.truth.as_json())


def test_a_handshake_that_times_out_is_no_session(meter: Meter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/v1/realtime?model=gpt-realtime"

        async def go() -> None:
            await websockets.connect(url, proxy=None, open_timeout=0.1)

        with pytest.raises(TimeoutError, match="timed out during opening handshake"):
            asyncio.run(go())
        with pytest.raises(TimeoutError):
            connect_in_threads(url, proxy=None, open_timeout=0.1)
    assert_no_session(meter)


def assert_no_session(meter: Meter) -> None:
    assert meter.sessions() == 0
    assert meter.points("realtime_spend.session.active") == []
    assert not meter.records()
    assert not meter.errors()


@pytest.mark.parametrize("threads", [False, True])
def test_a_connection_that_the_client_cuts_leaves_a_lost_response(
    simulator: RunningSimulator, meter: Meter, *, threads: bool
) -> None:
    url = url_of(simulator, outcomes="completed,never_finished", deltas=1)

    async def go() -> None:
        async with websockets.connect(url, proxy=None) as connection:
            for last in ("rate_limits.updated", "response.created"):
                await connection.send(CREATE)
                await until(connection, last)
            connection.transport.abort()

    def go_in_threads() -> None:
        with connect_in_threads(url, proxy=None) as connection:
            for last in ("rate_limits.updated", "response.created"):
                connection.send(CREATE)
                while json.loads(connection.recv(PATIENCE))["type"] != last:
                    pass
            connection.socket.shutdown(socket.SHUT_RDWR)

    go_in_threads() if threads else asyncio.run(go())
    simulator.wait_idle()
    assert meter.sum("realtime_spend.usages", usage="lost") == 1
    meter.agrees_with(simulator.truth.as_json())


@pytest.mark.parametrize("threads", [False, True])
def test_a_connection_that_the_server_cuts_leaves_a_lost_response(
    simulator: RunningSimulator, meter: Meter, *, threads: bool
) -> None:
    url = url_of(simulator, outcomes="dropped")
    with pytest.raises(websockets.ConnectionClosedError) as raised:
        one_turn_in_threads(url) if threads else asyncio.run(one_turn(url))
    assert (raised.value.rcvd, raised.value.sent) == (None, None)
    simulator.wait_idle()
    assert meter.sum("realtime_spend.usages", usage="lost") == 1
    meter.agrees_with(simulator.truth.as_json())


@pytest.mark.parametrize("threads", [False, True])
def test_what_a_program_never_reads_is_counted_all_the_same(
    simulator: RunningSimulator, meter: Meter, *, threads: bool
) -> None:
    def told() -> bool:
        return bool(meter.sum("realtime_spend.usages", usage="reported"))

    async def go() -> None:
        async with websockets.connect(url_of(simulator, deltas=1), proxy=None, max_queue=None) as connection:
            await connection.send(CREATE)
            async with asyncio.timeout(PATIENCE):
                while not told():  # noqa: ASYNC110 - nothing tells when something was counted
                    await asyncio.sleep(0.01)

    def go_in_threads() -> None:
        with connect_in_threads(url_of(simulator, deltas=1), proxy=None, max_queue=None) as connection:
            connection.send(CREATE)
            ends = time.monotonic() + PATIENCE
            while not told() and time.monotonic() < ends:
                time.sleep(0.01)

    go_in_threads() if threads else asyncio.run(go())
    simulator.wait_idle()
    assert meter.sum("realtime_spend.usages", usage="reported") == 1
    meter.agrees_with(simulator.truth.as_json())


def test_a_session_closed_at_once_is_a_session_without_usage(simulator: RunningSimulator, meter: Meter) -> None:
    async def go() -> None:
        async with websockets.connect(url_of(simulator), proxy=None):
            pass

    asyncio.run(go())
    with connect_in_threads(url_of(simulator), proxy=None):
        pass
    simulator.wait_idle()
    meter.agrees_with(simulator.truth.as_json(), sessions=2)
    assert not meter.records()


def test_a_socket_that_is_dropped_without_being_closed_is_not_open_for_ever(
    simulator: RunningSimulator, meter: Meter
) -> None:
    async def go() -> None:
        connection = await websockets.connect(url_of(simulator, outcomes="never_finished", deltas=1), proxy=None)
        await connection.send(CREATE)
        await until(connection, "response.created")

    def forget() -> None:
        asyncio.run(go())
        gc.collect()

    with pytest.warns(ResourceWarning):
        forget()
    simulator.wait_idle()
    assert meter.sum("realtime_spend.session.active") == 0
    assert meter.sum("realtime_spend.usages", usage="lost") == 1


def test_a_connection_class_of_the_programs_own_works_as_before(simulator: RunningSimulator, meter: Meter) -> None:
    class Mine(websockets.ClientConnection):
        async def recv(self, decode: bool | None = None) -> Any:  # noqa: FBT001 - as the library has it
            return {"wrapped": await super().recv(decode)}

    async def go() -> list[Any]:
        frames: list[Any] = []
        url = url_of(simulator, close_after=1)
        async with connect_captured_at_import(url, create_connection=Mine, proxy=None) as connection:
            assert type(connection) is Mine
            await connection.send(CREATE)
            frames += [frame async for frame in connection]
        return frames

    frames = asyncio.run(asyncio.wait_for(go(), PATIENCE))
    assert all(frame.keys() == {"wrapped"} for frame in frames)
    simulator.wait_idle()
    meter.agrees_with(simulator.truth.as_json())


def test_a_protocol_class_of_the_programs_own_works_as_before(simulator: RunningSimulator, meter: Meter) -> None:
    class Protocol(ClientProtocol):
        seen = 0

        def events_received(self) -> Any:
            events = super().events_received()
            Protocol.seen += len(events)
            return events

    async def go() -> None:
        await one_turn(url_of(simulator))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("websockets.asyncio.client.ClientProtocol", Protocol)
        asyncio.run(go())
    simulator.wait_idle()
    assert Protocol.seen > 10
    meter.agrees_with(simulator.truth.as_json())


# --- What a server may send ------------------------------------------------------------------------------------------


ODD = [
    created("sess_1"),
    "not json, though it speaks of response.done",
    "[1, 2]",
    '"response.done"',
    "{}",
    '{"type": "response.done"}',
    '{"type": "response.done", "response": null}',
    '{"type": ["response.done"]}',
    done("resp_1", metadata={"type": "response.output_audio.delta", "x": '{"type":"response.output_audio.delta"}'}),
    done("resp_2", metadata={"note": "Grüße 🌷 \\u0000"}),
    '{"type": "response.output_audio.delta", "delta": "' + "A" * 70_000 + '"}',
    done("resp_3"),
]
# Two of the odd ones are a response.done that tells nothing.
TOLD = {"reported": 3, "missing": 2}


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("threads", [False, True])
def test_compressed_and_binary_and_odd_frames_reach_the_program_unchanged(
    meter: Meter, *, compression: str | None, binary: bool, threads: bool
) -> None:
    sent = [frame.encode() if binary else frame for frame in ODD]

    async def handler(connection: ServerConnection) -> None:
        for frame in sent:
            await connection.send(frame)

    async def go() -> list[Any]:
        async with serving(handler, compression=compression) as url:
            if threads:
                return await asyncio.to_thread(read_in_threads, url)
            async with websockets.connect(url, proxy=None, compression=compression) as connection:
                assert bool(connection.protocol.extensions) is bool(compression)
                return [frame async for frame in connection]

    def read_in_threads(url: str) -> list[Any]:
        with connect_in_threads(url, proxy=None, compression=compression) as connection:
            return list(connection)

    assert asyncio.run(asyncio.wait_for(go(), PATIENCE)) == sent
    assert {told: meter.sum("realtime_spend.usages", usage=told) for told in TOLD} == TOLD
    assert meter.sum("gen_ai.client.inference.usage.output_tokens") == 15
    assert meter.sum("realtime_spend.session.active") == 0


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("way", ["recv", "streaming"])
def test_fragmented_messages_with_pings_between_reach_the_program_unchanged(
    meter: Meter, *, compression: str | None, way: str
) -> None:
    async def pieces(connection: ServerConnection, frame: str, size: int) -> AsyncIterator[str]:
        yield ""
        for start in range(0, len(frame), size):
            await connection.ping()
            yield frame[start : start + size]
        yield ""

    async def handler(connection: ServerConnection) -> None:
        for frame in ODD:
            await connection.send(pieces(connection, frame, max(1, len(frame) // 5)))

    async def go() -> list[Any]:
        frames: list[Any] = []
        async with (
            serving(handler, compression=compression) as url,
            websockets.connect(url, proxy=None, compression=compression) as connection,
        ):
            if way == "recv":
                return [frame async for frame in connection]
            with contextlib.suppress(websockets.ConnectionClosedOK):
                while True:
                    parts: list[Any] = [part async for part in connection.recv_streaming()]
                    frames.append("".join(parts))
            return frames

    assert asyncio.run(asyncio.wait_for(go(), PATIENCE)) == ODD
    assert {told: meter.sum("realtime_spend.usages", usage=told) for told in TOLD} == TOLD
    assert meter.sum("gen_ai.client.inference.usage.output_tokens") == 15


def test_a_character_may_be_cut_by_a_fragment(meter: Meter) -> None:
    frame = done("resp_1", metadata={"note": "🌷" * 50}).encode()

    async def handler(connection: ServerConnection) -> None:
        for number, start in enumerate(range(0, len(frame), 7)):
            part, fin = frame[start : start + 7], start + 7 >= len(frame)
            if number:
                connection.protocol.send_continuation(part, fin)
            else:
                connection.protocol.send_text(part, fin)
            connection.transport.write(b"".join(connection.protocol.data_to_send()))

    async def go() -> list[Any]:
        async with serving(handler, compression=None) as url, websockets.connect(url, proxy=None) as connection:
            return [message async for message in connection]

    assert asyncio.run(asyncio.wait_for(go(), PATIENCE)) == [frame.decode()]
    assert meter.sum("gen_ai.client.inference.usage.output_tokens") == 5


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("instrumented", [False, True])
def test_a_refused_handshake_raises_as_before_and_is_no_session(
    meter_with: MeterWith, *, threads: bool, instrumented: bool
) -> None:
    async def handler(_connection: ServerConnection) -> None:
        raise AssertionError("nobody gets in")

    def refuse(connection: ServerConnection, _request: Any) -> Any:
        return connection.respond(HTTPStatus.UNAUTHORIZED, "who are you?")

    async def go() -> None:
        async with serving(handler, process_request=refuse) as url:
            if threads:
                await asyncio.to_thread(lambda: connect_in_threads(url, proxy=None))
            else:
                await websockets.connect(url, proxy=None)

    with meter_with() if instrumented else contextlib.nullcontext() as meter:
        with pytest.raises(websockets.InvalidStatus, match="server rejected WebSocket connection: HTTP 401") as raised:
            asyncio.run(go())
        assert raised.value.response.status_code == 401
        assert raised.value.response.body == b"who are you?"
        if meter:
            assert_no_session(meter)


@pytest.mark.parametrize("threads", [False, True])
def test_a_refused_connection_raises_as_before_and_is_no_session(meter: Meter, *, threads: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    url = f"ws://127.0.0.1:{port}/v1/realtime?model=gpt-realtime"

    async def go() -> None:
        await websockets.connect(url, proxy=None)

    with pytest.raises(ConnectionRefusedError) as raised:
        connect_in_threads(url, proxy=None) if threads else asyncio.run(go())
    assert raised.value.errno
    assert_no_session(meter)


def test_a_handshake_that_the_client_refuses_is_no_session(meter: Meter) -> None:
    answer = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: bm90IHdoYXQgeW91IGFza2Vk\r\n\r\n"
    )

    async def serve_wrongly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        await reader.read()
        writer.close()

    async def go() -> None:
        async with await asyncio.start_server(serve_wrongly, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await websockets.connect(f"ws://127.0.0.1:{port}/v1/realtime?model=gpt-realtime", proxy=None)

    with pytest.raises(websockets.InvalidHandshake):
        asyncio.run(asyncio.wait_for(go(), PATIENCE))
    assert_no_session(meter)


# --- What goes wrong in us -------------------------------------------------------------------------------------------


FAULTS = {
    "recognising": "realtime_spend.observing.recognise",
    "attributing": "realtime_spend.observing.attributes_now",
    "constructing": "realtime_spend.watcher.Watcher.__init__",
    "watching": "realtime_spend.hooks.websockets.WebsocketsHook.attach",
    "beginning": "realtime_spend.metering.Metering.begin",
    "reading": "realtime_spend.watcher.Connection.receive",
    "joining": "realtime_spend.watcher.Connection.receive_fragment",
    "accounting": "realtime_spend.metering.Metering.take",
    "pricing": "realtime_spend.metering.price",
    "writing": "realtime_spend.sinks.ledger.Ledger.append",
    "counting": "realtime_spend.metering.count_usages",
    "closing": "realtime_spend.watcher.Connection.close",
    "ending": "realtime_spend.metering.Metering.end",
    "flushing": "realtime_spend.sinks.flusher.Flusher.request",
}


@pytest.mark.parametrize("error", [RuntimeError, KeyError, AttributeError, RecursionError])
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_of_ours_reaches_the_program(
    meter: Meter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str, error: type[Exception]
) -> None:

    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise error("with a secret in it")

    async def handler(connection: ServerConnection) -> None:
        for frame in ODD:
            await connection.send(frame)
        await connection.send(["", ODD[-1][:9], ODD[-1][9:]])

    async def read(url: str) -> list[Any]:
        async with websockets.connect(url, proxy=None) as connection:
            return [frame async for frame in connection]

    def read_in_threads(url: str) -> list[Any]:
        with connect_in_threads(url, proxy=None) as connection:
            return list(connection)

    async def go() -> tuple[list[Any], list[Any]]:
        async with serving(handler) as url:
            return await read(url), await asyncio.to_thread(read_in_threads, url)

    monkeypatch.setattr(Containment, "reraise", False)
    monkeypatch.setattr(FAULTS[fault], fail)
    caplog.set_level(logging.DEBUG, "realtime_spend")
    assert asyncio.run(asyncio.wait_for(go(), PATIENCE)) == ([*ODD, ODD[-1]], [*ODD, ODD[-1]])
    errors = meter.errors()
    assert any(kind.startswith("internal.") for kind in errors), errors
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == len(set(said)) >= 1
    assert all(error.__name__ in line and "this program is not affected" in line for line in said)
    assert "secret" not in caplog.text


def test_a_fault_at_the_end_of_a_session_does_not_leave_it_open_in_the_books(
    simulator: RunningSimulator, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(Containment, "reraise", False)
    monkeypatch.setattr("realtime_spend.watcher.Connection.close", fail)
    asyncio.run(one_turn(url_of(simulator)))
    assert meter.sum("realtime_spend.session.active") == 0


def test_a_ledger_that_cannot_be_written_is_said_once_and_harms_nobody(
    simulator: RunningSimulator, meter_with: MeterWith, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with meter_with() as meter:
        meter.folder.write_text("a file where a folder should be", encoding="utf-8")
        for _ in range(2):
            assert len(asyncio.run(one_turn(url_of(simulator)))) > 10
        assert meter.errors() == {"ledger": 2}
        assert sum(str(tmp_path) in record.getMessage() for record in caplog.records) == 1
        assert meter.sum("realtime_spend.usages", usage="reported") == 2
        meter.folder.unlink()


# --- Switching on and off --------------------------------------------------------------------------------------------


def test_suppressed_instrumentation_leaves_a_session_alone(simulator: RunningSimulator, meter: Meter) -> None:
    with suppress_instrumentation():
        asyncio.run(one_turn(url_of(simulator)))
        one_turn_in_threads(url_of(simulator))
    simulator.wait_idle()
    assert_no_session(meter)
    asyncio.run(one_turn(url_of(simulator)))
    assert meter.sessions() == 1


@pytest.mark.parametrize("path", ["/chat", "/v1/responses", "/v1/realtimes", "/unrealtime", "/"])
def test_a_socket_of_another_protocol_gets_no_attribute_of_ours(meter: Meter, path: str) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send(done("resp_1"))

    async def go() -> set[str]:
        async with serving(handler) as url:
            other = url.replace("/v1/realtime", path)
            async with websockets.connect(other, proxy=None) as connection:
                assert [frame async for frame in connection] == [done("resp_1")]
                return set(vars(connection.protocol))

    watched = asyncio.run(go())
    RealtimeInstrumentor().uninstrument()
    assert asyncio.run(go()) == watched
    assert_no_session(meter)


def test_uninstrumenting_restores_the_class_and_open_connections(
    simulator: RunningSimulator, meter_with: MeterWith
) -> None:
    async def alone() -> set[str]:
        async with websockets.connect(url_of(simulator), proxy=None) as connection:
            return set(vars(connection.protocol))

    attributes = asyncio.run(alone())
    before = dict(vars(ClientProtocol))

    async def go() -> None:
        with meter_with() as meter:
            assert vars(ClientProtocol)["__init__"] is not before["__init__"]
            async with websockets.connect(url_of(simulator, rate=50, deltas=5), proxy=None) as connection:
                await connection.send(CREATE)
                await until(connection, "rate_limits.updated")
                await connection.send(CREATE)
                await until(connection, "response.created")
                assert meter.sum("realtime_spend.session.active") == 1
                RealtimeInstrumentor().uninstrument()
                assert set(vars(connection.protocol)) == attributes
                assert dict(vars(ClientProtocol)) == before
                assert all(vars(ClientProtocol)[name] is value for name, value in before.items())
                await until(connection, "rate_limits.updated")
            assert meter.sum("realtime_spend.usages") == 1
            assert len(meter.records()) == 1
            assert not meter.errors()

    asyncio.run(go())
    assert list(vars(ClientProtocol)) == list(before)


def test_uninstrumenting_leaves_no_session_open_in_the_books(simulator: RunningSimulator, meter: Meter) -> None:
    async def go() -> None:
        async with websockets.connect(url_of(simulator), proxy=None) as connection:
            await until(connection, "session.created")
            assert meter.sum("realtime_spend.session.active") == 1
            RealtimeInstrumentor().uninstrument()
            assert meter.sum("realtime_spend.session.active") == 0

    asyncio.run(go())


def test_instrumenting_twice_counts_once(simulator: RunningSimulator, meter: Meter) -> None:
    inside = vars(ClientProtocol)["__init__"]
    RealtimeInstrumentor().instrument(meter_provider=MeterProvider())
    assert vars(ClientProtocol)["__init__"] is inside
    asyncio.run(one_turn(url_of(simulator)))
    simulator.wait_idle()
    meter.agrees_with(simulator.truth.as_json())


def test_totals_go_on_when_the_same_provider_is_instrumented_again(simulator: RunningSimulator, meter: Meter) -> None:
    asyncio.run(one_turn(url_of(simulator)))
    provider = observing.RUNNING[-1].metering._flusher._provider
    RealtimeInstrumentor().uninstrument()
    asyncio.run(one_turn(url_of(simulator)))
    assert meter.sum("realtime_spend.usages") == 1
    RealtimeInstrumentor().instrument(meter_provider=provider, ledger=meter.folder)
    asyncio.run(one_turn(url_of(simulator)))
    assert meter.sum("realtime_spend.usages") == 2
    assert len(meter.records()) == 2


def test_a_wrapper_that_somebody_puts_around_us_survives_our_leaving(
    simulator: RunningSimulator, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = vars(ClientProtocol)["__init__"]
    seen = []

    def theirs(self: Any, *args: Any, **kwargs: Any) -> None:
        ours.__get__(self, type(self))(*args, **kwargs)
        seen.append(self)

    monkeypatch.setattr(ClientProtocol, "__init__", theirs)
    asyncio.run(one_turn(url_of(simulator)))
    assert meter.sum("realtime_spend.usages") == 1
    provider = observing.RUNNING[-1].metering._flusher._provider
    RealtimeInstrumentor().uninstrument()
    assert vars(ClientProtocol)["__init__"] is theirs
    asyncio.run(one_turn(url_of(simulator)))
    assert len(seen) == 2
    assert meter.sum("realtime_spend.usages") == 1
    RealtimeInstrumentor().instrument(meter_provider=provider, ledger=meter.folder)
    asyncio.run(one_turn(url_of(simulator)))
    assert len(seen) == 3
    assert meter.sum("realtime_spend.usages") == 2
    monkeypatch.undo()
    monkeypatch.setattr(Containment, "reraise", True)
    RealtimeInstrumentor().uninstrument()
    assert not isinstance(vars(ClientProtocol)["__init__"], type(ours))


# --- What stays behind -----------------------------------------------------------------------------------------------


def test_a_protocol_dies_as_early_as_without_us(simulator: RunningSimulator, meter_with: MeterWith) -> None:
    async def go() -> weakref.ref[Any]:
        async with websockets.connect(url_of(simulator), proxy=None) as connection:
            await connection.send(CREATE)
            await until(connection, "rate_limits.updated")
            return weakref.ref(connection.protocol)

    def go_in_threads() -> weakref.ref[Any]:
        with connect_in_threads(url_of(simulator), proxy=None) as connection:
            connection.send(CREATE)
            while json.loads(connection.recv(PATIENCE))["type"] != "rate_limits.updated":
                pass
            return weakref.ref(connection.protocol)

    def alive() -> tuple[bool, bool]:
        gc.collect()
        gc.disable()
        try:
            left = asyncio.run(go()), go_in_threads()
            return left[0]() is not None, left[1]() is not None
        finally:
            gc.enable()
            gc.collect()

    without = alive()
    with meter_with() as meter:
        assert alive() == without
        assert meter.sessions() == 2
        assert not instrumentor._HOOKS[0]._live


def test_we_add_no_cycle_to_a_protocol(meter: Meter) -> None:
    """The library's own cycle, of a protocol and its parser, is cut here: what is left would be ours."""
    protocol = ClientProtocol(parse_uri("ws://127.0.0.1/v1/realtime?model=gpt-realtime"))
    assert "events_received" in vars(protocol)
    del protocol.parser
    left = weakref.ref(protocol)
    gc.disable()
    try:
        del protocol
        assert left() is None
    finally:
        gc.enable()
    assert not instrumentor._HOOKS[0]._live
    assert_no_session(meter)


def _watchers() -> int:
    gc.collect()
    return sum(isinstance(one, Watcher) for one in gc.get_objects())


@pytest.mark.timeout(500)
def test_two_thousand_sessions_leave_nothing_behind(meter: Meter) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send(created(f"sess_{connection.id}"))
        begun = {"type": "response.created", "response": {"id": f"resp_{connection.id}"}}
        await connection.send(json.dumps(begun))
        await connection.send(done(f"resp_{connection.id}"))

    async def batch(url: str, sessions: int) -> None:
        async def one() -> int:
            async with websockets.connect(url, proxy=None, compression=None) as connection:
                return len([frame async for frame in connection])

        assert await asyncio.gather(*(one() for _ in range(sessions))) == [3] * sessions

    async def go(sessions: int) -> None:
        async with serving(handler, compression=None) as url:
            for _ in range(sessions // 50):
                async with asyncio.timeout(PATIENCE):
                    await batch(url, 50)

    def left() -> tuple[int, int, int, int]:
        metering: Metering = observing.RUNNING[-1].metering
        hook = instrumentor._HOOKS[0]
        return _watchers(), len(metering._live), len(hook._live), len(metering.sessions._sessions)

    def settled() -> tuple[int, int]:
        # What earlier tests have left is not to go between two looks.
        gc.collect()
        ends = time.monotonic() + PATIENCE
        while any(thread.name == "realtime-spend-flush" for thread in threading.enumerate()):
            assert time.monotonic() < ends, "the thread that flushes is still there"
            time.sleep(0.05)
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    asyncio.run(go(50))
    before = settled()
    asyncio.run(go(2000))
    assert settled() == before
    assert left() == (0, 0, 0, 0)
    assert meter.sum("realtime_spend.usages") == 2050 == meter.sessions()
    assert len(meter.records()) == 2050


# --- Many at once ----------------------------------------------------------------------------------------------------


def test_twenty_concurrent_sessions_are_counted_exactly(simulator: RunningSimulator, meter: Meter) -> None:
    async def one(number: int) -> None:
        outcomes = ("completed", "cancelled", "failed", "incomplete", "unsplit_cache")[number % 5]
        async with websockets.connect(url_of(simulator, outcomes=outcomes), proxy=None) as connection:
            for _ in range(3):
                await connection.send(CREATE)
                await until(connection, "rate_limits.updated")

    async def go() -> None:
        await asyncio.gather(*(one(number) for number in range(20)))

    asyncio.run(asyncio.wait_for(go(), PATIENCE))
    simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert truth["counts"]["responses"] == 60
    meter.agrees_with(truth)


def test_eight_threads_beside_an_event_loop_are_counted_exactly(simulator: RunningSimulator, meter: Meter) -> None:
    async def go() -> None:
        url = url_of(simulator)
        threads = [asyncio.to_thread(lambda: [one_turn_in_threads(url) for _ in range(3)]) for _ in range(8)]
        await asyncio.gather(*threads, *(one_turn(url) for _ in range(8)))

    asyncio.run(asyncio.wait_for(go(), PATIENCE))
    simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert truth["counts"]["responses"] == 32
    meter.agrees_with(truth)


# --- Forks -----------------------------------------------------------------------------------------------------------


FORKING = """
import json, os, sys
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from realtime_spend import RealtimeInstrumentor
from websockets.sync.client import connect

url, ledger = sys.argv[1:]
reader = InMemoryMetricReader()
RealtimeInstrumentor().instrument(meter_provider=MeterProvider(metric_readers=[reader]), ledger=ledger)

def usages():
    found = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for metric in resource.scope_metrics[0].metrics:
            if metric.name in ("realtime_spend.usages", "realtime_spend.session.active"):
                for point in metric.data.data_points:
                    key = point.attributes.get("realtime_spend.usage", "active")
                    found[key] = found.get(key, 0) + point.value
    return {key: value for key, value in found.items() if value}

def turn(connection, last):
    connection.send('{"type": "response.create"}')
    while json.loads(connection.recv(10))["type"] != last:
        pass

def say(**what):
    os.write(1, (json.dumps(what) + "\\n").encode())

parent = connect(url, proxy=None)
turn(parent, "rate_limits.updated")
turn(parent, "response.created")
child = os.fork()
if not child:
    say(who="child", when="forked", **usages())
    with connect(url, proxy=None) as own:
        turn(own, "rate_limits.updated")
    say(who="child", when="done", **usages())
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
say(who="parent", when="child is done", **usages())
parent.close()
say(who="parent", when="done", **usages())
"""


def test_a_forked_child_counts_from_zero_and_leaves_the_parent_its_own(
    simulator: RunningSimulator, tmp_path: Path
) -> None:
    program, ledger = tmp_path / "forking.py", tmp_path / "ledger"
    program.write_text(FORKING, encoding="utf-8")
    url = url_of(simulator, outcomes="completed,never_finished", deltas=1)
    ran = subprocess.run(
        [sys.executable, program, url, ledger], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    said = [json.loads(line) for line in ran.stdout.splitlines()]
    assert said == [
        {"who": "child", "when": "forked"},
        {"who": "child", "when": "done", "reported": 1},
        {"who": "parent", "when": "child is done", "reported": 1, "active": 1},
        {"who": "parent", "when": "done", "reported": 1, "lost": 1},
    ]
    files = [[json.loads(line)["usage"] for line in file.read_text().splitlines()] for file in ledger.glob("*.jsonl")]
    assert sorted(files) == [["reported"], ["reported", "lost"]]
    assert "realtime-spend" not in ran.stderr
