"""What Azure's Cost Management answers now for a scope: the cost and quantity of each meter, account and day.

A convenience beside exports, which say more: an answer has no unit and no price, so whether it counts tokens or blocks
of them is told by the price that each comes to.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from realtime_spend.billing.azure_asking import CostQueries
from realtime_spend.billing.azure_lines import USD, Line, take
from realtime_spend.billing.openai_results import amount_of
from realtime_spend.billing.source_text import SourceError
from realtime_spend.core.reconciliation.bills import Bill, BillProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from decimal import Decimal

    from azure.core.credentials import TokenCredential

    from realtime_spend.core.rates import RateBook

ENDPOINT = "https://management.azure.com"
# The category was renamed in place: a bill may hold any.
_CATEGORIES = ("Cognitive Services", "Foundry Models", "Azure OpenAI")
# Longer ones are cut off at the front without a word.
_MOST_DAYS = 31
_DATES, _COSTS, _QUANTITIES = ("usagedate", "date"), ("cost", "pretaxcost", "costusd"), ("usagequantity",)


def fetch_azure(
    scope: str,
    first: date,
    last: date,
    *,
    credential: TokenCredential,
    endpoint: str = ENDPOINT,
    book: RateBook,
    advance: Callable[[int], None] = lambda _days: None,
) -> Bill:
    """Return what Azure says now that `scope` cost from `first` to `last`. `advance` is told of days as they are read.

    Raises:
        ValueError: it does not say all of it; the sentence says what to do. A part of a bill would look like drift.
    """
    # Days to come would be answered with those of last year.
    last = min(last, datetime.now(UTC).date())
    bill = Bill(made=datetime.now(UTC))
    if first > last:
        return bill
    bill.first, bill.last = first, last
    with closing(CostQueries(scope, credential=credential, endpoint=endpoint)) as queries:
        asking = _Asking(queries, bill, has_accounts=_is_low(scope))
        if not asking.has_accounts:
            asking.problem(f"above a subscription Azure does not tell accounts apart: give a subscription for {scope}")
        for start in (first + timedelta(days=days) for days in range(0, (last - first).days + 1, _MOST_DAYS)):
            end = min(start + timedelta(days=_MOST_DAYS - 1), last)
            take(bill, asking.lines(start, end), asking.in_usd(start, end), book)
            advance((end - start).days + 1)
    return bill


def _is_low(scope: str) -> bool:
    return scope.lower().startswith("/subscriptions/")


@dataclass
class _Asking:
    """Asks for a range of days, and makes sure that it was answered for all of them."""

    queries: CostQueries
    bill: Bill
    has_accounts: bool
    is_foreign: bool = False
    _row: int = 0

    def problem(self, message: str, column: str | None = None) -> None:
        """Note what cannot be read."""
        row = self._row if column else None
        self.bill.problems.append(BillProblem(message=message, row=row, column=column))

    def lines(self, first: date, last: date, cost: str = "Cost") -> list[Line]:
        """Return the rows of these days. Grouped by day, Azure has been seen to answer for the last day alone."""
        found: list[Line] = []
        while first <= last:
            answered = list(self._answered(first, last, cost))
            found += answered
            if not answered or {line.day for line in answered} != {last}:
                break
            last -= timedelta(days=1)
        self.is_foreign |= any(line.currency != USD for line in found)
        return found

    def in_usd(self, first: date, last: date) -> Mapping[tuple[date, str, str | None], Decimal]:
        """Return what the rows cost in USD, asked for only where that is another currency."""
        if not self.is_foreign:
            return {}
        try:
            return {line.key: line.cost for line in self.lines(first, last, cost="CostUSD")}
        except SourceError as error:
            self.problem(f"what these costs are in USD is not told ({error}); say it with --fx")
            return {}

    def _answered(self, first: date, last: date, cost: str) -> Iterator[Line]:
        for page in self.queries.pages(_query(first, last, cost, has_accounts=self.has_accounts)):
            columns = [str(column.get("name", "")).lower() for column in page.get("columns", ())]
            for row in page.get("rows", ()):
                self._row += 1
                line = self._line(dict(zip(columns, row, strict=False)))
                if line is None:
                    continue
                if first <= line.day <= last:
                    yield line
                else:
                    self.problem(f"Azure answers for {line.day} when asked for {first} to {last}", _DATES[0])

    def _line(self, cells: Mapping[str, Any]) -> Line | None:
        name, value = "columns", None
        try:
            name, value = _first_of(cells, _DATES)
            day = date.fromisoformat(str(value)[:10])
            name, value = _first_of(cells, _COSTS)
            cost = amount_of(str(value))
            name, value = _first_of(cells, _QUANTITIES)
            quantity = amount_of(str(value))
        except (ValueError, KeyError):
            self.problem(f"a row of the answer cannot be read; the last of it is {name} {value!r}", name)
            return None
        return Line(
            day=day,
            meter=str(cells.get("meter") or ""),
            account=_account(str(cells.get("resourceid") or "")),
            cost=cost,
            quantity=quantity,
            currency=str(cells.get("currency") or USD).upper(),
        )


def _query(first: date, last: date, cost: str, *, has_accounts: bool) -> dict[str, Any]:
    """Return the question: at most two sums and two groups are promised to be answered."""
    groups = ["Meter", "ResourceId"] if has_accounts else ["Meter"]
    return {
        "type": "ActualCost",
        "timeframe": "Custom",
        "timePeriod": {
            "from": datetime.combine(first, time(), UTC).isoformat(),
            "to": datetime.combine(last, time(23, 59, 59), UTC).isoformat(),
        },
        "dataset": {
            "granularity": "Daily",
            "aggregation": {
                "totalCost": {"name": cost, "function": "Sum"},
                "totalQuantity": {"name": "UsageQuantity", "function": "Sum"},
            },
            "grouping": [{"type": "Dimension", "name": name} for name in groups],
            "filter": {
                "and": [
                    {"dimensions": {"name": "MeterCategory", "operator": "In", "values": list(_CATEGORIES)}},
                    {"dimensions": {"name": "ChargeType", "operator": "In", "values": ["Usage"]}},
                ]
            },
        },
    }


def _first_of(cells: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, Any]:
    for name in names:
        if name in cells:
            return name, cells[name]
    raise KeyError(names[0])


def _account(resource: str) -> str | None:
    return resource.rstrip("/").rpartition("/")[2].lower() or None
