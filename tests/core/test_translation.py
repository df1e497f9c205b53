"""What a client's message appends, byte for byte, and what it never is."""

from __future__ import annotations

import base64
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_spend.core.translation import APPEND, appended, seconds_of


@given(st.binary(max_size=400), st.booleans())
def test_as_many_bytes_are_counted_as_are_sent(audio: bytes, is_text: bool) -> None:  # noqa: FBT001 - drawn
    text = json.dumps({"event_id": "e", "audio": base64.b64encode(audio).decode(), "type": APPEND})
    assert appended(text if is_text else text.encode()) == len(audio)
    assert appended(bytearray(text.encode())) == len(audio)


@given(st.binary(min_size=1, max_size=400))
def test_lines_that_an_encoder_breaks_are_no_sound(audio: bytes) -> None:
    # As MIME has it: 76 characters a line, and an end of line after the last one.
    text = base64.encodebytes(audio).decode()
    assert appended(json.dumps({"type": APPEND, "audio": text})) == len(audio)
    assert appended(json.dumps({"type": APPEND, "audio": text.replace("\n", "\r\n ")})) == len(audio)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        APPEND,
        json.dumps([APPEND]),
        json.dumps({"type": APPEND}),
        json.dumps({"type": APPEND, "audio": 7}),
        json.dumps({"type": "session.update", "session": {"type": APPEND}, "audio": "AAAA"}),
        json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA"}),
        b"\xff\xfe" + APPEND.encode(),
    ],
)
def test_any_other_message_appends_nothing(message: str | bytes) -> None:
    assert appended(message) == 0


def test_a_second_is_24000_samples_of_two_bytes() -> None:
    assert seconds_of(24_000 * 2 * 3 + 24_000) == Decimal("3.5")
