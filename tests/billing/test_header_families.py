"""One tiny bill of each header family and FOCUS version, and what it says, worked out by hand beside it."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from realtime_spend.billing.reading import bill_size, read_bill
from realtime_spend.core import money
from realtime_spend.rate_cards import load_book

if TYPE_CHECKING:
    from realtime_spend.core.reconciliation.bills import BilledItem

_BILLS = Path(__file__).parent / "fixtures" / "bills"
_FAMILIES = sorted(folder.name for folder in _BILLS.iterdir())
_FOCUS = [name for name in _FAMILIES if name.startswith("focus")]
_BOOK = load_book()
_NUMBERS = {"Cost", "Price", "Quantity", "Rate", "InUsd", "BlockSize"}


def _plain(amount: Decimal | None) -> str | None:
    return None if amount is None else money.plain(amount)


def _said(item: BilledItem) -> dict[str, Any]:
    meter = item.meter
    return {
        "day": item.day.isoformat(),
        "provider": item.provider.value,
        "account": item.account,
        "meter": meter.name,
        "model": meter.model,
        "version": meter.version,
        "scope": meter.scope and meter.scope.value,
        "part": meter.part and str(meter.part),
        "quantity": _plain(item.quantity),
        "cost": _plain(item.cost),
        "currency": item.currency,
        "scale": item.scale.value,
        "precision": _plain(item.precision),
        "to_usd": _plain(item.to_usd),
        "region": item.region,
    }


def _whole(paths: list[Path]) -> dict[str, Any]:
    bill = read_bill(paths, book=_BOOK)
    return {
        "items": sorted((_said(item) for item in bill.items), key=lambda said: (said["day"], said["meter"])),
        "left_out": sorted([entry.what, entry.rows, _plain(entry.cost), entry.currency] for entry in bill.left_out),
        "first": str(bill.first),
        "last": str(bill.last),
        "problems": [problem.message for problem in bill.problems],
    }


def _expected(family: str) -> dict[str, Any]:
    expected = json.loads((_BILLS / family / "expected.json").read_text(encoding="utf-8"))
    del expected["why"]
    assert isinstance(expected, dict)
    return expected


def test_every_family_is_there() -> None:
    assert len(_FAMILIES) >= 12
    assert len(_FOCUS) >= 5


@pytest.mark.parametrize("family", _FAMILIES)
def test_a_bill_says_what_was_worked_out_by_hand(family: str) -> None:
    assert _whole([_BILLS / family / "bill.csv"]) == _expected(family)


@pytest.mark.parametrize("family", _FAMILIES)
def test_a_packed_bill_says_the_same(family: str, tmp_path: Path) -> None:
    packed = tmp_path / "bill.csv.gz"
    packed.write_bytes(gzip.compress((_BILLS / family / "bill.csv").read_bytes()))
    assert _whole([packed]) == _expected(family)


def _columns(path: Path) -> dict[str, list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as source:
        rows = list(csv.DictReader(source))
    return {name: [row[name] for row in rows] for name in rows[0]}


def _is_number(name: str) -> bool:
    return any(name.endswith(ending) for ending in _NUMBERS)


def _parquet(path: Path, columns: dict[str, list[str]], number: pa.DataType) -> None:
    arrays = {}
    for name, texts in columns.items():
        if _is_number(name) and pa.types.is_decimal(number):
            arrays[name] = pa.array([Decimal(text) if text else None for text in texts], number)
        elif _is_number(name):
            arrays[name] = pa.array([float(text) if text else None for text in texts], number)
        elif name.startswith(("ChargePeriod", "BillingPeriod")) and "T" in texts[0]:
            arrays[name] = pa.array([date.fromisoformat(text[:10]) for text in texts]).cast(pa.timestamp("us", "UTC"))
        else:
            arrays[name] = pa.array([text or None for text in texts])
    pq.write_table(pa.table(arrays), path, compression="snappy")


@pytest.mark.parametrize("family", _FOCUS)
def test_a_parquet_file_of_decimals_says_the_same_to_the_places_that_it_has(family: str, tmp_path: Path) -> None:
    _parquet(tmp_path / "bill.parquet", _columns(_BILLS / family / "bill.csv"), pa.decimal128(38, 12))
    expected = _expected(family)
    for item in expected["items"]:
        item["precision"] = "0.000000000001"
    assert _whole([tmp_path / "bill.parquet"]) == expected


@pytest.mark.parametrize("family", _FOCUS)
def test_a_parquet_file_of_binary_fractions_says_the_same(family: str, tmp_path: Path) -> None:
    _parquet(tmp_path / "bill.parquet", _columns(_BILLS / family / "bill.csv"), pa.float64())
    assert _whole([tmp_path / "bill.parquet"]) == _expected(family)


def test_the_noise_of_binary_fractions_is_not_taken_for_money(tmp_path: Path) -> None:
    columns = _columns(_BILLS / "focus_1_2" / "bill.csv")
    _parquet(tmp_path / "bill.parquet", columns, pa.float64())
    table = pq.read_table(tmp_path / "bill.parquet")
    place = table.column_names.index("BilledCost")
    # 0.1 + 0.2 is 0.30000000000000004 in binary fractions.
    costs = pa.array([0.1 + 0.2, *([0.0] * (table.num_rows - 1))])
    pq.write_table(table.set_column(place, "BilledCost", costs), tmp_path / "bill.parquet")
    item = next(item for item in read_bill([tmp_path], book=_BOOK).items if item.cost)
    assert item.cost == Decimal("0.3")
    assert item.precision == Decimal("0.1") / 10


def test_items_of_parquet_know_their_rows(tmp_path: Path) -> None:
    _parquet(tmp_path / "bill.parquet", _columns(_BILLS / "focus_1_2" / "bill.csv"), pa.float64())
    bill = read_bill([tmp_path / "bill.parquet"], book=_BOOK)
    assert sorted(item.row or 0 for item in bill.items) == [1, 2, 4]


def test_native_costs_come_as_parquet_too(tmp_path: Path) -> None:
    _parquet(tmp_path / "part_0_0001.snappy.parquet", _columns(_BILLS / "ea_2024_08_01" / "bill.csv"), pa.float64())
    assert _whole([tmp_path]) == _expected("ea_2024_08_01")


def test_several_bills_are_read_as_one_and_progress_is_told(tmp_path: Path) -> None:
    paths = [_BILLS / "c360_2025_04" / "bill.csv", _BILLS / "payg_usage_date_time" / "bill.csv", tmp_path]
    (tmp_path / "bill.csv").write_bytes(paths[0].read_bytes())
    steps: list[int] = []
    bill = read_bill(paths, book=_BOOK, advance=steps.append)
    assert sum(steps) == bill_size(paths) == sum(path.stat().st_size for path in (*paths[:2], tmp_path / "bill.csv"))
    assert len(bill.items) == 3 + 2 + 3


def test_only_the_days_that_were_asked_for_are_read() -> None:
    path = _BILLS / "ea_2024_08_01" / "bill.csv"
    bill = read_bill([path], book=_BOOK, first=date(2026, 11, 18), last=date(2026, 11, 18))
    assert [str(item.cost) for item in bill.items] == ["3.2", "0.51"]
    assert (bill.first, bill.last) == (date(2026, 11, 18), date(2026, 11, 18))
    assert [(entry.what, entry.rows) for entry in bill.left_out] == [("other meters", 1), ("refunds", 1)]


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Auckland"])
def test_days_are_utc_days_wherever_this_runs(zone: str, tmp_path: Path) -> None:
    _parquet(tmp_path / "bill.parquet", _columns(_BILLS / "focus_1_2" / "bill.csv"), pa.float64())
    code = (
        "import sys; from pathlib import Path; from realtime_spend.billing.reading import read_bill; "
        "from realtime_spend.rate_cards import load_book; "
        "bill = read_bill([Path(sys.argv[1])], book=load_book()); print(bill.first, bill.last)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "bill.parquet")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env={**os.environ, "TZ": zone}
    )
    assert done.stdout.split() == ["2026-11-18", "2026-11-20"]
