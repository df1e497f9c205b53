from __future__ import annotations

import pytest

from realtime_spend.core.timing import Timing, seconds_between

SECOND = 10**9


def begun(*responses: str, at: int = 0) -> Timing:
    timing = Timing()
    for response in responses:
        timing.begin(response, at * SECOND)
    return timing


def words(timing: Timing, response: str | None, at: int) -> tuple[float | None, float | None]:
    return timing.output(response, at * SECOND, is_audio=False)


def audio(timing: Timing, response: str | None, at: int) -> tuple[float | None, float | None]:
    return timing.output(response, at * SECOND, is_audio=True)


# --- the first output ----------------------------------------------------------------------------------------------


def test_the_first_output_of_a_response_is_timed_from_its_begin_and_the_next_are_not() -> None:
    timing = begun("resp_1", at=3)
    assert words(timing, "resp_1", 5) == (5 - 3, None)
    assert words(timing, "resp_1", 6) == (None, None)


def test_responses_are_timed_apart() -> None:
    timing = begun("resp_1", at=1)
    timing.begin("resp_2", 2 * SECOND)
    assert words(timing, "resp_2", 5) == (5 - 2, None)
    assert words(timing, "resp_1", 6) == (6 - 1, None)


def test_output_that_names_no_response_is_of_the_only_one_begun() -> None:
    timing = begun("resp_1", at=3)
    assert words(timing, None, 5) == (5 - 3, None)


def test_output_that_names_no_response_is_of_none_where_several_are_begun() -> None:
    timing = begun("resp_1", "resp_2")
    assert words(timing, None, 5) == (None, None)
    assert words(timing, "resp_1", 6) == (6, None)


@pytest.mark.parametrize("response", [None, "resp_1"])
def test_output_of_a_response_whose_begin_was_not_seen_is_not_timed(response: str | None) -> None:
    assert words(Timing(), response, 5) == (None, None)
    assert audio(Timing(), response, 5) == (None, None)


def test_responses_without_end_are_forgotten_one_by_one() -> None:
    timing = begun(*(f"resp_{number}" for number in range(1_500)))
    assert len(timing.begun) == 1_024
    assert words(timing, "resp_0", 5) == (None, None)
    assert words(timing, "resp_1499", 5) == (5, None)


# --- the first audio -----------------------------------------------------------------------------------------------


def test_the_first_audio_is_timed_from_the_end_of_the_speech_and_ends_the_timing_of_its_response() -> None:
    timing = begun("resp_1", at=3)
    timing.speech_stopped(2 * SECOND)
    assert audio(timing, "resp_1", 7) == (7 - 3, 7 - 2)
    assert audio(timing, "resp_1", 8) == (None, None)
    assert timing.begun == {}


def test_audio_behind_words_is_the_first_audio_and_not_the_first_output() -> None:
    timing = begun("resp_1", at=3)
    timing.speech_stopped(2 * SECOND)
    assert words(timing, "resp_1", 5) == (5 - 3, None)
    assert audio(timing, "resp_1", 7) == (None, 7 - 2)


def test_one_speech_is_answered_once() -> None:
    timing = begun("resp_1", at=3)
    timing.speech_stopped(2 * SECOND)
    audio(timing, "resp_1", 7)
    timing.begin("resp_2", 8 * SECOND)
    assert audio(timing, "resp_2", 9) == (9 - 8, None)


def test_words_leave_the_speech_to_the_audio_that_answers_it() -> None:
    timing = begun("resp_1", at=3)
    timing.speech_stopped(2 * SECOND)
    words(timing, "resp_1", 4)
    timing.begun.clear()
    timing.begin("resp_2", 5 * SECOND)
    assert audio(timing, "resp_2", 9) == (9 - 5, 9 - 2)


def test_a_commit_is_the_end_of_the_speech_where_the_service_told_none() -> None:
    timing = begun("resp_1", at=3)
    timing.committed(2 * SECOND)
    assert audio(timing, "resp_1", 7) == (7 - 3, 7 - 2)


def test_a_commit_does_not_move_the_end_of_the_speech_that_the_service_told() -> None:
    timing = begun("resp_1", at=3)
    timing.speech_stopped(1 * SECOND)
    timing.committed(2 * SECOND)
    assert audio(timing, "resp_1", 7) == (7 - 3, 7 - 1)


def test_each_commit_is_the_end_of_a_speech_of_its_own() -> None:
    timing = Timing()
    timing.speech_stopped(1 * SECOND)
    timing.committed(2 * SECOND)
    timing.committed(600 * SECOND)
    timing.begin("resp_1", 600 * SECOND)
    assert audio(timing, "resp_1", 601) == (601 - 600, 601 - 600)


# --- clocks --------------------------------------------------------------------------------------------------------


def test_the_time_between_two_instants_is_in_seconds() -> None:
    assert seconds_between(1 * SECOND, 3 * SECOND + SECOND // 2) == 2.5
    assert seconds_between(7, 7) == 0


def test_there_is_no_time_from_an_instant_that_was_not_seen_or_by_a_clock_that_was_set_back() -> None:
    assert seconds_between(None, 3 * SECOND) is None
    assert seconds_between(3 * SECOND, 2 * SECOND) is None
    timing = begun("resp_1", at=5)
    timing.speech_stopped(4 * SECOND)
    assert audio(timing, "resp_1", 2) == (None, None)


def test_of_a_response_without_audio_nothing_is_awaited_after_its_first_output() -> None:
    timing = Timing()
    timing.begin("resp_1", 1_000_000_000, speaks=False)
    assert timing.output("resp_1", 3_000_000_000, is_audio=False) == (2.0, None)
    assert not timing.begun
