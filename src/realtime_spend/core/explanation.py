"""What a usage costs, line by line, and what the common wrong sums make of it.

Each wrong formula is one that people have published or filed as a bug. They are computed from the same usage at the
same rates, so that somebody who arrived at one of these numbers recognises his mistake by its amount.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from realtime_spend.core import money, session_log
from realtime_spend.core.connection import Connection
from realtime_spend.core.endpoints import Endpoint
from realtime_spend.core.line_items import Component, Modality, Part, Provider, Rate, Scope
from realtime_spend.core.naming import Named, Naming
from realtime_spend.core.pricing import Priced, price
from realtime_spend.core.rates import ModelKind, Prices, Reason
from realtime_spend.core.session import Metered, Repeated, Sessions
from realtime_spend.core.usage import Kind, Reported, Usage, numbers_of, read_amounts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from realtime_spend.core.rates import Contest, RateBook
    from realtime_spend.core.session import Learned

# What a bare usage is of, by the kind of the model that is named for it.
_KINDS = {
    ModelKind.TRANSCRIPTION: Kind.TRANSCRIPTION,
    ModelKind.TRANSLATION: Kind.TRANSLATION,
    ModelKind.LIVE: Kind.LIVE,
}
_TEXT_OUTPUT = Part(Modality.TEXT, Component.OUTPUT)


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
class NaiveSum:
    """A common wrong formula: what it gives, how many times the right cost that is, and why it is wrong."""

    name: str
    total: Decimal
    ratio: Decimal | None
    why: str


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One usage with everything found out about it."""

    usage: Usage
    model: str | None
    priced: Priced
    prices: Prices | None


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
        naive=tuple(_naive(entries, total)) if total is not None and not _is_partial(entries) else (),
        problems=tuple(dict.fromkeys(remarks)),
        usages=len(entries),
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
    for item in learned:
        if isinstance(item, Metered):
            named = item.named
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
            raw=numbers_of(usage),
        ),
        named=Named(requested=None, said=name, transcription=transcribes),
        session=None,
        at=0,
    )


def _entry(metered: Metered, naming: Naming, book: RateBook, assumptions: Assumptions) -> _Entry:
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
    return _Entry(
        usage=metered.usage,
        model=model,
        priced=price(metered.usage.amounts, prices),
        prices=prices if isinstance(prices, Prices) else None,
    )


def _is_partial(entries: Sequence[_Entry]) -> bool:
    """Whether something has no price, or no exact one: then wrong sums have no right one to be held against."""
    return any(entry.priced.reasons or entry.priced.low is not None for entry in entries)


def _low(entry: _Entry) -> Decimal:
    priced = entry.priced
    return priced.low if priced.low is not None else priced.cost or money.ZERO


def _lines(entries: Sequence[_Entry]) -> Iterator[ExplainedLine]:
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


def _remarks(entry: _Entry) -> Iterator[Remark]:
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


def _naive(entries: Sequence[_Entry], total: Decimal) -> Iterator[NaiveSum]:
    saved = money.add(*(saving for entry in entries for saving in entry.priced.savings.values()))
    if saved:
        why = "cached tokens are part of the input tokens and cost less; this charges them at the full rate"
        yield _sum("cache_ignored", money.add(total, saved), total, why)
        cached = money.add(*(line.cost or money.ZERO for entry in entries for line in _cached(entry)))
        why = "cached tokens are already inside the input tokens; this charges them in full and then once more"
        yield _sum("cache_added", money.add(total, saved, cached), total, why)
    flat = _at_text_rates(entries)
    if flat is not None:
        why = "each modality has its own rate, and audio costs several times what text does; this charges all as text"
        yield _sum("modality_ignored", flat, total, why)
    reasoning = money.add(*(_reasoning(entry) for entry in entries))
    if reasoning:
        why = "reasoning tokens are already inside the output text tokens; this charges them twice"
        yield _sum("reasoning_added", money.add(total, reasoning), total, why)
    transcribed = money.add(
        *(entry.priced.cost or money.ZERO for entry in entries if entry.usage.kind is Kind.TRANSCRIPTION)
    )
    if transcribed and transcribed != total:
        why = "input transcription is billed at a model of its own and is in no response; this leaves it out"
        yield _sum("transcription_ignored", money.subtract(total, transcribed), total, why)


def _sum(name: str, total: Decimal, right: Decimal, why: str) -> NaiveSum:
    return NaiveSum(name=name, total=total, ratio=money.ratio(total, right), why=why)


def _cached(entry: _Entry) -> Iterator[ExplainedLine]:
    return (line for line in _lines([entry]) if line.part.component is Component.CACHED_INPUT)


def _at_text_rates(entries: Sequence[_Entry]) -> Decimal | None:
    """Return what all tokens would cost at their models' text rates; None where that is no different, or unknown."""
    total = money.ZERO
    differs = False
    for entry in entries:
        for line in entry.priced.items:
            rates = entry.prices.rates if entry.prices else {}
            rate = (
                line.rate
                if line.part.component is Component.DURATION
                else rates.get(Part(Modality.TEXT, line.part.component))
            )
            if rate is None:
                return None
            differs = differs or rate != line.rate
            total = money.add(total, rate.cost(line.quantity))
    return total if differs else None


def _reasoning(entry: _Entry) -> Decimal:
    tokens = entry.usage.amounts.tokens
    rate = entry.prices.rates.get(_TEXT_OUTPUT) if entry.prices else None
    return money.ZERO if tokens is None or rate is None else rate.cost(Decimal(tokens.reasoning))
