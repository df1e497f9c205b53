"""Translation sessions: no event says what they used, so that the audio which the client appends is measured.

The service takes raw audio of one format only, 24 kHz PCM16 mono in base64, and is billed by the minute. No page says
of which clock the minutes are, so that what is measured is an estimate.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Final

APPEND: Final = "session.input_audio_buffer.append"
# What a process has measured when it is killed is lost up to this.
TOLD_EVERY: Final = Decimal(10)
_BYTES_A_SECOND = 24_000 * 2
_MARK_TEXT, _MARK_BYTES = APPEND, APPEND.encode()


def appended(message: str | bytes | bytearray) -> int:
    """Return how many bytes of audio a client's message appends; 0 for any other message."""
    mark: str | bytes = _MARK_TEXT if isinstance(message, str) else _MARK_BYTES
    if mark not in message:  # type: ignore[operator]  # of the kind that the message is
        return 0
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        return 0
    audio = event.get("audio") if isinstance(event, dict) and event.get("type") == APPEND else None
    if not isinstance(audio, str):
        return 0
    # Some encoders break their lines, and what pads the end is no sound either.
    text = "".join(audio.split()).rstrip("=")
    return len(text) * 3 // 4


def seconds_of(count: int) -> Decimal:
    """Return how long so many bytes of audio are."""
    return Decimal(count) / _BYTES_A_SECOND
