"""Follows the frames of a stream of bytes from header to header, and so knows where one may be cut off or put in.

Nothing is kept and nothing is changed. The bytes of a header that has not fully arrived are left to the caller to hand
over again: a frame is not begun towards the other side before it is known to be short enough.
"""

from __future__ import annotations

import struct

TEXT, BINARY, CLOSE = 1, 2, 8
_FINAL, _OPCODE, _MASKED, _LENGTH = 0x80, 0x0F, 0x80, 0x7F
_TWO_BYTES, _EIGHT_BYTES = 126, 127
_short = struct.Struct(">H").unpack_from
_long = struct.Struct(">Q").unpack_from
_MASK = b"\x52\x3c\x0b\x71"


class FrameWalk:
    """One direction of a connection, from the first frame on.

    `left` are the bytes that the frame in progress still has to come; 0 between two frames. `is_closed` says that a
    close frame has passed, `is_too_large` that a frame came that must not pass.
    """

    __slots__ = ("_largest", "is_closed", "is_too_large", "left", "moved")

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self.left = 0
        self.is_closed = self.is_too_large = False
        # Whether anything but pings has come; whoever looks puts it back.
        self.moved = False

    def feed(self, data: bytes) -> int:
        """Follow the bytes that came; return how many of them may pass. The rest is to be handed over again."""
        position, size = self.left, len(data)
        if position > size:
            self.left = position - size
            self.moved = True
            return size
        while position < size:
            found = header_at(data, position)
            if found is None:
                break
            first, _, body, length = found
            if length > self._largest:
                self.is_too_large = True
                break
            opcode = first & _OPCODE
            if opcode < CLOSE:
                self.moved = True
            elif opcode == CLOSE:
                self.is_closed = True
            position = body + length
        self.left = max(position - size, 0)
        return min(position, size)


def header_at(data: bytes, position: int) -> tuple[int, bool, int, int] | None:
    """Return the first byte of a header, whether the frame is masked, where its payload begins, and its length.

    None where not all of the header is there.
    """
    size = len(data)
    if position + 2 > size:
        return None
    second = data[position + 1]
    length, body = second & _LENGTH, position + 2
    if length == _TWO_BYTES:
        body += 2
        if body > size:
            return None
        length = _short(data, position + 2)[0]
    elif length == _EIGHT_BYTES:
        body += 8
        if body > size:
            return None
        length = _long(data, position + 2)[0]
    if second & _MASKED:
        body += 4
        if body > size:
            return None
        return data[position], True, body, length
    return data[position], False, body, length


def close_frame(code: int, reason: str, *, masked: bool) -> bytes:
    """Return a close frame, masked as a client has to."""
    payload = struct.pack(">H", code) + reason.encode()[:120]
    if not masked:
        return bytes((_FINAL | CLOSE, len(payload))) + payload
    hidden = bytes(byte ^ _MASK[place % 4] for place, byte in enumerate(payload))
    return bytes((_FINAL | CLOSE, _MASKED | len(payload))) + _MASK + hidden
