"""The responses of a session: when one starts, and how it ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from realtime_spend.simulator import wire
from realtime_spend.simulator.context import Context, NotHeardError
from realtime_spend.simulator.dice import speech
from realtime_spend.simulator.models import Service, Sku, reasons
from realtime_spend.simulator.options import Outcome, SessionOptions
from realtime_spend.simulator.speaking import Speech, speak
from realtime_spend.simulator.tokens import ResponseTokens, Tokens
from realtime_spend.simulator.truth import Kind, Said, SentUsage

if TYPE_CHECKING:
    import random

    from realtime_spend.simulator.session import Session

_MOST_OUT_OF_BAND = 8
_PATIENCE_SECONDS = 5.0


@dataclass(slots=True, kw_only=True)
class Response:
    """A response on its way."""

    id: str
    outcome: Outcome
    tokens: ResponseTokens
    shape: dict[str, Any]
    speech: Speech
    conversation_id: str | None
    interruption: str | None = None
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def interrupt(self, reason: str) -> None:
        """Make it end as cancelled, for this reason."""
        self.interruption = self.interruption or reason
        self.interrupted.set()


class Responses:
    """What a session answers."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._conversation_id = session.dice.new_id("conv")
        self._active: Response | None = None
        self._out_of_band: dict[str, Response] = {}
        self._created = 0
        self.context = Context(session)
        self._left = 200_000

    @property
    def busy(self) -> bool:
        """Whether a response of the conversation is being given."""
        return self._active is not None

    async def create(self, request: dict[str, Any], *, event_id: str | None = None) -> None:
        """Begin a response, unless one of the conversation is still being given."""
        out_of_band = request.get("conversation") == "none"
        full = len(self._out_of_band) >= _MOST_OUT_OF_BAND if out_of_band else self.busy
        if full or self._session.config.is_transcription or self._session.sku is None:
            code = "conversation_already_has_active_response" if full else "invalid_value"
            message = "Conversation already has an active response." if full else "This session gives no responses."
            await self._session.send_error(message, code=code, event_id=event_id)
            return
        try:
            heard = self.context.hear(request)
        except NotHeardError as error:
            await self._session.send_error(str(error), code=error.code, event_id=event_id)
            return
        response = self._plan(request, self._session.sku, heard, out_of_band=out_of_band)
        if out_of_band:
            self._out_of_band[response.id] = response
        else:
            self._active = response
        response.task = self._session.start(self._give(response))

    async def cancel(self, response_id: str | None, *, event_id: str | None) -> None:
        """Cancel the active response, or the named one."""
        running = {**self._out_of_band, **({self._active.id: self._active} if self._active else {})}
        response = running.get(response_id) if response_id else self._active
        if response is None:
            message = "Cancellation failed: no active response found"
            await self._session.send_error(message, code="response_cancel_not_active", event_id=event_id)
            return
        response.interrupt("client_cancelled")

    async def interrupt(self) -> None:
        """Stop speaking because the user began to, and wait until the interrupted response is done."""
        if self._active is not None and self._active.task is not None:
            self._active.interrupt("turn_detected")
            await asyncio.wait({self._active.task}, timeout=_PATIENCE_SECONDS)

    def _plan(self, request: dict[str, Any], sku: Sku, heard: Tokens, *, out_of_band: bool) -> Response:
        session, number = self._session, self._created
        self._created += 1
        rng = session.dice.draw("response", number)
        outcome = _choose(session.options, number, rng)
        wanted = request.get("output_modalities") or request.get("modalities") or session.config.modalities
        modalities = [str(one) for one in wanted] if isinstance(wanted, list) else ["audio"]
        spoken = "audio" in modalities
        response_id, item_id = session.dice.new_id("resp"), session.dice.new_id("item")
        words = speech(rng, 4, 12)
        answer = Tokens(text=rng.randint(12, 40), audio=rng.randint(40, 160) if spoken else 0)
        return Response(
            id=response_id,
            outcome=outcome,
            tokens=self._count(heard, sku, outcome, answer, rng, out_of_band=out_of_band),
            shape={**session.config.response_shape(modalities), "metadata": request.get("metadata")},
            speech=Speech(response_id=response_id, item_id=item_id, words=words, spoken=spoken, rng=rng),
            conversation_id=None if out_of_band else self._conversation_id,
        )

    def _count(
        self, heard: Tokens, sku: Sku, outcome: Outcome, answer: Tokens, rng: random.Random, *, out_of_band: bool
    ) -> ResponseTokens:
        cached = self.context.cached(heard, outcome, rng, out_of_band=out_of_band)
        thought = rng.randint(8, 64) if reasons(sku.model) else 0
        answer = replace(answer, text=answer.text + thought)
        return ResponseTokens(input=heard, cached=cached, output=answer, reasoning=thought)

    async def _give(self, response: Response) -> None:
        session = self._session
        session.unfinished[response.id] = self._usage(response, response.tokens, "in_progress", Said.LOST)
        await session.send("response.created", response=_body(response, "in_progress", usage=None))
        produced = 0
        if response.outcome is not Outcome.FAILED:
            # The last words of a response that is never finished would look like its end.
            whole = response.outcome not in {Outcome.NEVER_FINISHED, Outcome.DROPPED}
            produced = await speak(session, response, up_to=_share(response.outcome, session.options.deltas), end=whole)
        self._out_of_band.pop(response.id, None)
        if self._active is response:
            self._active = None
        if response.outcome is Outcome.DROPPED:
            session.drop()
        elif response.outcome is not Outcome.NEVER_FINISHED:
            await self._finish(response, produced)

    async def _finish(self, response: Response, produced: int) -> None:
        session, status, reason = self._session, *_end_of(response)
        used = response.tokens.after(produced, session.options.deltas)
        if response.conversation_id and status != "failed":
            kept = Tokens(text=used.output.text - used.reasoning, audio=used.output.audio)
            session.conversation.finish(response.speech.item_id, kept)
        silent = response.outcome in {Outcome.FAILED, Outcome.USAGE_MISSING}
        numbers = (
            None
            if silent
            else wire.response_usage(used, session.address.dialect, response.outcome, session.address.service)
        )
        body = _body(response, status, usage=numbers)
        body["status_details"] = wire.status_details(status, reason)
        body["output"] = [] if status == "failed" else [response.speech.item(session.address.dialect, status)]
        if response.outcome is Outcome.USAGE_MISSING:
            del body["usage"]
        usage = self._usage(response, used, status, Said.MISSING if silent else Said.REPORTED)
        if not await session.send_usage("response.done", usage, response=body):
            return
        del session.unfinished[response.id]
        if session.address.service is Service.OPENAI:
            self._left = max(0, self._left - used.input.total)
            await session.send("rate_limits.updated", rate_limits=wire.rate_limits(self._left))
        if response.conversation_id:
            session.input_audio.listen()
        await session.response_done()

    def _usage(self, response: Response, used: ResponseTokens, status: str, said: Said) -> SentUsage:
        assert self._session.sku is not None  # noqa: S101 - `create` refuses without
        return SentUsage(
            session=self._session.id,
            sku=self._session.sku,
            kind=Kind.RESPONSE,
            id=response.id,
            status=status,
            said=said,
            outcome=response.outcome,
            quantities=used.quantities() if said is Said.REPORTED else {},
            cached_split=response.outcome not in {Outcome.UNSPLIT_CACHE, Outcome.NO_DETAILS},
        )


def _choose(options: SessionOptions, number: int, rng: random.Random) -> Outcome:
    if options.weights:
        outcomes, weights = zip(*options.weights, strict=True)
        chosen: Outcome = rng.choices(outcomes, weights)[0]
        return chosen
    return options.outcomes[number % len(options.outcomes)]


def _share(outcome: Outcome, deltas: int) -> int:
    if outcome is Outcome.INCOMPLETE:
        return (deltas * 3 + 3) // 4
    stops = {Outcome.CANCELLED, Outcome.NEVER_FINISHED, Outcome.DROPPED}
    return (deltas + 1) // 2 if outcome in stops else deltas


def _end_of(response: Response) -> tuple[str, str | None]:
    if response.outcome is Outcome.FAILED:
        return "failed", None
    if response.interruption:
        return "cancelled", response.interruption
    if response.outcome is Outcome.CANCELLED:
        return "cancelled", "turn_detected"
    if response.outcome is Outcome.INCOMPLETE:
        return "incomplete", "max_output_tokens"
    return "completed", None


def _body(response: Response, status: str, usage: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "object": "realtime.response",
        "id": response.id,
        "status": status,
        "status_details": None,
        "output": [],
        "conversation_id": response.conversation_id,
        **response.shape,
        "usage": usage,
    }
