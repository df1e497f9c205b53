"""Bills with something wrong with them: it is said where, and everything else of them is counted all the same."""

from __future__ import annotations

import gzip
import sys
import zipfile
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from tests.billing.written import CHARGE, HEADER, MACHINE, text_of

from realtime_spend.billing.reading import bill_size, read_bill
from realtime_spend.core.reconciliation.bills import Bill, BillProblem, Scale
from realtime_spend.rate_cards import load_book

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_BOOK = load_book()
_COST = Decimal("0.008256")


def _read(path: Path, data: bytes | str, name: str = "bill.csv") -> Bill:
    file = path / name
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    bill = read_bill([file], book=_BOOK)
    assert all(problem.file == str(file) for problem in bill.problems)
    return bill


def _one(bill: Bill) -> BillProblem:
    assert len(bill.problems) == 1, bill.problems
    return bill.problems[0]


def _is_nothing(bill: Bill) -> bool:
    return (bill.items, bill.left_out, bill.first, bill.last) == ([], [], None, None)


@pytest.mark.parametrize(
    ("column", "text", "says"),
    [
        ("CostInBillingCurrency", "n/a", "'n/a' is not a decimal number"),
        ("CostInBillingCurrency", "", "the cell is empty"),
        ("CostInBillingCurrency", "0,008256", "'0,008256' is not a decimal number"),
        ("CostInBillingCurrency", "NaN", "'NaN' is not a finite number"),
        ("Date", "2026-02-30", "'2026-02-30' is no day; they are written YYYY-MM-DD or MM/DD/YYYY"),
        ("Date", "18/11/2026", "'18/11/2026' is no day; they are written YYYY-MM-DD or MM/DD/YYYY"),
        ("Date", "", "'' is no day; they are written YYYY-MM-DD or MM/DD/YYYY"),
        ("BillingCurrencyCode", "US Dollar", "'US Dollar' is no currency's code"),
    ],
)
def test_a_row_without_day_or_cost_is_named_and_the_others_counted(
    tmp_path: Path, column: str, text: str, says: str
) -> None:
    bill = _read(tmp_path, text_of([CHARGE, MACHINE, {**CHARGE, column: text}, CHARGE]))
    problem = _one(bill)
    assert (problem.message, problem.row, problem.column) == (says, 4, column)
    assert [item.cost for item in bill.items] == [_COST, _COST]


@pytest.mark.parametrize("column", ["Quantity", "EffectivePrice", "UnitOfMeasure"])
def test_a_row_whose_quantity_cannot_be_known_keeps_its_money(tmp_path: Path, column: str) -> None:
    bill = _read(tmp_path, text_of([MACHINE, {**CHARGE, column: "?"}, CHARGE]))
    problem = _one(bill)
    assert (problem.row, problem.column) == (3, column)
    damaged = next(item for item in bill.items if item.quantity is None)
    assert (damaged.cost, damaged.scale, damaged.row) == (_COST, Scale.UNSETTLED, 3)
    assert len(bill.items) == 2


def test_text_in_the_cost_of_another_meter_is_named_too(tmp_path: Path) -> None:
    bill = _read(tmp_path, text_of([MACHINE, {**MACHINE, "CostInBillingCurrency": "free"}, CHARGE]))
    problem = _one(bill)
    assert (problem.message, problem.row, problem.column) == ("the cost is no number", 3, "CostInBillingCurrency")
    assert [(entry.rows, entry.cost) for entry in bill.left_out] == [(1, Decimal("2.4"))]


def test_text_in_the_cost_of_a_refund_is_named_too(tmp_path: Path) -> None:
    bill = _read(tmp_path, text_of([CHARGE, {**CHARGE, "ChargeType": "Refund", "CostInBillingCurrency": "free"}]))
    assert (_one(bill).row, _one(bill).column) == (3, "CostInBillingCurrency")
    assert (len(bill.items), bill.left_out) == (1, [])


def test_a_file_that_is_cut_in_the_middle_of_a_row(tmp_path: Path) -> None:
    whole = text_of([CHARGE, CHARGE, CHARGE])
    bill = _read(tmp_path, whole[: whole.rindex("Foundry") + 3])
    problem = _one(bill)
    assert (problem.row, problem.column) == (4, "MeterName")
    assert problem.message.startswith("the row cannot be read")
    assert len(bill.items) == 2


def test_a_file_that_is_cut_inside_quotes(tmp_path: Path) -> None:
    whole = text_of([CHARGE, CHARGE, {**CHARGE, "ResourceGroup": 'a, "b"'}])
    bill = _read(tmp_path, whole[: whole.rindex('a, ""b') + 5])
    assert (_one(bill).row, _one(bill).column) == (4, "ResourceGroup")
    assert len(bill.items) == 2


def test_a_quote_that_is_never_closed_takes_its_own_row_and_no_other(tmp_path: Path) -> None:
    lines = text_of([CHARGE] * 30_000).splitlines()
    lines[3] = lines[3].replace("rg-voice", '"rg-voice')
    bill = _read(tmp_path, "\r\n".join([*lines[:9], "cut", *lines[9:], ""]))
    assert [(problem.row, problem.column) for problem in bill.problems] == [(4, "ResourceGroup"), (10, "ResourceGroup")]
    assert len(bill.items) == 29_999
    whole = text_of([{**CHARGE, "ResourceGroup": "of\r\ntwo lines"}, CHARGE])
    assert len(_read(tmp_path, whole).items) == 2


def test_a_row_with_too_many_columns(tmp_path: Path) -> None:
    lines = text_of([CHARGE, CHARGE]).splitlines()
    bill = _read(tmp_path, "\n".join([*lines[:2], lines[2] + ",more", lines[2], ""]))
    assert _one(bill).row == 3
    assert len(bill.items) == 2


def test_rows_are_counted_with_all_that_is_above_and_between_them(tmp_path: Path) -> None:
    rows = text_of([CHARGE, CHARGE, {**CHARGE, "Quantity": "x"}]).splitlines()
    text = "\r\n".join(["Usage Data Extract", "", rows[0], "cut,row", rows[1], "cut,too", rows[3], ""])
    bill = _read(tmp_path, text)
    assert [(problem.row, problem.column) for problem in bill.problems] == [
        (4, "MeterCategory"),
        (6, "MeterCategory"),
        (7, "Quantity"),
    ]
    assert [item.row for item in bill.items] == [5, 7]


def test_of_many_rows_that_are_wrong_some_are_named_and_all_counted(tmp_path: Path) -> None:
    wrong = [{**CHARGE, "Date": "?"}] * 50 + [{**MACHINE, "CostInBillingCurrency": "?"}] * 60
    wrong += [{**CHARGE, "Quantity": "?"}] * 70
    bill = _read(tmp_path, text_of([CHARGE, *wrong]) + "cut\r\n" * 80)
    assert Counter(problem.column for problem in bill.problems if problem.row) == {
        "Date": 20,
        "CostInBillingCurrency": 20,
        "Quantity": 20,
        "ResourceGroup": 20,
    }
    told = " ".join(problem.message for problem in bill.problems if problem.row is None)
    assert all(f"{count} more rows" in told for count in (30, 40, 50, 60)), told
    assert sum(item.cost for item in bill.items) == _COST * 71


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-16-be with mark"])
def test_utf_16_is_read_and_said(tmp_path: Path, encoding: str) -> None:
    text = text_of([{**CHARGE, "ResourceGroup": "Müller"}, MACHINE])
    if encoding.endswith("mark"):
        text, encoding = "\ufeff" + text, "utf-16-be"
    bill = _read(tmp_path, text.encode(encoding))
    assert _one(bill).message == "the file is not UTF-8; it was read as UTF-16"
    assert [item.cost for item in bill.items] == [_COST]
    assert len(bill.left_out) == 1


def test_windows_1252_is_read_and_said(tmp_path: Path) -> None:
    bill = _read(
        tmp_path, text_of([{**CHARGE, "ResourceGroup": "Müller \u2013 \u201cx\u201d"}, MACHINE]).encode("cp1252")
    )
    assert _one(bill).message == "the file is not UTF-8; it was read as Windows-1252"
    assert [item.cost for item in bill.items] == [_COST]


def test_a_row_in_windows_1252_far_down_is_named_and_counted(tmp_path: Path) -> None:
    above = text_of([MACHINE] * 5000)
    below = text_of([{**CHARGE, "ResourceId": "/accounts/Müller"}, CHARGE]).partition("\r\n")[2]
    assert len(above) > 256 * 1024
    bill = _read(tmp_path, above.encode() + below.encode("cp1252"))
    problem = _one(bill)
    assert problem.message == "the row is not UTF-8; it was read as Windows-1252"
    assert (problem.row, problem.column) == (5002, "ResourceId")
    assert [item.account for item in bill.items] == ["müller", "voice"]
    assert [entry.rows for entry in bill.left_out] == [5000]


@pytest.mark.parametrize("name", [name for name in HEADER if name not in {"ResourceGroup", "ResourceId", "ChargeType"}])
def test_a_missing_column_is_named_with_what_it_may_be_called(tmp_path: Path, name: str) -> None:
    bill = _read(tmp_path, text_of([CHARGE], [other for other in HEADER if other != name]))
    problem = _one(bill)
    assert "the header has no column for the" in problem.message
    assert name in problem.message
    assert (problem.row, problem.column) == (1, name)
    assert _is_nothing(bill)


def test_several_missing_columns_are_one_sentence(tmp_path: Path) -> None:
    lacking = {"Quantity", "MeterName"}
    problem = _one(_read(tmp_path, text_of([CHARGE], [name for name in HEADER if name not in lacking])))
    assert problem.message.startswith("the header has no column for the meter; it may be called MeterName, ")
    assert "; it has none for the quantity; it may be called Quantity, " in problem.message
    assert (problem.row, problem.column) == (1, "MeterName")


def test_a_table_of_something_else_is_told_what_to_give(tmp_path: Path) -> None:
    problem = _one(_read(tmp_path, "name,age\nx,1\n"))
    assert "no column for the date, category, meter, unit, quantity, cost and currency" in problem.message
    assert "which a bill calls ChargePeriodStart, " in problem.message
    assert problem.message.endswith("give an export of cost details or of FOCUS from Azure, or of costs from OpenAI")


def test_what_is_wrong_comes_before_the_encoding(tmp_path: Path) -> None:
    bill = _read(tmp_path, "Größe,ä\n1,2\n".encode("cp1252"))
    assert [problem.message.partition(" ")[2].partition(",")[0] for problem in bill.problems] == [
        "header has no column for the date",
        "file is not UTF-8; it was read as Windows-1252",
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (b"\n \r\n", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"<!DOCTYPE html><html><body>403</body></html>", "the file is a web page and no bill"),
        (b'<?xml version="1.0"?>\n<html xmlns="x">', "the file is a web page and no bill"),
        (b"PAR1 and nothing of it", "the file"),
        (gzip.compress(b"<html>", mtime=0), "the file is a web page and no bill"),
        (gzip.compress(b"", mtime=0), "the file is no gzip file that can be unpacked"),
        (b"\x1f\x8b garbage", "the file is no gzip file that can be unpacked"),
        (bytes(range(256)) * 8, "the header has no column"),
        (b"one line and no bill", "the header has no column"),
        (b'"an open quote', "the header has no column"),
    ],
)
def test_what_is_no_bill_is_said_in_a_sentence(tmp_path: Path, data: bytes, says: str) -> None:
    bill = _read(tmp_path, data)
    assert any(problem.message.startswith(says) for problem in bill.problems), bill.problems
    assert _is_nothing(bill)


def test_an_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bill.zip", "w") as archive:
        archive.writestr("bill.csv", text_of([CHARGE]))
    bill = read_bill([tmp_path / "bill.zip"], book=_BOOK)
    assert _one(bill).message == "the file is a zip archive; unpack it first"


def test_a_packed_file_that_breaks_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    charges = [
        {**CHARGE, "Quantity": str(number), "CostInBillingCurrency": f"{number * 32}E-6"} for number in range(9000)
    ]
    packed = gzip.compress(text_of(charges).encode(), compresslevel=1)
    bill = _read(tmp_path, packed[: len(packed) // 2], "bill.csv.gz")
    assert bill.problems[0].message.startswith("the file breaks off")
    assert len(bill.problems) == 2, "and one for the row in which it does"
    assert 3000 < len(bill.items) < 6000
    assert [item.quantity for item in bill.items] == list(range(len(bill.items)))


def test_packed_files_that_were_joined_are_one(tmp_path: Path) -> None:
    text = text_of([{**CHARGE, "ResourceGroup": "Müller"}, CHARGE]).encode("cp1252")
    bill = _read(tmp_path, gzip.compress(text[:200]) + gzip.compress(text[200:]), "bill.csv.gz")
    assert len(bill.items) == 2


def _parquet(path: Path, charges: list[Mapping[str, str]]) -> Path:
    pq.write_table(pa.Table.from_pylist([dict(charge) for charge in charges]), path)
    return path


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    whole = _parquet(tmp_path / "whole.parquet", [CHARGE]).read_bytes()
    for data in (whole[: len(whole) // 2], whole[:-1], whole[:5], whole[:4]):
        bill = _read(tmp_path, data, "cut.parquet")
        assert _one(bill).message == (
            "the file breaks off, and of a Parquet file nothing can be read then; download it again"
        )
        assert _is_nothing(bill)
    # Its end is there, and what stands before it is none of Parquet's.
    bill = _read(tmp_path, whole[:4] + bytes(len(whole) - 8) + whole[-4:], "zeros.parquet")
    assert _one(bill).message.startswith("the file")
    assert _is_nothing(bill)


def test_rows_of_parquet_are_named_as_well(tmp_path: Path) -> None:
    charges = [CHARGE, {**CHARGE, "CostInBillingCurrency": "x"}, {**MACHINE, "CostInBillingCurrency": "y"}]
    bill = read_bill([_parquet(tmp_path / "bill.parquet", charges)], book=_BOOK)
    assert sorted((problem.row or 0, problem.column) for problem in bill.problems) == [
        (2, "CostInBillingCurrency"),
        (3, "CostInBillingCurrency"),
    ]
    assert len(bill.items) == 1


def test_a_parquet_file_without_a_column(tmp_path: Path) -> None:
    charge = {name: text for name, text in CHARGE.items() if name != "MeterName"}
    bill = read_bill([_parquet(tmp_path / "bill.parquet", [charge])], book=_BOOK)
    assert (_one(bill).row, _one(bill).column) == (None, "MeterName")


def test_a_header_alone_is_about_no_day(tmp_path: Path) -> None:
    assert _one(_read(tmp_path, text_of([]))).message == "no row is about any day that was asked for"


def test_a_folder_without_bills_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    assert _one(read_bill([tmp_path], book=_BOOK)).message == "the folder holds no bill"
    assert _one(read_bill([tmp_path / "bill.csv"], book=_BOOK)).message == "there is no such file"


def test_lines_may_end_now_in_one_way_and_now_in_another(tmp_path: Path) -> None:
    lines = text_of([CHARGE] * 5000).splitlines()
    for ends in (("\r\n", "\n"), ("\n", "\r\n")):
        text = ends[0].join(lines[:4000]) + ends[1] + ends[1].join(lines[4000:])
        for data in (text.encode(), gzip.compress(text.encode())):
            bill = _read(tmp_path, data)
            assert (len(bill.items), bill.problems) == (5000, [])


@pytest.mark.parametrize(
    "above", ["\r\n" * 30, "Title \u2028 and \x0c more\r\n", "sep=,\r\n", "a,b\r\n1,2\r\n\r\n", "\ufeff"]
)
def test_what_stands_above_a_header_is_passed_over(tmp_path: Path, above: str) -> None:
    bill = _read(tmp_path, above + text_of([CHARGE] * 3))
    assert (len(bill.items), bill.problems) == (3, [])


@pytest.mark.parametrize("start", ["x", '"x'])
def test_a_line_without_end_is_no_header(tmp_path: Path, start: str) -> None:
    bill = _read(tmp_path, start + "x" * 300_000)
    assert _one(bill).message == "the file has no header in its first lines"
    assert _is_nothing(bill)


def test_a_cell_without_end_takes_its_own_row(tmp_path: Path) -> None:
    bill = _read(tmp_path, text_of([CHARGE, {**CHARGE, "ResourceGroup": "x" * 3_000_000}, CHARGE]))
    assert len(bill.items) + len(bill.problems) == 3
    assert len(bill.items) >= 2


def test_a_spreadsheet_is_to_be_saved_as_csv(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bill.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    assert _one(read_bill([tmp_path / "bill.xlsx"], book=_BOOK)).message == "the file is a spreadsheet; save it as CSV"


def test_one_damaged_file_does_not_hide_the_others(tmp_path: Path) -> None:
    for name, text in {"a.csv": "<html>", "b.csv": text_of([CHARGE]), "c.csv": ""}.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    steps: list[int] = []
    bill = read_bill([tmp_path], book=_BOOK, advance=steps.append)
    assert [problem.file for problem in bill.problems] == [str(tmp_path / "a.csv"), str(tmp_path / "c.csv")]
    assert len(bill.items) == 1
    assert sum(steps) == bill_size([tmp_path])


@pytest.mark.parametrize("name", ["a[1].csv", "*.csv", 'it\'s, a "bill"?.csv', "ä {b} $c.csv", "%20.csv"])
def test_any_name_of_a_file_will_do(tmp_path: Path, name: str) -> None:
    (tmp_path / "other.csv").write_text(text_of([MACHINE]), encoding="utf-8")
    bill = _read(tmp_path, text_of([CHARGE]), name)
    assert (len(bill.items), bill.left_out, bill.problems) == (1, [], [])


def test_nothing_is_left_beside_a_bill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "here" / "bill.csv").write_bytes(text_of([{**CHARGE, "ResourceGroup": "Müller"}]).encode("cp1252"))
    assert len(read_bill([tmp_path / "here"], book=_BOOK).items) == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["bill.csv", "here", "temporary"]


def test_without_duckdb_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ValueError, match=r"pip install 'realtime-spend\[reconcile\]'"):
        read_bill([tmp_path], book=_BOOK)
