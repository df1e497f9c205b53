"""Joins ledger, cards and sums: what was spent, by whatever one wants to know it by, and what is not in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Generic, TypeVar

from realtime_spend.core.explanation import contested
from realtime_spend.core.line_items import Provider, Scope, Sku
from realtime_spend.core.rates import Prices
from realtime_spend.core.spending import spending
from realtime_spend.core.usage import Reported
from realtime_spend.estimates.ledger import read_ledger
from realtime_spend.reports.printing import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from realtime_spend.core.rates import RateBook
    from realtime_spend.core.spending import Group, Spending
    from realtime_spend.estimates.ledger import Entry, Reading

_Sums = TypeVar("_Sums")
# What groups can be made by, beside attributes: how much of the instant, in UTC, and how it is written.
_TIMES = {"month": (7, ""), "day": (10, ""), "hour": (13, ":00Z")}
_NAMES = ("model", "version", "requested_model", "scope", "region", "session", "account", "provider", "server")
_FIELDS = (*_NAMES, "kind", "status", "usage", "rate_card")
KEYS = (*_TIMES, *_FIELDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Generic[_Sums]):
    """Sums by group and by currency, and sentences about what is not in them."""

    by: tuple[str, ...]
    groups: Mapping[Group, _Sums]
    totals: Mapping[str, _Sums]
    problems: Sequence[str]


def add_up(
    folder: Path,
    by: tuple[str, ...],
    *,
    book: RateBook,
    since: datetime | None = None,
    until: datetime | None = None,
    advance: Callable[[int], None] = lambda _bytes: None,
) -> Report[Spending]:
    """Add up the ledger in `folder` from the instant `since` to before the instant `until`.

    `by` names `month`, `day` or `hour`, a field of the ledger, or one of the attributes that sessions were given.

    Raises:
        ValueError: there is no ledger to read; the sentence says what to do.
    """
    reading = read_ledger(folder, advance)
    refuse_unreadable(folder, reading)
    entries = [entry for entry in reading.entries if is_within(entry.at, since, until)]
    groups = spending(entries, lambda entry: group_of(entry, by))
    totals = {currency: spent for (_, currency), spent in spending(entries, lambda _entry: ()).items()}
    return Report(
        by=by,
        groups=in_order(groups),
        totals=totals,
        problems=[*unheard_of(by, entries), *_mixed(totals), *doubts(reading, entries, book)],
    )


def refuse_unreadable(folder: Path, reading: Reading) -> None:
    """Raise a ValueError in one sentence if the files of `folder` are no ledger's at all."""
    if reading.unreadable and not reading.entries:
        raise ValueError(
            f"no line in {folder} is a ledger record; name the folder that REALTIME_SPEND_LEDGER was set to"
        )


def is_within(at: datetime, since: datetime | None, until: datetime | None) -> bool:
    """Whether `at` is in the time from `since` to before `until`; None is no bound."""
    return (since is None or at >= since) and (until is None or at < until)


def in_order(groups: Mapping[Group, _Sums]) -> dict[Group, _Sums]:
    """Return the groups in the order of what they have in common."""
    return dict(sorted(groups.items(), key=lambda item: ([value or "" for value in item[0][0]], item[0][1])))


def unheard_of(by: Sequence[str], entries: Sequence[Entry]) -> Iterator[str]:
    """Say which keys to group by are no field and on no usage: a misspelt one would make one group of all."""
    for key in by:
        if key not in KEYS and entries and not any(key in entry.attributes for entry in entries):
            yield f"no usage has an attribute {key!r}; beside attributes there are {', '.join(KEYS)}"


def group_of(entry: Entry, by: Sequence[str]) -> tuple[str | None, ...]:
    """Return what a usage has in common with the others of its group."""
    return tuple(_said(entry, key) for key in by)


def _said(entry: Entry, key: str) -> str | None:
    if key in _TIMES:
        length, end = _TIMES[key]
        return entry.at.astimezone(UTC).isoformat()[:length] + end
    if key == "usage":
        return str(entry.reported)
    value = getattr(entry, key) if key in _FIELDS else entry.attributes.get(key)
    return None if value is None else str(value)


def _mixed(totals: Mapping[str, Spending]) -> Iterator[str]:
    priced = sorted(currency for currency, spent in totals.items() if spent.cost is not None)
    if len(priced) > 1:
        currencies = f"{', '.join(priced[:-1])} and {priced[-1]}"
        yield f"the costs are in {currencies}: each has its own total, and nothing is converted"


def doubts(reading: Reading, entries: Sequence[Entry], book: RateBook) -> Iterator[str]:
    """Say what the sums of `entries`, those of the reading that are in the time asked for, leave out or assume."""
    if reading.unreadable:
        file, line = reading.unreadable[0]
        yield f"{counted(len(reading.unreadable), 'unreadable line')} left out, the first at {file}:{line}"
    if reading.entries and not entries:
        first, last = (reading.entries[end].at.date() for end in (0, -1))
        yield f"no usage in this time; the ledger holds {first} to {last}"
    not_in = "what it cost is not in these sums"
    if lost := sum(entry.reported is Reported.LOST for entry in entries):
        yield f"{counted(lost, 'response')} begun and never finished: {not_in}"
    if missing := sum(entry.reported is Reported.MISSING for entry in entries):
        yield f"{counted(missing, 'event')} without usage: {not_in}"
    unpriced = [entry for entry in entries if any(cost is None for cost in entry.costs.values())]
    if unpriced:
        models = ", ".join(sorted({f"{entry.model} ({entry.provider})" for entry in unpriced}))
        yield f"{counted(len(unpriced), 'usage')} without a price, or with a part without one, of {models}: {not_in}"
    if assumed := sum(_is_assumed(entry) for entry in entries):
        yield f"{counted(assumed, 'Azure usage')} priced as global because REALTIME_SPEND_DEPLOYMENTS names no scope"
    yield from sorted(set(_contested(entries, book)))


def _is_assumed(entry: Entry) -> bool:
    return entry.provider == Provider.AZURE and entry.scope is None and entry.cost is not None


def _contested(entries: Sequence[Entry], book: RateBook) -> Iterator[str]:
    """Say which contested rates these entries were, as far as today's cards tell, priced with."""
    seen: set[tuple[str | None, ...]] = set()
    for entry in entries:
        key = (entry.provider, entry.model, entry.version, entry.scope, entry.region, *sorted(entry.costs))
        if entry.cost is None or entry.model is None or key in seen or entry.provider not in tuple(Provider):
            continue
        seen.add(key)
        scope = Scope(entry.scope) if entry.scope in tuple(Scope) else None
        sku = Sku(
            provider=Provider(entry.provider),
            model=entry.model,
            version=entry.version,
            scope=scope,
            region=entry.region,
        )
        prices = book.prices(sku, entry.at)
        if isinstance(prices, Prices):
            yield from (contested(entry.model, contest) for contest in prices.contests if contest.part in entry.costs)
