from __future__ import annotations

import io
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from realtime_spend.core.card_format import parse_card
from realtime_spend.core.explanation import ExplainedLine, Explanation, Remark
from realtime_spend.core.line_items import Component, Modality, Part, Provider, Rate, Sku
from realtime_spend.core.naive import NaiveSum
from realtime_spend.core.price_list import Difference, listed_rates
from realtime_spend.core.rates import RateBook, Reason
from realtime_spend.core.spending import Spending
from realtime_spend.reports.explanation import explanation_json, print_explanation
from realtime_spend.reports.prices import differences_json, print_differences, print_prices
from realtime_spend.reports.spending import print_spending, spending_json

_TEXT_INPUT = Part(Modality.TEXT, Component.INPUT)
_DURATION = Part(Modality.AUDIO, Component.DURATION)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=160, highlight=False)


def _printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]


def _line(part: Part, quantity: str, rate: Rate | None, model: str | None = "one") -> ExplainedLine:
    amount = Decimal(quantity)
    return ExplainedLine(
        model=model,
        part=part,
        quantity=amount,
        rate=rate,
        cost=None if rate is None else rate.cost(amount),
        reason=None if rate else Reason.NO_RATE,
    )


def _explanation(*lines: ExplainedLine, **changes: Any) -> Explanation:
    said: dict[str, Any] = {
        "lines": lines,
        "total": Decimal("1.50"),
        "low": None,
        "high": None,
        "currency": "USD",
        "naive": (),
        "problems": (),
        "usages": 1,
        "card": "own@2026-11-01",
        **changes,
    }
    return Explanation(**said)


def test_amounts_in_json_are_plain_text_and_tokens_are_whole_numbers() -> None:
    rate = Rate(unit_price=Decimal("1E+1"), per=1_000_000)
    answer = explanation_json(_explanation(_line(_TEXT_INPUT, "2E+6", rate), low=Decimal("0.10"), high=Decimal("1.50")))
    assert (answer["total"], answer["low"], answer["high"]) == ("1.5", "0.1", "1.5")
    [line] = answer["line_items"]
    assert (line["quantity"], type(line["quantity"]), line["unit_price"], line["cost"]) == (2_000_000, int, "10", "20")


def test_what_has_no_rate_is_listed_apart_with_its_reason() -> None:
    answer = explanation_json(_explanation(_line(_TEXT_INPUT, "7", None, model=None), total=None))
    assert (answer["total"], answer["line_items"]) == (None, [])
    assert answer["unpriced"] == [
        {
            "model": None,
            "modality": "text",
            "component": "input",
            "quantity": 7,
            "unit": "tokens",
            "reason": "no_rate",
        }
    ]


def test_a_ratio_to_nothing_is_none() -> None:
    naive = NaiveSum(name="cache_ignored", total=Decimal(1), ratio=None, why="so")
    answer = explanation_json(_explanation(naive=(naive,)))
    assert answer["naive"] == [{"name": "cache_ignored", "total": "1", "ratio": None, "why": "so"}]


def test_problems_are_kind_and_message() -> None:
    answer = explanation_json(_explanation(problems=(Remark(kind="lost", message="It was lost."),)))
    assert answer["problems"] == [{"kind": "lost", "message": "It was lost."}]


def test_an_explanation_is_printed_with_prices_as_a_page_prints_them(console: Console) -> None:
    lines = [_line(_DURATION, "9.5", Rate(unit_price=Decimal("0.5"), per=per)) for per in (60, 3600, 1, 7)]
    naive = NaiveSum(name="cache_ignored", total=Decimal(3), ratio=Decimal(2), why="wrong")
    unknown = NaiveSum(name="cache_added", total=Decimal(3), ratio=None, why="wrong too")
    problems = (Remark(kind="lost", message="[lost] and gone"),)
    print_explanation(console, _explanation(*lines, naive=(naive, unknown), problems=problems))
    printed = _printed(console)
    assert [line.split()[5] for line in printed[1:5]] == ["0.5/min", "0.5/h", "0.5/s", "0.5/7"]
    assert printed[5] == "total: 1.5 USD  (rates: own@2026-11-01)"
    assert any("2.00x" in line for line in printed)
    assert any(line.split()[:3] == ["cache_added", "3", "-"] for line in printed)
    assert printed[-1] == "! [lost] and gone"


def test_without_lines_there_is_only_a_total(console: Console) -> None:
    print_explanation(console, _explanation(total=None))
    assert _printed(console) == ["total: unknown"]


def _rates(**rate: Any) -> Any:
    card = parse_card(
        {
            "format": 1,
            "provider": "openai",
            "name": "own",
            "date": date(2026, 11, 1),
            "currency": "USD",
            "rate": [{"model": "one", **rate}],
        }
    )
    return list(listed_rates(RateBook([card])))


def test_prices_by_time_stand_in_the_column_of_the_input(console: Console) -> None:
    print_prices(console, _rates(duration={"price": "0.36", "per": "hour"}))
    assert _printed(console)[1].split() == ["openai", "one", "any", "global", "-", "audio", "0.36", "-", "-", "hour"]


def test_a_free_price_is_zero_and_not_absent(console: Console) -> None:
    print_prices(console, _rates(text={"input": "0", "output": "1"}))
    assert _printed(console)[1].split()[6:9] == ["0", "-", "1"]


def test_differences_are_null_where_a_side_has_no_price(console: Console) -> None:
    sku = Sku(provider=Provider.OPENAI, model="one")
    found = [Difference(sku=sku, part=_TEXT_INPUT, ours=None, theirs=Decimal("4.0"))]
    [answer] = differences_json(found)
    assert (answer["ours"], answer["theirs"], answer["scope"], answer["version"]) == (None, "4", None, None)
    print_differences(console, found)
    assert _printed(console)[1].split() == ["one", "any", "-", "-", "text.input", "-", "4"]


def test_no_difference_is_said(console: Console) -> None:
    print_differences(console, [])
    assert _printed(console) == ["no rate of that card differs from ours"]


def test_sums_are_rows_with_a_currency_and_totals() -> None:
    spent = Spending(cost=Decimal("0.30"), low=Decimal("0.1"), usages=2, quantities={"audio.duration": Decimal("1.50")})
    answer = spending_json(["day"], {(("2026-11-18",), "USD"): spent}, {"USD": spent}, ["a doubt"])
    sums = {
        "cost": "0.3",
        "low": "0.1",
        "high": "0.3",
        "quantities": {"audio.duration": "1.5"},
        "costs": {},
        "usages": 2,
        "lost": 0,
        "missing": 0,
        "unpriced": 0,
    }
    assert answer == {
        "rows": [{"day": "2026-11-18", "currency": "USD", **sums}],
        "totals": [{"currency": "USD", **sums}],
        "problems": ["a doubt"],
    }


def test_a_table_of_nothing_is_printed(console: Console) -> None:
    print_spending(console, ["day", "model"], {}, {}, ["[nothing]"])
    assert _printed(console)[-1] == "! [nothing]"


def test_quantities_of_all_modalities_stand_in_one_column(console: Console) -> None:
    quantities = {"text.input": Decimal(1), "audio.input": Decimal(2), "audio.cached_input": Decimal(4)}
    spent = Spending(quantities=quantities, usages=1)
    print_spending(console, ["model"], {((None,), "USD"): spent}, {"USD": spent}, [])
    heading, row, *_ = _printed(console)
    assert heading.split() == ["model", "input", "cached", "usages", "cost"], "what is nothing everywhere is left out"
    assert row.split() == ["-", "3", "4", "1", "unknown"]


def test_in_a_narrow_terminal_no_column_is_lost() -> None:
    narrow = Console(file=io.StringIO(), width=40, highlight=False)
    spent = Spending(quantities={"text.input": Decimal(1)}, cost=Decimal("0.000004"), low=Decimal("0.000004"), usages=1)
    print_spending(narrow, ["session"], {(("sess_" + "x" * 40,), "USD"): spent}, {"USD": spent}, [])
    assert isinstance(narrow.file, io.StringIO)
    printed = narrow.file.getvalue()
    assert "sess_" + "x" * 40 in printed
    assert "0.000004 USD" in printed


def test_two_currencies_have_a_total_each(console: Console) -> None:
    sums = {currency: Spending(cost=Decimal(1), low=Decimal(1), usages=1) for currency in ("USD", "EUR")}
    print_spending(console, ["model"], {(("one",), currency): spent for currency, spent in sums.items()}, sums, [])
    assert [line.split()[-2:] for line in _printed(console)[1:]] == [["1", "USD"], ["1", "EUR"]] * 2
