"""The stream of a response: its item, its deltas, and the events that close them."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from realtime_spend.simulator.wire import NAMES, Dialect

if TYPE_CHECKING:
    import random

    from realtime_spend.simulator.responses import Response
    from realtime_spend.simulator.session import Session

# How many deltas go out before the reader gets a turn, so that a cancel is heard however fast we stream.
_DELTAS_PER_TURN = 8


@dataclass(slots=True, kw_only=True)
class Speech:
    """What a response says."""

    response_id: str
    item_id: str
    words: list[str]
    spoken: bool
    rng: random.Random
    sent: list[str] = field(default_factory=list)
    """The words sent so far."""

    @property
    def said(self) -> str:
        """What was said so far, as text."""
        return "".join(self.sent)

    def item(self, dialect: Dialect, status: str) -> dict[str, Any]:
        """Shape the output item with what was said so far."""
        return {
            "id": self.item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed" if status == "completed" else "incomplete",
            "role": "assistant",
            "content": [self.part(dialect)],
        }

    def part(self, dialect: Dialect) -> dict[str, Any]:
        """Shape the content part with what was said so far."""
        names = NAMES[dialect]
        if self.spoken:
            return {"type": names.audio_part, "transcript": self.said}
        return {"type": names.text_part, "text": self.said}

    def place(self) -> dict[str, Any]:
        """Say which part of which item an event is about."""
        return {"response_id": self.response_id, "item_id": self.item_id, "output_index": 0, "content_index": 0}


async def speak(session: Session, response: Response, *, up_to: int, end: bool) -> int:
    """Stream a response and say how many deltas went out; an interruption or a lost socket ends it early."""
    speech, dialect = response.speech, session.address.dialect
    in_conversation = response.conversation_id is not None
    await _open(session, speech, in_conversation=in_conversation)
    produced = await _stream(session, response, up_to)
    if end:
        whole = produced >= session.options.deltas and not response.interruption
        await _close(session, speech)
        item = speech.item(dialect, "completed" if whole else "incomplete")
        if in_conversation and dialect is Dialect.GA:
            await session.send("conversation.item.done", previous_item_id=None, item=item)
        await session.send("response.output_item.done", response_id=speech.response_id, output_index=0, item=item)
    return produced


async def _open(session: Session, speech: Speech, *, in_conversation: bool) -> None:
    dialect = session.address.dialect
    item = {**speech.item(dialect, "in_progress"), "status": "in_progress", "content": []}
    await session.send("response.output_item.added", response_id=speech.response_id, output_index=0, item=item)
    if in_conversation:
        event = "conversation.item.added" if dialect is Dialect.GA else "conversation.item.created"
        await session.send(event, previous_item_id=session.conversation.last_item_id, item=item)
        # From here on a client may truncate or delete it.
        session.conversation.begin(speech.item_id, speech.item(dialect, "in_progress"))
    part = {"type": "audio", "transcript": ""} if speech.spoken else {"type": "text", "text": ""}
    await session.send("response.content_part.added", **speech.place(), part=part)


async def _stream(session: Session, response: Response, up_to: int) -> int:
    speech, names = response.speech, NAMES[session.address.dialect]
    place, sound = speech.place(), _sound(speech.rng, session.options.delta_bytes)
    started = time.monotonic()
    produced = 0
    for number in range(up_to):
        await _pace(session.options.rate, started, number, response.interrupted)
        if response.interrupted.is_set() or not session.alive:
            break
        # As many deltas as asked for: further ones are silence, or in text the same words again.
        has_word = number < len(speech.words) or not speech.spoken
        word = (" " if speech.sent else "") + speech.words[number % len(speech.words)] if has_word else ""
        if word:
            speech.sent.append(word)
        if speech.spoken:
            if word:
                await session.send(names.transcript_delta, **place, delta=word)
            await session.send(names.audio_delta, **place, delta=sound)
        else:
            await session.send(names.text_delta, **place, delta=word)
        produced += 1
    return produced


async def _close(session: Session, speech: Speech) -> None:
    names, place = NAMES[session.address.dialect], speech.place()
    if speech.spoken:
        await session.send(names.audio_done, **place)
        await session.send(names.transcript_done, **place, transcript=speech.said)
    else:
        await session.send(names.text_done, **place, text=speech.said)
    part = {**speech.part(session.address.dialect), "type": "audio" if speech.spoken else "text"}
    await session.send("response.content_part.done", **place, part=part)


async def _pace(rate: float, started: float, number: int, interrupted: asyncio.Event) -> None:
    wait = started + (number + 1) / rate - time.monotonic() if rate else 0.0
    if wait > 0:
        try:
            async with asyncio.timeout(wait):
                await interrupted.wait()
        except TimeoutError:
            return
    elif number % _DELTAS_PER_TURN == 0:
        await asyncio.sleep(0)


def _sound(rng: random.Random, length: int) -> str:
    return base64.b64encode(rng.randbytes(length)).decode("ascii")[: length - length % 4]
