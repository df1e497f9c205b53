from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Context, Decimal, Inexact, Rounded, localcontext
from typing import Any

import pytest

from realtime_spend.core.line_items import Component, Modality, Part
from realtime_spend.core.raw_numbers import numbers_text
from realtime_spend.core.reading import read_amounts
from realtime_spend.core.usage import Amounts, ProblemKind, Tokens

Usage = Callable[..., dict[str, Any]]

TEXT, AUDIO, IMAGE, UNKNOWN = Modality.TEXT, Modality.AUDIO, Modality.IMAGE, Modality.UNKNOWN


def response(usage: object) -> Amounts:
    return read_amounts(usage, text_output=False)


def transcription(usage: object) -> Amounts:
    return read_amounts(usage, text_output=True)


def tokens_of(amounts: Amounts) -> Tokens:
    assert amounts.tokens is not None
    return amounts.tokens


def kinds(amounts: Amounts) -> list[ProblemKind]:
    return [problem.kind for problem in amounts.problems]


def written(amounts: Amounts) -> dict[str, int]:
    return {str(part): int(quantity) for part, quantity in amounts.quantities().items()}


# --- what services send --------------------------------------------------------------------------------------------


def test_cached_tokens_are_taken_out_of_the_input_by_modality(usage_of: Usage) -> None:
    amounts = response(usage_of((5378, 2845, 0), (5376, 2816, 0), (250, 1019)))
    assert written(amounts) == {
        "text.input": 5378 - 5376,
        "text.cached_input": 5376,
        "text.output": 250,
        "audio.input": 2845 - 2816,
        "audio.cached_input": 2816,
        "audio.output": 1019,
    }
    assert amounts.problems == ()
    assert tokens_of(amounts).is_split


def test_images_are_an_input_of_their_own_and_can_be_cached(usage_of: Usage) -> None:
    amounts = response(usage_of((128, 0, 194), (128, 0, 194), (28, 0)))
    assert written(amounts) == {"text.cached_input": 128, "image.cached_input": 194, "text.output": 28}
    assert amounts.problems == ()


def test_reasoning_is_inside_the_output_text_and_adds_nothing(usage_of: Usage) -> None:
    amounts = response(usage_of((152, 0, 194), (128, 0, 0), (28, 0), 18))
    assert written(amounts)["text.output"] == 28
    assert tokens_of(amounts).reasoning == 18
    assert amounts.problems == ()


def test_the_old_shape_without_images_or_a_cached_split_is_read(usage_of: Usage) -> None:
    usage = usage_of((14, 27, 0), None, (28, 136))
    del usage["input_token_details"]["image_tokens"]
    amounts = response(usage)
    assert written(amounts) == {"text.input": 14, "audio.input": 27, "text.output": 28, "audio.output": 136}
    assert amounts.problems == ()


def test_a_transcription_by_tokens_is_read() -> None:
    usage = {
        "type": "tokens",
        "total_tokens": 35,
        "input_tokens": 26,
        "input_token_details": {"text_tokens": 0, "audio_tokens": 26},
        "output_tokens": 9,
    }
    amounts = transcription(usage)
    assert written(amounts) == {"audio.input": 26, "text.output": 9}
    assert amounts.problems == ()


def test_output_of_a_response_without_its_modality_is_unknown_and_not_text() -> None:
    amounts = response({"input_tokens": 0, "output_tokens": 9, "total_tokens": 9})
    assert written(amounts) == {"unknown.output": 9}
    assert kinds(amounts) == [ProblemKind.MODALITY_NOT_SAID]
    assert not tokens_of(amounts).is_split


def test_whole_numbers_written_as_floats_are_counts() -> None:
    usage = {"input_tokens": 12.0, "output_tokens": 0, "input_token_details": {"text_tokens": 12.0}}
    amounts = response(usage)
    assert written(amounts) == {"text.input": 12}
    assert isinstance(tokens_of(amounts).input[TEXT], int)


def test_the_shape_of_xai_without_caches_is_read_and_what_is_unknown_in_it_ignored() -> None:
    usage = {
        "total_tokens": 20,
        "input_tokens": 7,
        "output_tokens": 13,
        "input_token_details": {"text_tokens": 7, "audio_tokens": 0, "grok_tokens": 0},
        "output_token_details": {"text_tokens": 3, "audio_tokens": 10, "grok_tokens": 0},
        "output_audio_seconds": 4.97,
        "billable_audio_seconds": 4,
    }
    amounts = response(usage)
    assert written(amounts) == {"text.input": 7, "text.output": 3, "audio.output": 10}
    assert amounts.seconds is None


# --- seconds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(3, "3"), (9.3, "9.3"), (0.1, "0.1"), (1e-7, "1e-7"), (3600.0, "3600"), (10**9, "1000000000")],
)
def test_seconds_are_the_shortest_decimal_that_the_number_is_written_as(seconds: float, expected: str) -> None:
    amounts = transcription({"type": "duration", "seconds": seconds})
    assert amounts.seconds == Decimal(expected)
    assert amounts.quantities() == {Part(AUDIO, Component.DURATION): Decimal(expected)}
    assert amounts.problems == ()


def test_seconds_without_a_type_are_a_duration() -> None:
    assert transcription({"seconds": 3}).seconds == 3


@pytest.mark.parametrize("seconds", [0, 0.0, -0.0])
def test_no_seconds_for_transcribed_speech_is_a_missing_usage_and_not_a_free_one(seconds: float) -> None:
    amounts = transcription({"type": "duration", "seconds": seconds})
    assert amounts.is_missing
    assert amounts.quantities() == {}
    assert kinds(amounts) == [ProblemKind.ZERO_DURATION]


@pytest.mark.parametrize(
    "seconds",
    [
        -1,
        -0.5,
        float("nan"),
        float("inf"),
        float("-inf"),
        True,
        False,
        "9.3",
        None,
        [3],
        {"value": 3},
        10**9 + 1,
        1e300,
        10**40,
    ],
)
def test_seconds_that_cannot_be_are_no_seconds(seconds: object) -> None:
    amounts = transcription({"type": "duration", "seconds": seconds})
    assert amounts.is_missing
    assert kinds(amounts) == [ProblemKind.UNREADABLE]


def test_tokens_win_where_the_service_says_that_it_counts_tokens() -> None:
    usage = {"type": "tokens", "seconds": 3, "input_tokens": 5, "input_token_details": {"audio_tokens": 5}}
    amounts = transcription(usage | {"output_tokens": 1})
    assert amounts.seconds is None
    assert written(amounts) == {"audio.input": 5, "text.output": 1}


# --- nothing, and garbage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("usage", [None, {}])
def test_a_usage_that_is_not_there_is_missing_without_a_problem(usage: object) -> None:
    assert response(usage) == Amounts()
    assert response(usage).is_missing
    assert response(usage).quantities() == {}


@pytest.mark.parametrize("usage", [[], [1], "usage", 7, True, False, 0, 1.5])
def test_a_usage_that_is_no_object_is_missing_with_a_problem(usage: object) -> None:
    assert response(usage).is_missing
    assert kinds(response(usage)) == [ProblemKind.UNREADABLE]


@pytest.mark.parametrize("count", [True, "12", -1, 1.5, float("nan"), float("inf"), None, [12], {"n": 12}, 10**15 + 1])
@pytest.mark.parametrize("key", ["input_tokens", "output_tokens"])
def test_a_count_that_cannot_be_is_no_count(key: str, count: object) -> None:
    amounts = response({key: count})
    assert amounts.is_missing
    assert kinds(amounts) == [ProblemKind.UNREADABLE]


@pytest.mark.parametrize("details", [None, [], "text_tokens", 5, {"text_tokens": {"text_tokens": 1}}])
def test_details_that_cannot_be_read_leave_the_total_without_its_modality(details: object) -> None:
    amounts = response({"input_tokens": 5, "output_tokens": 0, "input_token_details": details})
    assert tokens_of(amounts).input == {UNKNOWN: 5}
    assert kinds(amounts) == [ProblemKind.MODALITY_NOT_SAID]


def test_the_largest_count_is_still_counted() -> None:
    amounts = response({"input_tokens": 10**15, "output_tokens": 0, "input_token_details": {"text_tokens": 10**15}})
    assert written(amounts) == {"text.input": 10**15}


def test_a_usage_of_zeros_is_reported_and_not_missing(usage_of: Usage) -> None:
    amounts = response(usage_of((0, 0, 0), (0, 0, 0), (0, 0)))
    assert not amounts.is_missing
    assert amounts.quantities() == {}
    assert amounts.problems == ()


def test_totals_of_zero_need_no_details() -> None:
    amounts = response({"input_tokens": 0, "output_tokens": 0, "total_tokens": 0})
    assert not amounts.is_missing
    assert amounts.problems == ()


def test_a_grand_total_alone_says_neither_input_nor_output() -> None:
    amounts = response({"total_tokens": 35})
    assert amounts.is_missing
    assert kinds(amounts) == [ProblemKind.DIRECTION_NOT_SAID]


@pytest.mark.parametrize(
    ("usage", "side"),
    [
        ({"input_token_details": {"text_tokens": 5}}, "output"),
        ({"output_token_details": {"text_tokens": 5}}, "input"),
    ],
)
def test_a_usage_of_one_direction_is_counted_and_the_other_said_to_be_absent(usage: object, side: str) -> None:
    amounts = response(usage)
    assert sum(written(amounts).values()) == 5
    assert kinds(amounts) == [ProblemKind.DIRECTION_NOT_SAID]
    assert side in amounts.problems[0].message


# --- contradictions ------------------------------------------------------------------------------------------------


def test_parts_that_add_up_to_less_than_the_total_leave_the_rest_without_modality() -> None:
    usage = {"input_tokens": 50, "output_tokens": 0, "input_token_details": {"text_tokens": 10, "audio_tokens": 27}}
    amounts = response(usage)
    assert tokens_of(amounts).input == {TEXT: 10, AUDIO: 27, UNKNOWN: 50 - 10 - 27}
    assert kinds(amounts) == [ProblemKind.TOTAL_MISMATCH]
    assert "50" in amounts.problems[0].message
    assert str(10 + 27) in amounts.problems[0].message


def test_parts_that_add_up_to_more_than_the_total_are_believed_and_said_to_disagree() -> None:
    usage = {"input_tokens": 30, "output_tokens": 0, "input_token_details": {"text_tokens": 10, "audio_tokens": 27}}
    amounts = response(usage)
    assert tokens_of(amounts).input == {TEXT: 10, AUDIO: 27}
    assert kinds(amounts) == [ProblemKind.TOTAL_MISMATCH]


def test_a_grand_total_that_is_not_the_sum_is_a_problem(usage_of: Usage) -> None:
    amounts = response(usage_of((10, 20, 0), (0, 0, 0), (5, 6)) | {"total_tokens": 99})
    assert kinds(amounts) == [ProblemKind.TOTAL_MISMATCH]
    assert written(amounts) == {"text.input": 10, "audio.input": 20, "text.output": 5, "audio.output": 6}


def test_more_cached_tokens_of_a_modality_than_there_are_gives_an_interval_over_the_cached_total(
    usage_of: Usage,
) -> None:
    amounts = response(usage_of((10, 100, 0), (40, 0, 0), (0, 0)))
    assert kinds(amounts)[0] is ProblemKind.CACHED_EXCEEDS_INPUT
    assert "40" in amounts.problems[0].message
    assert "10" in amounts.problems[0].message
    tokens = tokens_of(amounts)
    assert tokens.cached == {}
    assert tokens.unsplit == (40, 40)
    assert sum(written(amounts).values()) == 10 + 100


def test_more_cached_tokens_than_input_gives_an_interval_from_none_to_all(usage_of: Usage) -> None:
    usage = usage_of((10, 20, 0), None, (0, 0))
    usage["input_token_details"]["cached_tokens"] = 31
    amounts = response(usage)
    assert kinds(amounts) == [ProblemKind.CACHED_EXCEEDS_INPUT]
    assert tokens_of(amounts).unsplit == (0, 10 + 20)
    assert written(amounts) == {"unknown.input": 10 + 20}


def test_more_cached_by_modality_than_in_total_believes_the_modalities_and_says_so(usage_of: Usage) -> None:
    usage = usage_of((10, 20, 0), (4, 5, 0), (0, 0))
    usage["input_token_details"]["cached_tokens"] = 3
    amounts = response(usage)
    assert kinds(amounts) == [ProblemKind.TOTAL_MISMATCH]
    assert tokens_of(amounts).cached == {TEXT: 4, AUDIO: 5}
    assert tokens_of(amounts).unsplit == (0, 0)


def test_cached_tokens_of_a_usage_without_input_exceed_it() -> None:
    amounts = response({"input_tokens": 0, "output_tokens": 3, "input_token_details": {"cached_tokens": 5}})
    assert ProblemKind.CACHED_EXCEEDS_INPUT in kinds(amounts)
    assert written(amounts) == {"unknown.output": 3}


def test_more_reasoning_than_text_is_a_problem_and_is_cut_to_the_text(usage_of: Usage) -> None:
    amounts = response(usage_of((10, 0, 0), (0, 0, 0), (28, 7), 29))
    assert kinds(amounts) == [ProblemKind.REASONING_EXCEEDS_TEXT]
    assert tokens_of(amounts).reasoning == 28
    assert written(amounts)["text.output"] == 28


def test_reasoning_may_stand_inside_output_whose_modality_is_not_said() -> None:
    usage = {"input_tokens": 0, "output_tokens": 33, "output_token_details": {"reasoning_tokens": 17}}
    amounts = response(usage)
    assert tokens_of(amounts).reasoning == 17
    assert kinds(amounts) == [ProblemKind.MODALITY_NOT_SAID]


# --- caches without their split ------------------------------------------------------------------------------------


def unsplit(usage_of: Usage, sent: tuple[int, int, int], cached: int) -> Amounts:
    usage = usage_of(sent, None, (0, 0))
    usage["input_token_details"]["cached_tokens"] = cached
    return response(usage)


def test_cached_tokens_without_their_split_stay_between_bounds(usage_of: Usage) -> None:
    amounts = unsplit(usage_of, (43, 96, 0), 64)
    tokens = tokens_of(amounts)
    assert tokens.unsplit == (64, 64)
    assert tokens.cached == {}
    assert not tokens.is_split
    assert written(amounts) == {"unknown.input": 43 + 96 - 64, "unknown.cached_input": 64}
    assert kinds(amounts) == [ProblemKind.CACHED_NOT_SPLIT]


def test_a_cache_without_its_split_is_certain_where_one_modality_was_sent(usage_of: Usage) -> None:
    amounts = unsplit(usage_of, (96, 0, 0), 64)
    assert written(amounts) == {"text.input": 96 - 64, "text.cached_input": 64}
    assert amounts.problems == ()


def test_a_cache_without_its_split_is_certain_where_everything_was_cached(usage_of: Usage) -> None:
    amounts = unsplit(usage_of, (40, 24, 0), 64)
    assert written(amounts) == {"text.cached_input": 40, "audio.cached_input": 24}
    assert amounts.problems == ()


def test_a_partly_split_cache_leaves_the_rest_of_it_between_bounds(usage_of: Usage) -> None:
    usage = usage_of((40, 50, 0), None, (0, 0))
    usage["input_token_details"] |= {"cached_tokens": 30, "cached_tokens_details": {"text_tokens": 10}}
    amounts = response(usage)
    tokens = tokens_of(amounts)
    assert tokens.cached == {TEXT: 10}
    assert tokens.unsplit == (20, 20)
    assert tokens.spare() == {TEXT: 40 - 10, AUDIO: 50}
    assert written(amounts) == {
        "text.cached_input": 10,
        "unknown.input": 40 + 50 - 10 - 20,
        "unknown.cached_input": 20,
    }


def test_the_rest_of_a_partly_split_cache_goes_to_the_only_modality_with_room(usage_of: Usage) -> None:
    usage = usage_of((10, 50, 0), None, (0, 0))
    usage["input_token_details"] |= {"cached_tokens": 30, "cached_tokens_details": {"text_tokens": 10}}
    amounts = response(usage)
    assert tokens_of(amounts).cached == {TEXT: 10, AUDIO: 20}
    assert tokens_of(amounts).is_split


def test_a_split_without_its_total_is_enough(usage_of: Usage) -> None:
    usage = usage_of((40, 50, 60), (1, 2, 3), (0, 0))
    del usage["input_token_details"]["cached_tokens"]
    amounts = response(usage)
    assert tokens_of(amounts).cached == {TEXT: 1, AUDIO: 2, IMAGE: 3}
    assert amounts.problems == ()


def test_without_any_details_neither_modality_nor_cache_is_known() -> None:
    amounts = response({"input_tokens": 30, "output_tokens": 0, "total_tokens": 30})
    tokens = tokens_of(amounts)
    assert tokens.input == {UNKNOWN: 30}
    assert tokens.unsplit == (0, 30)
    assert written(amounts) == {"unknown.input": 30}


def test_a_cached_total_of_unknown_modality_is_cached_of_unknown_modality() -> None:
    amounts = response({"input_tokens": 30, "output_tokens": 0, "input_token_details": {"cached_tokens": 12}})
    assert written(amounts) == {"unknown.input": 30 - 12, "unknown.cached_input": 12}
    assert not tokens_of(amounts).is_split


def test_a_cached_split_of_input_without_modalities_tells_some_of_them() -> None:
    details = {"cached_tokens": 12, "cached_tokens_details": {"audio_tokens": 12}}
    amounts = response({"input_tokens": 30, "output_tokens": 0, "input_token_details": details})
    tokens = tokens_of(amounts)
    assert (tokens.input, tokens.cached, tokens.unsplit) == ({AUDIO: 12, UNKNOWN: 30 - 12}, {AUDIO: 12}, (0, 0))
    assert written(amounts) == {"audio.cached_input": 12, "unknown.input": 30 - 12}
    assert kinds(amounts) == [ProblemKind.MODALITY_NOT_SAID]


def test_a_cached_split_tells_the_modality_of_all_the_input_where_all_of_it_was_cached() -> None:
    details = {"cached_tokens": 30, "cached_tokens_details": {"text_tokens": 18, "audio_tokens": 12}}
    amounts = response({"input_tokens": 30, "output_tokens": 0, "input_token_details": details})
    assert written(amounts) == {"text.cached_input": 18, "audio.cached_input": 12}
    assert tokens_of(amounts).is_split


def test_a_cached_split_tells_some_of_the_input_that_its_own_split_leaves_open() -> None:
    details = {"text_tokens": 10, "cached_tokens": 16, "cached_tokens_details": {"text_tokens": 12, "audio_tokens": 4}}
    amounts = response({"input_tokens": 30, "output_tokens": 0, "input_token_details": details})
    assert tokens_of(amounts).input == {TEXT: 12, AUDIO: 4, UNKNOWN: 30 - 12 - 4}
    assert tokens_of(amounts).cached == {TEXT: 12, AUDIO: 4}


def test_a_cached_split_of_more_than_the_input_tells_no_modality() -> None:
    details = {"cached_tokens": 31, "cached_tokens_details": {"audio_tokens": 31}}
    amounts = response({"input_tokens": 30, "output_tokens": 0, "input_token_details": details})
    assert tokens_of(amounts).input == {UNKNOWN: 30}
    assert ProblemKind.CACHED_EXCEEDS_INPUT in kinds(amounts)


@pytest.mark.parametrize("total", [4 + 5 - 1, 4 + 5 + 3])
def test_a_whole_cached_split_that_contradicts_its_total_is_a_problem(usage_of: Usage, total: int) -> None:
    usage = usage_of((10, 20, 0), (4, 5, 0), (0, 0))
    usage["input_token_details"]["cached_tokens"] = total
    amounts = response(usage)
    assert kinds(amounts)[0] is ProblemKind.TOTAL_MISMATCH
    assert str(total) in amounts.problems[0].message
    assert str(4 + 5) in amounts.problems[0].message
    assert tokens_of(amounts).cached == {TEXT: 4, AUDIO: 5}
    assert sum(written(amounts).values()) == 10 + 20


def test_a_partial_cached_split_of_less_than_its_total_contradicts_nothing(usage_of: Usage) -> None:
    usage = usage_of((10, 20, 0), None, (0, 0))
    usage["input_token_details"] |= {"cached_tokens": 9, "cached_tokens_details": {"text_tokens": 4}}
    assert ProblemKind.TOTAL_MISMATCH not in kinds(response(usage))


# --- the numbers as they came --------------------------------------------------------------------------------------


def _kept(usage: object) -> Any:
    text = numbers_text(usage)
    assert text is not None
    return json.loads(text)


def test_the_numbers_are_kept_under_their_own_keys_and_nothing_else_is(usage_of: Usage) -> None:
    usage = usage_of((1, 2, 3), (1, 1, 1), (4, 5), 2)
    content = {"transcript": "secret", "list": [1], "flag": True, "nan": float("nan"), "huge": 10**31, "none": None}
    assert _kept(usage | content | {"type": "tokens"}) == usage | {"type": "tokens"}


@pytest.mark.parametrize("kind", ["words of the caller", ["tokens"], {"tokens": "x"}, 1])
def test_a_type_that_is_neither_tokens_nor_duration_is_not_kept_as_text(kind: object) -> None:
    kept = _kept({"type": kind})
    assert kept.get("type") in (None, 1, {})


@pytest.mark.parametrize("usage", [None, [], "x", 1, True])
def test_there_are_no_numbers_in_what_is_no_object(usage: object) -> None:
    assert numbers_text(usage) is None


def test_deep_and_wide_objects_are_cut_off() -> None:
    deep: dict[str, Any] = {"n": 1}
    for _ in range(1_000):
        deep = {"n": 1, "deeper": deep}
    kept = _kept(deep | {str(number): number for number in range(1_000)})
    text = json.dumps(kept)
    assert text.count("deeper") == 3
    assert len(kept) == 64


def test_a_host_that_changed_the_default_decimal_context_changes_no_amount(usage_of: Usage) -> None:
    usages: list[object] = [
        usage_of((123_456, 2_845, 0), (5_376, 2_816, 0), (250, 1_019)),
        {"type": "duration", "seconds": 1234.5678},
    ]
    undisturbed = [response(usage).quantities() for usage in usages]
    with localcontext(Context(prec=3, traps=[Inexact, Rounded])):
        disturbed = [response(usage).quantities() for usage in usages]
    assert disturbed == undisturbed
    assert undisturbed[1] == {Part(AUDIO, Component.DURATION): Decimal("1234.5678")}


def test_details_under_the_plural_names_of_qwen_are_read_as_the_others_are() -> None:
    usage = {"total_tokens": 9, "input_tokens": 5, "output_tokens": 4}
    sent, made = {"text_tokens": 2, "audio_tokens": 3}, {"text_tokens": 1, "audio_tokens": 3}
    plural = read_amounts({**usage, "input_tokens_details": sent, "output_tokens_details": made}, text_output=False)
    usual = read_amounts({**usage, "input_token_details": sent, "output_token_details": made}, text_output=False)
    assert plural == usual
    assert plural.problems == ()


def test_a_key_that_is_longer_than_any_name_of_a_count_is_not_kept() -> None:
    assert _kept({"x" * 101: 1, "x" * 100: 2}) == {"x" * 100: 2}
