"""A telephone that rings: the webhook by which a service tells of a call, signed as services sign theirs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATIENCE = aiohttp.ClientTimeout(total=10)
_SECRET = "whsec_"  # noqa: S105 - it is what a secret begins with


async def announce(webhook: str, call_id: str, *, secret: str, headers: Mapping[str, str]) -> None:
    """Tell a webhook of a call.

    Raises:
        aiohttp.ClientResponseError: it did not take the message.
    """
    body = incoming(call_id, headers)
    signed = {"Content-Type": "application/json", **signature(body, secret)}
    async with (
        aiohttp.ClientSession(timeout=_PATIENCE, raise_for_status=True) as http,
        http.post(webhook, data=body, headers=signed),
    ):
        pass


def incoming(call_id: str, headers: Mapping[str, str]) -> bytes:
    """Write the message of a call that has come in."""
    told = [{"name": name, "value": value} for name, value in headers.items()]
    event = {
        "id": f"evt_{uuid.uuid4().hex}",
        "object": "event",
        "type": "realtime.call.incoming",
        "created_at": int(time.time()),
        "data": {"call_id": call_id, "sip_headers": told},
    }
    return json.dumps(event).encode()


def signature(body: bytes, secret: str, at: int | None = None) -> dict[str, str]:
    """Sign a message as the Standard Webhooks say: over its id, its instant and what it holds."""
    key = base64.b64decode(secret.removeprefix(_SECRET)) if secret.startswith(_SECRET) else secret.encode()
    message, instant = f"wh_{uuid.uuid4().hex}", str(int(time.time()) if at is None else at)
    signed = hmac.new(key, b".".join((message.encode(), instant.encode(), body)), hashlib.sha256).digest()
    return {
        "webhook-id": message,
        "webhook-timestamp": instant,
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }
