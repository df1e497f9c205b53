"""Estimates by UTC day and part of a sku, from a ledger or from a PromQL server, to be held against a bill.

A ledger keeps each usage, so that it also tells how large a lost one may have been and between what bounds the cost of
an unsplit cache lies. Metrics tell neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, NamedTuple, overload

from realtime_spend.core import money
from realtime_spend.core.line_items import Component, Modality, Part, Provider, Scope
from realtime_spend.core.reconciliation.bills import BillProblem
from realtime_spend.core.reconciliation.estimated import Estimate, Estimates, EstimateSource, Gap
from realtime_spend.core.usage import Kind, Reported
from realtime_spend.estimates.ledger import read_ledger
from realtime_spend.estimates.unsplit_cache import bounds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from decimal import Decimal
    from pathlib import Path

    from realtime_spend.core.rates import RateBook
    from realtime_spend.estimates.ledger import Entry
    from realtime_spend.estimates.promql import PromqlReader, Totals

_NUMBERLESS = (Reported.MISSING, Reported.LOST)
_PARTS = {str(part): part for part in (Part(modality, component) for modality in Modality for component in Component)}


class _Place(NamedTuple):
    day: date
    provider: Provider
    account: str | None
    model: str | None
    version: str | None
    scope: Scope | None
    region: str | None
    part: Part
    currency: str


@dataclass(slots=True)
class _Sum:
    quantity: Decimal = money.ZERO
    unpriced: Decimal = money.ZERO
    cost: Decimal | None = None
    low: Decimal = money.ZERO
    high: Decimal = money.ZERO
    is_interval: bool = False

    def add(self, quantity: Decimal, cost: Decimal | None, bounds: tuple[Decimal, Decimal] | None) -> None:
        self.quantity = money.add(self.quantity, quantity)
        if cost is None:
            self.unpriced = money.add(self.unpriced, quantity)
            return
        low, high = bounds or (cost, cost)
        self.is_interval = self.is_interval or low != high
        self.cost = money.add(self.cost or money.ZERO, cost)
        self.low, self.high = money.add(self.low, low), money.add(self.high, high)


class _Kind(NamedTuple):
    day: date
    provider: Provider
    account: str | None
    model: str | None
    kind: Kind
    scope: Scope | None


@dataclass(slots=True)
class _Count:
    usages: int = 0
    numberless: dict[Reported, int] = field(default_factory=dict)
    largest: dict[Part, Decimal] = field(default_factory=dict)


def ledger_estimates(
    folder: Path,
    *,
    first: date | None = None,
    last: date | None = None,
    book: RateBook | None = None,
    advance: Callable[[int], None] = lambda _bytes: None,
) -> Estimates:
    """Return what the ledger in `folder` counted from the UTC day `first` to `last`, both included; None: no bound.

    Costs are those of the records. `book` is asked for the bounds of an unsplit cache alone.

    Raises:
        ValueError: there is no ledger; the sentence says what to do.
    """
    reading = read_ledger(folder, advance)
    within = [entry for entry in reading.entries if (first or date.min) <= entry.at.date() <= (last or date.max)]
    known = [entry for entry in within if _is_known(entry)]
    found = Estimates(source=EstimateSource.LEDGER, items=_items(known, book), gaps=_gaps(known))
    found.problems += [
        BillProblem(file=str(folder / name), row=line, message="this line of the ledger cannot be read; it is left out")
        for name, line in reading.unreadable
    ]
    if others := len(within) - len(known):
        whose = ", ".join(sorted({entry.provider for entry in within if not _is_known(entry)}))
        what = f"{others} usages of {whose} are of a provider or a kind that no bill is read of; they are left out"
        found.problems.append(BillProblem(file=str(folder), message=what))
    return found


def _is_known(entry: Entry) -> bool:
    return entry.provider in set(Provider) and entry.kind in set(Kind) and entry.quantities.keys() <= _PARTS.keys()


def _items(entries: Iterable[Entry], book: RateBook | None) -> list[Estimate]:
    sums: dict[_Place, _Sum] = {}
    for entry in entries:
        bounds = bounds_of(entry, book)
        for text in {**entry.quantities, **bounds}:
            place = _Place(
                day=entry.at.date(),
                provider=Provider(entry.provider),
                account=entry.account,
                model=entry.model,
                version=entry.version,
                scope=_scope(entry.scope),
                region=entry.region,
                part=_PARTS[text],
                currency=entry.currency or "USD",
            )
            quantity = entry.quantities.get(text, money.ZERO)
            cost = entry.costs.get(text) if quantity else money.ZERO
            sums.setdefault(place, _Sum()).add(quantity, cost, bounds.get(text))
    return [_estimate(place, total) for place, total in sums.items() if total.quantity or total.is_interval]


def _estimate(place: _Place, total: _Sum) -> Estimate:
    return Estimate(
        **place._asdict(),
        quantity=total.quantity,
        unpriced=total.unpriced,
        cost=total.cost,
        low=total.low if total.is_interval else None,
        high=total.high if total.is_interval else None,
    )


def _gaps(entries: Iterable[Entry]) -> list[Gap]:
    counts: dict[_Kind, _Count] = {}
    for entry in entries:
        kind = _Kind(
            day=entry.at.date(),
            provider=Provider(entry.provider),
            account=entry.account,
            model=entry.model,
            kind=Kind(entry.kind),
            scope=_scope(entry.scope),
        )
        count = counts.setdefault(kind, _Count())
        count.usages += 1
        if entry.reported in _NUMBERLESS:
            count.numberless[entry.reported] = count.numberless.get(entry.reported, 0) + 1
        for text, quantity in entry.quantities.items():
            part = _PARTS[text]
            count.largest[part] = max(count.largest.get(part, money.ZERO), quantity)
    return _gaps_of(counts)


def _gaps_of(counts: Mapping[_Kind, _Count]) -> list[Gap]:
    return [
        Gap(**kind._asdict(), reported=reported, count=number, usages=count.usages, largest=_largest(kind, counts))
        for kind, count in counts.items()
        for reported, number in count.numberless.items()
    ]


def _largest(kind: _Kind, counts: Mapping[_Kind, _Count]) -> dict[Part, Decimal]:
    """Return the most that one usage had of each part. What has no model, or no scope, may have been of any."""
    found: dict[Part, Decimal] = {}
    for other, count in counts.items():
        is_alike = (other.day, other.provider, other.account, other.kind) == (
            kind.day,
            kind.provider,
            kind.account,
            kind.kind,
        )
        if is_alike and kind.model in (None, other.model) and kind.scope in (None, other.scope):
            for part, quantity in count.largest.items():
                found[part] = max(found.get(part, money.ZERO), quantity)
    return found


def prometheus_estimates(
    reader: PromqlReader, *, first: date, last: date, advance: Callable[[int], None] = lambda _days: None
) -> Estimates:
    """Return what a PromQL server holds from the UTC day `first` to `last`, both included, by exact differences.

    Raises:
        PromqlError: the server did not answer; the sentence says what to do.
    """
    found = Estimates(source=EstimateSource.PROMETHEUS)
    for totals in reader.days(_midnight(first), _midnight(last)):
        found.items += _items_of(totals)
        found.gaps += _counted_gaps(reader, totals.start, totals.end)
        found.problems += [BillProblem(message=problem) for problem in totals.problems]
        found.problems += _unsplit_problems(totals)
        advance(1)
    return found


def _items_of(totals: Totals) -> list[Estimate]:
    return [
        Estimate(
            day=totals.start.date(),
            provider=Provider(key.provider),
            account=key.account,
            model=key.model,
            version=key.version,
            scope=_scope(key.scope),
            part=Part(key.modality, key.component),
            quantity=quantity,
            cost=_settled(total.cost),
            unpriced=quantity if total.cost is None else money.ZERO,
        )
        for key, total in totals.by_key.items()
        # Cached tokens of no modality cost what they do in the dearest split, and are counted in another part.
        for quantity in (_settled(total.quantity) or money.ZERO,)
        if key.provider in set(Provider) and (quantity or total.cost)
    ]


@overload
def _settled(amount: Decimal) -> Decimal: ...
@overload
def _settled(amount: Decimal | None) -> Decimal | None: ...
def _settled(amount: Decimal | None) -> Decimal | None:
    """Take the noise of doubles off a difference of sums: no cost of ours has more than these places."""
    return None if amount is None else money.CONTEXT.quantize(amount, money.PLACES)


def _counted_gaps(reader: PromqlReader, start: datetime, end: datetime) -> list[Gap]:
    names = reader.names
    by = (names.PROVIDER_NAME, names.ACCOUNT, names.MODEL, names.KIND, names.SCOPE, names.USAGE)
    counts: dict[_Kind, _Count] = {}
    for (provider, account, model, kind, scope, usage), value in reader.counted(names.USAGES, by, start, end).items():
        if provider not in set(Provider) or kind not in set(Kind) or not value:
            continue
        place = _Kind(start.date(), Provider(provider), account, model, Kind(kind), _scope(scope))
        count = counts.setdefault(place, _Count())
        count.usages += int(value)
        if usage in set(_NUMBERLESS):
            count.numberless[Reported(usage)] = count.numberless.get(Reported(usage), 0) + int(value)
    return _gaps_of(counts)


def _unsplit_problems(totals: Totals) -> list[BillProblem]:
    return [
        BillProblem(
            message=f"{money.plain(tokens)} cached tokens of {key.model} on {totals.start:%Y-%m-%d} have no modality; "
            "metrics count them as input, a ledger tells between what bounds they cost"
        )
        for key, tokens in totals.unsplit.items()
    ]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _scope(text: str | None) -> Scope | None:
    return Scope(text) if text in set(Scope) else None
