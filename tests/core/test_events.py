from __future__ import annotations

from typing import Any

import pytest

from realtime_spend.core import events


@pytest.mark.parametrize(
    ("event", "path", "found"),
    [
        ({"a": {"b": 1}}, ("a", "b"), 1),
        ({"a": {"b": 1}}, (), {"a": {"b": 1}}),
        ({"a": {"b": 1}}, ("a", "c"), None),
        ({"a": "text"}, ("a", "b"), None),
        ({"a": None}, ("a", "b"), None),
        ([1], ("a",), None),
        (None, ("a",), None),
    ],
)
def test_a_path_leads_to_what_stands_there_or_to_nothing(event: object, path: tuple[str, ...], found: object) -> None:
    assert events.child(event, *path) == found


@pytest.mark.parametrize("value", [None, "", 1, True, ["gpt-realtime"], {"name": "x"}])
def test_what_is_not_a_non_empty_text_is_no_name(value: object) -> None:
    assert events.name(value) is None


def test_a_name_is_kept_short() -> None:
    assert events.name("x" * 10_000) == "x" * 200


def test_a_lone_surrogate_does_not_survive_in_a_name() -> None:
    found = events.name("gpt-\ud800realtime")
    assert found is not None
    assert found.encode("utf-8") == b"gpt-?realtime"


@pytest.mark.parametrize(
    ("session", "said"),
    [
        ({"audio": {"input": {"transcription": {"model": "whisper-1"}}}}, (True, "whisper-1")),
        ({"audio": {"input": {"transcription": None}}}, (True, None)),
        ({"audio": {"input": {}}}, (False, None)),
        ({"input_audio_transcription": {"model": "whisper-1"}}, (True, "whisper-1")),
        ({"input_audio_transcription": None}, (True, None)),
        ({"input_audio_transcription": "whisper-1"}, (True, None)),
        ({"model": "gpt-realtime"}, (False, None)),
        (None, (False, None)),
        ("session", (False, None)),
    ],
    ids=[
        "GA",
        "GA off",
        "GA silent",
        "beta",
        "beta off",
        "beta garbage",
        "neither",
        "no session",
        "not a session",
    ],
)
def test_a_session_says_its_transcription_model_or_that_there_is_none_or_nothing(
    session: object, said: tuple[bool, str | None]
) -> None:
    assert events.transcription_model(session) == said


@pytest.mark.parametrize(
    ("event", "usage"),
    [
        ({"response": {"usage": {"total_tokens": 3}}}, {"total_tokens": 3}),
        ({"response": {"usage": {"total_tokens": 3}}, "usage": {"total_tokens": 9}}, {"total_tokens": 3}),
        ({"response": {"usage": {}}, "usage": {"total_tokens": 9}}, {"total_tokens": 9}),
        ({"response": {"usage": None}, "usage": {"total_tokens": 9}}, {"total_tokens": 9}),
        ({"response": {}}, None),
        ({"response": {"usage": [1]}, "usage": {"total_tokens": 9}}, [1]),
    ],
    ids=["usual", "both", "empty then top level", "null then top level", "neither", "garbage stays"],
)
def test_the_usage_of_a_response_is_found_in_its_usual_place_or_at_the_top_level(
    event: dict[str, Any], usage: object
) -> None:
    assert events.response_usage(event, event["response"]) == usage


@pytest.mark.parametrize(
    ("response", "speaks"),
    [
        ({"output_modalities": ["audio"]}, True),
        ({"output_modalities": ["text"]}, False),
        ({"modalities": ["text", "audio"]}, True),
        ({"modalities": ["text"]}, False),
        ({"modalities": []}, True),
        ({"modalities": "text"}, True),
        ({}, True),
        (None, True),
    ],
)
def test_a_response_may_have_audio_unless_it_says_that_it_has_not(response: object, speaks: bool) -> None:  # noqa: FBT001 - a column
    assert events.speaks({"response": response}) is speaks
