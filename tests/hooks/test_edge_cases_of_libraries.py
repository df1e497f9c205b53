"""What single libraries have besides: their own ways to read, to close and to connect again, and subclasses."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import selectors
import socket as sockets
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import httpx_ws
import pytest
import websocket
from aiohttp import WSMsgType, web
from openai import AsyncOpenAI, OpenAI
from tests.hooks.messages import CREATE, LAST, done, url_of

from realtime_spend.simulator import RunningSimulator, SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.hooks.conftest import Meter, MeterWith, Serving, Transport

PATIENCE = 20.0
CREATED = json.dumps({"type": "session.created", "session": {"id": "sess_1", "model": "gpt-realtime"}})
BEGUN = json.dumps({"type": "response.created", "response": {"id": "resp_1"}})


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with run_in_thread(SimulatorOptions(seed=29)) as running:
        yield running


def usages(meter: Meter) -> list[tuple[str, str]]:
    return [(record["id"], record["usage"]) for record in meter.records()]


# --- aiohttp ---------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serving_with_aiohttp(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}/v1/realtime?model=gpt-realtime"
    finally:
        await runner.cleanup()


async def until(connection: aiohttp.ClientWebSocketResponse, kind: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await connection.receive_json())["type"] != kind:
            pass


async def answers_the_close(request: web.Request) -> web.WebSocketResponse:
    """Begin a response, and finish it only when the client has said that it closes, as a service may."""
    server = web.WebSocketResponse(autoclose=False)
    await server.prepare(request)
    await server.send_str(CREATED)
    await server.send_str(BEGUN)
    message = await server.receive()
    assert message.type is WSMsgType.CLOSE
    # After a moment in which a program's second close has long returned.
    await asyncio.sleep(0.2)
    await server._writer.send_frame(done("resp_1").encode(), WSMsgType.TEXT)  # type: ignore[union-attr]
    await server._writer.close(1000)  # type: ignore[union-attr]
    return server


@pytest.mark.parametrize("closes", ["the reader too", "another task alone", "the reader alone", "the session"])
async def test_a_usage_between_our_close_and_the_servers_is_counted(meter: Meter, closes: str) -> None:
    ends: list[bool] = []

    async def read(connection: aiohttp.ClientWebSocketResponse) -> None:
        async for _ in connection:
            pass
        if closes == "the reader too":
            # One of the two does it, and the other one returns at once.
            ends.append(await connection.close())

    async with (
        serving_with_aiohttp(answers_the_close) as url,
        aiohttp.ClientSession() as session,
        session.ws_connect(url) as connection,
    ):
        await until(connection, "response.created")
        if closes in ("the reader alone", "the session"):
            await connection.close()
        else:
            reading = asyncio.create_task(read(connection))
            await asyncio.sleep(0.05)
            ends.append(await connection.close())
            await reading
    assert ends.count(True) == (closes in ("the reader too", "another task alone"))
    assert usages(meter) == [("resp_1", "reported")]
    assert meter.sessions() == 1
    assert meter.sum("realtime_spend.session.active") == 0


async def test_a_session_of_aiohttp_closed_instead_of_its_socket_ends_what_is_open(
    simulator: RunningSimulator, meter: Meter
) -> None:
    session = aiohttp.ClientSession()
    connection = await session.ws_connect(url_of(simulator, outcomes="never_finished", deltas=1))
    await connection.send_str(CREATE)
    await until(connection, "response.created")
    await session.close()
    async with asyncio.timeout(PATIENCE):
        while not connection.closed:
            await connection.receive()
    await asyncio.to_thread(simulator.wait_idle)
    meter.agrees_with(simulator.truth.as_json())


@pytest.mark.parametrize("wait", ["receive", "receive_str", "receive_json", "wait_for", "cancelled"])
async def test_a_read_that_times_out_or_is_cancelled_does_not_end_the_session(
    simulator: RunningSimulator, meter: Meter, wait: str
) -> None:
    async def wait_for_nothing(connection: aiohttp.ClientWebSocketResponse) -> None:
        if wait == "cancelled":
            reading = asyncio.create_task(connection.receive())
            await asyncio.sleep(0.01)
            reading.cancel()
            await asyncio.wait({reading})
            assert reading.cancelled()
            return
        reads = connection.receive() if wait == "wait_for" else getattr(connection, wait)(timeout=0.01)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reads, 0.01 if wait == "wait_for" else PATIENCE)

    async with aiohttp.ClientSession() as session, session.ws_connect(url_of(simulator)) as connection:
        await until(connection, "session.created")
        for _ in range(3):
            await wait_for_nothing(connection)
            assert connection.close_code == 1006
            assert meter.sum("realtime_spend.session.active") == 1
            await connection.send_str(CREATE)
            await until(connection, LAST)
    await asyncio.to_thread(simulator.wait_idle)
    meter.agrees_with(simulator.truth.as_json())


@pytest.mark.parametrize("library", ["aiohttp", "websockets legacy"])
async def test_thousands_of_cancelled_reads_lose_neither_a_message_nor_a_usage(
    simulator: RunningSimulator, meter: Meter, library: str
) -> None:
    url = url_of(simulator, rate=500, deltas=300, delta_bytes=64)

    @contextlib.asynccontextmanager
    async def connected() -> AsyncIterator[tuple[Any, Any]]:
        if library == "aiohttp":
            async with aiohttp.ClientSession() as session, session.ws_connect(url) as connection:
                yield connection.receive_str, connection.send_str
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            from websockets.legacy.client import connect  # noqa: PLC0415 - warns as it is imported
        async with connect(url) as socket:
            yield socket.recv, socket.send

    async def one_answer() -> int:
        numbers, cancelled = [], 0
        async with asyncio.timeout(PATIENCE), connected() as (receive, send):
            await send(CREATE)
            kind = ""
            while kind != LAST:
                reading = asyncio.ensure_future(receive())
                await asyncio.sleep(0)
                if not reading.done():
                    reading.cancel()
                try:
                    event = json.loads(await reading)
                    kind = event["type"]
                    numbers.append(event["event_id"][-6:])
                except asyncio.CancelledError:
                    cancelled += 1
        assert numbers == [f"{number:06d}" for number in range(1, len(numbers) + 1)]
        return cancelled

    cancelled = 0
    # While an answer comes, a busy machine reads less often in vain.
    for _ in range(50):
        cancelled += await one_answer()
        if cancelled >= 1000:
            break
    assert cancelled >= 1000
    await asyncio.to_thread(simulator.wait_idle)
    meter.agrees_with(simulator.truth.as_json())


TOLD: list[tuple[dict[str, Any], dict[str, object]]] = [
    ({"autoping": False}, {"pings": 1}),
    ({"heartbeat": 0.05}, {"pings": 1, "rate": 50, "deltas": 10}),
    ({"autoclose": False}, {"close_after": 2, "close_code": 4001}),
    ({"decode_text": False}, {"fragments": 3}),
    ({"compress": 15}, {"deflate": 1, "close_after": 2}),
    ({"max_msg_size": 0}, {"close_after": 2, "close_code": 1011}),
    ({"receive_timeout": 5.0}, {"outcomes": "completed,dropped"}),
]


async def converse(connection: aiohttp.ClientWebSocketResponse) -> list[Any]:
    """Ask for two answers and write down all that is read."""
    seen: list[Any] = []
    answers = 0
    await connection.send_str(CREATE)
    while answers < 2:
        message = await connection.receive(timeout=PATIENCE)
        data = message.data
        if message.type is WSMsgType.PING:
            await connection.pong(data)
        elif message.type is WSMsgType.TEXT:
            data = json.loads(data)
            data.get("session", {}).pop("expires_at", None)
            answers += data["type"] == LAST
            if data["type"] == LAST and answers == 1:
                await connection.send_str(CREATE)
        seen.append((message.type, type(message.data), data, message.extra))
        if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED):
            break
    return seen


@pytest.mark.parametrize(("options", "simulated"), TOLD, ids=[next(iter(options)) for options, _ in TOLD])
async def test_whatever_aiohttp_is_told_the_program_sees_the_same_and_the_truth_is_counted(
    meter_with: MeterWith, options: dict[str, Any], simulated: dict[str, Any]
) -> None:
    async def run() -> tuple[list[Any], dict[str, Any]]:
        with run_in_thread(SimulatorOptions(seed=29)) as simulator, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            url = url_of(simulator, **{"deltas": 2} | simulated)
            async with aiohttp.ClientSession() as session, session.ws_connect(url, **options) as connection:
                # A busy machine may take longer for a pong than half of a heartbeat, which is all it would be given.
                connection._pong_heartbeat = PATIENCE
                seen = await converse(connection)
                seen.append((connection.closed, connection.close_code, repr(connection.exception())))
            seen.append((connection.closed, connection.close_code, repr(connection.exception())))
            await asyncio.to_thread(simulator.wait_idle)
            return seen, simulator.truth.as_json()

    alone, _ = await run()
    with meter_with() as meter:
        ours, truth = await run()
        meter.agrees_with(truth)
    assert ours == alone
    assert truth["counts"]["responses"] == 2


async def test_a_server_that_answers_no_heartbeat_ends_the_session(meter: Meter) -> None:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        server = web.WebSocketResponse(autoping=False)
        await server.prepare(request)
        await server.send_str(CREATED)
        await server.send_str(BEGUN)
        async for _ in server:
            pass
        return server

    async with serving_with_aiohttp(handler) as url, aiohttp.ClientSession() as session:
        # What the server says before must have been read by then.
        connection = await session.ws_connect(url, heartbeat=1.0)
        await until(connection, "response.created")
        message = await connection.receive(timeout=PATIENCE)
        # The program neither reads on nor closes.
        assert message.type is WSMsgType.ERROR
        assert usages(meter) == [("resp_1", "lost")]
        assert meter.sessions() == 1


async def test_without_closing_by_itself_aiohttp_still_tells_the_end(meter: Meter) -> None:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        server = web.WebSocketResponse()
        await server.prepare(request)
        await server.send_str(CREATED)
        await server.send_str(BEGUN)
        await server._writer.close(1001)  # type: ignore[union-attr]
        await server.receive()
        return server

    async with serving_with_aiohttp(handler) as url, aiohttp.ClientSession() as session:
        connection = await session.ws_connect(url, autoclose=False)
        await until(connection, "response.created")
        assert (await connection.receive(timeout=PATIENCE)).type is WSMsgType.CLOSE
        assert usages(meter) == [("resp_1", "lost")]
        await connection.close()
    assert meter.sessions() == 1


async def test_a_redirect_is_followed_to_where_the_session_is(simulator: RunningSimulator, meter: Meter) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/voice":
            raise web.HTTPTemporaryRedirect(url_of(simulator, deltas=1).replace("ws:", "http:"))
        raise web.HTTPTemporaryRedirect("/voice")

    async with (
        serving_with_aiohttp(handler) as url,
        aiohttp.ClientSession() as session,
        session.ws_connect(url) as connection,
    ):
        await connection.send_str(CREATE)
        await until(connection, LAST)
    await asyncio.to_thread(simulator.wait_idle)
    meter.agrees_with(simulator.truth.as_json())


async def test_two_readers_at_once_are_refused_as_before(simulator: RunningSimulator, meter: Meter) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(url_of(simulator)) as connection:
        await until(connection, "session.created")
        reading = asyncio.create_task(connection.receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="Concurrent call to receive"):
            await connection.receive()
        await connection.send_str(CREATE)
        await reading
        await until(connection, LAST)
    await asyncio.to_thread(simulator.wait_idle)
    meter.agrees_with(simulator.truth.as_json())


def elsewhere() -> type[aiohttp.ClientWebSocketResponse]:
    """Return aiohttp's own class as a release would have it that calls its reader by another name."""
    source = inspect.getsource(aiohttp.client_ws).replace("self._reader", "self._inbox")
    module: dict[str, Any] = {**vars(aiohttp.client_ws)}
    exec(compile(source, aiohttp.client_ws.__file__, "exec"), module)  # noqa: S102 - the library's own text
    changed: type[aiohttp.ClientWebSocketResponse] = module["ClientWebSocketResponse"]
    return changed


@pytest.mark.parametrize("ends", ["by the server", "by the program"])
async def test_an_aiohttp_that_keeps_its_reader_elsewhere_is_watched_as_it_receives(
    simulator: RunningSimulator, meter_with: MeterWith, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    changed = elsewhere()
    before = dict(vars(changed))
    monkeypatch.setattr("aiohttp.client_ws.ClientWebSocketResponse", changed)
    url = url_of(simulator, deltas=2, outcomes="completed,cancelled", close_after=2 if ends == "by the server" else 0)
    with meter_with() as meter:
        async with (
            aiohttp.ClientSession(ws_response_class=changed) as session,
            session.ws_connect(url) as connection,
        ):
            assert not hasattr(connection, "_reader")
            for last in (LAST, LAST if ends == "by the program" else None):
                await connection.send_str(CREATE)
                if last:
                    await until(connection, last)
            while ends == "by the server" and not connection.closed:
                await connection.receive(timeout=PATIENCE)
        await asyncio.to_thread(simulator.wait_idle)
        meter.agrees_with(simulator.truth.as_json())
    assert all(vars(changed)[name] is value for name, value in before.items())


# --- Classes of a program's own --------------------------------------------------------------------------------------


class Noted(aiohttp.ClientWebSocketResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notes: list[str] = ["made"]

    async def receive(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as the library has it
        self.notes.append("read")
        return await super().receive(timeout)

    async def close(self, *, code: int = 1000, message: bytes = b"") -> bool:
        self.notes.append("closed")
        return await super().close(code=code, message=message)


class NotedSocket(websocket.WebSocket):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.notes: list[str] = ["made"]

    def recv_frame(self) -> Any:
        self.notes.append("read")
        return super().recv_frame()  # type: ignore[no-untyped-call]

    def shutdown(self) -> None:
        self.notes.append("closed")
        super().shutdown()  # type: ignore[no-untyped-call]


class NotedSession(httpx_ws.WebSocketSession):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notes: list[str] = ["made"]
        self._program = threading.current_thread()

    def receive(self, timeout: float | None = None) -> Any:
        self.notes.append("read")
        return super().receive(timeout)

    def close(self, code: int = 1000, reason: str | None = None) -> None:
        # The thread that reads closes too, where it is still there to find the stream at its end.
        if threading.current_thread() is self._program:
            self.notes.append("closed")
        super().close(code, reason)


async def note_aiohttp(url: str) -> list[str]:
    async with (
        aiohttp.ClientSession(ws_response_class=Noted) as session,
        session.ws_connect(url) as connection,
    ):
        assert type(connection) is Noted
        await connection.send_str(CREATE)
        await until(connection, LAST)
    return connection.notes


async def note_websocket_client(url: str) -> list[str]:
    def go() -> list[str]:
        connection: Any = websocket.create_connection(url, timeout=PATIENCE, class_=NotedSocket)
        connection.send(CREATE)
        while json.loads(connection.recv())["type"] != LAST:
            pass
        connection.close()
        notes: list[str] = connection.notes
        return notes

    return await asyncio.to_thread(go)


async def note_httpx_ws(url: str) -> list[str]:
    def go() -> list[str]:
        with (
            httpx.Client(trust_env=False) as client,
            httpx_ws.WebSocketClient(client, session_class=NotedSession).connect(url) as connection,
        ):
            connection.send_text(CREATE)
            while connection.receive_json(PATIENCE)["type"] != LAST:
                pass
        return connection.notes

    return await asyncio.to_thread(go)


@pytest.mark.parametrize("note", [note_aiohttp, note_websocket_client, note_httpx_ws])
async def test_a_connection_class_of_the_programs_own_is_watched_and_works_as_before(
    meter_with: MeterWith, note: Callable[[str], Awaitable[list[str]]]
) -> None:
    notes = []
    for watched in (False, True):
        with (
            run_in_thread(SimulatorOptions(seed=30)) as simulator,
            meter_with() if watched else contextlib.nullcontext() as meter,
        ):
            notes.append(await note(url_of(simulator, deltas=1)))
            await asyncio.to_thread(simulator.wait_idle)
            if meter is not None:
                meter.agrees_with(simulator.truth.as_json())
    assert notes[0] == notes[1]
    assert {"made", "read", "closed"} == set(notes[0])


# --- websocket-client ------------------------------------------------------------------------------------------------


def read_until(connection: Any, kind: str) -> None:
    while json.loads(connection.recv())["type"] != kind:
        pass


@pytest.mark.parametrize("leaves", ["closed", "shut down", "dropped by the server", "just connected again"])
def test_one_websocket_client_object_connected_again_and_again_is_counted_exactly(
    simulator: RunningSimulator, meter: Meter, leaves: str
) -> None:
    connection: Any = websocket.WebSocket()
    connection.settimeout(PATIENCE)
    left: list[Any] = []
    for number in range(4):
        ends = "never_finished" if leaves != "dropped by the server" else "dropped"
        connection.connect(url_of(simulator, outcomes=f"completed,{ends}", deltas=1))
        connection.send(CREATE)
        read_until(connection, LAST)
        connection.send(CREATE)
        read_until(connection, "response.created")
        if leaves == "closed":
            connection.close()
        elif leaves == "shut down":
            connection.shutdown()
        elif leaves == "dropped by the server":
            with contextlib.suppress(websocket.WebSocketConnectionClosedException, ConnectionResetError):
                read_until(connection, "the end of the connection")
        else:
            # The object forgets its socket; what it was connected to ends when nobody holds it.
            left.append(connection.sock)
        assert meter.sum("realtime_spend.session.active") == (1 if leaves == "just connected again" else 0), number
    connection.shutdown()
    for one in left:
        one.close()
    simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert (truth["counts"]["reported"], truth["counts"]["lost"]) == (4, 4)
    meter.agrees_with(truth)


def test_a_connection_refused_to_an_object_that_was_connected_ends_its_session_once(
    simulator: RunningSimulator, meter: Meter, port_of_nobody: int
) -> None:
    connection: Any = websocket.WebSocket()
    connection.connect(url_of(simulator))
    before = connection.sock
    with pytest.raises(ConnectionRefusedError):
        connection.connect(f"ws://127.0.0.1:{port_of_nobody}/v1/realtime")
    assert meter.sessions() == 1
    assert not {"recv_frame", "shutdown"} & set(vars(connection))
    before.close()


def test_an_app_that_reconnects_is_counted_exactly(simulator: RunningSimulator, meter: Meter) -> None:
    opened: list[str] = []

    def on_open(app: Any) -> None:
        opened.append("opened")
        app.send(CREATE)

    def on_message(app: Any, message: str) -> None:
        if json.loads(message)["type"] == "response.done" and len(opened) == 3:
            app.close()

    app = websocket.WebSocketApp(
        url_of(simulator, deltas=1, close_after=1), on_open=on_open, on_reconnect=on_open, on_message=on_message
    )
    app.run_forever(reconnect=1, ping_timeout=0.1)
    simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert truth["counts"]["sessions"] == 3 == len(opened)
    meter.agrees_with(truth)


class Selecting:
    """A dispatcher of a program's own, with the methods that the library asks of one."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.callbacks: dict[Any, Callable[[], Any]] = {}

    def signal(self, _number: int, _callback: Callable[..., Any]) -> None:
        pass

    def abort(self) -> None:
        pass

    def read(self, sock: Any, callback: Callable[[], Any]) -> None:
        self.callbacks[sock] = callback
        self.selector.register(sock, selectors.EVENT_READ)

    def buffwrite(self, sock: Any, data: Any, send: Callable[..., Any], _disconnected: Callable[..., Any]) -> None:
        while data:
            data = data[send(sock, data) :]

    def timeout(self, _seconds: float, _callback: Callable[..., Any], *_arguments: Any) -> None:
        pass

    def dispatch(self, until_set: threading.Event) -> None:
        ends = time.monotonic() + PATIENCE
        while not until_set.is_set() and time.monotonic() < ends:
            for key, _ in self.selector.select(0.1):
                self.callbacks[key.fileobj]()
        self.selector.close()


def test_an_app_with_a_dispatcher_of_the_programs_own_is_counted_exactly(
    simulator: RunningSimulator, meter: Meter
) -> None:
    ended = threading.Event()
    dispatcher = Selecting()

    def on_message(app: Any, message: str) -> None:
        if json.loads(message)["type"] == LAST:
            dispatcher.selector.unregister(app.sock.sock)
            app.close()
            ended.set()

    app = websocket.WebSocketApp(
        url_of(simulator, deltas=2), on_open=lambda app: app.send(CREATE), on_message=on_message
    )
    app.run_forever(dispatcher=dispatcher)
    dispatcher.dispatch(ended)
    simulator.wait_idle()
    assert ended.is_set()
    meter.agrees_with(simulator.truth.as_json())


@pytest.mark.parametrize(
    "options", [{"fire_cont_frame": True}, {"skip_utf8_validation": True}, {"enable_multithread": False}], ids=str
)
def test_whatever_websocket_client_is_told_the_program_sees_the_same_and_the_truth_is_counted(
    meter_with: MeterWith, options: dict[str, Any]
) -> None:
    def go(simulator: RunningSimulator) -> list[tuple[int, bytes]]:
        url = url_of(simulator, deltas=2, fragments=3, pings=1)
        connection: Any = websocket.create_connection(url, timeout=PATIENCE, **options)
        seen: list[tuple[int, bytes]] = []
        connection.send(CREATE)
        # The last event comes in three frames, which are handed out one by one if so asked for.
        while b"rate_limits.updated" not in b"".join(data for _, data in seen[-3:]):
            seen.append(connection.recv_data(control_frame=True))
        seen += [connection.recv_data() for _ in range(2 if options.get("fire_cont_frame") else 0)]
        connection.close()
        simulator.wait_idle()
        return [one for one in seen if b"expires_at" not in one[1]]

    with run_in_thread(SimulatorOptions(seed=31)) as simulator:
        alone = go(simulator)
    with run_in_thread(SimulatorOptions(seed=31)) as simulator, meter_with() as meter:
        ours = go(simulator)
        meter.agrees_with(simulator.truth.as_json())
    assert [len(data) for _, data in ours] == [len(data) for _, data in alone]
    assert [one for one in ours if b"expires" not in one[1]] == [one for one in alone if b"expires" not in one[1]]


def test_reads_that_time_out_in_the_middle_of_a_frame_lose_nothing(serving: Serving, meter: Meter) -> None:
    def handler(connection: Any) -> None:
        for message in (CREATED, done("resp_1"), done("resp_2")):
            frame = b"\x81\x7e" + len(message).to_bytes(2, "big") + message.encode()
            for start in range(0, len(frame), 50):
                connection.socket.sendall(frame[start : start + 50])
                time.sleep(0.02)
        connection.recv()

    with serving(handler) as url:
        connection: Any = websocket.create_connection(f"{url}/v1/realtime", timeout=PATIENCE)
        connection.settimeout(0.002)
        read: list[str | bytes] = []
        waited = 0
        ends = time.monotonic() + PATIENCE
        while len(read) < 3 and time.monotonic() < ends:
            try:
                read.append(connection.recv())
            except websocket.WebSocketTimeoutException:
                waited += 1
        connection.settimeout(PATIENCE)
        connection.send("thanks")
        connection.close()
    assert read == [CREATED, done("resp_1"), done("resp_2")]
    assert waited >= len(read)
    assert usages(meter) == [("resp_1", "reported"), ("resp_2", "reported")]
    assert meter.sessions() == 1


def test_several_threads_on_one_websocket_client_connection_are_counted_exactly(
    simulator: RunningSimulator, meter: Meter
) -> None:
    connection: Any = websocket.create_connection(url_of(simulator, deltas=20, rate=400), timeout=PATIENCE)
    kinds: list[str] = []
    enough, answered = threading.Event(), threading.Semaphore(0)

    def read() -> None:
        with contextlib.suppress(websocket.WebSocketException, OSError):
            while text := connection.recv():
                kinds.append(json.loads(text)["type"])
                if kinds[-1] == LAST:
                    answered.release()

    def write() -> None:
        for _ in range(3):
            connection.send(CREATE)
            connection.ping("still here")
            assert answered.acquire(timeout=PATIENCE)
        enough.set()

    threads = [threading.Thread(target=work) for work in (read, read, read, write)]
    for thread in threads:
        thread.start()
    assert enough.wait(PATIENCE)
    connection.close()
    for thread in threads:
        thread.join(PATIENCE)
    connection.shutdown()
    simulator.wait_idle()
    meter.agrees_with(simulator.truth.as_json())


def test_a_websocket_client_connection_closed_by_another_thread_while_one_reads_is_counted_exactly(
    serving: Serving, meter: Meter
) -> None:
    sent = threading.Event()

    def handler(connection: Any) -> None:
        connection.send(CREATED)
        connection.send(BEGUN)
        connection.recv()
        connection.send(done("resp_1"))
        sent.set()
        for _ in connection:
            pass

    with serving(handler) as url:
        connection: Any = websocket.create_connection(f"{url}/v1/realtime", timeout=PATIENCE)
        read_until(connection, "response.created")
        read: list[str | bytes] = []

        def reading() -> None:
            with contextlib.suppress(websocket.WebSocketException, OSError):
                while text := connection.recv():
                    read.append(text)

        thread = threading.Thread(target=reading)
        thread.start()
        connection.send("go on")
        # Whether the thread that reads or the close gets it, it has come.
        assert sent.wait(PATIENCE)
        connection.close()
        thread.join(PATIENCE)
        connection.shutdown()
    assert usages(meter) == [("resp_1", "reported")]
    assert meter.sum("realtime_spend.session.active") == 0


# --- openai, which reconnects by itself ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["in a loop", "in threads"])
async def test_the_openai_client_that_reconnects_by_itself_is_counted_exactly(
    simulator: RunningSimulator, meter: Meter, way: str
) -> None:
    reconnected: list[int] = []

    def again(event: Any) -> None:
        reconnected.append(event.close_code)

    query = {"sim_close_after": 1, "sim_close_code": 1012, "sim_deltas": 2}
    base = f"ws://127.0.0.1:{simulator.port}/v1"

    async def in_a_loop() -> int:
        ended = 0
        async with (
            AsyncOpenAI(api_key="any", websocket_base_url=base) as client,
            client.realtime.connect(
                model="gpt-realtime", extra_query=query, on_reconnecting=again, initial_delay=0.01
            ) as connection,
        ):
            async for event in connection:
                if event.type == "session.created":
                    await connection.response.create()
                ended += event.type == "response.done"
                if ended == 3:
                    break
        return ended

    def in_threads() -> int:
        ended = 0
        with (
            OpenAI(api_key="any", websocket_base_url=base) as client,
            client.realtime.connect(
                model="gpt-realtime", extra_query=query, on_reconnecting=again, initial_delay=0.01
            ) as connection,
        ):
            for event in connection:
                if event.type == "session.created":
                    connection.response.create()
                ended += event.type == "response.done"
                if ended == 3:
                    break
        return ended

    assert await (in_a_loop() if way == "in a loop" else asyncio.to_thread(in_threads)) == 3
    assert reconnected == [1012, 1012]
    await asyncio.to_thread(simulator.wait_idle)
    truth = simulator.truth.as_json()
    assert truth["counts"]["sessions"] == 3
    meter.agrees_with(truth)


# --- Half-closed, and other ends of the network ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["websockets", "websockets in threads", "websockets legacy", "aiohttp", "websocket-client", "httpx-ws"]
)
def test_a_server_that_goes_in_the_middle_of_a_frame_leaves_what_it_told_before(
    transports: dict[str, Transport], serving: Serving, meter: Meter, name: str
) -> None:
    def handler(connection: Any) -> None:
        for message in (CREATED, BEGUN, done("resp_1"), BEGUN.replace("resp_1", "resp_2")):
            connection.send(message)
        # The head of a frame of 126 bytes, some of it, and no more than that will ever come.
        connection.socket.sendall(b"\x81\x7e\x00\x7e" + b'{"type":')
        connection.socket.shutdown(sockets.SHUT_WR)
        with contextlib.suppress(OSError):
            while connection.socket.recv(1024):
                pass

    with serving(handler) as url:
        messages = transports[name].read(f"{url}/v1/realtime?model=gpt-realtime")
    assert [json.loads(one)["type"] for one in messages][-2:] == ["response.done", "response.created"]
    assert usages(meter) == [("resp_1", "reported"), ("resp_2", "lost")]
    assert meter.sessions() == 1


# --- Event loops that let a task begin at once -----------------------------------------------------------------------

FACTORIES = [None, *[one for one in [getattr(asyncio, "eager_task_factory", None)] if one]]


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("library", ["aiohttp", "websockets legacy"])
async def test_a_message_that_comes_with_the_handshake_is_seen(meter: Meter, library: str, factory: Any) -> None:
    asyncio.get_running_loop().set_task_factory(factory)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
        frames = b"".join(
            b"\x81" + (b"\x7e" + len(text).to_bytes(2, "big") if len(text) > 125 else bytes([len(text)])) + text
            for text in (CREATED.encode(), done("resp_1").encode())
        )
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: "
            + accept(key.partition(b":")[2].strip())
            + b"\r\n\r\n"
            + frames
            + b"\x88\x02\x03\xe8"
        )
        await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        ended.set()

    ended = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/realtime?model=gpt-realtime"
        if library == "aiohttp":
            async with aiohttp.ClientSession() as session, session.ws_connect(url) as connection:
                assert [json.loads(one.data)["type"] async for one in connection] == [
                    "session.created",
                    "response.done",
                ]
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                from websockets.legacy.client import connect  # noqa: PLC0415 - warns as it is imported
            async with connect(url, ping_interval=None, close_timeout=0.1) as socket:
                assert [json.loads(one)["type"] async for one in socket] == ["session.created", "response.done"]
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
    assert usages(meter) == [("resp_1", "reported")]
    assert meter.sessions() == 1


def accept(key: bytes) -> bytes:
    import base64  # noqa: PLC0415 - for this alone
    import hashlib  # noqa: PLC0415 - for this alone

    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324 - RFC 6455
