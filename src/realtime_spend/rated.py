"""What a pair of names stands for on one socket, and the rates of now, looked up again only when they may have changed.

Instants are nanoseconds since the epoch: integers all the way, since a float would round them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from realtime_spend.core.rates import Prices, Reason

if TYPE_CHECKING:
    from realtime_spend.core.naming import Resolved
    from realtime_spend.core.rates import RateBook
    from realtime_spend.sinks.metrics import Series
    from realtime_spend.sinks.records import RecordForm

_EPOCH = datetime.fromtimestamp(0, UTC)
_EVER = -(2**70), 2**70


class Rated:
    """What names stand for: the sku, the totals that its usage is added to, the form of its records, and its rates."""

    __slots__ = ("_held", "form", "resolved", "series")

    def __init__(self, resolved: Resolved, series: Series, form: RecordForm) -> None:
        self.resolved, self.series, self.form = resolved, series, form
        # The first instant at which these hold, the first at which they may not, and the rates.
        self._held: tuple[int, int, Prices | Reason] = (0, 0, Reason.MODEL_NOT_NAMED)

    def prices_at(self, at: int, book: RateBook) -> Prices | Reason:
        """Return the rates that `book` says to hold `at` an instant, or why there are none."""
        since, until, prices = self._held
        if since <= at < until:
            return prices
        sku = self.resolved.sku
        if sku is None:
            prices = self.resolved.reason or Reason.MODEL_NOT_NAMED
            since, until = _EVER
        else:
            changes = [_nanoseconds(change) for change in book.changes(sku)]
            prices = book.prices(sku, _instant(at))
            since = max((change for change in changes if change <= at), default=_EVER[0])
            until = min((change for change in changes if change > at), default=_EVER[1])
        # All at once: another thread may be asking.
        self._held = since, until, prices
        return prices


def instant_text(at: int) -> str:
    """Write an instant as the ledger has it, to the microsecond: 2026-11-22T10:00:00.123456Z."""
    seconds, rest = divmod(at, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")


def _instant(at: int) -> datetime:
    seconds, rest = divmod(at, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def _nanoseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1) * 1_000
