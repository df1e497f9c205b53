"""Takes the webhook by which a service tells of a telephone call, and listens to the call.

A message is believed if the service has signed it: the provider's own SDK checks the signature and how old it is.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from realtime_spend.attribution import attributed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from realtime_spend.sideband.attachment import End

_log = logging.getLogger(__name__)
# A pending telephone call is told of by two of them; it becomes one of both. The last is that of a browser.
_TOLD = {
    "realtime.call.incoming": ("call_id", False, False),
    "live.call.incoming": ("session_id", True, False),
    "live.transport.incoming": ("session_id", True, False),
    "live.transport.connected": ("session_id", True, True),
}
_LARGEST_BODY = 256 * 1024
_LONGEST_ID = 200
_SECRET = "whsec_"  # noqa: S105 - it is what a secret begins with


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A call that the provider tells of: whether it is a session of GPT-Live, and whether a browser holds it."""

    call: str
    is_live: bool = False
    is_webrtc: bool = False


class Incoming:
    """A webhook of ours. `follow` listens to a call to its end.

    `headers` maps headers of the SIP INVITE to attributes of what the call costs. They are what the caller's side says.
    """

    def __init__(
        self,
        *,
        secret: str,
        follow: Callable[[Told], Awaitable[End]],
        headers: Mapping[str, str] | None = None,
        most: int = 1_000,
    ) -> None:
        self._verify = _verifier(secret)
        self._follow, self._most = follow, most
        self._headers = {name.lower(): attribute for name, attribute in (headers or {}).items()}
        self._following: dict[str, asyncio.Task[None]] = {}
        self._is_draining = False

    def application(self, path: str) -> web.Application:
        """Return what answers at `path`, and at `/healthz`."""
        application = web.Application(client_max_size=_LARGEST_BODY)
        application.router.add_post(path, self._take)
        application.router.add_get("/healthz", self._say_health)
        application.on_shutdown.append(self._end)
        return application

    @property
    def calls(self) -> tuple[str, ...]:
        """The calls that are listened to."""
        return tuple(self._following)

    async def drain(self, seconds: float) -> None:
        """Take no further calls, and wait until those there are have ended, or so long."""
        self._is_draining = True
        if tasks := list(self._following.values()):
            await asyncio.wait(tasks, timeout=seconds)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not self._verify(body, request.headers):
            return web.Response(status=400, text="The signature is not that of this webhook.\n")
        told, data = _told_by(body)
        if told is None or told.call in self._following:
            # Another event, or the same once more: nothing to do, and nothing to be sent again.
            return web.Response()
        if self._is_draining or len(self._following) >= self._most:
            # The provider tells it again later, and another process may take it then.
            why = "This process is about to end." if self._is_draining else "Too many calls are listened to."
            return web.Response(status=503, text=f"{why}\n")
        with attributed(**self._attributes(data)):
            # A task has the context that it is made in, and so whose call it is.
            self._following[told.call] = asyncio.create_task(self._listen(told))
        return web.Response()

    async def _listen(self, told: Told) -> None:
        try:
            _log.info("the call %s has ended: %s", told.call, await self._follow(told))
        except Exception:  # noqa: BLE001 - as the comment says
            # Nobody waits for this task, and the next call is another.
            _log.exception("listening to the call %s failed", told.call)
        finally:
            del self._following[told.call]

    def _attributes(self, data: Mapping[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        told = data.get("sip_headers")
        for header in told if isinstance(told, list) else ():
            name, value = (header.get("name"), header.get("value")) if isinstance(header, dict) else (None, None)
            if isinstance(name, str) and isinstance(value, str) and name.lower() in self._headers:
                found.setdefault(self._headers[name.lower()], value)
        return found

    async def _say_health(self, _request: web.Request) -> web.Response:
        status = "draining" if self._is_draining else "ok"
        return web.json_response({"status": status, "calls": len(self._following)})

    async def _end(self, _application: web.Application) -> None:
        tasks = list(self._following.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _verifier(secret: str) -> Callable[[bytes, Mapping[str, str]], bool]:
    """Return what says whether a message is signed with `secret`.

    Raises:
        ValueError: the secret is none; the sentence says what to do.
        ImportError: the SDK that checks it is not installed.
    """
    from openai import InvalidWebhookSignatureError, OpenAI  # noqa: PLC0415 - only where there is a webhook

    try:
        key = base64.b64decode(secret.removeprefix(_SECRET), validate=True) if secret.startswith(_SECRET) else secret
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError("it is no secret of a webhook; copy all of it from the provider's page, it begins with whsec_")
    # Nothing is asked with this key.
    webhooks = OpenAI(api_key="none", webhook_secret=secret).webhooks

    def is_signed(body: bytes, headers: Mapping[str, str]) -> bool:
        try:
            webhooks.verify_signature(body, headers)
        except (InvalidWebhookSignatureError, ValueError, TypeError):
            # ValueError: a header that it takes is missing, or the body is no text. TypeError: a header is not ASCII.
            return False
        return True

    return is_signed


def _told_by(body: bytes) -> tuple[Told | None, Mapping[str, Any]]:
    """Return the call that a message tells of, None if it tells of none, and what else it says of it."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    data = event.get("data") if isinstance(event, dict) else None
    kind = event.get("type") if isinstance(event, dict) else None
    if not isinstance(data, dict) or not isinstance(kind, str) or kind not in _TOLD:
        return None, {}
    field, is_live, is_webrtc = _TOLD[kind]
    call = data.get(field)
    if not isinstance(call, str) or not 0 < len(call) <= _LONGEST_ID:
        return None, {}
    return Told(call=call, is_live=is_live, is_webrtc=is_webrtc), data
