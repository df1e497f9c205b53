"""Reads along: hands every message of the server that can tell usage to whoever watches, and skips the others unread.

What a delta costs here is what relaying costs: it is recognised in the chunk as it came from the network, and not one
byte of it is copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_spend.core.frames import DELTAS_BYTES, ENDS_BYTES
from realtime_spend.relay.frame_walk import BINARY, CLOSE, TEXT, FrameWalk, header_at

if TYPE_CHECKING:
    from realtime_spend.watcher import Watcher

_FINAL, _RESERVED, _OPCODE = 0x80, 0x70, 0x0F
_WHOLE = frozenset((_FINAL | TEXT, _FINAL | BINARY))


class UsageTap(FrameWalk):
    """The direction from the server to the client."""

    __slots__ = ("_awaited", "_first", "_kept", "_learned", "_offset", "_watcher", "is_unreadable")

    def __init__(self, watcher: Watcher, largest: int) -> None:
        super().__init__(largest)
        self._watcher = watcher
        self._awaited, self._learned = watcher.awaited, watcher.learned
        # Of the key `type`; 0 says that it is the last one.
        self._offset = 1
        # What has come of a frame that is worth reading; its first byte says what kind it is.
        self._kept: list[bytes] | None = None
        self._first = 0
        # A compressed or masked frame came, which nobody asked for.
        self.is_unreadable = False

    def feed(self, data: bytes) -> int:
        """Follow the bytes that came; return how many of them may pass. The rest is to be handed over again."""
        position, size = self.left, len(data)
        if position:
            self.moved = True
            if self._kept is not None:
                self._kept.append(data[:position])
            if position > size:
                self.left = position - size
                return size
            self._end_frame()
        awaited = self._awaited
        while position < size:
            found = header_at(data, position)
            if found is None:
                break
            first, is_masked, body, length = found
            if length > self._largest:
                self.is_too_large = True
                break
            position = body + length
            if first in _WHOLE and not is_masked:
                self.moved = True
                if not awaited and self._is_delta(data, body, position):
                    continue
            if position <= size:
                self._take(first, data[body:position], is_masked=is_masked)
            else:
                self._begin_frame(first, data[body:], is_masked=is_masked)
        self.left = max(position - size, 0)
        return min(position, size)

    def _is_delta(self, data: bytes, body: int, end: int) -> bool:
        """As `DeltaFilter.is_delta` begins, or ends, within the chunk; False wherever that is not certain."""
        offset = self._offset
        if offset:
            start = body + offset
            return data.startswith(DELTAS_BYTES, start, end) and (offset == 1 or data.find(b"{", body + 1, start) < 0)
        return end <= len(data) and data.endswith(ENDS_BYTES, body, end)

    def _begin_frame(self, first: int, payload: bytes, *, is_masked: bool) -> None:
        is_message = first & _OPCODE < CLOSE
        self.is_closed |= first & _OPCODE == CLOSE
        self._first = first
        # A frame without a mask or compression is all that a server may send here.
        is_strange = is_masked or bool(first & _RESERVED)
        self.is_unreadable |= is_strange and is_message
        self._kept = [payload] if is_message and not is_strange else None

    def _end_frame(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            self._take(self._first, b"".join(kept), is_masked=False)

    def _take(self, first: int, payload: bytes, *, is_masked: bool) -> None:
        opcode = first & _OPCODE
        if opcode >= CLOSE:
            self.is_closed |= opcode == CLOSE
            return
        self.moved = True
        if is_masked or first & _RESERVED:
            self.is_unreadable = True
        elif opcode and first & _FINAL:
            self._watcher.frame(payload)
            self._offset = self._learned()
        else:
            self._watcher.fragment(payload, first=opcode != 0, final=bool(first & _FINAL))
