from __future__ import annotations

import io
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from realtime_spend.core.price_changes import PriceChange, Side, Tally
from realtime_spend.reports.repricing import print_repricing, repricing_json

if TYPE_CHECKING:
    from realtime_spend.core.spending import Group


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=160, highlight=False)


def _printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]


def _side(cost: str | None, low: str | None = None, unpriced: int = 0) -> Side:
    amount = None if cost is None else Decimal(cost)
    return Side(usages=1, unpriced=unpriced, cost=amount, low=amount if low is None else Decimal(low))


def _change(before: str, after: str) -> PriceChange:
    difference = Decimal(after) - Decimal(before)
    return PriceChange(
        before=_side(before), after=_side(after), difference=difference, usages=1, changed=int(before != after)
    )


def test_amounts_in_json_are_plain_text_and_what_is_unknown_is_null() -> None:
    change = PriceChange(
        before=_side(None, unpriced=1),
        after=_side("3.0", low="1E+0"),
        usages=1,
        gained=Tally(usages=1, cost=Decimal("3.0")),
    )
    sums = {
        "usages": 1,
        "changed": 0,
        "before": {"cost": None, "low": None, "high": None, "unpriced": 1},
        "after": {"cost": "3", "low": "1", "high": "3", "unpriced": 0},
        "difference": None,
        "price_gained": {"usages": 1, "cost": "3"},
        "price_lost": {"usages": 0, "cost": None},
    }
    assert repricing_json(["day"], {(("2026-11-18",), "USD"): change}, {"USD": change}, ["a doubt"], "copy") == {
        "schema": "realtime-spend/repricing/1",
        "rows": [{"day": "2026-11-18", "currency": "USD", **sums}],
        "totals": [{"currency": "USD", **sums}],
        "output": "copy",
        "problems": ["a doubt"],
    }


@pytest.mark.parametrize(("after", "difference"), [("1.5", "+0.5"), ("0.75", "-0.25"), ("1", "0")])
def test_a_row_is_before_after_and_the_difference(after: str, difference: str, console: Console) -> None:
    change = _change("1", after)
    print_repricing(console, ["model"], {(("one",), "USD"): change}, {"USD": change}, ["[odd]"])
    heading, row, total, problem = _printed(console)
    assert heading.split() == ["model", "usages", "changed", "before", "after", "difference"]
    assert row.split() == ["one", "1", "0" if after == "1" else "1", "1", "USD", after, "USD", difference]
    assert total.split()[0] == "total"
    assert problem == "! [odd]"


def test_prices_gained_and_lost_are_said_where_there_are_any(console: Console) -> None:
    gained = PriceChange(
        before=_side(None), after=_side("2", low="1"), usages=3, gained=Tally(usages=3, cost=Decimal(2))
    )
    lost = PriceChange(before=_side("4"), after=Side(), usages=1, lost=Tally(usages=1, cost=Decimal(4)))
    rows: dict[Group, PriceChange] = {((None,), "EUR"): gained, (("one",), "USD"): lost}
    print_repricing(console, ["model"], rows, {"EUR": gained, "USD": lost}, [])
    heading, first, second, *_ = _printed(console)
    assert heading.endswith("difference  price gained  price lost")
    assert first.split() == ["-", "3", "0", "unknown", "at", "most", "2", "EUR", "-", "+2", "(3)", "-"]
    assert second.split() == ["one", "1", "0", "4", "USD", "-", "-", "-", "-4", "(1)"]


def test_a_table_of_nothing_is_printed(console: Console) -> None:
    print_repricing(console, ["day"], {}, {}, ["nothing"])
    assert _printed(console)[-1] == "! nothing"
