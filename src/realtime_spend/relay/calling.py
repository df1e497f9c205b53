"""Asks an upstream for a session on behalf of a client, and says what came of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from realtime_spend.relay.credentials import ABOUT_WHO_PAYS, credentials, without_credentials
from realtime_spend.relay.doors import Discarding, HeadError, HeadReader
from realtime_spend.relay.handshake import END_OF_HEAD, length_of, status_of, without_fields, written_request
from realtime_spend.relay.refusals import RefusedError

if TYPE_CHECKING:
    import ssl

    from realtime_spend.core.endpoints import Endpoint
    from realtime_spend.relay.doors import Door
    from realtime_spend.relay.handshake import Request
    from realtime_spend.relay.settings import Upstream
    from realtime_spend.relay.tokens import Known

_REFUSED_SECONDS = 10.0
_ABOUT_THE_KEY = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a client wants, from whom, and who it is where the relay knows that."""

    request: Request
    upstream: Upstream
    endpoint: Endpoint
    known: Known | None

    def told(self, head: bytes) -> bytes:
        """Return the head of the upstream's answer as the client gets it."""
        return (head if self.known is None else without_fields(head, ABOUT_WHO_PAYS)) + END_OF_HEAD

    def written(self) -> bytes:
        """Return the request as the upstream gets it, with the relay's key if the client has shown a token."""
        upstream = self.upstream
        if self.known is None or upstream.key is None:
            return written_request(self.request, prefix=upstream.prefix, host=upstream.host_field)
        shown = credentials(upstream.provider, upstream.key)
        theirs = without_credentials(self.request)
        return written_request(theirs, prefix=upstream.prefix, host=upstream.host_field, added=[shown])


async def connected(upstream: Upstream, context: ssl.SSLContext, seconds: float) -> HeadReader:
    """Connect to an upstream, and see that it is who it should be."""
    loop = asyncio.get_running_loop()
    host, port, tls = upstream.host, upstream.port, context if upstream.is_tls else None
    try:
        async with asyncio.timeout(seconds):
            _, reader = await loop.create_connection(HeadReader, host, port, ssl=tls)
    except TimeoutError:
        raise _silent(upstream) from None
    except OSError as error:
        # What is wrong with a certificate is one of them.
        why = "its certificate does not hold" if "CERTIFICATE" in str(error) else "it cannot be reached"
        sentence = f"the upstream was not connected to: {why}"
        refused = RefusedError(HTTPStatus.BAD_GATEWAY, "upstream_unreachable", sentence)
        refused.cause = f"{upstream.host}:{upstream.port}, {error.strerror or error}"
        raise refused from None
    return reader


async def answered(reader: HeadReader, call: Call, seconds: float) -> tuple[bytes, int]:
    """Send the request of a call; return the head of the answer, and its status."""
    reader.transport.write(call.written())
    try:
        async with asyncio.timeout(seconds):
            head = await reader.head
            return head, status_of(head)
    except TimeoutError:
        raise _silent(call.upstream) from None
    except (HeadError, ValueError):
        sentence = "the upstream went away, or answered something that is no HTTP"
        refused = RefusedError(HTTPStatus.BAD_GATEWAY, "upstream_broken", sentence)
        refused.cause = f"{call.upstream.host}:{call.upstream.port}"
        raise refused from None


async def pass_refusal_on(door: Door, reader: HeadReader, call: Call, head: bytes, status: int) -> None:
    """Let the client see why the upstream refuses: all of its answer, unless either of them closes before.

    What the client says meanwhile reaches nobody: a second request would be one that nobody has checked.
    """
    is_our_key = call.known is not None
    if is_our_key and status < HTTPStatus.BAD_REQUEST:
        # It was no session that it was asked for: what else a key opens is none of the client's business.
        sentence = "the upstream answered, but not with a WebSocket"
        raise RefusedError(HTTPStatus.BAD_GATEWAY, "upstream_no_websocket", sentence)
    if is_our_key and status in _ABOUT_THE_KEY:
        # The key is the relay's, and what is wrong with it none of the client's business.
        sentence = "the upstream refuses the key of this relay"
        raise RefusedError(HTTPStatus.BAD_GATEWAY, "upstream_refuses_key", sentence)
    length = length_of(head)
    answering = _Passing(door.transport, None if length is None else length - len(reader.rest))
    asking = Discarding(door.transport, source=reader.transport)
    reader.hand_over(answering)
    door.hand_over(asking)
    for transport in (reader.transport, door.transport):
        transport.resume_reading()
    door.transport.write(call.told(head) + reader.rest)
    waiting = [asyncio.create_task(each.over.wait()) for each in (answering, asking)]
    await asyncio.wait(waiting, timeout=_REFUSED_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


class _Passing(asyncio.Protocol):
    """Passes what comes on to another transport, until it is over: so many bytes, if that is known."""

    def __init__(self, to: asyncio.Transport, left: int | None) -> None:
        self._to, self._left = to, left
        self.over = asyncio.Event()
        if left is not None and left <= 0:
            self.over.set()

    def data_received(self, data: bytes) -> None:
        if not self._to.is_closing():
            self._to.write(data)
        if self._left is not None:
            self._left -= len(data)
            if self._left <= 0:
                self.over.set()

    def eof_received(self) -> None:
        self.over.set()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - it is over in any case
        self.over.set()


def _silent(upstream: Upstream) -> RefusedError:
    refused = RefusedError(HTTPStatus.GATEWAY_TIMEOUT, "upstream_silent", "the upstream did not answer in time")
    refused.cause = f"{upstream.host}:{upstream.port}"
    return refused
