"""Compares a thing with and without us, by turns, so that a machine that changes its speed does so for both.

A round measures both, one right after the other, and rounds alternate in which goes first. What is said is the median
of both sides and the median of the differences within rounds, which drift and other work on the machine hardly touch.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 41
QUICK_ROUNDS = 3
# Nanoseconds of this thread alone, so that whoever else is on the machine does not count.
clock = time.thread_time_ns
_BATCH_MICROSECONDS = 2_000
_FEWEST_CALLS, _MOST_CALLS = 5, 400


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Medians of both sides, and of the differences within rounds with their quartiles, all in one unit."""

    bare: float
    ours: float
    added: float
    quartiles: tuple[float, float]

    def scaled(self, factor: float) -> Compared:
        """Return the same in another unit."""
        low, high = self.quartiles
        return Compared(
            bare=self.bare * factor,
            ours=self.ours * factor,
            added=self.added * factor,
            quartiles=(low * factor, high * factor),
        )

    def cells(self, digits: int = 2) -> list[str]:
        """Return what a table says: bare, with us, added, the quartiles of what was added, and the ratio."""
        low, high = self.quartiles
        ratio = f"{self.ours / self.bare:.2f}" if self.bare else ""
        return [
            f"{self.bare:.{digits}f}",
            f"{self.ours:.{digits}f}",
            f"{self.added:+.{digits}f}",
            f"{low:+.{digits}f} … {high:+.{digits}f}",
            ratio,
        ]


CELLS = ("bare", "with us", "added", "quartiles of added", "ratio")


def rounds_of(*, quick: bool, rounds: int = ROUNDS) -> int:
    """Return how many rounds to measure."""
    return QUICK_ROUNDS if quick else rounds


def interleaved(
    bare: Callable[[], float], ours: Callable[[], float], rounds: int, between: Callable[[], object] = lambda: None
) -> Compared:
    """Measure both by turns; each returns what it took. `between` rounds happens what another thread does in a host."""
    return compared(by_turns(bare, ours, rounds, between))


def by_turns(
    bare: Callable[[], float], ours: Callable[[], float], rounds: int, between: Callable[[], object] = lambda: None
) -> list[tuple[float, float]]:
    """Return what both took in each round; rounds alternate in which goes first."""
    pairs = []
    # The first round imports, compiles and warms up, and is not counted.
    for number in range(rounds + 1):
        if number % 2:
            second = ours()
            first = bare()
        else:
            first = bare()
            second = ours()
        between()
        pairs.append((first, second))
    return pairs[1:]


def compared(pairs: list[tuple[float, float]]) -> Compared:
    """Sum up rounds, each of which measured both sides."""
    differences = [ours - bare for bare, ours in pairs]
    low, middle, high = statistics.quantiles(differences, n=4, method="inclusive")
    return Compared(
        bare=statistics.median(bare for bare, _ in pairs),
        ours=statistics.median(ours for _, ours in pairs),
        added=middle,
        quartiles=(low, high),
    )


def per_call(work: Callable[[], object], times: int) -> float:
    """Return the microseconds of one call, averaged over `times`."""
    begun = clock()
    for _ in range(times):
        work()
    return (clock() - begun) / times / 1000


def calls_of(microseconds: float) -> int:
    """Return how often to call what takes so long, so that a batch is longer than the clock is coarse, yet short."""
    return max(_FEWEST_CALLS, min(_MOST_CALLS, int(_BATCH_MICROSECONDS / max(microseconds, 0.01))))
