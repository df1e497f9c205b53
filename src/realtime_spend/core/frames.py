"""Which frames can be skipped unread: the deltas that are nearly all of a session's traffic.

A frame is skipped only when it is positively one of the types below; everything else gets parsed. What decides is the
*top-level* `type`: a client can put `{"type": "response.audio.delta"}` into the metadata of its response, which the
service repeats inside `response.done`, so a match behind a second brace must not hide that usage. An unescaped
`"type":"..."` cannot stand inside a JSON string, so transcripts can neither fake a delta nor hide one.

The time does not grow with the frame: only its ends are looked at.
"""

from __future__ import annotations

import re

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
_LEADING = rf'\s*\{{(?:[^{{]{{0,{_HEAD}}},)?\s*(?P<type>"type"\s*:\s*"(?:{_ALTERNATIVES})")'
_LEADING_TEXT = re.compile(_LEADING).match
_LEADING_BYTES = re.compile(_LEADING.encode()).match
_TOKENS_TEXT = tuple(f'"type":{space}"{name}"' for space in ("", " ") for name in DELTA_TYPES)
_TOKENS_BYTES = tuple(token.encode() for token in _TOKENS_TEXT)
# As the last key: the brace that ends the frame closes the top level, so the pair before it is of the top level too.
_ENDS_TEXT = tuple(f",{space}{token}}}" for space in ("", " ") for token in _TOKENS_TEXT)
_ENDS_BYTES = tuple(end.encode() for end in _ENDS_TEXT)
_OPENING_BYTES = b"{"

MOST_FRAGMENTED_BYTES = 16 * 1024 * 1024


class DeltaFilter:
    """Tells deltas from the rest, for one socket. It learns where this service writes `type`, which makes it quick."""

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset = 1

    def is_delta(self, frame: str | bytes | bytearray) -> bool:
        """Return whether `frame` is one of `DELTA_TYPES`; False whenever that is not certain."""
        offset = self._offset
        if isinstance(frame, str):
            if frame.startswith(_TOKENS_TEXT, offset):
                return offset == 1 or frame.find("{", 1, offset) < 0
            if frame.endswith(_ENDS_TEXT):
                return True
            found = _LEADING_TEXT(frame)
            start = -1 if found is None else found.start("type")
        else:
            if frame.startswith(_TOKENS_BYTES, offset):
                return offset == 1 or frame.find(_OPENING_BYTES, 1, offset) < 0
            if frame.endswith(_ENDS_BYTES):
                return True
            match = _LEADING_BYTES(frame)
            start = -1 if match is None else match.start("type")
        if start < 0:
            return False
        self._offset = start
        return True


def names_audio(frame: str | bytes | bytearray) -> bool:
    """Return whether a delta frame carries audio; asked once a response, for the time to its first audio."""
    head = frame[:_HEAD] if isinstance(frame, str) else bytes(frame[:_HEAD]).decode("latin-1")
    tail = frame[-_HEAD:] if isinstance(frame, str) else bytes(frame[-_HEAD:]).decode("latin-1")
    return "audio.delta" in head or "audio.delta" in tail


class Reassembly:
    """Puts fragmented messages together, for hooks that see WebSocket frames rather than messages.

    A delta is recognised by its first fragment and the rest of it is dropped unread; anything larger than
    `MOST_FRAGMENTED_BYTES` is given up (`gave_up` says so once), so that memory is bounded.
    """

    __slots__ = ("_parts", "_size", "gave_up")

    def __init__(self) -> None:
        self._parts: list[bytes] | None = None
        self._size = 0
        self.gave_up = False

    def begin(self, data: bytes | bytearray) -> None:
        """Take the first fragment of a message."""
        # A first fragment has no end yet, so its head alone decides.
        self.gave_up = False
        self._parts = None if _LEADING_BYTES(data) else [bytes(data)]
        self._size = len(data)

    def proceed(self, data: bytes | bytearray, *, final: bool) -> bytes | None:
        """Take a further fragment; return the whole message when it is `final` and worth reading."""
        self.gave_up = False
        if self._parts is None:
            return None
        self._size += len(data)
        if self._size > MOST_FRAGMENTED_BYTES:
            self._parts = None
            self.gave_up = True
            return None
        self._parts.append(bytes(data))
        if not final:
            return None
        whole, self._parts = b"".join(self._parts), None
        return whole
