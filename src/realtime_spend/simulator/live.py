"""GPT-Live: sessions that are billed by the second, with the text models that work for them.

The seconds are those of the audio that comes in, so that a test knows them. A session that a browser sets up by WebRTC
is charged with 15 seconds at once, which its own seconds then use up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from realtime_spend.simulator.models import Provider, Scope, Sku
from realtime_spend.simulator.prices import DURATION, plain
from realtime_spend.simulator.tokens import encoded_size
from realtime_spend.simulator.truth import Kind, Said, SentUsage

if TYPE_CHECKING:
    from realtime_spend.simulator.dice import Dice
    from realtime_spend.simulator.truth import Truth

OPENAI_LIVE_PATH = "/v1/live/sessions"
AZURE_LIVE_PATH = "/openai/v1/live/sessions"
_BYTES_A_SECOND = 48_000
_WEBRTC_START = Decimal(15)
_DELEGATED = {"responses": "gpt-5.4-mini", "decisions": "gpt-5.4-nano"}
_GOING_AWAY = 1001


class LiveSession:
    """One session; a browser's is there before its socket."""

    def __init__(self, *, provider: Provider, truth: Truth, dice: Dice, is_webrtc: bool) -> None:
        self._truth, self._dice = truth, dice
        self.id = dice.new_id("live")
        self._provider, self._is_webrtc = provider, is_webrtc
        self.config: dict[str, Any] = {"id": self.id, "model": "gpt-live-1"}
        self._bytes = 0
        self.ended = False
        self._sockets: list[web.WebSocketResponse] = []
        facts = {"provider": provider.value, "kind": "live", "call_id": self.id}
        self._record = truth.session_opened(self.id, facts)

    @property
    def seconds(self) -> Decimal:
        """How long it has listened."""
        return Decimal(self._bytes) / _BYTES_A_SECOND

    async def hold(self, socket: web.WebSocketResponse, *, sideband: bool) -> None:
        """Serve one socket until it closes; with the session's own one it ends."""
        self._sockets.append(socket)
        if self._is_webrtc and not sideband:
            await self._tell("session.started", session=self.config)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._receive(json.loads(message.data), sideband=sideband)
        finally:
            self._sockets.remove(socket)
            if not sideband:
                # Without `session.closed`: nobody was told the end.
                await self.end("dropped")

    async def end(self, ended_by: str, code: int = 1000, *, tells: bool = False) -> None:
        """End it, and record what is billed for it before anybody is told."""
        if self.ended:
            return
        self.ended = True
        billed = max(self.seconds, _WEBRTC_START if self._is_webrtc else Decimal(0))
        self._truth.sent(self._usage(Kind.LIVE, self.id, str(self.config["model"]), {DURATION: billed}))
        self._truth.session_closed(self._record, ended_by)
        if tells:
            total = {"seconds": float(self.seconds)}
            await self._tell("session.closed", reason="close_requested", session=self.config, usage=total)
        for socket in tuple(self._sockets):
            with contextlib.suppress(ConnectionError):
                await socket.close(code=code)

    async def _receive(self, event: dict[str, Any], *, sideband: bool) -> None:
        kind = event.get("type")
        if kind in {"session.start", "session.update"}:
            self.config.update({key: value for key, value in event["session"].items() if key != "id"})
            await self._tell("session.started" if kind == "session.start" else "session.updated", session=self.config)
        elif kind == "session.input_audio.append" and not sideband:
            await self._hear(event["audio"])
        elif kind == "session.close":
            await self.end("client", tells=True)

    async def _hear(self, audio: str) -> None:
        self._bytes += encoded_size(audio)
        await self._tell("session.output_audio.delta", delta="A" * 400)
        if delegated := (self.config.get("delegation") or {}).get("type"):
            await self._delegate(delegated)
        total = {"seconds": float(self.seconds)}
        await self._tell("session.usage.updated", usage=total, context_window={"usage_ratio": 0.1})

    async def _delegate(self, kind: str) -> None:
        """Let a text model work, and say what it used in the words that its own API has for that."""
        rng = self._dice.draw("delegated", self._bytes)
        into, cached, out = rng.randint(900, 2000), rng.choice((0, 512, 768)), rng.randint(20, 90)
        told = {
            "input_tokens": into,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": out,
            "output_tokens_details": {"reasoning_tokens": out // 3},
            "total_tokens": into + out,
        }
        done = {"id": self._dice.new_id("resp"), "model": _DELEGATED[kind], "usage": told, "status": "completed"}
        if kind == "decisions":
            inner: dict[str, Any] = {"type": "decision.completed", "decision": done}
            await self._tell("decision.event", event=inner, delegation_id=None)
        else:
            begun = {**done, "usage": None, "status": "in_progress"}
            inners: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
            inners += [{"type": "response.output_text.delta"}, {"type": "response.completed", "response": done}]
            for one in inners:
                await self._tell("response.event", event=one, delegation_id="dlg_1")
        quantities = {"text.input": into - cached, "text.cached_input": cached, "text.output": out}
        used = {part: many for part, many in quantities.items() if many}
        self._truth.sent(self._usage(Kind.RESPONSE, str(done["id"]), _DELEGATED[kind], used))

    def _usage(self, kind: Kind, id_: str, model: str, quantities: dict[str, Any]) -> SentUsage:
        said = Said.REPORTED if any(quantities.values()) else Said.MISSING
        sku = Sku(provider=self._provider, model=model, version=None, scope=Scope.GLOBAL)
        return SentUsage(
            session=self.id,
            sku=sku,
            kind=kind,
            id=id_,
            status="completed",
            said=said,
            outcome=plain(self.seconds),
            quantities={part: many for part, many in quantities.items() if many},
        )

    async def _tell(self, type_: str, **fields: Any) -> None:
        event = json.dumps({"type": type_, "event_id": self._dice.new_id("event"), **fields}, separators=(",", ":"))
        for socket in tuple(self._sockets):
            with contextlib.suppress(ConnectionError):
                await socket.send_str(event)


class LiveSessions:
    """The Live sessions of a server, and what is asked for by HTTP."""

    def __init__(self, truth: Truth, draw: Any) -> None:
        self._truth, self._draw = truth, draw
        self._sessions: dict[str, LiveSession] = {}

    def add_routes(self, app: web.Application) -> None:
        """Answer at the paths of OpenAI and of Azure."""
        for path in (OPENAI_LIVE_PATH, AZURE_LIVE_PATH):
            app.router.add_get(path, self._start)
            app.router.add_post(path, self._offer)
            app.router.add_get(f"{path}/{{id}}/attach", self._attach)
            app.router.add_post(f"{path}/{{id}}/hangup", self._hang_up)

    async def stop(self) -> None:
        """End all of them."""
        await asyncio.gather(*(session.end("shutdown", _GOING_AWAY) for session in tuple(self._sessions.values())))

    def _new(self, request: web.Request, *, is_webrtc: bool) -> LiveSession:
        provider = Provider.AZURE if request.path.startswith(AZURE_LIVE_PATH) else Provider.OPENAI
        session = LiveSession(provider=provider, truth=self._truth, dice=self._draw(), is_webrtc=is_webrtc)
        self._sessions[session.id] = session
        return session

    async def _offer(self, request: web.Request) -> web.Response:
        session = self._new(request, is_webrtc=True)
        said = await request.json()
        session.config.update(said.get("session") or {})
        answer = {"session": {"id": session.id}, "transport": {"type": "webrtc", "sdp": "v=0\r\n"}}
        return web.json_response(answer, status=201)

    async def _start(self, request: web.Request) -> web.WebSocketResponse:
        """Serve a session's own socket; `sim_session` is the data channel of one that was set up by WebRTC."""
        session = self._sessions.get(request.query.get("sim_session", "")) or self._new(request, is_webrtc=False)
        return await self._hold(request, session, sideband=False)

    async def _attach(self, request: web.Request) -> web.WebSocketResponse:
        return await self._hold(request, self._find(request), sideband=True)

    async def _hang_up(self, request: web.Request) -> web.Response:
        await self._find(request).end("hangup")
        return web.Response()

    def _find(self, request: web.Request) -> LiveSession:
        session = self._sessions.get(request.match_info["id"])
        if session is None or session.ended:
            raise web.HTTPNotFound
        return session

    async def _hold(self, request: web.Request, session: LiveSession, *, sideband: bool) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await session.hold(socket, sideband=sideband)
        return socket
