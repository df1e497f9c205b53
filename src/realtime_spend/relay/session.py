"""A relayed session: its two legs, who meters it, and how it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.relay.endings import Ending
from realtime_spend.relay.frame_walk import FrameWalk, close_frame
from realtime_spend.relay.legs import Leg
from realtime_spend.relay.sent_tap import SentTap
from realtime_spend.relay.tap import UsageTap
from realtime_spend.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from realtime_spend.core.endpoints import Endpoint
    from realtime_spend.core.pricing import Priced
    from realtime_spend.metering import Metering
    from realtime_spend.relay.doors import HeadReader
    from realtime_spend.relay.settings import Limits

# What a server has sent before it knows that its client is gone is billed: it is read before the connection is left.
_LAST_READ_SECONDS = 2.0
_LAST_READ_OF_TLS_SECONDS = 0.2
# After one side has said that nothing more comes, the other may go on for so long.
_HALF_CLOSED_SECONDS = 10.0


class SpendingWatcher(Watcher):
    """Watches a relayed socket, and knows what its session has cost so far."""

    __slots__ = ("spent",)

    def __init__(self, metering: Metering, endpoint: Endpoint, attributes: Mapping[str, str]) -> None:
        super().__init__(metering, endpoint, attributes, origin="relay")
        self.spent: Decimal = money.ZERO

    def charged(self, priced: Priced) -> None:
        """Add what a usage costs; of one without a price nobody knows."""
        if priced.cost is not None:
            self.spent = money.add(self.spent, priced.cost)


class RelayedSession:
    """Joins two connections whose handshakes are done."""

    def __init__(
        self,
        client: asyncio.Transport,
        upstream: asyncio.Transport,
        *,
        watcher: SpendingWatcher,
        limits: Limits,
        tell: Callable[[str, str], None],
        on_end: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._watcher, self._limits, self._tell, self._on_end = watcher, limits, tell, on_end
        self._tap = UsageTap(watcher, limits.frame_bytes)
        sent = SentTap(watcher, limits.frame_bytes) if watcher.wants_sent else FrameWalk(limits.frame_bytes)
        self._client = Leg(self, client, sent)
        self._upstream = Leg(self, upstream, self._tap)
        self._client.join(self._upstream)
        self._upstream.join(self._client)
        self._timers: list[asyncio.TimerHandle] = []
        self._idle_since = self._loop.time()
        self.ending: Ending | None = None
        # A slow client has the same time for what is on its way to it when the session has ended.
        self._patience = limits.unread or _HALF_CLOSED_SECONDS
        # Only where something may have to be done after a message is each looked at.
        self.awaits_attention = limits.spend is not None

    def begin(self, client: HeadReader, upstream: HeadReader) -> None:
        """Pass on, beginning with what has come after the handshakes."""
        client.hand_over(self._client)
        upstream.hand_over(self._upstream)
        self._watcher.opened()
        if self._limits.total is not None:
            self._timers.append(self._loop.call_later(self._limits.total, self.end, Ending.TOO_LONG))
        for leg, data in ((self._upstream, upstream.rest), (self._client, client.rest)):
            if data:
                leg.data_received(data)
        for leg in (self._client, self._upstream):
            # That may have been more already than the other side takes at once.
            if not leg.is_held_back:
                leg.go_on()

    def look(self, now: float) -> None:
        """Now and then: end a session in which nothing happens, or whose client takes nothing."""
        unread, idle = self._limits.unread, self._limits.idle
        for leg in (self._client, self._upstream):
            if leg.walk.moved:
                self._idle_since = now
            # Whoever reads slowly lets something through now and then.
            if leg.walk.moved or not leg.is_held_back:
                leg.held_since = None
            elif leg.held_since is None:
                leg.held_since = now
            elif unread is not None and now - leg.held_since >= unread:
                self.end(Ending.UNREAD)
            leg.walk.moved = False
        if idle is not None and now - self._idle_since >= idle:
            self.end(Ending.IDLE)

    def attend(self, leg: Leg) -> None:
        """After a message: end the session if it is not to go on."""
        if leg.walk.is_too_large:
            self.end(Ending.TOO_LARGE)
        elif self._limits.spend is not None and self._watcher.spent >= self._limits.spend:
            self.end(Ending.SPENT)

    def lose_track(self, leg: Leg) -> None:
        """The walk has failed: the bytes go on, and are not metered any more."""
        self._tell("lost_track", "a session goes on unmetered: reading along has failed")
        leg.follow_blindly()

    def end(self, ending: Ending) -> None:
        """Say to both sides that it ends and why, each in the middle of nothing, and leave when they have answered."""
        if self.ending is not None:
            return
        self.ending = ending
        if ending is not Ending.DRAINED:
            self._tell(ending.name.lower(), f"a session was ended: {ending.reason}")
        # What the upstream still sends is metered, and no longer passed on.
        self._upstream.say_last(close_frame(ending.code, ending.reason, masked=False))
        self._client.say_last(close_frame(1000, "", masked=True))
        self._client.go_on()
        self._upstream.go_on()
        self._later(self._limits.ending, self.cut)

    def cut(self) -> None:
        """Leave both connections as they are."""
        for leg in (self._client, self._upstream):
            if not leg.is_lost:
                leg.transport.abort()

    def ended(self, leg: Leg) -> None:
        """One side sends no more."""
        other = leg.other
        self._finish(other)
        if other.has_ended:
            for each in (leg, other):
                each.transport.close()
        else:
            self._later(self._patience, self.cut)

    def lost(self, leg: Leg, error: Exception | None) -> None:
        """The connection to one side is gone; the other one goes with it."""
        other = leg.other
        if leg is self._upstream:
            self._watcher.closed()
            if self._tap.is_unreadable:
                self._tell("unreadable_frame", "a session had frames that nobody can read, compressed or masked")
            if self.ending is not None and not other.has_ended:
                self._finish(other)
            elif error is not None:
                other.reset()
            elif not other.is_lost:
                # What is on its way to the client still gets there.
                other.transport.close()
                self._later(self._patience, self.cut)
        elif not other.is_lost:
            self._read_the_rest()
        if leg.is_lost and other.is_lost:
            for timer in self._timers:
                timer.cancel()
            self._timers.clear()
            self._on_end()

    def _finish(self, leg: Leg) -> None:
        """Tell a peer that nothing more comes. A client that was told why it ends may still be speaking.

        TLS can only be closed as a whole, which resets whoever speaks: then its own end is waited for.
        """
        if self.ending is None or leg is self._upstream or leg.transport.can_write_eof():
            leg.finish_writing()

    def _read_the_rest(self) -> None:
        upstream = self._upstream
        upstream.say_last(None)
        upstream.go_on()
        if upstream.transport.can_write_eof():
            upstream.finish_writing()
            self._later(_LAST_READ_SECONDS, self.cut)
        else:
            self._later(_LAST_READ_OF_TLS_SECONDS, upstream.transport.close)
            self._later(_LAST_READ_SECONDS, self.cut)

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self._timers.append(self._loop.call_later(seconds, act))
