"""The boundary to the host: watches one socket for `Metering`, and lets nothing of ours out."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from realtime_spend.core.connection import Connection
from realtime_spend.core.endpoints import Service
from realtime_spend.core.events import LARGEST_BEGINNING, begins_session
from realtime_spend.core.frames import DELTAS_BYTES, DELTAS_TEXT, ENDS_BYTES, ENDS_TEXT, Reassembly

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sized

    from realtime_spend.containment import Containment
    from realtime_spend.core.endpoints import Endpoint
    from realtime_spend.core.naming import Named
    from realtime_spend.core.pricing import Priced
    from realtime_spend.metering import Metering
    from realtime_spend.rated import Rated
    from realtime_spend.sinks.metrics import Series


# A session that changes its models more often than this has each of them looked up again.
_MOST_RATED = 64
_LOOKED_INTO = 3


class Watcher:
    """Watches one socket for `Metering`. No method of it raises, and each costs the host microseconds."""

    __slots__ = (
        "__weakref__",
        "_attributes",
        "_begun",
        "_connection",
        "_is_delta",
        "_metering",
        "_opened_at",
        "_rated",
        "counted_under",
        "endpoint",
        "origin",
    )

    def __init__(
        self, metering: Metering, endpoint: Endpoint, attributes: Mapping[str, str], origin: str = "hook"
    ) -> None:
        self.endpoint = endpoint
        self.origin = origin
        self._metering = metering
        self._attributes = attributes
        self._connection = Connection(endpoint, metering.sessions)
        self._is_delta, self._begun = self._connection.is_delta, self._connection.begun
        self._opened_at: int | None = None
        self._rated: dict[Named, Rated] = {}
        self.counted_under: Series | None = None

    def opened(self) -> None:
        """The handshake succeeded: from now on there is a session."""
        try:
            if self._opened_at is None and not self._connection.is_closed:
                self._opened_at = time.time_ns()
                self._metering.begin(self)
        except Exception:  # noqa: BLE001 - the boundary: nothing of ours reaches the host
            self._metering.containment.failed("opening_a_session")

    def taker(self) -> Callable[[str | bytes | bytearray], None]:
        """Return what does as `frame` does, and is done with most messages before that is even called.

        What it costs is what watching costs: nearly all messages are deltas that nothing is awaited of.
        """
        begun, frame, learned = self._begun, self.frame, self._connection.learned
        # Of the key `type`: 0 says that it is the last one.
        offset = 1

        def take(data: str | bytes | bytearray) -> None:
            nonlocal offset
            try:
                # As `DeltaFilter.is_delta` begins, or ends.
                if not offset:
                    is_delta = data.endswith(ENDS_TEXT) if isinstance(data, str) else data.endswith(ENDS_BYTES)
                elif isinstance(data, str):
                    is_delta = data.startswith(DELTAS_TEXT, offset) and (offset == 1 or data.find("{", 1, offset) < 0)
                else:
                    is_delta = data.startswith(DELTAS_BYTES, offset) and (offset == 1 or data.find(b"{", 1, offset) < 0)
                if is_delta and not begun:
                    return
            except Exception:  # noqa: BLE001, S110 - what cannot be asked how it begins, `frame` takes without harm
                pass
            frame(data)
            offset = learned()

        return take

    def frame(self, data: str | bytes | bytearray) -> None:
        """Take a whole message from the server."""
        try:
            if self._is_delta(data):
                if not self._begun:
                    return
                learned = self._connection.delta(data, time.time_ns())
            else:
                learned = self._connection.message(data, time.time_ns())
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

    @property
    def wants_sent(self) -> bool:
        """Whether what the client says is to be handed over too: of a translation nothing else tells what it used."""
        return self.endpoint.service is Service.TRANSLATION

    def sent(self, data: str | bytes | bytearray) -> None:
        """Take a whole message to the server."""
        try:
            learned = self._connection.sent(data, time.time_ns())
            if learned:
                self._metering.take(self, learned)
        except Exception:  # noqa: BLE001 - the boundary: nothing of ours reaches the host
            self._metering.containment.failed("reading_what_is_sent")

    def event(self, event: object) -> None:
        """Take a server event that somebody has parsed already."""
        try:
            learned = self._connection.receive_event(event, time.time_ns())
            if learned:
                self._metering.take(self, learned)
        except Exception:  # noqa: BLE001 - the boundary: nothing of ours reaches the host
            self._metering.containment.failed("reading_an_event")

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

    def charged(self, priced: Priced) -> None:
        """Take what a usage of this session costs, which `Metering` has accounted for."""

    def can_leave_by(self, _leave: Callable[[], None]) -> None:
        """Stay to the end: the URL said what this socket is."""

    def abandon(self) -> None:
        """Watch no further: the session goes on without us, so that its end is none of ours."""
        self._opened_at = None
        self._connection.abandon()

    def dropped(self) -> None:
        """Take that the socket's object is gone. The garbage collector calls this, perhaps while we hold our locks."""
        if self._opened_at is not None:
            self._metering.let_go.append(self)

    def begin_anew(self) -> None:
        """In a forked child: the totals start anew, and what was begun is the parent's to account for."""
        self._rated.clear()
        self.counted_under = None
        self._opened_at = None
        self._connection.begin_anew()

    @property
    def is_open(self) -> bool:
        """Whether there is a session on this socket, as far as this process is to account for it."""
        return self._opened_at is not None

    @property
    def awaited(self) -> Sized:
        """What first output is awaited of: while there is something, deltas must be handed over too."""
        return self._begun

    @property
    def learned(self) -> Callable[[], int]:
        """Return what tells where this service writes the `type` of its deltas, as `DeltaFilter.learned` does."""
        return self._connection.learned

    @property
    def named(self) -> Named:
        """The names of the session's own model."""
        return self._connection.named

    @property
    def attributes(self) -> Mapping[str, str]:
        """Whose session it is, as the program said when it was opened."""
        return self._attributes

    def rated(self, named: Named) -> Rated:
        """Return what names stand for here, at which rates, and the totals they are added to."""
        found = self._rated.get(named)
        if found is None:
            if len(self._rated) >= _MOST_RATED:
                del self._rated[next(iter(self._rated))]
            found = self._rated[named] = self._metering.rate(self, named)
        return found


class Sniffer:
    """Looks into the first messages of a socket whose URL says nothing; if a session begins in one, watches on."""

    __slots__ = ("__weakref__", "_containment", "_fragments", "_is_adopted", "_leave", "_left", "_watcher")

    def __init__(self, watcher: Watcher, containment: Containment) -> None:
        self._watcher = watcher
        self._containment = containment
        self._fragments = Reassembly(most_bytes=LARGEST_BEGINNING)
        self._left = _LOOKED_INTO
        self._is_adopted = False
        self._leave: Callable[[], None] = lambda: None

    def can_leave_by(self, leave: Callable[[], None]) -> None:
        """Take what stops the watching, for when this turns out to be none of ours."""
        self._leave = leave

    wants_sent = False

    def sent(self, data: str | bytes | bytearray) -> None:
        """Leave what the client says: a session begins with a word of the server's."""

    def opened(self) -> None:
        """Wait for what it says."""

    def frame(self, data: str | bytes | bytearray) -> None:
        """Take a whole message from the server."""
        if self._is_adopted or self._adopts(data):
            self._watcher.frame(data)

    def taker(self) -> Callable[[str | bytes | bytearray], None]:
        """Return `frame`."""
        return self.frame

    def fragment(self, data: bytes | bytearray, *, first: bool, final: bool) -> None:
        """Take one frame of a message that comes in several."""
        if self._is_adopted:
            self._watcher.fragment(data, first=first, final=final)
        elif (whole := self._joined(data, first=first, final=final)) is not None:
            self.frame(whole)

    def abandon(self) -> None:
        """Look no further."""
        self._left = 0
        self._watcher.abandon()

    def closed(self) -> None:
        """Take the end of the socket."""
        if self._is_adopted:
            self._watcher.closed()

    def dropped(self) -> None:
        """Take that the socket's object is gone."""
        if self._is_adopted:
            self._watcher.dropped()

    def _adopts(self, data: str | bytes | bytearray) -> bool:
        try:
            if self._left and begins_session(data):
                self._is_adopted = True
                self._watcher.opened()
                return True
            self._pass()
        except Exception:  # noqa: BLE001 - the boundary: nothing of ours reaches the host
            self._give_up()
        return False

    def _joined(self, data: bytes | bytearray, *, first: bool, final: bool) -> bytes | None:
        whole = None
        try:
            is_delta = first and self._fragments.begin(data)
            whole = None if first else self._fragments.proceed(data, final=final)
            if is_delta or self._fragments.gave_up:
                # No session begins so, whatever the rest of it is.
                self._pass()
        except Exception:  # noqa: BLE001 - the boundary: nothing of ours reaches the host
            self._give_up()
        return whole

    def _pass(self) -> None:
        """Take that a message was not the beginning of a session."""
        self._left -= bool(self._left)
        if not self._left:
            leave, self._leave = self._leave, lambda: None
            leave()

    def _give_up(self) -> None:
        self._containment.failed("looking_into_a_connection")
        with suppress(Exception):
            self._left = 0
            self._pass()
