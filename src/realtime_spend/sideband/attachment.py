"""One call that is listened to, over as many sockets as it takes, from the first until the call is over."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from opentelemetry.instrumentation.utils import suppress_instrumentation

from realtime_spend.observing import RUNNING
from realtime_spend.sideband.question import Question, ends_session
from realtime_spend.sideband.resuming import ORIGIN, resume
from realtime_spend.sideband.service import begins_live

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_spend.metering import Metering
    from realtime_spend.sideband.service import Service
    from realtime_spend.watcher import Watcher

_log = logging.getLogger(__name__)
_OVER = frozenset({1000})
# The service does not know the call: it is not accepted yet, or over.
_UNKNOWN = frozenset({400, 404, 410})
_FORBIDDEN = frozenset({401, 403})
# A socket that lived as long was none that is thrown out at once.
_SETTLED_SECONDS = 10.0
_LARGEST_MESSAGE = 64 * 1024 * 1024
_CLOSING_SECONDS = 5.0
_HEARTBEAT_SECONDS = 20.0
_CONNECTING_SECONDS = 20.0
# An old socket may have been silent for long, and on its last word there is little to wait for.
_LAST_WORD_SECONDS = 0.5
_HEARING_OUT_SECONDS = 2.0
# For reading the ledger: a disk that hangs must not keep a call from being listened to.
_RESUMING_SECONDS = 10.0
_MESSAGES = frozenset({aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY})


class _Left(Enum):
    """Why one socket is listened to no more."""

    OVER = auto()
    DROPPED = auto()
    SILENT = auto()


class End(StrEnum):
    """How it ended."""

    CLOSED = "closed"  # the service closed the socket in good order
    GONE = "gone"  # the service does not know the call any more
    NOT_FOUND = "not_found"  # it never knew it
    REFUSED = "refused"  # it lets nobody listen with this key
    UNREACHABLE = "unreachable"
    TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what, in seconds."""

    call: float = 15.0
    """For a call that the service does not know yet."""
    service: float = 120.0
    """For a service that cannot be reached, or drops each socket at once."""
    silence: float = 120.0
    """For a word on a socket: then the service is asked whether there is a call still, for it may not tell its end."""
    whole: float = 2 * 3600.0
    """For the end of the call; no service holds one longer than an hour."""
    least: float = 0.25
    """Between two tries at first; each further time is twice as long."""
    most: float = 10.0


class Attachment:
    """Listens to one call and meters it. `model` is what its usage is of as long as the service has not said it.

    With `asks` False nothing at all is said on the socket, and the model is known only once somebody else changes the
    session. `is_live`: whether it is a session of GPT-Live; None is as its id begins. `is_webrtc`: a browser holds it,
    so that such a session is charged for as it is set up. `tell` is told what happens, for people to read.
    """

    def __init__(
        self,
        call: str,
        service: Service,
        *,
        model: str | None = None,
        asks: bool = True,
        is_live: bool | None = None,
        is_webrtc: bool = False,
        patience: Patience | None = None,
        tell: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        self.call, self._tell = call, tell
        self._is_live = begins_live(call) if is_live is None else is_live
        self._url, self._headers = service.url(call, is_live=self._is_live), service.headers
        self._model = model
        self._patience = patience or Patience()
        self._asks = self._is_due = asks
        self._is_webrtc = is_webrtc
        self._host, self._has_warned = urlsplit(self._url).hostname, False
        self._wait = self._patience.least
        self.sockets = 0
        """How many there were until now."""

    async def follow(self) -> End:
        """Listen until the call is over, and say how that was known.

        Raises:
            RuntimeError: nothing is instrumented, so that there is nobody to count.
        """
        running = RUNNING[-1:]
        if not running:
            raise RuntimeError("nothing is instrumented; call RealtimeInstrumentor().instrument() before")
        observing = running[0]
        watcher = observing.watch(self._url, origin=ORIGIN, model=self._model, is_webrtc=self._is_webrtc)
        try:
            async with asyncio.timeout(self._patience.whole):
                return await self._follow(watcher, observing.metering)
        except TimeoutError:
            return End.TOO_LONG
        finally:
            # Not with each socket: what is begun on one may be done on the next.
            watcher.closed()

    async def _follow(self, watcher: Watcher, metering: Metering) -> End:
        async with aiohttp.ClientSession() as http:
            socket = await self._connected(http)
            if not isinstance(socket, End):
                # Only now: what is said meanwhile waits on the socket.
                await _resumed(watcher, metering)
            while not isinstance(socket, End):
                watcher.opened()
                try:
                    left = await self._listen(socket, watcher)
                    # The next one first, so that nothing is missed where the old one lives.
                    following = End.CLOSED if left is _Left.OVER else await self._connected(http, left)
                    if left is _Left.SILENT:
                        await _hear_out(socket, watcher)
                finally:
                    with suppress(aiohttp.ClientError, OSError, TimeoutError):
                        async with asyncio.timeout(_CLOSING_SECONDS):
                            await socket.close()
                socket = following
            return socket

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse, watcher: Watcher) -> _Left:
        """Take what comes, until nothing does; return why."""
        since, has_ended = time.monotonic(), False
        question = Question(is_live=self._is_live) if self._is_due else None
        if question is not None and not await _say(socket, question.next()):
            return _Left.DROPPED
        while True:
            try:
                message = await socket.receive(timeout=self._patience.silence)
            except TimeoutError:
                # Nothing was missed on this one, so that there is nothing to ask on the next.
                self._is_due = False
                return _Left.SILENT
            if message.type not in _MESSAGES:
                _log.debug("the sideband to %s ended with the code %s", self.call, socket.close_code)
                self._is_due = self._asks
                if time.monotonic() - since > _SETTLED_SECONDS:
                    self._wait = self._patience.least
                return _Left.OVER if has_ended or socket.close_code in _OVER else _Left.DROPPED
            watcher.frame(message.data)
            # GPT-Live tells its end, and may then leave without a word more.
            has_ended = has_ended or (self._is_live and ends_session(message.data))
            if question is not None and question.is_refused_by(message.data):
                await _say(socket, question.next())

    async def _connected(
        self, http: aiohttp.ClientSession, left: _Left | None = None
    ) -> aiohttp.ClientWebSocketResponse | End:
        """Return a new socket, or how it ended."""
        since = time.monotonic()
        waits = left is _Left.DROPPED
        if waits:
            self._tell("the socket beside it dropped; another one is opened")
        while True:
            if waits:
                await self._pause()
            waits = True
            socket, status = await self._tried(http)
            if socket is not None:
                self.sockets += 1
                if left is not _Left.SILENT:
                    self._tell("listened to" if self.sockets == 1 else "listened to again")
                return socket
            if status in _FORBIDDEN:
                return End.REFUSED
            if status in _UNKNOWN and self.sockets:
                return End.GONE
            patience = self._patience.call if status in _UNKNOWN else self._patience.service
            self._warn(status, patience)
            if time.monotonic() - since + self._wait > patience:
                return End.NOT_FOUND if status in _UNKNOWN else End.UNREACHABLE

    def _warn(self, status: int | None, patience: float) -> None:
        """Say once why nothing happens: whoever has just started it would wait for long without a word."""
        if self._has_warned or self.sockets or status in _UNKNOWN:
            return
        self._has_warned = True
        why = "cannot be reached" if status is None else f"answers with {status}"
        _log.warning("%s %s; it is tried again for %.0f seconds", self._host, why, patience)

    async def _pause(self) -> None:
        """Wait longer each time: a service that lets everybody in and throws everybody out is not to be run against."""
        await asyncio.sleep(self._wait)
        self._wait = min(2 * self._wait, self._patience.most)

    async def _tried(self, http: aiohttp.ClientSession) -> tuple[aiohttp.ClientWebSocketResponse | None, int | None]:
        """Try to open a socket; else say with which status it was refused, None where nobody answered."""
        # The hooks of this process are not to count what is counted here.
        try:
            with suppress_instrumentation():
                async with asyncio.timeout(_CONNECTING_SECONDS):
                    socket = await http.ws_connect(
                        self._url,
                        headers=self._headers,
                        heartbeat=_HEARTBEAT_SECONDS,
                        max_msg_size=_LARGEST_MESSAGE,
                        timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSING_SECONDS),
                    )
        except aiohttp.WSServerHandshakeError as error:
            _log.debug("no sideband to %s: the service answers with %s", self.call, error.status)
            return None, error.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            _log.debug("no sideband to %s: %s", self.call, type(error).__name__)
            return None, None
        return socket, None


async def _resumed(watcher: Watcher, metering: Metering) -> None:
    """Go on from what an earlier process has counted, where it can be known in time."""
    endpoint, ledger = watcher.endpoint, metering.ledger
    if ledger is None or endpoint.session is None:
        return
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(_RESUMING_SECONDS):
                await asyncio.to_thread(resume, endpoint, ledger, metering.sessions)
    except Exception:  # noqa: BLE001 - whatever is in the ledger, the call is to be listened to
        metering.containment.failed("resuming_a_session")


async def _hear_out(socket: aiohttp.ClientWebSocketResponse, watcher: Watcher) -> None:
    """Take what came on a socket while the next one was opened: that one was told none of it."""
    until = time.monotonic() + _HEARING_OUT_SECONDS
    with suppress(TimeoutError):
        while time.monotonic() < until:
            message = await socket.receive(timeout=_LAST_WORD_SECONDS)
            if message.type not in _MESSAGES:
                return
            watcher.frame(message.data)


async def _say(socket: aiohttp.ClientWebSocketResponse, text: str | None) -> bool:
    """Say something, if there is something; return whether the socket lives."""
    try:
        if text is not None:
            await socket.send_str(text)
    except (aiohttp.ClientError, OSError):
        return False
    return True
