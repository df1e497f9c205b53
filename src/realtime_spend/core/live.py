"""GPT-Live: sessions that are billed by the second, and the text models that work for them.

A session says its seconds as a running total, so that they are never added up: the greatest is what was used. What a
model that it delegates to has used comes inside an event of the session, and is that model's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from realtime_spend.core import events
from realtime_spend.core.raw_numbers import is_number

if TYPE_CHECKING:
    from collections.abc import Mapping

STARTED: Final = "session.started"
USAGE_UPDATED: Final = "session.usage.updated"
CLOSED: Final = "session.closed"
RESPONSE_EVENT: Final = "response.event"
DECISION_EVENT: Final = "decision.event"
# Setting up a session over WebRTC is charged with so many seconds at once, which its running total then uses up.
WEBRTC_START: Final = Decimal(15)
_MOST_SECONDS = 10**9
_BEGINS = "response.created"
_ENDS = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegated:
    """What a model that works for a session has done. `usage` is in the words that sessions have for theirs."""

    id: str | None
    model: str | None
    status: str | None
    usage: object


def seconds_of(event: Mapping[str, Any]) -> Decimal | None:
    """Return the running total of an event, None if it says none."""
    seconds = events.child(event, "usage", "seconds")
    if not is_number(seconds) or not 0 <= seconds <= _MOST_SECONDS:
        return None
    return Decimal(repr(seconds))


def delegated_to(event: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """Return the id and the model of a response that begins with this event, None where none does."""
    inner = event.get("event")
    told = events.name(events.child(inner, "response", "id")) if events.child(inner, "type") == _BEGINS else None
    return None if told is None else (told, events.name(events.child(inner, "response", "model")))


def delegated(event: Mapping[str, Any]) -> Delegated | None:
    """Return what an event tells of a model that the session delegates to; None while that works still."""
    inner = event.get("event")
    kind = events.child(inner, "type")
    if event.get("type") == DECISION_EVENT:
        done, status = events.child(inner, "decision"), "completed" if kind == "decision.completed" else None
    else:
        done, status = events.child(inner, "response"), _ENDS.get(kind) if isinstance(kind, str) else None
    if status is None or not isinstance(done, dict):
        return None
    return Delegated(
        id=events.name(done.get("id")),
        model=events.name(done.get("model")),
        status=status,
        usage=_of_text(done.get("usage")),
    )


def _of_text(usage: object) -> object:
    """Say of the tokens of a text model that they are text: nobody says it, since they can be nothing else."""
    if not isinstance(usage, dict):
        return usage
    said = {key: value for key, value in usage.items() if key not in ("input_tokens_details", "output_tokens_details")}
    into, out = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    into, out = into if isinstance(into, dict) else {}, out if isinstance(out, dict) else {}
    if "input_tokens" in usage:
        said["input_token_details"] = {**into, "text_tokens": usage["input_tokens"]}
        if "cached_tokens" in into:
            said["input_token_details"]["cached_tokens_details"] = {"text_tokens": into["cached_tokens"]}
    if "output_tokens" in usage:
        said["output_token_details"] = {**out, "text_tokens": usage["output_tokens"]}
    return said
