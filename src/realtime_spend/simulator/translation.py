"""Translation sessions: billed by the minute of the audio that comes in, which no event tells the client."""

from __future__ import annotations

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
    from collections.abc import Callable

    from realtime_spend.simulator.dice import Dice
    from realtime_spend.simulator.truth import Truth

_PATHS = ("/v1/realtime/translations", "/openai/v1/realtime/translations")
_BYTES_A_SECOND = 48_000
_STEP_MS = 200


class Translations:
    """What answers translation clients."""

    def __init__(self, truth: Truth, draw: Callable[[], Dice]) -> None:
        self._truth, self._draw = truth, draw

    def add_routes(self, app: web.Application) -> None:
        """Answer at the paths of OpenAI and of Azure."""
        for path in _PATHS:
            app.router.add_get(path, self._translate)

    async def _translate(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        provider = Provider.AZURE if request.path.startswith("/openai") else Provider.OPENAI
        model = request.query.get("model", "gpt-realtime-translate")
        dice = self._draw()
        session = {"id": dice.new_id("sess"), "type": "translation", "model": model, "audio": {}, "expires_at": 0}
        facts = {"provider": provider.value, "kind": "translation", "call_id": None}
        record, size = self._truth.session_opened(str(session["id"]), facts), 0
        try:
            await _tell(socket, dice, "session.created", session=session)
            async for message in socket:
                event = json.loads(message.data) if message.type in {WSMsgType.TEXT, WSMsgType.BINARY} else {}
                if event.get("type") == "session.input_audio_buffer.append":
                    size += encoded_size(event["audio"])
                    heard = size * 1000 // _BYTES_A_SECOND // _STEP_MS * _STEP_MS
                    await _tell(socket, dice, "session.output_audio.delta", delta="A" * 400, elapsed_ms=heard)
                elif event.get("type") == "session.update":
                    session["audio"] = event["session"].get("audio", {})
                    await _tell(socket, dice, "session.updated", session=session)
                elif event.get("type") == "session.close":
                    await _tell(socket, dice, "session.closed")
                    await socket.close()
        finally:
            self._truth.sent(_usage(str(session["id"]), provider, model, Decimal(size) / _BYTES_A_SECOND))
            self._truth.session_closed(record, "client")
        return socket


def _usage(session: str, provider: Provider, model: str, seconds: Decimal) -> SentUsage:
    return SentUsage(
        session=session,
        sku=Sku(provider=provider, model=model, version=None, scope=Scope.GLOBAL),
        kind=Kind.TRANSLATION,
        id=session,
        status="completed",
        said=Said.MISSING,
        outcome=plain(seconds),
        quantities={DURATION: seconds} if seconds else {},
    )


async def _tell(socket: web.WebSocketResponse, dice: Dice, type_: str, **fields: Any) -> None:
    with contextlib.suppress(ConnectionError):
        await socket.send_str(json.dumps({"type": type_, "event_id": dice.new_id("event"), **fields}))
