"""Server events of a Realtime session as they stand on the wire, for programs that need no server."""

from __future__ import annotations

import base64
import json
from enum import StrEnum
from pathlib import Path
from typing import Any

URL = "ws://127.0.0.1/v1/realtime?model=gpt-realtime"
SIZES = (1_024, 8_192, 40_960)
# The usage of the README: one that people were billed half of what they had worked out for.
_FILE = Path(__file__).resolve().parents[1] / "examples" / "usage.json"
USAGE: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))["usage"]
_TOKENS = {"type": "tokens", "total_tokens": 29, "input_tokens": 10, "output_tokens": 19}
_TOKENS_SPLIT = {"input_token_details": {"text_tokens": 0, "audio_tokens": 10}}


class Order(StrEnum):
    """Where `type` stands in a frame."""

    TYPE_FIRST = "type first"
    EVENT_ID_FIRST = "event_id first"
    TYPE_LAST = "type last"


def delta(size: int, order: Order = Order.TYPE_FIRST) -> bytes:
    """Return an audio delta of `size` bytes."""
    kind, event_id = {"type": "response.output_audio.delta"}, {"event_id": "event_CaBcDeFgHiJkLmNoPqRsT"}
    told = {"response_id": "resp_0", "item_id": "item_0", "output_index": 0, "content_index": 0, "delta": ""}
    event: dict[str, Any] = {
        Order.TYPE_FIRST: kind | event_id | told,
        Order.EVENT_ID_FIRST: event_id | kind | told,
        Order.TYPE_LAST: event_id | told | kind,
    }[order]
    event["delta"] = base64.b64encode(bytes(size)).decode()[: size - len(written(event))]
    return written(event)


def text_delta() -> bytes:
    """Return a delta of a text, of which a response has many and no audio."""
    told = {"response_id": "resp_0", "item_id": "item_0", "output_index": 0, "content_index": 0, "delta": " hello"}
    return written({"type": "response.output_text.delta", "event_id": "event_1", **told})


def session_created() -> bytes:
    """Return the first event of a session, transcription switched on."""
    session = {
        "id": "sess_1",
        "object": "realtime.session",
        "type": "realtime",
        "model": "gpt-realtime",
        "instructions": "Answer in one short sentence. " * 20,
        "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}},
    }
    return written({"type": "session.created", "event_id": "event_0", "session": session})


def response_created(number: int, modality: str = "audio") -> bytes:
    """Return what begins a response."""
    response = {
        "object": "realtime.response",
        "id": f"resp_{number}",
        "status": "in_progress",
        "output_modalities": [modality],
        "usage": None,
    }
    return written({"type": "response.created", "event_id": f"event_{number}", "response": response})


def response_done(number: int) -> bytes:
    """Return what ends a response, about as large as a service sends it."""
    content = [{"type": "output_audio", "transcript": "Your appointment is on Thursday at half past nine. " * 4}]
    response = {
        "object": "realtime.response",
        "id": f"resp_{number}",
        "status": "completed",
        "status_details": None,
        "output": [{"id": f"item_{number}", "object": "realtime.item", "type": "message", "content": content}],
        "conversation_id": "conv_1",
        "output_modalities": ["audio"],
        "metadata": None,
        "usage": USAGE,
    }
    return written({"type": "response.done", "event_id": f"event_{number}", "response": response})


def committed(number: int) -> bytes:
    """Return what says that the user's speech is a whole, to be transcribed."""
    return written({"type": "input_audio_buffer.committed", "event_id": "event_2", "item_id": f"said_{number}"})


def transcribed(number: int) -> bytes:
    """Return a transcription with its usage."""
    told = {"item_id": f"said_{number}", "content_index": 0, "transcript": "When is my appointment, please?"}
    kind = "conversation.item.input_audio_transcription.completed"
    return written({"type": kind, "event_id": "event_3", **told, "usage": _TOKENS | _TOKENS_SPLIT})


def rate_limits() -> bytes:
    """Return an event that has nothing for us, and has to be parsed all the same."""
    limits = [{"name": "tokens", "limit": 40_000, "remaining": 31_777, "reset_seconds": 12.3}]
    return written({"type": "rate_limits.updated", "event_id": "event_4", "rate_limits": limits})


def written(event: dict[str, Any]) -> bytes:
    """Return an event as the service writes it."""
    return json.dumps(event, separators=(",", ":")).encode()
