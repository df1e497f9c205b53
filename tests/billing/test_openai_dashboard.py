"""The dashboard's cost export: its headers through the years, and rows that cannot be read."""

from __future__ import annotations

import gzip
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from realtime_spend.billing.openai_costs import read_dashboard
from realtime_spend.core.reconciliation.bills import LeftOut, Scale

if TYPE_CHECKING:
    from pathlib import Path

    from realtime_spend.core.reconciliation.bills import Bill

HEADER = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item,"
    "user_id,api_key_id,project_id,organization_id,project_name,organization_name,user_email,api_source\n"
)
EMPTY_DAY = "1794873600,1794960000,2026-11-17T00:00:00+00:00,2026-11-18T00:00:00+00:00,,,,,,,,,,,,,\n"
DAY = "1794960000,1795046400,2026-11-18T00:00:00,2026-11-19T00:00:00"
AUDIO = '"gpt-realtime-2025-08-28 audio, cached input"'
VOICE = "proj_voice,org_1,Voice,Acme,,"


def row(amount: str = "0.0128", line_item: str = AUDIO, quantity: str = "32000", unit: str = "tokens") -> str:
    return f"{DAY},{amount},usd,{quantity},{unit},{line_item},,,{VOICE}\n"


def read(tmp_path: Path, text: str | bytes) -> Bill:
    path = tmp_path / "costs.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_dashboard(path)


def test_the_export_of_today(tmp_path: Path) -> None:
    bill = read(
        tmp_path, HEADER + EMPTY_DAY + row("0.003835980000000000000000000000") + row("2", '"gpt-4o-mini, input"')
    )
    (item,) = bill.items
    assert (item.day, item.account, item.cost, item.currency) == (
        date(2026, 11, 18),
        "proj_voice",
        Decimal("0.00383598"),
        "USD",
    )
    assert (item.quantity, item.scale, item.row) == (Decimal(32_000), Scale.SINGLE, 3)
    assert (item.meter.model, item.meter.part) == ("gpt-realtime", "audio.cached_input")
    assert bill.left_out == [LeftOut(what="other models", rows=1, cost=Decimal(2), currency="USD")]
    assert (bill.first, bill.last) == (date(2026, 11, 17), date(2026, 11, 18))
    assert bill.problems == []


@pytest.mark.parametrize(
    "text",
    [
        f"Date,Line item,Cost,Currency,Quantity,Unit\n2026-11-18,{AUDIO},$0.0128,usd,32000,tokens\n",
        f"DATE;LINE_ITEM;AMOUNT;QUANTITY;QUANTITY_UNIT\r\n2026-11-18;{AUDIO};0.0128;32;1000_tokens\r\n",
        f"\ufeffstart_time\tamount_usd\tline_item\tquantity\tquantity_unit\n1794960000\t0.0128\t{AUDIO}\t32000\ttokens\n",
        f"timestamp,line-item,total cost,quantity,unit\n2026-11-18T23:30:00-00:15,{AUDIO},1.28E-2,32000,tokens\n\n",
    ],
)
def test_other_spellings_of_the_same(tmp_path: Path, text: str) -> None:
    bill = read(tmp_path, text)
    (item,) = bill.items
    assert (item.day, item.cost, item.currency) == (date(2026, 11, 18), Decimal("0.0128"), "USD")
    assert (item.quantity, item.meter.part) == (Decimal(32_000), "audio.cached_input")
    assert bill.problems == []


@pytest.mark.parametrize("text", [HEADER, HEADER + "\n\n", HEADER.rstrip()])
def test_a_header_alone_is_an_export_of_no_day(tmp_path: Path, text: str) -> None:
    bill = read(tmp_path, text)
    assert (bill.items, bill.first, bill.problems) == ([], None, [])


def test_packed_and_in_utf_16(tmp_path: Path) -> None:
    text = HEADER + row()
    assert len(read(tmp_path, gzip.compress(text.encode())).items) == 1
    assert len(read(tmp_path, text.encode("utf-16")).items) == 1


def test_an_export_without_quantities_compares_money_alone(tmp_path: Path) -> None:
    bill = read(tmp_path, f"date,line_item,amount\n2026-11-18,{AUDIO},0.0128\n")
    assert [(item.quantity, item.scale, item.cost) for item in bill.items] == [
        (None, Scale.UNSETTLED, Decimal("0.0128"))
    ]
    assert "only money is compared" in bill.problems[0].message


def test_an_export_that_is_not_grouped_says_how_to_export(tmp_path: Path) -> None:
    bill = read(tmp_path, HEADER + row(line_item="") + row("1", line_item=""))
    assert bill.items == []
    assert [(left.what, left.rows, left.cost) for left in bill.left_out] == [
        ("costs that are not grouped by line item", 2, Decimal("1.0128"))
    ]
    assert "export them by line item" in bill.problems[0].message
    assert (bill.first, bill.last) == (None, None)


def test_that_an_export_is_not_grouped_comes_before_what_else_it_lacks(tmp_path: Path) -> None:
    bill = read(tmp_path, "date,amount\n2026-11-18,1\n2026-11-19,2\n")
    assert [problem.message.partition(",")[0].partition(";")[0] for problem in bill.problems] == [
        "costs that are not grouped by line item tell no model",
        "it has no quantities",
    ]


def test_rows_of_several_keys_add_up_and_the_same_row_does_not(tmp_path: Path) -> None:
    other_key = row("1").replace(",,,proj_voice", ",,key_1,proj_voice")
    bill = read(tmp_path, HEADER + row("1") + other_key + row("1"))
    assert [item.cost for item in bill.items] == [1, 1]
    assert "1 results are there twice" in bill.problems[0].message


@pytest.mark.parametrize(
    ("bad", "column", "why"),
    [
        (row("a lot"), "amount_value", "'a lot' is not an amount"),
        (row(""), "amount_value", "'' is not an amount"),
        (row().replace("2026-11-18T00", "18/11/2026 00"), "start_time_iso", "is no day"),
        (row().replace("2026-11-18T00", "2026-13-45T00"), "start_time_iso", "is no day"),
        (row()[:90] + "\n", None, "the row is cut off"),
        (row(line_item=AUDIO.strip('"')), None, "cells too many"),
    ],
)
def test_a_row_that_cannot_be_read_is_said_and_the_rest_counted(
    tmp_path: Path, bad: str, column: str | None, why: str
) -> None:
    last = row("3").replace("proj_voice", "proj_b")
    bill = read(tmp_path, HEADER + row("1") + bad + last)
    assert [(item.row, item.cost) for item in bill.items] == [(2, Decimal(1)), (4, Decimal(3))]
    (problem,) = bill.problems
    assert (problem.row, problem.column) == (3, column)
    assert why in problem.message
    assert problem.file == str(tmp_path / "costs.csv")


_BY_PROJECT = f"date,line_item,amount,quantity,unit,project_id\n2026-11-18,{AUDIO},1,32000,tokens,proj_voice\n"
_BY_UNIT = f"date,line_item,amount,quantity,unit\n2026-11-18,{AUDIO},1,32000,tokens\n"
_BY_ITEM = f"date,amount,quantity,unit,line_item\n2026-11-18,1,32000,tokens,{AUDIO}\n"
_BY_AMOUNT = f"date,quantity,unit,line_item,amount\n2026-11-18,32000,tokens,{AUDIO},1\n"


@pytest.mark.parametrize(
    ("above", "last"),
    [
        (_BY_PROJECT, f"2026-11-19,{AUDIO},1,32000,tokens,proj_vo"),
        (_BY_UNIT, f"2026-11-19,{AUDIO},1,32000,token"),
        (_BY_ITEM, '2026-11-19,1,32000,tokens,"gpt-realtime-2025-08-28 audio, cached'),
        (_BY_AMOUNT, f"2026-11-19,32000,tokens,{AUDIO},1."),
        (HEADER + row("1"), row("2").replace(",,\n", ',,"respon')),
    ],
)
def test_a_file_that_breaks_off_within_its_last_cell_is_said(tmp_path: Path, above: str, last: str) -> None:
    bill = read(tmp_path, above + last)
    assert [(item.row, item.cost) for item in bill.items] == [(2, Decimal(1))]
    (problem,) = bill.problems
    assert (problem.row, problem.column) == (3, above.partition("\n")[0].rpartition(",")[2])
    assert "the file breaks off in this row" in problem.message


@pytest.mark.parametrize(
    ("above", "last"),
    [
        (_BY_PROJECT, f"2026-11-19,{AUDIO},2,32000,tokens,proj_voice"),
        (_BY_PROJECT, f"2026-11-19,{AUDIO},2,32000,tokens,proj_b"),
        (_BY_PROJECT, f"2026-11-19,{AUDIO},2,32000,tokens,"),
        (_BY_UNIT, f"2026-11-19,{AUDIO},2,32000,tokens"),
        (_BY_ITEM, f"2026-11-19,2,32000,tokens,{AUDIO}"),
        (_BY_AMOUNT, f"2026-11-19,32000,tokens,{AUDIO},2"),
        (HEADER + row("1"), row("2").replace("2026-11-18T", "2026-11-19T").removesuffix("\n")),
        (HEADER, row("2").removesuffix("\n")),
        # A name may be the beginning of another one.
        (
            f"date,line_item,amount,quantity,unit,project_name\n2026-11-18,{AUDIO},1,32000,tokens,Voice EU\n",
            f"2026-11-19,{AUDIO},2,32000,tokens,Voice",
        ),
    ],
)
def test_a_whole_file_may_lack_the_end_of_its_last_line(tmp_path: Path, above: str, last: str) -> None:
    bill = read(tmp_path, above + last)
    assert bill.items[-1].cost == Decimal(2)
    assert bill.problems == []
    assert read(tmp_path, above + last + "\n").problems == []


def test_a_quantity_in_words_is_said_and_its_money_kept(tmp_path: Path) -> None:
    bill = read(tmp_path, HEADER + row(quantity="many"))
    assert [(item.quantity, item.cost) for item in bill.items] == [(None, Decimal("0.0128"))]
    assert [(problem.row, problem.column) for problem in bill.problems] == [(2, "quantity")]


def test_a_name_with_a_line_end_is_in_one_row(tmp_path: Path) -> None:
    named = row("1").replace(",Voice,", ',"Voice,\nthe other",')
    bill = read(tmp_path, HEADER + named + row("3").replace("proj_voice", "proj_b"))
    assert [(item.row, item.cost) for item in bill.items] == [(2, Decimal(1)), (4, Decimal(3))]
    assert bill.problems == []


def test_a_cell_that_is_too_large_is_said_and_the_rest_counted(tmp_path: Path) -> None:
    last = row("3").replace("proj_voice", "proj_b")
    bill = read(tmp_path, HEADER + row("1") + row(line_item="x" * 140_000) + last)
    assert [(item.row, item.cost) for item in bill.items] == [(2, Decimal(1)), (4, Decimal(3))]
    assert [problem.row for problem in bill.problems] == [3]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"model,input_tokens,output_tokens\ngpt-realtime,1,2\n", "no column for the day and the amount"),
        (b"date,model\n2026-11-18,gpt-realtime\n", "no column for the amount"),
        (b"<html>Sign in</html>", "it is a web page"),
        (b"\x80\x81\x82", "it is not UTF-8 text"),
        (b"", "it is empty"),
    ],
)
def test_what_is_no_cost_export_is_one_sentence(tmp_path: Path, data: bytes, why: str) -> None:
    bill = read(tmp_path, data)
    assert bill.items == []
    (problem,) = bill.problems
    assert why in problem.message
