"""Coming and going: every library is left as it was found, whenever we come and however often."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import os
import subprocess
import sys
import threading
import time
import weakref
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import aiohttp
import aiortc.rtcdatachannel
import httpx_ws
import pytest
import websocket
from opentelemetry.sdk.metrics import MeterProvider
from tests.hooks.messages import CREATE, LAST, done, slug, url_of

from realtime_spend import RealtimeInstrumentor, instrumentor
from realtime_spend.simulator import RunningSimulator, SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Environment
    from tests.hooks.conftest import Meter, MeterWith, Serving, Socket, Transport

IN_LOOPS = ("websockets", "websockets legacy", "aiohttp", "httpx-ws")
IN_THREADS = ("websockets in threads", "websocket-client", "websocket-client app", "httpx-ws in threads")
ALL = (*IN_LOOPS, *IN_THREADS)
PATIENCE = 20.0


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with run_in_thread(SimulatorOptions(seed=21)) as running:
        yield running


def one_turn(socket: Socket) -> None:
    socket.send(CREATE)
    socket.until(LAST)


# --- What we patch is as it was --------------------------------------------------------------------------------------


def patched_classes() -> list[type]:
    """Return every class that a hook has patched, all libraries being imported here."""
    return [owner for hook in instrumentor._HOOKS for owner, _, _ in hook._patched]


def attributes_of(connection: Any) -> list[dict[str, Any]]:
    """Return what a connection holds, and the objects inside it that a hook may set something on."""
    inner = [getattr(connection, name, None) for name in ("protocol", "connection", "frame_buffer")]
    return [dict(vars(one)) for one in (connection, *inner) if hasattr(one, "__dict__")]


def test_uninstrumenting_leaves_every_class_as_it_was(meter_with: MeterWith) -> None:
    with meter_with():
        owners = patched_classes()
        while_watched = [dict(vars(owner)) for owner in owners]
    assert {owner.__module__.partition(".")[0] for owner in owners} >= {
        "websockets",
        "aiohttp",
        "websocket",
        "httpx_ws",
        "aiortc",
    }
    first = [dict(vars(owner)) for owner in owners]
    with meter_with():
        RealtimeInstrumentor().uninstrument()
        RealtimeInstrumentor().uninstrument()
    for owner, before, watched in zip(owners, first, while_watched, strict=True):
        after = dict(vars(owner))
        assert list(after) == list(before)
        assert all(after[name] is value for name, value in before.items())
        assert any(watched[name] is not value for name, value in before.items())
        assert not any(type(value).__module__.startswith("wrapt") for value in after.values())
    assert patched_classes() == []


@pytest.mark.parametrize("name", ALL, ids=slug)
def test_uninstrumenting_in_the_middle_of_a_session_leaves_the_connection_its_own_methods(
    simulator: RunningSimulator, transports: dict[str, Transport], meter_with: MeterWith, name: str
) -> None:
    with transports[name].open(url_of(simulator)) as socket:
        one_turn(socket)
        alone = [set(one) for one in attributes_of(socket.connection)]
    with meter_with() as meter, transports[name].open(url_of(simulator)) as socket:
        one_turn(socket)
        assert any(hook._live for hook in instrumentor._HOOKS)
        RealtimeInstrumentor().uninstrument()
        assert not any(hook._live for hook in instrumentor._HOOKS)
        left = attributes_of(socket.connection)
        assert [set(one) for one in left] == alone
        assert not [key for one in left for key, value in one.items() if is_ours(value)]
        one_turn(socket)
        assert meter.sum("realtime_spend.usages") == len(meter.records()) == 1
        assert meter.sum("realtime_spend.session.active") == 0


def is_ours(value: Any) -> bool:
    return "realtime_spend" in (type(value).__module__, getattr(value, "__module__", "") or "")[0].split(".")


@pytest.mark.parametrize("name", ALL, ids=slug)
def test_a_message_that_somebody_waits_for_while_we_leave_is_not_counted_any_more(
    transports: dict[str, Transport], serving: Serving, meter_with: MeterWith, name: str
) -> None:
    goes_on = threading.Event()

    def handler(connection: Any) -> None:
        connection.send(json.dumps({"type": "session.created", "session": {"id": "sess_1", "model": "gpt-realtime"}}))
        connection.recv()
        goes_on.wait(PATIENCE)
        connection.send(done("resp_1"))
        connection.recv()

    with (
        serving(handler) as url,
        meter_with() as meter,
        transports[name].open(f"{url}/v1/realtime?model=gpt-realtime") as socket,
    ):
        socket.until("session.created")
        read: list[str | bytes] = []
        reader = threading.Thread(target=lambda: read.append(socket.received()))
        reader.start()
        socket.send("I am listening")
        reader.join(0.2)
        RealtimeInstrumentor().uninstrument()
        goes_on.set()
        reader.join(PATIENCE)
        socket.send("that is all")
        assert [json.loads(one)["type"] for one in read] == ["response.done"]
        assert meter.sum("realtime_spend.usages") == 0
        assert meter.records() == []
        assert not meter.errors()


@pytest.mark.parametrize("name", ALL, ids=slug)
def test_a_session_opened_before_we_came_is_not_observed_and_the_next_one_is(
    simulator: RunningSimulator, transports: dict[str, Transport], meter_with: MeterWith, name: str
) -> None:
    with transports[name].open(url_of(simulator)) as early:
        with meter_with() as meter:
            one_turn(early)
            assert meter.records() == []
            with transports[name].open(url_of(simulator)) as late:
                one_turn(late)
            assert len(meter.records()) == meter.sessions() == 1
        assert not meter.errors()


@pytest.mark.parametrize("name", ALL, ids=slug)
def test_instrumenting_twice_and_again_counts_once(
    simulator: RunningSimulator, transports: dict[str, Transport], meter_with: MeterWith, name: str
) -> None:
    for _ in range(3):
        with meter_with() as meter:
            RealtimeInstrumentor().instrument(meter_provider=MeterProvider(shutdown_on_exit=False))
            with transports[name].open(url_of(simulator)) as socket:
                one_turn(socket)
            assert meter.sum("realtime_spend.usages") == meter.sessions() == len(meter.records()) == 1


OWNERS = {
    "aiohttp": (aiohttp.ClientWebSocketResponse, "__init__"),
    "websocket-client": (websocket.WebSocket, "connect"),
    "httpx-ws": (httpx_ws.AsyncWebSocketSession, "__init__"),
    "httpx-ws in threads": (httpx_ws.WebSocketSession, "close"),
}


@pytest.mark.parametrize("name", OWNERS, ids=slug)
def test_a_wrapper_that_somebody_puts_around_ours_survives_our_leaving_and_our_coming_back(
    simulator: RunningSimulator,
    transports: dict[str, Transport],
    meter_with: MeterWith,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    owner, method = OWNERS[name]
    seen: list[str] = []

    def turn(kind: str) -> None:
        with transports[kind].open(url_of(simulator)) as socket:
            one_turn(socket)

    with meter_with() as meter:
        ours = vars(owner)[method]

        def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(name)
            return ours.__get__(self, type(self))(*args, **kwargs)

        monkeypatch.setattr(owner, method, theirs)
        turn(name)
    turn(name)
    assert vars(owner)[method] is theirs
    assert len(seen) >= 2
    assert len(meter.records()) == 1
    with meter_with() as again:
        # Both ways of use: that the wrapper of one had to stay must not keep the other from being watched.
        kinds = [one for one in ALL if one.startswith(name.partition(" ")[0])]
        for kind in kinds:
            turn(kind)
            assert vars(owner)[method] is theirs
        monkeypatch.undo()
        assert len(again.records()) == again.sessions() == len(kinds)
        assert not again.errors()
    assert not isinstance(vars(owner)[method], type(ours))


def test_a_connection_that_another_thread_opens_while_we_leave_is_not_watched_for_ever(
    simulator: RunningSimulator, meter_with: MeterWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = next(one for one in instrumentor._HOOKS if one.library == "websocket-client")
    attach = hook.attach

    def leaving(connection: Any, observer: Any) -> None:
        # What another thread may do at this very moment.
        RealtimeInstrumentor().uninstrument()
        attach(connection, observer)

    with meter_with() as meter:
        monkeypatch.setattr(hook, "attach", leaving)
        socket = websocket.create_connection(url_of(simulator), timeout=PATIENCE)
        try:
            assert "recv_frame" not in vars(socket)
            assert not hook._live
        finally:
            socket.close()
        assert meter.sum("realtime_spend.session.active") == 0


def test_a_fault_halfway_through_attaching_leaves_nothing_on_the_connection(
    simulator: RunningSimulator, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = next(one for one in instrumentor._HOOKS if one.library == "websocket-client")
    attach = hook.attach

    def failing(connection: Any, observer: Any) -> None:
        attach(connection, observer)
        raise RuntimeError("halfway")

    monkeypatch.setattr(hook, "attach", failing)
    monkeypatch.setattr("realtime_spend.containment.Containment.reraise", False)
    socket = websocket.create_connection(url_of(simulator), timeout=PATIENCE)
    try:
        assert not {"recv_frame", "shutdown"} & set(vars(socket))
        assert json.loads(socket.recv())["type"] == "session.created"
    finally:
        socket.close()
    assert meter.errors() == {"internal.attaching_to_a_connection": 1}
    assert meter.sessions() == 0


# --- What a program may do with a connection -------------------------------------------------------------------------


def test_a_connection_that_a_program_keeps_by_its_bound_close_alone_lives_as_long(
    simulator: RunningSimulator, meter_with: MeterWith
) -> None:
    async def with_aiohttp() -> tuple[bool, Any]:
        async with aiohttp.ClientSession() as session:
            connection = await session.ws_connect(url_of(simulator))
            left, close = weakref.ref(connection), connection.close
            del connection
            gc.collect()
            return left() is not None, await close()

    def with_websocket_client() -> tuple[bool, Any, Any]:
        connection: Any = websocket.create_connection(url_of(simulator), timeout=PATIENCE)
        left, read, shutdown = weakref.ref(connection), connection.recv_frame, connection.shutdown
        del connection
        gc.collect()
        return left() is not None, json.loads(read().data)["type"], shutdown()

    def go() -> list[Any]:
        return [asyncio.run(with_aiohttp()), with_websocket_client()]

    without = go()
    assert without == [(True, True), (True, "session.created", None)]
    with meter_with() as meter:
        assert go() == without
        assert meter.sessions() == 2


async def test_a_method_of_a_connection_is_what_it_was(simulator: RunningSimulator, meter_with: MeterWith) -> None:
    async def looks() -> list[Any]:
        async with aiohttp.ClientSession() as session, session.ws_connect(url_of(simulator)) as connection:
            reader: Any = connection._reader
            return [
                inspect.iscoroutinefunction(connection.close),
                inspect.signature(connection.close),
                connection.close == connection.close,
                connection.close.__self__ is connection,  # type: ignore[attr-defined]
                connection.close.__name__,
                isinstance(reader, aiohttp.http.WebSocketDataQueue)
                if hasattr(aiohttp.http, "WebSocketDataQueue")
                else reader.__class__,
                repr(type(connection)),
                reader.is_eof(),
                reader.exception(),
            ]

    without = await looks()
    with meter_with():
        assert await looks() == without


def test_connections_of_a_class_that_compares_them_are_told_apart(simulator: RunningSimulator, meter: Meter) -> None:
    class Mine(websocket.WebSocket):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Mine)

        __hash__ = None  # type: ignore[assignment]

    sockets = [websocket.create_connection(url_of(simulator), timeout=PATIENCE, class_=Mine) for _ in range(2)]
    for socket in sockets:
        socket.send(CREATE)
        while json.loads(socket.recv())["type"] != LAST:
            pass
    for socket in sockets:
        socket.close()
    simulator.wait_idle()
    assert meter.sessions() == 2
    meter.agrees_with(simulator.truth.as_json())


@pytest.mark.parametrize("name", ALL, ids=slug)
def test_a_connection_dies_as_early_as_without_us(
    simulator: RunningSimulator, transports: dict[str, Transport], meter_with: MeterWith, name: str
) -> None:
    def held() -> list[weakref.ref[Any]]:
        with transports[name].open(url_of(simulator)) as socket:
            one_turn(socket)
            inner = getattr(socket.connection, "protocol", None) or getattr(socket.connection, "connection", None)
            return [weakref.ref(one) for one in (socket.connection, inner) if hasattr(one, "__weakref__")]

    def alive() -> list[bool]:
        gc.collect()
        gc.disable()
        try:
            left = held()
            # A thread of the library may hold it for a moment longer.
            ends = time.monotonic() + 0.5
            while any(one() is not None for one in left) and time.monotonic() < ends:
                time.sleep(0.02)
            return [one() is not None for one in left]
        finally:
            gc.enable()
            gc.collect()

    without = alive()
    assert without
    with meter_with() as meter:
        # Once is enough: on a busy machine a thread of the library may be late, with us or without.
        assert any(alive() == without for _ in range(3))
        assert meter.sessions() >= 1
        assert not any(hook._live for hook in instrumentor._HOOKS)


def test_we_add_no_cycle_to_an_aiohttp_connection(simulator: RunningSimulator, meter: Meter) -> None:
    async def go() -> bool:
        async with aiohttp.ClientSession() as session:
            connection = await session.ws_connect(url_of(simulator))
            assert (await connection.receive_json())["type"] == "session.created"
            await connection.close()
            left = weakref.ref(connection)
            gc.disable()
            try:
                del connection
                # What the response holds of its request goes with the last steps of the loop.
                await asyncio.sleep(0)
                return left() is None
            finally:
                gc.enable()

    assert asyncio.run(go())
    assert meter.sessions() == 1


# --- Before and after the import -------------------------------------------------------------------------------------

TURN = {
    "aiohttp": """
import aiohttp, asyncio
async def main():
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
        await ws.send_str(CREATE)
        while (await ws.receive_json())["type"] != LAST:
            pass
asyncio.run(main())
""",
    "websocket-client": """
import websocket
ws = websocket.create_connection(url, timeout=20)
ws.send(CREATE)
while json.loads(ws.recv())["type"] != LAST:
    pass
ws.close()
""",
    "httpx-ws": """
import httpx_ws
with httpx_ws.connect_ws(url) as ws:
    ws.send_text(CREATE)
    while ws.receive_json()["type"] != LAST:
        pass
""",
    "websockets": """
from websockets.sync.client import connect
with connect(url) as ws:
    ws.send(CREATE)
    while json.loads(ws.recv(20))["type"] != LAST:
        pass
""",
    "websockets legacy": """
import asyncio, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from websockets.legacy.client import connect
async def main():
    async with connect(url) as ws:
        await ws.send(CREATE)
        while json.loads(await ws.recv())["type"] != LAST:
            pass
asyncio.run(main())
""",
}
START = """
import json, logging, sys
url, CREATE, LAST = sys.argv[1], '{"type": "response.create"}', "rate_limits.updated"
logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from realtime_spend import RealtimeInstrumentor
reader = InMemoryMetricReader()
provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
"""
INSTRUMENT = "RealtimeInstrumentor().instrument(meter_provider=provider, ledger='ledger')\n"
UNINSTRUMENT = "RealtimeInstrumentor().uninstrument()\n"
SAY = """
data = reader.get_metrics_data()
found = {}
for metric in data.resource_metrics[0].scope_metrics[0].metrics if data else ():
    for point in metric.data.data_points:
        if metric.name in ("realtime_spend.usages", "realtime_spend.errors") and point.value:
            kind = point.attributes.get("realtime_spend.usage") or point.attributes["realtime_spend.kind"]
            found[kind] = found.get(kind, 0) + point.value
print(json.dumps(found))
"""
IMPORTS = {
    "aiohttp": "import aiohttp\n",
    "websocket-client": "import websocket\n",
    "httpx-ws": "import httpx_ws\n",
    "websockets": "import websockets.sync.client\n",
    "websockets legacy": "import warnings; warnings.simplefilter('ignore')\nimport websockets.legacy.client\n",
}
ORDERS = {
    "before": "{start}{instrument}{turn}{say}",
    "after": "{imports}{start}{instrument}{turn}{say}",
    "and gone before and come back after": "{start}{instrument}{uninstrument}{imports}{instrument}{turn}{say}",
}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program in a process of its own."""

    def go(text: str, *arguments: str, python: Path | str = sys.executable, **more: str) -> Any:
        program = tmp_path / "program.py"
        program.write_text(text, encoding="utf-8")
        strange = ("OTEL_", "PYTHON", "REALTIME_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
        return subprocess.run(
            [python, program, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env=kept | {"no_proxy": "127.0.0.1"} | more,
        )

    return go


@pytest.mark.parametrize("order", ORDERS, ids=slug)
@pytest.mark.parametrize("name", TURN, ids=slug)
def test_we_may_come_before_a_library_is_imported_and_after(
    simulator: RunningSimulator, run: Callable[..., subprocess.CompletedProcess[str]], name: str, order: str
) -> None:
    program = ORDERS[order].format(
        start=START,
        instrument=INSTRUMENT,
        uninstrument=UNINSTRUMENT,
        imports=IMPORTS[name],
        turn=TURN[name],
        say=SAY,
    )
    ran = run(program, url_of(simulator, deltas=1))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout) == {"reported": 1}


def test_gone_before_a_library_is_imported_we_are_gone(
    simulator: RunningSimulator, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    libraries = ("aiohttp", "websocket-client", "httpx-ws")
    turns = "".join(TURN[name] for name in libraries)
    checks = "import wrapt, aiohttp\nassert type(vars(aiohttp.ClientWebSocketResponse)['close']) is type(lambda: 0)\n"
    ran = run(f"{START}{INSTRUMENT}{UNINSTRUMENT}{turns}{checks}{SAY}", url_of(simulator, deltas=1))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "{}\n", "")


@pytest.mark.parametrize("name", TURN, ids=slug)
def test_we_import_no_library_ourselves(run: Callable[..., subprocess.CompletedProcess[str]], name: str) -> None:
    module = IMPORTS[name].strip().rpartition("import ")[2].partition(".")[0]
    ran = run(f"{START}{INSTRUMENT}print([one for one in sys.modules if one.partition('.')[0] == '{module}'])\n", "")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "[]\n", "")


# --- A library that is not as we know it -----------------------------------------------------------------------------

QUIETLY = "import warnings; warnings.simplefilter('ignore')\n"
CHANGES = {
    "aiohttp": "import aiohttp\ndel aiohttp.ClientWebSocketResponse.close\n",
    "aiohttp's constructor": (
        "import aiohttp.client_ws as module\n"
        "module.ClientWebSocketResponse = type('Other', (module.ClientWebSocketResponse,), {})\n"
    ),
    "aiortc": "import aiortc\ndel aiortc.RTCDataChannel.label\n",
    "websocket-client": "import websocket\ndel websocket.WebSocket.recv_frame\n",
    "httpx-ws": "import httpx_ws._api\ndel httpx_ws._api.WebSocketSession.close\n",
    "websockets": "import websockets.client\ndel websockets.client.ClientProtocol.__init__\n",
    "websockets legacy": (
        f"{QUIETLY}import websockets.legacy.client as module\ndel module.WebSocketClientProtocol.handshake\n"
    ),
}


@pytest.mark.parametrize("name", CHANGES, ids=slug)
def test_a_library_that_has_changed_is_said_once_with_its_version_and_the_others_are_watched(
    simulator: RunningSimulator, run: Callable[..., subprocess.CompletedProcess[str]], name: str
) -> None:
    changes, library = CHANGES[name], name.partition("'")[0].partition(" ")[0]
    # One that is not the changed one, nor stands on it.
    other = "websocket-client" if library != "websocket-client" else "websockets"
    ran = run(f"{changes}{START}{INSTRUMENT}{TURN[other]}{TURN[other]}{SAY}", url_of(simulator, deltas=1))
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"reported": 2, "internal.attaching": 1}
    said = ran.stderr.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"WARNING realtime_spend realtime-spend: the sessions that {library} ")
    assert f" {library} {version(library)} carries are NOT metered" in said[0]
    assert f"REALTIME_SPEND_DISABLED_LIBRARIES={library}" in said[0]


def test_a_changed_library_works_on_for_its_program(
    simulator: RunningSimulator, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    program = "import websocket\ndel websocket.WebSocket.shutdown\nwebsocket.WebSocket.close = lambda self: None\n"
    program += f"{START}{INSTRUMENT}{TURN['websocket-client']}ws.sock.close()\n{SAY}"
    ran = run(program, url_of(simulator, deltas=1))
    assert (ran.returncode, json.loads(ran.stdout)) == (0, {"internal.attaching": 1}), ran.stderr
    assert ran.stderr.count("NOT metered") == 1


# --- Left alone ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TURN, ids=slug)
def test_a_library_that_is_switched_off_is_left_alone_and_the_others_are_watched(
    simulator: RunningSimulator, run: Callable[..., subprocess.CompletedProcess[str]], name: str
) -> None:
    library = name.partition(" ")[0]
    other = "websockets" if library != "websockets" else "aiohttp"
    ran = run(
        f"{START}{INSTRUMENT}{TURN[name]}{SAY}{TURN[other]}{SAY}",
        url_of(simulator, deltas=1),
        REALTIME_SPEND_DISABLED_LIBRARIES=library,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [json.loads(line) for line in ran.stdout.splitlines()] == [{}, {"reported": 1}]


def test_aiortc_switched_off_is_left_alone(meter_with: MeterWith) -> None:
    owner = aiortc.rtcdatachannel.RTCDataChannel
    before = vars(owner)["__init__"]
    with meter_with(disabled_libraries="aiortc"):
        assert vars(owner)["__init__"] is before
    with meter_with():
        assert vars(owner)["__init__"] is not before


AUTOMATIC = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
ONLY = {"aiohttp": "aiohttp==3.14.5", "websocket-client": "websocket-client==1.9.2"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [*ONLY, "none of them"], ids=slug)
def test_one_of_the_libraries_is_enough_to_be_switched_on_by_itself(
    environment: Environment, simulator: RunningSimulator, tmp_path: Path, name: str
) -> None:
    python = environment(ONLY[name]) if name in ONLY else environment("click")
    program = tmp_path / "program.py"
    constants = f"import json, sys\nurl, CREATE, LAST = sys.argv[1], {CREATE!r}, {LAST!r}\n"
    is_on = "print(RealtimeInstrumentor().is_instrumented_by_opentelemetry)\n"
    is_on = f"from realtime_spend import RealtimeInstrumentor\n{is_on}"
    program.write_text(constants + TURN.get(name, "") + is_on, encoding="utf-8")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON", "REALTIME_"))}
    ran = subprocess.run(
        [python, "-c", AUTOMATIC, python, program, url_of(simulator, deltas=1)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=kept | {"no_proxy": "127.0.0.1", "REALTIME_SPEND_LEDGER": str(tmp_path / "ledger")},
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"{name in ONLY}\n"
    files = [file.read_text() for file in tmp_path.glob("ledger/*.jsonl")]
    assert [json.loads(line)["usage"] for text in files for line in text.splitlines()] == ["reported"] * (name in ONLY)


# --- Forks -----------------------------------------------------------------------------------------------------------

FORKING = """
def turn(ws):
    ws.send(CREATE)
    while json.loads(ws.recv())["type"] != LAST:
        pass

import os, websocket
ws = websocket.create_connection(url, timeout=20)
turn(ws)
child = os.fork()
if not child:
    own = websocket.create_connection(url, timeout=20)
    turn(own)
    own.close()
    {say}
    sys.stdout.flush()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
turn(ws)
ws.close()
{say}
"""


def test_a_forked_child_on_another_library_counts_its_own(
    simulator: RunningSimulator, run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    say = SAY.strip()
    inside = say.replace("\n", "\n    ")
    program = START + INSTRUMENT + FORKING.replace("{say}", inside, 1).replace("{say}", say, 1)
    ran = run(program, url_of(simulator, deltas=1))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [json.loads(line) for line in ran.stdout.splitlines()] == [{"reported": 1}, {"reported": 2}]
    files = [len(file.read_text().splitlines()) for file in (tmp_path / "ledger").glob("*.jsonl")]
    assert sorted(files) == [1, 2]


def test_a_fork_while_other_threads_open_connections_leaves_the_child_able_to_open_its_own(
    simulator: RunningSimulator, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    busy = """
import os, threading, websocket
# The first address that is looked up imports a codec: a child that is forked meanwhile waits for it for ever, without
# us as well.
websocket.create_connection(url, timeout=20).close()
stop = threading.Event()

def go():
    while not stop.is_set():
        websocket.create_connection(url, timeout=20).close()

threads = [threading.Thread(target=go) for _ in range(4)]
for thread in threads:
    thread.start()
ends = []
for _ in range(20):
    child = os.fork()
    if not child:
        websocket.create_connection(url, timeout=20).close()
        os._exit(0)
    ends.append(os.waitpid(child, 0)[1])
stop.set()
for thread in threads:
    thread.join()
print(json.dumps(ends))
"""
    ran = run(START + INSTRUMENT + busy, url_of(simulator))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout) == [0] * 20


# --- A program that wraps what we wrap --------------------------------------------------------------------------------


def two_messages(connection: Any) -> None:
    connection.send(json.dumps({"type": "session.created", "session": {"id": "sess_1", "model": "gpt-realtime"}}))
    connection.send(done("resp_1"))


def test_a_program_that_wraps_a_method_of_its_connection_is_counted_and_keeps_its_wrapper(
    serving: Serving, meter: Meter
) -> None:
    calls: list[str] = []
    with serving(two_messages) as url:
        connection: Any = websocket.create_connection(url + "/v1/realtime?model=gpt-realtime")
        ours = connection.recv_frame

        def theirs() -> Any:
            calls.append("theirs")
            return ours()

        connection.recv_frame = theirs
        read = [json.loads(connection.recv())["type"]]
        assert read == ["session.created"]
        RealtimeInstrumentor().uninstrument()
        assert connection.recv_frame is theirs
        assert json.loads(connection.recv())["type"] == "response.done"
        connection.close()
    assert len(calls) >= 2
    # What came after we had left is not counted, though their wrapper still calls ours.
    assert meter.records() == []


def test_a_method_that_a_connection_had_before_us_is_called_and_put_back(serving: Serving, meter: Meter) -> None:
    calls: list[str] = []
    with serving(two_messages) as url:
        connection: Any = websocket.WebSocket()
        of_the_class = connection.recv_frame

        def theirs() -> Any:
            calls.append("theirs")
            return of_the_class()

        connection.recv_frame = theirs
        connection.connect(url + "/v1/realtime?model=gpt-realtime")
        kinds = [json.loads(connection.recv())["type"] for _ in range(2)]
        assert kinds == ["session.created", "response.done"]
        assert len(calls) == 2
        RealtimeInstrumentor().uninstrument()
        assert connection.recv_frame is theirs
        connection.close()
    assert [record["id"] for record in meter.records()] == ["resp_1"]
