"""What an event says was used: the end of a response, a transcription, or the work of a model that was delegated to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realtime_spend.core import events
from realtime_spend.core.reading import read_usage
from realtime_spend.core.usage import Kind, Reported, Usage

if TYPE_CHECKING:
    from realtime_spend.core.live import Delegated
    from realtime_spend.core.usage import Amounts

_MOST_PARTS = 1_000_000


def of_response(event: dict[str, Any]) -> Usage:
    """Return what `response.done` says; its id, else that of the event."""
    said_of = event.get("response")
    response: dict[str, Any] = said_of if isinstance(said_of, dict) else {}
    amounts, raw = read_usage(response.get("usage") or events.response_usage(event, response), text_output=False)
    told = events.name(response.get("id")) or events.name(event.get("event_id"))
    return Usage(Kind.RESPONSE, told, events.name(response.get("status")), _reported(amounts), amounts, raw)


def of_transcription(event: dict[str, Any]) -> Usage:
    """Return what the end of a transcription says; its id is that of the item with the index of its content."""
    item_id, index = events.name(event.get("item_id")), event.get("content_index")
    part = index if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < _MOST_PARTS else 0
    amounts, raw = read_usage(event.get("usage"), text_output=True)
    told = f"{item_id}#{part}" if item_id else events.name(event.get("event_id"))
    return Usage(Kind.TRANSCRIPTION, told, "completed", _reported(amounts), amounts, raw)


def of_delegated(done: Delegated, event: dict[str, Any]) -> Usage:
    """Return what the end of delegated work says."""
    amounts, raw = read_usage(done.usage, text_output=True)
    reported = Reported.MISSING if amounts.is_missing else Reported.REPORTED
    return Usage(Kind.RESPONSE, done.id or events.name(event.get("event_id")), done.status, reported, amounts, raw)


def _reported(amounts: Amounts) -> Reported:
    return Reported.MISSING if amounts.counts is None and amounts.is_missing else Reported.REPORTED
