"""Messages in several WebSocket frames, as RFC 6455 allows: cut up, and with pings between the pieces."""

from __future__ import annotations

import math
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_spend.simulator.options import SessionOptions

_CONTINUATION, _TEXT, _BINARY, _PING = 0x0, 0x1, 0x2, 0x9
_FINAL, _COMPRESSED = 0x80, 0x40
_SHORT, _LONG = 126, 1 << 16
_LARGEST_WINDOW = 15
# What ends a flushed block, and is left out on the wire (RFC 7692).
_FLUSH_TAIL = b"\x00\x00\xff\xff"


class Framer:
    """Puts the messages of one socket into frames."""

    def __init__(self, options: SessionOptions, extensions: str) -> None:
        """Take what was agreed on in the handshake, the server's `Sec-WebSocket-Extensions`."""
        self._options = options
        words = [word.strip() for word in extensions.split(";")]
        self._deflate = words[0] == "permessage-deflate"
        self._forgets = "server_no_context_takeover" in words
        bits = (word.partition("=")[2] for word in words if word.startswith("server_max_window_bits="))
        self._window = int(next(bits, _LARGEST_WINDOW))
        self._compressor = self._new_compressor()
        self._pings = 0

    @staticmethod
    def is_needed(options: SessionOptions) -> bool:
        """Whether messages are to be sent in another way than each in a frame of its own."""
        return options.fragments > 1 or options.empty_first or options.pings

    def frames(self, message: str) -> Iterator[bytes]:
        """Give the frames of a message, pings included, in the order they are sent."""
        data = message.encode()
        if self._deflate:
            data = self._compressed(data)
        pieces = self._pieces(data)
        for number, piece in enumerate(pieces):
            if self._options.pings:
                self._pings += 1
                yield _frame(_PING | _FINAL, str(self._pings).encode())
            first = _BINARY if self._options.binary else _TEXT
            head = _CONTINUATION if number else first | (_COMPRESSED if self._deflate else 0)
            yield _frame(head | (_FINAL if number == len(pieces) - 1 else 0), piece)

    def _pieces(self, data: bytes) -> list[bytes]:
        length = max(1, math.ceil(len(data) / self._options.fragments))
        pieces = [data[start : start + length] for start in range(0, len(data), length)] or [b""]
        return [b"", *pieces] if self._options.empty_first else pieces

    def _compressed(self, data: bytes) -> bytes:
        if self._forgets:
            self._compressor = self._new_compressor()
        compressed = self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return compressed.removesuffix(_FLUSH_TAIL)

    def _new_compressor(self) -> zlib._Compress:
        return zlib.compressobj(level=1, wbits=-self._window)


def _frame(head: int, payload: bytes) -> bytes:
    if len(payload) < _SHORT:
        return struct.pack("!BB", head, len(payload)) + payload
    if len(payload) < _LONG:
        return struct.pack("!BBH", head, 126, len(payload)) + payload
    return struct.pack("!BBQ", head, 127, len(payload)) + payload
