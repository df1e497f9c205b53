"""Which frames can be skipped unread: the deltas that are nearly all of a session's traffic.

A frame is skipped only when it is positively one of the types below; everything else gets parsed. What decides is the
*top-level* `type`: a client can put `{"type": "response.audio.delta"}` into the metadata of its response, which the
service repeats inside `response.done`, so a match behind a second brace must not hide that usage. An unescaped
`"type":"..."` cannot stand inside a JSON string, so transcripts can neither fake a delta nor hide one.

The time does not grow with the frame: only its ends are looked at.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DELTA_TYPES = (
    "response.output_audio.delta",
    "response.audio.delta",
    "response.output_audio_transcript.delta",
    "response.audio_transcript.delta",
    "response.output_text.delta",
    "response.text.delta",
    "response.function_call_arguments.delta",
    "conversation.item.input_audio_transcription.delta",
    "session.output_audio.delta",
    "session.input_transcript.delta",
    "session.output_transcript.delta",
    "session.input_audio.append",
)
_HEAD = 256
_ALTERNATIVES = "|".join(re.escape(name) for name in DELTA_TYPES)
# From the first brace on, no second one: whatever comes before the match is at the top level.
_LEADING = rf'\s*\{{(?:[^{{]{{0,{_HEAD}}},)?\s*(?P<type>"type"\s*:\s*"(?P<name>{_ALTERNATIVES})")'
_LEADING_TEXT = re.compile(_LEADING).match
_LEADING_BYTES = re.compile(_LEADING.encode()).match
_TRAILING_TEXT = re.compile(rf'"type"\s*:\s*"(?P<name>{_ALTERNATIVES})"\s*\}}\s*$').search
_RESPONSE_ID = re.compile(r'"response_id"\s*:\s*"([^"\\]{1,200})"').search
# Found one character behind the beginning, where the service writes `type`, these say that the frame is a delta.
DELTAS_TEXT = tuple(f'"type":{space}"{name}"' for space in ("", " ") for name in DELTA_TYPES)
DELTAS_BYTES = tuple(token.encode() for token in DELTAS_TEXT)
# As the last key: the brace that ends the frame closes the top level, so the pair before it is of the top level too.
ENDS_TEXT = tuple(f",{space}{token}}}" for space in ("", " ") for token in DELTAS_TEXT)
ENDS_BYTES = tuple(end.encode() for end in ENDS_TEXT)
_OPENING_BYTES = b"{"
# The service's own order. A frame that begins so says its top-level type at once, whatever it is.
_TYPE_FIRST_TEXT = '{"type":"'
_TYPE_FIRST_BYTES = _TYPE_FIRST_TEXT.encode()

MOST_FRAGMENTED_BYTES = 16 * 1024 * 1024


class DeltaFilter:
    """Tells deltas from the rest, for one socket. It learns where this service writes `type`, which makes it quick."""

    __slots__ = ("is_delta", "learned")

    def __init__(self) -> None:
        # Closures and not methods: these are called for each frame of a phone call, and attributes cost time.
        self.is_delta, self.learned = _delta_filter()


def _delta_filter() -> tuple[Callable[[str | bytes | bytearray], bool], Callable[[], int]]:
    offset = 1

    def is_delta(frame: str | bytes | bytearray) -> bool:
        """Return whether `frame` is one of `DELTA_TYPES`; False whenever that is not certain."""
        nonlocal offset
        if isinstance(frame, str):
            if frame.startswith(DELTAS_TEXT, offset or 1):
                return offset <= 1 or frame.find("{", 1, offset) < 0
            if frame.startswith(_TYPE_FIRST_TEXT):
                return offset > 1 and frame.startswith(DELTAS_TEXT, 1)
            is_last = frame.endswith(ENDS_TEXT)
            found = None if is_last else _LEADING_TEXT(frame)
            start = -1 if found is None else found.start("type")
        else:
            if frame.startswith(DELTAS_BYTES, offset or 1):
                return offset <= 1 or frame.find(_OPENING_BYTES, 1, offset) < 0
            if frame.startswith(_TYPE_FIRST_BYTES):
                return offset > 1 and frame.startswith(DELTAS_BYTES, 1)
            is_last = frame.endswith(ENDS_BYTES)
            match = None if is_last else _LEADING_BYTES(frame)
            start = -1 if match is None else match.start("type")
        if start >= 0 or is_last:
            offset = max(start, 0)
        return start >= 0 or is_last

    def learned() -> int:
        """Return where this service writes `type` in its deltas, as far as is known; 0 where it is the last key."""
        return offset

    return is_delta, learned


def delta_type(frame: str | bytes | bytearray) -> str | None:
    """Return the type of a frame that `DeltaFilter` took for a delta; asked a few times a response, for timings."""
    if isinstance(frame, str):
        head, tail = frame[: 2 * _HEAD], frame[-_HEAD:]
    else:
        head, tail = (bytes(end).decode("latin-1") for end in (frame[: 2 * _HEAD], frame[-_HEAD:]))
    found = _LEADING_TEXT(head) or _TRAILING_TEXT(tail)
    return found["name"] if found else None


def response_of(frame: str | bytes | bytearray) -> str | None:
    """Return the `response_id` near the beginning of a delta, None if it is not there."""
    head = frame[:_HEAD] if isinstance(frame, str) else bytes(frame[:_HEAD]).decode("latin-1")
    found = _RESPONSE_ID(head)
    return found[1] if found else None


class Reassembly:
    """Puts fragmented messages together, for hooks that see WebSocket frames rather than messages.

    A delta is recognised by its first fragment and the rest of it is dropped unread; anything larger than
    `most_bytes` is given up (`gave_up` says so once), so that memory is bounded.
    """

    __slots__ = ("_most_bytes", "_parts", "_size", "gave_up")

    def __init__(self, most_bytes: int = MOST_FRAGMENTED_BYTES) -> None:
        self._most_bytes = most_bytes
        self._parts: list[bytes] | None = None
        self._size = 0
        self.gave_up = False

    def begin(self, data: bytes | bytearray) -> bool:
        """Take the first fragment of a message; return whether it is a delta, which is not kept."""
        # A first fragment has no end yet, so its head alone decides.
        is_delta = _LEADING_BYTES(data) is not None
        self._size = len(data)
        self.gave_up = self._size > self._most_bytes and not is_delta
        self._parts = None if is_delta or self.gave_up else [bytes(data)]
        return is_delta

    def proceed(self, data: bytes | bytearray, *, final: bool) -> bytes | None:
        """Take a further fragment; return the whole message when it is `final` and worth reading."""
        self.gave_up = False
        if self._parts is None:
            return None
        self._size += len(data)
        if self._size > self._most_bytes:
            self._parts = None
            self.gave_up = True
            return None
        self._parts.append(bytes(data))
        if not final:
            return None
        whole, self._parts = b"".join(self._parts), None
        return whole
