"""Prints a draft as a FOCUS export of Azure, in the versions 1.0, 1.0r2 and 1.2, as CSV or as Parquet."""

from __future__ import annotations

from datetime import date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from realtime_spend.simulator.bill.azure import (
    SUBSCRIPTION,
    Counting,
    Printed,
    csv_text,
    month_of,
    number,
    printed_rows,
    resource_id,
)
from realtime_spend.simulator.bill.columns import FOCUS, FOCUS_1_0, FOCUS_1_2
from realtime_spend.simulator.bill.draft import ONE, over

if TYPE_CHECKING:
    from pathlib import Path

    from realtime_spend.simulator.bill.draft import Draft

_CATEGORIES = {"Usage": "Usage", "Purchase": "Purchase", "Credit": "Credit", "Tax": "Tax", "Refund": "Credit"}
# Usage is counted in `Units`, whatever the block.
_HOURS = "1 Hour"


class FocusVersion(StrEnum):
    """A version of the specification, as exports name it."""

    V1_0 = "1.0"
    V1_0R2 = "1.0r2"
    V1_2 = "1.2"


def focus(draft: Draft, version: FocusVersion, counting: Counting = Counting.TOKENS) -> str:
    """Return the bill as the text of a CSV file."""
    return csv_text(_columns(version), (_cells(row, draft, counting, version) for row in printed_rows(draft)))


def write_focus_parquet(draft: Draft, version: FocusVersion, path: Path, counting: Counting = Counting.TOKENS) -> None:
    """Write the bill as a Parquet file, with decimal and timestamp columns as exports have them.

    Raises:
        ImportError: DuckDB is not installed.
    """
    import duckdb  # noqa: PLC0415 - only who writes this needs it

    columns = _columns(version)
    rows = [_cells(row, draft, counting, version) for row in printed_rows(draft)]
    values: list[list[Any]] = [[row.get(column.lower(), "") or None for column in columns] for row in rows]
    kinds = [_kind(column) for column in columns]
    with duckdb.connect() as connection:
        created = ", ".join(f'"{column}" {kind}' for column, kind in zip(columns, kinds, strict=True))
        connection.execute(f"CREATE TABLE bill ({created})")
        connection.executemany(f"INSERT INTO bill VALUES ({', '.join('?' * len(columns))})", values)  # noqa: S608 - our columns
        connection.execute(f"COPY bill TO '{str(path).replace(chr(39), chr(39) * 2)}' (FORMAT parquet)")


def _kind(column: str) -> str:
    if column.endswith(("Cost", "CostInUsd", "Price", "Quantity", "ExchangeRate")):
        return "DECIMAL(38, 18)"
    return "TIMESTAMP" if column.endswith(("PeriodStart", "PeriodEnd")) else "VARCHAR"


def _cells(row: Printed, draft: Draft, counting: Counting, version: FocusVersion) -> dict[str, str]:
    counted, usd_price = row.counted(counting)
    price, cost = number(draft.billed(usd_price)), number(draft.billed(row.cost))
    first, last = month_of(row.day)
    is_usage = row.kind == "Usage"
    blocks = row.counted(Counting.BLOCKS)[0]
    meter = "skumeter" if version is FocusVersion.V1_2 else "x_skumetername"
    return {
        "billingaccountid": "/providers/Microsoft.Billing/billingAccounts/8608480",
        "billingaccountname": "Contoso",
        "billingcurrency": draft.currency,
        "billingperiodstart": _instant(first, version),
        "billingperiodend": _instant(last + timedelta(days=1), version),
        "chargecategory": _CATEGORIES[row.kind],
        "chargedescription": f"{row.meter.product} - {row.meter.name}",
        "chargefrequency": "Usage-Based" if is_usage else "One-Time",
        "chargeperiodstart": _instant(row.day, version),
        "chargeperiodend": _instant(row.day + timedelta(days=1), version),
        "billedcost": cost,
        "effectivecost": cost,
        "contractedcost": cost,
        "listcost": cost,
        "contractedunitprice": price,
        "listunitprice": price,
        "x_billedunitprice": price,
        "x_effectiveunitprice": price,
        "consumedquantity": number(counted) if is_usage else "",
        "consumedunit": "Hours" if row.meter.unit == _HOURS else "Units",
        "pricingquantity": number(blocks),
        "pricingunit": "Hours" if row.meter.unit == _HOURS else "Units",
        "pricingcategory": "Standard",
        "x_pricingblocksize": str(1 if row.meter.unit == _HOURS else row.block),
        "x_pricingunitdescription": row.meter.unit,
        "pricingcurrency": "USD",
        "x_pricingcurrency": "USD",
        "x_billingexchangerate": number(over(ONE, draft.to_usd)),
        "x_billedcostinusd": number(row.cost),
        "x_effectivecostinusd": number(row.cost),
        "providername": "Microsoft",
        "publishername": "Microsoft",
        "invoiceissuername": "Microsoft",
        "regionid": row.region,
        "regionname": row.region,
        # In lower case, unlike in cost details.
        "resourceid": resource_id(row.account).lower() if is_usage else "",
        "resourcename": row.account if is_usage else "",
        "resourcetype": "Cognitive Services",
        "servicecategory": "AI and Machine Learning",
        "servicename": row.category,
        "skuid": row.meter_id,
        "skupriceid": row.meter_id,
        "subaccountid": f"/subscriptions/{SUBSCRIPTION}",
        "subaccountname": "voice-production",
        "x_skumeterid": row.meter_id,
        "x_skumetercategory": row.category,
        "x_skumetersubcategory": row.meter.product,
        "x_skuregion": row.region,
        "x_resourcegroupname": "voice",
        meter: row.meter.name,
    }


def _instant(day: date, version: FocusVersion) -> str:
    # The first release had no seconds.
    return f"{day.isoformat()}T00:00{'' if version is FocusVersion.V1_0 else ':00'}Z"


def _columns(version: FocusVersion) -> list[str]:
    return [*FOCUS.split(), *(FOCUS_1_2 if version is FocusVersion.V1_2 else FOCUS_1_0).split()]
