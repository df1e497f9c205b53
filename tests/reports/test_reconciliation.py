"""What a reconciliation looks like as JSON, whose keys are a contract, and in a terminal."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console
from tests.reports.november import FIRST, HARMFUL, LAST, november, totals_of

from realtime_spend.core.line_items import Component, Modality, Part, Provider, Unit
from realtime_spend.core.reconciliation.bills import BillProblem, LeftOut
from realtime_spend.core.reconciliation.drift import Cause, DriftShare, DriftTotals, Reconciliation, Row, State
from realtime_spend.reports.reconciliation import print_reconciliation, reconciliation_json, sentence_of
from realtime_spend.reports.reconciliation_sums import (
    Naming,
    Writing,
    by_cause,
    by_day,
    by_part,
    days_by_state,
    days_of,
    quantity,
)

_AUDIO_OUTPUT = Part(Modality.AUDIO, Component.OUTPUT)


def row_of(**changes: Any) -> Row:
    """A settled row that agrees, with whatever is said of it changed."""
    said: dict[str, Any] = {
        "day": FIRST,
        "provider": Provider.OPENAI,
        "account": None,
        "model": "gpt-realtime",
        "version": None,
        "part": _AUDIO_OUTPUT,
        "scope": None,
        "unit": Unit.TOKENS,
        "estimated_quantity": Decimal(1_000_000),
        "billed_quantity": Decimal(1_000_000),
        "estimated_cost": Decimal(64),
        "estimated_low": None,
        "estimated_high": None,
        "billed_cost": Decimal(64),
        "drift_cost": Decimal(0),
        "state": State.SETTLED,
        **changes,
    }
    return Row(**said)


def reconciliation_of(rows: list[Row], shares: list[DriftShare] | None = None, **changes: Any) -> Reconciliation:
    days = [row.day for row in rows]
    said: dict[str, Any] = {
        "currency": "USD",
        "first": min(days, default=None),
        "last": max(days, default=None),
        "rows": rows,
        "shares": shares or [],
        "totals": totals_of(rows, shares or []),
        **changes,
    }
    return Reconciliation(**said)


def _printed(found: Reconciliation, width: int = 100) -> list[str]:
    file = io.StringIO()
    print_reconciliation(Console(file=file, width=width, highlight=False, markup=False), found)
    return [line.rstrip() for line in file.getvalue().splitlines()]


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_json_has_the_keys_of_the_contract_in_their_order() -> None:
    found = reconciliation_json(november())
    assert list(found) == ["schema", "currency", "from", "to", "rows", "causes", "totals", "problems"]
    assert found["schema"] == "realtime-spend/reconciliation/1"
    assert (found["currency"], found["from"], found["to"]) == ("USD", "2026-11-01", "2026-11-30")
    keys = "day provider account model version modality component scope unit estimated_quantity billed_quantity"
    keys += " estimated_cost estimated_low estimated_high billed_cost drift_cost state meters"
    assert {tuple(row) for row in found["rows"]} == {tuple(keys.split())}
    keys = "cause day model modality component cost evidence"
    assert {tuple(cause) for cause in found["causes"]} == {tuple(keys.split())}
    keys = "estimated_cost billed_cost drift_cost explained_cost unexplained_cost unmapped_cost"
    assert list(found["totals"]) == keys.split()
    assert found["problems"] == [
        {"file": "export/part_0.csv", "row": 17, "column": "Quantity", "message": "'12,x' is no amount"}
    ]
    json.dumps(found)


def test_json_writes_a_row_in_the_words_of_the_contract() -> None:
    row = row_of(
        provider=Provider.AZURE,
        account="voice",
        version="2025-08-28",
        estimated_low=Decimal("60.10"),
        estimated_high=Decimal("64.0"),
        billed_cost=Decimal("70.40"),
        drift_cost=Decimal("6.4000"),
        state=State.OPEN,
        meters=("gpt rt aud 0828 out",),
    )
    assert reconciliation_json(reconciliation_of([row]))["rows"] == [
        {
            "day": "2026-11-01",
            "provider": "azure.ai.openai",
            "account": "voice",
            "model": "gpt-realtime",
            "version": "2025-08-28",
            "modality": "audio",
            "component": "output",
            "scope": None,
            "unit": "tokens",
            "estimated_quantity": "1000000",
            "billed_quantity": "1000000",
            "estimated_cost": "64",
            "estimated_low": "60.1",
            "estimated_high": "64",
            "billed_cost": "70.4",
            "drift_cost": "6.4",
            "state": "open",
            "meters": ["gpt rt aud 0828 out"],
        }
    ]


def test_json_says_null_where_nothing_is_known_and_never_0() -> None:
    totals = DriftTotals(
        estimated_cost=None,
        billed_cost=Decimal(1),
        drift_cost=None,
        explained_cost=None,
        unexplained_cost=None,
        unmapped_cost=Decimal(0),
    )
    unread = row_of(
        model=None,
        part=None,
        unit=None,
        estimated_quantity=None,
        billed_quantity=None,
        estimated_cost=None,
        drift_cost=None,
    )
    found = reconciliation_json(reconciliation_of([unread], totals=totals, first=None, last=None))
    assert (found["from"], found["to"]) == (None, None)
    nulls = {key for key, value in found["rows"][0].items() if value is None}
    assert nulls >= {"model", "modality", "component", "unit", "estimated_quantity", "billed_quantity"}
    assert nulls >= {"estimated_cost", "drift_cost"}
    assert found["totals"] == {
        "estimated_cost": None,
        "billed_cost": "1",
        "drift_cost": None,
        "explained_cost": None,
        "unexplained_cost": None,
        "unmapped_cost": "0",
    }


def test_json_has_every_digit_of_money() -> None:
    cost = Decimal("0.000000000001234567890123")
    found = reconciliation_json(reconciliation_of([row_of(billed_cost=cost, drift_cost=cost - 64)]))
    assert found["rows"][0]["billed_cost"] == "0.000000000001234567890123"
    assert found["rows"][0]["drift_cost"] == "-63.999999999998765432109877"


# --- Sums ------------------------------------------------------------------------------------------------------------


def test_sums_lose_no_money() -> None:
    found = november()
    for sums in (by_day(found), [one for several in by_part(found) for one in several]):
        assert sum(one.billed_cost for one in sums) == found.totals.billed_cost
        assert sum(one.estimated_cost or 0 for one in sums) == found.totals.estimated_cost
        assert sum(one.drift_cost or 0 for one in sums) == found.totals.drift_cost
        assert sum(len(one.rows) for one in sums) == len(found.rows)
    assert sum(one.cost for one in by_cause(found)) == sum(share.cost for share in found.shares)


def test_what_is_beyond_the_tolerance_comes_first_and_open_days_last() -> None:
    skus = by_part(november())
    assert [several[0].is_open for several in skus] == [False, False, False, True]
    assert [bool(several[0].beyond) for several in skus] == [True, True, True, False]
    for several in skus:
        beyond = [bool(one.beyond) for one in several]
        assert beyond == sorted(beyond, reverse=True)
        drifts = [abs(one.drift_cost) for one in several if one.beyond and one.drift_cost is not None]
        assert drifts == sorted(drifts, reverse=True)
    open_rows = [one for one in skus[-1] if any(row.is_beyond for row in one.rows)]
    assert open_rows, "what is open may drift, and is not counted as beyond"
    assert not any(one.beyond for one in open_rows)


def test_causes_are_in_the_order_of_their_money_and_their_evidence_too() -> None:
    sums = by_cause(november())
    costs = [abs(one.cost) for one in sums]
    assert costs == sorted(costs, reverse=True)
    price = next(one for one in sums if one.cause is Cause.PRICE)
    assert [abs(share.cost) for share in price.shares] == sorted((abs(s.cost) for s in price.shares), reverse=True)
    traffic = next(one for one in sums if one.cause is Cause.UNOBSERVED_TRAFFIC)
    # All six parts say the same sentence.
    assert [len(group) for group in traffic.by_evidence()] == [6]


def test_a_day_is_as_settled_as_the_least_of_it() -> None:
    rows = [row_of(state=State.FINAL), row_of(state=State.SETTLED, version="x"), row_of(day=LAST, state=State.FINAL)]
    found = reconciliation_of(rows)
    assert [one.state for one in by_day(found)] == [State.SETTLED, State.FINAL]
    assert days_by_state(found) == ["1 settled", "1 final"]


def test_a_quantity_that_one_row_does_not_know_is_not_known() -> None:
    [[one]] = by_part(reconciliation_of([row_of(), row_of(day=LAST, billed_quantity=None)]))
    assert one.estimated_quantity == Decimal(2_000_000)
    assert one.billed_quantity is None


def test_meters_that_cannot_be_read_are_told_apart_by_their_names() -> None:
    rows = [row_of(model=None, part=None, unit=None, meters=(name,)) for name in ("a", "b", "a")]
    found = reconciliation_of(rows)
    skus = by_part(found)
    assert [len(one.rows) for several in skus for one in several] == [2, 1]
    assert [Naming.of(found).sku(several[0].first) for several in skus] == ["a", "b"]


# --- Figures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("billed", "amount", "written"),
    [
        ("1234.5", "1234.5", "1,234.50"),
        ("1234.5", "-0.005", "~0"),
        ("1234.5", "-0.0051", "-0.01"),
        ("1234.5", "0", "0.00"),
        ("9.99", "1.23456", "1.2346"),
        ("0.01", "0.0012345", "0.001234"),
        ("0.0000001", "0.0000001", "0.000000100"),
        ("0", "0", "0.00"),
    ],
)
def test_money_is_rounded_to_what_the_whole_of_it_deserves(billed: str, amount: str, written: str) -> None:
    row = row_of(billed_cost=Decimal(billed), estimated_cost=Decimal(0))
    assert Writing.of(reconciliation_of([row])).amount(Decimal(amount)) == written


def test_changes_have_their_sign_and_what_is_not_known_says_so() -> None:
    writing = Writing(2)
    assert writing.change(Decimal("1.5")) == "+1.50"
    assert writing.change(Decimal("-1.5")) == "-1.50"
    assert writing.change(Decimal(0)) == "0.00"
    assert writing.change(None) == writing.amount(None) == "unknown"
    assert Writing(2, "\N{MINUS SIGN}").change(Decimal("-1.5")) == "\N{MINUS SIGN}1.50"


@pytest.mark.parametrize(
    ("part", "whole", "written"),
    [
        (Decimal(1), Decimal(8), "+12.5 %"),
        (Decimal(-1), Decimal(3), "-33.3 %"),
        (Decimal(0), Decimal(3), "0.0 %"),
        (Decimal(1), Decimal(0), None),
        (Decimal(1), None, None),
        (None, Decimal(1), None),
    ],
)
def test_a_share_says_nothing_where_there_is_no_whole(
    part: Decimal | None, whole: Decimal | None, written: str | None
) -> None:
    assert Writing(2).share(part, whole) == written


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        (Decimal(1_234_567), "1,234,567"),
        (Decimal("3251.0760000000000012"), "3,251.076"),
        (Decimal("0.5"), "0.5"),
        (Decimal("-1234.5"), "-1,234.5"),
        (Decimal(0), "0"),
        (None, "unknown"),
    ],
)
def test_quantities_have_their_thousands_apart(amount: Decimal | None, written: str) -> None:
    assert quantity(amount) == written


def test_days_are_said_in_words() -> None:
    assert days_of(november()) == "2026-11-01 to 2026-11-30"
    assert days_of(reconciliation_of([row_of()])) == "2026-11-01"
    assert days_of(reconciliation_of([])) == "no day"


def test_provider_and_account_are_named_where_there_are_several() -> None:
    row = row_of(version="2025-08-28")
    other = row_of(provider=Provider.AZURE, account="voice")
    assert Naming.of(reconciliation_of([row])).sku(row) == "gpt-realtime 2025-08-28"
    assert Naming.of(reconciliation_of([row, other])).sku(other) == "gpt-realtime (azure.ai.openai, voice)"
    assert Naming(several=False).sku(row_of(model=None)) == "no model"


# --- In a terminal ---------------------------------------------------------------------------------------------------


def test_the_table_fits_a_terminal_and_says_what_matters_first() -> None:
    lines = _printed(november())
    assert max(map(len, lines)) <= 100
    assert lines[0] == "Estimate beside bill, 2026-11-01 to 2026-11-30, USD"
    assert lines[1].split("  ")[0] == "estimated"
    assert "1,549.05" in lines[2]
    assert "+2.9 %" in lines[2]
    assert lines[3] == "29 of 169 settled rows are beyond the tolerance"
    causes = [line.split()[0] for line in lines[5:] if line.split() and line.split()[0] in set(Cause)]
    assert causes == [one.cause for one in by_cause(november())]
    # The words are wrapped, and none of them is lost.
    assert "".join(HARMFUL.split()) in "".join("".join(lines).split())
    assert "left out: other meters, 8310 rows, 10482.21 USD" in lines
    assert lines[-1] == "! export/part_0.csv, row 17, column Quantity: '12,x' is no amount"


def test_nothing_on_a_bill_can_command_a_terminal() -> None:
    harm = "gpt rt \x1b[2J\x1b]0;mine\x07 aud\rnothing"
    row = row_of(model=None, part=None, unit=None, meters=(harm,), billed_cost=Decimal(70), drift_cost=Decimal(6))
    share = DriftShare(cause=Cause.UNMAPPED_METER, row=row, cost=Decimal(6), evidence=harm)
    left = LeftOut(what=harm, rows=1, cost=Decimal(1), currency=harm)
    problem = BillProblem(message=harm, file=harm)
    found = reconciliation_of([row], [share], problems=[problem], left_out=[left], currency=harm)
    text = "\n".join(_printed(found, 300))
    assert "gpt rt" in text
    assert not [letter for letter in text.replace("\n", "") if not letter.isprintable()]


def test_a_terminal_that_is_too_narrow_loses_nothing() -> None:
    wide, narrow = (set(" ".join(_printed(november(), width)).split()) for width in (100, 30))
    assert {"1,549.05", "1,593.79", "+44.75", "+2.93"} <= narrow
    assert {word for word in wide if word.startswith(("+", "-"))} <= narrow


def test_every_cause_has_its_first_evidence_and_how_many_more() -> None:
    text = " ".join(" ".join(_printed(november(), 160)).split())
    assert "(2026-11-19, gpt-realtime audio.output; 47 more sentences)" in text
    assert "2 times what was counted (2026-11-20, gpt-realtime audio.output and 5 more rows)" in text


def test_an_empty_reconciliation_is_printed_too() -> None:
    lines = _printed(reconciliation_of([]))
    assert lines[0] == "Estimate beside bill, no day, USD"
    assert len([line for line in lines if line]) == 3


def test_one_row_beyond_is_said_of_one() -> None:
    row = row_of(billed_cost=Decimal(100), drift_cost=Decimal(36), is_beyond=True)
    assert "1 of 1 settled row is beyond the tolerance" in _printed(reconciliation_of([row]))


def test_problems_are_cut_and_counted() -> None:
    problems = [BillProblem(message=f"problem {number}") for number in range(23)]
    lines = _printed(reconciliation_of([], problems=problems))
    assert len([line for line in lines if line.startswith("! problem")]) == 20
    assert lines[-1] == "! and 3 problems more; --json and --html have all of them"


def test_a_problem_says_where_it_is() -> None:
    assert sentence_of(BillProblem(message="what", file="f", row=2, column="Cost")) == "f, row 2, column Cost: what"
    assert sentence_of(BillProblem(message="what", file="f")) == "f: what"
    assert sentence_of(BillProblem(message="what")) == "what"


def test_unexplained_and_unknown_are_not_the_same() -> None:
    row = row_of(drift_cost=None, estimated_cost=None, billed_cost=Decimal(5))
    totals = replace(
        totals_of([row], []), estimated_cost=None, drift_cost=None, explained_cost=None, unexplained_cost=None
    )
    lines = _printed(reconciliation_of([row], totals=totals, currency="EUR"))
    assert lines[2].split()[:6] == ["unknown", "5.0000", "unknown", "-", "unknown", "unknown"]


def test_a_day_without_rows_is_no_day_of_a_state() -> None:
    found = reconciliation_of([row_of()], last=FIRST + timedelta(days=3))
    assert days_by_state(found) == ["1 settled"]
