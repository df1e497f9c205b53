"""The edge cases of watching a socket, on every transport where they can be.

 1. the connection is cut before a response is done
 2. a response is cancelled, fails, or stays incomplete
 3. the usage of a response is null, or not there
 4. a usage arrives and the program never reads it
 5. reads are cancelled by the thousand
 6. something of ours raises
 7. a library is not as its hook knows it
 8. we leave: classes and open connections are as they were
 9. somebody has wrapped us meanwhile
10. we are switched on twice
11. we come before the library is imported
12. we come after it, when a program has taken out `connect` already
13. the program has connection classes of its own
14. a session was open before we came
15. twenty sessions at once, in threads and in event loops
16. the process forks
17. instrumentation is suppressed where a connection is opened
18. a message comes in fragments, with pings between them and an empty one at its beginning
19. messages are compressed
20. messages are binary
21. `type` stands last, keys are sorted, separators have blanks
22. metadata and transcripts imitate events
23. a sideband is open beside the main socket
24. the endpoint carries another protocol of the same service, whose usage is cumulative
25. a client reconnects by itself within one connection object of its own
26. one connection object of a library is connected again
27. a transcription tells tokens, or seconds
28. a read is cancelled or times out, which some libraries note down as the connection's end
"""

from __future__ import annotations

import ast
import json
import logging
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from tests.hooks.messages import CREATE, LAST, done, slug, url_of

from realtime_spend.containment import Containment
from realtime_spend.simulator import RunningSimulator, SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hooks.conftest import Meter, MeterWith, Serving, Transport

IN_LOOPS = ("websockets", "websockets legacy", "aiohttp", "httpx-ws")
IN_THREADS = ("websockets in threads", "websocket-client", "websocket-client app", "httpx-ws in threads")
ALL = (*IN_LOOPS, *IN_THREADS)
# The others have no permessage-deflate.
COMPRESSING = ("websockets", "websockets legacy", "websockets in threads", "aiohttp")
# The others read nothing that nobody asked for, or no more than a message of it.
READING_AHEAD = ("websockets", "websockets legacy", "websockets in threads", "aiohttp", "httpx-ws in threads")
PATIENCE = 20.0

HERE = "tests/hooks/test_edge_cases.py"
LIBRARIES = "tests/hooks/test_edge_cases_of_libraries.py"
ATTACHING = "tests/hooks/test_attaching.py"
SAME = "tests/hooks/test_clients_see_the_same.py"
HOST = "tests/hooks/test_host_is_not_harmed.py"
THE_SAME = f"{SAME}::test_a_client_sees_the_same_and_what_is_counted_is_the_truth"
COVERED = {
    1: [f"{HERE}::test_a_connection_that_is_cut_leaves_a_lost_response", THE_SAME],
    2: [THE_SAME, f"{HERE}::test_responses_end_in_every_way_and_their_usage_is_there_or_not"],
    3: [f"{HERE}::test_responses_end_in_every_way_and_their_usage_is_there_or_not"],
    4: [
        f"{HERE}::test_a_usage_that_the_program_never_reads_is_counted",
        f"{HOST}::test_what_a_program_never_reads_is_counted_all_the_same",
    ],
    5: [
        f"{HOST}::test_thousands_of_cancelled_reads_lose_neither_a_frame_nor_a_usage",
        f"{LIBRARIES}::test_thousands_of_cancelled_reads_lose_neither_a_message_nor_a_usage",
    ],
    6: [
        f"{HERE}::test_no_fault_of_ours_reaches_the_program",
        f"{HOST}::test_no_fault_of_ours_reaches_the_program",
    ],
    7: [
        f"{ATTACHING}::test_a_library_that_has_changed_is_said_once_with_its_version_and_the_others_are_watched",
        f"{LIBRARIES}::test_an_aiohttp_that_keeps_its_reader_elsewhere_is_watched_as_it_receives",
    ],
    8: [
        f"{ATTACHING}::test_uninstrumenting_leaves_every_class_as_it_was",
        f"{ATTACHING}::test_uninstrumenting_in_the_middle_of_a_session_leaves_the_connection_its_own_methods",
    ],
    9: [f"{ATTACHING}::test_a_wrapper_that_somebody_puts_around_ours_survives_our_leaving_and_our_coming_back"],
    10: [f"{ATTACHING}::test_instrumenting_twice_and_again_counts_once"],
    11: [f"{ATTACHING}::test_we_may_come_before_a_library_is_imported_and_after"],
    12: [
        f"{ATTACHING}::test_we_may_come_before_a_library_is_imported_and_after",
        f"{HOST}::test_a_connection_class_of_the_programs_own_works_as_before",
    ],
    13: [
        f"{HOST}::test_a_connection_class_of_the_programs_own_works_as_before",
        f"{LIBRARIES}::test_a_connection_class_of_the_programs_own_is_watched_and_works_as_before",
    ],
    14: [f"{ATTACHING}::test_a_session_opened_before_we_came_is_not_observed_and_the_next_one_is"],
    15: [f"{HERE}::test_twenty_sessions_at_once_on_all_transports_are_counted_exactly"],
    16: [
        f"{HOST}::test_a_forked_child_counts_from_zero_and_leaves_the_parent_its_own",
        f"{ATTACHING}::test_a_forked_child_on_another_library_counts_its_own",
    ],
    17: [f"{HERE}::test_suppressed_instrumentation_leaves_a_session_alone"],
    18: [f"{HERE}::test_whatever_way_messages_are_written_they_are_counted_exactly"],
    19: [f"{HERE}::test_compressed_messages_are_counted_exactly"],
    20: [f"{HERE}::test_whatever_way_messages_are_written_they_are_counted_exactly"],
    21: [f"{HERE}::test_whatever_way_messages_are_written_they_are_counted_exactly"],
    22: [f"{HERE}::test_what_imitates_an_event_neither_hides_nor_fakes_a_usage"],
    23: [f"{HERE}::test_a_sideband_beside_the_main_socket_counts_nothing_twice"],
    24: [f"{HERE}::test_another_protocol_of_the_same_service_is_left_alone"],
    25: [f"{LIBRARIES}::test_the_openai_client_that_reconnects_by_itself_is_counted_exactly"],
    26: [f"{LIBRARIES}::test_one_websocket_client_object_connected_again_and_again_is_counted_exactly"],
    27: [f"{HERE}::test_transcriptions_tell_tokens_or_seconds"],
    28: [
        f"{LIBRARIES}::test_a_read_that_times_out_or_is_cancelled_does_not_end_the_session",
        f"{HOST}::test_a_read_that_times_out_in_a_thread_loses_nothing",
    ],
}


def test_every_edge_case_has_a_test() -> None:
    listed = [int(number) for number in re.findall(r"^ ?(\d+)\. ", __doc__ or "", re.MULTILINE)]
    assert listed == list(COVERED) == list(range(1, 29))
    root = Path(__file__).resolve().parents[2]
    for named in sorted({one for tests in COVERED.values() for one in tests}):
        file, _, name = named.partition("::")
        tree = ast.parse((root / file).read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in functions, named


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with run_in_thread(SimulatorOptions(seed=28)) as running:
        yield running


def turns(transport: Transport, url: str, number: int = 1) -> list[list[str | bytes]]:
    with transport.open(url) as socket:
        read = []
        for _ in range(number):
            socket.send(CREATE)
            read.append(socket.until(LAST))
        return read


CREATED = json.dumps({"type": "session.created", "session": {"id": "sess_1", "model": "gpt-realtime"}})


# --- How responses end -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL, ids=slug)
def test_a_connection_that_is_cut_leaves_a_lost_response(
    simulator: RunningSimulator, transports: dict[str, Transport], meter: Meter, name: str
) -> None:
    url = url_of(simulator, outcomes="completed,dropped", deltas=1)
    with transports[name].open(url) as socket:
        socket.send(CREATE)
        socket.until(LAST)
        socket.send(CREATE)
        socket.to_the_end()
    simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert truth["counts"]["lost"] == 1
    meter.agrees_with(truth)


@pytest.mark.parametrize("name", ALL, ids=slug)
def test_responses_end_in_every_way_and_their_usage_is_there_or_not(
    simulator: RunningSimulator, transports: dict[str, Transport], meter: Meter, name: str
) -> None:
    outcomes = ["cancelled", "failed", "incomplete", "usage_missing", "unsplit_cache", "no_details", "completed"]
    url = url_of(simulator, outcomes=",".join(outcomes), deltas=1)
    turns(transports[name], url, len(outcomes))
    simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert truth["counts"]["responses"] == len(outcomes)
    # A failed one says null, another one nothing.
    assert meter.sum("realtime_spend.usages", usage="missing") == 2
    meter.agrees_with(truth)


@pytest.mark.parametrize("name", READING_AHEAD, ids=slug)
def test_a_usage_that_the_program_never_reads_is_counted(
    simulator: RunningSimulator, transports: dict[str, Transport], meter: Meter, name: str
) -> None:
    with transports[name].open(url_of(simulator, deltas=1)) as socket:
        socket.send(CREATE)
        socket.until("response.created")
        ends = time.monotonic() + PATIENCE
        while simulator.truth.as_json()["counts"]["reported"] < 1 and time.monotonic() < ends:
            time.sleep(0.01)
        if name == "httpx-ws in threads":
            # It throws away at its end what its thread has not read from the socket by then.
            while meter.sum("realtime_spend.usages", usage="reported") < 1 and time.monotonic() < ends:
                time.sleep(0.01)
    simulator.wait_idle()
    assert meter.sum("realtime_spend.usages", usage="reported") == 1
    meter.agrees_with(simulator.truth.as_json())


@pytest.mark.parametrize("name", ["websocket-client", "httpx-ws"])
def test_what_a_library_never_read_is_lost_and_not_open_for_ever(
    simulator: RunningSimulator, transports: dict[str, Transport], meter: Meter, name: str
) -> None:
    with transports[name].open(url_of(simulator, deltas=1)) as socket:
        socket.send(CREATE)
        socket.until("response.created")
    simulator.wait_idle()
    usages = [record["usage"] for record in meter.records()]
    assert usages in (["lost"], ["reported"])
    assert meter.sessions() == 1
    assert meter.sum("realtime_spend.session.active") == 0


@pytest.mark.parametrize("name", ALL, ids=slug)
def test_transcriptions_tell_tokens_or_seconds(
    simulator: RunningSimulator, transports: dict[str, Transport], meter: Meter, name: str
) -> None:
    with transports[name].open(url_of(simulator, deltas=1)) as socket:
        for model in ("gpt-4o-transcribe", "whisper-1"):
            chosen = {"type": "realtime", "audio": {"input": {"transcription": {"model": model}}}}
            socket.send(json.dumps({"type": "session.update", "session": chosen}))
            socket.until("session.updated")
            socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA" * 12_000}))
            socket.until(LAST)
        socket.send(json.dumps({"type": "input_audio_buffer.clear"}))
        socket.until("input_audio_buffer.cleared")
    simulator.wait_idle()
    truth = simulator.truth.as_json()
    kinds = {part for usage in truth["usages"] if usage["kind"] == "transcription" for part in usage["quantities"]}
    assert {"audio.duration", "audio.input"} <= kinds
    meter.agrees_with(truth)


# --- How messages are written ----------------------------------------------------------------------------------------

WRITTEN: dict[str, dict[str, object]] = {
    "in fragments with pings": {"fragments": 4, "empty_first": 1, "pings": 1},
    "binary": {"binary": 1},
    "binary in fragments": {"binary": 1, "fragments": 3},
    "type last": {"key_order": "type_last"},
    "sorted and spaced": {"key_order": "alphabetical", "spaced": 1},
    "type last and spaced in fragments": {"key_order": "type_last", "spaced": 1, "fragments": 3},
}


@pytest.mark.parametrize("way", WRITTEN, ids=slug)
@pytest.mark.parametrize("name", ALL, ids=slug)
def test_whatever_way_messages_are_written_they_are_counted_exactly(
    transports: dict[str, Transport], meter_with: MeterWith, name: str, way: str
) -> None:
    read = []
    for watched in (False, True):
        with run_in_thread(SimulatorOptions(seed=28)) as simulator:
            url = url_of(simulator, outcomes="completed,unsplit_cache", deltas=3, repeat=1, **WRITTEN[way])
            if not watched:
                read.append(turns(transports[name], url, 2))
                continue
            with meter_with() as meter:
                read.append(turns(transports[name], url, 2))
                simulator.wait_idle()
                meter.agrees_with(simulator.truth.as_json())
    alone, ours = ([[without_instant(one) for one in turn] for turn in one] for one in read)
    assert alone == ours


def without_instant(message: str | bytes) -> Any:
    said = json.loads(message)
    if isinstance(said.get("session"), dict):
        said["session"].pop("expires_at", None)
    return type(message), list(said.items())


@pytest.mark.parametrize("framed", ["whole", "in fragments"], ids=slug)
@pytest.mark.parametrize("name", COMPRESSING, ids=slug)
def test_compressed_messages_are_counted_exactly(
    simulator: RunningSimulator, transports: dict[str, Transport], meter: Meter, name: str, framed: str
) -> None:
    more = {"fragments": 3, "empty_first": 1} if framed == "in fragments" else {}
    turns(transports[name], url_of(simulator, deflate=1, deltas=3, **more), 2)
    simulator.wait_idle()
    meter.agrees_with(simulator.truth.as_json())


HOSTILE = [
    CREATED,
    done("resp_1", metadata={"type": "response.output_audio.delta", "x": '{"type":"response.output_audio.delta"}'}),
    done("resp_2", metadata={"note": "Grüße 🌷 \\u0000 }}", "response.done": "response.audio.delta"}),
    json.dumps({"type": "response.output_text.done", "text": done("resp_never")}),
    json.dumps({"type": "response.output_text.delta", "delta": done("resp_never")}),
    json.dumps({"delta": '"type":"response.done"', "type": "response.output_audio.delta"}),
    json.dumps(
        {
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": "item_1",
            "content_index": 0,
            "transcript": 'say "type":"response.output_audio.delta"} and response.done',
            "usage": {"type": "duration", "seconds": 4},
        }
    ),
    "not json, though it speaks of response.done",
    "[1, 2]",
    "{}",
    '{"type": ["response.done"]}',
    done("resp_3"),
]


@pytest.mark.parametrize("name", ALL, ids=slug)
def test_what_imitates_an_event_neither_hides_nor_fakes_a_usage(
    transports: dict[str, Transport], serving: Serving, meter: Meter, name: str
) -> None:
    def handler(connection: Any) -> None:
        for message in HOSTILE:
            connection.send(message)

    with serving(handler) as url:
        assert transports[name].read(f"{url}/v1/realtime?model=gpt-realtime") == HOSTILE
    assert [(one["kind"], one["id"], one["usage"]) for one in meter.records()] == [
        ("response", "resp_1", "reported"),
        ("response", "resp_2", "reported"),
        ("transcription", "item_1#0", "reported"),
        ("response", "resp_3", "reported"),
    ]
    assert meter.sum("gen_ai.client.inference.usage.output_tokens") == 3 * 5
    assert meter.sum("realtime_spend.session.active") == 0


# --- What goes wrong in us -------------------------------------------------------------------------------------------

FAULTS = {
    "recognising": "realtime_spend.observing.recognise",
    "attributing": "realtime_spend.observing.attributes_now",
    "constructing": "realtime_spend.watcher.Watcher.__init__",
    "watching": "attach",
    "beginning": "realtime_spend.metering.Metering.begin",
    "reading": "realtime_spend.core.connection.Connection.receive_event",
    "accounting": "realtime_spend.metering.Metering.take",
    "pricing": "realtime_spend.metering.price",
    "closing": "realtime_spend.watcher.Connection.close",
    "ending": "realtime_spend.metering.Metering.end",
}
HOOKS = {
    "aiohttp": "realtime_spend.hooks.aiohttp.AiohttpHook",
    "websocket-client": "realtime_spend.hooks.websocket_client.WebsocketClientHook",
    "websocket-client app": "realtime_spend.hooks.websocket_client.WebsocketClientHook",
    "websockets legacy": "realtime_spend.hooks.websockets_legacy.LegacyWebsocketsHook",
    "httpx-ws": "realtime_spend.hooks.httpx_ws.HttpxWsHook",
    "httpx-ws in threads": "realtime_spend.hooks.httpx_ws.HttpxWsHook",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", HOOKS, ids=slug)
def test_no_fault_of_ours_reaches_the_program(
    transports: dict[str, Transport],
    serving: Serving,
    meter: Meter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    name: str,
    fault: str,
) -> None:
    error = [RuntimeError, KeyError, AttributeError, RecursionError][list(FAULTS).index(fault) % 4]

    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise error("with a secret in it")

    def handler(connection: Any) -> None:
        for message in HOSTILE:
            connection.send(message)
        connection.send(["", HOSTILE[-1][:9], HOSTILE[-1][9:]])

    monkeypatch.setattr(Containment, "reraise", False)
    monkeypatch.setattr(f"{HOOKS[name]}.attach" if fault == "watching" else FAULTS[fault], fail)
    caplog.set_level(logging.WARNING, "realtime_spend")
    with serving(handler) as url:
        for _ in range(2):
            assert transports[name].read(f"{url}/v1/realtime?model=gpt-realtime") == [*HOSTILE, HOSTILE[-1]]
    errors = meter.errors()
    assert any(kind.startswith("internal.") for kind in errors), errors
    # That a model has no price is said as well; it is not what is asked about here.
    said = [text for record in caplog.records if "an error of ours" in (text := record.getMessage())]
    assert len(said) == len(set(said)) >= 1
    assert all(error.__name__ in line and "this program is not affected" in line for line in said)
    assert "secret" not in caplog.text


# --- Whether a session is watched ------------------------------------------------------------------------------------


# The app connects in a thread, and the context of a new thread is empty.
@pytest.mark.parametrize("name", [one for one in ALL if one != "websocket-client app"], ids=slug)
def test_suppressed_instrumentation_leaves_a_session_alone(
    simulator: RunningSimulator, transports: dict[str, Transport], meter: Meter, name: str
) -> None:
    with suppress_instrumentation():
        turns(transports[name], url_of(simulator))
    assert meter.sessions() == 0
    assert meter.records() == []
    turns(transports[name], url_of(simulator))
    assert meter.sessions() == len(meter.records()) == 1


OTHER_PATHS = ("/v1/responses", "/v1/live", "/chat", "/v1/realtimes", "/unrealtime/x", "/")


@pytest.mark.parametrize("name", ALL, ids=slug)
def test_another_protocol_of_the_same_service_is_left_alone(
    transports: dict[str, Transport], serving: Serving, meter_with: MeterWith, name: str
) -> None:
    def handler(connection: Any) -> None:
        connection.send(done("resp_1"))
        connection.recv()

    def held(url: str) -> list[list[str]]:
        with transports[name].open(url) as socket:
            socket.until("response.done")
            connection = socket.connection
            inner = [getattr(connection, attribute, None) for attribute in ("protocol", "connection")]
            held = [sorted(vars(one)) for one in (connection, *inner) if hasattr(one, "__dict__")]
            socket.send("thanks")
            return held

    with serving(handler) as url:
        alone = {path: held(url + path) for path in OTHER_PATHS}
        with meter_with() as meter:
            assert {path: held(url + path) for path in OTHER_PATHS} == alone
            assert meter.points("realtime_spend.session.active") == []
            assert meter.records() == []


# --- Several at once -------------------------------------------------------------------------------------------------


def test_twenty_sessions_at_once_on_all_transports_are_counted_exactly(
    simulator: RunningSimulator, transports: dict[str, Transport], meter: Meter
) -> None:
    outcomes = ("completed", "cancelled", "failed", "incomplete", "unsplit_cache")
    faults: list[BaseException] = []

    def session(number: int) -> None:
        try:
            turns(transports[ALL[number % len(ALL)]], url_of(simulator, outcomes=outcomes[number % 5], deltas=2), 3)
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            faults.append(error)

    threads = [threading.Thread(target=session, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * PATIENCE)
    assert not faults
    simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert truth["counts"]["responses"] == 24 * 3
    meter.agrees_with(truth)


@pytest.mark.parametrize("name", ALL, ids=slug)
def test_a_sideband_beside_the_main_socket_counts_nothing_twice(
    simulator: RunningSimulator, transports: dict[str, Transport], meter: Meter, name: str
) -> None:
    aside = "websocket-client" if name != "websocket-client" else "websockets"
    call = f"ws://127.0.0.1:{simulator.port}/v1/realtime?call_id=rtc_flowers"
    with (
        transports[name].open(url_of(simulator, call_id="rtc_flowers", deltas=2)) as main,
        transports[aside].open(call) as sideband,
    ):
        for _ in range(3):
            main.send(CREATE)
            main.until(LAST)
            sideband.until(LAST)
    simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert truth["counts"]["responses"] == 3 == len(meter.records())
    assert meter.sum("realtime_spend.usages") == 3
    # Both sockets told each of them, and each of the two is a socket that was opened and closed.
    assert meter.sum("realtime_spend.duplicates") == 3
    assert meter.sessions() == 2
    # A sideband is not told the session's name, and the first socket to tell a usage is the one that is believed.
    assert {record["session"] for record in meter.records()} <= {None, truth["sessions"][0]["id"]}
