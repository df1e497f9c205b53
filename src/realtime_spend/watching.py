"""The root of `watch`: reads the bill on a schedule, reports it by OTLP, and lives on where either fails."""

from __future__ import annotations

import logging
import re
import signal
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from realtime_spend.sinks.drift import DriftGauges, snapshot_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping
    from decimal import Decimal

    from realtime_spend.core.reconciliation.drift import Reconciliation
    from realtime_spend.telemetry_pipe import Pipe

_log = logging.getLogger(__name__)
SERVICE_NAME = "realtime-spend-reconciler"
DAYS = 35
_LAST_EXPORT_MILLIS = 15_000


class Ended(BaseException):
    """Somebody asked the program to end."""


class Emission:
    """Reports the newest snapshot by OTLP, through a meter provider that is made anew with each UTC day.

    The SDK never forgets a set of attributes, and each day brings new ones: in a program that runs for years that would
    be a leak. The identity stays, so that nobody notices.
    """

    def __init__(self, open_pipe: Callable[[], Pipe]) -> None:
        self._open = open_pipe
        self._day: date | None = None
        self._pipe: Pipe | None = None
        self._gauges: DriftGauges | None = None

    def say(self, reconciliation: Reconciliation, *, at: datetime, days: int, fx: Mapping[str, Decimal]) -> int:
        """Report this from now on, at once and with every export; return the number of rows without a rate."""
        snapshot = snapshot_of(reconciliation, at=at, days=days, fx=fx)
        if self._gauges is None or self._pipe is None or self._day != at.date():
            before = self._gauges
            self.end()
            self._pipe = self._open()
            self._gauges, self._day = DriftGauges(self._pipe.provider, instead_of=before), at.date()
        self._gauges.show(snapshot)
        # It raises where the time is up; the exporter has logged why, and the next export is near.
        with suppress(Exception):
            self._pipe.provider.force_flush(_LAST_EXPORT_MILLIS)
        return snapshot.without_rate

    @property
    def arrived(self) -> bool | None:
        """Whether the last export was taken in; None where there was nothing to export yet."""
        return None if self._pipe is None else self._pipe.delivery.arrived

    def end(self) -> None:
        """Export it once more, and close the provider."""
        pipe, self._pipe, self._gauges = self._pipe, None, None
        if pipe is not None:
            # As above, and nothing comes after it.
            with suppress(Exception):
                pipe.provider.shutdown(_LAST_EXPORT_MILLIS)


@dataclass(slots=True, kw_only=True)
class Watch:
    """Asks, reports, waits. Where `ask` raises, what was reported last stays, and its age can be seen."""

    ask: Callable[[datetime], Reconciliation]
    emission: Emission
    # None: there is no second time.
    every: timedelta | None = timedelta(hours=1)
    days: int = DAYS
    fx: Mapping[str, Decimal] = field(default_factory=dict)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    tell: Callable[[str], None] = _log.warning
    _last_success: datetime | None = None
    _failures: set[str] = field(default_factory=set)
    _without_rate: int = 0

    def look(self) -> Reconciliation | None:
        """Read once and report it; None where that failed, which is told once a kind until it succeeds again."""
        at = self.clock()
        try:
            found = self.ask(at)
        except Exception as error:  # noqa: BLE001 - a source may raise anything, and the next time it may answer
            self._tell_of(error)
            return None
        if self._failures:
            self.tell("the bill is read again")
            self._failures.clear()
        self._last_success = at
        without_rate = self.emission.say(found, at=at, days=self.days, fx=self.fx)
        if without_rate and not self._without_rate:
            self.tell(
                f"{without_rate} rows are in {found.currency}, and nothing says what that is in USD: their money is "
                f"left out; give --fx {found.currency}=..."
            )
        self._without_rate = without_rate
        return found

    def run(self, stop: threading.Event) -> None:
        """Look every so often until `stop` is set."""
        while not stop.is_set():
            self.look()
            stop.wait(None if self.every is None else self.every.total_seconds())

    def _tell_of(self, error: Exception) -> None:
        what = str(error) if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: {error}"
        # Two that differ in a number only are of one kind.
        kind = re.sub(r"\d+", "", what)
        if kind in self._failures:
            return
        self._failures.add(kind)
        _log.debug("the bill cannot be read", exc_info=error)
        if self.every is None:
            self.tell(what)
            return
        if self._last_success is None:
            state = "nothing was read yet"
        else:
            state = f"what was read at {self._last_success:%Y-%m-%d %H:%M} UTC stays"
        self.tell(f"{what} ({state}; tried again every {said(self.every)}; said once)")


def said(duration: timedelta) -> str:
    """Write a duration as `--every` takes it."""
    seconds = round(duration.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Within the block SIGINT and SIGTERM raise `Ended` in the main thread; a second one ends the process as ever."""
    wanted = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in wanted}

    def end(_number: int, _frame: object) -> None:
        for number in wanted:
            signal.signal(number, signal.SIG_DFL)
        raise Ended

    for number in wanted:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
