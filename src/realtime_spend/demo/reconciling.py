"""The end of the demo: bills for the very sessions, not quite what was counted, and where each dollar of that went."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.table import Table

from realtime_spend.core import money
from realtime_spend.core.reconciliation.drift import Cause
from realtime_spend.rate_cards import load_book
from realtime_spend.reconciler import Question, answer
from realtime_spend.reports.printing import print_table
from realtime_spend.reports.reconciliation import print_reconciliation
from realtime_spend.simulator.bill.draft import Draft, draft_bill
from realtime_spend.simulator.bill.faults import (
    Where,
    another_team,
    cache_not_billed,
    discount,
    inject,
    unmapped_meter,
)
from realtime_spend.simulator.bill.writing import BillForm, write_bill
from realtime_spend.simulator.models import Provider

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from realtime_spend.core.reconciliation.drift import Reconciliation

# A day is settled two days after it is over.
_LATER = timedelta(days=4)
# A second has no finite price: what is rounded of it is a cause of its own.
_ROUNDED = Decimal("1e-9")
# The sessions of the demo cost a few cents, and so does what is wrong.
_FEW_TOKENS = 600
# What is wrong with the bills, under which cause it has to be found, and how a person would put it.
_FAULTS = {
    "another_team": (Cause.UNOBSERVED_TRAFFIC, "another team uses gpt-realtime-1.5 with our key"),
    "cache_not_billed": (Cause.CACHE_NOT_BILLED, "cached tokens of gpt-realtime are billed as uncached"),
    "discount": (Cause.PRICE, "Azure gives a discount that no rate card knows"),
    "unmapped_meter": (Cause.UNMAPPED_METER, "Azure bills a Realtime meter nobody has heard of"),
}


def reconcile_bills(console: Console, ledger: Path, truths: Sequence[Mapping[str, Any]]) -> None:
    """Hold bills with injected faults against the ledger, and print what came of it.

    Raises:
        ValueError: there is nothing to compare; the sentence says why.
    """
    usages = [usage for truth in truths for usage in truth["usages"]]
    drafts = {BillForm.OPENAI_COSTS: _openai(usages), BillForm.MCA: _azure(usages)}
    console.print(
        f"\nBills for these sessions, with {len(_FAULTS)} things wrong, as `realtime-spend reconcile` sees them when "
        "they have settled. Rows that agree are not shown.",
        soft_wrap=True,
    )
    with TemporaryDirectory(prefix="realtime-spend-bills-") as folder:
        bills = tuple(write_bill(draft, form, Path(folder) / form) for form, draft in drafts.items())
        question = Question(bills=bills, at=datetime.now(UTC) + _LATER, ledger=ledger)
        found = answer(question, book=load_book())
    print_reconciliation(console, replace(found, rows=[row for row in found.rows if row.drift_cost]))
    injected: dict[str, Decimal] = defaultdict(Decimal)
    for one in (one for draft in drafts.values() for one in draft.injected):
        injected[one.fault] = money.add(injected[one.fault], one.cost)
    print_injected(console, injected, found)


def _openai(usages: Sequence[Mapping[str, Any]]) -> Draft:
    draft = draft_bill(usages, provider=Provider.OPENAI, account="proj_demo")
    team = another_team(days=draft.days[:1], most_tokens=_FEW_TOKENS)
    return inject(draft, [cache_not_billed(Where(models=["gpt-realtime"])), team])


def _azure(usages: Sequence[Mapping[str, Any]]) -> Draft:
    draft = draft_bill(usages, provider=Provider.AZURE, account="contoso-voice")
    return inject(draft, [discount(Decimal("0.85")), unmapped_meter(days=draft.days[:1], tokens=_FEW_TOKENS)])


def print_injected(console: Console, injected: Mapping[str, Decimal], found: Reconciliation) -> None:
    """Print what was done to the bills beside what was found under the cause that it has to be found under."""
    table = Table(box=None, pad_edge=False, header_style="bold", title="What was wrong", title_justify="left")
    for heading in ("done to the bills", "USD", "found under", "USD"):
        table.add_column(heading, justify="right" if heading == "USD" else "left", no_wrap=True)
    table.add_column("")
    drift = found.totals.drift_cost
    lines = [
        (what, injected[fault], cause.value, money.add(*(share.cost for share in found.shares if share.cause is cause)))
        for fault, (cause, what) in _FAULTS.items()
    ]
    for what, done, under, cost in lines:
        table.add_row(what, money.plain(done), under, money.plain(cost), "ok" if _is_same(done, cost) else "DIFFERS")
    done = money.add(*injected.values())
    table.add_section()
    table.add_row("total", money.plain(done), "drift", "unknown" if drift is None else money.plain(drift), "")
    console.print()
    print_table(console, table)
    if drift is not None and _is_same(done, drift) and all(_is_same(done, cost) for _, done, _, cost in lines):
        console.print("every dollar that was injected is under its cause", style="bold green")
    else:
        console.print("not every dollar is under its cause: look at the lines marked DIFFERS", style="bold red")


def _is_same(left: Decimal, right: Decimal) -> bool:
    return abs(money.subtract(left, right)) < _ROUNDED
