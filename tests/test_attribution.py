from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest
from opentelemetry import baggage, context

from realtime_spend import attributed
from realtime_spend.attribution import attributes_now


def test_without_anything_said_there_are_no_attributes() -> None:
    assert attributes_now([]) == {}
    assert attributes_now(["tenant"]) == {}


def test_what_is_given_holds_inside_the_block_alone() -> None:
    with attributed(tenant="acme", team="voice"):
        assert attributes_now([]) == {"tenant": "acme", "team": "voice"}
    assert attributes_now([]) == {}


def test_it_ends_with_the_block_even_if_that_fails() -> None:
    with pytest.raises(KeyError), attributed(tenant="acme"):
        raise KeyError
    assert attributes_now([]) == {}


def test_an_inner_block_adds_to_the_outer_one_and_wins() -> None:
    with attributed(tenant="acme", team="voice"):
        with attributed(team="video", room="1"):
            assert attributes_now([]) == {"tenant": "acme", "team": "video", "room": "1"}
        assert attributes_now([]) == {"tenant": "acme", "team": "voice"}


def test_baggage_is_taken_by_the_keys_that_are_allowed_and_by_no_others() -> None:
    token = context.attach(baggage.set_baggage("tenant", "acme", baggage.set_baggage("secret", "x")))
    try:
        assert attributes_now(["tenant", "absent"]) == {"tenant": "acme"}
        with attributed(tenant="given"):
            assert attributes_now(["tenant"]) == {"tenant": "given"}
    finally:
        context.detach(token)


def test_a_value_is_short_text_that_can_be_encoded() -> None:
    token = context.attach(baggage.set_baggage("number", 7, baggage.set_baggage("long", "x" * 5_000)))
    try:
        found = attributes_now(["number", "long"])
    finally:
        context.detach(token)
    assert found == {"number": "7", "long": "x" * 4_096}
    with attributed(broken="a\ud800b"):
        assert attributes_now([]) == {"broken": "a?b"}


async def test_tasks_do_not_see_each_others_attributes() -> None:
    both = asyncio.Barrier(2)

    async def session(tenant: str) -> dict[str, str]:
        with attributed(tenant=tenant):
            await both.wait()
            return attributes_now([])

    assert list(await asyncio.gather(session("a"), session("b"))) == [{"tenant": "a"}, {"tenant": "b"}]


def test_threads_do_not_see_each_others_attributes() -> None:
    found: list[dict[str, str]] = []
    with attributed(tenant="acme"):
        thread = threading.Thread(target=lambda: found.append(attributes_now([])))
        thread.start()
        thread.join()
    assert found == [{}]


def test_a_block_may_be_left_in_another_context_than_it_was_entered_in() -> None:
    # As web frameworks do with generators that they run in a thread pool.
    block = attributed(tenant="acme")
    contextvars.copy_context().run(block.__enter__)
    contextvars.copy_context().run(block.__exit__, None, None, None)


def test_a_value_that_is_not_known_is_left_out() -> None:
    with attributed(tenant=None):
        assert attributes_now([]) == {}
