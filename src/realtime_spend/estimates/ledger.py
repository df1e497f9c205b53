"""Reads ledger folders: every usage once, whatever number of sockets and processes wrote it down.

Of several records of one usage the better known counts (reported, estimated, missing, lost, in this order), and of
equals the first. A line that cannot be read is skipped and counted: a process may have been killed in the middle of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from realtime_spend.core import money
from realtime_spend.core.usage import RANK, Kind, Reported
from realtime_spend.estimates.running_totals import greatest, increase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from decimal import Decimal
    from pathlib import Path

_VERSION = 1
# Provider, server, kind and id; of a running total the day too, since each day has its own part of it.
_RUNNING_TOTALS = frozenset({Kind.LIVE, Kind.TRANSLATION})
_Key = tuple[str, str, str, str, date | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One usage of the ledger. Quantities and costs by `audio.cached_input` and the like; a cost of None is unknown."""

    at: datetime
    kind: str
    provider: str
    server: str
    account: str | None
    session: str | None
    id: str | None
    status: str | None
    reported: Reported
    model: str | None
    version: str | None
    scope: str | None
    quantities: Mapping[str, Decimal]
    costs: Mapping[str, Decimal | None]
    cost: Decimal | None
    low: Decimal | None
    high: Decimal | None
    currency: str | None
    requested_model: str | None = None
    region: str | None = None
    service: str | None = None
    rate_card: str | None = None
    raw: Mapping[str, Any] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Reading:
    """All usages of a ledger in the order of their instants, and how much of it could not be read, by file and line."""

    entries: list[Entry]
    files: int = 0
    repeated: int = 0
    unreadable: list[tuple[str, int]] = field(default_factory=list)


class Once:
    """Usages without their repetitions: of several accounts of one usage the best known is kept."""

    def __init__(self) -> None:
        self.kept: dict[_Key, Entry] = {}
        # Without an id nothing tells two usages from one that is repeated.
        self.nameless: list[Entry] = []
        self.repeated = 0

    def add(self, entry: Entry) -> None:
        """Take one more account of a usage."""
        if entry.id is None:
            self.nameless.append(entry)
            return
        day = entry.at.date() if entry.kind in _RUNNING_TOTALS else None
        key = (entry.provider, entry.server, entry.kind, entry.id, day)
        known = self.kept.get(key)
        self.repeated += known is not None
        if known is None:
            self.kept[key] = entry
        elif day is not None:
            self.kept[key] = greatest(entry, known)
        elif _is_better(entry, known):
            self.kept[key] = entry

    def entries(self) -> list[Entry]:
        """Return each usage once, in the order of their instants."""
        return sorted([*self.nameless, *self.by_key().values()], key=lambda entry: entry.at)

    def by_key(self) -> dict[_Key, Entry]:
        """Return each usage that has an id; of a running total what it has grown by on each day."""
        found = {key: entry for key, entry in self.kept.items() if entry.kind not in _RUNNING_TOTALS}
        before: dict[_Key, Entry] = {}
        for key in sorted(self.kept.keys() - found.keys(), key=lambda key: (*key[:4], key[4] or date.min)):
            entry, session = self.kept[key], (*key[:4], None)
            known = before.get(session)
            grown = entry if known is None else increase(entry, known)
            if grown is not None:
                if known is not None and not known.quantities:
                    # What nobody knew one day was told the next.
                    del found[*key[:4], known.at.date()]
                before[session], found[key] = entry, grown
        return found


def read_ledger(folder: Path, advance: Callable[[int], None] = lambda _bytes: None) -> Reading:
    """Read every file of `folder`; `advance` is told the bytes that were read, for those who show progress.

    Raises:
        ValueError: there is no ledger; the sentence says what to do.
    """
    files = ledger_files(folder)
    once = Once()
    unreadable = []
    for path in files:
        for number, line in lines_of(path, advance):
            entry = parse_entry(line)
            if entry is None:
                unreadable.append((path.name, number))
            else:
                once.add(entry)
    return Reading(entries=once.entries(), files=len(files), repeated=once.repeated, unreadable=unreadable)


def _is_better(entry: Entry, known: Entry) -> bool:
    if RANK[entry.reported] != RANK[known.reported]:
        return RANK[entry.reported] > RANK[known.reported]
    # A sideband that did not learn its model has the same usage without a price.
    return known.cost is None and entry.cost is not None


def ledger_files(folder: Path) -> list[Path]:
    """Return the files of the ledger in `folder`, in the order of their names.

    Raises:
        ValueError: there is no ledger; the sentence says what to do.
    """
    if not folder.exists():
        raise ValueError(f"{folder} does not exist; name the folder that REALTIME_SPEND_LEDGER was set to")
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; name the one that REALTIME_SPEND_LEDGER was set to")
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise ValueError(f"{folder} holds no ledger file; is it the folder that REALTIME_SPEND_LEDGER was set to?")
    return files


def ledger_size(folder: Path) -> int:
    """Return the bytes that `read_ledger` will read; 0 where there is nothing."""
    return sum(path.stat().st_size for path in folder.glob("*.jsonl"))


def lines_of(path: Path, advance: Callable[[int], None] = lambda _bytes: None) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file that are not blank, each with its number from 1 on.

    Raises:
        ValueError: the file cannot be read; the sentence names it.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                advance(len(line))
                if line.strip():
                    yield number, line
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def parse_entry(line: bytes) -> Entry | None:
    """Return the usage that one line holds, None if it holds none that we can read."""
    record = parse_record(line)
    return None if record is None else entry_of(record)


def parse_record(line: bytes) -> dict[str, Any] | None:
    """Return the record that one line holds, whatever is in it; None if it is none of this version."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.get("v") == _VERSION else None


def entry_of(record: Mapping[str, Any]) -> Entry | None:
    """Return the usage that a record holds, None if something of it is not what it must be."""
    try:
        return _entry(record)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _entry(record: Mapping[str, Any]) -> Entry:
    at = datetime.fromisoformat(record["at"])
    if at.tzinfo is None:
        raise ValueError("an instant without an offset")
    at = at.astimezone(UTC)
    return Entry(
        at=at,
        kind=str(record["kind"]),
        provider=str(record["provider"]),
        server=str(record["server"]),
        account=_name(record.get("account")),
        session=_name(record.get("session")),
        id=_name(record["id"]),
        status=_name(record.get("status")),
        reported=Reported(record["usage"]),
        model=_name(record.get("model")),
        version=_name(record.get("version")),
        scope=_name(record.get("scope")),
        quantities={part: money.exact(str(quantity)) for part, quantity in record["quantities"].items()},
        costs={part: _amount(cost) for part, cost in record["costs"].items()},
        cost=_amount(record.get("cost")),
        low=_amount(record.get("low")),
        high=_amount(record.get("high")),
        currency=_name(record.get("currency")),
        requested_model=_name(record.get("requested_model")),
        region=_name(record.get("region")),
        service=_name(record.get("service")),
        rate_card=_name(record.get("rate_card")),
        raw=record.get("raw"),
        attributes=dict((record.get("attributes") or {}).items()),
    )


def _name(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError("a name must be text")
    return value


def _amount(text: str | None) -> Decimal | None:
    """Refuse a number: money that has been a float is not money any more."""
    if text is not None and not isinstance(text, str):
        raise TypeError("money must be text")
    return None if text is None else money.exact(text)
