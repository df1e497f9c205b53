"""What a usage costs, line by line, and what the common wrong sums make of it.

The wrong sums are in `realtime_spend.core.naive`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from realtime_spend.core import money, session_log
from realtime_spend.core.connection import Connection
from realtime_spend.core.endpoints import Endpoint
from realtime_spend.core.line_items import Part, Provider, Rate, Scope
from realtime_spend.core.naive import NaiveSum, PricedUsage, naive_sums
from realtime_spend.core.naming import Named, Naming
from realtime_spend.core.pricing import price
from realtime_spend.core.rates import ModelKind, Prices, Reason
from realtime_spend.core.reading import read_amounts
from realtime_spend.core.session import Metered, Repeated, Sessions
from realtime_spend.core.usage import Amounts, Kind, Reported, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from decimal import Decimal

    from realtime_spend.core.rates import Contest, RateBook
    from realtime_spend.core.session import Learned

# What a bare usage is of, by the kind of the model that is named for it.
_KINDS = {
    ModelKind.TRANSCRIPTION: Kind.TRANSCRIPTION,
    ModelKind.TRANSLATION: Kind.TRANSLATION,
    ModelKind.LIVE: Kind.LIVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What the asker says where the input does not: names win over those in the log, since he knows better."""

    at: datetime
    model: str | None = None
    transcription_model: str | None = None
    provider: Provider = Provider.OPENAI
    scope: Scope | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedLine:
    """A line item of the whole input: equal skus at equal rates are added up. `reason` says why one has no rate."""

    model: str | None
    part: Part
    quantity: Decimal
    rate: Rate | None
    cost: Decimal | None
    reason: Reason | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something that keeps the total from being the whole truth, in one sentence."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The answer. `total` is the sum of what is priced, None if nothing is; `low` and `high` bound an inexact one."""

    lines: tuple[ExplainedLine, ...]
    total: Decimal | None
    low: Decimal | None
    high: Decimal | None
    currency: str
    naive: tuple[NaiveSum, ...]
    problems: tuple[Remark, ...]
    usages: int
    card: str | None


def explain(log: session_log.Log, naming: Naming, book: RateBook, assumptions: Assumptions) -> Explanation:
    """Price every usage in `log` at the rates of `assumptions.at`, and say what is doubtful about it."""
    remarks: list[Remark] = []
    entries = [_entry(metered, naming, book, assumptions) for metered in _metered(log, book, assumptions, remarks)]
    for entry in entries:
        remarks += _remarks(entry)
    if not entries:
        remarks.append(Remark(kind="no_usage", message="the input holds no usage: nothing can be priced"))
    totals = [entry.priced.cost for entry in entries if entry.priced.cost is not None]
    currencies = {entry.priced.currency for entry in entries if entry.priced.cost is not None}
    if len(currencies) > 1:
        remarks.append(Remark(kind="currencies", message="the rates are in several currencies, which do not add up"))
        totals = []
    total = money.add(*totals) if totals else None
    is_interval = any(entry.priced.low is not None for entry in entries)
    return Explanation(
        lines=tuple(_lines(entries)),
        total=total,
        low=money.add(*(_low(entry) for entry in entries)) if is_interval and total is not None else None,
        high=total if is_interval else None,
        currency=next(iter(currencies), "USD"),
        naive=tuple(naive_sums(entries, total)),
        problems=tuple(dict.fromkeys(remarks)),
        usages=sum(not entry.usage.goes_on for entry in entries),
        card=next((entry.priced.card for entry in entries if entry.priced.card), None),
    )


def _metered(
    log: session_log.Log, book: RateBook, assumptions: Assumptions, remarks: list[Remark]
) -> Iterator[Metered]:
    """Feed the log through a session of its own, as a socket would; bare usages are taken as they are."""
    endpoint = Endpoint(provider=assumptions.provider, server="", port=None, scope=assumptions.scope)
    connection = Connection(endpoint, Sessions())
    is_alone = len(log.values) == 1
    learned: list[Learned] = []
    for value in log.values:
        if session_log.is_event(value):
            learned += connection.receive_event(value, 0)
        elif (usage := session_log.bare_usage(value)) is not None:
            learned.append(_bare(usage, book, assumptions))
    learned += connection.close(0)
    repeated = sum(isinstance(item, Repeated) for item in learned)
    if repeated:
        remarks.append(Remark(kind="repeated", message=f"{repeated} repeated usage events were not counted again"))
    usages = [item for item in learned if isinstance(item, Metered)]
    is_live = any(item.usage.kind is Kind.LIVE for item in usages)
    for item in usages:
        named = item.named
        if item.increase is not None:
            # Of a running total only what is new.
            item = replace(item, usage=replace(item.usage, amounts=Amounts(seconds=item.increase)))  # noqa: PLW2901 - the same, to the part that is new
        if is_live and item.usage.kind is Kind.RESPONSE:
            # The model that a Live session delegates to, which nobody but the session names.
            yield item
        else:
            told = assumptions.model
            if named.transcription:
                told = assumptions.transcription_model or (assumptions.model if is_alone else None)
            yield replace(item, named=replace(named, said=told)) if told else item


def _bare(usage: dict[str, object], book: RateBook, assumptions: Assumptions) -> Metered:
    listed = book.listed(assumptions.provider, assumptions.model) if assumptions.model else None
    kind = _KINDS.get(listed.kind) if listed else None
    if kind in (None, Kind.RESPONSE) and session_log.is_transcription_usage(usage):
        kind = Kind.TRANSCRIPTION
    transcribes = kind is Kind.TRANSCRIPTION
    amounts = read_amounts(usage, text_output=transcribes)
    name = assumptions.model or (assumptions.transcription_model if transcribes else None)
    return Metered(
        usage=Usage(
            kind=kind or Kind.RESPONSE,
            id=None,
            status=None,
            reported=Reported.MISSING if amounts.is_missing else Reported.REPORTED,
            amounts=amounts,
        ),
        named=Named(requested=None, said=name, transcription=transcribes),
        session=None,
        at=0,
    )


def _entry(metered: Metered, naming: Naming, book: RateBook, assumptions: Assumptions) -> PricedUsage:
    endpoint = Endpoint(provider=assumptions.provider, server="", port=None, scope=assumptions.scope)
    resolved = naming.resolve(endpoint, metered.named)
    model = metered.named.said or metered.named.requested
    prices: Prices | Reason = resolved.reason or Reason.MODEL_NOT_NAMED
    if resolved.sku is not None:
        model = resolved.sku.model
        # What the asker says goes before what the deployment map says.
        scope = assumptions.scope or resolved.sku.scope or Scope.GLOBAL
        sku = replace(resolved.sku, scope=scope, region=assumptions.region or resolved.sku.region)
        prices = book.prices(sku, assumptions.at)
    return PricedUsage(
        usage=metered.usage,
        model=model,
        priced=price(metered.usage.amounts, prices),
        prices=prices if isinstance(prices, Prices) else None,
    )


def _low(entry: PricedUsage) -> Decimal:
    priced = entry.priced
    return priced.low if priced.low is not None else priced.cost or money.ZERO


def _lines(entries: Sequence[PricedUsage]) -> Iterator[ExplainedLine]:
    """Add up equal skus at equal rates, in the order in which they first appear."""
    found: dict[tuple[str | None, Part, Rate | None, Reason | None], tuple[Decimal, Decimal]] = {}
    for entry in entries:
        for line in entry.priced.items:
            reason = next(iter(entry.priced.reasons), None) if line.rate is None else None
            key = (entry.model, line.part, line.rate, reason)
            quantity, cost = found.get(key, (money.ZERO, money.ZERO))
            found[key] = (money.add(quantity, line.quantity), money.add(cost, line.cost or money.ZERO))
    for (model, part, rate, reason), (quantity, cost) in found.items():
        yield ExplainedLine(
            model=model, part=part, quantity=quantity, rate=rate, cost=None if rate is None else cost, reason=reason
        )


def _remarks(entry: PricedUsage) -> Iterator[Remark]:
    usage, model = entry.usage, entry.model
    for problem in usage.amounts.problems:
        yield Remark(kind=problem.kind, message=f"{_what(usage)}: {problem.message}")
    if usage.reported is Reported.LOST:
        yield Remark(kind="lost", message=f"{_what(usage)} was begun and never finished: what it cost is not known")
    elif usage.amounts.is_missing:
        yield Remark(kind="missing", message=f"{_what(usage)} came without usage: what it cost is not known")
    else:
        for reason in entry.priced.reasons:
            yield Remark(kind=reason, message=_WHY_UNPRICED[reason].format(what=_what(usage), model=model))
    for contest in entry.priced.contests:
        yield Remark(kind="contested_rate", message=contested(str(model), contest))


def contested(model: str, contest: Contest) -> str:
    """Say in one sentence that sources disagree on a rate, and which of them is used."""
    others = " or ".join(money.plain(other) for other in contest.others)
    used = money.plain(contest.used)
    return f"the rate of {model} for {contest.part} is contested: {used} is used, {others} is possible ({contest.why})"


def _what(usage: Usage) -> str:
    return f"{usage.kind} {usage.id}" if usage.id else f"the {usage.kind}"


_WHY_UNPRICED = {
    Reason.MODEL_NOT_NAMED: "{what} has no price because nothing names its model: give --model, "
    "or --transcription-model",
    Reason.MODEL_NOT_LISTED: "{what} has no price because {model!r} is not on the rate cards: "
    "see `realtime-spend prices`",
    Reason.NOT_A_TRANSCRIPTION_MODEL: "{what} has no price because {model!r} does not transcribe, "
    "and a transcription is billed at its own model: give --transcription-model",
    Reason.OTHER_PRICE_LIST: "{what} has no price because {model!r} is billed on another price list",
    Reason.NOT_PRICED_BY_TOKEN: "{what} ran on provisioned capacity, which is billed by the hour and not by token",
    Reason.VERSION_NOT_KNOWN: "{what} has no price because the versions of {model} have different rates and none is "
    "named: give the dated name",
    Reason.REGION_NOT_KNOWN: "{what} has no price because regional rates differ from region to region: give --region",
    Reason.NO_RATE: "{what} has a part that has no rate on the cards for {model} at that time and scope",
}
