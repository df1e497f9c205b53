"""What one usage adds to the totals: its tokens by modality, its money by line item, and what was doubtful about it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.line_items import Component, Modality, Part
from realtime_spend.core.pricing import price
from realtime_spend.core.rates import Prices, Reason
from realtime_spend.core.usage import Amounts, Kind, Reported
from realtime_spend.sinks import metrics as names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from realtime_spend.core.pricing import Priced
    from realtime_spend.core.usage import Usage
    from realtime_spend.sinks.metrics import Extra, Series

# What a service may say; anything else is counted as `other`, because a label must not grow with what others send.
_STATUSES = frozenset({"completed", "cancelled", "failed", "incomplete", "in_progress"})
_OTHER = "other"
_USD = "USD"
_add = money.CONTEXT.add
# Attributes are made once and looked up, since making them would take most of the time that counting takes.
_OF: dict[Modality, Extra] = {modality: ((names.MODALITY, str(modality)),) for modality in Modality}
_OF_COST: dict[Part, Extra] = {
    Part(modality, component): ((names.MODALITY, str(modality)), (names.COMPONENT, str(component)))
    for modality in Modality
    for component in Component
}
_USAGE: dict[tuple[Kind, str | None, Reported], Extra] = {
    (kind, status, reported): (
        (names.KIND, str(kind)),
        *(() if status is None else ((names.STATUS, status),)),
        (names.USAGE, str(reported)),
    )
    for kind in Kind
    for status in (None, _OTHER, *_STATUSES)
    for reported in Reported
}
_TOKENS_OF = {
    Component.INPUT: names.INPUT_TOKENS,
    Component.CACHED_INPUT: names.CACHE_READ_TOKENS,
    Component.OUTPUT: names.OUTPUT_TOKENS,
}
# The ends that usages come to in the ordinary course: these series are there, with 0, before the first of them.
_EXPECTED: dict[Kind, list[tuple[str | None, Reported]]] = {
    Kind.RESPONSE: [
        ("completed", Reported.REPORTED),
        ("cancelled", Reported.REPORTED),
        ("incomplete", Reported.REPORTED),
        ("completed", Reported.MISSING),
        ("cancelled", Reported.MISSING),
        ("failed", Reported.MISSING),
        (None, Reported.LOST),
    ],
    Kind.TRANSCRIPTION: [
        ("completed", Reported.REPORTED),
        ("completed", Reported.MISSING),
        (None, Reported.MISSING),
    ],
    Kind.LIVE: [("in_progress", Reported.REPORTED), (None, Reported.MISSING)],
}


def count_usages(used: Iterable[tuple[Series, Usage, Priced, bool]]) -> None:
    """Add usages and their prices, each with whether its scope was assumed. The caller holds the lock of the metrics.

    Nearly all are of one model at the same rates, and what these cost together is what their tokens together cost: they
    are summed as they are and priced once.
    """
    alike: dict[tuple[object, ...], list[tuple[Series, Usage, Priced, bool]]] = {}
    for one in used:
        series, usage, priced, scope_assumed = one
        if priced.counts is None:
            count_usage(series, usage, priced, scope_assumed=scope_assumed)
        else:
            key = (series, id(priced.prices), usage.kind, usage.status, usage.reported, scope_assumed)
            alike.setdefault(key, []).append(one)
    for those in alike.values():
        series, usage, priced, scope_assumed = those[0]
        if len(those) > 1:
            counts = [priced.counts or () for _, _, priced, _ in those]
            amounts = Amounts(tuple(map(sum, zip(*counts, strict=True))))
            usage, priced = replace(usage, amounts=amounts), price(amounts, priced.prices)
        count_usage(series, usage, priced, scope_assumed=scope_assumed, times=len(those))


def count_usage(series: Series, usage: Usage, priced: Priced, *, scope_assumed: bool, times: int = 1) -> None:
    """Add one usage and its price, or the sum of so many that are alike. The caller holds the lock of the metrics."""
    if usage.goes_on:
        times = 0
    series.add(names.USAGES, _usage_attributes(usage.kind, usage.status, usage.reported), times)
    _count_amounts(series, usage.amounts)
    if priced.currency == _USD:
        _count_money(series, priced)
    elif priced.cost is not None:
        # Metrics are in USD, and no rate of exchange is ours to choose: this cost is in the ledger alone.
        _count_error(series, "currency_not_usd", times)
    if not usage.amounts.is_missing:
        for reason in priced.reasons:
            series.add(names.UNPRICED, ((names.REASON, str(reason)),), times)
        if scope_assumed:
            _count_error(series, "scope_assumed", times)
    for problem in usage.amounts.problems:
        _count_error(series, problem.kind, times)


def let_appear(series: Series, kind: Kind, prices: Prices | Reason) -> None:
    """Add 0 to every total that usages of this model will add to, so that a first increment is seen as one."""
    for status, reported in _EXPECTED[kind]:
        series.add(names.USAGES, _usage_attributes(kind, status, reported), 0)
    series.add(names.DUPLICATES, (), 0)
    if kind is not Kind.TRANSCRIPTION:
        # A session belongs to the model that answers.
        series.add(names.SESSION_TIME, (), money.ZERO)
    reason = prices if isinstance(prices, Reason) else Reason.NO_RATE
    series.add(names.UNPRICED, ((names.REASON, str(reason)),), 0)
    if isinstance(prices, Reason):
        for metric in (names.INPUT_TOKENS, names.OUTPUT_TOKENS):
            for modality in (Modality.TEXT, Modality.AUDIO):
                series.add(metric, _OF[modality], 0)
        return
    if kind is Kind.RESPONSE:
        series.add(names.REASONING_TOKENS, _OF[Modality.TEXT], 0)
    for part in prices.rates:
        if part.component is Component.DURATION:
            series.add(names.BILLABLE_DURATION, (), money.ZERO)
        else:
            series.add(_TOKENS_OF[part.component], _OF[part.modality], 0)
    if prices.currency == _USD:
        _let_money_appear(series, prices)


def _let_money_appear(series: Series, prices: Prices) -> None:
    series.add(names.COST_UNCERTAINTY, (), money.ZERO)
    for part in prices.rates:
        series.add(names.COST, _OF_COST[part], money.ZERO)
        if part.component is Component.CACHED_INPUT:
            series.add(names.CACHE_SAVINGS, _OF[part.modality], money.ZERO)


def _count_amounts(series: Series, amounts: Amounts) -> None:
    if amounts.seconds is not None:
        series.add(names.BILLABLE_DURATION, (), amounts.seconds)
    if (tokens := amounts.tokens) is None:
        return
    _count_tokens(series, names.INPUT_TOKENS, tokens.input)
    _count_tokens(series, names.CACHE_READ_TOKENS, tokens.cached)
    if tokens.unsplit[0]:
        series.add(names.CACHE_READ_TOKENS, _OF[Modality.UNKNOWN], tokens.unsplit[0])
    _count_tokens(series, names.OUTPUT_TOKENS, tokens.output)
    if tokens.reasoning:
        series.add(names.REASONING_TOKENS, _OF[Modality.TEXT], tokens.reasoning)


def _count_tokens(series: Series, metric: str, counts: Mapping[Modality, int]) -> None:
    if not counts:
        return
    totals = series.of(metric)
    for modality, count in counts.items():
        own = _OF[modality]
        totals[own] = totals.get(own, 0) + count


def _count_money(series: Series, priced: Priced) -> None:
    totals = series.of(names.COST) if priced.items else {}
    for line in priced.items:
        if (cost := line.cost) is not None:
            own = _OF_COST[line.part]
            before = totals.get(own)
            totals[own] = cost if before is None else _add(before, cost)
    for modality, saved in priced.savings.items():
        series.add(names.CACHE_SAVINGS, _OF[modality], saved)
    if priced.low is not None:
        series.add(names.COST_UNCERTAINTY, (), priced.uncertainty)


def _count_error(series: Series, kind: str, times: int) -> None:
    series.add(names.ERRORS, ((names.KIND, str(kind)),), times)


def _usage_attributes(kind: Kind, status: str | None, reported: Reported) -> Extra:
    return _USAGE[kind, status if status is None or status in _STATUSES else _OTHER, reported]
