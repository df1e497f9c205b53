"""Folders that exports are delivered to: which run of several counts, and what is said where a part is absent."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from tests.billing.written import CHARGE, text_of

from realtime_spend.billing.exports import sources_of
from realtime_spend.billing.reading import bill_size, read_bill
from realtime_spend.rate_cards import load_book

if TYPE_CHECKING:
    from pathlib import Path

    from realtime_spend.core.reconciliation.bills import Bill

_BOOK = load_book()
_SCOPE = "/subscriptions/11111111-2222-3333-4444-555555555555"


def _charge(day: int, tokens: int, *, month: int = 11) -> dict[str, str]:
    cost = Decimal(tokens) * Decimal("0.000032")
    return {
        **CHARGE,
        "Date": f"2026-{month:02d}-{day:02d}",
        "Quantity": str(tokens),
        "CostInBillingCurrency": f"{cost:f}",
    }


@dataclass(kw_only=True)
class _Run:
    """One run of an export as Azure lays it out: container, folder, export, period, instant, run."""

    root: Path
    submitted: str
    parts: list[list[dict[str, str]]]
    days: tuple[str, str] = ("2026-11-01", "2026-11-30")
    name: str = "daily"
    kind: str = "ActualCost"
    scope: str = _SCOPE
    is_packed: bool = False

    @property
    def folder(self) -> Path:
        period = "-".join(day.replace("-", "") for day in self.days)
        instant = "".join(letter for letter in self.submitted[:16] if letter.isdigit())
        return self.root / "costs" / self.name / period / instant / f"run-{instant}"

    def manifest(self) -> dict[str, Any]:
        return {
            "manifestVersion": "2024-04-01",
            "blobCount": len(self.parts),
            "dataRowCount": sum(map(len, self.parts)),
            "exportConfig": {
                "exportName": self.name,
                "resourceId": f"{self.scope}/providers/Microsoft.CostManagement/exports/{self.name}",
                "type": self.kind,
                "dataVersion": "2024-08-01",
            },
            "runInfo": {
                "executionType": "Scheduled",
                "submittedTime": self.submitted,
                "startDate": f"{self.days[0]}T00:00:00",
                "endDate": f"{self.days[1]}T00:00:00",
            },
            "blobs": [
                {"blobName": f"{self.folder.relative_to(self.root)}/{name}", "byteCount": 1}
                for name in map(self._part, range(len(self.parts)))
            ],
        }

    def _part(self, number: int) -> str:
        return f"part_{number}_0001.csv{'.gz' if self.is_packed else ''}"

    def write(self) -> Path:
        self.folder.mkdir(parents=True)
        for number, charges in enumerate(self.parts):
            data = text_of(charges).encode("utf-8-sig")
            (self.folder / self._part(number)).write_bytes(gzip.compress(data) if self.is_packed else data)
        (self.folder / "manifest.json").write_text(json.dumps(self.manifest()), encoding="utf-8")
        return self.folder


def _read(*paths: Path) -> Bill:
    return read_bill(paths, book=_BOOK)


def _tokens(bill: Bill) -> list[tuple[str, int]]:
    return sorted((item.day.isoformat()[5:], int(item.quantity or 0)) for item in bill.items)


def test_of_two_runs_to_date_the_newer_one_counts_alone(tmp_path: Path) -> None:
    first, second, third = (
        [_charge(1, 1000)],
        [_charge(1, 1000), _charge(2, 2000)],
        [_charge(1, 1100), _charge(2, 2000)],
    )
    _Run(root=tmp_path, submitted="2026-11-03T04:00:00.1234567Z", parts=[second]).write()
    _Run(root=tmp_path, submitted="2026-11-04T04:00:00.1234567Z", parts=[third]).write()
    _Run(root=tmp_path, submitted="2026-11-02T04:00:00.1234567Z", parts=[first]).write()
    bill = _read(tmp_path)
    assert _tokens(bill) == [("11-01", 1100), ("11-02", 2000)]
    assert bill.made == datetime(2026, 11, 4, 4, 0, 0, 123456, tzinfo=UTC)
    assert bill.problems == []


def test_each_month_has_its_own_newest_run(tmp_path: Path) -> None:
    october = ("2026-10-01", "2026-10-31")
    _Run(root=tmp_path, submitted="2026-10-20T04:00:00Z", parts=[[_charge(5, 500, month=10)]], days=october).write()
    _Run(root=tmp_path, submitted="2026-11-03T04:00:00Z", parts=[[_charge(5, 550, month=10)]], days=october).write()
    _Run(root=tmp_path, submitted="2026-11-02T04:00:00Z", parts=[[_charge(1, 1000)]]).write()
    assert _tokens(_read(tmp_path)) == [("10-05", 550), ("11-01", 1000)]


def test_the_parts_of_a_run_are_summed_packed_or_not(tmp_path: Path) -> None:
    run = _Run(root=tmp_path, submitted="2026-11-03T04:00:00Z", parts=[[_charge(1, 1000)], [_charge(2, 2000)]])
    run.is_packed = True
    folder = run.write()
    for path in (tmp_path, folder, folder / "manifest.json"):
        assert _tokens(_read(path)) == [("11-01", 1000), ("11-02", 2000)]
    assert bill_size([tmp_path]) == sum(path.stat().st_size for path in folder.glob("*.gz"))


def test_a_part_that_is_absent_is_a_problem_and_the_others_are_read(tmp_path: Path) -> None:
    run = _Run(root=tmp_path, submitted="2026-11-03T04:00:00Z", parts=[[_charge(1, 1000)], [_charge(2, 2000)]])
    folder = run.write()
    (folder / "part_1_0001.csv").unlink()
    bill = _read(tmp_path)
    assert _tokens(bill) == [("11-01", 1000)]
    assert [problem.file for problem in bill.problems] == [str(folder / "manifest.json")]
    assert "part_1_0001.csv, which is not there" in bill.problems[0].message


def test_a_file_that_no_manifest_lists_is_left_over_from_another_run(tmp_path: Path) -> None:
    folder = _Run(root=tmp_path, submitted="2026-11-03T04:00:00Z", parts=[[_charge(1, 1000)]]).write()
    (folder / "part_1_0001.csv").write_text(text_of([_charge(1, 1000)]), encoding="utf-8")
    assert _tokens(_read(tmp_path)) == [("11-01", 1000)]


def test_runs_of_one_day_each_are_all_counted(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        span = (f"2026-11-0{day}", f"2026-11-0{day}")
        _Run(
            root=tmp_path, submitted=f"2026-11-0{day + 1}T04:00:00Z", parts=[[_charge(day, 100 * day)]], days=span
        ).write()
    assert _tokens(_read(tmp_path)) == [("11-01", 100), ("11-02", 200), ("11-03", 300)]


def test_a_later_run_of_a_few_days_counts_for_these_and_the_earlier_one_for_the_rest(tmp_path: Path) -> None:
    month = [_charge(day, 1000) for day in (1, 2, 3)]
    _Run(root=tmp_path, submitted="2026-11-04T04:00:00Z", parts=[month]).write()
    again = ("2026-11-02", "2026-11-02")
    _Run(root=tmp_path, submitted="2026-11-05T04:00:00Z", parts=[[_charge(2, 2222)]], days=again).write()
    assert _tokens(_read(tmp_path)) == [("11-01", 1000), ("11-02", 2222), ("11-03", 1000)]


def test_two_exports_of_one_scope_say_the_same_money(tmp_path: Path) -> None:
    _Run(root=tmp_path, submitted="2026-11-03T04:00:00Z", parts=[[_charge(1, 1000)]], name="a").write()
    _Run(root=tmp_path, submitted="2026-11-03T05:00:00Z", parts=[[_charge(1, 1000)]], name="b").write()
    assert _tokens(_read(tmp_path)) == [("11-01", 1000)]


def test_exports_of_two_scopes_are_two_bills(tmp_path: Path) -> None:
    _Run(root=tmp_path, submitted="2026-11-03T04:00:00Z", parts=[[_charge(1, 1000)]], name="a").write()
    other = "/subscriptions/other"
    _Run(root=tmp_path, submitted="2026-11-03T05:00:00Z", parts=[[_charge(1, 3000)]], name="b", scope=other).write()
    assert _tokens(_read(tmp_path)) == [("11-01", 1000), ("11-01", 3000)]


def test_actual_and_amortised_costs_are_the_same_money_twice(tmp_path: Path) -> None:
    _Run(
        root=tmp_path, submitted="2026-11-05T04:00:00Z", parts=[[_charge(1, 1000)]], kind="AmortizedCost", name="a"
    ).write()
    _Run(root=tmp_path, submitted="2026-11-03T04:00:00Z", parts=[[_charge(1, 1001)]], name="b").write()
    bill = _read(tmp_path)
    assert _tokens(bill) == [("11-01", 1001)]
    assert "an export of amortizedcost says the same money again" in bill.problems[0].message


def test_amortised_costs_alone_are_read(tmp_path: Path) -> None:
    _Run(root=tmp_path, submitted="2026-11-05T04:00:00Z", parts=[[_charge(1, 1000)]], kind="AmortizedCost").write()
    assert _tokens(_read(tmp_path)) == [("11-01", 1000)]


def test_an_export_of_prices_is_no_bill(tmp_path: Path) -> None:
    _Run(root=tmp_path, submitted="2026-11-03T04:00:00Z", parts=[[_charge(1, 1000)]]).write()
    folder = _Run(root=tmp_path, submitted="2026-11-04T04:00:00Z", parts=[[]], kind="PriceSheet", name="prices").write()
    (folder / "part_0_0001.csv").write_text("MeterID,UnitPrice\r\n1,2\r\n", encoding="utf-8")
    bill = _read(tmp_path)
    assert (_tokens(bill), bill.problems) == ([("11-01", 1000)], [])


def test_without_times_in_a_manifest_its_folders_tell_them(tmp_path: Path) -> None:
    for submitted, tokens in (("2026-11-04T04:00:00Z", 2000), ("2026-11-03T04:00:00Z", 1000)):
        run = _Run(root=tmp_path, submitted=submitted, parts=[[_charge(1, tokens)]])
        folder = run.write()
        said = {**run.manifest(), "runInfo": {"executionType": "Scheduled"}}
        (folder / "manifest.json").write_text(json.dumps(said), encoding="utf-8")
    bill = _read(tmp_path)
    assert _tokens(bill) == [("11-01", 2000)]
    assert bill.made == datetime(2026, 11, 4, 4, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"blobs": 3}', '{"blobs": [{"blobName": "a.csv"}]}', '{"blobs": [{}], "runInfo": []}', "\0"],
)
def test_a_manifest_that_is_none_is_a_problem(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    bill = _read(tmp_path)
    assert bill.items == []
    assert bill.problems[0].file == str(tmp_path / "manifest.json")
    assert "its folder was left out" in bill.problems[0].message


def test_a_manifest_cannot_reach_out_of_its_folder(tmp_path: Path) -> None:
    run = _Run(root=tmp_path / "export", submitted="2026-11-03T04:00:00Z", parts=[[_charge(1, 1000)]])
    folder = run.write()
    secret = tmp_path / "secret.csv"
    secret.write_text(text_of([_charge(1, 5000)]), encoding="utf-8")
    for name in ("../../../../../../secret.csv", str(secret), "..\\secret.csv"):
        said = {**run.manifest(), "blobs": [{"blobName": name}]}
        (folder / "manifest.json").write_text(json.dumps(said), encoding="utf-8")
        bill = _read(tmp_path / "export")
        assert bill.items == []
        assert "secret.csv, which is not there" in bill.problems[0].message


def test_a_folder_without_a_manifest_is_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "a.csv").write_text(text_of([_charge(1, 1000)]), encoding="utf-8")
    (tmp_path / "deeper" / "b.CSV").write_text(text_of([_charge(2, 2000)]), encoding="utf-8")
    (tmp_path / "read me.txt").write_text("no bill", encoding="utf-8")
    assert _tokens(_read(tmp_path)) == [("11-01", 1000), ("11-02", 2000)]


def test_two_files_that_say_the_same_are_both_counted_and_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text(text_of([_charge(1, 1000), _charge(2, 2000)]), encoding="utf-8")
    (tmp_path / "2.csv").write_text(text_of([_charge(1, 1000), _charge(2, 2000), _charge(3, 3000)]), encoding="utf-8")
    bill = _read(tmp_path)
    assert len(bill.items) == 5
    (problem,) = bill.problems
    assert problem.file == str(tmp_path / "2.csv")
    assert problem.message.startswith(f"2 of its 3 rows are in {tmp_path / '1.csv'} as well, and were counted twice")


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text_of([_charge(1, 1000)]), encoding="utf-8")
    assert _tokens(_read(tmp_path, tmp_path / "a.csv", tmp_path / "a.csv")) == [("11-01", 1000)]
    _Run(root=tmp_path / "export", submitted="2026-11-03T04:00:00Z", parts=[[_charge(2, 2000)]]).write()
    assert _tokens(_read(tmp_path / "export", tmp_path)) == [("11-01", 1000), ("11-02", 2000)]


def test_a_correction_of_a_day_that_the_bill_is_not_about_is_said(tmp_path: Path) -> None:
    header = ["BilledCost", "BillingCurrency", "ChargeCategory", "ChargeClass", "ChargePeriodStart", "ConsumedQuantity"]
    header += ["x_PricingUnitDescription", "x_EffectiveUnitPrice", "SkuMeter", "ServiceName", "ProviderName"]
    row = {
        "BilledCost": "0.032",
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargePeriodStart": "2026-11-05T00:00:00Z",
        "ConsumedQuantity": "1000",
        "x_PricingUnitDescription": "1K",
        "x_EffectiveUnitPrice": "0.032",
        "SkuMeter": CHARGE["MeterName"],
        "ServiceName": "Azure OpenAI",
        "ProviderName": "Microsoft",
    }
    corrected = {
        **row,
        "ChargeClass": "Correction",
        "ChargePeriodStart": "2026-10-07T00:00:00Z",
        "BilledCost": "-0.032",
    }
    corrected["ConsumedQuantity"] = "-1000"
    (tmp_path / "bill.csv").write_text(text_of([row, corrected], header), encoding="utf-8")
    bill = _read(tmp_path)
    assert (bill.first, bill.last) == (date(2026, 11, 5), date(2026, 11, 5))
    (problem,) = bill.problems
    assert problem.message.startswith(
        "-0.032 USD corrects 'gpt rt aud 0828 Inp glbl Tokens' on 2026-10-07, which is not"
    )


def test_a_run_is_known_to_be_said_again_only_where_newer_ones_cover_all_its_days(tmp_path: Path) -> None:
    _Run(root=tmp_path, submitted="2026-12-01T04:00:00Z", parts=[[]], days=("2026-11-01", "2026-11-15")).write()
    _Run(root=tmp_path, submitted="2026-12-02T04:00:00Z", parts=[[]], days=("2026-11-16", "2026-11-29")).write()
    old = _Run(root=tmp_path, submitted="2026-11-30T04:00:00Z", parts=[[]]).write()
    assert old / "part_0_0001.csv" in [source.path for source in sources_of([tmp_path]).files]
    _Run(root=tmp_path, submitted="2026-12-03T04:00:00Z", parts=[[]], days=("2026-11-30", "2026-11-30")).write()
    assert old / "part_0_0001.csv" not in [source.path for source in sources_of([tmp_path]).files]
