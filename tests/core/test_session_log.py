from __future__ import annotations

import json

import pytest

from realtime_spend.core.session_log import Log, bare_usage, is_event, is_transcription_usage, read_log

_EVENT = {"type": "response.done", "response": {"usage": {"total_tokens": 1}}}


def test_one_object_is_a_log_of_one_value_however_it_is_laid_out() -> None:
    assert read_log(json.dumps(_EVENT)) == Log(values=(_EVENT,))
    assert read_log(json.dumps(_EVENT, indent=4)) == Log(values=(_EVENT,))


def test_an_array_is_a_log_of_its_elements() -> None:
    assert read_log(json.dumps([_EVENT, {"type": "a"}, 7])) == Log(values=(_EVENT, {"type": "a"}, 7))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_json_lines_are_read_in_order_and_empty_lines_do_not_matter(end: str) -> None:
    text = end.join([json.dumps(_EVENT), "", '{"type": "a"}', "   "])
    assert read_log(text) == Log(values=(_EVENT, {"type": "a"}))


def test_lines_that_are_no_json_are_numbered_from_one_and_the_rest_is_read() -> None:
    text = "\n".join(["half a li", json.dumps(_EVENT), "", '{"type": ', json.dumps(_EVENT)])
    assert read_log(text) == Log(values=(_EVENT, _EVENT), unreadable=(1, 4))


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085"])
def test_a_line_is_not_split_at_separators_that_json_allows_inside_a_text(separator: str) -> None:
    event = {"type": "response.done", "transcript": f"one{separator}two"}
    line = json.dumps(event, ensure_ascii=False)
    assert read_log(f"{line}\n{line}\n") == Log(values=(event, event))


@pytest.mark.parametrize("text", ["", "   ", "\n\n"])
def test_an_empty_input_says_what_to_give(text: str) -> None:
    with pytest.raises(ValueError, match="the input is empty; give a usage object"):
        read_log(text)


@pytest.mark.parametrize("text", ["7", '"text"', "null", "true"])
def test_json_that_is_neither_object_nor_array_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an object or an array"):
        read_log(text)


@pytest.mark.parametrize(
    "text",
    ["not json", json.dumps(_EVENT)[:-5], json.dumps(_EVENT, indent=2)[:-5], "7\n8", "[" * 100_000, "{" * 100_000],
    ids=["words", "half a line", "half a file", "numbers", "deep array", "deep object"],
)
def test_text_without_any_whole_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not JSON, or is cut off in the middle"):
        read_log(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (_EVENT, True),
        ({"type": "error"}, True),
        ({"type": "tokens", "input_tokens": 1}, False),
        ({"type": "duration", "seconds": 1}, False),
        ({"input_tokens": 1}, False),
        ({"type": 7}, False),
        ({"type": None}, False),
        ([], False),
        (None, False),
    ],
)
def test_an_event_has_a_type_that_is_no_type_of_usage(value: object, expected: bool) -> None:  # noqa: FBT001 - a table
    assert is_event(value) is expected


_USAGE = {"input_tokens": 1}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (_USAGE, _USAGE),
        ({"output_tokens": 1}, {"output_tokens": 1}),
        ({"total_tokens": 1}, {"total_tokens": 1}),
        ({"input_token_details": {}}, {"input_token_details": {}}),
        ({"output_token_details": {}}, {"output_token_details": {}}),
        ({"seconds": 1}, {"seconds": 1}),
        ({"usage": _USAGE, "model": "m"}, _USAGE),
        ({"response": {"usage": _USAGE}}, _USAGE),
        ({"usage": {}}, {}),
        ({"usage": None}, None),
        ({"response": {"usage": None}}, None),
        ({"response": []}, None),
        ({"other": 1}, None),
        ({}, None),
        ([_USAGE], None),
        (None, None),
    ],
)
def test_a_bare_usage_is_the_value_or_what_it_or_its_response_holds(value: object, expected: object) -> None:
    assert bare_usage(value) == expected


@pytest.mark.parametrize(
    ("usage", "expected"),
    [({"type": "tokens"}, True), ({"type": "duration"}, True), ({"seconds": 2}, True), (_USAGE, False)],
)
def test_only_the_usage_of_a_transcription_has_a_type_or_seconds(
    usage: dict[str, object],
    expected: bool,  # noqa: FBT001 - a table
) -> None:
    assert is_transcription_usage(usage) is expected
