from __future__ import annotations

import itertools
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from realtime_spend.core.connection import Connection
from realtime_spend.core.endpoints import Endpoint, recognise
from realtime_spend.core.frames import DELTA_TYPES, MOST_FRAGMENTED_BYTES
from realtime_spend.core.naming import Named
from realtime_spend.core.session import Fault, FirstOutput, Learned, Metered, ModelNamed, Repeated, Sessions, Unread
from realtime_spend.core.usage import Kind, Reported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

SECOND = 10**9
Event = dict[str, Any]
DELTA = '{"type":"response.output_audio.delta","delta":"AAAA"}'
WORDS = '{"type":"response.output_audio_transcript.delta","delta":"so"}'


def endpoint(host: str = "api.openai.com", path: str = "/v1/realtime", query: str = "model=gpt-realtime") -> Endpoint:
    found = recognise(host, 443, path, query)
    assert found is not None
    return found


def opened(sessions: Sessions | None = None, where: Endpoint | None = None) -> Connection:
    return Connection(where or endpoint(), sessions or Sessions())


def feed(connection: Connection, *events: Event, at: int = 0) -> list[Learned]:
    """Give a connection its events as the wire does; return what it learned."""
    return [learned for event in events for learned in connection.receive(json.dumps(event), at)]


def session(session_id: str | None = "sess_1", kind: str = "session.updated", **fields: Any) -> Event:
    return {"type": kind, "session": fields | ({} if session_id is None else {"id": session_id})}


def ga(session_id: str = "sess_1", transcription: str | None = "gpt-4o-transcribe", **fields: Any) -> Event:
    model = None if transcription is None else {"model": transcription}
    return session(session_id, audio={"input": {"transcription": model}}, **fields)


def delta(kind: str = "response.output_audio.delta", response_id: str | None = None) -> str:
    named = {} if response_id is None else {"response_id": response_id}
    return json.dumps({"type": kind, **named, "delta": "AAAA"})


def created(response_id: str = "resp_1") -> Event:
    return {"type": "response.created", "response": {"id": response_id, "status": "in_progress", "usage": None}}


def done(response_id: str | None = "resp_1", status: str = "completed", tokens: int | None = 5, **fields: Any) -> Event:
    usage = (
        None
        if tokens is None
        else {
            "total_tokens": tokens,
            "input_tokens": tokens,
            "output_tokens": 0,
            "input_token_details": {"text_tokens": tokens},
        }
    )
    return {"type": "response.done", "response": {"id": response_id, "status": status, "usage": usage, **fields}}


def committed(item_id: str = "item_1") -> Event:
    return {"type": "input_audio_buffer.committed", "item_id": item_id}


def transcribed(item_id: str | None = "item_1", seconds: float | None = 3, **fields: Any) -> Event:
    usage = None if seconds is None else {"type": "duration", "seconds": seconds}
    event = {"type": "conversation.item.input_audio_transcription.completed", "item_id": item_id, "usage": usage}
    return {"content_index": 0, **event, **fields}


def metered(learned: Iterable[Learned]) -> list[Metered]:
    return [one for one in learned if isinstance(one, Metered)]


def repeated(learned: Sequence[Learned]) -> list[Kind]:
    """What was repeated, where nothing else was learned; a repeated transcription bears its own model's name."""
    kinds = []
    for one in learned:
        assert isinstance(one, Repeated)
        assert one.named.transcription is (one.kind is Kind.TRANSCRIPTION)
        kinds.append(one.kind)
    return kinds


def only(learned: Sequence[Learned]) -> Metered:
    (one,) = learned
    assert isinstance(one, Metered)
    return one


def accounts(learned: Iterable[Learned]) -> list[tuple[str | None, Reported]]:
    return [(one.usage.id, one.usage.reported) for one in metered(learned)]


# --- the models ----------------------------------------------------------------------------------------------------


def test_a_response_is_metered_with_the_names_of_its_session() -> None:
    connection = opened()
    feed(connection, session(kind="session.created", model="gpt-realtime-2025-08-28"))
    one = only(feed(connection, done(), at=7))
    assert one.named == Named(requested="gpt-realtime", said="gpt-realtime-2025-08-28")
    assert (one.session, one.at) == ("sess_1", 7)
    assert (one.usage.kind, one.usage.id, one.usage.status) == (Kind.RESPONSE, "resp_1", "completed")
    assert one.usage.reported is Reported.REPORTED
    assert json.loads(one.usage.raw or "") == done()["response"]["usage"]


def test_a_response_of_a_session_that_never_said_its_model_has_the_name_of_the_url() -> None:
    assert only(feed(opened(), done())).named == Named(requested="gpt-realtime", said=None)
    sideband = opened(where=endpoint(query="call_id=rtc_1"))
    assert only(feed(sideband, done())).named == Named(requested=None, said=None)


def test_the_newest_session_event_names_the_model() -> None:
    connection = opened()
    feed(connection, session(model="gpt-realtime"), session(model="gpt-realtime-mini"), session(voice="alloy"))
    assert connection.named.said == "gpt-realtime-mini"


def test_a_session_event_tells_the_models_in_force() -> None:
    connection = opened()
    assert feed(connection, ga(model="gpt-realtime", transcription="whisper-1")) == [
        ModelNamed(named=Named(requested="gpt-realtime", said="gpt-realtime")),
        ModelNamed(named=Named(requested="whisper-1", said="whisper-1", transcription=True)),
    ]
    assert connection._session.id == "sess_1"
    assert feed(connection, ga(transcription=None)) == []


@pytest.mark.parametrize(
    ("announced", "transcription"),
    [
        (ga(), "gpt-4o-transcribe"),
        (session(input_audio_transcription={"model": "whisper-1"}), "whisper-1"),
        (session(kind="transcription_session.created", input_audio_transcription={"model": "whisper-1"}), "whisper-1"),
        (session(kind="transcription_session.updated", input_audio_transcription={"model": "whisper-1"}), "whisper-1"),
        (
            session(type="transcription", audio={"input": {"transcription": {"model": "gpt-transcribe"}}}),
            "gpt-transcribe",
        ),
    ],
    ids=["GA", "beta, Azure preview", "beta transcription session", "the same updated", "GA transcription session"],
)
def test_a_transcription_is_metered_at_the_transcription_model_of_every_protocol_version(
    announced: Event, transcription: str
) -> None:
    connection = opened()
    feed(connection, announced)
    one = only(feed(connection, transcribed()))
    assert one.named == Named(requested=transcription, said=transcription, transcription=True)
    assert (one.usage.kind, one.usage.id, one.usage.status) == (Kind.TRANSCRIPTION, "item_1#0", "completed")
    assert one.usage.amounts.seconds == Decimal(3)


def test_the_azure_preview_names_a_snapshot_while_the_url_names_a_deployment() -> None:
    where = endpoint("acme.openai.azure.com", "/openai/realtime", "api-version=2025-04-01-preview&deployment=prod")
    connection = opened(where=where)
    feed(connection, session(kind="session.created", model="gpt-realtime-2025-08-28", input_audio_transcription=None))
    assert only(feed(connection, done())).named == Named(requested="prod", said="gpt-realtime-2025-08-28")


def test_a_transcription_has_the_model_in_force_when_its_audio_was_committed() -> None:
    connection = opened()
    feed(connection, ga(transcription="whisper-1"), committed(), ga(transcription="gpt-4o-transcribe"))
    feed(connection, committed("item_2"))
    assert [one.named.said for one in metered(feed(connection, transcribed(), transcribed("item_2")))] == [
        "whisper-1",
        "gpt-4o-transcribe",
    ]


def test_a_transcription_keeps_its_model_when_transcription_is_switched_off_meanwhile() -> None:
    connection = opened()
    feed(connection, ga(transcription="whisper-1"), committed(), ga(transcription=None))
    assert only(feed(connection, transcribed())).named.said == "whisper-1"


def test_a_commit_that_is_seen_again_later_does_not_move_its_transcription_to_a_later_model() -> None:
    main, sideband = pair(Sessions())
    feed(main, ga(transcription="whisper-1"), committed(), ga(transcription="gpt-4o-transcribe"))
    assert feed(sideband, committed()) == []
    assert only(feed(main, transcribed())).named.said == "whisper-1"


def test_a_commit_that_is_seen_again_later_leaves_the_model_of_what_is_missing_at_the_end() -> None:
    main, sideband = pair(Sessions())
    feed(main, ga(transcription="whisper-1"), committed(), ga(transcription="gpt-4o-transcribe"))
    feed(sideband, committed())
    assert list(main.close(8)) == []
    one = only(sideband.close(9))
    assert (one.usage.id, one.usage.reported, one.named.said) == ("item_1#0", Reported.MISSING, "whisper-1")


def test_a_commit_that_a_socket_saw_before_it_knew_its_session_does_not_move_the_transcription_either() -> None:
    sessions = Sessions()
    main, late = opened(sessions), opened(sessions)
    feed(main, ga(transcription="whisper-1"), committed())
    feed(late, committed(), session())
    feed(main, ga(transcription="gpt-4o-transcribe"))
    assert only(feed(main, transcribed())).named.said == "whisper-1"


def test_a_transcription_of_audio_whose_commit_was_not_seen_has_the_newest_model() -> None:
    connection = opened()
    feed(connection, ga(transcription="whisper-1"))
    assert only(feed(connection, transcribed())).named.said == "whisper-1"


def test_a_transcription_of_which_no_event_names_the_model_is_metered_without_a_name() -> None:
    one = only(feed(opened(), transcribed()))
    assert one.named == Named(requested=None, said=None, transcription=True)
    assert one.usage.reported is Reported.REPORTED


@pytest.mark.parametrize("kind", ["conversation.item.added", "conversation.item.created"])
def test_audio_that_is_added_as_an_item_has_the_model_of_then(kind: str) -> None:
    connection = opened()
    item = {"type": kind, "item": {"id": "item_1", "role": "user"}}
    feed(connection, ga(transcription="whisper-1"), item, ga(transcription="gpt-4o-transcribe"))
    assert only(feed(connection, transcribed())).named.said == "whisper-1"


def test_the_item_that_follows_a_commit_does_not_move_its_transcription_to_a_later_model() -> None:
    connection = opened()
    item = {"type": "conversation.item.added", "item": {"id": "item_1", "role": "user"}}
    feed(connection, ga(transcription="whisper-1"), committed(), ga(transcription="gpt-4o-transcribe"), item)
    assert only(feed(connection, transcribed())).named.said == "whisper-1"


@pytest.mark.parametrize("item", [None, {}, {"id": "item_1"}, {"id": "item_1", "role": "assistant"}, {"role": "user"}])
def test_items_of_the_assistant_and_items_without_an_id_are_not_remembered(item: object) -> None:
    connection = opened()
    feed(connection, ga(transcription="whisper-1"), {"type": "conversation.item.added", "item": item})
    feed(connection, ga(transcription="gpt-4o-transcribe"))
    assert only(feed(connection, transcribed())).named.said == "gpt-4o-transcribe"


# --- responses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed", "incomplete", "in_progress"])
def test_what_a_response_reports_counts_whatever_became_of_it(status: str) -> None:
    one = only(feed(opened(), done(status=status)))
    assert (one.usage.status, one.usage.reported) == (status, Reported.REPORTED)
    assert not one.usage.amounts.is_missing


@pytest.mark.parametrize("status", ["cancelled", "failed", "incomplete"])
def test_a_response_without_usage_is_missing_and_not_free(status: str) -> None:
    one = only(feed(opened(), done(status=status, tokens=None)))
    assert (one.usage.status, one.usage.reported, one.usage.raw) == (status, Reported.MISSING, None)


def test_an_out_of_band_response_counts_like_any_other() -> None:
    connection = opened()
    learned = feed(connection, done("resp_1", conversation_id="conv_1"), done("resp_2", conversation_id=None))
    assert accounts(learned) == [("resp_1", Reported.REPORTED), ("resp_2", Reported.REPORTED)]


def test_the_usage_at_the_top_level_of_the_event_is_read() -> None:
    event = done() | {"usage": {"input_tokens": 9, "output_tokens": 0, "input_token_details": {"text_tokens": 9}}}
    event["response"]["usage"] = {}
    assert [int(count) for count in only(feed(opened(), event)).usage.amounts.quantities().values()] == [9]


def test_a_response_without_an_id_is_told_apart_by_its_event() -> None:
    connection = opened()
    first, second = ({**done(None), "event_id": event_id} for event_id in ("event_1", "event_2"))
    learned = feed(connection, first, second, first)
    assert accounts(learned) == [("event_1", Reported.REPORTED), ("event_2", Reported.REPORTED)]
    assert repeated(learned[2:3]) == [Kind.RESPONSE]


def test_what_has_no_id_at_all_is_counted_each_time() -> None:
    connection = opened()
    assert accounts(feed(connection, done(None), done(None))) == [(None, Reported.REPORTED)] * 2


def test_the_time_a_response_took_is_known_where_its_beginning_was_seen() -> None:
    connection = opened()
    feed(connection, created(), at=2 * SECOND)
    assert only(feed(connection, done(), at=5 * SECOND)).seconds == 3
    assert only(feed(connection, done("resp_2"), at=6 * SECOND)).seconds is None


def test_the_time_a_response_took_counts_from_its_earliest_beginning() -> None:
    main, sideband = pair(Sessions())
    feed(main, created(), at=2 * SECOND)
    feed(sideband, created(), at=4 * SECOND)
    assert only(feed(sideband, done(), at=5 * SECOND)).seconds == 5 - 2


@pytest.mark.parametrize(("main_at", "late_at"), [(2, 4), (4, 2)], ids=["after the other", "before the other"])
def test_a_beginning_that_a_socket_saw_before_it_knew_its_session_is_held_against_the_other(
    main_at: int, late_at: int
) -> None:
    sessions = Sessions()
    main, late = opened(sessions), opened(sessions)
    feed(main, session(), created(), at=main_at * SECOND)
    feed(late, created(), session(), at=late_at * SECOND)
    assert only(feed(main, done(), at=5 * SECOND)).seconds == 5 - 2


def test_a_clock_that_was_set_back_gives_no_time_rather_than_a_negative_one() -> None:
    connection = opened()
    feed(connection, created(), at=5 * SECOND)
    assert only(feed(connection, done(), at=2 * SECOND)).seconds is None


# --- transcriptions ------------------------------------------------------------------------------------------------


def test_a_transcription_without_usage_is_missing() -> None:
    connection = opened()
    feed(connection, ga(), committed())
    one = only(feed(connection, transcribed(seconds=None)))
    assert (one.usage.reported, one.usage.amounts.is_missing) == (Reported.MISSING, True)
    assert list(connection.close(9)) == []


def test_the_parts_of_an_item_are_transcribed_one_by_one() -> None:
    learned = feed(opened(), transcribed(), transcribed(content_index=1), transcribed(content_index=1))
    assert accounts(learned) == [("item_1#0", Reported.REPORTED), ("item_1#1", Reported.REPORTED)]
    assert repeated(learned[2:3]) == [Kind.TRANSCRIPTION]


@pytest.mark.parametrize("index", [None, True, "1", 1.5, [1], -1, 1_000_000, 10**1_000])
def test_a_part_whose_number_cannot_be_read_is_the_first(index: object) -> None:
    assert only(feed(opened(), transcribed(content_index=index))).usage.id == "item_1#0"


def test_a_part_whose_number_python_will_not_write_raises_nothing() -> None:
    one = only(opened().receive_event(transcribed(content_index=10**5_000), 0))
    assert one.usage.id == "item_1#0"


def test_the_last_part_that_can_be_is_still_told_apart() -> None:
    assert only(feed(opened(), transcribed(content_index=999_999))).usage.id == "item_1#999999"


def test_a_transcription_that_is_in_progress_is_no_usage_yet() -> None:
    connection = opened()
    feed(connection, ga(), committed())
    assert feed(connection, transcribed(status="in_progress"), transcribed(status="in_progress")) == []
    assert only(feed(connection, transcribed(status="completed"))).usage.reported is Reported.REPORTED


def test_a_transcription_without_an_item_is_told_apart_by_its_event() -> None:
    connection = opened()
    learned = feed(connection, transcribed(None, event_id="event_1"), transcribed(None, event_id="event_1"))
    assert accounts(learned) == [("event_1", Reported.REPORTED)]


def test_audio_that_was_never_transcribed_is_missing_at_the_end() -> None:
    connection = opened()
    feed(connection, ga(transcription="whisper-1"), committed(), committed("item_2"), transcribed("item_2"))
    one = only(connection.close(9))
    assert (one.usage.id, one.usage.kind, one.usage.reported) == ("item_1#0", Kind.TRANSCRIPTION, Reported.MISSING)
    assert (one.named, one.session, one.at) == (
        Named(requested="whisper-1", said="whisper-1", transcription=True),
        "sess_1",
        9,
    )


def test_a_commit_after_its_transcription_is_no_repetition_at_the_end() -> None:
    main, sideband = pair(Sessions())
    assert accounts(feed(main, ga(), transcribed(), committed())) == [("item_1#0", Reported.REPORTED)]
    assert feed(sideband, committed()) == []
    assert [list(main.close(8)), list(sideband.close(9))] == [[], []]


def test_a_commit_after_its_transcription_is_no_repetition_where_a_new_session_ends_the_old_one() -> None:
    connection = opened()
    feed(connection, ga("sess_1"), transcribed(), committed())
    assert feed(connection, session("sess_2")) == []


def test_nothing_is_awaited_where_transcription_is_off() -> None:
    connection = opened()
    feed(connection, session(), committed(), ga(transcription=None), committed("item_2"))
    assert list(connection.close(9)) == []


def test_a_transcription_that_failed_is_not_awaited() -> None:
    connection = opened()
    failed = {"type": "conversation.item.input_audio_transcription.failed", "item_id": "item_1", "error": {}}
    assert metered(feed(connection, ga(), committed(), failed, failed)) == []
    assert list(connection.close(9)) == []


def test_commits_and_failures_without_an_item_change_nothing() -> None:
    connection = opened()
    failed = {"type": "conversation.item.input_audio_transcription.failed"}
    feed(connection, ga())
    assert feed(connection, {"type": "input_audio_buffer.committed"}, failed) == []
    assert list(connection.close(9)) == []


# --- lost responses ------------------------------------------------------------------------------------------------


def test_a_response_that_was_begun_and_never_done_is_lost_at_the_end() -> None:
    connection = opened()
    feed(connection, session(model="gpt-realtime-mini"), created(), created("resp_2"), done("resp_2"))
    one = only(connection.close(9))
    assert (one.usage.id, one.usage.kind, one.usage.reported) == ("resp_1", Kind.RESPONSE, Reported.LOST)
    assert (one.usage.status, one.usage.raw, one.seconds) == (None, None, None)
    assert (one.named.said, one.session, one.at) == ("gpt-realtime-mini", "sess_1", 9)


def test_a_socket_closes_once() -> None:
    connection = opened()
    feed(connection, session(), created())
    assert accounts(connection.close(9)) == [("resp_1", Reported.LOST)]
    assert list(connection.close(10)) == []


def test_frames_after_the_end_teach_nothing_and_leave_nothing_behind() -> None:
    sessions = Sessions()
    connection = opened(sessions)
    feed(connection, session())
    connection.close(1)
    assert feed(connection, session("sess_2"), ga(), created(), committed(), done(), transcribed(), at=2) == []
    assert list(connection.close(3)) == []
    assert (sessions._sessions, sessions._counted) == ({}, {})


def test_a_delta_after_the_end_is_not_timed() -> None:
    connection = opened()
    feed(connection, session(), created())
    connection.close(1)
    assert list(connection.receive(DELTA, 2)) == []


def test_a_lost_response_that_is_reported_after_all_is_counted() -> None:
    sessions = Sessions()
    connection, again = opened(sessions), opened(sessions)
    feed(connection, session(), created())
    assert accounts(connection.close(1)) == [("resp_1", Reported.LOST)]
    feed(again, session())
    assert accounts(feed(again, done())) == [("resp_1", Reported.REPORTED)]
    assert repeated(feed(again, done(), done(tokens=None))) == [Kind.RESPONSE] * 2


def test_a_better_account_replaces_a_worse_one_and_never_the_other_way() -> None:
    connection = opened()
    learned = feed(connection, done(tokens=None), done(tokens=None), done(), done(tokens=None))
    assert accounts(learned) == [("resp_1", Reported.MISSING), ("resp_1", Reported.REPORTED)]
    assert repeated([one for one in learned if isinstance(one, Repeated)]) == [Kind.RESPONSE] * 2


def test_a_response_that_is_said_to_begin_after_it_was_done_is_not_lost() -> None:
    connection = opened()
    assert accounts(feed(connection, done(), created())) == [("resp_1", Reported.REPORTED)]
    assert list(connection.close(9)) == []


def test_a_response_begun_without_an_id_cannot_be_lost() -> None:
    connection = opened()
    assert feed(connection, {"type": "response.created", "response": {}}, {"type": "response.created"}) == []
    assert list(connection.close(9)) == []


# --- two sockets, one session --------------------------------------------------------------------------------------


def pair(sessions: Sessions) -> tuple[Connection, Connection]:
    main, sideband = opened(sessions), opened(sessions, endpoint(query="call_id=rtc_1"))
    feed(main, session(kind="session.created", model="gpt-realtime"))
    feed(sideband, session(voice="alloy"))
    return main, sideband


def test_what_two_sockets_report_counts_once() -> None:
    main, sideband = pair(Sessions())
    events = [ga(transcription="whisper-1"), created(), committed(), done(), transcribed()]
    first, second = feed(main, *events), feed(sideband, *events)
    assert accounts(first) == [("resp_1", Reported.REPORTED), ("item_1#0", Reported.REPORTED)]
    assert accounts(second) == []
    assert repeated([one for one in second if isinstance(one, Repeated)]) == [Kind.RESPONSE, Kind.TRANSCRIPTION]
    assert [list(main.close(9)), list(sideband.close(9))] == [[], []]


def test_the_model_that_one_socket_learned_is_known_to_the_other() -> None:
    main, sideband = pair(Sessions())
    feed(main, ga(transcription="whisper-1"))
    learned = metered(feed(sideband, done(), transcribed()))
    assert [one.named.said for one in learned] == ["gpt-realtime", "whisper-1"]


def test_a_response_lost_on_one_socket_is_made_good_by_the_other() -> None:
    main, sideband = pair(Sessions())
    feed(main, created())
    assert list(main.close(1)) == []
    assert accounts(feed(sideband, done())) == [("resp_1", Reported.REPORTED)]
    assert list(sideband.close(2)) == []


def test_a_response_that_neither_socket_saw_the_end_of_is_lost_once() -> None:
    main, sideband = pair(Sessions())
    feed(main, created())
    feed(sideband, created())
    assert accounts([*main.close(1), *sideband.close(2)]) == [("resp_1", Reported.LOST)]


def test_a_socket_without_a_session_counts_what_it_sees_once_with_the_others() -> None:
    sessions = Sessions()
    main, anonymous = opened(sessions), opened(sessions, endpoint(query="call_id=rtc_1"))
    feed(main, session(model="gpt-realtime"), created())
    feed(anonymous, created())
    assert accounts(feed(main, done())) == [("resp_1", Reported.REPORTED)]
    assert repeated(feed(anonymous, done())) == [Kind.RESPONSE]
    assert anonymous._session.id == "sess_1", "it shares a response of that session"


def test_a_response_that_an_anonymous_socket_lost_after_it_was_counted_is_not_spoken_of() -> None:
    sessions = Sessions()
    main, anonymous = opened(sessions), opened(sessions)
    feed(main, session(), created(), done())
    feed(anonymous, created())
    assert list(anonymous.close(9)) == []


def test_what_a_socket_saw_before_it_knew_its_session_is_taken_along() -> None:
    sessions = Sessions()
    main, late = opened(sessions), opened(sessions)
    feed(main, session())
    feed(late, ga(transcription="whisper-1") | {"session": {"input_audio_transcription": {"model": "whisper-1"}}})
    feed(late, session(None, model="gpt-realtime"), created(), committed())
    feed(late, session())
    assert main.named.said == "gpt-realtime"
    assert list(late.close(1)) == []
    assert accounts(main.close(2)) == [("resp_1", Reported.LOST), ("item_1#0", Reported.MISSING)]


@pytest.mark.parametrize(
    "other", [endpoint("eu.api.openai.com"), endpoint("acme.openai.azure.com", "/openai/realtime")]
)
def test_the_same_ids_at_another_server_or_provider_are_other_usages(other: Endpoint) -> None:
    sessions = Sessions()
    here, there = opened(sessions), opened(sessions, other)
    for connection in (here, there):
        feed(connection, session())
    assert accounts(feed(here, done())) == accounts(feed(there, done())) == [("resp_1", Reported.REPORTED)]


def test_a_response_and_a_transcription_of_one_id_are_two_usages() -> None:
    learned = feed(opened(), done("item_1#0"), transcribed("item_1"))
    assert len(metered(learned)) == 2


# --- reconnecting --------------------------------------------------------------------------------------------------


def test_a_new_session_on_the_same_connection_ends_the_old_one() -> None:
    connection = opened()
    feed(connection, ga("sess_1", model="gpt-realtime", transcription="whisper-1"), created(), committed())
    learned = feed(connection, session("sess_2", kind="session.created", model="gpt-realtime-mini"), at=8)
    assert accounts(learned) == [("resp_1", Reported.LOST), ("item_1#0", Reported.MISSING)]
    assert [one.session for one in metered(learned)] == ["sess_1", "sess_1"]
    assert [one.named.said for one in metered(learned)] == ["gpt-realtime", "whisper-1"]
    assert connection._session.id == "sess_2"
    after = metered(feed(connection, done("resp_2"), transcribed("item_2")))
    assert [(one.session, one.named.said) for one in after] == [("sess_2", "gpt-realtime-mini"), ("sess_2", None)]
    assert list(connection.close(9)) == []


def test_a_repeated_event_counts_once_across_a_reconnection() -> None:
    connection = opened()
    feed(connection, session("sess_1"), done())
    assert repeated(feed(connection, session("sess_2"), done())) == [Kind.RESPONSE]


def test_sessions_that_nobody_holds_are_forgotten() -> None:
    sessions = Sessions()
    connection, other = opened(sessions), opened(sessions)
    for number in range(100):
        feed(connection, session(f"sess_{number}"))
    feed(other, session("sess_99"))
    assert len(sessions._sessions) == 1
    connection.close(1)
    assert len(sessions._sessions) == 1
    other.close(1)
    assert sessions._sessions == {}


def test_a_child_process_leaves_what_was_begun_to_its_parent() -> None:
    sessions = Sessions()
    connection = opened(sessions)
    feed(connection, ga(), created(), committed())
    with sessions._lock:
        sessions.begin_anew()
        connection.begin_anew()
        assert list(connection.close(9)) == []


# --- order and bounds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations(range(5))))
def test_the_order_of_events_does_not_change_what_is_counted(order: tuple[int, ...]) -> None:
    events = [ga(model="gpt-realtime", transcription="whisper-1"), created(), committed(), done(), transcribed()]
    connection = opened()
    learned = feed(connection, *(events[place] for place in order))
    assert sorted(accounts(learned), key=str) == [("item_1#0", Reported.REPORTED), ("resp_1", Reported.REPORTED)]
    assert not metered(connection.close(9))


def test_open_responses_are_bounded_and_a_forgotten_one_is_said() -> None:
    connection = opened()
    learned = feed(connection, *(created(f"resp_{number}") for number in range(1_500)))
    forgotten = [one for one in learned if one == Unread(fault=Fault.FORGOTTEN)]
    lost = accounts(connection.close(9))
    assert len(forgotten) + len(lost) == 1_500
    assert len(lost) == 1_024
    assert lost[-1] == ("resp_1499", Reported.LOST)


def test_awaited_transcriptions_are_bounded_and_a_forgotten_one_is_said() -> None:
    connection = opened()
    feed(connection, ga())
    learned = feed(connection, *(committed(f"item_{number}") for number in range(1_500)))
    missing = accounts(connection.close(9))
    assert len(learned) + len(missing) == 1_500
    assert set(learned) == {Unread(fault=Fault.FORGOTTEN)}


def test_a_session_without_end_keeps_a_bounded_memory() -> None:
    sessions = Sessions()
    connection = opened(sessions)
    feed(connection, ga())
    for number in range(20_000):
        for event in (committed(f"i{number}"), created(f"r{number}"), done(f"r{number}"), transcribed(f"i{number}")):
            connection.receive_event(event, number)
    assert len(sessions._counted) == 16_384
    kept = connection._session
    assert (len(kept.open), len(kept.awaited), len(kept.committed)) == (0, 0, 1_024)


def test_items_that_were_added_are_forgotten_one_by_one_and_that_harms_nobody() -> None:
    connection = opened()
    items = ({"type": "conversation.item.added", "item": {"id": f"i{n}", "role": "user"}} for n in range(1_500))
    feed(connection, ga(transcription="whisper-1"))
    assert feed(connection, *items, ga(transcription="gpt-4o-transcribe")) == [
        ModelNamed(named=Named(requested="gpt-4o-transcribe", said="gpt-4o-transcribe", transcription=True))
    ]
    assert len(connection._session.added) == 1_024
    learned = metered(feed(connection, transcribed("i0"), transcribed("i1499")))
    assert [one.named.said for one in learned] == ["gpt-4o-transcribe", "whisper-1"]


def test_names_and_ids_are_kept_short() -> None:
    connection = opened()
    feed(connection, session("s" * 10_000, model="m" * 10_000), created("r" * 10_000))
    one = only(connection.close(9))
    assert one.session == "s" * 200
    assert one.named.said == "m" * 200
    assert one.usage.id == "r" * 200


# --- frames --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "hello",
        "{",
        "[]",
        "null",
        "1",
        '"response.done"',
        "{}",
        '{"type":null}',
        '{"type":["response.done"]}',
        '{"type":"ping"}',
        b"\xff\xfe\x00",
        b"\x80",
        bytearray(b"{}"),
        "[" * 100_000,
        "9" * 10_000,
    ],
    ids=[str(number) for number in range(16)],
)
def test_a_frame_that_is_no_event_of_ours_teaches_nothing(frame: str | bytes | bytearray) -> None:
    assert list(opened().receive(frame, 0)) == []


@pytest.mark.parametrize("encode", [str.encode, lambda text: bytearray(text.encode())])
def test_a_frame_may_be_bytes(encode: Any) -> None:
    assert only(opened().receive(encode(json.dumps(done())), 0)).usage.id == "resp_1"


def test_usage_behind_metadata_that_looks_like_a_delta_is_counted() -> None:
    event = done(metadata={"type": "response.audio.delta"})
    event = {"response": {"metadata": event["response"].pop("metadata"), **event["response"]}, "type": "response.done"}
    assert only(feed(opened(), event)).usage.id == "resp_1"


def test_a_message_in_fragments_is_read_when_it_is_whole() -> None:
    connection = opened()
    frame = json.dumps(done()).encode()
    assert list(connection.receive_fragment(b"", 0, first=True, final=False)) == []
    assert list(connection.receive_fragment(frame[:20], 0, first=False, final=False)) == []
    assert only(connection.receive_fragment(frame[20:], 3, first=False, final=True)).at == 3


def test_whole_messages_may_come_between_fragments() -> None:
    connection = opened()
    frame = json.dumps(done()).encode()
    connection.receive_fragment(frame[:20], 0, first=True, final=False)
    assert accounts(feed(connection, done("resp_2"))) == [("resp_2", Reported.REPORTED)]
    assert accounts(connection.receive_fragment(frame[20:], 0, first=False, final=True)) == [
        ("resp_1", Reported.REPORTED)
    ]


def test_a_message_in_one_fragment_is_a_whole_one() -> None:
    connection = opened()
    one = only(connection.receive_fragment(json.dumps(done()).encode(), 3, first=True, final=True))
    assert (one.usage.id, one.usage.reported, one.at) == ("resp_1", Reported.REPORTED, 3)


def test_a_message_whose_first_fragment_is_too_large_is_said_to_be_unread_once() -> None:
    connection = opened()
    large, end = b"x" * (17 * 1024 * 1024), json.dumps(done()).encode()
    assert list(connection.receive_fragment(large, 0, first=True, final=False)) == [Unread(fault=Fault.TOO_LARGE)]
    assert list(connection.receive_fragment(end, 0, first=False, final=True)) == []
    assert list(connection.receive_fragment(end[:9], 0, first=True, final=False)) == []
    assert only(connection.receive_fragment(end[9:], 0, first=False, final=True)).usage.id == "resp_1"


def test_a_message_that_is_too_large_is_said_to_be_unread_once() -> None:
    connection = opened()
    connection.receive_fragment(b"x", 0, first=True, final=False)
    large = b"x" * MOST_FRAGMENTED_BYTES
    assert list(connection.receive_fragment(large, 0, first=False, final=False)) == [Unread(fault=Fault.TOO_LARGE)]
    assert list(connection.receive_fragment(large, 0, first=False, final=True)) == []


# --- time to the first output --------------------------------------------------------------------------------------


def first_outputs(learned: Iterable[Learned]) -> list[tuple[float | None, float | None]]:
    return [(one.to_chunk, one.to_audio) for one in learned if isinstance(one, FirstOutput)]


def test_the_first_delta_and_the_first_audio_of_a_response_are_timed() -> None:
    connection = opened()
    feed(connection, {"type": "input_audio_buffer.speech_stopped"}, at=1 * SECOND)
    feed(connection, committed(), at=2 * SECOND)
    feed(connection, created(), at=3 * SECOND)
    learned = [
        *connection.receive(WORDS, 4 * SECOND),
        *connection.receive(WORDS, 5 * SECOND),
        *connection.receive(DELTA, 6 * SECOND),
        *connection.receive(DELTA, 7 * SECOND),
    ]
    assert first_outputs(learned) == [(4 - 3, None), (None, 6 - 1)]


@pytest.mark.parametrize("kind", DELTA_TYPES)
def test_a_delta_is_the_first_output_and_the_first_audio_by_its_type(kind: str) -> None:
    connection = opened()
    feed(connection, committed(), at=2 * SECOND)
    feed(connection, created(), at=3 * SECOND)
    is_audio = kind in ("response.output_audio.delta", "response.audio.delta")
    expected = [(6 - 3, 6 - 2 if is_audio else None)] if kind.startswith("response.") else []
    assert first_outputs(connection.receive(delta(kind), 6 * SECOND)) == expected


def test_without_voice_detection_the_commit_ends_the_speech() -> None:
    connection = opened()
    feed(connection, committed(), at=2 * SECOND)
    feed(connection, created(), at=3 * SECOND)
    assert first_outputs(connection.receive(DELTA.encode(), 6 * SECOND)) == [(6 - 3, 6 - 2)]


def test_audio_that_answers_no_speech_has_no_time_since_it() -> None:
    connection = opened()
    feed(connection, created(), at=3 * SECOND)
    assert first_outputs(connection.receive(DELTA, 6 * SECOND)) == [(6 - 3, None)]


def test_deltas_outside_a_response_time_nothing() -> None:
    connection = opened()
    assert list(connection.receive(DELTA, 1)) == []
    feed(connection, created(), done())
    assert list(connection.receive(DELTA, 2)) == []


def test_what_the_user_says_is_no_output_of_the_response_beside_it() -> None:
    connection = opened()
    feed(connection, created(), at=3 * SECOND)
    heard = delta("conversation.item.input_audio_transcription.delta")
    assert list(connection.receive(heard, 4 * SECOND)) == []
    assert first_outputs(connection.receive(WORDS, 5 * SECOND)) == [(5 - 3, None)]


def test_speech_is_timed_from_its_own_commit() -> None:
    connection = opened()
    feed(connection, committed(), at=1 * SECOND)
    feed(connection, created(), done(status="cancelled"), at=2 * SECOND)
    feed(connection, committed("item_2"), created("resp_2"), at=600 * SECOND)
    assert first_outputs(connection.receive(DELTA, 601 * SECOND)) == [(601 - 600, 601 - 600)]


def test_a_new_session_on_the_same_socket_forgets_the_timing_of_the_old() -> None:
    connection = opened()
    feed(connection, session("sess_1"), committed(), created(), at=1 * SECOND)
    feed(connection, session("sess_2"), at=2 * SECOND)
    assert list(connection.receive(DELTA, 3 * SECOND)) == []
    feed(connection, created("resp_2"), at=4 * SECOND)
    assert first_outputs(connection.receive(DELTA, 5 * SECOND)) == [(5 - 4, None)]


def test_a_socket_that_learns_its_session_keeps_its_timing() -> None:
    connection = opened()
    feed(connection, committed(), created(), session("sess_1"), at=1 * SECOND)
    assert first_outputs(connection.receive(DELTA, 3 * SECOND)) == [(3 - 1, 3 - 1)]


def test_the_end_of_an_out_of_band_response_does_not_stop_the_timing_of_another() -> None:
    connection = opened()
    feed(connection, committed(), at=1 * SECOND)
    feed(connection, created("resp_1"), at=2 * SECOND)
    feed(connection, created("resp_2"), at=3 * SECOND)
    beside = connection.receive(delta("response.output_text.delta", "resp_2"), 4 * SECOND)
    feed(connection, done("resp_2", conversation_id=None), at=5 * SECOND)
    answer = connection.receive(delta(response_id="resp_1"), 6 * SECOND)
    assert first_outputs(beside) == [(4 - 3, None)]
    assert first_outputs(answer) == [(6 - 2, 6 - 1)]


def test_a_delta_in_fragments_is_timed_by_its_first_one() -> None:
    connection = opened()
    feed(connection, committed(), at=1 * SECOND)
    feed(connection, created(), at=2 * SECOND)
    frame, cut = DELTA.encode(), DELTA.index(',"delta"')
    first = connection.receive_fragment(frame[:cut], 3 * SECOND, first=True, final=False)
    rest = connection.receive_fragment(frame[cut:], 4 * SECOND, first=False, final=True)
    assert (first_outputs(first), list(rest)) == ([(3 - 2, 3 - 1)], [])


def test_a_delta_in_fragments_outside_a_response_times_nothing() -> None:
    connection = opened()
    frame, cut = DELTA.encode(), DELTA.index(',"delta"')
    assert list(connection.receive_fragment(frame[:cut], 3, first=True, final=False)) == []
    assert list(connection.receive_fragment(frame[cut:], 4, first=False, final=True)) == []


@pytest.mark.parametrize(
    "encoded",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("?", "\ud83d").encode("utf-8", "surrogatepass"),
        lambda text: text.encode("utf-16"),
    ],
    ids=["with a mark of the byte order", "with half a character", "in another encoding"],
)
def test_whatever_a_client_can_read_is_read(encoded: Callable[[str], bytes]) -> None:
    connection = opened()
    frame = encoded(json.dumps({**done(), "transcript": "?"}, ensure_ascii=False))
    json.loads(frame)
    assert [type(one) for one in connection.receive(frame, 7)] == [Metered]


def test_a_connection_that_was_abandoned_takes_nothing_and_leaves_nothing() -> None:
    connection = opened()
    feed(connection, session(kind="session.created", model="gpt-realtime"))
    feed(connection, {"type": "response.created", "response": {"id": "resp_1"}})
    connection.abandon()
    assert list(feed(connection, done())) == []
    assert list(connection.close(9)) == []
