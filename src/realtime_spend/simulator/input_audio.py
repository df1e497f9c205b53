"""What the user says: the audio buffer, the end of an utterance, and its transcription."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from realtime_spend.simulator import wire
from realtime_spend.simulator.address import sku_of
from realtime_spend.simulator.dice import speech
from realtime_spend.simulator.models import Sku, is_billed_by_duration
from realtime_spend.simulator.options import TranscriptionUsage
from realtime_spend.simulator.prices import DURATION, Quantity
from realtime_spend.simulator.tokens import IMAGE_TOKENS, Tokens, audio_tokens, encoded_size, text_tokens
from realtime_spend.simulator.truth import Kind, Said, SentUsage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realtime_spend.simulator.session import Session

_EVENT = "conversation.item.input_audio_transcription"
_LEAST_COMMIT_MS = 100
_MOST_LATE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcription:
    """A transcription with its usage, ready to be sent."""

    item_id: str
    words: list[str]
    event: dict[str, Any]
    """What `.completed` holds beside the item; of a failed one the `error`."""
    usage: SentUsage | None
    """What is recorded when it is sent; `None` for a failed one."""


class InputAudio:
    """The audio of a session's user."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pending = 0  # bytes; the audio itself is never kept
        self._heard_ms = 0
        self._pictures = 0
        self._transcribed = 0
        self._late: list[Transcription] = []
        self._silence: asyncio.Task[None] | None = None

    async def append(self, audio: str) -> None:
        """Take audio in; enough of it is an utterance, where the server listens for turns."""
        config = self._session.config
        self._pending += encoded_size(audio)
        if self._silence is not None:
            self.listen()
        enough = max(1, math.ceil(self._session.options.utterance_seconds * 1000) * config.bytes_per_ms)
        turns = config.turn_detection
        if turns is None or self._pending < enough:
            return
        self._stop_waiting()
        item_id = self._session.dice.new_id("item")
        await self._session.send("input_audio_buffer.speech_started", audio_start_ms=self._heard_ms, item_id=item_id)
        if turns.get("interrupt_response", True):
            await self._session.responses.interrupt()
        end = self._heard_ms + self._pending // config.bytes_per_ms
        await self._session.send("input_audio_buffer.speech_stopped", audio_end_ms=end, item_id=item_id)
        await self._commit(item_id, self._pending // config.bytes_per_ms)
        answers = turns.get("create_response", True) and not config.is_transcription
        if answers and not self._session.responses.busy:
            await self._session.responses.create({})

    def see(self) -> None:
        """Take a picture in, which becomes a part of what is said next."""
        self._pictures += 1

    async def commit(self, *, event_id: str | None) -> None:
        """Make an item of what is in the buffer."""
        pending_ms = self._pending // self._session.config.bytes_per_ms
        if pending_ms < _LEAST_COMMIT_MS:
            message = f"Error committing input audio buffer: buffer too small. Buffer only has {pending_ms}ms of audio."
            await self._session.send_error(message, code="input_audio_buffer_commit_empty", event_id=event_id)
            return
        await self._commit(self._session.dice.new_id("item"), pending_ms)

    async def clear(self) -> None:
        """Throw away what is in the buffer."""
        self._pending = self._pictures = 0
        await self._session.send("input_audio_buffer.cleared")

    async def send_late(self) -> None:
        """Send the transcriptions that were held back."""
        late, self._late = self._late, []
        for transcription in late:
            await self._send(transcription)

    def forget_late(self) -> int:
        """Give up the transcriptions that were held back, and say how many."""
        late, self._late = self._late, []
        return len(late)

    def listen(self) -> None:
        """Begin to wait for the user; after `idle_timeout_ms` without a sound the model speaks again."""
        self._stop_waiting()
        turns = self._session.config.turn_detection or {}
        wait = turns.get("idle_timeout_ms")
        if isinstance(wait, int) and wait > 0 and turns.get("type") == "server_vad":
            self._silence = self._session.start(self._time_out(wait))

    def _stop_waiting(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    async def _time_out(self, milliseconds: int) -> None:
        await asyncio.sleep(milliseconds / 1000)
        self._silence = None  # what has begun is not stopped by a sound that comes now
        session = self._session
        if session.responses.busy or session.config.is_transcription:
            return
        item_id, start = session.dice.new_id("item"), self._heard_ms
        silent = milliseconds + self._pending // session.config.bytes_per_ms
        place = {"audio_start_ms": start, "audio_end_ms": start + silent, "item_id": item_id}
        await session.send("input_audio_buffer.timeout_triggered", **place)
        await self._commit(item_id, silent)
        await session.responses.create({})

    async def _commit(self, item_id: str, milliseconds: int) -> None:
        session = self._session
        self._pending = 0
        self._heard_ms += milliseconds
        before = session.conversation.last_item_id
        await session.send("input_audio_buffer.committed", previous_item_id=before, item_id=item_id)
        seen, self._pictures = self._pictures * IMAGE_TOKENS, 0
        content = [{"type": "input_audio", "transcript": None}]
        item: dict[str, Any] = {"id": item_id, "object": "realtime.item", "type": "message", "status": "completed"}
        item |= {"role": "user", "content": content}
        session.conversation.add(item_id, Tokens(audio=audio_tokens(milliseconds), image=seen), item)
        await send_item(session, item, before)
        chosen = session.config.transcription
        if chosen is None:
            return
        # The model is the one in force now: a later `session.update` does not change what this item costs.
        transcription = self._transcribe(item_id, milliseconds, chosen)
        if session.options.transcription_late and len(self._late) < _MOST_LATE:
            self._late.append(transcription)
        else:
            await self._send(transcription)

    def _transcribe(self, item_id: str, milliseconds: int, chosen: dict[str, Any]) -> Transcription:
        session, number = self._session, self._transcribed
        self._transcribed += 1
        sku = sku_of(session.address.service, str(chosen["model"]), session.find_deployment)
        wanted = session.options.transcription_usage[number % len(session.options.transcription_usage)]
        if sku is None or wanted is TranscriptionUsage.FAILED:
            return Transcription(item_id=item_id, words=[], event={"error": _failure(sku)}, usage=None)
        if wanted is TranscriptionUsage.BY_MODEL:
            wanted = _usual(sku)
        rng = session.dice.draw("transcription", number)
        words, output = speech(rng, 2, 8), rng.randint(4, 24)
        event: dict[str, Any] = {"transcript": " ".join(words)}
        quantities: Mapping[str, Quantity] = {}
        if wanted is TranscriptionUsage.TOKENS:
            prompt, spoken = text_tokens(str(chosen.get("prompt") or "")), audio_tokens(milliseconds)
            event["usage"] = wire.transcription_tokens(spoken, prompt, output)
            counted = {"audio.input": spoken, "text.input": prompt, "text.output": output}
            quantities = {component: count for component, count in counted.items() if count}
        elif wanted is TranscriptionUsage.DURATION:
            seconds = math.ceil(milliseconds / 1000)
            event["usage"] = wire.transcription_duration(seconds)
            quantities = {DURATION: Decimal(seconds)} if seconds else {}
        elif wanted is TranscriptionUsage.NULL:
            event["usage"] = None
        usage = self._usage(item_id, sku, wanted, quantities)
        return Transcription(item_id=item_id, words=words, event=event, usage=usage)

    def _usage(
        self, item_id: str, sku: Sku, wanted: TranscriptionUsage, quantities: Mapping[str, Quantity]
    ) -> SentUsage:
        silent = wanted in {TranscriptionUsage.MISSING, TranscriptionUsage.NULL}
        return SentUsage(
            session=self._session.id,
            sku=sku,
            kind=Kind.TRANSCRIPTION,
            id=f"{item_id}#0",
            status="completed",
            said=Said.MISSING if silent else Said.REPORTED,
            outcome=wanted,
            quantities=quantities,
        )

    async def _send(self, transcription: Transcription) -> None:
        session = self._session
        place: dict[str, Any] = {"item_id": transcription.item_id, "content_index": 0}
        if transcription.usage is None:
            session.truth.count("transcriptions_failed")
            await session.send(f"{_EVENT}.failed", **place, **transcription.event)
            return
        for word in transcription.words:
            await session.send(f"{_EVENT}.delta", **place, delta=f"{word} ")
        if not await session.send_usage(f"{_EVENT}.completed", transcription.usage, **place, **transcription.event):
            session.truth.count("transcriptions_unsent")


async def send_item(session: Session, item: dict[str, Any], previous_item_id: str | None) -> None:
    """Say that an item came into the conversation, as the session's dialect says it."""
    if session.address.dialect is wire.Dialect.GA:
        await session.send("conversation.item.added", previous_item_id=previous_item_id, item=item)
        await session.send("conversation.item.done", previous_item_id=previous_item_id, item=item)
    else:
        await session.send("conversation.item.created", previous_item_id=previous_item_id, item=item)


def _usual(sku: Sku) -> TranscriptionUsage:
    if not sku.listed:
        return TranscriptionUsage.MISSING  # neither Voice Live nor Qwen says what its transcriptions used
    return TranscriptionUsage.DURATION if is_billed_by_duration(sku.model) else TranscriptionUsage.TOKENS


def _failure(sku: Sku | None) -> dict[str, Any]:
    if sku is None:
        message = "The API deployment for this resource does not exist."
        return {"type": "invalid_request_error", "code": "DeploymentNotFound", "message": message, "param": None}
    message = "Input transcription failed for item."
    return {"type": "transcription_error", "code": "audio_unintelligible", "message": message, "param": None}
