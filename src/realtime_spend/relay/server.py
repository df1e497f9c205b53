"""The relay: lets clients in, opens their upstreams, joins the two, and ends them all in good order."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from realtime_spend.core.endpoints import recognise
from realtime_spend.core.line_items import Provider
from realtime_spend.relay.baggage import baggage_of
from realtime_spend.relay.calling import Call, answered, connected, pass_refusal_on
from realtime_spend.relay.credentials import offered_key
from realtime_spend.relay.endings import Ending
from realtime_spend.relay.entrance import Entrance, say
from realtime_spend.relay.handshake import check_upgrade
from realtime_spend.relay.refusals import RefusedError, answer
from realtime_spend.relay.register import Register
from realtime_spend.relay.session import RelayedSession, SpendingWatcher
from realtime_spend.relay.telling import Telling

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from realtime_spend.core.endpoints import Endpoint, ExtraEndpoint
    from realtime_spend.metering import Metering
    from realtime_spend.relay.doors import Door, HeadReader
    from realtime_spend.relay.handshake import Request
    from realtime_spend.relay.register import Place
    from realtime_spend.relay.settings import RelaySettings, Upstream
    from realtime_spend.relay.tokens import Known, TokenCheck

_SLOWEST_LOOK, _QUICKEST_LOOK = 1.0, 0.05
# The rest of a TLS connection that is closed is waited for so long, instead of half a minute.
_TLS_CLOSING_SECONDS = 5.0
_LAST_SECONDS = 1.0
_NO_PATH = "this is no path of the Realtime API; a client's base URL ends with /v1, or for Azure with /openai/v1"
_NO_VERSION = "the path lacks the version: the client's base URL must end with /v1"
_NO_UPSTREAM = {
    Provider.OPENAI: "this relay goes to Azure only, where paths begin with /openai or /voice-live; see --openai",
    Provider.AZURE: "this is a path of Azure, where this relay does not go: it was begun without --azure",
}
# Other services than OpenAI's own may take both.
_WITHOUT_VERSION, _NEEDS_VERSION = ("/realtime", "/live/"), "api.openai.com"


class Relay:
    """A relay in one process. `tokens` checks who clients are; without it their own keys are passed on."""

    def __init__(
        self,
        settings: RelaySettings,
        metering: Metering,
        *,
        tokens: TokenCheck | None = None,
        endpoints: Sequence[ExtraEndpoint] = (),
        baggage_keys: Sequence[str] = (),
        count: Callable[[str], None] = lambda _kind: None,
        on_session: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._metering, self._tokens = settings, metering, tokens
        self._endpoints, self._baggage_keys = endpoints, baggage_keys
        self._tell, self._on_session = Telling(count), on_session
        self.register = Register(settings.limits)
        self._entrance = Entrance(
            self._admit,
            seconds=settings.limits.handshake,
            most=settings.limits.at_the_door,
            tell=self._tell,
            containment=metering.containment,
        )
        self._server: asyncio.Server | None = None
        self._looking: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._is_stopping = False

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None  # noqa: S101 - asked for once it has started
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, listening: socket.socket | None = None) -> None:
        """Listen, on a socket that is bound already if there is one."""
        loop, settings = asyncio.get_running_loop(), self._settings
        where: dict[str, Any] = (
            {"host": settings.host, "port": settings.port} if listening is None else {"sock": listening}
        )
        if settings.tls is not None:
            where["ssl_handshake_timeout"] = settings.limits.handshake
            where["ssl_shutdown_timeout"] = _TLS_CLOSING_SECONDS
        self._server = await loop.create_server(self._entrance.door, ssl=settings.tls, backlog=1024, **where)
        self._looking = asyncio.create_task(self._look())

    async def drain(self, seconds: float) -> None:
        """Let nobody in any more, wait so long for the sessions to end, then ask those that are left to."""
        self.register.is_draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._emptied()

    async def stop(self) -> None:
        """Ask every session to end, see that it does, and stop listening."""
        self.register.is_draining = self._is_stopping = True
        for session in self.register.sessions:
            session.end(Ending.DRAINED)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.limits.ending + 1):
                await self._emptied()
        if self._looking is not None:
            self._looking.cancel()
        await self._entrance.close()
        for session in self.register.sessions:
            session.cut()
        # Whoever is cut is told so by the loop, in its next turn.
        await asyncio.sleep(0)
        if self._server is not None:
            self._server.close()
            # From Python 3.12 on it waits for every connection, and some client may never read its answer.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    await self._server.wait_closed()

    async def _emptied(self) -> None:
        while len(self.register):
            self._empty.clear()
            await self._empty.wait()

    async def _look(self) -> None:
        limits = self._settings.limits
        shortest = min(limit for limit in (limits.idle, limits.unread, 10.0) if limit is not None)
        pause = max(_QUICKEST_LOOK, min(_SLOWEST_LOOK, shortest / 10))
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(pause)
            now = loop.time()
            for session in self.register.sessions:
                session.look(now)

    # --- A client comes in --------------------------------------------------------------------------------------------

    async def _admit(self, door: Door, request: Request) -> bool:
        """Answer a request, or join it with its upstream and return True."""
        if request.method == b"GET" and request.path in {"/healthz", "/readyz"}:
            say(door, self._health(request.path))
            return False
        upstream, endpoint = self._upstream_of(request)
        check_upgrade(request)
        known = None if self._tokens is None else await self._tokens.known(offered_key(request))
        place = self.register.enter(_subject_of(request, known))
        joined = False
        try:
            call = Call(request=request, upstream=upstream, endpoint=endpoint, known=known)
            joined = await self._relay(door, call, place)
        finally:
            if not joined:
                self._leave(place)
        return joined

    def _health(self, path: str) -> bytes:
        status = "ok" if path == "/healthz" else self._readiness()
        said: dict[str, object] = {"status": status, "sessions": len(self.register)}
        return answer(HTTPStatus.OK if status == "ok" else HTTPStatus.SERVICE_UNAVAILABLE, said)

    def _readiness(self) -> str:
        if self.register.is_draining:
            return "draining"
        # Whoever is let in all the same is served: without it in the ledger rather than not at all.
        return "ok" if self._metering.can_write() else "ledger_unwritable"

    def _upstream_of(self, request: Request) -> tuple[Upstream, Endpoint]:
        """Return where a request goes: the path says whose protocol it is, as a client for that provider writes it."""
        found = recognise("", None, request.path, request.query, self._endpoints)
        if found is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "unknown_path", _NO_PATH)
        upstream = self._settings.upstreams.get(found.provider)
        if upstream is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "unknown_path", _NO_UPSTREAM[found.provider])
        if upstream.host.endswith(_NEEDS_VERSION) and request.path.startswith(_WITHOUT_VERSION):
            raise RefusedError(HTTPStatus.NOT_FOUND, "unknown_path", _NO_VERSION)
        extra = self._endpoints
        path = upstream.prefix + request.path
        endpoint = recognise(upstream.host, upstream.port, path, request.query, extra, any_path=True)
        assert endpoint is not None  # noqa: S101 - any path was asked for
        return upstream, endpoint

    # --- Its upstream -------------------------------------------------------------------------------------------------

    async def _relay(self, door: Door, call: Call, place: Place) -> bool:
        """Ask the upstream, and join the two if it takes the session; return whether they are joined."""
        settings = self._settings
        reader = await connected(call.upstream, settings.upstream_tls, settings.limits.handshake)
        joined = False
        try:
            head, status = await answered(reader, call, settings.limits.handshake)
            if status != HTTPStatus.SWITCHING_PROTOCOLS:
                self._tell("upstream_refused", f"{call.upstream.host} refused a session with {status}")
                await pass_refusal_on(door, reader, call, head, status)
            elif not door.is_gone:
                door.transport.write(call.told(head))
                self._join(door, reader, call, place)
                joined = True
        finally:
            if not joined:
                reader.transport.abort()
        return joined

    def _join(self, door: Door, reader: HeadReader, call: Call, place: Place) -> None:
        # What a client says of itself holds only where it pays for itself.
        known = call.known
        attributes = baggage_of(call.request, self._baggage_keys) if known is None else known.attributes
        self._on_session()
        place.session = RelayedSession(
            door.transport,
            reader.transport,
            watcher=SpendingWatcher(self._metering, call.endpoint, attributes),
            limits=self._settings.limits,
            tell=self._tell,
            on_end=lambda: self._leave(place),
        )
        place.session.begin(door, reader)
        if self._is_stopping:
            # It was late: the others have been told.
            place.session.end(Ending.DRAINED)

    def _leave(self, place: Place) -> None:
        place.leave()
        if not len(self.register):
            self._empty.set()


def _subject_of(request: Request, known: Known | None) -> str | None:
    """Return whose session it is, for the limits: the subject of the token, else the key, by a digest of it."""
    if known is not None:
        return known.subject
    key = offered_key(request)
    return None if key is None else hashlib.sha256(key.encode()).hexdigest()
