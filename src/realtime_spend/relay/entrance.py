"""Where clients come in: each is heard, for so long and among so many, answered or let through, and seen out."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING

from realtime_spend.relay.doors import Discarding, Door, HeadError
from realtime_spend.relay.handshake import read_request
from realtime_spend.relay.refusals import RefusedError, refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from realtime_spend.containment import Containment
    from realtime_spend.relay.handshake import Request

# Who has its answer and speaks on is listened to for so long.
_SEEN_OUT_SECONDS = 1.0


class Entrance:
    """Hears what clients want. `admit` answers a request and returns False, or makes a session of it."""

    def __init__(
        self,
        admit: Callable[[Door, Request], Awaitable[bool]],
        *,
        seconds: float,
        most: int,
        tell: Callable[[str, str], None],
        containment: Containment,
    ) -> None:
        self._admit, self._seconds, self._most = admit, seconds, most
        self._tell, self._containment = tell, containment
        self._tasks: set[asyncio.Task[None]] = set()
        # Who has not said its request yet, in the order of their coming.
        self._unheard: dict[Door, None] = {}

    def door(self) -> Door:
        """Return the protocol of one more client."""
        return Door(self._come_in)

    async def close(self) -> None:
        """Hear nobody any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _come_in(self, door: Door) -> None:
        if len(self._unheard) >= self._most:
            # Who means it says its request at once; who has waited longest may only be there to take up room.
            self._tell("crowded_out", "a client that said nothing had to make room for another")
            oldest = next(iter(self._unheard))
            del self._unheard[oldest]
            oldest.transport.abort()
        self._unheard[door] = None
        task = asyncio.create_task(self._serve(door))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, door: Door) -> None:
        joined = False
        try:
            joined = await self._admit(door, read_request(await self._head(door)))
        except RefusedError as refused:
            self._refuse(door, refused)
        except TimeoutError:
            sentence = "the request did not come in time"
            self._refuse(door, RefusedError(HTTPStatus.REQUEST_TIMEOUT, "slow_handshake", sentence))
        except HeadError:
            # Whoever only looks whether somebody listens is gone by now.
            if not door.is_gone:
                sentence = "this is no HTTP request"
                self._refuse(door, RefusedError(HTTPStatus.BAD_REQUEST, "bad_handshake", sentence))
        except Exception:  # noqa: BLE001 - one client's handshake must not end the relay
            self._containment.failed("relaying_a_handshake")
            door.transport.abort()
        finally:
            if not joined:
                await self._see_out(door)

    def _refuse(self, door: Door, refused: RefusedError) -> None:
        cause = f": {refused.cause}" if refused.cause else ""
        self._tell(refused.code, f"a client was refused: {refused.sentence}{cause}")
        say(door, refusal(refused))

    async def _head(self, door: Door) -> bytes:
        try:
            async with asyncio.timeout(self._seconds):
                return await door.head
        finally:
            self._unheard.pop(door, None)

    async def _see_out(self, door: Door) -> None:
        """Close, once the client has had the time to read its answer."""
        try:
            if door.is_gone or door.transport.is_closing():
                return
            rest = Discarding(door.transport)
            door.hand_over(rest)
            door.transport.resume_reading()
            if door.transport.can_write_eof():
                # It may have been reset without our having read of it.
                with contextlib.suppress(OSError):
                    door.transport.write_eof()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SEEN_OUT_SECONDS):
                    await rest.over.wait()
        finally:
            door.transport.close()


def say(door: Door, what: bytes) -> None:
    """Answer a client that is still there."""
    if not door.transport.is_closing():
        door.transport.write(what)
