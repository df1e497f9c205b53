"""Laws of any ledger beside any bill: every unit of drift under exactly one cause, whatever the two sides say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.reconciliation.two_sides import (
    AUDIO_CACHED,
    AUDIO_IN,
    EXACT,
    MONDAY,
    PRICES,
    SECONDS,
    TOKENS,
    Sides,
    assert_conserved,
    billed,
    by_cause,
    counted,
    gap,
)

from realtime_spend.core.line_items import Part, Provider, Scope
from realtime_spend.core.reconciliation.bills import BilledItem, Scale
from realtime_spend.core.reconciliation.drift import Cause, Reconciliation
from realtime_spend.core.reconciliation.estimated import Estimate, EstimateSource, Gap
from realtime_spend.core.usage import Kind, Reported

_DAYS = [MONDAY + timedelta(days=number) for number in range(4)]
_MODELS = [
    ("gpt-realtime", "2025-08-28"), ("gpt-realtime", None), ("gpt-realtime-mini", "2025-10-06"),
    ("gpt-realtime-mini", "2025-12-15"), ("gpt-4o-realtime-preview", "2024-10-01"),
    ("gpt-4o-realtime-preview", "2024-12-17"), ("gpt-4o-realtime-preview", None), ("gpt-4o-transcribe", None),
    ("no-model", None),
]  # fmt: skip
_PARTS = [*PRICES, SECONDS]
_quantities = st.integers(0, 60_000) | st.sampled_from([1, 64, 1000, 2000])
_prices = st.sampled_from([*PRICES.values(), "35.2", "0.017", "42.24"])
_amounts = st.decimals("-5", "9", places=9, allow_nan=False, allow_infinity=False)
_long = st.integers(1, 10**25).map(lambda digits: Decimal(digits).scaleb(-25, context=EXACT) + Decimal("0.5"))


@st.composite
def _names(draw: st.DrawFn, *, is_bill: bool) -> dict[str, Any]:
    model: str | None
    model, version = draw(st.sampled_from(_MODELS))
    if not is_bill and draw(st.integers(0, 20)) == 0:
        model, version = None, None
    scopes = [None, Scope.GLOBAL, Scope.DATAZONE, *([] if is_bill else [Scope.PROVISIONED])]
    return {
        "provider": draw(st.sampled_from(Provider)),
        "account": draw(st.sampled_from([None, "a", "b"])),
        "model": model,
        "version": version,
        "scope": draw(st.sampled_from(scopes)),
    }


@st.composite
def _estimates(draw: st.DrawFn) -> Estimate:
    quantity, part = draw(_quantities), draw(st.sampled_from(_PARTS))
    found = counted(
        draw(st.sampled_from(_DAYS)), part, quantity, price=draw(_prices | st.none()), **draw(_names(is_bill=False))
    )
    if found.cost is None or draw(st.integers(0, 5)):
        return found
    wide = EXACT.multiply(found.cost, Decimal("0.5"))
    others = {name: getattr(found, name) for name in ("provider", "account", "model", "version", "scope")}
    return counted(found.day, part, quantity, cost=found.cost, low=wide, high=found.cost, **others)


@st.composite
def _items(draw: st.DrawFn, rates: dict[str, Decimal | None]) -> BilledItem:
    currency = draw(st.sampled_from(sorted(rates)))
    others: dict[str, Any] = {
        "currency": currency,
        "to_usd": rates[currency],
        "precision": draw(st.sampled_from([Decimal("1e-12"), Decimal("0.0001"), Decimal("0.01")])),
        "scale": draw(st.sampled_from([Scale.SINGLE, Scale.ASSUMED])),
        "file": draw(st.sampled_from([None, "a.csv"])),
    }
    day, part = draw(st.sampled_from(_DAYS)), draw(st.sampled_from(_PARTS))
    kind = draw(st.integers(0, 11))
    if kind == 0:
        unread = {"model": None, "version": None, "scope": None, "problem": "unknown word", "name": "gpt rt hlg"}
        return billed(day, None, None, cost=draw(_amounts), **unread, **others)
    if kind == 1:
        others |= {"scale": Scale.UNSETTLED}
        return billed(day, part, None, cost=draw(_amounts), **draw(_names(is_bill=True)), **others)
    if kind == 2:
        return billed(day, part, draw(_quantities), cost=draw(_amounts), **draw(_names(is_bill=True)), **others)
    return billed(day, part, draw(_quantities), price=draw(_prices), **draw(_names(is_bill=True)), **others)


@st.composite
def _gaps(draw: st.DrawFn) -> Gap:
    largest = draw(st.dictionaries(st.sampled_from(_PARTS), _quantities.map(Decimal), max_size=3))
    return gap(
        draw(st.integers(0, 4)),
        draw(st.sampled_from(Kind)),
        draw(st.sampled_from(Reported)),
        day=draw(st.sampled_from(_DAYS)),
        provider=draw(st.sampled_from(Provider)),
        account=draw(st.sampled_from([None, "a", "b"])),
        model=draw(st.sampled_from([None, *(model for model, _ in _MODELS)])),
        usages=draw(st.integers(0, 9)),
        largest=largest,
    )


@st.composite
def _sides(draw: st.DrawFn) -> Sides:
    rates: dict[str, Any] = draw(
        st.one_of(
            st.sampled_from([{"USD": None}, {"EUR": None}, {"EUR": Decimal("1.25")}]),
            st.fixed_dictionaries({"EUR": _long}),
            st.fixed_dictionaries({"USD": st.none(), "EUR": _long | st.none(), "SEK": _long}),
        )
    )
    return Sides(
        estimates=draw(st.lists(_estimates(), max_size=25)),
        items=draw(st.lists(_items(rates), max_size=25)),
        gaps=draw(st.lists(_gaps(), max_size=4)),
        source=draw(st.sampled_from(EstimateSource)),
        days=(_DAYS[0], _DAYS[-1]),
        settings={
            "at": draw(st.sampled_from([datetime(2026, 11, 5, tzinfo=UTC), datetime(2026, 12, 20, tzinfo=UTC)])),
            "fx": draw(st.sampled_from([{}, {"EUR": Decimal("1.0837")}])),
        },
    )


@st.composite
def _faulty(draw: st.DrawFn) -> Sides:
    """A bill of what was counted, with faults drawn for it: the same keys on both sides, as in real life."""
    days = [MONDAY, _DAYS[1], _DAYS[2]]
    use = {day: {part: draw(st.integers(1, 10**6)) for part in PRICES} for day in days}
    bill = {day: {part: Decimal(quantity) for part, quantity in parts.items()} for day, parts in use.items()}
    for fault in draw(st.lists(st.sampled_from(_FAULTS), max_size=3)):
        fault(draw(st.sampled_from(days[:2])), bill, draw)
    factor = EXACT.multiply(
        Decimal(draw(st.sampled_from(["1", "1.1", "0.85", "1.22"]))), draw(st.just(Decimal(1)) | _long)
    )
    return Sides(
        estimates=[counted(day, part, quantity) for day, parts in use.items() for part, quantity in parts.items()],
        items=[
            billed(day, part, money, price=EXACT.multiply(Decimal(PRICES[part]), factor))
            for day, parts in bill.items()
            for part, money in parts.items()
            if money or draw(st.booleans())
        ],
        gaps=draw(st.lists(st.builds(gap, st.integers(1, 4), day=st.sampled_from(days)), max_size=2)),
        source=draw(st.sampled_from(EstimateSource)),
        days=(days[0], days[-1]),
    )


_Bill = dict[date, dict[Part, Decimal]]


def _cache_moves(day: date, bill: _Bill, draw: st.DrawFn) -> None:
    share = draw(st.integers(1, 4))
    moved = bill[day][AUDIO_CACHED] // share
    bill[day][AUDIO_CACHED] -= moved
    bill[day][AUDIO_IN] += moved


def _a_day_shifts(day: date, bill: _Bill, draw: st.DrawFn) -> None:
    share = draw(st.integers(1, 4))
    for part, quantity in bill[day].items():
        bill[day][part] -= quantity // share
        bill[day + timedelta(days=1)][part] += quantity // share


def _all_grows(day: date, bill: _Bill, draw: st.DrawFn) -> None:
    factor = draw(st.sampled_from([Decimal("0.5"), Decimal("1.5"), Decimal(3)]))
    for part, quantity in bill[day].items():
        bill[day][part] = (quantity * factor).to_integral_value()


def _one_meter_differs(day: date, bill: _Bill, draw: st.DrawFn) -> None:
    bill[day][draw(st.sampled_from(list(PRICES)))] += draw(st.integers(0, 10**5))


_FAULTS = (_cache_moves, _a_day_shifts, _all_grows, _one_meter_differs)


def _key(found: Reconciliation) -> list[tuple[Any, ...]]:
    return [(row.day, row.provider, row.account, row.model, row.version, row.scope, row.part) for row in found.rows]


@settings(max_examples=150, deadline=None)
@given(_sides())
def test_every_unit_of_drift_is_under_exactly_one_cause(sides: Sides) -> None:
    assert_conserved(sides.reconciled())


@settings(max_examples=200, deadline=None)
@given(_faulty())
def test_every_unit_of_drift_of_a_bill_with_faults_is_under_exactly_one_cause(sides: Sides) -> None:
    found = sides.reconciled()
    assert_conserved(found)
    shifted = [share.cost for share in found.shares if share.cause is Cause.DAY_SHIFT]
    assert sum(shifted, Decimal(0)) == 0, "what one day has another one lacks, at one price"


@settings(max_examples=60, deadline=None)
@given(_sides())
def test_all_money_and_all_quantities_are_in_exactly_one_row(sides: Sides) -> None:
    found = sides.reconciled()
    keys = _key(found)
    assert len(set(keys)) == len(keys)
    for currency in {item.currency for item in sides.items}:
        if found.currency == currency:
            kept = sum((item.cost for item in sides.items if item.currency == currency), Decimal(0))
            rows = sum((row.billed_cost for row in found.rows), Decimal(0))
            others = any(item.currency != currency for item in sides.items)
            assert others or rows == kept
    providers = {item.provider for item in sides.items} or set(Provider)
    counted_ones = sum((item.quantity for item in sides.estimates if item.provider in providers), Decimal(0))
    rows = sum((row.estimated_quantity for row in found.rows if row.estimated_quantity is not None), Decimal(0))
    assert rows == counted_ones


@settings(max_examples=60, deadline=None)
@given(_sides())
def test_no_quantity_needs_a_rate_of_exchange(sides: Sides) -> None:
    """The quantities of a bill in several currencies, some without a rate, are those of the same bill in one."""
    found = sides.reconciled()
    sides.items = [replace(item, currency="USD", to_usd=None) for item in sides.items]
    alike = sides.reconciled()
    assert _key(found) == _key(alike)
    assert [(row.estimated_quantity, row.billed_quantity) for row in found.rows] == [
        (row.estimated_quantity, row.billed_quantity) for row in alike.rows
    ]
    assert not any(row.unconverted for row in alike.rows)


@settings(max_examples=60, deadline=None)
@given(_sides())
def test_all_money_without_a_rate_is_said(sides: Sides) -> None:
    found = sides.reconciled()
    lost = {out.currency: out.cost for out in found.left_out if out.what == "no rate of exchange"}
    assert dict(found.totals.unconverted) == lost
    assert all(row.drift_cost is None for row in found.rows if row.unconverted)
    for currency in lost:
        assert any(f"--fx {currency}=" in problem.message for problem in found.problems)


@settings(max_examples=60, deadline=None)
@given(_sides())
def test_the_order_of_either_side_changes_nothing(sides: Sides) -> None:
    found = sides.reconciled()
    sides.estimates, sides.items = list(sides.estimates)[::-1], list(sides.items)[::-1]
    again = sides.reconciled()
    assert _key(found) == _key(again)
    assert found.totals == again.totals
    assert [(share.cause, share.cost) for share in found.shares] == [(one.cause, one.cost) for one in again.shares]


@settings(max_examples=60, deadline=None)
@given(_sides())
def test_every_cause_has_its_evidence(sides: Sides) -> None:
    found = sides.reconciled()
    for share in found.shares:
        assert share.evidence.endswith((".", "?")), share.evidence
        assert share.cost or share.cause in (Cause.PROVISIONED, Cause.UNPRICED)
        if share.cause is Cause.NOT_SETTLED:
            assert share.row.state == "open"
        if share.cause is Cause.OBSERVED_TWICE:
            assert sides.source is EstimateSource.PROMETHEUS
        if share.cause is Cause.LOST_RESPONSES:
            assert any(one.count and one.reported in (Reported.LOST, Reported.MISSING) for one in sides.gaps)
        if share.cause is Cause.TRANSCRIPTION_UNOBSERVED:
            assert any(one.kind is Kind.TRANSCRIPTION for one in sides.gaps)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from([*TOKENS]), st.integers(1, 10**9), min_size=1), st.sampled_from(_DAYS))
def test_a_bill_of_what_was_counted_never_drifts(tokens: dict[Part, int], day: date) -> None:
    sides = Sides(
        estimates=[counted(day, part, quantity) for part, quantity in tokens.items()],
        items=[billed(day, part, quantity) for part, quantity in tokens.items()],
    )
    found = sides.reconciled()
    assert found.totals.drift_cost == 0
    assert not by_cause(found)
    assert not found.is_beyond
