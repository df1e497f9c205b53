"""Asks which models a call has: a sideband is told of no session until it speaks.

An update that changes nothing is answered with the whole session, its models among it. It names the kind of session,
which the service demands: if that is the wrong one it refuses, and the other is named.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARK = "realtime_spend_asks"
_KINDS = ("realtime", "transcription")
_END = "session.closed"


class Question:
    """What one socket asks, and what it says to a refusal."""

    def __init__(self, *, is_live: bool) -> None:
        sessions: list[dict[str, Any]] = [{}] if is_live else [{"type": kind} for kind in _KINDS]
        self._left: Iterator[dict[str, Any]] = iter(sessions)

    def next(self) -> str | None:
        """Return what to say now, None if there is nothing left to try."""
        session = next(self._left, None)
        if session is None:
            return None
        return json.dumps({"type": "session.update", "event_id": _MARK, "session": session})

    def is_refused_by(self, message: str | bytes) -> bool:
        """Whether a message says that what was asked last cannot be."""
        event = _event_with(_MARK, message)
        if event.get("type") != "error":
            return False
        error = event.get("error")
        inner = error if isinstance(error, dict) else {}
        return _MARK in (event.get("client_event_id"), inner.get("event_id"), inner.get("client_event_id"))


def ends_session(message: str | bytes) -> bool:
    """Whether a message says that the session is over."""
    return _event_with(_END, message).get("type") == _END


def _event_with(mark: str, message: str | bytes) -> dict[str, Any]:
    """Return the event of a message that holds `mark`; an empty one where it does not, or is none."""
    if (mark if isinstance(message, str) else mark.encode()) not in message:  # type: ignore[operator]  # of its kind
        return {}
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}
