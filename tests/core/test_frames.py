from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from realtime_spend.core.frames import (
    DELTA_TYPES,
    MOST_FRAGMENTED_BYTES,
    DeltaFilter,
    Reassembly,
    delta_type,
    response_of,
)

Frame = str | bytes | bytearray
Form = Callable[[str], Frame]

COMPACT, SPACED = (",", ":"), (", ", ": ")
FORMS: dict[str, Form] = {
    "str": str,
    "bytes": str.encode,
    "bytearray": lambda text: bytearray(text.encode()),
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
both_separators = pytest.mark.parametrize("separators", [COMPACT, SPACED], ids=["compact", "spaced"])

DELTA = "response.output_audio.delta"
ORDERS: dict[str, list[str]] = {
    "type first": ["type", "event_id", "delta"],
    "event_id first": ["event_id", "type", "delta"],
    "type last": ["event_id", "delta", "type"],
}
# What a client may put into the metadata of its response, and the service repeats inside response.done.
BAIT = {"type": "response.audio.delta"}


def write(event: dict[str, Any], separators: tuple[str, str] = COMPACT) -> str:
    return json.dumps(event, separators=separators)


def delta(kind: str, order: list[str], size: int = 4_000) -> dict[str, Any]:
    fields = {"type": kind, "event_id": "event_1", "delta": "A" * size}
    return {key: fields[key] for key in order}


@every_form
@both_separators
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("kind", DELTA_TYPES)
def test_a_delta_is_skipped_in_any_form_and_key_order(
    kind: str, order: list[str], separators: tuple[str, str], form: Form
) -> None:
    known = DeltaFilter()
    frame = form(write(delta(kind, order), separators))
    assert known.is_delta(frame)
    assert known.is_delta(frame)


@every_form
def test_a_filter_that_learned_one_order_still_knows_the_others(form: Form) -> None:
    known = DeltaFilter()
    frames = [
        form(write(delta(DELTA, order), separators)) for order in ORDERS.values() for separators in (COMPACT, SPACED)
    ]
    assert all(known.is_delta(frame) for frame in frames + frames[::-1])


@every_form
def test_a_filter_may_see_text_and_bytes_by_turns(form: Form) -> None:
    known = DeltaFilter()
    text = write(delta(DELTA, ORDERS["event_id first"]))
    assert known.is_delta(text)
    assert known.is_delta(form(text))


@every_form
@pytest.mark.parametrize("space", [" ", "\n", "\r\n\t"])
def test_a_delta_behind_white_space_is_skipped_before_anything_was_learned(form: Form, space: str) -> None:
    assert DeltaFilter().is_delta(form(space + write(delta(DELTA, ORDERS["event_id first"]))))


METERED = [
    "response.done",
    "response.created",
    "session.created",
    "session.updated",
    "conversation.item.input_audio_transcription.completed",
    "conversation.item.input_audio_transcription.failed",
    "input_audio_buffer.committed",
    "response.output_audio.done",
    "response.audio.delta.extended",
    "my.response.audio.delta",
]


@every_form
@both_separators
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("kind", METERED)
def test_anything_that_is_not_a_known_delta_is_read(
    kind: str, order: list[str], separators: tuple[str, str], form: Form
) -> None:
    known = DeltaFilter()
    frame = form(write(delta(kind, order), separators))
    assert not known.is_delta(frame)
    assert known.is_delta(form(write(delta(DELTA, ORDERS["event_id first"]), separators)))
    assert not known.is_delta(frame)


def done(metadata: dict[str, Any], order: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "type": "response.done",
        "event_id": "event_1",
        "response": {"metadata": metadata, "id": "resp_1", "usage": {"total_tokens": 3}},
    }
    return {key: fields[key] for key in order}


DONE_ORDERS = {
    "type first": ["type", "event_id", "response"],
    "event_id first": ["event_id", "type", "response"],
    "response first": ["response", "event_id", "type"],
    "type last": ["event_id", "response", "type"],
}


@every_form
@both_separators
@pytest.mark.parametrize("order", DONE_ORDERS.values(), ids=DONE_ORDERS)
@pytest.mark.parametrize(
    "metadata",
    [BAIT, {"a": "x" * 50, **BAIT}, {"a": "x" * 5_000, **BAIT}, {"a": BAIT}, {**BAIT, "z": {"y": 1}}],
    ids=["early", "later", "late", "deeper", "with more behind"],
)
def test_metadata_that_looks_like_a_delta_hides_no_usage(
    metadata: dict[str, Any], order: list[str], separators: tuple[str, str], form: Form
) -> None:
    known = DeltaFilter()
    frame = form(write(done(metadata, order), separators))
    assert not known.is_delta(frame)
    for seen in ORDERS.values():
        assert known.is_delta(form(write(delta(DELTA, seen), separators)))
        assert not known.is_delta(frame)


@every_form
@both_separators
def test_metadata_that_looks_like_a_delta_at_the_very_place_that_was_learned_hides_no_usage(
    separators: tuple[str, str], form: Form
) -> None:
    nearest = write({"event_id": "", **delta(DELTA, ["type", "delta"])}, separators).index('"type"')
    for length in range(200):
        frame = write(done({"p": "x" * length, **BAIT}, DONE_ORDERS["response first"]), separators)
        place = frame.index('"type"')
        taught = write({"event_id": "e" * (place - nearest), **delta(DELTA, ["type", "delta"])}, separators)
        assert taught.index('"type"') == place
        known = DeltaFilter()
        assert known.is_delta(form(taught))
        assert inspect.getclosurevars(known.is_delta).nonlocals["offset"] == place
        assert not known.is_delta(form(frame))


@every_form
@both_separators
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize(
    "said",
    [
        '"type":"response.audio.delta"',
        '"type": "response.audio.delta"}',
        ',"type":"response.audio.delta"}',
        '{"type":"response.output_audio.delta","delta":"x"}',
        'a backslash \\"type":"response.audio.delta"}',
        "response.audio.delta",
    ],
)
def test_a_transcript_that_quotes_a_delta_is_read(
    said: str, order: list[str], separators: tuple[str, str], form: Form
) -> None:
    known = DeltaFilter()
    known.is_delta(form(write(delta(DELTA, order), separators)))
    fields = {
        "type": "conversation.item.input_audio_transcription.completed",
        "event_id": said,
        "delta": said,
    }
    assert not known.is_delta(form(write({key: fields[key] for key in order}, separators)))


@every_form
@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[]", "null", '"type"', "\ufeff{}", '{"type":["response.audio.delta"]}']
)
def test_what_is_no_event_is_not_skipped(text: str, form: Form) -> None:
    known = DeltaFilter()
    assert not known.is_delta(form(text))
    known.is_delta(write(delta(DELTA, ORDERS["event_id first"])))
    assert not known.is_delta(form(text))


# --- what the delta carries ----------------------------------------------------------------------------------------


@every_form
@both_separators
@pytest.mark.parametrize("size", [0, 300, 4_000])
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("kind", DELTA_TYPES)
def test_a_delta_is_told_by_its_type_wherever_that_stands(
    kind: str, order: list[str], size: int, separators: tuple[str, str], form: Form
) -> None:
    assert delta_type(form(write(delta(kind, order, size), separators))) == kind


@every_form
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("kind", METERED)
def test_what_is_no_delta_has_no_type_of_one(kind: str, order: list[str], form: Form) -> None:
    assert delta_type(form(write(delta(kind, order)))) is None


@every_form
def test_the_first_fragment_of_a_delta_tells_its_type(form: Form) -> None:
    assert delta_type(form(write(delta(DELTA, ORDERS["event_id first"]))[:100])) == DELTA


@every_form
@both_separators
def test_a_delta_names_its_response(separators: tuple[str, str], form: Form) -> None:
    fields = {"type": DELTA, "event_id": "event_1", "response_id": "resp_1", "delta": "A" * 4_000}
    assert response_of(form(write(fields, separators))) == "resp_1"


@every_form
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"response_id": None},
        {"response_id": ""},
        {"response_id": "x" * 201},
        {"item": '"response_id":"resp_1"'},
        {"delta": "A" * 4_000, "response_id": "resp_1"},
    ],
    ids=["none", "null", "empty", "too long", "quoted in a text", "far behind"],
)
def test_a_delta_that_does_not_name_its_response_near_its_beginning_names_none(
    fields: dict[str, Any], form: Form
) -> None:
    assert response_of(form(write({"type": DELTA, **fields}))) is None


# --- fragments -----------------------------------------------------------------------------------------------------

DONE = write(done({}, DONE_ORDERS["type first"])).encode()


@pytest.mark.parametrize("cuts", [[1], [0], [10], [len(DONE) - 1], [5, 50], [3, 3, 9], [0, 0, 0]])
def test_a_message_in_fragments_is_put_together(cuts: list[int]) -> None:
    pieces = Reassembly()
    bounds = [0, *cuts, len(DONE)]
    parts = [DONE[start:end] for start, end in itertools.pairwise(bounds)]
    assert not pieces.begin(parts[0])
    middles = [pieces.proceed(part, final=False) for part in parts[1:-1]]
    assert middles == [None] * len(middles)
    assert pieces.proceed(bytearray(parts[-1]), final=True) == DONE
    assert not pieces.gave_up


def test_a_message_that_ends_with_an_empty_fragment_is_put_together() -> None:
    pieces = Reassembly()
    pieces.begin(bytearray(DONE))
    assert pieces.proceed(b"", final=True) == DONE


def test_the_rest_of_a_delta_is_dropped_unread() -> None:
    pieces = Reassembly()
    frame = write(delta(DELTA, ORDERS["event_id first"])).encode()
    assert pieces.begin(frame[:100])
    assert pieces.proceed(frame[100:200], final=False) is None
    assert pieces._parts is None
    assert pieces.proceed(frame[200:], final=True) is None
    assert not pieces.gave_up


def test_a_message_whose_metadata_looks_like_a_delta_is_put_together() -> None:
    frame = write(done(BAIT, DONE_ORDERS["response first"])).encode()
    pieces = Reassembly()
    assert not pieces.begin(frame[:80])
    assert pieces.proceed(frame[80:], final=True) == frame


def test_a_message_that_is_too_large_is_given_up_once_and_the_next_one_is_read() -> None:
    pieces = Reassembly()
    half = b"x" * (MOST_FRAGMENTED_BYTES // 2)
    pieces.begin(half)
    said = []
    for part, final in ((half, False), (b"x", False), (b"x", False), (b"x", True)):
        assert pieces.proceed(part, final=final) is None
        said.append(pieces.gave_up)
    assert said == [False, True, False, False]
    assert pieces._parts is None
    pieces.begin(DONE[:9])
    assert pieces.proceed(DONE[9:], final=True) == DONE


def test_a_first_fragment_that_is_too_large_is_given_up_once_and_the_next_message_is_read() -> None:
    pieces = Reassembly()
    assert not pieces.begin(b"x" * (MOST_FRAGMENTED_BYTES + 1))
    said = [pieces.gave_up]
    assert pieces._parts is None
    assert pieces.proceed(b"x", final=True) is None
    said.append(pieces.gave_up)
    pieces.begin(DONE[:9])
    said.append(pieces.gave_up)
    assert said == [True, False, False]
    assert pieces.proceed(DONE[9:], final=True) == DONE


def test_a_message_that_is_as_large_as_can_be_is_put_together() -> None:
    pieces = Reassembly()
    pieces.begin(b"x" * (MOST_FRAGMENTED_BYTES - 1))
    assert not pieces.gave_up
    assert pieces.proceed(b"x", final=True) == b"x" * MOST_FRAGMENTED_BYTES


def test_a_message_that_begins_before_the_other_has_ended_takes_its_place() -> None:
    pieces = Reassembly()
    pieces.begin(b'{"type":"half')
    pieces.begin(DONE[:9])
    assert pieces.proceed(DONE[9:], final=True) == DONE


def test_a_fragment_without_a_beginning_is_nothing() -> None:
    pieces = Reassembly()
    assert pieces.proceed(DONE, final=True) is None
    pieces.begin(DONE)
    assert pieces.proceed(b"", final=True) == DONE
    assert pieces.proceed(DONE, final=True) is None
