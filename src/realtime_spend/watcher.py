"""The boundary to the host: watches one socket for `Metering`, and lets nothing of ours out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from realtime_spend.core.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realtime_spend.core.endpoints import Endpoint
    from realtime_spend.core.naming import Named, Resolved
    from realtime_spend.metering import Metering
    from realtime_spend.sinks.metrics import Series


class Watcher:
    """Watches one socket for `Metering`. No method of it raises, and each costs the host microseconds."""

    __slots__ = (
        "__weakref__",
        "_attributes",
        "_connection",
        "_metering",
        "_opened_at",
        "_series",
        "counted_under",
        "endpoint",
    )

    def __init__(self, metering: Metering, endpoint: Endpoint, attributes: Mapping[str, str]) -> None:
        self.endpoint = endpoint
        self._metering = metering
        self._attributes = attributes
        self._connection = Connection(endpoint, metering.sessions)
        self._opened_at: int | None = None
        self._series: dict[Named, tuple[Resolved, Series]] = {}
        self.counted_under: Series | None = None

    def opened(self) -> None:
        """The handshake succeeded: from now on there is a session."""
        try:
            if self._opened_at is None:
                self._opened_at = time.time_ns()
                self._metering.begin(self)
        except Exception:  # noqa: BLE001 - the boundary: nothing of ours reaches the host
            self._metering.containment.failed("opening_a_session")

    def frame(self, data: str | bytes | bytearray) -> None:
        """Take a whole message from the server."""
        try:
            learned = self._connection.receive(data, time.time_ns())
            if learned:
                self._metering.take(self, learned)
        except Exception:  # noqa: BLE001 - the boundary: nothing of ours reaches the host
            self._metering.containment.failed("reading_a_message")

    def fragment(self, data: bytes | bytearray, *, first: bool, final: bool) -> None:
        """Take one frame of a message that comes in several."""
        try:
            learned = self._connection.receive_fragment(data, time.time_ns(), first=first, final=final)
            if learned:
                self._metering.take(self, learned)
        except Exception:  # noqa: BLE001 - the boundary: nothing of ours reaches the host
            self._metering.containment.failed("reading_a_fragment")

    def closed(self) -> None:
        """Take the end of the socket. What it left unfinished is accounted for."""
        try:
            if self._opened_at is not None:
                at, opened_at, self._opened_at = time.time_ns(), self._opened_at, None
                try:
                    self._metering.take(self, self._connection.close(at))
                finally:
                    self._metering.end(self, at - opened_at)
        except Exception:  # noqa: BLE001 - the boundary: nothing of ours reaches the host
            self._metering.containment.failed("closing_a_session")

    def abandon(self) -> None:
        """Watch no further: the session goes on without us, so that its end is none of ours."""
        self._opened_at = None

    def dropped(self) -> None:
        """Take that the socket's object is gone. The garbage collector calls this, perhaps while we hold our locks."""
        if self._opened_at is not None:
            self._metering.let_go.append(self)

    def begin_anew(self) -> None:
        """In a forked child: the totals start anew, and what was begun is the parent's to account for."""
        self._series.clear()
        self.counted_under = None
        self._opened_at = None
        self._connection.begin_anew()

    @property
    def named(self) -> Named:
        """The names of the session's own model."""
        return self._connection.named

    @property
    def attributes(self) -> Mapping[str, str]:
        """Whose session it is, as the program said when it was opened."""
        return self._attributes

    def series_of(self, named: Named) -> tuple[Resolved, Series]:
        """Return what names stand for here, and the totals they are added to."""
        found = self._series.get(named)
        if found is None:
            found = self._series[named] = self._metering.resolve(self, named)
        return found
