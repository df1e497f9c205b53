"""Every form of a bill, read with nothing but the standard library: it says what was charged, and the rest with it."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

import duckdb
import pytest
from tests.reconciling.conversations import AZURE, DAYS, OPENAI, conversations

from realtime_spend.simulator.bill import faults
from realtime_spend.simulator.bill.azure import Agreement, Counting, cost_details, month_of
from realtime_spend.simulator.bill.draft import Draft, draft_bill
from realtime_spend.simulator.bill.export import next_morning, write_run
from realtime_spend.simulator.bill.faults import inject
from realtime_spend.simulator.bill.focus import FocusVersion, focus
from realtime_spend.simulator.bill.openai import QuantityUnit, costs_csv, costs_pages
from realtime_spend.simulator.bill.writing import BillForm, bill_for, write_bill
from realtime_spend.simulator.models import Provider

if TYPE_CHECKING:
    from pathlib import Path

_BLOCKS = {"1K": 1000, "1M": 1_000_000}


def _azure() -> Draft:
    return draft_bill(conversations(AZURE), provider=Provider.AZURE)


def _openai() -> Draft:
    return draft_bill(conversations(OPENAI), provider=Provider.OPENAI, account="proj_voice")


def _total(draft: Draft) -> Decimal:
    return sum((charge.cost for charge in draft.charges), Decimal(0))


def _rows(text: str) -> list[dict[str, str]]:
    """By lower-case headers."""
    return [{key.lower(): value for key, value in row.items()} for row in csv.DictReader(io.StringIO(text))]


def _is_voice(meter: str) -> bool:
    return any(word in meter for word in ("gpt rt", "trscb", "whisper"))


@pytest.mark.parametrize("counting", Counting)
@pytest.mark.parametrize("agreement", Agreement)
def test_cost_details_hold_every_charge_and_their_price_times_quantity_is_the_cost(
    agreement: Agreement, counting: Counting
) -> None:
    rows = _rows(cost_details(_azure(), agreement, counting))
    cost = "cost" if agreement is Agreement.C360 else "costinbillingcurrency"
    voice = [row for row in rows if _is_voice(row["metername"])]
    assert len(voice) < len(rows)
    assert sum(Decimal(row[cost]) for row in voice) == _total(_azure())
    for row in rows:
        is_per_block = counting is Counting.TOKENS_OF_BLOCK_PRICE and row["unitofmeasure"] in _BLOCKS
        block = _BLOCKS[row["unitofmeasure"]] if is_per_block else 1
        product = Decimal(row["quantity"]) * Decimal(row["effectiveprice"]) / block
        assert abs(product - Decimal(row[cost])) < Decimal("1e-9")


@pytest.mark.parametrize(
    ("agreement", "columns", "first"),
    [(Agreement.EA, 57, "InvoiceSectionName"), (Agreement.MCA, 65, "invoiceId"), (Agreement.C360, 35, "BillingAcc")],
)
def test_cost_details_have_the_columns_of_their_schema(agreement: Agreement, columns: int, first: str) -> None:
    header = cost_details(_azure(), agreement).split("\r\n")[0]
    assert header.startswith(first)
    assert len(set(header.split(","))) == columns


def test_a_customer_agreement_states_dollars_and_the_rate_beside_the_billing_currency() -> None:
    draft = inject(_azure(), [faults.currency("EUR", Decimal("1.25"))])
    voice = [row for row in _rows(cost_details(draft, Agreement.MCA)) if _is_voice(row["metername"])]
    assert {(row["billingcurrency"], row["pricingcurrency"]) for row in voice} == {("EUR", "USD")}
    assert {row["exchangeratepricingtobilling"] for row in voice} == {"0.8"}
    assert sum(Decimal(row["costinbillingcurrency"]) for row in voice) == _total(_azure()) * Decimal("0.8")
    assert sum(Decimal(row["costinusd"]) for row in voice) == _total(_azure())


def test_an_enterprise_agreement_states_one_currency_alone() -> None:
    draft = inject(_azure(), [faults.currency("EUR", Decimal("1.25"))])
    voice = [row for row in _rows(cost_details(draft, Agreement.EA)) if _is_voice(row["metername"])]
    assert {row["billingcurrencycode"] for row in voice} == {"EUR"}
    assert sum(Decimal(row["costinbillingcurrency"]) for row in voice) == _total(_azure()) * Decimal("0.8")
    assert not [key for key in voice[0] if "usd" in key or "exchange" in key]


@pytest.mark.parametrize("version", FocusVersion)
def test_focus_holds_every_charge_under_the_names_of_its_version(version: FocusVersion) -> None:
    rows = _rows(focus(_azure(), version))
    name = "skumeter" if version is FocusVersion.V1_2 else "x_skumetername"
    voice = [row for row in rows if _is_voice(row[name])]
    assert sum(Decimal(row["billedcost"]) for row in voice) == _total(_azure())
    assert {row["chargecategory"] for row in rows} == {"Usage", "Purchase", "Credit", "Tax"}
    assert {row["consumedunit"] for row in voice} == {"Units", "Hours"}
    starts = {datetime.fromisoformat(row["chargeperiodstart"]) for row in voice}
    assert starts == {datetime(day.year, day.month, day.day, tzinfo=UTC) for day in DAYS}


def test_focus_as_parquet_has_exact_decimals(tmp_path: Path) -> None:
    path = write_bill(_azure(), BillForm.FOCUS_PARQUET, tmp_path)
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT typeof(BilledCost), sum(BilledCost) FROM read_parquet(?) WHERE SkuMeter SIMILAR TO ? GROUP BY 1",
            [str(path), "(gpt rt|gpt4o mn trscb|gpt-realtime-whisper).*"],
        ).fetchall()
    assert found == [("DECIMAL(38,18)", _total(_azure()))]


@pytest.mark.parametrize("unit", QuantityUnit)
def test_costs_pages_hold_every_charge_in_long_decimals(unit: QuantityUnit) -> None:
    pages = json.loads(json.dumps(costs_pages(_openai(), unit)))
    results = [result for page in pages for bucket in page["data"] for result in bucket["results"]]
    voice = [result for result in results if result["project_id"] == "proj_voice"]
    assert sum(Decimal(result["amount"]["value"]) for result in voice) == _total(_openai())
    assert {len(result["amount"]["value"].partition(".")[2]) for result in results} == {37}
    block = 1000 if unit is QuantityUnit.THOUSANDS else 1
    tokens = [result for result in voice if result["quantity_unit"] == unit]
    assert sum(round(result["quantity"] * block) for result in tokens) == sum(
        charge.quantity for charge in _openai().charges if "duration" not in charge.component
    )
    names = {result["line_item"] for result in voice}
    assert {"gpt-realtime-2025-08-28 audio, cached input", "gpt-4o-transcribe text, output"} <= names


def test_costs_pages_have_a_bucket_a_day_and_seven_a_page() -> None:
    usages = conversations(OPENAI, days=[date(2026, 11, 1), date(2026, 11, 10)])
    first, second = costs_pages(draft_bill(usages, provider=Provider.OPENAI))
    assert (len(first["data"]), first["has_more"], first["next_page"]) == (7, True, "page_1")
    assert (len(second["data"]), second["has_more"], second["next_page"]) == (3, False, None)
    starts = [bucket["start_time"] for page in (first, second) for bucket in page["data"]]
    assert [later - earlier for earlier, later in pairwise(starts)] == [86_400] * 9


def test_no_charges_are_one_empty_page() -> None:
    assert costs_pages(Draft(charges=[])) == [{"object": "page", "data": [], "has_more": False, "next_page": None}]


def test_the_dashboard_exports_cost_without_quantity() -> None:
    rows = _rows(costs_csv(_openai()))
    assert sum(Decimal(row["amount_value"]) for row in rows) == _total(_openai())
    assert not [key for key in rows[0] if "quantity" in key]


def test_an_unmapped_meter_is_printed_as_it_is_named() -> None:
    azure = inject(_azure(), [faults.unmapped_meter("gpt rt hlg 0828 Inp glbl Tokens")])
    assert cost_details(azure, Agreement.EA).count(",gpt rt hlg 0828 Inp glbl Tokens,") == len(DAYS)
    openai = inject(_openai(), [faults.unmapped_meter("gpt-realtime holograms, input")])
    assert costs_csv(openai).count("gpt-realtime holograms, input") == len(DAYS)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_run_has_its_parts_and_a_manifest_that_lists_them(tmp_path: Path, *, compressed: bool) -> None:
    text = cost_details(_azure(), Agreement.EA)
    submitted = next_morning(DAYS[-1])
    run = write_run(tmp_path, text, DAYS[0], submitted, parts=3, compressed=compressed)
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert run.relative_to(tmp_path).parts[1:3] == ("20261101-20261130", "202611140530")
    assert manifest["runInfo"]["submittedTime"] == "2026-11-14T05:30:00Z"
    assert manifest["blobCount"] == len(manifest["blobs"]) == 3
    rows = []
    for blob in manifest["blobs"]:
        data = (tmp_path / blob["blobName"]).read_bytes()
        assert len(data) == blob["byteCount"]
        rows += _rows((gzip.decompress(data) if compressed else data).decode("utf-8-sig"))
    assert len(rows) == manifest["dataRowCount"]
    assert rows == _rows(text)


def test_an_export_keeps_a_run_of_the_month_to_date_that_the_next_one_restates(tmp_path: Path) -> None:
    write_bill(_azure(), BillForm.EXPORT, tmp_path)
    totals = {}
    for manifest in tmp_path.rglob("manifest.json"):
        texts = [part.read_text(encoding="utf-8-sig") for part in sorted(manifest.parent.glob("part_*"))]
        voice = [row for text in texts for row in _rows(text) if _is_voice(row["metername"])]
        submitted = json.loads(manifest.read_text(encoding="utf-8"))["runInfo"]["submittedTime"]
        totals[submitted] = sum(Decimal(row["costinbillingcurrency"]) for row in voice)
    earlier, later = (totals[submitted] for submitted in sorted(totals))
    assert later == _total(_azure())
    unrestated = sum(charge.cost for charge in _azure().charges if charge.day < DAYS[-1])
    assert 0 < earlier < unrestated


def test_an_export_has_a_folder_a_month(tmp_path: Path) -> None:
    draft = draft_bill(conversations(AZURE, days=[date(2026, 10, 31), date(2026, 11, 1)]), provider=Provider.AZURE)
    write_bill(draft, BillForm.EXPORT, tmp_path)
    assert {path.name for path in tmp_path.glob("*/*")} == {"20261001-20261031", "20261101-20261130"}


@pytest.mark.parametrize(
    ("day", "first", "last"),
    [("2026-12-31", "2026-12-01", "2026-12-31"), ("2028-02-01", "2028-02-01", "2028-02-29")],
)
def test_a_month_has_its_own_number_of_days(day: str, first: str, last: str) -> None:
    assert month_of(date.fromisoformat(day)) == (date.fromisoformat(first), date.fromisoformat(last))


@pytest.mark.parametrize("form", BillForm)
def test_every_form_is_written_with_what_was_injected_beside_it(form: BillForm, tmp_path: Path) -> None:
    usages = conversations((*AZURE, *OPENAI), days=DAYS[:2])
    draft = bill_for(usages, form, tmp_path, faults=[faults.discount()])
    assert {charge.provider for charge in draft.charges} == {form.provider}
    injected = json.loads((tmp_path / "injected.json").read_text(encoding="utf-8"))
    assert sum(Decimal(one["cost"]) for one in injected) == sum(one.cost for one in draft.injected) < 0
    assert {(one["fault"], one["currency"]) for one in injected} == {("discount", "USD")}
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["bill"]


def test_a_bill_of_somebody_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hold sessions there, or choose another form"):
        bill_for(conversations(OPENAI), BillForm.EA, tmp_path)
