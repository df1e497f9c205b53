from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from realtime_spend.containment import Containment

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(Containment, "reraise", False)
    return []


@pytest.fixture
def containment(counted: list[str]) -> Containment:
    return Containment(counted.append)


def _fail(containment: Containment, doing: str = "reading_a_message", error: Exception | None = None) -> None:
    try:
        raise error or ValueError("the payload: secret")
    except ValueError:
        containment.failed(doing)


def test_an_error_of_ours_is_counted_each_time_and_logged_once(
    containment: Containment, counted: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        _fail(containment)
    assert counted == ["internal.reading_a_message"] * 3
    [record] = caplog.records
    assert (record.name, record.levelno) == ("realtime_spend", logging.WARNING)
    assert "reading a message" in record.getMessage()
    assert "ValueError at" in record.getMessage()
    assert "test_containment.py:" in record.getMessage()


def test_neither_the_message_nor_the_traceback_of_an_error_is_logged(
    containment: Containment, caplog: pytest.LogCaptureFixture
) -> None:
    _fail(containment)
    assert "secret" not in caplog.text
    assert caplog.records[0].exc_info is None


def test_another_kind_of_error_is_logged_too(containment: Containment, caplog: pytest.LogCaptureFixture) -> None:
    _fail(containment, "reading_a_message")
    _fail(containment, "closing_a_session")
    assert len(caplog.records) == 2


def test_an_error_without_a_traceback_is_contained_as_well(
    containment: Containment, counted: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traceback.extract_tb", lambda _traceback: [])
    _fail(containment)
    assert counted == ["internal.reading_a_message"]
    assert "ValueError at unknown place" in caplog.text


def test_in_our_own_tests_an_error_is_raised_again(counted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Containment, "reraise", True)
    with pytest.raises(ValueError, match="secret"):
        _fail(Containment(counted.append))
    assert counted == []


def test_outside_of_an_error_it_is_misuse(containment: Containment) -> None:
    with pytest.raises(RuntimeError):
        containment.failed("nothing")


def test_a_sentence_is_said_once_for_its_key(containment: Containment, caplog: pytest.LogCaptureFixture) -> None:
    containment.say_once("one", "it is %s", "so")
    containment.say_once("one", "it is %s", "otherwise")
    containment.say_once("two", "100 %")
    assert [record.getMessage() for record in caplog.records] == ["realtime-spend: it is so", "realtime-spend: 100 %"]


def test_names_from_the_wire_cannot_fill_the_log_or_the_memory(
    containment: Containment, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1_500):
        containment.say_of_name_once(f"name {number}", "unlisted")
    assert len(caplog.records) == 200


def test_names_from_the_wire_do_not_silence_an_error(
    containment: Containment, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1_000):
        containment.say_of_name_once(f"unlisted openai {number}", "unlisted")
    caplog.clear()
    _fail(containment)
    assert len(caplog.records) == 1


class Broken(logging.Handler):
    def emit(self, _record: logging.LogRecord) -> None:
        raise OSError("the disk of the log is full")


def _raising_count(_kind: str) -> None:
    raise LookupError


def test_a_log_handler_that_raises_does_not_reach_the_host(containment: Containment) -> None:
    logger = logging.getLogger("realtime_spend")
    handler = Broken()
    logger.addHandler(handler)
    try:
        _fail(containment)
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("count", [_raising_count])
def test_an_error_while_counting_an_error_does_not_reach_the_host(
    count: Callable[[str], None], counted: list[str]
) -> None:
    _fail(Containment(count))
    assert counted == []
