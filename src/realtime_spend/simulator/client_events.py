"""What a client may say, and what the session does about it."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, TypeAlias

from realtime_spend.simulator.address import sku_of
from realtime_spend.simulator.input_audio import send_item
from realtime_spend.simulator.tokens import item_tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from realtime_spend.simulator.session import Session

Event: TypeAlias = dict[str, Any]
# By whether a session only transcribes.
_KINDS = ("realtime", "transcription")


async def receive(session: Session, frame: str | bytes) -> None:
    """Act on one frame of a client; what cannot be understood is answered with an `error` event."""
    try:
        event = json.loads(frame)
    except (ValueError, RecursionError):
        await session.send_error("The message could not be parsed as JSON.", code="invalid_json")
        return
    if not isinstance(event, dict):
        await session.send_error("A message must be a JSON object.", code="invalid_json")
        return
    type_ = event.get("type")
    act = _ACTIONS.get(type_) if isinstance(type_, str) else None
    if act is None:
        message = f"Invalid value: {type_!r:.100}. Supported values are: {', '.join(map(repr, _ACTIONS))}."
        await session.send_error(message, code="invalid_value", param="type", event_id=event_id_of(event))
        return
    try:
        await act(session, event)
    except RecursionError:
        await session.send_error("The message is nested too deeply.", code="invalid_json", event_id=event_id_of(event))
    except _NotUnderstoodError as error:
        code = "missing_required_parameter"
        await session.send_error(str(error), code=code, param=error.param, event_id=event_id_of(event))


def event_id_of(event: Event) -> str | None:
    """Say which of its events a client must be told about."""
    event_id = event.get("event_id")
    return event_id if isinstance(event_id, str) else None


class _NotUnderstoodError(Exception):
    def __init__(self, param: str) -> None:
        super().__init__(f"Missing or malformed parameter: {param!r}.")
        self.param = param


async def _session_update(session: Session, event: Event) -> None:
    update = _object(event, "session")
    if (kind := update.get("type")) in _KINDS and kind != _KINDS[session.config.is_transcription]:
        message = (
            f"Passing a {kind} session update event to a {_KINDS[session.config.is_transcription]} session is not "
        )
        message += "allowed."
        await session.send_error(message, code="invalid_parameter", param="session.type", event_id=event_id_of(event))
        return
    model = update.get("model")
    if session.address.call_id and session.address.requested is None and isinstance(model, str):
        # Nobody named the model of a call that began elsewhere; whoever attaches to it may.
        sku = sku_of(session.address.service, model, session.find_deployment)
        if sku is not None:
            session.rename(model, sku)
    before = copy.deepcopy(session.config.prompt)
    session.config.merge(update)
    if session.config.prompt != before:
        session.responses.context.instruct_anew()
    await session.send_session("updated")


async def _item_create(session: Session, event: Event) -> None:
    item = _object(event, "item")
    before = session.conversation.last_item_id
    given = item.get("id")
    item_id = given if isinstance(given, str) and given else session.dice.new_id("item")
    session.conversation.add(item_id, item_tokens(item, session.config.bytes_per_ms), item)
    shown = {**item, "id": item_id, "object": "realtime.item", "status": "completed"}
    if isinstance(item.get("content"), list):
        # Audio is not sent back.
        shown["content"] = [_without_audio(part) for part in item["content"]]
    await send_item(session, shown, before)


def _without_audio(part: Any) -> Any:
    return {key: value for key, value in part.items() if key != "audio"} if isinstance(part, dict) else part


async def _item_delete(session: Session, event: Event) -> None:
    item_id = _text(event, "item_id")
    session.responses.context.change_at(item_id)
    if session.conversation.remove(item_id):
        await session.send("conversation.item.deleted", item_id=item_id)
    else:
        await _no_such_item(session, event, "item_delete_invalid_item_id")


async def _item_truncate(session: Session, event: Event) -> None:
    item_id, end = _text(event, "item_id"), event.get("audio_end_ms")
    if not isinstance(end, int) or end < 0:
        raise _NotUnderstoodError("audio_end_ms")
    session.responses.context.change_at(item_id)
    if session.conversation.truncate(item_id, end):
        await session.send("conversation.item.truncated", item_id=item_id, content_index=0, audio_end_ms=end)
    else:
        await _no_such_item(session, event, "item_truncate_invalid_item_id")


async def _item_retrieve(session: Session, event: Event) -> None:
    item_id = _text(event, "item_id")
    outline = session.conversation.outline(item_id)
    if outline is not None:
        item = {"id": item_id, "object": "realtime.item", "status": "completed", **outline}
        await session.send("conversation.item.retrieved", item=item)
    else:
        await _no_such_item(session, event, "item_retrieve_invalid_item_id")


async def _no_such_item(session: Session, event: Event, code: str) -> None:
    message = f"Item with item_id not found: {event['item_id']:.100}"
    await session.send_error(message, code=code, param="item_id", event_id=event_id_of(event))


async def _response_create(session: Session, event: Event) -> None:
    request = _object(event, "response") if event.get("response") is not None else {}
    await session.responses.create(request, event_id=event_id_of(event))


async def _response_cancel(session: Session, event: Event) -> None:
    response_id = event.get("response_id")
    named = response_id if isinstance(response_id, str) else None
    await session.responses.cancel(named, event_id=event_id_of(event))


async def _audio_append(session: Session, event: Event) -> None:
    await session.input_audio.append(_text(event, "audio"))


async def _audio_commit(session: Session, event: Event) -> None:
    await session.input_audio.commit(event_id=event_id_of(event))


async def _audio_clear(session: Session, _event: Event) -> None:
    await session.input_audio.clear()


async def _image_append(session: Session, event: Event) -> None:
    _text(event, "image")
    session.input_audio.see()


async def _playback_clear(session: Session, _event: Event) -> None:
    await session.send("output_audio_buffer.cleared")


async def _finish(session: Session, _event: Event) -> None:
    await session.send("session.finished")
    session.close(1000)


_ACTIONS: dict[str, Callable[[Session, Event], Awaitable[None]]] = {
    "session.update": _session_update,
    "transcription_session.update": _session_update,
    "input_audio_buffer.append": _audio_append,
    "input_audio_buffer.commit": _audio_commit,
    "input_audio_buffer.clear": _audio_clear,
    "input_image_buffer.append": _image_append,
    "output_audio_buffer.clear": _playback_clear,
    "conversation.item.create": _item_create,
    "conversation.item.retrieve": _item_retrieve,
    "conversation.item.truncate": _item_truncate,
    "conversation.item.delete": _item_delete,
    "response.create": _response_create,
    "response.cancel": _response_cancel,
    "session.finish": _finish,
}


def _object(event: Event, key: str) -> dict[str, Any]:
    value = event.get(key)
    if not isinstance(value, dict):
        raise _NotUnderstoodError(key)
    return value


def _text(event: Event, key: str) -> str:
    value = event.get(key)
    if not isinstance(value, str):
        raise _NotUnderstoodError(key)
    return value
