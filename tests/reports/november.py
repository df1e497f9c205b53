"""A reconciliation of a month as tables and pages show it: most causes, an open end, names that mean harm to a page."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from realtime_spend.core import money
from realtime_spend.core.line_items import Component, Modality, Part, Provider, Scope
from realtime_spend.core.reconciliation.bills import BillProblem, LeftOut
from realtime_spend.core.reconciliation.drift import Cause, DriftShare, DriftTotals, Reconciliation, Row, State

AT = datetime(2026, 12, 1, 9, tzinfo=UTC)
FIRST, LAST = date(2026, 11, 1), date(2026, 11, 30)
HARMFUL = 'gpt rt <script>fetch("https://example.com/")</script> & "aud"'
_RATES = {
    Part(Modality.TEXT, Component.INPUT): "4",
    Part(Modality.TEXT, Component.CACHED_INPUT): "0.4",
    Part(Modality.TEXT, Component.OUTPUT): "16",
    Part(Modality.AUDIO, Component.INPUT): "32",
    Part(Modality.AUDIO, Component.CACHED_INPUT): "0.4",
    Part(Modality.AUDIO, Component.OUTPUT): "64",
}
_MILLION = Decimal(1_000_000)


def november() -> Reconciliation:
    """Thirty days: some at 1.1 times the price, one with sessions that nobody counted, two still open."""
    rows: list[Row] = []
    shares: list[DriftShare] = []
    for number in range(30):
        day = FIRST + timedelta(days=number)
        for part, price in _RATES.items():
            row, cause = _row(day, number, part, Decimal(price))
            rows.append(row)
            if row.drift_cost and cause is not None:
                shares.append(DriftShare(cause=cause, row=row, cost=row.drift_cost, evidence=_evidence(cause, row)))
    unread = _unread()
    rows.append(unread)
    shares.append(
        DriftShare(
            cause=Cause.UNMAPPED_METER,
            row=unread,
            cost=unread.billed_cost,
            evidence=f"the meter {HARMFUL!r} cannot be read; 12.34 USD are billed for it",
        )
    )
    return Reconciliation(
        currency="USD",
        first=FIRST,
        last=LAST,
        rows=rows,
        shares=shares,
        totals=totals_of(rows, shares),
        problems=[BillProblem(message="'12,x' is no amount", file="export/part_0.csv", row=17, column="Quantity")],
        left_out=[LeftOut(what="other meters", rows=8_310, cost=Decimal("10482.21"), currency="USD")],
    )


def totals_of(rows: list[Row], shares: list[DriftShare]) -> DriftTotals:
    """The sums of rows, and of shares."""
    unexplained = money.add(*(share.cost for share in shares if share.cause is Cause.UNEXPLAINED))
    drift = money.add(*(row.drift_cost or money.ZERO for row in rows))
    return DriftTotals(
        estimated_cost=money.add(*(row.estimated_cost or money.ZERO for row in rows)),
        billed_cost=money.add(*(row.billed_cost for row in rows)),
        drift_cost=drift,
        explained_cost=money.subtract(drift, unexplained),
        unexplained_cost=unexplained,
        unmapped_cost=money.add(*(row.billed_cost for row in rows if row.part is None)),
    )


def _row(day: date, number: int, part: Part, price: Decimal) -> tuple[Row, Cause | None]:
    busy = 0.35 if day.isoweekday() > 5 else 1.0
    counted = Decimal(int((420_000 + 9_000 * number) * busy))
    billed, cause = counted, None
    if number == 19:
        billed, cause = counted * 2, Cause.UNOBSERVED_TRAFFIC
    elif number == 23 and part.modality is Modality.TEXT and part.component is not Component.OUTPUT:
        moved = counted // 4
        billed = counted + moved if part.component is Component.INPUT else counted - moved
        cause = Cause.CACHE_NOT_BILLED
    elif number == 26 and part == "audio.output":
        billed, cause = counted * 107 // 100, Cause.UNEXPLAINED
    elif number >= 28:
        billed, cause = counted // (2 if number == 28 else 8), Cause.NOT_SETTLED
    is_dearer = 11 <= number < 19
    billed_cost = billed * price * (Decimal("1.1") if is_dearer else 1) / _MILLION
    estimated = counted * price / _MILLION
    drift = billed_cost - estimated
    row = Row(
        day=day,
        provider=Provider.AZURE,
        account="voice-prod",
        model="gpt-realtime",
        version="2025-08-28",
        part=part,
        scope=Scope.DATAZONE if is_dearer else Scope.GLOBAL,
        unit=part.unit,
        estimated_quantity=counted,
        billed_quantity=billed,
        estimated_cost=estimated,
        estimated_low=None,
        estimated_high=None,
        billed_cost=billed_cost,
        drift_cost=drift,
        state=State.OPEN if number >= 28 else State.SETTLED,
        meters=(f"gpt rt {part.modality[:3]} 0828 gl",),
        is_beyond=abs(drift) > max(Decimal("0.50"), Decimal("0.02") * max(billed_cost, estimated)),
    )
    return row, Cause.PRICE if is_dearer else cause


def _unread() -> Row:
    return Row(
        day=date(2026, 11, 5),
        provider=Provider.AZURE,
        account="voice-prod",
        model=None,
        version=None,
        part=None,
        scope=None,
        unit=None,
        estimated_quantity=None,
        billed_quantity=None,
        estimated_cost=money.ZERO,
        estimated_low=None,
        estimated_high=None,
        billed_cost=Decimal("12.34"),
        drift_cost=Decimal("12.34"),
        state=State.SETTLED,
        meters=(HARMFUL,),
        is_beyond=True,
    )


def _evidence(cause: Cause, row: Row) -> str:
    counted, billed = row.estimated_quantity, row.billed_quantity
    if cause is Cause.PRICE:
        return f"{counted} tokens of {row.part} were counted and billed, at 1.10 times the price: that of a data zone"
    if cause is Cause.UNOBSERVED_TRAFFIC:
        return f"on {row.day} every meter of gpt-realtime bills 2 times what was counted"
    return f"{row.part} on {row.day}: {counted} tokens were counted, {billed} are billed"
