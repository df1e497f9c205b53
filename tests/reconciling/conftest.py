"""Records sessions, bills them, and holds one against the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.reconciling.conversations import conversations
from tests.reconciling.playing import SETTLED, Outcome
from tests.reconciling.recording import record

from realtime_spend.rate_cards import load_book
from realtime_spend.reconciler import Question, answer
from realtime_spend.simulator.bill.azure import Counting
from realtime_spend.simulator.bill.draft import draft_bill
from realtime_spend.simulator.bill.faults import inject
from realtime_spend.simulator.bill.writing import BillForm, write_bill

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal
    from pathlib import Path

    from tests.reconciling.conversations import Truth
    from tests.reconciling.playing import Play, Scenario

    from realtime_spend.core.rates import RateBook


@pytest.fixture(scope="session")
def book() -> RateBook:
    return load_book()


@pytest.fixture
def play(tmp_path: Path, book: RateBook) -> Play:
    """Play scenarios, all at once, with a ledger and a bill on the disk, and return what came of it."""

    def played(
        *scenarios: Scenario,
        form: BillForm = BillForm.MCA,
        usages: Truth | None = None,
        counting: Counting = Counting.TOKENS,
        fx: Mapping[str, Decimal] | None = None,
    ) -> Outcome:
        used = conversations() if usages is None else usages
        for scenario in scenarios:
            used = scenario.told(used)
        draft = draft_bill(used, provider=form.provider, account="contoso-voice")
        inject(draft, [fault for scenario in scenarios for fault in scenario.faults])
        bill = write_bill(draft, form, tmp_path / "bill", counting)
        question = Question(
            bills=(bill,),
            at=min((scenario.at for scenario in scenarios), default=SETTLED),
            ledger=record(used, tmp_path / "ledger", book),
            fx=fx or {},
        )
        return Outcome(draft=draft, found=answer(question, book=book))

    return played
