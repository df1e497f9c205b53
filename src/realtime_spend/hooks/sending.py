"""What a client sends, put together where it comes in several frames: a translation is measured by all of its audio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_spend.core.frames import MOST_FRAGMENTED_BYTES, Reassembly

if TYPE_CHECKING:
    from realtime_spend.hooks import Observer


class Sending:
    """The messages of one client, of which an observer is told each as a whole, but for those of more than so much."""

    def __init__(self, observer: Observer, most_bytes: int = MOST_FRAGMENTED_BYTES) -> None:
        self._observer, self._fragments = observer, Reassembly(most_bytes)

    def frame(self, data: str | bytes | bytearray | memoryview, *, first: bool, final: bool) -> None:
        """Take one frame that was sent."""
        if isinstance(data, memoryview):
            data = bytes(data)
        if first and final:
            self._observer.sent(data)
            return
        part = data.encode("utf-8", "replace") if isinstance(data, str) else data
        if first:
            self._fragments.begin(part)
        elif (whole := self._fragments.proceed(part, final=final)) is not None:
            self._observer.sent(whole)
