from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from realtime_spend.core.spending import Spending, spending
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
    currency: str | None = "USD"
    tenant: str | None = None


def _entry(tokens: int, cost: str, tenant: str | None = None, currency: str = "USD") -> Entry:
    return Entry(
        quantities={"text.input": Decimal(tokens)},
        costs={"text.input": Decimal(cost)},
        cost=Decimal(cost),
        tenant=tenant,
        currency=currency,
    )


def _by_tenant(entry: object) -> tuple[str | None, ...]:
    assert isinstance(entry, Entry)
    return (entry.tenant,)


def test_quantities_costs_and_usages_are_added_up_by_group() -> None:
    entries = [_entry(10, "0.1", "a"), _entry(20, "0.2", "b"), _entry(30, "0.3", "a")]
    found = spending(entries, _by_tenant)
    assert list(found) == [(("a",), "USD"), (("b",), "USD")]
    spent = found[("a",), "USD"]
    assert spent.quantities == {"text.input": Decimal(10 + 30)}
    assert spent.costs == {"text.input": Decimal("0.1") + Decimal("0.3")}
    assert (spent.cost, spent.usages) == (Decimal("0.1") + Decimal("0.3"), 2)
    assert not spent.is_interval


def test_currencies_are_never_added_to_each_other() -> None:
    found = spending([_entry(1, "1"), _entry(1, "2", currency="EUR")], _by_tenant)
    assert {currency: spent.cost for (_, currency), spent in found.items()} == {"USD": Decimal(1), "EUR": Decimal(2)}


def test_usages_without_a_price_are_counted_and_have_no_cost_of_zero() -> None:
    entry = Entry(quantities={"text.input": Decimal(5)}, costs={"text.input": None}, currency=None)
    [(key, spent)] = spending([entry], _by_tenant).items()
    assert key == ((None,), "USD")
    assert (spent.cost, spent.low, spent.unpriced, spent.costs) == (None, None, 1, {})
    assert spent.quantities == {"text.input": Decimal(5)}
    assert not spent.is_interval


def test_a_usage_priced_in_part_adds_its_part_and_is_unpriced_all_the_same() -> None:
    spent = Spending()
    spent.add(Entry(costs={"text.input": Decimal(1), "image.input": None, "audio.input": None}, cost=Decimal(1)))
    assert (spent.cost, spent.unpriced) == (Decimal(1), 1)


def test_missing_and_lost_usage_is_counted_apart() -> None:
    spent = Spending()
    for reported in (Reported.MISSING, Reported.LOST, Reported.LOST, Reported.ESTIMATED, Reported.REPORTED):
        spent.add(Entry(reported=reported))
    assert (spent.usages, spent.missing, spent.lost, spent.unpriced) == (5, 1, 2, 0)


def test_one_cost_between_two_bounds_makes_the_sum_one() -> None:
    spent = Spending()
    spent.add(_entry(1, "0.5"))
    spent.add(Entry(costs={"text.input": Decimal("0.3")}, cost=Decimal("0.3"), low=Decimal("0.1")))
    assert spent.is_interval
    assert spent.low == Decimal("0.5") + Decimal("0.1")
    assert spent.cost == Decimal("0.5") + Decimal("0.3")


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.decimals(0, 1000, places=12), st.sampled_from([None, "a", "b"]))),
)
def test_however_usages_are_grouped_the_groups_add_up_to_the_same(
    drawn: list[tuple[int, Decimal, str | None]],
) -> None:
    entries = [_entry(tokens, str(cost), tenant) for tokens, cost, tenant in drawn]
    groups = spending(entries, _by_tenant).values()
    assert sum(spent.usages for spent in groups) == len(entries)
    assert sum((spent.cost or Decimal(0) for spent in groups), Decimal(0)) == sum(
        (cost for _, cost, _ in drawn), Decimal(0)
    )


def test_usage_without_a_price_goes_with_the_only_currency_of_the_ledger() -> None:
    unpriced = Entry(quantities={"text.input": Decimal(5)}, costs={"text.input": None}, currency=None)
    found = spending([_entry(1, "2", currency="EUR"), unpriced], _by_tenant)
    assert {currency: spent.unpriced for (_, currency), spent in found.items()} == {"EUR": 1}
