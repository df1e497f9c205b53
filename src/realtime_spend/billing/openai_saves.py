"""Saved answers of OpenAI that are of the same days: of a result that several files have, the newest file's counts.

Pages that are saved every day repeat the days before, and the sum of them is nobody's bill.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from realtime_spend.core.reconciliation.bills import BilledItem, BillProblem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date


class Age(NamedTuple):
    """What tells which of two files is newer: the last day that one is about, then when it was written."""

    until: date
    written: float


def newest_only(items: Sequence[BilledItem], ages: Mapping[str, Age]) -> tuple[list[BilledItem], list[BillProblem]]:
    """Return the items without those that a newer file says again, and what is to be said of each older file.

    `ages` are of OpenAI's files, of any number; items of other files stay as they are. Of two files of one age the one
    that was given later is the newer.
    """
    # `sorted` keeps the order of what is equal.
    rank = {file: number for number, file in enumerate(sorted(ages, key=ages.__getitem__))}
    newest = _newest(items, rank)
    kept: list[BilledItem] = []
    again: Counter[tuple[str, str]] = Counter()
    for item in items:
        newer = _newer(item, newest, rank)
        if newer is None or item.file is None:
            kept.append(item)
        else:
            again[item.file, newer] += 1
    return kept, [
        BillProblem(message=f"{count} of its results are in {newer} as well, which is newer; those count", file=older)
        for (older, newer), count in again.items()
    ]


def _key(item: BilledItem) -> tuple[date, str, str]:
    return item.day, item.meter.name, item.currency


def _newest(items: Sequence[BilledItem], rank: Mapping[str, int]) -> dict[tuple[date, str, str], dict[str | None, str]]:
    """Return the newest file that has a line item of a day, by project."""
    newest: dict[tuple[date, str, str], dict[str | None, str]] = {}
    for item in items:
        if item.file is not None and item.file in rank:
            files = newest.setdefault(_key(item), {})
            files[item.account] = max(item.file, files.get(item.account, item.file), key=rank.__getitem__)
    return newest


def _newer(
    item: BilledItem, newest: Mapping[tuple[date, str, str], Mapping[str | None, str]], rank: Mapping[str, int]
) -> str | None:
    """Return a newer file that has the same; a file that is not split by project has that of every project."""
    if item.file is None or item.file not in rank:
        return None
    by_account = newest[_key(item)]
    files = by_account.values() if item.account is None else (by_account.get(item.account), by_account.get(None))
    best = max(filter(None, files), key=rank.__getitem__)
    return best if rank[best] > rank[item.file] else None
