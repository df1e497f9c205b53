"""`observe_server_event`: events of a session that no hook can see are counted as those of a socket."""

from __future__ import annotations

import json
import threading
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from tests.hooks.messages import begun, created, done
from websockets.sync.client import connect

from realtime_spend import RealtimeInstrumentor, observe_server_event, observe_session_end, observing
from realtime_spend.containment import Containment
from realtime_spend.simulator import SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hooks.conftest import Meter, MeterWith

OPENAI = "wss://api.openai.com/v1/realtime?model=gpt-realtime"
AZURE = "wss://florist.openai.azure.com/openai/v1/realtime?model=voice"
DEPLOYMENTS = {"voice": {"model": "gpt-realtime", "version": "2025-08-28", "scope": "datazone"}}


@pytest.fixture(scope="module")
def recorded() -> tuple[list[str], dict[str, Any], str]:
    """Return what a session's events were, what they come to, and where they came from, with nothing instrumented."""
    outcomes = "completed,cancelled,failed,unsplit_cache,no_details,usage_missing,never_finished"
    frames: list[str] = []
    with run_in_thread(SimulatorOptions(seed=41)) as simulator:
        url = f"ws://127.0.0.1:{simulator.port}/v1/realtime?model=gpt-realtime"
        with connect(f"{url}&sim_outcomes={outcomes}&sim_deltas=2&sim_repeat=1", proxy=None) as connection:

            def until(kind: str) -> None:
                frames.append(str(connection.recv(20)))
                while json.loads(frames[-1])["type"] != kind:
                    frames.append(str(connection.recv(20)))

            chosen = {"type": "realtime", "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}
            connection.send(json.dumps({"type": "session.update", "session": chosen}))
            until("session.updated")
            connection.send(json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA" * 12_000}))
            until("rate_limits.updated")
            for last in ["rate_limits.updated"] * 5 + ["response.created"]:
                connection.send('{"type": "response.create"}')
                until(last)
            connection.send('{"type": "input_audio_buffer.clear"}')
            until("input_audio_buffer.cleared")
        simulator.wait_idle()
        truth = simulator.truth.as_json()
    for usage in truth["usages"]:
        usage["provider"] = "openai"
    return frames, truth, url


# Each way in which a program may have an event at hand.
SHAPES: dict[str, Callable[[str], Any]] = {
    "text": str,
    "bytes": str.encode,
    "bytearray": lambda text: bytearray(text.encode()),
    "dict": json.loads,
}


def as_forwarded(truth: dict[str, Any], meter: Meter) -> None:
    """Compare as for a hook, but that the ledger calls the source what it is."""
    records = meter.records()
    assert {record["source"] for record in records} == {"openai.forwarded"}
    for file in meter.folder.glob("*.jsonl"):
        file.write_text(file.read_text(encoding="utf-8").replace("openai.forwarded", "openai.hook"), encoding="utf-8")
    meter.agrees_with(truth)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_forwarded_session_is_counted_as_the_truth_has_it(
    recorded: tuple[list[str], dict[str, Any], str], meter: Meter, shape: str
) -> None:
    frames, truth, url = recorded
    for frame in frames:
        assert observe_server_event(SHAPES[shape](frame), session="browser-1", url=url) is True
    assert meter.sum("realtime_spend.session.active") == 1
    assert meter.sum("realtime_spend.usages", usage="lost") == 0
    observe_session_end(session="browser-1", url=url)
    assert truth["counts"]["lost"] == 1
    as_forwarded(truth, meter)


def test_a_mapping_that_is_no_dict_is_an_event_as_well(meter: Meter) -> None:
    """As the signature says it may be."""
    for text in (created("sess_1"), begun("resp_1"), done("resp_1")):
        event = MappingProxyType(json.loads(text))
        assert observe_server_event(event, session="browser-1") is True
    observe_session_end(session="browser-1")
    assert [(one["id"], one["usage"], one["model"]) for one in meter.records()] == [
        ("resp_1", "reported", "gpt-realtime")
    ]


def test_the_url_tells_the_provider_and_the_account(meter_with: MeterWith) -> None:
    with meter_with(deployments=DEPLOYMENTS) as meter:
        for number, url in enumerate((OPENAI, AZURE)):
            observe_server_event(begun(f"resp_{number}"), session="browser-1", url=url)
            observe_server_event(done(f"resp_{number}"), session="browser-1", url=url)
            observe_session_end(session="browser-1", url=url)
        told = [(one["provider"], one["server"], one["account"], one["model"], one["scope"]) for one in meter.records()]
    assert told == [
        ("openai", "api.openai.com", None, "gpt-realtime", "global"),
        ("azure.ai.openai", "florist.openai.azure.com", "florist", "gpt-realtime", "datazone"),
    ]


def test_without_a_url_it_is_openai_and_the_events_name_the_model(meter: Meter) -> None:
    for text in (created("sess_1"), done("resp_1")):
        assert observe_server_event(text, session="browser-1")
    observe_session_end(session="browser-1")
    assert [(one["provider"], one["model"]) for one in meter.records()] == [("openai", "gpt-realtime")]


def test_sessions_are_told_apart_and_each_loses_its_own(meter: Meter) -> None:
    for number in range(3):
        observe_server_event(created(f"sess_{number}"), session=f"browser-{number}")
        observe_server_event(begun(f"resp_{number}"), session=f"browser-{number}")
    assert meter.sum("realtime_spend.session.active") == 3
    observe_server_event(done("resp_1"), session="browser-1")
    for number in range(3):
        observe_session_end(session=f"browser-{number}")
        observe_session_end(session=f"browser-{number}")
    assert {one["id"]: one["usage"] for one in meter.records()} == {
        "resp_0": "lost",
        "resp_1": "reported",
        "resp_2": "lost",
    }
    assert meter.sessions() == 3


def test_the_end_of_a_session_nobody_knows_changes_nothing(meter: Meter) -> None:
    observe_session_end(session="browser-1")
    observe_session_end(session="browser-1", url="whatever")
    assert meter.sessions() == 0


def test_where_nothing_is_instrumented_it_says_so() -> None:
    assert observe_server_event(done("resp_1"), session="browser-1") is False
    observe_session_end(session="browser-1")


def test_after_uninstrumenting_it_says_so(meter: Meter) -> None:
    assert observe_server_event(created("sess_1"), session="browser-1") is True
    RealtimeInstrumentor().uninstrument()
    assert observe_server_event(done("resp_1"), session="browser-1") is False
    observe_session_end(session="browser-1")
    assert meter.records() == []
    assert meter.sum("realtime_spend.session.active") == 0


GARBAGE: list[Any] = [
    "",
    b"",
    "not json",
    b"\xff\xfe{",
    "[" * 100_000,
    '{"type": "response.done"}',
    '{"type": "response.done", "response": []}',
    '{"type": "response.done", "response": {"id": 7, "usage": "much"}}',
    '{"type": {"response": "done"}}',
    "null",
    "1e999",
    '{"type": "session.created", "session": {"id": ["a"], "model": 5}}',
    {"type": "response.done", "response": {"id": "resp_1", "usage": {"input_tokens": -5, "output_tokens": 1e99}}},
    {"type": b"response.done"},
    {5: 6},
    {},
    None,
    5,
    ["response.done"],
    object(),
    memoryview(b"{}"),
]


@pytest.mark.parametrize("number", range(len(GARBAGE)))
def test_no_event_whatever_makes_it_raise(meter: Meter, number: int) -> None:
    assert observe_server_event(GARBAGE[number], session="browser-1") is True
    assert observe_server_event(done("resp_after"), session="browser-1") is True
    observe_session_end(session="browser-1")
    assert [one["usage"] for one in meter.records() if one["id"] == "resp_after"] == ["reported"]
    assert not [kind for kind in meter.errors() if kind.startswith("internal.")]


STRANGE_URLS = [
    "",
    "nothing",
    "wss://",
    "wss://[::1",
    "wss://host:port/v1/realtime",
    "wss://h:99999/",
    "\x00",
    "ws://é/ü?ß",
]


@pytest.mark.parametrize("url", [*STRANGE_URLS, None, 5, b"wss://api.openai.com", ["wss://x"]], ids=repr)
def test_no_url_whatever_makes_it_raise(meter: Meter, monkeypatch: pytest.MonkeyPatch, url: Any) -> None:
    monkeypatch.setattr(Containment, "reraise", False)
    assert observe_server_event(done("resp_1"), session="browser-1", url=url) is True
    observe_session_end(session="browser-1", url=url)
    # Counted, or an error of the caller's that was counted as one: never silence.
    assert len(meter.records()) + sum(meter.errors().values()) >= 1
    assert meter.sum("realtime_spend.session.active") == 0


@pytest.mark.parametrize("session", [None, 5, ["a"], {}, b"x", ""], ids=repr)
def test_no_session_whatever_makes_it_raise(meter: Meter, monkeypatch: pytest.MonkeyPatch, session: Any) -> None:
    monkeypatch.setattr(Containment, "reraise", False)
    assert observe_server_event(done("resp_1"), session=session) is True
    observe_session_end(session=session)
    assert len(meter.records()) + sum(meter.errors().values()) >= 1
    assert meter.sum("realtime_spend.session.active") == 0


def test_many_threads_with_sessions_of_their_own_and_one_in_common_are_counted_exactly(meter: Meter) -> None:
    workers, each = 8, 100
    observe_server_event(created("sess_shared"), session="shared")
    faults: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for number in range(each):
                own = f"browser-{worker}-{number}"
                for text in (created(f"sess_{own}"), begun(f"resp_{own}"), done(f"resp_{own}"), begun(f"lost_{own}")):
                    observe_server_event(text, session=own)
                observe_server_event(begun(f"shared_{own}"), session="shared")
                observe_server_event(json.loads(done(f"shared_{own}")), session="shared")
                observe_session_end(session=own)
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            faults.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    observe_session_end(session="shared")
    assert not faults
    told = Counter(one["usage"] for one in meter.records())
    assert told == {"reported": 2 * workers * each, "lost": workers * each}
    assert meter.sessions() == workers * each + 1
    assert meter.sum("realtime_spend.session.active") == 0
    assert not meter.errors()


def test_one_thread_ends_sessions_that_others_are_forwarding(meter: Meter) -> None:
    stop = threading.Event()
    faults: list[BaseException] = []

    def forward(worker: int) -> None:
        try:
            for number in range(300):
                observe_server_event(done(f"resp_{worker}_{number}"), session="shared")
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            faults.append(error)

    def end() -> None:
        while not stop.is_set():
            observe_session_end(session="shared")

    forwarding = [threading.Thread(target=forward, args=(worker,)) for worker in range(4)]
    ending = threading.Thread(target=end)
    for thread in (*forwarding, ending):
        thread.start()
    for thread in forwarding:
        thread.join(60)
    stop.set()
    ending.join(60)
    observe_session_end(session="shared")
    assert not faults
    assert meter.sum("realtime_spend.session.active") == 0
    assert not meter.errors()


# Whoever switches off and on comes to its turn only after four others, each time.
@pytest.mark.timeout(500)
def test_switching_off_while_others_forward_raises_in_none_of_them(meter_with: MeterWith) -> None:
    stop = threading.Event()
    faults: list[BaseException] = []

    def forward() -> None:
        try:
            while not stop.is_set():
                observe_server_event(done("resp_1"), session="shared")
                observe_session_end(session="shared")
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            faults.append(error)

    threads = [threading.Thread(target=forward) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        with meter_with():
            pass
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not faults


def test_sessions_that_never_end_are_bounded_and_the_one_longest_silent_is_ended(
    meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime_spend.observing._MOST_FORWARDED", 50)
    for number in range(120):
        observe_server_event(begun(f"resp_{number}"), session=f"browser-{number}")
        # This one speaks on.
        observe_server_event("{}", session="browser-0")
    assert len(observing.RUNNING[-1]._forwarded) == 50
    assert meter.sum("realtime_spend.session.active") == 50
    assert meter.sessions() == 70
    lost = {one["id"] for one in meter.records()}
    assert lost == {f"resp_{number}" for number in range(1, 71)}
