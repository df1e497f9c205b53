"""The two ends of a handshake: the request of a client, and the answer of an upstream, each until its empty line."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast

from realtime_spend.relay.handshake import END_OF_HEAD, LARGEST_HEAD

if TYPE_CHECKING:
    from collections.abc import Callable


class HeadError(Exception):
    """There is no head: the peer has gone, or what it says is none."""


class HeadReader(asyncio.Protocol):
    """Collects a head; what came after it waits in `rest`, and the peer is read no further."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.rest = b""
        self._came = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self.transport = cast("asyncio.Transport", transport)
        connection: socket.socket | None = transport.get_extra_info("socket")
        if connection is not None:
            # A peer that vanished without a word is noticed in the end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """Collect, up to the empty line."""
        # The empty line may have come in two.
        searched = max(len(self._came) - len(END_OF_HEAD), 0)
        self._came += data
        if self.head.done():
            self.rest = bytes(self._came)
            return
        end = self._came.find(END_OF_HEAD, searched)
        if 0 <= end <= LARGEST_HEAD:
            self.transport.pause_reading()
            self.rest = bytes(self._came[end + len(END_OF_HEAD) :])
            head = bytes(self._came[:end])
            self._came = bytearray(self.rest)
            self.head.set_result(head)
        elif len(self._came) > LARGEST_HEAD or not self._came[:1].isalpha():
            # The beginning of TLS, for one, where none is spoken here.
            self.transport.pause_reading()
            self.head.set_exception(HeadError("this is no HTTP, or too much of it"))

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - it is gone in any case
        """The peer has gone."""
        if not self.head.done():
            self.head.set_exception(HeadError)


class Door(HeadReader):
    """Where a client comes in."""

    def __init__(self, come_in: Callable[[Door], None]) -> None:
        super().__init__()
        self._come_in = come_in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let somebody see to it."""
        super().connection_made(transport)
        self._come_in(self)
