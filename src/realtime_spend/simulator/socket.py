"""One WebSocket of a session: the client's own, or a sideband."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from realtime_spend.simulator.framing import Framer

if TYPE_CHECKING:
    from aiohttp import web

    from realtime_spend.simulator.options import SessionOptions


_CLOSE_SECONDS = 2.0
_MOST_UNSENT_BYTES = 64 * 1024
_WAIT_FOR_ROOM_SECONDS = 0.005

# A sideband gets all but the sound.
_SOUND = frozenset({"response.output_audio.delta", "response.audio.delta"})
# What Azure lets through to a browser that asks for `webrtcfilter=on`: no session, no response and no usage.
_FILTERED = frozenset(
    {
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
        "conversation.item.input_audio_transcription.completed",
        "conversation.item.added",
        "conversation.item.created",
        "response.output_text.delta",
        "response.output_text.done",
        "response.output_audio_transcript.delta",
        "response.output_audio_transcript.done",
    }
)


class Socket:
    """A socket that takes frames for as long as somebody is at the other end."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        options: SessionOptions,
        *,
        sideband: bool,
        is_filtered: bool = False,
    ) -> None:
        self._socket = socket
        self._transport = transport
        self._options = options
        self._framer: Framer | None = None
        self.sideband = sideband
        self.is_filtered = is_filtered

    def takes(self, type_: str) -> bool:
        """Whether an event of this type goes to this socket."""
        if self.sideband:
            return type_ not in _SOUND
        return not self.is_filtered or type_ in _FILTERED

    @property
    def alive(self) -> bool:
        """Whether a frame sent now reaches the network."""
        open_ = self._socket.prepared and not self._socket.closed
        return open_ and self._transport is not None and not self._transport.is_closing()

    async def send(self, frame: str) -> None:
        """Send a frame; on a socket that is gone, do nothing."""
        if not self.alive:
            return
        # The peer may go while we wait for it to take the frame.
        with contextlib.suppress(ConnectionError):
            if Framer.is_needed(self._options):
                await self._send_in_frames(frame)
            elif self._options.binary:
                await self._socket.send_bytes(frame.encode())
            else:
                await self._socket.send_str(frame)

    async def _send_in_frames(self, message: str) -> None:
        """Write the frames of a message ourselves: aiohttp sends each message as one."""
        if self._framer is None:
            self._framer = Framer(self._options, self._socket.headers.get("Sec-WebSocket-Extensions", ""))
        transport = self._transport
        # Nothing is awaited between two frames of a message: another message must not come in between.
        for piece in self._framer.frames(message):
            if transport is not None:
                transport.write(piece)
        # Only aiohttp's own protocol is told when there is room again.
        while transport is not None and self.alive and transport.get_write_buffer_size() > _MOST_UNSENT_BYTES:  # noqa: ASYNC110
            await asyncio.sleep(_WAIT_FOR_ROOM_SECONDS)

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
