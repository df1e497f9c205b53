"""Money as the ledger has it and as PromQL has it: exactly by differences, and as `increase()` would guess it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from grafana.names import label, series

from realtime_spend.core import money
from realtime_spend.sinks import metrics as names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from tests.stack.conftest import Prometheus

    from realtime_spend.estimates.ledger import Entry

# What a value looks back over before a window: a process may pause between exports.
BEFORE = "1d"


def exactly(series: str, window: str) -> str:
    """What each series grew by in a window: what it said last in it minus what it had said before, or minus 0."""
    last = f"last_over_time({series}[{window}])"
    return f"({last} - (last_over_time({series}[{BEFORE}] offset {window}) or {last} * 0))"


def grown(prometheus: Prometheus, metric: str, *own: str, window: str, at: float) -> dict[tuple[Any, ...], float]:
    """What a counter grew by, by model and by labels of its own, without what did not grow."""
    by = [label(name) for name in (names.PROVIDER_NAME, names.MODEL, names.VERSION, *own)]
    answer = prometheus.query(f"sum by ({', '.join(by)}) ({exactly(series(metric), window)})", at=at)
    found = {}
    for labels, value in answer.items():
        provider, model, version, *others = (dict(labels).get(name) for name in by)
        if value:
            found[(provider, model, version), *(other or "" for other in others)] = value
    return found


def quantities(prometheus: Prometheus, *, window: str, at: float) -> dict[tuple[Any, ...], float]:
    """What the counters of tokens and of time grew by, by their names, by model and by modality."""
    return {
        (metric, *key): value
        for metric in (names.INPUT_TOKENS, names.CACHE_READ_TOKENS, names.OUTPUT_TOKENS, names.BILLABLE_DURATION)
        for key, value in grown(prometheus, metric, names.MODALITY, window=window, at=at).items()
    }


def growth(prometheus: Prometheus, series: str, *, begin: float, end: float) -> float:
    """What all series together grew by in a window, exactly."""
    return _one_value(prometheus, f"sum({exactly(series, _milliseconds(begin, end))})", end)


def increase(prometheus: Prometheus, series: str, *, begin: float, end: float) -> float:
    """What `increase()` makes of the same window."""
    return _one_value(prometheus, f"sum(increase({series}[{_milliseconds(begin, end)}]))", end)


def _milliseconds(begin: float, end: float) -> str:
    return f"{round((end - begin) * 1000)}ms"


def _one_value(prometheus: Prometheus, expr: str, at: float) -> float:
    values = list(prometheus.query(expr, at=at).values())
    assert len(values) <= 1
    return values[0] if values else 0.0


def spent(entries: Iterable[Entry], *, begin: float = -math.inf, end: float = math.inf) -> Decimal:
    """What the usages of the ledger cost from one instant on and before another."""
    costs = (entry.cost for entry in entries if begin <= entry.at.timestamp() < end)
    return money.add(*(cost for cost in costs if cost is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The same windows in three accounts: the ledger's, that of the exact query, and that of `increase()`."""

    what: str
    ledger: tuple[Decimal, ...]
    exact: tuple[float, ...]
    guessed: tuple[float, ...]

    def __str__(self) -> str:
        rows = zip(self.ledger, self.exact, self.guessed, strict=True)
        lines = [f"{ledger:>18f} {exact:>18.12f} {guessed:>18.12f}" for ledger, exact, guessed in rows]
        total = f"{sum(self.ledger):>18f} {sum(self.exact):>18.12f} {sum(self.guessed):>18.12f}  in all"
        heading = f"{'ledger':>18} {'exact':>18} {'increase()':>18}  {self.what}"
        return "\n".join([heading, *lines, total])


def accounts(
    prometheus: Prometheus, entries: Iterable[Entry], *, what: str, series: str, edges: Sequence[float]
) -> Accounts:
    """Takes the accounts of consecutive windows between these instants, and prints them."""
    known = list(entries)
    windows = [{"begin": begin, "end": end} for begin, end in pairwise(edges)]
    found = Accounts(
        what=what,
        ledger=tuple(spent(known, **window) for window in windows),
        exact=tuple(growth(prometheus, series, **window) for window in windows),
        guessed=tuple(increase(prometheus, series, **window) for window in windows),
    )
    print(f"\n{found}")  # noqa: T201 - for who runs the test with -s
    return found
