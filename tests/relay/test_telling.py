"""What is said in the log of what clients cause: each kind now and then, however often it is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from realtime_spend.relay import telling
from realtime_spend.relay.telling import Telling

if TYPE_CHECKING:
    import pytest


def test_of_each_kind_one_line_a_minute_is_said_and_all_are_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now, counted = 1_000.0, list[str]()
    monkeypatch.setattr("realtime_spend.relay.telling.time.monotonic", lambda: now)
    tell = Telling(counted.append)
    for _ in range(3):
        tell("idle", "a session was ended")
    tell("full", "a client was refused")
    now += 61
    tell("idle", "a session was ended")
    assert counted == ["relay.idle"] * 3 + ["relay.full", "relay.idle"]
    assert caplog.messages == [
        "realtime-spend: a session was ended (idle)",
        "realtime-spend: a client was refused (full)",
        "realtime-spend: a session was ended (idle, and 2 times more since it was said last)",
    ]


def test_what_was_asked_for_is_counted_and_not_said(caplog: pytest.LogCaptureFixture) -> None:
    counted: list[str] = []
    Telling(counted.append)("draining", "this relay is shutting down")
    assert (counted, caplog.messages) == (["relay.draining"], [])


def test_a_log_that_fails_harms_nobody() -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError(record.name)

    handler, counted = Failing(), list[str]()
    log = logging.getLogger(telling.__name__)
    log.addHandler(handler)
    try:
        Telling(counted.append)("idle", "a session was ended")
    finally:
        log.removeHandler(handler)
    assert counted == ["relay.idle"]
