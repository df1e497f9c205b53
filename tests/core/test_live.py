"""GPT-Live: running totals are never summed, delegated models are their own, and every total is worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from realtime_spend.core.connection import Connection
from realtime_spend.core.endpoints import Endpoint, Service, recognise
from realtime_spend.core.line_items import Component, Modality, Part, Provider
from realtime_spend.core.session import Metered, ModelNamed, Repeated, Sessions
from realtime_spend.core.usage import Kind, Reported

# What a process keeps of sessions that are over.
_REMEMBERED = 16_384
_SESSION = {"id": "live_1", "model": "gpt-live-1"}


def endpoint(path: str = "/v1/live/sessions", host: str = "api.openai.com") -> Endpoint:
    found = recognise(host, 443, path, "")
    assert found is not None
    return found


def started(**session: Any) -> dict[str, Any]:
    return {"type": "session.started", "session": {**_SESSION, **session}}


def total(seconds: object) -> dict[str, Any]:
    return {"type": "session.usage.updated", "usage": {"seconds": seconds}}


def closed(seconds: object) -> dict[str, Any]:
    return {"type": "session.closed", "reason": "expired", "session": _SESSION, "usage": {"seconds": seconds}}


def metered(connection: Connection, *told: dict[str, Any]) -> list[Metered]:
    learned = [item for event in told for item in connection.receive_event(event, 7)]
    return [item for item in [*learned, *connection.close(8)] if isinstance(item, Metered)]


def said(found: list[Metered]) -> list[tuple[Decimal | None, Decimal | None]]:
    return [(item.usage.amounts.seconds, item.increase) for item in found]


@pytest.mark.parametrize(
    ("host", "path", "provider", "session"),
    [
        ("api.openai.com", "/v1/live/sessions", Provider.OPENAI, None),
        ("api.openai.com", "/v1/live/sessions/live_1/attach", Provider.OPENAI, "live_1"),
        ("acme.openai.azure.com", "/openai/v1/live/sessions/live_1%2F/attach", Provider.AZURE, "live_1/"),
        ("gateway.example.com", "/openai/v1/live/sessions/live_1", Provider.AZURE, "live_1"),
        # What goes on from a session is another one, and says its own id.
        ("api.openai.com", "/v1/live/sessions/live_1/fork", Provider.OPENAI, None),
        ("gateway.example.com", "/openai/v1/live/sessions/live_1/fork/", Provider.AZURE, None),
    ],
)
def test_the_url_says_that_it_is_live_and_which_session_is_joined(
    host: str, path: str, provider: Provider, session: str | None
) -> None:
    found = endpoint(path, host)
    assert (found.service, found.provider, found.session) == (Service.LIVE, provider, session)
    assert recognise("api.openai.com", 443, "/v1/live", "") is None


def test_of_a_running_total_only_what_is_new_is_counted() -> None:
    found = metered(Connection(endpoint(), Sessions()), started(), total(2.5), total(10), total(10), closed(12.75))
    assert said(found) == [
        (Decimal("2.5"), Decimal("2.5")),
        (Decimal(10), Decimal("7.5")),
        (Decimal("12.75"), Decimal("2.75")),
    ]
    assert sum(item.increase or 0 for item in found) == Decimal("12.75")
    assert {(item.usage.kind, item.usage.id, item.named.said) for item in found} == {
        (Kind.LIVE, "live_1", "gpt-live-1")
    }
    assert [item.usage.status for item in found] == ["in_progress", "in_progress", "completed"]
    # One usage that goes on, not three.
    assert [item.usage.goes_on for item in found] == [False, True, True]
    assert found[-1].usage.raw == '{"seconds":12.75}'


def test_a_total_that_falls_or_is_none_changes_nothing() -> None:
    odd = [total(value) for value in (4, -1, "9", None, True, float("inf"), float("nan"), 10**12)]
    found = metered(Connection(endpoint(), Sessions()), started(), total(5), *odd, {"type": "session.usage.updated"})
    assert said(found) == [(Decimal(5), Decimal(5))]


def test_a_sideband_and_the_sessions_own_socket_count_the_same_seconds_once() -> None:
    sessions = Sessions()
    own, beside = Connection(endpoint(), sessions), Connection(endpoint("/v1/live/sessions/live_1/attach"), sessions)
    own.receive_event(started(), 1)
    found = [
        item
        for event in (total(3), total(8))
        for connection in (own, beside)
        for item in connection.receive_event(event, 2)
    ]
    assert said([item for item in found if isinstance(item, Metered)]) == [(Decimal(3), Decimal(3)), (Decimal(8), 5)]
    assert not [item for item in found if isinstance(item, Repeated)]


def test_a_sideband_waits_for_the_model_and_attaching_late_misses_nothing() -> None:
    beside = Connection(endpoint("/v1/live/sessions/live_1/attach"), Sessions())
    assert beside.receive_event(total(61.5), 1) == ()
    learned = beside.receive_event({"type": "session.updated", "session": _SESSION}, 2)
    assert [type(item) for item in learned] == [ModelNamed, Metered]
    assert said([item for item in learned if isinstance(item, Metered)]) == [(Decimal("61.5"), Decimal("61.5"))]


def test_a_total_whose_model_nobody_says_is_written_down_now_and_then_and_counted_once_it_is_said() -> None:
    beside = Connection(endpoint("/v1/live/sessions/live_1/attach"), Sessions())
    found = [item for seconds in (5, 12, 16, 20, 27) for item in beside.receive_event(total(seconds), 1)]
    noted = [item for item in found if isinstance(item, Metered)]
    assert said(noted) == [(Decimal(16), Decimal(0)), (Decimal(27), Decimal(0))]
    assert {(item.usage.id, item.usage.goes_on, item.named.said) for item in noted} == {("live_1", True, None)}
    [counted] = metered(beside, {"type": "session.updated", "session": _SESSION})
    assert said([counted]) == [(Decimal(27), Decimal(27))]
    assert (counted.usage.goes_on, counted.named.said) == (False, "gpt-live-1")


def test_a_sideband_that_never_hears_the_model_says_the_seconds_all_the_same() -> None:
    [found] = metered(Connection(endpoint("/v1/live/sessions/live_1/attach"), Sessions()), total(3), total(4))
    assert (found.usage.id, found.named.said, found.increase) == ("live_1", None, Decimal(4))


def test_where_the_user_named_the_model_nothing_waits_for_the_service_to() -> None:
    told = replace(endpoint("/v1/live/sessions/live_1/attach"), requested_model="gpt-live-1")
    beside = Connection(told, Sessions())
    first, second = (item for seconds in (3, 9) for item in beside.receive_event(total(seconds), 1))
    assert isinstance(first, Metered)
    assert isinstance(second, Metered)
    assert said([first, second]) == [(Decimal(3), Decimal(3)), (Decimal(9), Decimal(6))]
    assert (first.named.requested, first.named.said) == ("gpt-live-1", None)


def test_a_sideband_on_which_nothing_is_ever_said_is_a_session_of_unknown_length() -> None:
    [found] = metered(Connection(endpoint("/v1/live/sessions/live_1/attach"), Sessions()))
    assert (found.usage.kind, found.usage.id, found.usage.reported) == (Kind.LIVE, "live_1", Reported.MISSING)


def test_a_browsers_session_that_ends_before_its_sideband_hears_a_word_has_cost_its_start() -> None:
    attached = replace(endpoint("/v1/live/sessions/live_1/attach"), is_webrtc=True)
    [found] = metered(Connection(attached, Sessions()))
    assert said([found]) == [(Decimal(15), Decimal(15))]
    assert (found.usage.id, found.usage.reported) == ("live_1", Reported.ESTIMATED)


def test_a_sideband_that_comes_when_all_is_said_makes_nothing_missing_of_it() -> None:
    sessions = Sessions()
    assert said(metered(Connection(endpoint(), sessions), started(), closed(8))) == [(Decimal(8), Decimal(8))]
    assert metered(Connection(endpoint("/v1/live/sessions/live_1/attach"), sessions)) == []


def test_a_session_that_goes_on_is_not_forgotten_for_others_that_are_over() -> None:
    sessions = Sessions()
    own = endpoint()
    assert sessions.increase(own, "long", Decimal(1)) == (Decimal(1), True)
    for number in range(_REMEMBERED):
        sessions.increase(own, f"live_{number}", Decimal(5))
        if number == _REMEMBERED // 2:
            sessions.increase(own, "long", Decimal(2))
    assert sessions.increase(own, "long", Decimal(3)) == (Decimal(1), False)
    assert sessions.increase(own, "live_0", Decimal(5)) == (Decimal(5), True)


def test_a_session_that_ends_without_a_word_of_its_seconds_is_missing() -> None:
    [found] = metered(Connection(endpoint(), Sessions()), started())
    assert (found.usage.kind, found.usage.reported, found.usage.id) == (Kind.LIVE, Reported.MISSING, "live_1")


def test_a_session_over_webrtc_is_charged_with_15_seconds_that_it_then_uses_up() -> None:
    channel = recognise("oai-events", None, "/realtime", "")
    assert channel is not None
    found = metered(
        Connection(channel, Sessions()), started(), total(4), total(14.9), total(15), total(20), closed(21.5)
    )
    assert said(found) == [
        (Decimal(15), Decimal(15)),
        (Decimal(20), Decimal(5)),
        (Decimal("21.5"), Decimal("1.5")),
    ]
    assert [item.usage.reported for item in found] == [Reported.ESTIMATED, Reported.REPORTED, Reported.REPORTED]
    [abandoned] = metered(Connection(channel, Sessions()), started())
    assert abandoned.increase == 15


def test_what_a_delegated_model_used_is_that_models_own() -> None:
    usage = {
        "input_tokens": 1000,
        "input_tokens_details": {"cached_tokens": 768, "cache_write_tokens": 0},
        "output_tokens": 60,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 1060,
    }
    done = {"id": "resp_9", "model": "gpt-5.4-mini", "usage": usage}
    told = [
        {"type": "response.event", "event": {"type": kind, "response": done}}
        for kind in ("response.created", "response.completed", "response.completed")
    ]
    decision = {**done, "id": "dec_1", "model": "gpt-5.4-nano"}
    told.append({"type": "decision.event", "event": {"type": "decision.completed", "decision": decision}})
    connection = Connection(endpoint(), Sessions())
    first, second, missing = metered(connection, started(), *told)
    assert [(item.usage.kind, item.usage.id, item.named.said) for item in (first, second)] == [
        (Kind.RESPONSE, "resp_9", "gpt-5.4-mini"),
        (Kind.RESPONSE, "dec_1", "gpt-5.4-nano"),
    ]
    assert first.usage.amounts.quantities() == {
        Part(Modality.TEXT, Component.INPUT): 1000 - 768,
        Part(Modality.TEXT, Component.CACHED_INPUT): 768,
        Part(Modality.TEXT, Component.OUTPUT): 60,
    }
    assert first.usage.amounts.problems == ()
    # The session itself has said no seconds.
    assert missing.usage.kind is Kind.LIVE


def test_a_delegated_response_that_is_never_finished_is_lost_at_its_own_model() -> None:
    def told(kind: str, id_: str) -> dict[str, Any]:
        response = {"id": id_, "model": "gpt-5.4-mini", "usage": {"input_tokens": 5, "output_tokens": 1}}
        return {"type": "response.event", "event": {"type": kind, "response": response}}

    sessions = Sessions()
    own, beside = Connection(endpoint(), sessions), Connection(endpoint("/v1/live/sessions/live_1/attach"), sessions)
    # The sideband lags behind: what has ended elsewhere begins and ends once more, and is neither lost nor counted.
    found = metered(own, started(), told("response.created", "resp_1"), told("response.completed", "resp_1"))
    found += metered(
        beside,
        told("response.created", "resp_1"),
        told("response.completed", "resp_1"),
        told("response.created", "resp_2"),
        closed(3),
    )
    responses = [item for item in found if item.usage.kind is Kind.RESPONSE]
    assert [(item.usage.id, item.usage.reported, item.named.said) for item in responses] == [
        ("resp_1", Reported.REPORTED, "gpt-5.4-mini"),
        ("resp_2", Reported.LOST, "gpt-5.4-mini"),
    ]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.event", "event": {"type": "response.created", "response": {}}},
        {"type": "response.event", "event": {"type": "response.created"}},
        {"type": "response.event"},
        {"type": "response.event", "event": []},
        {"type": "response.event", "event": {"type": ["response.completed"], "response": {}}},
        {"type": "response.event", "event": {"type": "response.completed", "response": "none"}},
        {"type": "decision.event", "event": {"type": "decision.completed"}},
        {"type": "decision.event", "event": {"type": "decision.begun", "decision": {}}},
        {"type": "session.closed"},
        {"type": "session.started"},
        {"type": "session.usage.updated", "usage": "much"},
    ],
)
def test_an_event_that_is_not_as_it_should_be_counts_nothing(event: dict[str, Any]) -> None:
    assert not [
        item for item in Connection(endpoint(), Sessions()).receive_event(event, 1) if isinstance(item, Metered)
    ]


def test_a_delegated_response_without_numbers_is_missing() -> None:
    done = {"type": "response.event", "event": {"type": "response.failed", "response": {"id": "resp_1", "model": "m"}}}
    [found] = metered(Connection(endpoint(), Sessions()), done)
    assert (found.usage.reported, found.usage.status, found.named.said) == (Reported.MISSING, "failed", "m")
