from __future__ import annotations

from dataclasses import replace

import pytest

from realtime_spend.core.endpoints import Endpoint
from realtime_spend.core.line_items import Provider
from realtime_spend.core.session import Session, Sessions
from realtime_spend.core.usage import Kind, Reported, Usage

HERE = Endpoint(provider=Provider.OPENAI, server="api.openai.com", port=443)
ELSEWHERE = [
    Endpoint(provider=Provider.OPENAI, server="eu.api.openai.com", port=443),
    Endpoint(provider=Provider.AZURE, server="api.openai.com", port=443),
]


def usage(usage_id: str | None = "resp_1", reported: Reported = Reported.REPORTED, kind: Kind = Kind.RESPONSE) -> Usage:
    return Usage(kind=kind, id=usage_id, status=None, reported=reported)


# --- what sockets share --------------------------------------------------------------------------------------------


def test_the_sockets_of_one_session_share_what_is_known_of_it() -> None:
    sessions = Sessions()
    session = sessions.join(HERE, "sess_1")
    assert (session.id, session.sockets) == ("sess_1", 1)
    assert sessions.join(HERE, "sess_1") is session
    assert session.sockets == 2


@pytest.mark.parametrize("there", ELSEWHERE, ids=["another server", "another provider"])
def test_an_id_at_another_server_or_provider_is_another_session(there: Endpoint) -> None:
    sessions = Sessions()
    assert sessions.join(HERE, "sess_1") is not sessions.join(there, "sess_1")


def test_a_session_is_forgotten_with_its_last_socket() -> None:
    sessions = Sessions()
    session = sessions.join(HERE, "sess_1")
    sessions.join(HERE, "sess_1")
    assert not sessions.leave(HERE, session)
    assert sessions.join(HERE, "sess_1") is session
    assert not sessions.leave(HERE, session)
    assert sessions.leave(HERE, session)
    assert sessions._sessions == {}
    assert sessions.join(HERE, "sess_1") is not session


def test_a_socket_that_never_knew_its_session_leaves_one_of_its_own() -> None:
    sessions = Sessions()
    sessions.join(HERE, "sess_1")
    assert sessions.leave(HERE, Session(sockets=1))
    assert len(sessions._sessions) == 1


def test_what_was_learned_before_the_session_was_known_is_taken_over() -> None:
    session = Session(id="sess_1", model="gpt-realtime", sockets=1)
    before = Session(
        model="another",
        transcription="whisper-1",
        sockets=1,
        open={"resp_1": 1},
        awaited={"item_1": "whisper-1"},
        added={"item_2": None},
        committed={"item_1": "whisper-1"},
    )
    taken = replace(before, id="sess_1", model="gpt-realtime")
    session.absorb(before)
    assert session == taken
    assert (before.open, before.awaited) == ({}, {})


def test_what_the_session_knows_stays_beside_what_is_taken_over() -> None:
    session = Session(id="sess_1", transcription="whisper-1", open={"resp_1": 1}, awaited={"item_1": "whisper-1"})
    session.absorb(Session(transcription="another", open={"resp_2": 2}, awaited={"item_2": None}))
    assert session.transcription == "whisper-1"
    assert session.open == {"resp_1": 1, "resp_2": 2}
    assert session.awaited == {"item_1": "whisper-1", "item_2": None}


def test_what_the_session_knows_goes_before_what_is_taken_over() -> None:
    known = {"item_1": "whisper-1"}
    session = Session(id="sess_1", open={"resp_1": 1}, awaited=dict(known), added=dict(known), committed=dict(known))
    told: dict[str, str | None] = {"item_1": None}
    session.absorb(Session(open={"resp_1": 2}, awaited=dict(told), added=dict(told), committed=dict(told)))
    assert session.open == {"resp_1": 1}
    assert (session.awaited, session.added, session.committed) == (known, known, known)


# --- once ----------------------------------------------------------------------------------------------------------


def test_a_usage_is_accepted_once() -> None:
    sessions = Sessions()
    assert sessions.accept(HERE, usage())
    assert not sessions.accept(HERE, usage())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Reported.LOST, Reported.MISSING),
        (Reported.MISSING, Reported.ESTIMATED),
        (Reported.ESTIMATED, Reported.REPORTED),
        (Reported.LOST, Reported.REPORTED),
    ],
)
def test_a_better_account_is_accepted_after_a_worse_one_and_never_the_other_way(
    first: Reported, second: Reported
) -> None:
    sessions = Sessions()
    assert sessions.accept(HERE, usage(reported=first))
    assert sessions.accept(HERE, usage(reported=second))
    assert not sessions.accept(HERE, usage(reported=first))


def test_a_usage_without_an_id_is_accepted_each_time_and_not_remembered() -> None:
    sessions = Sessions()
    assert sessions.accept(HERE, usage(None))
    assert sessions.accept(HERE, usage(None))
    assert sessions._counted == {}


def test_one_id_is_another_usage_of_another_kind_and_elsewhere() -> None:
    sessions = Sessions()
    assert sessions.accept(HERE, usage())
    assert sessions.accept(HERE, usage(kind=Kind.TRANSCRIPTION))
    assert all(sessions.accept(there, usage()) for there in ELSEWHERE)


def test_the_usages_remembered_are_bounded_and_the_oldest_goes_first() -> None:
    sessions = Sessions()
    assert all(sessions.accept(HERE, usage(f"resp_{number}")) for number in range(16_384 + 1))
    assert len(sessions._counted) == 16_384
    assert not sessions.accept(HERE, usage("resp_1"))
    assert sessions.accept(HERE, usage("resp_0"))


def test_a_child_process_does_not_wait_for_a_lock_that_its_parent_held() -> None:
    sessions = Sessions()
    with sessions._lock:
        sessions.begin_anew()
        assert sessions.accept(HERE, usage())
