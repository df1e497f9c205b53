from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_spend.core.price_changes import PriceChange, price_changes
from realtime_spend.core.usage import Reported

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Entry:
    at: datetime = datetime(2026, 11, 18, tzinfo=UTC)
    reported: Reported = Reported.REPORTED
    quantities: Mapping[str, Decimal] = field(default_factory=dict)
    costs: Mapping[str, Decimal | None] = field(default_factory=dict)
    cost: Decimal | None = None
    low: Decimal | None = None
    currency: str | None = None
    model: str | None = "one"


def _entry(cost: str | None, currency: str = "USD", model: str = "one", low: str | None = None) -> Entry:
    return Entry(
        cost=None if cost is None else Decimal(cost),
        costs={"text.input": None if cost is None else Decimal(cost)},
        low=None if low is None else Decimal(low),
        currency=None if cost is None else currency,
        model=model,
    )


def _by_model(entry: Entry) -> tuple[str | None, ...]:
    return (entry.model,)


def test_the_difference_is_of_usages_that_have_a_price_on_both_sides() -> None:
    pairs = [
        (_entry("1"), _entry("1.5")),
        (_entry("2"), _entry("2")),
        (_entry(None), _entry("0.25")),
        (_entry("4"), _entry(None)),
        (_entry(None), _entry(None)),
    ]
    [(key, change)] = price_changes(pairs, _by_model).items()
    assert key == (("one",), "USD")
    assert (change.usages, change.changed) == (5, 1)
    assert (change.before.cost, change.after.cost) == (Decimal(7), Decimal("3.75"))
    assert (change.before.unpriced, change.after.unpriced) == (2, 2)
    assert change.difference == Decimal("0.5")
    assert (change.gained.usages, change.gained.cost) == (1, Decimal("0.25"))
    assert (change.lost.usages, change.lost.cost) == (1, Decimal(4))


def test_what_has_no_price_on_a_side_has_no_difference_and_no_cost_of_zero() -> None:
    [change] = price_changes([(_entry(None), _entry("2"))], _by_model).values()
    assert (change.before.cost, change.difference, change.lost.cost) == (None, None, None)
    [change] = price_changes([(_entry(None), _entry(None))], _by_model).values()
    assert (change.before.cost, change.after.cost, change.difference, change.changed) == (None, None, None, 0)


def _in_parts(costs: Mapping[str, str | None], currency: str = "USD") -> Entry:
    known = {part: None if cost is None else Decimal(cost) for part, cost in costs.items()}
    priced = [cost for cost in known.values() if cost is not None]
    return Entry(costs=known, cost=sum(priced, Decimal(0)) if priced else None, currency=currency if priced else None)


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        ({"text": "1", "audio": None}, {"text": "1", "audio": "5"}, ("0", "5", None)),
        ({"text": "1", "audio": "5"}, {"text": "1.5", "audio": None}, ("0.5", None, "5")),
        ({"text": "1", "audio": None}, {"text": None, "audio": "5"}, (None, "5", "1")),
        ({"text": "1", "audio": None}, {"text": "2", "audio": None}, ("1", None, None)),
        ({"text": "1"}, {"text": "1", "audio": "5"}, ("5", None, None)),
    ],
)
def test_the_price_of_a_part_that_was_unknown_is_gained_and_not_a_difference(
    before: dict[str, str | None], after: dict[str, str | None], moved: tuple[str | None, ...]
) -> None:
    [change] = price_changes([(_in_parts(before), _in_parts(after))], _by_model).values()
    found = (change.difference, change.gained.cost, change.lost.cost)
    assert found == tuple(None if amount is None else Decimal(amount) for amount in moved)
    assert (change.gained.usages, change.lost.usages) == (moved[1] is not None, moved[2] is not None)
    assert change.changed == 1


def test_a_usage_stands_where_it_belongs_by_its_new_name() -> None:
    [(key, change)] = price_changes([(_entry(None, model="voice-prod"), _entry("2"))], _by_model).items()
    assert key == (("one",), "USD")
    assert change.usages == 1


def test_currencies_are_never_subtracted_from_each_other() -> None:
    found = price_changes([(_entry("1"), _entry("2", "EUR"))], _by_model)
    dollars, euros = found[("one",), "USD"], found[("one",), "EUR"]
    assert (dollars.before.cost, dollars.after.cost, dollars.difference, dollars.lost.cost) == (
        Decimal(1),
        None,
        None,
        Decimal(1),
    )
    assert (euros.before.cost, euros.after.cost, euros.difference, euros.gained.cost) == (
        None,
        Decimal(2),
        None,
        Decimal(2),
    )


def test_bounds_are_kept_on_each_side_and_a_new_bound_is_a_change() -> None:
    pairs = [(_entry("3", low="1"), _entry("3", low="2")), (_entry("1"), _entry("1"))]
    [change] = price_changes(pairs, _by_model).values()
    assert (change.before.low, change.before.cost, change.before.is_interval) == (Decimal(2), Decimal(4), True)
    assert (change.after.low, change.after.cost) == (Decimal(3), Decimal(4))
    assert (change.changed, change.difference) == (1, Decimal(0))


_COSTS = st.none() | st.decimals(0, 1000, places=12).map(str)
_SIDES = st.builds(
    lambda costs, currency, model: replace(_in_parts(costs, currency), model=model),
    st.dictionaries(st.sampled_from(["text", "audio", "image"]), _COSTS),
    st.sampled_from(["USD", "EUR"]),
    st.sampled_from(["a", "b"]),
)


def _sum(change: PriceChange) -> tuple[Decimal, Decimal]:
    nothing = Decimal(0)
    before, after = change.before.cost or nothing, change.after.cost or nothing
    moved = (change.difference or nothing) + (change.gained.cost or nothing) - (change.lost.cost or nothing)
    return before + moved, after


@given(st.lists(st.tuples(_SIDES, _SIDES)))
def test_before_and_all_that_moved_is_after_in_every_row_and_rows_add_up(pairs: list[tuple[Entry, Entry]]) -> None:
    rows = price_changes(pairs, _by_model)
    totals = price_changes(pairs, lambda _entry: ())
    for change in (*rows.values(), *totals.values()):
        reached, after = _sum(change)
        assert reached == after
    for (_, currency), total in totals.items():
        of_currency = [change for (_, other), change in rows.items() if other == currency]
        assert sum((change.difference or Decimal(0) for change in of_currency), Decimal(0)) == (
            total.difference or Decimal(0)
        )
        assert sum(change.changed for change in of_currency) == total.changed
