"""The command on the simulator's bills: what it prints as JSON, and the status that a script goes by."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from tests.reconciling.conversations import AZURE, OPENAI, conversations
from tests.reconciling.recording import record

from realtime_spend.simulator.bill.draft import draft_bill
from realtime_spend.simulator.bill.faults import Fault, discount, inject, unmapped_meter
from realtime_spend.simulator.bill.writing import BillForm, write_bill

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Run

    from realtime_spend.core.rates import RateBook
    from realtime_spend.simulator.bill.draft import Draft

    Arrange = Callable[..., tuple[list[str], Draft]]

_SETTLED = "2026-11-20T00:00:00Z"


@pytest.fixture
def arrange(tmp_path: Path, book: RateBook) -> Arrange:
    """Write ledger and bills, and return the arguments that name them, and what the last bill holds."""

    def arranged(*faults: Fault, forms: tuple[BillForm, ...] = (BillForm.MCA,)) -> tuple[list[str], Draft]:
        usages = conversations((*AZURE, *OPENAI))
        arguments = ["--ledger", str(record(usages, tmp_path / "ledger", book)), "--at", _SETTLED, "--json"]
        for form in forms:
            draft = inject(draft_bill(usages, provider=form.provider), faults)
            arguments += ["--bill", str(write_bill(draft, form, tmp_path / form))]
        return arguments, draft

    return arranged


def test_a_clean_bill_is_no_drift_and_status_0(run: Run, arrange: Arrange) -> None:
    arguments, draft = arrange()
    answer = run("reconcile", *arguments)
    assert answer.status == 0
    assert answer.json["causes"] == []
    totals = answer.json["totals"]
    assert totals["drift_cost"] == totals["explained_cost"] == totals["unexplained_cost"] == "0"
    assert Decimal(totals["billed_cost"]) == sum(charge.cost for charge in draft.charges)
    assert totals["estimated_cost"] == totals["billed_cost"]


def test_both_providers_are_clean_at_once(run: Run, arrange: Arrange) -> None:
    arguments, _ = arrange(forms=(BillForm.FOCUS_1_2, BillForm.OPENAI_COSTS))
    answer = run("reconcile", *arguments)
    assert answer.status == 0
    assert answer.json["causes"] == []
    assert {row["provider"] for row in answer.json["rows"]} == {"openai", "azure.ai.openai"}
    assert answer.json["problems"] == []


def test_a_drift_beyond_the_tolerance_is_status_1_and_within_it_0(run: Run, arrange: Arrange) -> None:
    arguments, draft = arrange(discount(Decimal("0.85")))
    answer = run("reconcile", *arguments, "--floor", "0")
    assert answer.status == 1
    assert {cause["cause"] for cause in answer.json["causes"]} == {"price"}
    found = sum((Decimal(cause["cost"]) for cause in answer.json["causes"]), Decimal(0))
    assert abs(found - sum((one.cost for one in draft.injected), Decimal(0))) < Decimal("1e-9")
    assert run("reconcile", *arguments, "--floor", "0", "--tolerance", "20%").status == 0
    assert run("reconcile", *arguments, "--floor", "5").status == 0


def test_a_meter_that_nobody_can_read_is_status_1_with_all_its_money(run: Run, arrange: Arrange) -> None:
    arguments, draft = arrange(unmapped_meter())
    answer = run("reconcile", *arguments)
    assert answer.status == 1
    unmapped = sum(one.cost for one in draft.injected)
    assert Decimal(answer.json["totals"]["unmapped_cost"]) == unmapped
    assert Decimal(answer.json["totals"]["drift_cost"]) == unmapped
