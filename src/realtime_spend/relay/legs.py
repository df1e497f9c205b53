"""One side of a relayed session: takes the bytes of one peer, and passes them to the other as they came."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_spend.relay.frame_walk import FrameWalk
    from realtime_spend.relay.session import RelayedSession

# Closing a socket that lingers for no time resets it: the other side learns that the end was no end.
_RESET = struct.pack("ii", 1, 0)


class Leg(asyncio.Protocol):
    """Takes what one peer sends. `walk` follows it, and `other` is the leg of the peer that gets it."""

    def __init__(self, session: RelayedSession, transport: asyncio.Transport, walk: FrameWalk) -> None:
        self._session, self.transport, self.walk = session, transport, walk
        self.other: Leg = self
        self._write: Callable[[bytes], None] = transport.write
        self._feed: Callable[[bytes], int] = walk.feed
        # A header that is not whole yet waits here for its rest, a few bytes.
        self._held = b""
        # What is to be put in at the end of the frame in progress; nothing is passed on after it.
        self._last_word: bytes | None = None
        self._passes, self._is_refused, self._is_blind = True, False, False
        self.is_lost = self.has_ended = False
        # Whether what this peer sends is not read for the time being, because the other one does not take it; and since
        # when nothing of it has been, as far as somebody has looked.
        self.is_held_back = False
        self.held_since: float | None = None

    def join(self, other: Leg) -> None:
        """Begin to pass on to the other leg."""
        self.other = other
        self._write = other.transport.write

    def data_received(self, data: bytes) -> None:
        """Pass on what came. It is metered before: what a client has got, the ledger has."""
        if self._is_refused:
            # It is told why it gets no further, and nothing of it is kept.
            return
        if self._held:
            data, self._held = self._held + data, b""
        if self._last_word is not None:
            self._finish_frame(data)
            return
        try:
            passing = self._feed(data)
        except Exception:  # noqa: BLE001 - the boundary: without the walk the bytes go on, and nothing is metered
            self._session.lose_track(self)
            passing = len(data)
        if passing != len(data):
            self._is_refused = self.walk.is_too_large
            data, self._held = data[:passing], b"" if self._is_refused else data[passing:]
        if self._passes:
            self._write(data)
            if self._is_refused or self._session.awaits_attention:
                self._session.attend(self)
        elif self.walk.is_closed:
            # We have had the last word, and this was theirs.
            self.transport.close()

    def follow_blindly(self) -> None:
        """Pass on whatever comes from now on; where a frame ends is not known any more."""
        self._feed = len
        self._is_blind = True

    def say_last(self, word: bytes | None) -> None:
        """Put in `word`, a close frame, once the frame in progress is over, and pass nothing on after it."""
        if word is None or self.has_ended or self._is_blind or (self._passes and self.walk.is_closed):
            self._passes, self._last_word = False, None
        elif not self._passes or self._last_word is not None:
            return
        elif self.walk.left:
            self._last_word = word
        else:
            self._passes = False
            self._write(word)

    def _finish_frame(self, data: bytes) -> None:
        word, left = self._last_word, self.walk.left
        if word is not None and len(data) >= left:
            self._write(data[:left] + word)
            self._passes, self._last_word = False, None
        else:
            self._write(data)
        # The walk goes on: what is billed until the end is metered until the end.
        if (passing := self._feed(data)) != len(data):
            self._is_refused = self.walk.is_too_large
            self._held = data[passing:]

    def eof_received(self) -> bool:
        """The peer sends no more; the other is told so, and may still send."""
        self.has_ended = True
        if self._held and self._passes:
            self._write(self._held)
        self._session.ended(self)
        # Without TLS a connection can be half closed.
        return self.transport.can_write_eof()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self.is_lost = self.has_ended = True
        self._session.lost(self, error)

    def pause_writing(self) -> None:
        """This peer does not take what is for it, so the other is read no further."""
        self.other.hold_back()

    def resume_writing(self) -> None:
        """This peer has taken what was for it."""
        self.other.go_on()

    def hold_back(self) -> None:
        """Read no further for now."""
        self.is_held_back = True
        if not self.is_lost:
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Read on."""
        self.is_held_back = False
        if not self.is_lost:
            self.transport.resume_reading()

    def finish_writing(self) -> None:
        """Tell this peer that nothing more comes for it."""
        if self.is_lost or self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            # The peer may have reset it already, which is told when it is read.
            with suppress(OSError):
                self.transport.write_eof()
        else:
            self.transport.close()

    def reset(self) -> None:
        """End as the other side was ended: abruptly, unless something is still on its way to this peer."""
        if self.is_lost or self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size():
            self.transport.close()
            return
        connection: socket.socket | None = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()
