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
        self.is_gone = False
        self._came = bytearray()
        self._successor: asyncio.BaseProtocol | None = None

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

    def connection_lost(self, error: Exception | None) -> None:
        """The peer has gone."""
        self.is_gone = True
        if not self.head.done():
            self.head.set_exception(HeadError)
        if self._successor is not None:
            # With TLS the loop decides whom it tells before it does.
            self._successor.connection_lost(error)

    def hand_over(self, successor: asyncio.BaseProtocol) -> None:
        """Let another protocol take what comes from now on; a peer that has gone by now is told of to it too."""
        self._successor = successor
        self.transport.set_protocol(successor)
        if self.is_gone:
            asyncio.get_running_loop().call_soon(successor.connection_lost, None)


class Discarding(asyncio.Protocol):
    """Takes what a peer still says and keeps none of it, until it says that this is all, or is gone.

    Whoever closes a connection on which something has come that nobody has read resets it, and the last answer with it.
    """

    def __init__(self, peer: asyncio.Transport, source: asyncio.Transport | None = None) -> None:
        # Without TLS a connection can be half closed; with it the loop would complain of the wish.
        self._is_halved = peer.can_write_eof()
        # Where that what is written to this peer comes from.
        self._source = source
        self.over = asyncio.Event()

    def eof_received(self) -> bool:
        """It says no more, and may still be listening."""
        self.over.set()
        return self._is_halved

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - it is over in any case
        """It is gone."""
        self.over.set()

    def pause_writing(self) -> None:
        """It does not take what is for it."""
        if self._source is not None:
            self._source.pause_reading()

    def resume_writing(self) -> None:
        """It has taken what was for it."""
        if self._source is not None:
            self._source.resume_reading()


class Door(HeadReader):
    """Where a client comes in."""

    def __init__(self, come_in: Callable[[Door], None]) -> None:
        super().__init__()
        self._come_in = come_in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let somebody see to it."""
        super().connection_made(transport)
        self._come_in(self)
