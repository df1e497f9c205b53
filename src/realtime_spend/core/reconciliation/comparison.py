"""Estimates beside a bill, row by row: quantities first, money second, and every unit of drift under one cause."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.line_items import Scope
from realtime_spend.core.reconciliation import wording
from realtime_spend.core.reconciliation.accounts import Accounts, gaps_by_account
from realtime_spend.core.reconciliation.bills import BillProblem, LeftOut
from realtime_spend.core.reconciliation.causes import attribute
from realtime_spend.core.reconciliation.drift import Cause, DriftTotals, Reconciliation
from realtime_spend.core.reconciliation.evidence import Evidence
from realtime_spend.core.reconciliation.exchange import USD, Exchange
from realtime_spend.core.reconciliation.matching import match
from realtime_spend.core.reconciliation.rows import Rows, Tolerance, by_currency, without_money

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from realtime_spend.core.line_items import Provider
    from realtime_spend.core.rates import RateBook
    from realtime_spend.core.reconciliation.bills import Bill, BilledItem
    from realtime_spend.core.reconciliation.compared import Compared
    from realtime_spend.core.reconciliation.drift import DriftShare, Row
    from realtime_spend.core.reconciliation.estimated import Estimate, Estimates
    from realtime_spend.core.reconciliation.matching import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is compared, and when it is alarming. `at` is now; `fx` says what one unit of a currency is in USD.

    `tolerance` is a share of the larger side, `floor` an amount in the bill's currency; the larger of the two counts.
    """

    at: datetime
    first: date | None = None
    last: date | None = None
    account: str | None = None
    tolerance: Decimal = Decimal("0.02")
    floor: Decimal = Decimal("0.50")
    fx: Mapping[str, Decimal] = field(default_factory=dict)


def reconcile(estimates: Estimates, bill: Bill, *, book: RateBook, settings: Settings) -> Reconciliation:
    """Return what was estimated beside what was billed, and where each unit of the difference went."""
    compared = _Comparison(estimates, bill, book, settings)
    cells = compared.cells()
    attribute(
        [cell for cell in cells if cell.row.drift_cost is not None],
        Evidence(
            source=estimates.source,
            gaps=gaps_by_account(estimates.gaps, compared.accounts),
            book=book,
            currency=compared.exchange.currency,
            at=compared.seen_at,
            unplaced=compared.unplaced,
        ),
    )
    rows = [cell.row for cell in cells]
    shares = [share for cell in cells for share in cell.shares()]
    return Reconciliation(
        currency=compared.exchange.currency,
        first=compared.first,
        last=compared.last,
        rows=rows,
        shares=shares,
        totals=_totals(rows, shares),
        problems=[*bill.problems, *estimates.problems, *compared.problems],
        left_out=[*bill.left_out, *compared.left_out],
    )


class _Comparison:
    """What of the two sides can be compared, and what has to be said of the rest."""

    def __init__(self, estimates: Estimates, bill: Bill, book: RateBook, settings: Settings) -> None:
        self.problems: list[BillProblem] = []
        self.left_out: list[LeftOut] = []
        self._estimates, self._book, self._settings = estimates, book, settings
        # What a bill says of a day is as settled as that day was when the bill was written.
        self.seen_at = min(settings.at, bill.made) if bill.made else settings.at
        items = [item for item in bill.items if item.meter.is_realtime]
        self._leave_out("other meters", [item for item in bill.items if not item.meter.is_realtime])
        self.accounts = Accounts(items)
        self.first, self.last = self._range(bill)
        self._items = [item for item in items if self._is_asked(item.provider, item.account, item.day)]
        self._nameless: set[Provider] = set()
        self.unplaced: set[tuple[date, Provider, str | None]] = set()
        self._counted = self._comparable()
        currencies = {item.currency for item in self._items} or {item.currency for item in self._counted}
        self.exchange = Exchange(self._items, settings.fx, next(iter(currencies)) if len(currencies) == 1 else USD)
        self._leave_out_unconvertible()

    def cells(self) -> list[Compared]:
        """Return every key of either side, in order."""
        sides = match(self._counted, self._items, accounts=self.accounts, book=self._book)
        rows = Rows(self.exchange, self._items, at=self.seen_at)
        tolerance = Tolerance(share=self._settings.tolerance, floor=self._settings.floor)
        cells = [rows.compared(key, sides[key], tolerance) for key in sorted(sides, key=_in_order)]
        for currency in sorted(rows.unknown_currencies):
            self._say_rate(currency)
        # Where some of the money cannot be compared, none of it is: what is left would look unobserved.
        return [without_money(cell, tolerance) for cell in cells] if rows.unknown_currencies else cells

    def _range(self, bill: Bill) -> tuple[date | None, date | None]:
        if bill.first is None or bill.last is None:
            return None, None
        asked = self._settings
        first = bill.first if asked.first is None else asked.first
        last = bill.last if asked.last is None else asked.last
        if first < bill.first or last > bill.last:
            self._say(
                f"The bill has days from {bill.first} to {bill.last} only: of {first} to {last}, the others "
                "are not compared. Give a bill of these days too."
            )
        first, last = max(first, bill.first), min(last, bill.last)
        return (first, last) if first <= last else (None, None)

    def _is_asked(self, provider: Provider, account: str | None, day: date) -> bool:
        if self.first is None or self.last is None or not self.first <= day <= self.last:
            return False
        asked = self._settings.account
        is_split = self.accounts.is_split(provider)
        return asked is None or not is_split or (account or "").casefold() == asked.casefold()

    def _comparable(self) -> list[Estimate]:
        """Return the estimates that the bill could be about."""
        billed = {item.provider for item in self._items}
        asked = self._settings.account
        found: list[Estimate] = []
        absent: set[Provider] = set()
        for item in self._estimates.items:
            account = self.accounts.of_estimate(item.provider, item.account)
            self._note_unplaced(item, account)
            if not self._is_asked(item.provider, account, item.day):
                continue
            if asked and item.account is not None and item.account.casefold() != asked.casefold():
                continue
            if billed and item.provider not in billed:
                absent.add(item.provider)
                continue
            found.append(item)
        self._say_nameless()
        strange = {
            (item.provider, account)
            for item in found
            if self.accounts.unknown(item.provider, account := self.accounts.of_estimate(item.provider, item.account))
        }
        for provider, name in sorted(strange, key=str):
            billed_ones = wording.several(self.accounts.names(provider))
            self._say(f"The bill knows no account {name}, which usage was counted for; it has {billed_ones}.")
        for provider in sorted(absent):
            self._say(
                f"The bill has no usage of {provider}: what was counted of it is not compared. Give its bill too."
            )
        return found

    def _note_unplaced(self, item: Estimate, account: str | None) -> None:
        """Note usage of these days that no account of the bill can be said to have."""
        is_inside = self.first is not None and self.last is not None and self.first <= item.day <= self.last
        if is_inside and item.scope is not Scope.PROVISIONED and self.accounts.is_without(item.provider, account):
            self.unplaced.add((item.day, item.provider, item.model))
            if account is None:
                self._nameless.add(item.provider)

    def _say_nameless(self) -> None:
        for provider in sorted(self._nameless):
            billed_ones = wording.several(self.accounts.names(provider))
            self._say(
                f"Usage of {provider} was counted without an account, and the bill has several: {billed_ones}. Which "
                "of them it belongs to is not known. Say so where it is counted: REALTIME_SPEND_ACCOUNT."
            )

    def _leave_out_unconvertible(self) -> None:
        """Say what money is left out for want of a rate; the quantities are compared all the same."""
        convert = self.exchange.convert
        lost = [item for item in self._items if convert(item.cost, item.currency, item.day, [item]) is None]
        self._leave_out("no rate of exchange", lost)

    def _leave_out(self, what: str, items: Sequence[BilledItem]) -> None:
        for currency in sorted({item.currency for item in items}):
            costs = [item.cost for item in items if item.currency == currency]
            self.left_out.append(LeftOut(what=what, rows=len(costs), cost=money.add(*costs), currency=currency))

    def _say(self, message: str) -> None:
        problem = BillProblem(message=message)
        if problem not in self.problems:
            self.problems.append(problem)

    def _say_rate(self, currency: str) -> None:
        self._say(
            f"No rate of exchange is known for {currency}, so that only quantities can be compared. Say what one "
            f"{currency} is in USD: --fx {currency}=1.08"
        )


def _in_order(key: Key) -> tuple[str, ...]:
    # An ISO day sorts as the day does; what is not known stands first.
    return tuple("" if word is None else str(word) for word in key)


def _totals(rows: Sequence[Row], shares: Sequence[DriftShare]) -> DriftTotals:
    billed = money.add(*(row.billed_cost for row in rows))
    unmapped = money.add(*(row.billed_cost for row in rows if row.part is None))
    unconverted = by_currency(lost for row in rows for lost in row.unconverted)
    drifts = [row.drift_cost for row in rows if row.drift_cost is not None]
    if len(drifts) < len(rows):
        return DriftTotals(
            estimated_cost=None,
            billed_cost=billed,
            drift_cost=None,
            explained_cost=None,
            unexplained_cost=None,
            unmapped_cost=unmapped,
            unconverted=unconverted,
        )
    return DriftTotals(
        estimated_cost=money.add(*(row.estimated_cost for row in rows if row.estimated_cost is not None)),
        billed_cost=billed,
        drift_cost=money.add(*drifts),
        explained_cost=money.add(*(share.cost for share in shares if share.cause is not Cause.UNEXPLAINED)),
        unexplained_cost=money.add(*(share.cost for share in shares if share.cause is Cause.UNEXPLAINED)),
        unmapped_cost=unmapped,
    )
