"""The server: connections in, sessions made of them, and the truth over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from aiohttp import WSMsgType, web

from realtime_spend.simulator.address import (
    AZURE_GA_PATH,
    AZURE_PREVIEW_PATH,
    OPENAI_PATH,
    QWEN_PATH,
    VOICE_AGENT_PATH,
    VOICE_LIVE_PATH,
    Address,
    RefusedError,
    identify,
    read_address,
)
from realtime_spend.simulator.calls import Calls, accepted_call, answer_of, offered_call
from realtime_spend.simulator.client_events import receive
from realtime_spend.simulator.dice import Dice
from realtime_spend.simulator.live import LiveSessions
from realtime_spend.simulator.models import Deployment, family_and_version
from realtime_spend.simulator.options import SessionOptions, SimulatorOptions
from realtime_spend.simulator.query import session_options
from realtime_spend.simulator.ringing import announce
from realtime_spend.simulator.session import Session
from realtime_spend.simulator.socket import Socket
from realtime_spend.simulator.translation import Translations
from realtime_spend.simulator.truth import Truth

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_CLOSE_TIMEOUT_SECONDS = 1.0
_LARGEST_FRAME = 16 * 1024 * 1024


class CannotListenError(OSError):
    """The address cannot be listened on: it is taken, or not this machine's."""


class Simulator:
    """A Realtime service on this machine: OpenAI and Azure, Voice Live and Qwen, WebSocket and sideband.

    Start it with `async with Simulator(options) as simulator:`, point a client at `simulator.url` and compare what
    the client saw with `simulator.truth`.
    """

    def __init__(self, options: SimulatorOptions | None = None) -> None:
        self.options = options or SimulatorOptions()
        self.truth = Truth(limit=self.options.truth_limit)
        self._sessions: dict[str, Session] = {}
        self._calls = Calls(self.options.seed)
        self._live = LiveSessions(self.truth, self._next_dice)
        self._opened = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._runner: web.AppRunner | None = None
        self._port: int | None = None
        self._stopping = False

    @property
    def port(self) -> int:
        """The port it listens on; asking before `start` is an error."""
        if self._port is None:
            raise RuntimeError("the simulator is not started")
        return self._port

    @property
    def url(self) -> str:
        """The address it listens on, `http://127.0.0.1:49152`."""
        host = self.options.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def start(self) -> None:
        """Listen. A simulator is started once."""
        if self._runner is not None:
            raise RuntimeError("the simulator is started already")
        app = web.Application()
        below_agent = f"{VOICE_AGENT_PATH}/{{rest:.*}}"
        for path in (OPENAI_PATH, AZURE_PREVIEW_PATH, AZURE_GA_PATH, VOICE_LIVE_PATH, below_agent, QWEN_PATH):
            app.router.add_get(path, self._realtime)
        for path in (OPENAI_PATH, AZURE_GA_PATH):
            app.router.add_post(f"{path}/calls", self._offer)
            app.router.add_post(f"{path}/calls/{{call_id}}/accept", self._accept)
            app.router.add_post(f"{path}/calls/{{call_id}}/hangup", self._hang_up)
        self._live.add_routes(app)
        Translations(self.truth, self._next_dice).add_routes(app)
        app.router.add_get("/truth", self._show_truth)
        app.router.add_get("/truth/totals", self._show_totals)
        app.router.add_get("/healthz", self._show_health)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSE_TIMEOUT_SECONDS)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.options.host, self.options.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise CannotListenError(error.errno, error.strerror) from error
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close every session and stop listening; the truth stays. Stopping twice does nothing."""
        self._stopping = True
        if self._runner is not None:
            await self._live.stop()
            await asyncio.gather(*(session.stop() for session in tuple(self._sessions.values())))
            # What is still open after this is cut by the cleanup.
            with contextlib.suppress(TimeoutError):
                await self.wait_idle(_CLOSE_TIMEOUT_SECONDS)
            await self._runner.cleanup()

    async def wait_idle(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - one number is all a caller needs
        """Wait until every session has ended, so that the truth is complete.

        Raises:
            TimeoutError: some session is still open after that many seconds.
        """
        async with asyncio.timeout(timeout):
            await self._idle.wait()

    async def ring(self, webhook: str, *, secret: str, headers: Mapping[str, str] | None = None) -> str:
        """Let a telephone ring: tell `webhook` of it, signed with `secret`, and return the id of the call.

        `headers` are those of its SIP INVITE. Nobody can attach to the call until it is accepted.
        """
        call_id = self._calls.ring()
        await announce(webhook, call_id, secret=secret, headers=headers or {})
        return call_id

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _realtime(self, request: web.Request) -> web.StreamResponse:
        try:
            address = read_address(request.path, request.query, request.headers.get("OpenAI-Beta", ""))
            call = self._calls.find(address.call_id)
            options = session_options(call.options if call else self.options.session, request.query)
            _require_upgrade(request)
            session, sideband = self._session_of(address, options)
        except RefusedError as refused:
            return _refusal(refused.status, refused.code, refused.message)
        except ValueError as error:
            return _refusal(400, "invalid_simulator_option", str(error))
        web_socket = web.WebSocketResponse(
            compress=options.deflate,
            timeout=_CLOSE_TIMEOUT_SECONDS,
            max_msg_size=_LARGEST_FRAME,
            protocols=("realtime",),
        )
        is_filtered = request.query.get("webrtcfilter") == "on"
        socket = Socket(web_socket, request.transport, options, sideband=sideband, is_filtered=is_filtered)
        session.attach(socket)
        try:
            await web_socket.prepare(request)
            await session.greet(socket)
            async for message in web_socket:
                # A sideband that nobody told of the end may speak on, and is not answered.
                if message.type in {WSMsgType.TEXT, WSMsgType.BINARY} and not session.ended:
                    await receive(session, message.data)
        except ConnectionError:
            pass  # the peer went while it was being answered; leaving says the rest
        finally:
            await self._leave(session, socket)
        return web_socket

    def _session_of(self, address: Address, options: SessionOptions) -> tuple[Session, bool]:
        sideband = address.call_id is not None
        if sideband and (known := self._find_call(address.call_id)):
            return known, True
        if sideband and self._calls.is_absent(address.call_id):
            raise RefusedError(404, "call_not_found", "There is no such call.")
        if not sideband and self._calls.find(options.call_id):
            # The browser or the telephone of a call that was set up over HTTP.
            if known := self._find_call(options.call_id):
                return known, False
            address = replace(address, call_id=options.call_id, requested=None)
        if self._stopping:
            raise RefusedError(503, "shutting_down", "The simulator is stopping.")
        if len(self._sessions) >= self.options.max_sessions:
            raise RefusedError(429, "too_many_sessions", "Too many sessions are open.")
        call = self._calls.find(address.call_id)
        if call is not None and call.config.get("type") == "transcription":
            address = replace(address, is_transcription=True)
        requested = None if address.is_transcription else address.requested or (call and call.model) or options.model
        identity = identify(address, requested, self._find_deployment) if requested else None
        session = Session(
            address=address,
            identity=identity,
            options=options,
            dice=Dice(self.options.seed, self._opened, like=options.number),
            truth=self.truth,
            find_deployment=self._find_deployment,
        )
        if call is not None:
            session.config.merge(call.config)
        self._opened += 1
        self._sessions[session.id] = session
        self._calls.begun(session.call_id)
        self._idle.clear()
        return session, sideband

    async def _offer(self, request: web.Request) -> web.Response:
        try:
            call_id = self._calls.add(await offered_call(request, self.options.session))
        except RefusedError as refused:
            return _refusal(refused.status, refused.code, refused.message)
        except ValueError as error:
            return _refusal(400, "invalid_simulator_option", str(error))
        return answer_of(call_id, request.path)

    async def _accept(self, request: web.Request) -> web.Response:
        try:
            self._calls.add(await accepted_call(request, self.options.session), request.match_info["call_id"])
        except RefusedError as refused:
            return _refusal(refused.status, refused.code, refused.message)
        except ValueError as error:
            return _refusal(400, "invalid_simulator_option", str(error))
        return web.Response()

    async def _hang_up(self, request: web.Request) -> web.Response:
        session = self._find_call(request.match_info["call_id"])
        if session is None:
            return _refusal(404, "call_not_found", "There is no such call.")
        session.close(1000)
        return web.Response()

    def _next_dice(self) -> Dice:
        self._opened += 1
        return Dice(self.options.seed, self._opened - 1)

    def _find_call(self, call_id: str | None) -> Session | None:
        named = (one for one in self._sessions.values() if call_id in {one.id, one.call_id} and not one.ended)
        return next(named, None)

    def _find_deployment(self, name: str) -> Deployment | None:
        found = self.options.deployments.get(name)
        if found is None and self.options.accept_any_deployment:
            model, version = family_and_version(name)
            found = Deployment(model=model, version=version)
        return found

    async def _leave(self, session: Session, socket: Socket) -> None:
        try:
            await session.leave(socket)
        finally:
            if session.ended and self._sessions.pop(session.id, None) is not None:
                self._calls.ended(session.call_id)
            if not self._sessions:
                self._idle.set()

    async def _show_truth(self, _request: web.Request) -> web.Response:
        return web.json_response(self.truth.as_json())

    async def _show_totals(self, _request: web.Request) -> web.Response:
        return web.json_response(self.truth.totals_as_json())

    async def _show_health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "sessions": len(self._sessions)})


def _require_upgrade(request: web.Request) -> None:
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise RefusedError(426, "upgrade_required", "This is a WebSocket endpoint.")


def _refusal(status: int, code: str, message: str) -> web.Response:
    body: dict[str, Any] = {"code": code, "message": message}
    if code != "DeploymentNotFound":  # Azure's gateway says no more than these two
        body = {"message": message, "type": "invalid_request_error", "code": code, "param": None}
    return web.Response(status=status, text=json.dumps({"error": body}), content_type="application/json")
