"""The root of reconciliation: reads what was counted and what was billed, and has core hold one against the other.

One question, one answer. What asks for ever is `watch`.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from realtime_spend.bill_sources import Access, bill_of_files, is_live, live_bill
from realtime_spend.core.reconciliation.bills import Bill, BillProblem
from realtime_spend.core.reconciliation.comparison import Settings, reconcile
from realtime_spend.estimates.by_day import ledger_estimates, prometheus_estimates
from realtime_spend.estimates.ledger import ledger_size
from realtime_spend.estimates.promql import PromqlReader
from realtime_spend.estimates.promql_server import PromqlServer
from realtime_spend.reports.reconciliation import sentence_of
from realtime_spend.sinks import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from realtime_spend.bill_sources import Progress
    from realtime_spend.core.rates import RateBook
    from realtime_spend.core.reconciliation.drift import Reconciliation
    from realtime_spend.core.reconciliation.estimated import Estimates


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to compare: one of `ledger` and `prometheus`, with `bills`, from the UTC day `first` to `last`.

    A bill is a path, or one of the words for a provider that is asked live. `at` is the instant as of which days are
    open or settled.
    """

    bills: tuple[Path, ...]
    at: datetime
    ledger: Path | None = None
    prometheus: str | None = None
    first: date | None = None
    last: date | None = None
    account: str | None = None
    tolerance: Decimal = Decimal("0.02")
    floor: Decimal = Decimal("0.50")
    fx: Mapping[str, Decimal] = field(default_factory=dict)
    access: Access = field(default_factory=lambda: Access.of(os.environ))


def _unseen(_what: str, _total: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda _step: None)


def answer(question: Question, *, book: RateBook, progress: Progress = _unseen) -> Reconciliation:
    """Return estimate beside bill, and what the difference consists of.

    Raises:
        ValueError: nothing can be compared; the sentence says why, and what to do.
    """
    _refuse_what_cannot_be_asked(question)
    bill = _bill(question, book, progress)
    first, last = _days(question, bill)
    estimates = _estimates(question, first, last, book, progress)
    _refuse_unheard_of(question.account, bill, estimates)
    settings = Settings(
        first=question.first,
        last=question.last,
        account=question.account,
        tolerance=question.tolerance,
        floor=question.floor,
        fx=question.fx,
        at=question.at,
    )
    found = reconcile(estimates, bill, book=book, settings=settings)
    found.problems += _days_without(question, estimates, bill, first, last)
    return found


def _refuse_what_cannot_be_asked(question: Question) -> None:
    if (question.ledger is None) == (question.prometheus is None):
        raise ValueError("say where the estimate is: either --ledger DIR or --prometheus URL, one of the two")
    if not question.bills:
        raise ValueError("say where the bill is: --bill PATH, several times for several")
    if question.first and question.last and question.first > question.last:
        raise ValueError(f"--from {question.first} is after --to {question.last}; exchange them")


# --- The bill --------------------------------------------------------------------------------------------------------


def _bill(question: Question, book: RateBook, progress: Progress) -> Bill:
    first, last = question.first, question.last
    files = [path for path in question.bills if not is_live(path)]
    bill = bill_of_files(files, first, last, book=book, progress=progress) if files else Bill()
    for source in map(str, filter(is_live, question.bills)):
        days = _live_days(source, question)
        bill.add(live_bill(source, question.access, *days, book=book, progress=progress))
    if bill.first is None and files and (first or last):
        # What days it does have is worth a second look.
        whole = bill_of_files(files, None, None, book=book, progress=progress)
        _days(question, whole if whole.first is not None else bill)
    return bill


def _live_days(source: str, question: Question) -> tuple[date, date]:
    """Return which days to ask a provider for: those that were said, else those that the ledger has."""
    first, last = question.first, question.last or question.at.astimezone(UTC).date()
    if first is None and question.ledger is not None:
        first = min((item.day for item in ledger_estimates(question.ledger).items), default=None)
    if first is None:
        raise ValueError(f"say --from DAY: {source} is asked by days, and nothing else tells from when on")
    if first > last:
        raise ValueError(f"{source} cannot be asked from {first} to {last}; say --from and --to")
    return first, last


def _days(question: Question, bill: Bill) -> tuple[date, date]:
    """Return the days to compare."""
    if bill.first is None or bill.last is None:
        raise ValueError(_why_nothing(bill))
    first, last = question.first or bill.first, question.last or bill.last
    if first > bill.last or last < bill.first:
        asked = " ".join(
            f"--{name} {day}" for name, day in (("from", question.first), ("to", question.last)) if day is not None
        )
        raise ValueError(f"the bill covers {bill.first} to {bill.last}, nothing of it is left by {asked}; mend them")
    return first, last


def _why_nothing(bill: Bill) -> str:
    if not bill.problems:
        return "the bill has no row of any of these days; look at --from, --to and --bill"
    first, *others = bill.problems
    alike = sum(other.message == first.message for other in others)
    more = [
        *([f"{alike} more like it"] if alike else []),
        *([f"{len(others) - alike} of other kinds"] if len(others) > alike else []),
    ]
    return sentence_of(first) + (f" (and {' and '.join(more)})" if more else "")


# --- The estimate ----------------------------------------------------------------------------------------------------


def _estimates(question: Question, first: date, last: date, book: RateBook, progress: Progress) -> Estimates:
    if question.ledger is None:
        with progress("asking Prometheus", (last - first).days + 1) as advance:
            return prometheus_estimates(_reader(question), first=first, last=last, advance=advance)
    with progress("reading the ledger", ledger_size(question.ledger)) as advance:
        found = ledger_estimates(question.ledger, first=first, last=last, book=book, advance=advance)
    if not found.items and not found.gaps:
        _say_another_time(found, question.ledger)
    return found


def _reader(question: Question) -> PromqlReader:
    access = question.access
    server = PromqlServer(
        url=question.prometheus or "", token=access.prometheus_token, headers=access.prometheus_headers
    )
    return PromqlReader(server=server, names=metrics)


def _refuse_unheard_of(account: str | None, bill: Bill, estimates: Estimates) -> None:
    known = {item.account for item in bill.items} | {item.account for item in estimates.items}
    # Azure's names are the same in any case.
    if account is not None and known and account.casefold() not in {one.casefold() for one in known if one}:
        there_are = ", ".join(sorted(filter(None, known))) or "none at all"
        raise ValueError(f"--account {account} is on neither side; there is {there_are}")


def _say_another_time(found: Estimates, ledger: Path) -> None:
    """Say of a ledger that has usage, none of it of the days in question, which it has: it may be the wrong one.

    Raises:
        ValueError: it has no usage that can be read.
    """
    whole = ledger_estimates(ledger)
    days = _counted(whole)
    if not days and whole.problems:
        raise ValueError(f"{sentence_of(whole.problems[0])}; name the folder that REALTIME_SPEND_LEDGER was set to")
    if days:
        what = (
            f"the ledger has {min(days)} to {max(days)}: if these are not the days of the bill, give the other ledger"
        )
        found.problems.append(BillProblem(file=str(ledger), message=what))


def _days_without(question: Question, estimates: Estimates, bill: Bill, first: date, last: date) -> list[BillProblem]:
    """Say where one side begins later or ends earlier than the other: that is often a file that was forgotten."""
    source = "the ledger" if question.prometheus is None else "Prometheus"
    counted = _counted(estimates)
    billed = [item.day for item in bill.items if first <= item.day <= last]
    if not billed or (counted and min(counted) <= min(billed) and max(billed) <= max(counted)):
        return []
    has = f"from {min(counted)} to {max(counted)}" if counted else "on none of these days"
    what = f"the bill has usage from {min(billed)} to {max(billed)}, {source} {has}: the rest is in the drift"
    return [BillProblem(message=what)]


def _counted(estimates: Estimates) -> list[date]:
    return [item.day for item in estimates.items] + [gap.day for gap in estimates.gaps]
