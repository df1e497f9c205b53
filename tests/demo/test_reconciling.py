"""The end of the demo: what was done to the bills beside where it was found."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from tests.reconciling.conversations import AZURE, DAYS, OPENAI, REALTIME, conversations
from tests.reconciling.playing import SETTLED
from tests.reconciling.recording import record

from realtime_spend.demo.reconciling import print_injected, reconcile_bills
from realtime_spend.rate_cards import load_book
from realtime_spend.reconciler import Question, answer
from realtime_spend.simulator.bill.draft import draft_bill
from realtime_spend.simulator.bill.faults import discount, inject
from realtime_spend.simulator.bill.writing import BillForm, write_bill
from realtime_spend.simulator.models import Provider

if TYPE_CHECKING:
    from pathlib import Path

    from realtime_spend.core.reconciliation.drift import Reconciliation


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=160, highlight=False, markup=False)


def _printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("seed", [1, 2])
def test_every_dollar_is_found_whatever_was_said(console: Console, tmp_path: Path, seed: int) -> None:
    usages = conversations((*AZURE, *OPENAI), days=DAYS[:1], seed=seed)
    ledger = record(usages, tmp_path / "ledger", load_book())
    reconcile_bills(console, ledger, [{"usages": usages[:30]}, {"usages": usages[30:]}])
    printed = _printed(console)
    assert "every dollar that was injected is under its cause" in printed
    assert "DIFFERS" not in printed
    for cause in ("unobserved_traffic", "cache_not_billed", "price", "unmapped_meter"):
        assert printed.count(cause) >= 2
    assert "gpt-4o-mini-realtime-preview" not in printed, "rows that agree are not shown"


@pytest.fixture
def discounted(tmp_path: Path) -> Reconciliation:
    usages = conversations((REALTIME,), days=DAYS[:1])
    ledger = record(usages, tmp_path / "ledger", load_book())
    draft = inject(draft_bill(usages, provider=Provider.AZURE), [discount()])
    bill = write_bill(draft, BillForm.EA, tmp_path / "bill")
    return answer(Question(bills=(bill,), at=SETTLED, ledger=ledger), book=load_book())


def test_money_that_is_not_under_its_cause_is_said(console: Console, discounted: Reconciliation) -> None:
    nothing = Decimal(0)
    injected = {"another_team": Decimal(1), "cache_not_billed": nothing, "discount": nothing, "unmapped_meter": nothing}
    print_injected(console, injected, discounted)
    printed = _printed(console)
    assert printed.count("DIFFERS") == 3, "two lines, and the sentence"
    assert "every dollar" not in printed.replace("not every dollar", "")


def test_all_of_it_under_its_cause_is_said(console: Console, discounted: Reconciliation) -> None:
    drift = discounted.totals.drift_cost
    assert drift is not None
    assert drift < 0
    nothing = Decimal(0)
    print_injected(
        console,
        {"another_team": nothing, "cache_not_billed": nothing, "discount": drift, "unmapped_meter": nothing},
        discounted,
    )
    assert "\nevery dollar that was injected is under its cause" in _printed(console)
