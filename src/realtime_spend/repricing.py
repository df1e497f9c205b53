"""Joins ledger, cards and deployments: what the usage of a ledger costs by other rates, as a diff and as a copy."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from realtime_spend.advice import advice
from realtime_spend.core.price_changes import price_changes
from realtime_spend.core.rates import Reason
from realtime_spend.core.repricing import Repricer
from realtime_spend.core.session import Metered
from realtime_spend.estimates.copying import LedgerCopy
from realtime_spend.estimates.ledger import Once, Reading, entry_of, ledger_files, lines_of, parse_record
from realtime_spend.reporting import Report, doubts, group_of, in_order, is_within, refuse_unreadable, unheard_of
from realtime_spend.reports.printing import counted
from realtime_spend.sinks.records import ledger_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from realtime_spend.core.naming import Deployment
    from realtime_spend.core.price_changes import PriceChange
    from realtime_spend.core.rates import RateBook
    from realtime_spend.core.repricing import Repriced
    from realtime_spend.estimates.ledger import Entry

# What of a record depends on cards and deployments. All else is what happened, and stays.
_PRICED = ("model", "version", "scope", "region", "quantities", "costs", "cost", "low", "high", "currency", "rate_card")
_MOST_NAMES = 5
_NO_TIME = datetime.min.replace(tzinfo=UTC)


def reprice(
    folder: Path,
    by: tuple[str, ...],
    *,
    book: RateBook,
    deployments: Mapping[str, Deployment],
    since: datetime | None = None,
    until: datetime | None = None,
    output: Path | None = None,
    advance: Callable[[int], None] = lambda _bytes: None,
) -> Report[PriceChange]:
    """Price the usage of the ledger in `folder`, from `since` to before `until`, again.

    With `output` a copy of the whole ledger is written there, in which that usage has its price of now; what is outside
    of the time is as it was. The ledger itself is never changed: programs may be writing it.

    Raises:
        ValueError: there is no ledger to read, or the copy cannot be written; the sentence says what to do.
    """
    repricer = Repricer(book, deployments)
    with nullcontext() if output is None else LedgerCopy(output, of=folder) as copy:
        read = _Read()
        for path in ledger_files(folder):
            read.files += 1
            if copy is not None:
                copy.begin(path.name)
            for number, line in lines_of(path, advance):
                written = _again(line, (path.name, number), read, repricer, lambda at: is_within(at, since, until))
                if copy is not None:
                    copy.write(written)
        after = read.reading()
        refuse_unreadable(folder, after)
    pairs = [(before, new) for before, new in read.pairs() if is_within(new.at, since, until)]
    entries = [new for _, new in pairs]
    totals = price_changes(pairs, lambda _entry: ())
    return Report(
        by=by,
        groups=in_order(price_changes(pairs, lambda entry: group_of(entry, by))),
        totals={currency: change for (_, currency), change in totals.items()},
        problems=[
            *unheard_of(by, entries),
            *_remarks(pairs, read.unchangeable),
            *_doubtful(read.doubtful - read.requested),
            *doubts(after, entries, book),
            *sorted(set(_advised(pairs, repricer))),
        ],
    )


@dataclass(slots=True, kw_only=True)
class _Read:
    """What was read so far: each usage once as it was and once as it is priced now."""

    before: Once = field(default_factory=Once)
    after: Once = field(default_factory=Once)
    files: int = 0
    unreadable: list[tuple[str, int]] = field(default_factory=list)
    unchangeable: int = 0
    requested: set[str | None] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)

    def pairs(self) -> Iterator[tuple[Entry, Entry]]:
        """Yield each usage before and after. Of several records of it another one may be the better one after."""
        yield from zip(self.before.nameless, self.after.nameless, strict=True)
        after = self.after.by_key()
        for key, before in self.before.by_key().items():
            yield before, after[key]

    def reading(self) -> Reading:
        """Return what a reader of the copy reads."""
        return Reading(
            entries=self.after.entries(),
            files=self.files,
            repeated=self.after.repeated,
            unreadable=self.unreadable,
        )


def _again(
    line: bytes, place: tuple[str, int], read: _Read, repricer: Repricer, is_meant: Callable[[datetime], bool]
) -> bytes:
    """Take one line of the ledger; return it with the price that it has now, or as it is."""
    record = parse_record(line)
    before = None if record is None else entry_of(record)
    if record is None or before is None:
        read.unreadable.append(place)
        return line
    read.before.add(before)
    read.requested.add(before.requested_model)
    after = before
    if is_meant(before.at):
        repriced = repricer.reprice(before)
        read.unchangeable += repriced is None
        if repriced is not None:
            read.doubtful |= repriced.doubtful
            changed = {**record, **_fields(repriced)}
            if changed != record:
                line = json.dumps(changed, separators=(",", ":")).encode() + b"\n"
                after = entry_of(changed) or before
    read.after.add(after)
    return line


def _fields(repriced: Repriced) -> dict[str, Any]:
    """Return what of the record is to change, in the one form that records have."""
    record = ledger_record(
        Metered(usage=repriced.usage, named=repriced.named, session=None, at=0),
        repriced.endpoint,
        repriced.resolved,
        repriced.priced,
        at=_NO_TIME,
        account=None,
        attributes={},
    )
    # A name that stands for no sku now is kept as it is on record.
    kept = () if repriced.resolved.sku is not None else ("model", "version")
    return {name: record[name] for name in _PRICED if name not in kept}


def _remarks(pairs: Sequence[tuple[Entry, Entry]], unchangeable: int) -> Iterator[str]:
    if unchangeable:
        yield f"{counted(unchangeable, 'record')} left at the old price: without the service's own numbers to price"
    converted = sum(None not in (old.cost, new.cost) and old.currency != new.currency for old, new in pairs)
    if converted:
        yield f"{counted(converted, 'usage')} priced in another currency than before: nothing is converted"


def _doubtful(names: set[str]) -> Iterator[str]:
    """Say which names of the map can only have been said by sessions. Those in a URL are on record."""
    if names:
        said = ", ".join(repr(name) for name in sorted(names)[:_MOST_NAMES]) + (
            ", …" if len(names) > _MOST_NAMES else ""
        )
        yield (
            f"what the deployment map says of {said} is not applied where only the session said that name: "
            "a record with a price keeps the name in its URL; give that one to apply it"
        )


def _advised(pairs: Sequence[tuple[Entry, Entry]], repricer: Repricer) -> Iterator[str]:
    """Say what keeps usage from having a price, and what to set."""
    seen: set[tuple[str | None, ...]] = set()
    for before, after in pairs:
        key = (after.provider, after.requested_model, after.model, after.version, after.scope, after.region)
        if None not in after.costs.values() or key in seen:
            continue
        seen.add(key)
        repriced = repricer.reprice(before)
        if repriced is not None:
            yield from (_advice(repriced, reason) for reason in repriced.priced.reasons)


def _advice(repriced: Repriced, reason: Reason) -> str:
    name = repriced.named.requested
    if reason is Reason.MODEL_NOT_NAMED and name is not None:
        return f'no record says for certain what {name!r} runs: say it, --deployments \'{{"{name}": "gpt-realtime"}}\''
    return advice(repriced.endpoint, repriced.named, repriced.resolved, reason)[1]
