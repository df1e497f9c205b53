"""Prints a draft as pages of OpenAI's Costs API, `GET /v1/organization/costs` grouped by line item and project.

Amounts are long decimal strings there, as a service prints what it keeps in 37 places.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from realtime_spend.simulator.bill.draft import in_steps, over
from realtime_spend.simulator.models import full_name
from realtime_spend.simulator.prices import DURATION, plain

if TYPE_CHECKING:
    from datetime import date

    from realtime_spend.simulator.bill.draft import Charge, Draft

_DAYS_A_PAGE = 7
_LONG = Decimal("1e-37")
_DAY = timedelta(days=1)


class QuantityUnit(StrEnum):
    """What line items of tokens are counted in."""

    TOKENS = "tokens"
    THOUSANDS = "1000_tokens"


def costs_pages(draft: Draft, unit: QuantityUnit = QuantityUnit.TOKENS) -> list[dict[str, Any]]:
    """Return the pages, in their order, of the days from the first to the last that is charged for."""
    by_day: dict[date, list[Charge]] = defaultdict(list)
    for charge in draft.charges:
        by_day[charge.day].append(charge)
    if not by_day:
        return [_page([], None)]
    days = [min(by_day) + _DAY * number for number in range((max(by_day) - min(by_day)).days + 1)]
    buckets = [_bucket(day, [*(_result(charge, draft, unit) for charge in by_day[day]), _chat(draft)]) for day in days]
    chunks = [buckets[start : start + _DAYS_A_PAGE] for start in range(0, len(buckets), _DAYS_A_PAGE)]
    return [
        _page(chunk, f"page_{number}" if number < len(chunks) else None) for number, chunk in enumerate(chunks, start=1)
    ]


def _page(buckets: list[dict[str, Any]], following: str | None) -> dict[str, Any]:
    return {"object": "page", "data": buckets, "has_more": following is not None, "next_page": following}


def _bucket(day: date, results: list[dict[str, Any]]) -> dict[str, Any]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return {
        "object": "bucket",
        "start_time": int(start.timestamp()),
        "end_time": int((start + _DAY).timestamp()),
        "results": results,
    }


def _result(charge: Charge, draft: Draft, unit: QuantityUnit) -> dict[str, Any]:
    is_time = charge.component == DURATION
    block = Decimal(1000 if unit is QuantityUnit.THOUSANDS and not is_time else 1)
    return _line(
        line_item=line_item(charge),
        value=draft.billed(charge.cost),
        currency=draft.currency,
        project=charge.account,
        quantity=over(charge.quantity, block),
        unit="duration_seconds" if is_time else unit,
    )


def _chat(draft: Draft) -> dict[str, Any]:
    """What a text model of the same organisation cost."""
    value = draft.billed(Decimal("0.00042"))
    return _line("gpt-4o-mini, input", value, draft.currency, "proj_chat", Decimal(2800), "tokens")


def _line(  # noqa: PLR0917 - a row of a table
    line_item: str, value: Decimal, currency: str, project: str, quantity: Decimal, unit: str
) -> dict[str, Any]:
    return {
        "object": "organization.costs.result",
        "amount": {"value": format(in_steps(value, _LONG), "f"), "currency": currency.lower()},
        "line_item": line_item,
        "project_id": project,
        "organization_id": "org-contoso",
        # A double, as JSON from there has it; small enough to be exact.
        "quantity": float(quantity),
        "quantity_unit": unit,
    }


def line_item(charge: Charge) -> str:
    """Return how OpenAI's bill calls a charge: `gpt-realtime-2025-08-28 audio, cached input`."""
    if charge.meter:
        return charge.meter
    modality, _, part = charge.component.partition(".")
    name = full_name(charge.model, charge.version)
    return f"{name} {modality}, {'input' if charge.component == DURATION else part.replace('_', ' ')}"


def costs_csv(draft: Draft) -> str:
    """Return what the dashboard exports: cost by day and line item, without quantities."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("start_time", "start_time_iso", "amount_value", "amount_currency", "line_item", "project_id"))
    for charge in draft.charges:
        start = datetime(charge.day.year, charge.day.month, charge.day.day, tzinfo=UTC)
        value = plain(draft.billed(charge.cost))
        money = (value, draft.currency.lower())
        writer.writerow((int(start.timestamp()), start.isoformat(), *money, line_item(charge), charge.account))
    return text.getvalue()
