"""Reads along what a client sends, where no event of the server tells what a session used: its audio is measured.

Only translations are read so. Of all other sessions the client's frames are followed from header to header.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_spend.hooks.sending import Sending
from realtime_spend.relay.frame_walk import CLOSE, FrameWalk, header_at

if TYPE_CHECKING:
    from realtime_spend.watcher import Watcher

_FINAL, _RESERVED, _OPCODE = 0x80, 0x70, 0x0F


class SentTap(FrameWalk):
    """The direction from the client to the server. A message larger than the largest frame is not read."""

    __slots__ = ("_first", "_frame", "_mask", "_sending", "_watcher")

    def __init__(self, watcher: Watcher, largest: int) -> None:
        super().__init__(largest)
        self._watcher = watcher
        # The frame in progress; control frames may come between those of a message.
        self._first, self._mask, self._frame = 0, b"", bytearray()
        self._sending = Sending(watcher, largest)

    def feed(self, data: bytes) -> int:
        """Follow the bytes that came; return how many of them may pass. The rest is to be handed over again."""
        position, size = 0, len(data)
        while position < size:
            if not self.left:
                found = header_at(data, position)
                if found is None:
                    break
                self._first, is_masked, body, self.left = found
                if self.left > self._largest:
                    self.left, self.is_too_large = 0, True
                    break
                self._mask = data[body - 4 : body] if is_masked else b""
                position = body
            if self._first & _OPCODE < CLOSE:
                self.moved = True
            end = min(position + self.left, size)
            self._frame += data[position:end]
            self.left -= end - position
            position = end
            if not self.left:
                self._end_frame()
        return position

    def _end_frame(self) -> None:
        payload, self._frame = self._frame, bytearray()
        first, opcode = self._first, self._first & _OPCODE
        if opcode >= CLOSE:
            self.is_closed |= opcode == CLOSE
        elif first & _RESERVED:
            # What is compressed cannot be read, nor what belongs to it.
            self._sending = Sending(self._watcher, self._largest)
        else:
            self._sending.frame(unmasked(payload, self._mask), first=opcode != 0, final=bool(first & _FINAL))


def unmasked(payload: bytes | bytearray, mask: bytes) -> bytes:
    """Return what a client meant; an empty mask is none."""
    if not mask:
        return bytes(payload)
    size = len(payload)
    # One operation on the whole, where a byte at a time would take milliseconds.
    over = int.from_bytes((mask * (size // 4 + 1))[:size])
    return (int.from_bytes(payload) ^ over).to_bytes(size)
