"""Estimates and bills of one model, made by hand: both sides of a comparison with chosen differences."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

from realtime_spend.core.line_items import Component, Modality, Part, Provider, Scope, Unit
from realtime_spend.core.reconciliation.bills import Bill, BilledItem, Meter, Scale
from realtime_spend.core.reconciliation.comparison import Settings, reconcile
from realtime_spend.core.reconciliation.estimated import Estimate, Estimates, EstimateSource, Gap
from realtime_spend.core.usage import Kind, Reported
from realtime_spend.rate_cards import load_book

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from realtime_spend.core.reconciliation.drift import Reconciliation, Row

EXACT = Context(prec=60)
MONDAY, TUESDAY, WEDNESDAY = date(2026, 11, 2), date(2026, 11, 3), date(2026, 11, 4)
# Long after: all days are final.
LATER = datetime(2026, 12, 20, tzinfo=UTC)
BOOK = load_book()

TEXT_IN, TEXT_CACHED, TEXT_OUT = (
    Part(Modality.TEXT, component) for component in (Component.INPUT, Component.CACHED_INPUT, Component.OUTPUT)
)
AUDIO_IN, AUDIO_CACHED, AUDIO_OUT = (
    Part(Modality.AUDIO, component) for component in (Component.INPUT, Component.CACHED_INPUT, Component.OUTPUT)
)
SECONDS = Part(Modality.AUDIO, Component.DURATION)
# The list prices of gpt-realtime, in USD per million tokens, on global.
PRICES = {TEXT_IN: "4", TEXT_CACHED: "0.4", TEXT_OUT: "16", AUDIO_IN: "32", AUDIO_CACHED: "0.4", AUDIO_OUT: "64"}
# What is counted on a day.
TOKENS = {
    TEXT_IN: 10_000, TEXT_CACHED: 50_000, TEXT_OUT: 3_000, AUDIO_IN: 200_000, AUDIO_CACHED: 300_000, AUDIO_OUT: 100_000,
}  # fmt: skip
TRANSCRIBES: dict[str, Any] = {"model": "gpt-4o-transcribe", "version": None}
# Transcribes too, and is billed by the hour.
WHISPER: dict[str, Any] = {"model": "gpt-realtime-whisper", "version": None, "part": SECONDS, "price": "1.02"}
# Other models beside that of the day.
MINI: dict[str, Any] = {"model": "gpt-realtime-mini", "version": "2025-10-06"}
NEWER: dict[str, Any] = {"model": "gpt-realtime-1.5", "version": "2026-02-23"}


def at(unit_price: str | Decimal, quantity: int | str | Decimal, per: int = 1_000_000) -> Decimal:
    """What a quantity costs, by arithmetic that shares nothing with the package."""
    return EXACT.divide(EXACT.multiply(Decimal(unit_price), Decimal(quantity)), Decimal(per)).quantize(
        Decimal("1e-12"), context=EXACT
    )


def worth(tokens: Mapping[Part, int]) -> Decimal:
    """What they all cost at the list price."""
    return _sum(at(PRICES[part], quantity) for part, quantity in tokens.items())


def counted(day: date = MONDAY, part: Part = AUDIO_IN, quantity: int | str = 1000, **others: Any) -> Estimate:
    """An estimate of one part, at the list price unless another `price` is given, per million tokens or per hour."""
    price = others.pop("price", PRICES.get(part))
    per = 1_000_000 if part.unit is Unit.TOKENS else 3600
    values: dict[str, Any] = {
        "provider": Provider.AZURE,
        "account": "voice-west",
        "model": "gpt-realtime",
        "version": "2025-08-28",
        "scope": Scope.GLOBAL,
        "cost": None if price is None else at(price, quantity, per),
        "unpriced": Decimal(quantity) if price is None else Decimal(0),
        **others,
    }
    return Estimate(day=day, part=part, quantity=Decimal(quantity), **values)


def billed(
    day: date = MONDAY, part: Part | None = AUDIO_IN, quantity: Decimal | str | int | None = 1000, **others: Any
) -> BilledItem:
    """A row of a bill for one part, at the list price unless a `price` or a `cost` is given."""
    names: dict[str, Any] = {
        "name": f"gpt rt {part} 0828",
        "model": "gpt-realtime",
        "version": "2025-08-28",
        "scope": Scope.GLOBAL,
    }
    names |= {name: others.pop(name) for name in (*names, "problem", "is_realtime") if name in others}
    per = 3600 if part is not None and part.unit is Unit.SECONDS else 1_000_000
    price = others.pop("price", PRICES.get(part or AUDIO_IN, "1"))
    values: dict[str, Any] = {
        "provider": Provider.AZURE,
        "account": "voice-west",
        "cost": at(price, quantity or 0, per),
        "currency": "USD",
        "scale": Scale.SINGLE,
        "precision": Decimal("1e-12"),
        **others,
    }
    meter = Meter(part=part, **names)
    return BilledItem(day=day, meter=meter, quantity=None if quantity is None else Decimal(quantity), **values)


def named(**names: Any) -> dict[str, Any]:
    """Names that several rows have in common."""
    return names


def counted_day(day: date = MONDAY, tokens: Mapping[Part, int] = TOKENS, **others: Any) -> list[Estimate]:
    """All parts of a day, as they are counted."""
    return [counted(day, part, quantity, **others) for part, quantity in tokens.items()]


def billed_day(
    day: date = MONDAY, tokens: Mapping[Part, int] = TOKENS, factor: str = "1", **others: Any
) -> list[BilledItem]:
    """All parts of a day, as they are billed, at `factor` times the list price."""
    return [
        billed(day, part, quantity, price=EXACT.multiply(Decimal(PRICES[part]), Decimal(factor)), **others)
        for part, quantity in tokens.items()
    ]


def more(tokens: Mapping[Part, int] = TOKENS, **added: int) -> dict[Part, int]:
    """The same tokens with some more or fewer: `audio_output=5`."""
    return {part: quantity + added.get(str(part).replace(".", "_"), 0) for part, quantity in tokens.items()}


def times(factor: str, tokens: Mapping[Part, int] = TOKENS) -> dict[Part, int]:
    """The same tokens so many times, in whole ones."""
    return {part: int(Decimal(factor) * quantity) for part, quantity in tokens.items()}


def gap(count: int = 3, kind: Kind = Kind.RESPONSE, reported: Reported = Reported.LOST, **others: Any) -> Gap:
    """Usages of a day without numbers."""
    values: dict[str, Any] = {
        "day": MONDAY,
        "provider": Provider.AZURE,
        "account": "voice-west",
        "model": "gpt-realtime",
        "usages": 50,
        **others,
    }
    return Gap(kind=kind, reported=reported, count=count, **values)


def unseen(count: int = 3, **others: Any) -> Gap:
    """Transcriptions of a day that came without usage, which nobody knows the model of."""
    return gap(count, **{"kind": Kind.TRANSCRIPTION, "reported": Reported.MISSING, "model": None, **others})


@dataclass(kw_only=True)
class Sides:
    """Both sides, compared as of long after unless said otherwise."""

    estimates: Iterable[Estimate] = ()
    items: Iterable[BilledItem] = ()
    gaps: Iterable[Gap] = ()
    source: EstimateSource = EstimateSource.LEDGER
    made: datetime | None = None
    days: tuple[date, date] | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def reconciled(self) -> Reconciliation:
        """Compare them; the bill covers all days of either side unless `days` says which."""
        estimates, items = list(self.estimates), list(self.items)
        known = sorted({item.day for item in items} | {item.day for item in estimates})
        first, last = self.days or (known[0], known[-1])
        return reconcile(
            Estimates(source=self.source, items=estimates, gaps=list(self.gaps)),
            Bill(items=items, first=first, last=last, made=self.made),
            book=BOOK,
            settings=Settings(**{"at": LATER, **self.settings}),
        )


def compare(estimates: Iterable[Estimate], items: Iterable[BilledItem], **others: Any) -> Reconciliation:
    """Compare two sides, and hold the law that the shares of a row are its drift."""
    found = Sides(estimates=estimates, items=items, **others).reconciled()
    assert_conserved(found)
    return found


def assert_conserved(found: Reconciliation) -> None:
    """Every dollar of drift is under exactly one cause, row by row and in all, to the last digit."""
    drift = Decimal(0)
    for row in found.rows:
        shares = [share for share in found.shares if share.row is row]
        if row.drift_cost is None:
            assert not shares
            continue
        assert _sum(share.cost for share in shares) == row.drift_cost
        assert len({share.cause for share in shares}) == len(shares), "a cause is named once for a row"
        drift = EXACT.add(drift, row.drift_cost)
    totals = found.totals
    if totals.drift_cost is not None:
        assert totals.drift_cost == drift
        assert totals.explained_cost is not None
        assert totals.unexplained_cost is not None
        assert EXACT.add(totals.explained_cost, totals.unexplained_cost) == drift


def by_cause(found: Reconciliation) -> dict[str, Decimal]:
    """The money under each cause."""
    sums: dict[str, Decimal] = {}
    for share in found.shares:
        sums[str(share.cause)] = EXACT.add(sums.get(str(share.cause), Decimal(0)), share.cost)
    return sums


def by_part(found: Reconciliation, cause: str) -> dict[Part | None, Decimal]:
    """The money of each part under one cause."""
    sums: dict[Part | None, Decimal] = {}
    for share in found.shares:
        if share.cause == cause:
            sums[share.row.part] = EXACT.add(sums.get(share.row.part, Decimal(0)), share.cost)
    return sums


def values(row: Row, *names: str) -> tuple[Any, ...]:
    """What a row has under `names`."""
    return tuple(getattr(row, name) for name in names)


def said(found: Reconciliation, cause: str) -> str:
    """All that is said of a cause."""
    return "\n".join(share.evidence for share in found.shares if share.cause == cause)


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


# What a day of TOKENS costs at the list price.
DAY_COST = worth(TOKENS)
