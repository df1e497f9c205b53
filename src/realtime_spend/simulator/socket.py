"""One WebSocket of a session: the client's own, or a sideband."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web


_CLOSE_SECONDS = 2.0


class Socket:
    """A socket that takes frames for as long as somebody is at the other end."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None, *, sideband: bool) -> None:
        self._socket = socket
        self._transport = transport
        self.sideband = sideband

    @property
    def alive(self) -> bool:
        """Whether a frame sent now reaches the network."""
        return not self._socket.closed and self._transport is not None and not self._transport.is_closing()

    async def send(self, frame: str) -> None:
        """Send a frame; on a socket that is gone, do nothing."""
        if self.alive:
            # The peer may go while we wait for it to take the frame.
            with contextlib.suppress(ConnectionError):
                await self._socket.send_str(frame)

    async def close(self, code: int) -> None:
        """Close with the WebSocket handshake; cut the connection of a peer that does not take its part in it."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._socket.close(code=code)
        except ConnectionError:
            return
        except TimeoutError:
            # A peer that has stopped reading would keep us waiting for room to write the close frame.
            self.abort()

    def abort(self) -> None:
        """Cut the TCP connection, as a network does."""
        if self._transport is not None:
            self._transport.abort()
