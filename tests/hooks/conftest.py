"""The instrumentation with its outputs caught, and the one comparison of what it says with what really happened."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import threading
import warnings
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, cast

import aiohttp
import anyio
import httpx
import httpx_ws
import pytest
import websocket
import websockets
from anyio.from_thread import start_blocking_portal
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from websockets.sync.client import connect as connect_in_threads
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as serve_in_threads

from realtime_spend import RealtimeInstrumentor

if TYPE_CHECKING:
    from pathlib import Path

# A metric's name, whose it is (provider, model, version), and its own attributes.
Place = tuple[str, tuple[str | None, ...], tuple[str | None, ...]]
Totals = dict[Place, float]

_TOKENS = "gen_ai.client.inference.usage."
_OWN_ATTRIBUTES = {
    f"{_TOKENS}input_tokens": ("gen_ai.token.modality",),
    f"{_TOKENS}cache_read.input_tokens": ("gen_ai.token.modality",),
    f"{_TOKENS}output_tokens": ("gen_ai.token.modality",),
    "realtime_spend.cost": ("gen_ai.token.modality", "realtime_spend.component"),
    "realtime_spend.cost.uncertainty": (),
    "realtime_spend.billable.duration": (),
    "realtime_spend.usages": ("realtime_spend.kind", "realtime_spend.status", "realtime_spend.usage"),
}
_WHOSE = ("gen_ai.provider.name", "realtime_spend.model", "realtime_spend.version")
# Whatever else is counted as an error would be one.
_DOUBTS = {"cached_not_split", "modality_not_said", "scope_assumed"}


class Reader(Protocol):
    """Where collected metrics can be had from: this process, or another one that sent them."""

    def get_metrics_data(self) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Meter:
    """One instrumentation: its reader, its ledger, and the comparison of both with a simulator's truth."""

    reader: Reader
    folder: Path
    # Who read the events, as the ledger calls it.
    origin: str = "hook"

    def points(self, name: str) -> list[NumberDataPoint | HistogramDataPoint]:
        data = self.reader.get_metrics_data()
        found: list[NumberDataPoint | HistogramDataPoint] = []
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        found += metric.data.data_points
        return found

    def sum(self, name: str, **attributes: str) -> float:
        """Add up a counter over the points that have these attributes, each by the last word of its name."""
        total: float = 0
        for point in self.points(name):
            assert isinstance(point, NumberDataPoint)
            said = {key.rpartition(".")[2]: value for key, value in (point.attributes or {}).items()}
            if attributes.items() <= said.items():
                total += point.value
        return total

    def errors(self) -> dict[str, float]:
        points = self.points("realtime_spend.errors")
        return {
            str((point.attributes or {})["realtime_spend.kind"]): point.value
            for point in points
            if isinstance(point, NumberDataPoint) and point.value
        }

    def sessions(self) -> int:
        """Count the sessions that were opened and closed."""
        return sum(
            point.count
            for point in self.points("realtime_spend.session.duration")
            if isinstance(point, HistogramDataPoint)
        )

    def records(self) -> list[dict[str, Any]]:
        files = sorted(self.folder.glob("*.jsonl")) if self.folder.exists() else []
        return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]

    def agrees_with(self, truth: dict[str, Any], *, sessions: int | None = None) -> None:
        """Compare everything that was counted with what a simulator says it sent."""
        records = self.records()
        _ledger_agrees(records, truth, self.origin)
        assert self.totals() == pytest.approx(_expected(records, truth), rel=1e-9, abs=0)
        expected_sessions = truth["counts"]["sessions"] if sessions is None else sessions
        assert self.sessions() == expected_sessions
        assert self.sum("realtime_spend.session.active") == 0
        assert self.sum("realtime_spend.duplicates") == truth["counts"]["repeats"]
        assert set(self.errors()) <= _DOUBTS
        told = [usage for usage in truth["usages"] if usage["usage"] == "reported" and usage["kind"] == "response"]
        for direction, components in (("input", ("input", "cached_input")), ("output", ("output",))):
            tokens = [
                sum(count for part, count in usage["quantities"].items() if part.split(".")[1] in components)
                for usage in told
            ]
            points = self.points(f"gen_ai.client.inference.operation.{direction}_tokens")
            assert sum(p.count for p in points if isinstance(p, HistogramDataPoint)) == len(tokens)
            assert sum(p.sum for p in points if isinstance(p, HistogramDataPoint)) == sum(tokens)

    def totals(self) -> Totals:
        """Return every total that the truth can tell as well; a series that stands at 0 is as good as absent."""
        found: Totals = defaultdict(float)
        for name, own in _OWN_ATTRIBUTES.items():
            for point in self.points(name):
                assert isinstance(point, NumberDataPoint)
                said = {key: str(value) for key, value in (point.attributes or {}).items()}
                place = (name, tuple(map(said.get, _WHOSE)), tuple(map(said.get, own)))
                found[place] += point.value
        return {place: value for place, value in found.items() if value}


def _key(usage: dict[str, Any]) -> tuple[str, str]:
    return usage["kind"], usage["id"]


def _is_interval(record: dict[str, Any]) -> bool:
    return record["low"] is not None


def _ledger_agrees(records: list[dict[str, Any]], truth: dict[str, Any], origin: str) -> None:
    assert len({_key(record) for record in records}) == len(records), "a usage is in the ledger twice"
    written = {_key(record): record for record in records}
    sent = {_key(usage): usage for usage in truth["usages"]}
    assert len(sent) == len(truth["usages"])
    # A transcription that the session's end kept from being sent: the simulator counts it, we write it down as missing.
    unsent = [record for key, record in written.items() if key not in sent]
    assert all(record["kind"] == "transcription" and record["usage"] == "missing" for record in unsent)
    assert len(unsent) == truth["counts"]["transcriptions_unsent"]
    assert sent.keys() <= written.keys()
    for key, usage in sent.items():
        record = written[key]
        for field in ("provider", "kind", "id", "model", "version", "session", "usage"):
            assert record[field] == usage[field], (field, record, usage)
        assert record["status"] == (None if usage["usage"] == "lost" else usage["status"])
        assert record["source"] == f"{usage['provider']}.{origin}"
        if _is_interval(record):
            assert not usage["cached_split"]
            assert Decimal(record["low"]) <= Decimal(usage["cost"]) <= Decimal(record["high"])
            assert record["cost"] == record["high"]
            assert sum(record["quantities"].values()) == sum(usage["quantities"].values())
        else:
            assert record["quantities"] == usage["quantities"]
            assert record["costs"] == usage["costs"]
            assert record["cost"] == usage["cost"]


def _expected(records: list[dict[str, Any]], truth: dict[str, Any]) -> Totals:
    """Work out the counters from the truth; only where it lies between two bounds, the money is that of the ledger."""
    written = {_key(record): record for record in records}
    found: Totals = defaultdict(float)
    costs: dict[Place, Decimal] = defaultdict(Decimal)

    def add(usage: dict[str, Any], name: str, *own: str | None, amount: float = 1) -> None:
        found[name, (usage["provider"], usage["model"], usage["version"]), own] += amount

    sent = {_key(usage): usage for usage in truth["usages"]}
    for key, record in written.items():
        usage = sent.get(key, record)
        status = None if usage["usage"] == "lost" else usage["status"]
        add(usage, "realtime_spend.usages", usage["kind"], status, usage["usage"])
        _add_tokens(add, usage, record)
        for part, cost in (record if _is_interval(record) else usage)["costs"].items():
            if cost is not None:
                whose = (usage["provider"], usage["model"], usage["version"])
                costs["realtime_spend.cost", whose, tuple(part.split("."))] += Decimal(cost)
        if _is_interval(record):
            width = Decimal(record["high"]) - Decimal(record["low"])
            add(usage, "realtime_spend.cost.uncertainty", amount=float(width))
    found |= {place: float(cost) for place, cost in costs.items()}
    return {place: value for place, value in found.items() if value}


def _add_tokens(add: Callable[..., None], usage: dict[str, Any], record: dict[str, Any]) -> None:
    nothing_split = usage.get("outcome") == "no_details"
    for part, quantity in usage["quantities"].items():
        modality, component = part.split(".")
        if component == "duration":
            add(usage, "realtime_spend.billable.duration", amount=float(quantity))
            continue
        said = "unknown" if nothing_split else modality
        add(usage, f"{_TOKENS}{'output' if component == 'output' else 'input'}_tokens", said, amount=quantity)
        if component == "cached_input" and not nothing_split:
            said = "unknown" if _is_interval(record) else modality
            add(usage, f"{_TOKENS}cache_read.input_tokens", said, amount=quantity)


MeterWith = Callable[..., AbstractContextManager[Meter]]


@pytest.fixture
def meter_with(tmp_path: Path) -> MeterWith:
    """Instrument with the given settings for as long as a `with` block lasts, into a ledger and a reader of its own."""
    made: Counter[str] = Counter()

    @contextlib.contextmanager
    def instrumented(**settings: Any) -> Iterator[Meter]:
        made["ledgers"] += 1
        folder = tmp_path / f"ledger-{made['ledgers']}"
        reader = InMemoryMetricReader()
        provider = MeterProvider(metric_readers=[reader])
        RealtimeInstrumentor().instrument(meter_provider=provider, ledger=folder, **settings)
        try:
            yield Meter(reader=reader, folder=folder)
        finally:
            RealtimeInstrumentor().uninstrument()
            provider.shutdown()

    return instrumented


@pytest.fixture
def meter(meter_with: MeterWith) -> Iterator[Meter]:
    with meter_with() as made:
        yield made


MeterOf = Callable[[Reader | str, "Path"], Meter]


@pytest.fixture
def meter_of() -> MeterOf:
    """Compare what another process said, by its metrics (a reader of them, or their JSON) and its ledger."""
    return lambda said, folder: Meter(reader=_Printed(said) if isinstance(said, str) else said, folder=folder)


class _Printed:
    """Metrics that another process printed as JSON, as the SDK's readers give them."""

    def __init__(self, text: str) -> None:
        self._metrics = json.loads(text)

    def get_metrics_data(self) -> Any:
        metrics = [
            SimpleNamespace(
                name=metric["name"],
                data=SimpleNamespace(data_points=[_point(dict(one)) for one in metric["data"]["data_points"]]),
            )
            for metric in self._metrics
        ]
        return SimpleNamespace(resource_metrics=[SimpleNamespace(scope_metrics=[SimpleNamespace(metrics=metrics)])])


def _point(said: dict[str, Any]) -> NumberDataPoint | HistogramDataPoint:
    said.pop("exemplars", None)
    return HistogramDataPoint(**said) if "bucket_counts" in said else NumberDataPoint(**said)


# --- One way to talk over every transport ----------------------------------------------------------------------------

PATIENCE = 20.0


@dataclass(frozen=True, kw_only=True)
class Socket:
    """An open connection of some library, for one thread to use. `received` raises EOFError at its end."""

    connection: Any
    send: Callable[[str], Any]
    received: Callable[[], str | bytes]

    def to_the_end(self) -> list[str | bytes]:
        """Read whatever comes until the connection ends."""
        messages: list[str | bytes] = []
        with contextlib.suppress(EOFError):
            while True:
                messages.append(self.received())
        return messages

    def until(self, kind: str) -> list[str | bytes]:
        """Read on to an event of this type."""
        messages: list[str | bytes] = []
        while not messages or json.loads(messages[-1])["type"] != kind:
            messages.append(self.received())
        return messages


@dataclass(frozen=True, kw_only=True)
class Transport:
    """A socket library, in one of its ways of use."""

    name: str
    library: str
    open: Callable[[str], AbstractContextManager[Socket]]

    def read(self, url: str, *says: str) -> list[str | bytes]:
        """Open a connection, say something, and read to its end."""
        with self.open(url) as socket:
            for text in says:
                socket.send(text)
            return socket.to_the_end()


@pytest.fixture(scope="session")
def transports() -> dict[str, Transport]:
    """Return every transport that is watched and has an address, by its name."""
    return {
        name: Transport(name=name, library=library, open=open_)
        for name, (library, open_) in {
            "websockets": ("websockets", _websockets),
            "websockets in threads": ("websockets", _websockets_in_threads),
            "websockets legacy": ("websockets", _websockets_legacy),
            "aiohttp": ("aiohttp", _aiohttp),
            "websocket-client": ("websocket-client", _websocket_client),
            "websocket-client app": ("websocket-client", _websocket_client_app),
            "httpx-ws": ("httpx-ws", _httpx_ws),
            "httpx-ws in threads": ("httpx-ws", _httpx_ws_in_threads),
        }.items()
    }


@contextlib.contextmanager
def _in_a_loop(
    opening: AbstractAsyncContextManager[Any],
    receive: Callable[[Any], Awaitable[str | bytes]],
    send: Callable[[Any, str], Awaitable[Any]],
) -> Iterator[Socket]:
    """Hold an asynchronous connection in an event loop of a thread of its own, in one task as some libraries demand."""

    async def received(connection: Any) -> str | bytes:
        async with asyncio.timeout(PATIENCE):
            return await receive(connection)

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(opening) as connection,
    ):
        yield Socket(
            connection=connection,
            send=lambda text: portal.call(send, connection, text),
            received=lambda: portal.call(received, connection),
        )


def _websockets(url: str) -> AbstractContextManager[Socket]:
    async def receive(connection: Any) -> str | bytes:
        try:
            return cast("str | bytes", await connection.recv())
        except websockets.ConnectionClosed:
            raise EOFError from None

    @contextlib.asynccontextmanager
    async def opening() -> AsyncIterator[Any]:
        async with websockets.connect(url, proxy=None, compression=_compression(url)) as connection:
            yield connection

    return _in_a_loop(opening(), receive, lambda connection, text: connection.send(text))


@contextlib.contextmanager
def _websockets_in_threads(url: str) -> Iterator[Socket]:
    with connect_in_threads(url, proxy=None, compression=_compression(url)) as connection:

        def received() -> str | bytes:
            try:
                return connection.recv(PATIENCE)
            except websockets.ConnectionClosed:
                raise EOFError from None

        yield Socket(connection=connection, send=connection.send, received=received)


def _websockets_legacy(url: str) -> AbstractContextManager[Socket]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from websockets.legacy.client import connect  # noqa: PLC0415 - warns as it is imported

    async def receive(connection: Any) -> str | bytes:
        try:
            return cast("str | bytes", await connection.recv())
        except websockets.ConnectionClosed:
            raise EOFError from None

    @contextlib.asynccontextmanager
    async def opening() -> AsyncIterator[Any]:
        async with connect(url, compression=_compression(url)) as connection:
            yield connection

    return _in_a_loop(opening(), receive, lambda connection, text: connection.send(text))


def _aiohttp(url: str) -> AbstractContextManager[Socket]:
    async def receive(connection: Any) -> str | bytes:
        try:
            message = await connection.receive()
        except ConnectionError:
            # To answer a ping it writes to what may be closed already.
            raise EOFError from None
        if message.type not in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
            raise EOFError
        return cast("str | bytes", message.data)

    @contextlib.asynccontextmanager
    async def opening() -> AsyncIterator[Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, compress=15 if _compression(url) else 0) as connection,
        ):
            yield connection

    return _in_a_loop(opening(), receive, lambda connection, text: connection.send_str(text))


@contextlib.contextmanager
def _websocket_client(url: str) -> Iterator[Socket]:
    connection: Any = websocket.create_connection(url, timeout=PATIENCE)

    def received() -> str | bytes:
        try:
            message = connection.recv()
        except (websocket.WebSocketConnectionClosedException, ConnectionError):
            raise EOFError from None
        if not message and not connection.connected:
            raise EOFError
        return cast("str | bytes", message)

    try:
        yield Socket(connection=connection, send=connection.send, received=received)
    finally:
        connection.close()
        # Where the server closed first, the library leaves its socket open.
        connection.shutdown()


@contextlib.contextmanager
def _websocket_client_app(url: str) -> Iterator[Socket]:
    said: queue.Queue[str | bytes | None] = queue.Queue()
    connections: queue.Queue[Any] = queue.Queue()
    app = websocket.WebSocketApp(
        url,
        on_open=lambda app: connections.put(app.sock),
        on_data=lambda _app, message, _kind, _more: said.put(message),
        on_close=lambda _app, _code, _reason: said.put(None),
    )
    # It looks so often whether another thread has closed it; without a ping interval there is no ping to time out.
    thread = threading.Thread(target=app.run_forever, kwargs={"ping_timeout": 0.1})
    thread.start()

    def received() -> str | bytes:
        if (message := said.get(timeout=PATIENCE)) is None:
            said.put(None)
            raise EOFError
        return message

    try:
        connection = connections.get(timeout=PATIENCE)
        yield Socket(connection=connection, send=app.send, received=received)
    finally:
        app.close()
        thread.join(PATIENCE)
    connection.shutdown()


# Their types leave open which class of session it is.
_HTTPX_WS: Any = httpx_ws.connect_ws
_HTTPX_WS_ASYNC: Any = httpx_ws.aconnect_ws


def _httpx_ws(url: str) -> AbstractContextManager[Socket]:
    async def receive(connection: Any) -> str | bytes:
        try:
            return cast("str | bytes", (await connection.receive()).data)
        except (httpx_ws.WebSocketDisconnect, httpx_ws.WebSocketNetworkError, anyio.EndOfStream):
            raise EOFError from None

    @contextlib.asynccontextmanager
    async def opening() -> AsyncIterator[Any]:
        async with (
            httpx.AsyncClient(trust_env=False) as client,
            _HTTPX_WS_ASYNC(url, client, keepalive_ping_interval_seconds=None) as connection,
        ):
            yield connection

    return _in_a_loop(opening(), receive, lambda connection, text: connection.send_text(text))


@contextlib.contextmanager
def _httpx_ws_in_threads(url: str) -> Iterator[Socket]:
    with (
        httpx.Client(trust_env=False) as client,
        _HTTPX_WS(url, client, keepalive_ping_interval_seconds=None) as connection,
    ):

        def received() -> str | bytes:
            try:
                return cast("str | bytes", connection.receive(PATIENCE).data)
            except (httpx_ws.WebSocketDisconnect, httpx_ws.WebSocketNetworkError):
                raise EOFError from None

        yield Socket(connection=connection, send=connection.send_text, received=received)


def _compression(url: str) -> str | None:
    return "deflate" if "deflate=1" in url else None


Serving = Callable[[Callable[[ServerConnection], None]], AbstractContextManager[str]]


@pytest.fixture
def serving() -> Serving:
    """Run a server on this machine whose every connection is handled by a function in a thread."""

    @contextlib.contextmanager
    def running(handler: Callable[[ServerConnection], None]) -> Iterator[str]:
        with serve_in_threads(handler, "127.0.0.1", 0) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
            finally:
                server.shutdown()
                thread.join(PATIENCE)

    return running
