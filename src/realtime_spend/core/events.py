"""Looking into server events: the few fields that matter, read from plain JSON whatever it holds.

Events are told apart by their `type` text, as a service sends it: SDK classes lag behind the wire (reasoning tokens and
several beta fields are in none of them), and a gateway may send any JSON at all.
"""

from __future__ import annotations

import json
from typing import Any, Final

RESPONSE_CREATED: Final = "response.created"
RESPONSE_DONE: Final = "response.done"
TRANSCRIPTION_COMPLETED: Final = "conversation.item.input_audio_transcription.completed"
TRANSCRIPTION_FAILED: Final = "conversation.item.input_audio_transcription.failed"
AUDIO_COMMITTED: Final = "input_audio_buffer.committed"
SPEECH_STOPPED: Final = "input_audio_buffer.speech_stopped"
ITEM_ADDED_EVENTS: Final = frozenset({"conversation.item.added", "conversation.item.created"})
# `transcription_session.*` is how the beta called the session of a transcription-only connection.
SESSION_EVENTS: Final = frozenset(
    {"session.created", "session.updated", "transcription_session.created", "transcription_session.updated"}
)

# What a service begins a session with. Nothing else tells a socket of the protocol whose URL says nothing.
_BEGINNINGS: Final = frozenset({"session.created", "transcription_session.created"})
LARGEST_BEGINNING = 256 * 1024
_LONGEST_NAME = 200


def child(event: object, *path: str) -> Any:
    """Return what stands at `path` inside nested JSON objects, None where the way is blocked."""
    for key in path:
        if not isinstance(event, dict):
            return None
        event = event.get(key)
    return event


def name(value: object) -> str | None:
    """Return a non-empty name, short and encodable: one lone surrogate would make a whole OTLP export fail."""
    if not isinstance(value, str) or not value:
        return None
    if value.isascii():
        return value[:_LONGEST_NAME]
    return value[:_LONGEST_NAME].encode("utf-8", "replace").decode("utf-8")


def speaks(event: dict[str, Any]) -> bool:
    """Whether the response of a `response.created` may have audio; the beta has another word for what it may have."""
    response = child(event, "response")
    modalities = child(response, "output_modalities") or child(response, "modalities")
    return not isinstance(modalities, list) or not modalities or "audio" in modalities


def begins_session(frame: str | bytes | bytearray) -> bool:
    """Whether a whole message is the event with which a session begins."""
    if len(frame) > LARGEST_BEGINNING:
        return False
    try:
        event = json.loads(frame)
    except (ValueError, RecursionError):
        return False
    kind = child(event, "type")
    return isinstance(kind, str) and kind in _BEGINNINGS


def transcription_model(session: object) -> tuple[bool, str | None]:
    """Return whether a session object speaks of transcription, and the model it names (None: switched off).

    GA keeps it under `audio.input.transcription`, the beta, the Azure preview and Voice Live under
    `input_audio_transcription`.
    """
    for holder, key in (
        (child(session, "audio", "input"), "transcription"),
        (session, "input_audio_transcription"),
    ):
        if isinstance(holder, dict) and key in holder:
            return True, name(child(holder[key], "model"))
    return False, None


def response_usage(event: dict[str, Any], response: dict[str, Any]) -> object:
    """Return the usage of a `response.done`; some services put it at the top level and leave the usual place empty."""
    usage = response.get("usage")
    return event.get("usage") if usage is None or usage == {} else usage
