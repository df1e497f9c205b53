"""Where a URL says nothing the first messages do: a gateway's session is adopted, another socket left alone."""

from __future__ import annotations

import gc
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.hooks.messages import begun, created, done, slug

from realtime_spend import RealtimeInstrumentor, instrumentor, observing
from realtime_spend.containment import Containment

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hooks.conftest import MeterWith, Serving, Transport

ALL = (
    "websockets",
    "websockets legacy",
    "aiohttp",
    "httpx-ws",
    "websockets in threads",
    "websocket-client",
    "websocket-client app",
    "httpx-ws in threads",
)
PATH = "/my-gateway/voice"
PATIENCE = 20.0


def whole(connection: Any, message: str) -> None:
    connection.send(message)


def in_fragments(connection: Any, message: str) -> None:
    def pieces() -> Any:
        yield ""
        for start in range(0, len(message), 20):
            connection.ping()
            yield message[start : start + 20]

    connection.send(pieces())


def binary(connection: Any, message: str) -> None:
    connection.send(message.encode())


CHAT = [json.dumps({"type": "chat", "text": f"hello {number}"}) for number in range(10)]
AFTER = [begun("resp_1"), done("resp_1"), begun("resp_2"), done("resp_2"), begun("resp_lost")]


@pytest.mark.parametrize("write", [whole, in_fragments, binary])
@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("name", ALL, ids=slug)
def test_a_session_that_begins_in_the_first_three_messages_is_adopted(
    transports: dict[str, Transport],
    serving: Serving,
    meter_with: MeterWith,
    *,
    name: str,
    before: int,
    write: Callable[[Any, str], None],
) -> None:
    sent = [*CHAT[:before], created(), *AFTER]

    def handler(connection: Any) -> None:
        for message in sent:
            write(connection, message)

    with serving(handler) as url, meter_with(sniff=True) as meter:
        read = transports[name].read(f"{url}{PATH}?model=gpt-realtime")
        assert [one if isinstance(one, str) else one.decode() for one in read] == sent
        assert [(one["id"], one["usage"], one["session"], one["model"]) for one in meter.records()] == [
            ("resp_1", "reported", "sess_1", "gpt-realtime"),
            ("resp_2", "reported", "sess_1", "gpt-realtime"),
            ("resp_lost", "lost", "sess_1", "gpt-realtime"),
        ]
        assert meter.sessions() == 1
        assert meter.sum("realtime_spend.session.active") == 0
        assert not meter.errors()


BEGINNINGS = {
    "GA": created(),
    "transcription": created(kind="transcription_session.created"),
    "spaced": created().replace(":", " : ").replace(",", " , "),
    "type last": json.dumps({"session": {"id": "sess_1", "model": "gpt-realtime"}, "type": "session.created"}),
    "large": created(instructions="x" * 100_000),
}


@pytest.mark.parametrize("name", BEGINNINGS, ids=slug)
def test_a_session_may_begin_in_several_ways(
    transports: dict[str, Transport], serving: Serving, meter_with: MeterWith, name: str
) -> None:
    def handler(connection: Any) -> None:
        connection.send(BEGINNINGS[name])
        connection.send(done("resp_1"))

    with serving(handler) as url, meter_with(sniff=True) as meter:
        transports["aiohttp"].read(f"{url}{PATH}")
        assert [one["id"] for one in meter.records()] == ["resp_1"]


def set_on(connection: Any) -> list[list[str]]:
    inner = [getattr(connection, name, None) for name in ("protocol", "connection")]
    return [sorted(vars(one)) for one in (connection, *inner) if hasattr(one, "__dict__")]


def is_ours(value: object) -> bool:
    return (getattr(value, "__module__", None) or "").startswith("realtime_spend") or type(value).__module__.startswith(
        "realtime_spend"
    )


@pytest.mark.parametrize("write", [whole, in_fragments])
@pytest.mark.parametrize("name", ALL, ids=slug)
def test_a_socket_of_another_kind_is_left_after_three_messages_and_has_nothing_of_ours(
    transports: dict[str, Transport],
    serving: Serving,
    meter_with: MeterWith,
    name: str,
    write: Callable[[Any, str], None],
) -> None:
    goes_on = threading.Event()

    def handler(connection: Any) -> None:
        for message in CHAT[:2]:
            write(connection, message)
        goes_on.wait(PATIENCE)
        # What comes too late is not looked at, however it looks.
        for message in (CHAT[2], created(), done("resp_1")):
            write(connection, message)
        connection.recv()

    def held(*, watched: bool) -> list[list[str]]:
        goes_on.clear()
        with transports[name].open(url + PATH) as socket:
            for _ in range(2):
                socket.received()
            assert any(hook._live for hook in instrumentor._HOOKS) is watched
            goes_on.set()
            while json.loads(socket.received())["type"] != "response.done":
                pass
            found = set_on(socket.connection)
            assert not any(hook._live for hook in instrumentor._HOOKS)
            inner = [getattr(socket.connection, one, None) for one in ("protocol", "connection")]
            for one in (socket.connection, *inner):
                assert not [key for key, value in getattr(one, "__dict__", {}).items() if is_ours(value)]
            socket.send("bye")
            return found

    with serving(handler) as url:
        alone = held(watched=False)
        with meter_with(sniff=True) as meter:
            assert held(watched=True) == alone
            assert meter.records() == []
            assert meter.points("realtime_spend.session.active") == []
            assert not meter.errors()


@pytest.mark.parametrize("name", ALL, ids=slug)
def test_a_socket_that_ends_before_it_says_what_it_is_is_no_session(
    transports: dict[str, Transport], serving: Serving, meter_with: MeterWith, name: str
) -> None:
    def handler(connection: Any) -> None:
        connection.send(CHAT[0])

    with serving(handler) as url, meter_with(sniff=True) as meter:
        assert transports[name].read(url + PATH) == CHAT[:1]
        assert meter.sessions() == 0
        assert meter.points("realtime_spend.session.active") == []
        gc.collect()
        assert not any(hook._live for hook in instrumentor._HOOKS)


@pytest.mark.parametrize("name", ALL, ids=slug)
def test_a_socket_that_has_not_yet_said_what_it_is_is_let_go_when_we_leave(
    transports: dict[str, Transport], serving: Serving, meter_with: MeterWith, name: str
) -> None:
    goes_on = threading.Event()

    def handler(connection: Any) -> None:
        connection.send(CHAT[0])
        goes_on.wait(PATIENCE)
        connection.send(created())
        connection.send(done("resp_1"))
        connection.recv()

    with (
        serving(handler) as url,
        meter_with(sniff=True) as meter,
        transports[name].open(url + PATH) as socket,
    ):
        socket.received()
        read: list[str | bytes] = []
        reader = threading.Thread(target=lambda: read.extend(socket.received() for _ in range(2)))
        reader.start()
        reader.join(0.1)
        RealtimeInstrumentor().uninstrument()
        goes_on.set()
        reader.join(PATIENCE)
        socket.send("bye")
        assert [json.loads(one)["type"] for one in read] == ["session.created", "response.done"]
        assert meter.records() == []
        assert meter.sum("realtime_spend.session.active") == 0


@pytest.mark.parametrize("sniff", ["", "false", "no", "0"])
def test_unless_it_is_asked_for_no_socket_is_looked_into(
    transports: dict[str, Transport],
    serving: Serving,
    meter_with: MeterWith,
    monkeypatch: pytest.MonkeyPatch,
    sniff: str,
) -> None:
    def handler(connection: Any) -> None:
        connection.send(created())
        connection.send(done("resp_1"))

    monkeypatch.setenv("REALTIME_SPEND_SNIFF", sniff)
    with serving(handler) as url, meter_with() as meter:
        assert len(transports["aiohttp"].read(url + PATH)) == 2
        assert meter.records() == []


def test_the_variable_asks_for_it(
    transports: dict[str, Transport], serving: Serving, meter_with: MeterWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handler(connection: Any) -> None:
        connection.send(created())
        connection.send(done("resp_1"))

    monkeypatch.setenv("REALTIME_SPEND_SNIFF", "true")
    with serving(handler) as url, meter_with() as meter:
        assert len(transports["aiohttp"].read(url + PATH)) == 2
        assert len(meter.records()) == 1


LOOKING, JOINING = "realtime_spend.watcher.begins_session", "realtime_spend.watcher.Reassembly.begin"
# aiohttp puts messages together itself.
FAULTS = [(name, LOOKING) for name in ("websockets", "aiohttp", "websocket-client", "httpx-ws in threads")]
FAULTS += [(name, JOINING) for name, _ in FAULTS if name != "aiohttp"]


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=lambda value: slug(value.rpartition(".")[2]))
def test_a_fault_of_ours_while_we_look_reaches_no_program(
    transports: dict[str, Transport],
    serving: Serving,
    meter_with: MeterWith,
    monkeypatch: pytest.MonkeyPatch,
    *,
    name: str,
    fault: str,
) -> None:
    def handler(connection: Any) -> None:
        whole(connection, CHAT[0])
        in_fragments(connection, CHAT[1])
        whole(connection, CHAT[2])

    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("of ours")

    monkeypatch.setattr(Containment, "reraise", False)
    monkeypatch.setattr(fault, fail)
    with serving(handler) as url, meter_with(sniff=True) as meter:
        assert transports[name].read(url + PATH) == CHAT[:3]
        assert any(kind.startswith("internal.") for kind in meter.errors())


def test_many_chat_sockets_leave_nothing_behind(
    transports: dict[str, Transport], serving: Serving, meter_with: MeterWith
) -> None:
    def handler(connection: Any) -> None:
        for message in CHAT:
            connection.send(message)

    with serving(handler) as url, meter_with(sniff=True):
        for number in range(60):
            transports[ALL[number % len(ALL)]].read(f"{url}/chat/{number}")
        assert not any(hook._live for hook in instrumentor._HOOKS)
        assert not observing.RUNNING[-1].metering._live
