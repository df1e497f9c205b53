"""A session: what its sockets share, from the first event to the last."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from realtime_spend.simulator import wire
from realtime_spend.simulator.input_audio import InputAudio
from realtime_spend.simulator.responses import Responses
from realtime_spend.simulator.session_object import SessionObject
from realtime_spend.simulator.tokens import Conversation
from realtime_spend.simulator.truth import Said, SentUsage

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from realtime_spend.simulator.address import Address, FindDeployment, Identity
    from realtime_spend.simulator.dice import Dice
    from realtime_spend.simulator.models import Sku
    from realtime_spend.simulator.options import SessionOptions
    from realtime_spend.simulator.socket import Socket
    from realtime_spend.simulator.truth import Truth

_LIFETIME_SECONDS = 3600
_GOING_AWAY = 1001
# Codes that only say how a connection ended, without a frame that says so.
_NEVER_SENT = frozenset({1005, 1006, 1015})


class Session:
    """One Realtime session and everything it remembers."""

    def __init__(
        self,
        *,
        address: Address,
        identity: Identity | None,
        options: SessionOptions,
        dice: Dice,
        truth: Truth,
        find_deployment: FindDeployment,
    ) -> None:
        self.address = address
        self.options = options
        self.dice = dice
        self.truth = truth
        self.find_deployment = find_deployment
        self.id = dice.new_id("sess")
        self.call_id = address.call_id or options.call_id or dice.new_id("rtc")
        self.sku = identity.sku if identity else None
        said = identity.said if identity else None
        expires_at = int(time.time()) + _LIFETIME_SECONDS
        self.config = SessionObject(
            session_id=self.id, model=said, service=address.service, dialect=address.dialect, expires_at=expires_at
        )
        self.conversation = Conversation()
        self.responses = Responses(self)
        self.input_audio = InputAudio(self)
        self.unfinished: dict[str, SentUsage] = {}
        """Responses that were created and are not done, as they will be recorded if they never are."""
        self._sockets: list[Socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closers: list[asyncio.Task[None]] = []
        self.ended = False
        self._ended_by = "client"
        self._done = 0
        self._record = truth.session_opened(self.id, self._facts(said))

    def _facts(self, said: str | None) -> dict[str, Any]:
        return {
            "call_id": self.call_id,
            "provider": self.address.provider.value,
            "dialect": self.address.dialect.value,
            "kind": "transcription" if self.config.is_transcription else "realtime",
            "requested_model": self.address.requested,
            "session_model": said,
            "model": self.sku.model if self.sku else None,
            "version": self.sku.version if self.sku else None,
            "scope": self.sku.scope.value if self.sku else None,
        }

    def rename(self, model: str, sku: Sku) -> None:
        """Say from now on that the session has this model, and bill it so."""
        self.sku = sku
        self.config.rename(model)
        self._record.facts = self._facts(model)

    @property
    def alive(self) -> bool:
        """Whether anybody is listening."""
        return any(socket.alive for socket in self._sockets)

    def attach(self, socket: Socket) -> None:
        """Take a socket in."""
        self._sockets.append(socket)

    async def greet(self, socket: Socket) -> None:
        """Say `session.created` to the client's own socket; a sideband hears nothing until it speaks."""
        created = self._session_event("created")
        if not socket.sideband and socket.takes(created):
            await socket.send(self._frame(created, {"session": self.config.as_json()}))

    async def leave(self, socket: Socket) -> None:
        """Let a socket go; the session ends with the client's own, or with the last one where there is no such."""
        self._sockets.remove(socket)
        if not self.ended and not (socket.sideband and self._sockets):
            self.ended = True
            await self._end()

    async def send_session(self, what: str) -> None:
        """Send `session.created` or `session.updated`, under the name its kind of session has for it."""
        await self.send(self._session_event(what), session=self.config.as_json())

    def _session_event(self, what: str) -> str:
        old_transcription = self.config.is_transcription and self.address.dialect is wire.Dialect.BETA
        return f"{'transcription_session' if old_transcription else 'session'}.{what}"

    async def send(self, type_: str, /, **fields: Any) -> None:
        """Send an event to everybody who is to get it."""
        await self._write(type_, self._frame(type_, fields))

    async def send_usage(self, type_: str, usage: SentUsage, /, **fields: Any) -> bool:
        """Send an event that ends a response or a transcription, and record what it says in that same moment.

        Returns whether anybody was there to get it.
        """
        if not self.alive:
            return False
        is_told = any(socket.alive and socket.takes(type_) for socket in self._sockets)
        self.truth.sent(usage if is_told else replace(usage, said=Said.HIDDEN))
        frame = self._frame(type_, fields)
        await self._write(type_, frame)
        if self.options.repeat:
            self.truth.count("repeats")
            await self._write(type_, frame)
        return True

    async def send_error(
        self, message: str, *, code: str | None = None, param: str | None = None, event_id: str | None = None
    ) -> None:
        """Tell the client that it made a mistake."""
        await self.send("error", error=wire.error(message, code=code, param=param, event_id=event_id))

    async def response_done(self) -> None:
        """Do what waits for the end of a response: late transcriptions, and closing after so many."""
        self._done += 1
        await self.input_audio.send_late()
        if self._done != self.options.close_after:
            return
        if self.options.close_code in _NEVER_SENT:
            self.drop()
        else:
            self._ended_by = "server"
            self.close(self.options.close_code)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside the reading of client events, until the session ends at the latest."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self, code: int) -> None:
        """Close all sockets with a code, in the background: closing waits for the reader, which may be our caller."""
        loop = asyncio.get_running_loop()
        self._closers += [loop.create_task(socket.close(code)) for socket in self._sockets]

    def drop(self) -> None:
        """Cut all connections without a word."""
        self._ended_by = "dropped"
        for socket in self._sockets:
            socket.abort()

    async def stop(self) -> None:
        """Close because the server stops, and cut what does not close by itself."""
        self._ended_by = "shutdown"
        self.close(_GOING_AWAY)
        await asyncio.gather(*self._closers, return_exceptions=True)
        for socket in self._sockets:
            socket.abort()

    async def _end(self) -> None:
        if not self.options.silent_end:
            self.close(1000)  # sidebands of a call that is over
        await asyncio.gather(*self._closers, return_exceptions=True)
        for task in tuple(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for usage in self.unfinished.values():
            self.truth.sent(replace(usage, said=Said.LOST))
        self.unfinished.clear()
        self.truth.count("transcriptions_unsent", self.input_audio.forget_late())
        self.truth.session_closed(self._record, self._ended_by)

    def _frame(self, type_: str, fields: dict[str, Any]) -> str:
        event = {"type": type_, "event_id": self.dice.new_id("event"), **fields}
        return wire.frame(event, self.options.key_order, spaced=self.options.spaced)

    async def _write(self, type_: str, frame: str) -> None:
        for socket in tuple(self._sockets):
            if socket.takes(type_):
                await socket.send(frame)
