"""Each client runs one program twice, with and without us: it sees the same, and what we counted is the truth."""

from __future__ import annotations

import asyncio
import base64
import json
import queue
import threading
import warnings
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import aiohttp
import httpx
import httpx_ws
import pytest
import websocket
import websockets
from agents.realtime import RealtimeAgent, RealtimeRunner
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI
from websockets.sync.client import connect as connect_in_threads
from wsproto.connection import ConnectionState

from realtime_spend.simulator import Deployment, RunningSimulator, Scope, SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.hooks.conftest import MeterWith

PATIENCE = 20.0
SOUND = base64.b64encode(bytes(48 * 600)).decode()
DEPLOYED = {
    "voice": Deployment(model="gpt-realtime", version="2025-08-28", scope=Scope.DATAZONE),
    "ears": Deployment(model="gpt-4o-transcribe"),
    "old-ears": Deployment(model="whisper-1"),
}
SAID_OF_DEPLOYMENTS = {
    "voice": {"model": "gpt-realtime", "version": "2025-08-28", "scope": "datazone"},
    "ears": {"model": "gpt-4o-transcribe", "scope": "global"},
    "old-ears": {"model": "whisper-1", "scope": "global"},
}

Step = tuple[str, Any]
Seen = list[Any]


# --- What the programs say -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What a simulator does in a session and what a client says in it."""

    options: dict[str, Any]
    transcription: tuple[str, ...] = ()
    turns: int = 1
    texts: int = 0
    out_of_band: int = 0
    ends: str = "client"


SCENARIOS = {
    "every outcome, transcribed by tokens": Scenario(
        options={"outcomes": "completed,cancelled,incomplete,failed,usage_missing,unsplit_cache,no_details,completed"},
        transcription=("tokens",),
        turns=5,
        texts=2,
        out_of_band=1,
    ),
    "repeated and late, the type last, transcribed by time": Scenario(
        options={"repeat": 1, "key_order": "type_last", "transcription_late": 1, "outcomes": "unsplit_cache"},
        transcription=("time",),
        turns=3,
    ),
    "transcriptions that say nothing, and another model from the second turn on": Scenario(
        options={"transcription_usage": "missing,null,failed,model", "key_order": "event_id_first"},
        transcription=("time", "tokens"),
        turns=4,
    ),
    "closed by the server with a code of its own": Scenario(
        options={"close_after": 2, "close_code": 4321}, turns=1, texts=1, ends="server"
    ),
    "closed by the server as usual": Scenario(options={"close_after": 1}, ends="server"),
    "cut by the network between created and done": Scenario(
        options={"outcomes": "completed,dropped"}, transcription=("tokens",), turns=1, texts=1, ends="server"
    ),
    "left by the client with a response and a transcription under way": Scenario(
        # A client that leaves many frames unread stops reading its socket, and then waits ten seconds for its close.
        options={"outcomes": "completed,never_finished", "transcription_late": 1, "deltas": 2},
        transcription=("tokens",),
        turns=2,
        ends="early",
    ),
}


def _session(*, beta: bool, azure: bool, transcription: str) -> dict[str, Any]:
    tokens, time = ("ears", "old-ears") if azure else ("gpt-4o-transcribe", "whisper-1")
    chosen = {"model": tokens if transcription == "tokens" else time, "prompt": "Names of flowers."}
    if beta:
        return {"input_audio_transcription": chosen}
    return {"type": "realtime", "audio": {"input": {"transcription": chosen}}}


def until_all_is_said(*, of: str) -> Iterator[Step]:
    """Read on until the server has said all that it had to say after an event, which may come twice."""
    yield "until", of
    yield "send", {"type": "input_audio_buffer.clear"}
    yield "until", "input_audio_buffer.cleared"


def program(scenario: Scenario, *, beta: bool, azure: bool) -> Iterator[Step]:
    """Say what a client sends, and until which event it then reads."""
    yield "until", "session.created"
    total = scenario.turns + scenario.texts
    for turn in range(total):
        if turn < len(scenario.transcription):
            session = _session(beta=beta, azure=azure, transcription=scenario.transcription[turn])
            yield "send", {"type": "session.update", "session": session}
            yield "until", "session.updated"
        if turn < scenario.turns:
            yield "send", {"type": "input_audio_buffer.append", "audio": SOUND}
        else:
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Roses?"}]}
            yield "send", {"type": "conversation.item.create", "item": item}
            yield "until", "conversation.item.created" if beta else "conversation.item.done"
            yield "send", {"type": "response.create"}
        if turn < total - 1 or scenario.ends == "client":
            yield from until_all_is_said(of="response.done")
    for _ in range(scenario.out_of_band):
        hidden = '{"type":"response.output_audio.delta"}'
        metadata = {"type": "response.output_audio.delta", "note": hidden}
        yield "send", {"type": "response.create", "response": {"conversation": "none", "metadata": metadata}}
        yield from until_all_is_said(of="response.done")
    if scenario.ends != "client":
        yield "until", "response.content_part.added" if scenario.ends == "early" else "the end of the connection"


# --- How what they see is written down -------------------------------------------------------------------------------


def seen_of(event: Any) -> Any:
    """Write down an event or a frame with its type; the one instant in it is left out."""
    if isinstance(event, str | bytes):
        said = json.loads(event)
        if isinstance(said.get("session"), dict):
            said["session"].pop("expires_at", None)
            return type(event), list(said.items())
        return type(event), event
    said = event.model_dump()
    if isinstance(said.get("session"), dict):
        said["session"].pop("expires_at", None)
    return type(event), type(event).__module__, sorted(event.model_fields_set), said


def type_of(event: Any) -> str:
    return str(json.loads(event)["type"] if isinstance(event, str | bytes) else event.type)


def exception_of(error: BaseException | None) -> Any:
    """Write down an exception and what it came from."""
    # Whether the end of a connection is read as an end or as a reset is a race of two kernels' buffers, not ours.
    if error is None or isinstance(error, ConnectionResetError):
        return None
    closes = [repr(getattr(error, name, None)) for name in ("rcvd", "sent", "rcvd_then_sent")]
    return type(error), str(error), repr(error.args), closes, exception_of(error.__cause__)


# --- The clients -----------------------------------------------------------------------------------------------------


async def converse(connection: Any, steps: Iterator[Step], seen: Seen, *, raw: bool) -> None:
    for act, what in steps:
        if act == "send":
            await connection.send(json.dumps(what) if raw else what)
            continue
        while True:
            event = await asyncio.wait_for(connection.recv(), PATIENCE)
            seen.append(seen_of(event))
            if type_of(event) == what:
                break


def converse_in_threads(connection: Any, steps: Iterator[Step], seen: Seen, *, raw: bool) -> None:
    for act, what in steps:
        if act == "send":
            connection.send(json.dumps(what) if raw else what)
            continue
        while True:
            event = connection.recv()
            seen.append(seen_of(event))
            if type_of(event) == what:
                break


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a client connects to: a running simulator, with what it shall do there."""

    port: int
    options: dict[str, Any]

    @property
    def query(self) -> dict[str, Any]:
        return {f"sim_{key}": value for key, value in self.options.items()}

    def url(self, path: str = "/v1", **query: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}" + (f"?{urlencode({**query, **self.query})}" if query else "")


@asynccontextmanager
async def openai_ga(place: Place) -> AsyncIterator[Any]:
    async with (
        AsyncOpenAI(api_key="any", websocket_base_url=place.url()) as client,
        client.realtime.connect(model="gpt-realtime", extra_query=place.query) as connection,
    ):
        yield connection


@asynccontextmanager
async def openai_beta(place: Place) -> AsyncIterator[Any]:
    async with (
        AsyncOpenAI(api_key="any", websocket_base_url=place.url()) as client,
        client.beta.realtime.connect(model="gpt-4o-realtime-preview", extra_query=place.query) as connection,
    ):
        yield connection


@asynccontextmanager
async def azure_preview(place: Place) -> AsyncIterator[Any]:
    async with (
        AsyncAzureOpenAI(
            api_key="any",
            api_version="2025-04-01-preview",
            azure_endpoint=f"http://127.0.0.1:{place.port}",
            websocket_base_url=place.url("/openai"),
        ) as client,
        client.beta.realtime.connect(model="voice", extra_query=place.query) as connection,
    ):
        yield connection


@asynccontextmanager
async def azure_ga(place: Place) -> AsyncIterator[Any]:
    async with (
        AsyncOpenAI(api_key="any", base_url=place.url("/openai/v1").replace("ws:", "http:")) as client,
        client.with_options(websocket_base_url=place.url("/openai/v1")).realtime.connect(
            model="voice", extra_query=place.query
        ) as connection,
    ):
        yield connection


@contextmanager
def openai_ga_in_threads(place: Place) -> Iterator[Any]:
    with (
        OpenAI(api_key="any", websocket_base_url=place.url()) as client,
        client.realtime.connect(model="gpt-realtime", extra_query=place.query) as connection,
    ):
        yield connection


@contextmanager
def openai_beta_in_threads(place: Place) -> Iterator[Any]:
    with (
        OpenAI(api_key="any", websocket_base_url=place.url()) as client,
        client.beta.realtime.connect(model="gpt-4o-realtime-preview", extra_query=place.query) as connection,
    ):
        yield connection


@contextmanager
def azure_preview_in_threads(place: Place) -> Iterator[Any]:
    with (
        AzureOpenAI(
            api_key="any",
            api_version="2025-04-01-preview",
            azure_endpoint=f"http://127.0.0.1:{place.port}",
            websocket_base_url=place.url("/openai"),
        ) as client,
        client.beta.realtime.connect(model="voice", extra_query=place.query) as connection,
    ):
        yield connection


@contextmanager
def azure_ga_in_threads(place: Place) -> Iterator[Any]:
    with (
        OpenAI(api_key="any", websocket_base_url=place.url("/openai/v1")) as client,
        client.realtime.connect(model="voice", extra_query=place.query) as connection,
    ):
        yield connection


@asynccontextmanager
async def plain(place: Place) -> AsyncIterator[Any]:
    async with websockets.connect(place.url("/v1/realtime", model="gpt-realtime"), proxy=None) as socket:
        yield socket


@contextmanager
def plain_in_threads(place: Place) -> Iterator[Any]:
    with connect_in_threads(place.url("/v1/realtime", model="gpt-realtime"), proxy=None) as socket:
        yield socket


class Reading:
    """A plain socket, read in another of the ways that its library has."""

    def __init__(self, socket: Any, way: str) -> None:
        self.socket, self.way = socket, way
        self.send = socket.send
        self.iterator = socket.__aiter__() if hasattr(socket, "__aiter__") else socket.__iter__()

    async def recv(self) -> Any:
        if self.way == "iteration":
            return await anext(self.iterator)
        if self.way == "bytes":
            return await self.socket.recv(decode=False)
        return "".join([part async for part in self.socket.recv_streaming()])


class ReadingInThreads(Reading):
    def recv(self) -> Any:
        if self.way == "iteration":
            return next(self.iterator)
        if self.way == "bytes":
            return self.socket.recv(decode=False)
        return "".join(self.socket.recv_streaming())


# --- Other libraries -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """A connection of another library, read in one of its ways; `state` is what it says of its end."""

    recv: Callable[[], Any]
    send: Callable[[str], Any]
    state: Callable[[], Any]


class Ended(Exception):  # noqa: N818 - an end is no error
    """What a library tells of an end by a message rather than an exception."""


def aiohttp_read(way: str) -> Callable[[Place], Any]:
    def reader(connection: aiohttp.ClientWebSocketResponse) -> Callable[[], Any]:
        async def received() -> Any:
            message = await (anext(connection) if way == "iteration" else connection.receive())
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise Ended(message.type, repr(message.data), message.extra)
            return message.data

        async def parsed() -> str:
            return json.dumps(await connection.receive_json())

        ways: dict[str, Callable[[], Any]] = {"str": connection.receive_str, "json": parsed}
        return ways.get(way, received)

    @asynccontextmanager
    async def opened(place: Place) -> AsyncIterator[Adapted]:
        url = place.url("/v1/realtime", model="gpt-realtime")
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as connection:
            yield Adapted(
                recv=reader(connection),
                send=connection.send_str,
                state=lambda: (connection.closed, connection.close_code, type(connection.exception())),
            )

    return opened


def legacy_read(way: str) -> Callable[[Place], Any]:
    @asynccontextmanager
    async def opened(place: Place) -> AsyncIterator[Adapted]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            from websockets.legacy.client import connect  # noqa: PLC0415 - warns as it is imported
        async with connect(place.url("/v1/realtime", model="gpt-realtime")) as connection:
            iterator = connection.__aiter__()
            yield Adapted(
                recv=(lambda: anext(iterator)) if way == "iteration" else connection.recv,
                send=connection.send,
                state=lambda: (connection.close_code, connection.close_reason, connection.closed),
            )

    return opened


def websocket_client_read(way: str) -> Callable[[Place], Any]:
    @contextmanager
    def opened(place: Place) -> Iterator[Adapted]:
        url = place.url("/v1/realtime", model="gpt-realtime")
        connection: Any = websocket.create_connection(url, timeout=PATIENCE)
        try:
            yield Adapted(
                recv=(lambda: next(connection)) if way == "iteration" else connection.recv,
                send=connection.send,
                state=lambda: (connection.connected, connection.sock, connection.status, connection.subprotocol),
            )
        finally:
            connection.close()
            # Where the server closed first, the library leaves its socket open.
            connection.shutdown()

    return opened


@contextmanager
def websocket_client_app(place: Place) -> Iterator[Adapted]:
    said: queue.Queue[Any] = queue.Queue()
    sockets: queue.Queue[Any] = queue.Queue()
    app = websocket.WebSocketApp(
        place.url("/v1/realtime", model="gpt-realtime"),
        on_open=lambda app: sockets.put(app.sock),
        on_message=lambda _app, message: said.put(message),
        on_close=lambda _app, code, reason: said.put(Ended(code, reason)),
    )
    thread = threading.Thread(target=app.run_forever, kwargs={"ping_timeout": 0.1})
    thread.start()
    opened = sockets.get(timeout=PATIENCE)

    def received() -> Any:
        message = said.get(timeout=PATIENCE)
        if isinstance(message, Ended):
            raise message
        return message

    try:
        yield Adapted(recv=received, send=app.send, state=lambda: (app.sock, app.keep_running, opened.connected))
    finally:
        app.close()
        thread.join(PATIENCE)
        opened.shutdown()


# Their types leave open which class of session it is.
HTTPX_WS: Any = httpx_ws.connect_ws
HTTPX_WS_ASYNC: Any = httpx_ws.aconnect_ws


@asynccontextmanager
async def httpx_ws_read(place: Place) -> AsyncIterator[Adapted]:
    url = place.url("/v1/realtime", model="gpt-realtime")
    async with (
        httpx.AsyncClient(trust_env=False) as client,
        HTTPX_WS_ASYNC(url, client, keepalive_ping_interval_seconds=None) as connection,
    ):
        yield Adapted(
            recv=connection.receive_text, send=connection.send_text, state=lambda: connection.connection.state
        )


@contextmanager
def httpx_ws_read_in_threads(place: Place) -> Iterator[Adapted]:
    url = place.url("/v1/realtime", model="gpt-realtime")
    with (
        httpx.Client(trust_env=False) as client,
        HTTPX_WS(url, client, keepalive_ping_interval_seconds=None) as connection,
    ):
        yield Adapted(
            recv=lambda: connection.receive_text(PATIENCE),
            send=connection.send_text,
            # The library's own thread reads the other side's farewell, now before and now after somebody looks here.
            state=lambda: connection.connection.state is ConnectionState.OPEN,
        )


def state_of(connection: Any, *, raw: bool, in_threads_before_the_end: bool = False) -> Any:
    """Return what a connection says of its end."""
    if isinstance(connection, Adapted):
        return connection.state()
    protocol = (connection if raw else connection._connection).protocol
    closed = protocol.close_code, protocol.close_reason
    return closed if in_threads_before_the_end else (*closed, protocol.state)


@dataclass(frozen=True, kw_only=True)
class Client:
    """One way to hold a session."""

    connect: Callable[[Place], Any]
    beta: bool = False
    azure: bool = False
    threads: bool = False
    raw: bool = False
    way: str = "recv"

    def run(self, place: Place, scenario: Scenario) -> Seen:
        """Hold the session and return all that the program saw of it, its end included."""
        seen: Seen = []
        steps = program(scenario, beta=self.beta, azure=self.azure)
        try:
            if self.threads:
                self._run_in_threads(place, steps, seen)
            else:
                asyncio.run(asyncio.wait_for(self._run(place, steps, seen), PATIENCE))
        except Exception as error:  # noqa: BLE001 - that both runs raise the same is what is tested
            seen.append(exception_of(error))
        return seen

    async def _run(self, place: Place, steps: Iterator[Step], seen: Seen) -> None:
        async with self.connect(place) as connection:
            reading = connection if self.way == "recv" else Reading(connection, self.way)
            try:
                await converse(reading, steps, seen, raw=self.raw)
            finally:
                if not isinstance(connection, Adapted):
                    seen.append(state_of(connection, raw=self.raw))
        seen.append(state_of(connection, raw=self.raw))

    def _run_in_threads(self, place: Place, steps: Iterator[Step], seen: Seen) -> None:
        with self.connect(place) as connection:
            reading = connection if self.way == "recv" else ReadingInThreads(connection, self.way)
            try:
                converse_in_threads(reading, steps, seen, raw=self.raw)
            finally:
                if not isinstance(connection, Adapted):
                    seen.append(state_of(connection, raw=self.raw, in_threads_before_the_end=True))
        seen.append(state_of(connection, raw=self.raw))


CLIENTS = {
    "openai": Client(connect=openai_ga),
    "openai in threads": Client(connect=openai_ga_in_threads, threads=True),
    "openai beta": Client(connect=openai_beta, beta=True),
    "openai beta in threads": Client(connect=openai_beta_in_threads, beta=True, threads=True),
    "azure preview": Client(connect=azure_preview, beta=True, azure=True),
    "azure preview in threads": Client(connect=azure_preview_in_threads, beta=True, azure=True, threads=True),
    "azure": Client(connect=azure_ga, azure=True),
    "azure in threads": Client(connect=azure_ga_in_threads, azure=True, threads=True),
    "websockets": Client(connect=plain, raw=True),
    "websockets iterated": Client(connect=plain, raw=True, way="iteration"),
    "websockets as bytes": Client(connect=plain, raw=True, way="bytes"),
    "websockets streamed": Client(connect=plain, raw=True, way="streaming"),
    "websockets in threads": Client(connect=plain_in_threads, raw=True, threads=True),
    "websockets in threads iterated": Client(connect=plain_in_threads, raw=True, threads=True, way="iteration"),
    "websockets in threads as bytes": Client(connect=plain_in_threads, raw=True, threads=True, way="bytes"),
    "websockets in threads streamed": Client(connect=plain_in_threads, raw=True, threads=True, way="streaming"),
    "websockets legacy": Client(connect=legacy_read("recv"), raw=True),
    "websockets legacy iterated": Client(connect=legacy_read("iteration"), raw=True),
    "aiohttp": Client(connect=aiohttp_read("receive"), raw=True),
    "aiohttp iterated": Client(connect=aiohttp_read("iteration"), raw=True),
    "aiohttp as text": Client(connect=aiohttp_read("str"), raw=True),
    "aiohttp as JSON": Client(connect=aiohttp_read("json"), raw=True),
    "websocket-client": Client(connect=websocket_client_read("recv"), raw=True, threads=True),
    "websocket-client iterated": Client(connect=websocket_client_read("iteration"), raw=True, threads=True),
    "websocket-client app": Client(connect=websocket_client_app, raw=True, threads=True),
    "httpx-ws": Client(connect=httpx_ws_read, raw=True),
    "httpx-ws in threads": Client(connect=httpx_ws_read_in_threads, raw=True, threads=True),
}


# --- The comparison --------------------------------------------------------------------------------------------------


def without_instants(truth: dict[str, Any]) -> dict[str, Any]:
    instants = {"at", "opened_at", "closed_at"}
    return {
        key: [{name: value for name, value in row.items() if name not in instants} for row in rows]
        if isinstance(rows, list)
        else rows
        for key, rows in truth.items()
    }


def a_simulator() -> Any:
    return run_in_thread(SimulatorOptions(seed=11, deployments=DEPLOYED))


def run_twice(meter_with: MeterWith, run: Callable[[RunningSimulator], Seen]) -> Seen:
    """Run a program against two simulators of the same seed, without us and with us, and compare all there is."""
    with a_simulator() as simulator:
        alone = run(simulator)
        simulator.wait_idle()
        truth_alone = simulator.truth.as_json()
    with a_simulator() as simulator, meter_with(deployments=SAID_OF_DEPLOYMENTS) as meter:
        watched = run(simulator)
        simulator.wait_idle()
        truth = simulator.truth.as_json()
        assert len(watched) == len(alone)
        for ours, theirs in zip(watched, alone, strict=True):
            assert ours == theirs
        assert without_instants(truth) == without_instants(truth_alone)
        meter.agrees_with(truth)
    return alone


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=[name.replace(" ", "_") for name in SCENARIOS])
@pytest.mark.parametrize("client", CLIENTS.values(), ids=[name.replace(" ", "_") for name in CLIENTS])
def test_a_client_sees_the_same_and_what_is_counted_is_the_truth(
    client: Client, scenario: Scenario, meter_with: MeterWith
) -> None:
    def run(simulator: RunningSimulator) -> Seen:
        return client.run(Place(port=simulator.port, options=scenario.options), scenario)

    assert len(run_twice(meter_with, run)) > 10


async def see_an_agent(place: Place) -> Seen:
    """Talk with an agent of the agents library and write down its events, and the service's own among them."""
    seen: Seen = []
    agent = RealtimeAgent(name="Florist", instructions="Be brief.")
    url = place.url("/v1/realtime", model="gpt-realtime")
    transcription = {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}
    config: Any = {"model_settings": {"audio": transcription}}
    runner = RealtimeRunner(agent, config=config)
    async with asyncio.timeout(PATIENCE), await runner.run(model_config={"api_key": "any", "url": url}) as session:
        updated = ended = 0
        async for event in session:
            data: Any = getattr(event, "data", None)
            seen.append((type(event), type(data)))
            if getattr(data, "type", "") == "raw_server_event":
                seen.append(seen_of(json.dumps(data.data)))
                updated += data.data["type"] == "session.updated"
                if updated == 2 and data.data["type"] == "session.updated":
                    # Speech comes first: to interrupt an answer is to say how much was heard, a matter of the clock.
                    await session.send_audio(bytes(48 * 700))
            if event.type == "agent_end":
                ended += 1
                if ended == 3:
                    break
                await session.send_message("Roses?")
    return seen


def test_an_agent_of_the_agents_library_sees_the_same_and_what_is_counted_is_the_truth(meter_with: MeterWith) -> None:
    options = {"deltas": 2, "outcomes": "completed,incomplete,unsplit_cache"}
    seen = run_twice(meter_with, lambda sim: asyncio.run(see_an_agent(Place(port=sim.port, options=options))))
    assert len(seen) > 10


async def arrived(socket: Any) -> None:
    """Wait until a message is there to be read, however long a busy machine takes to send it."""
    async with asyncio.timeout(PATIENCE):
        while not len(socket.recv_messages.frames):  # noqa: ASYNC110 - nothing tells who does not read
            await asyncio.sleep(0.005)


def test_a_reader_is_cancelled_and_timed_out_at_the_same_points(meter_with: MeterWith) -> None:
    async def read(place: Place) -> Seen:
        seen: Seen = []
        async with plain(place) as socket:
            seen.append(seen_of(await socket.recv()))
            for _ in range(3):
                waiting = asyncio.create_task(socket.recv())
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait({waiting})
                seen.append((waiting.cancelled(), waiting.done()))
                try:
                    async with asyncio.timeout(0.02):
                        await socket.recv()
                except TimeoutError as error:
                    seen.append((type(error), error.args, type(error.__cause__)))
                await socket.send(json.dumps({"type": "input_audio_buffer.clear"}))
                await arrived(socket)
                # What has arrived is handed out without giving way to the event loop.
                reading = socket.recv()
                try:
                    seen.append(reading.send(None))
                except StopIteration as returned:
                    seen.append((type(returned), returned.value))
            first, second = (asyncio.create_task(socket.recv()) for _ in range(2))
            outcomes = await asyncio.wait({first, second}, timeout=0.05)
            seen.append(sorted(len(tasks) for tasks in outcomes))
            seen += [exception_of(task.exception()) for task in outcomes[0]]
            for task in outcomes[1]:
                task.cancel()
        return seen

    seen = run_twice(meter_with, lambda sim: asyncio.run(read(Place(port=sim.port, options={}))))
    assert sum(isinstance(one, tuple) and one[0] is StopIteration for one in seen) == 3
