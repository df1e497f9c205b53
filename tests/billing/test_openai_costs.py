"""Saved pages of OpenAI's Costs API: what they say, and what is wrong with damaged ones."""

from __future__ import annotations

import gzip
import json
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from realtime_spend.billing.openai_costs import read_pages
from realtime_spend.billing.openai_results import amount_of
from realtime_spend.core.line_items import Provider
from realtime_spend.core.reconciliation.bills import BilledItem, LeftOut, Scale

if TYPE_CHECKING:
    from pathlib import Path

    from realtime_spend.core.reconciliation.bills import Bill

# 2026-11-18T00:00:00Z.
START = 1_794_960_000
DAY = 86_400
AUDIO_IN = "gpt-realtime-2025-08-28 audio, input"


def result(line_item: str | None, value: Any, quantity: Any = 1_000, **others: Any) -> dict[str, Any]:
    return {
        "object": "organization.costs.result",
        "amount": {"value": value, "currency": "usd"},
        "line_item": line_item,
        "project_id": "proj_voice",
        "quantity": quantity,
        "quantity_unit": "tokens",
        **others,
    }


def bucket(*results: Any, start: int = START, **others: Any) -> dict[str, Any]:
    return {"object": "bucket", "start_time": start, "end_time": start + DAY, "results": list(results), **others}


def page(*buckets: Any, **others: Any) -> dict[str, Any]:
    return {"object": "page", "data": list(buckets), "has_more": False, "next_page": None, **others}


def read(tmp_path: Path, value: Any) -> Bill:
    path = tmp_path / "costs.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return read_pages(path)


def said(bill: Bill) -> list[tuple[int | None, str | None, str]]:
    return [(problem.row, problem.column, problem.message) for problem in bill.problems]


def test_a_result_is_an_item_with_all_that_the_page_says(tmp_path: Path) -> None:
    value = "0.0320000000000000000000000000000000000"
    bill = read(tmp_path, page(bucket(result(AUDIO_IN, value)), bucket(start=START + DAY)))
    (item,) = bill.items
    assert item == BilledItem(
        day=date(2026, 11, 18),
        provider=Provider.OPENAI,
        account="proj_voice",
        meter=item.meter,
        quantity=Decimal(1_000),
        cost=Decimal("0.032"),
        currency="USD",
        scale=Scale.SINGLE,
        precision=Decimal("1e-12"),
        file=str(tmp_path / "costs.json"),
        row=1,
    )
    assert (item.meter.model, item.meter.version, item.meter.part) == ("gpt-realtime", "2025-08-28", "audio.input")
    # A day without any cost is a day that the bill speaks of.
    assert (bill.first, bill.last, bill.made) == (date(2026, 11, 18), date(2026, 11, 19), None)
    assert bill.problems == []


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0.0001050000000000000000000000000000000", "0.000105"),
        ("0E-6176", "0"),
        ("0." + "0" * 6_176, "0"),
        ("1e-3", "0.001"),
        ("-2.5", "-2.5"),
        ("0.06549", "0.06549"),
        ("12345678901234567890.123456789012", "12345678901234567890.123456789012"),
        ("0." + "3" * 60, "0." + "3" * 40),
    ],
)
def test_amounts_are_read_to_the_last_digit(text: str, amount: str) -> None:
    assert amount_of(text) == Decimal(amount)


@pytest.mark.parametrize("text", ["", "1,00", "NaN", "Infinity", "1e400", "1_000", "0x1", "1" * 11_000])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an amount"):
        amount_of(text)


def test_a_number_of_json_never_becomes_a_binary_fraction(tmp_path: Path) -> None:
    bill = read(tmp_path, '{"object":"page","data":[' + json.dumps(bucket(result(AUDIO_IN, 0.1))) + "]}")
    assert str(bill.items[0].cost) == "0.1"


@pytest.mark.parametrize(
    ("counted", "expected", "scale"),
    [
        ((AUDIO_IN, "tokens", 2_183), "2183", Scale.SINGLE),
        ((AUDIO_IN, "1000_tokens", "2.183"), "2183", Scale.SINGLE),
        ((AUDIO_IN, None, 2_183), "2183", Scale.ASSUMED),
        ((AUDIO_IN, "tokens", None), None, Scale.UNSETTLED),
        (("whisper-1", "duration_seconds", 90.5), "90.5", Scale.SINGLE),
        (("whisper-1", "duration_minutes", 1.5), "90", Scale.SINGLE),
        (("gpt-live-1", "duration_hours", 2), "7200", Scale.SINGLE),
        (("whisper-1", None, 90), None, Scale.UNSETTLED),
    ],
)
def test_quantities_are_tokens_and_seconds(
    tmp_path: Path, counted: tuple[str, str | None, Any], expected: str | None, scale: Scale
) -> None:
    line_item, unit, quantity = counted
    bill = read(tmp_path, page(bucket(result(line_item, "1", quantity, quantity_unit=unit))))
    (item,) = bill.items
    assert item.quantity == (None if expected is None else Decimal(expected))
    assert item.scale is scale
    assert bill.problems == []


def test_a_unit_that_does_not_fit_is_said_and_its_money_kept(tmp_path: Path) -> None:
    bill = read(tmp_path, page(bucket(result(AUDIO_IN, "1", 7, quantity_unit="images"))))
    (item,) = bill.items
    assert (item.quantity, item.scale, item.cost) == (None, Scale.UNSETTLED, Decimal(1))
    assert said(bill) == [(1, "quantity_unit", f"{AUDIO_IN!r} is counted in 'images', which is not tokens")]


def test_other_models_are_left_out_and_their_sum_said(tmp_path: Path) -> None:
    results = [result("gpt-4o-mini, input", "0.1"), result("gpt-image-2 image, output", "0.2"), result(AUDIO_IN, "1")]
    bill = read(tmp_path, page(bucket(*results)))
    assert [item.meter.name for item in bill.items] == [AUDIO_IN]
    assert bill.left_out == [LeftOut(what="other models", rows=2, cost=Decimal("0.3"), currency="USD")]


def test_a_line_item_of_ours_that_cannot_be_read_keeps_its_money(tmp_path: Path) -> None:
    strange = "gpt-realtime-2 audio, standby"
    bill = read(tmp_path, page(bucket(result(strange, "0.5"), result(strange, "0.25", project_id="proj_2"))))
    assert [(item.cost, item.quantity, item.meter.model) for item in bill.items] == [
        (Decimal("0.5"), None, None),
        (Decimal("0.25"), None, None),
    ]
    ((row, column, message),) = said(bill)
    assert (row, column) == (1, "line_item")
    assert "neither input, nor cached input, nor output" in message


def test_costs_without_line_items_are_left_out_with_a_word_on_how_to_ask(tmp_path: Path) -> None:
    bill = read(tmp_path, page(bucket(result(None, "0.5")), bucket(result(None, "0.5"), start=START + DAY)))
    assert bill.items == []
    assert bill.left_out == [
        LeftOut(what="costs that are not grouped by line item", rows=2, cost=Decimal("1.0"), currency="USD")
    ]
    assert [(row, column) for row, column, _ in said(bill)] == [(1, "line_item")]
    assert "ask for them with group_by=line_item" in bill.problems[0].message
    # Of what models cost on these days nothing is known, which is not nothing.
    assert (bill.first, bill.last) == (None, None)


def test_costs_of_which_some_have_line_items_tell_of_their_days(tmp_path: Path) -> None:
    bill = read(tmp_path, page(bucket(result(None, "0.5"), result(AUDIO_IN, "1"))))
    assert [item.cost for item in bill.items] == [1]
    assert (bill.first, bill.last) == (date(2026, 11, 18), date(2026, 11, 18))


def test_of_a_result_that_was_fetched_twice_the_later_one_counts(tmp_path: Path) -> None:
    old, new = page(bucket(result(AUDIO_IN, "1"))), page(bucket(result(AUDIO_IN, "1.5")))
    bill = read(tmp_path, "\n".join(map(json.dumps, (old, new))))
    assert [item.cost for item in bill.items] == [Decimal("1.5")]
    ((row, _, message),) = said(bill)
    assert row == 2
    assert "1 results are there twice" in message


def test_projects_and_keys_are_results_of_their_own(tmp_path: Path) -> None:
    results = [
        result(AUDIO_IN, "1"),
        result(AUDIO_IN, "2", project_id="proj_b"),
        result(AUDIO_IN, "3", api_key_id="key_1"),
        result(AUDIO_IN, "4", project_id=None),
    ]
    bill = read(tmp_path, page(bucket(*results)))
    assert [(item.account, item.cost) for item in bill.items] == [
        ("proj_voice", Decimal(1)),
        ("proj_b", Decimal(2)),
        ("proj_voice", Decimal(3)),
        (None, Decimal(4)),
    ]
    assert bill.problems == []


FORMS: dict[str, Any] = {
    "one page": page(bucket(result(AUDIO_IN, "1"))),
    "a list of pages": [page(bucket(result(AUDIO_IN, "1")), has_more=True), page(bucket(start=START + DAY))],
    "a list of buckets": [bucket(result(AUDIO_IN, "1"))],
    "one bucket": bucket(result(AUDIO_IN, "1")),
    "lines": "\n\n".join(map(json.dumps, [page(bucket(result(AUDIO_IN, "1"))), page(bucket(start=START + DAY))])),
    "with a byte order mark": "\ufeff" + json.dumps(page(bucket(result(AUDIO_IN, "1")))),
    # As the API first had it.
    "the old name of results": page(
        {"start_time": START, "end_time": START + DAY, "result": [result(AUDIO_IN, "1")], "object": "bucket"}
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_pages_are_saved_in_many_forms(tmp_path: Path, form: str) -> None:
    bill = read(tmp_path, FORMS[form])
    assert [item.cost for item in bill.items] == [1]
    assert bill.problems == []


def test_a_packed_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "costs.json.gz"
    path.write_bytes(gzip.compress(json.dumps(page(bucket(result(AUDIO_IN, "1")))).encode()))
    assert [item.cost for item in read_pages(path).items] == [1]


def test_pages_that_are_missing_at_the_end_are_said(tmp_path: Path) -> None:
    bill = read(tmp_path, page(bucket(result(AUDIO_IN, "1")), has_more=True, next_page="page_2"))
    assert [item.cost for item in bill.items] == [1]
    assert "more pages follow" in bill.problems[0].message


WHOLE = json.dumps(page(bucket(result(AUDIO_IN, "1"))))
CUT = "it breaks off, as a file does that was not fetched to its end; fetch it again"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (WHOLE[: len(WHOLE) // 2].encode(), CUT),
        (WHOLE.replace('"data":', '"data"').encode(), "it is not JSON: Expecting ':' delimiter"),
        (b"<!doctype html><html><title>Sign in</title></html>", "it is a web page and not a bill"),
        (b'{"error": {"message": "Incorrect API key provided"}}', "OpenAI answered 'Incorrect API key provided'"),
        (b"[1, 2]", "a page is not a JSON object"),
        (b'{"data": {}}', "it is no page of costs"),
        (b"\xff\x00\xff", "it is not UTF-8 text"),
        (b" \n", "it is empty"),
        (gzip.compress(WHOLE.encode(), mtime=0)[:40], "its compression is damaged"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"object":"page","data":[{"object":"bucket"}]}', "a bucket has no start_time"),
        (b'{"object":"page","data":["no"]}', "a bucket has no start_time"),
        (b'{"data":[{"start_time": 1e30, "results": []}]}', "a bucket has no start_time"),
    ],
)
def test_a_damaged_file_is_one_sentence_and_no_item(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "costs.json"
    path.write_bytes(data)
    bill = read_pages(path)
    assert bill.items == []
    assert bill.problems
    assert why in bill.problems[0].message
    assert all(problem.file == str(path) for problem in bill.problems)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    bill = read_pages(tmp_path / "none.json")
    assert "it cannot be read: No such file" in bill.problems[0].message


@pytest.mark.parametrize(
    ("broken", "column", "why"),
    [
        ({"amount": None}, "amount", "has no amount"),
        ({"amount": {"value": "1,50", "currency": "usd"}}, "amount.value", "'1,50' is not an amount"),
        ({"amount": {"value": None, "currency": "usd"}}, "amount.value", "'None' is not a number"),
        ({"amount": {"value": True, "currency": "usd"}}, "amount.value", "'True' is not a number"),
        ({"amount": {"value": "NaN", "currency": "usd"}}, "amount.value", "'NaN' is not an amount"),
        ({"amount": {"value": "1"}}, "amount.value", "it names no currency"),
    ],
)
def test_a_result_without_money_is_said_and_the_rest_counted(
    tmp_path: Path, broken: dict[str, Any], column: str, why: str
) -> None:
    results = [
        result(AUDIO_IN, "1"),
        {**result("gpt-realtime-2 text, input", "2"), **broken},
        result(AUDIO_IN, "3", api_key_id="k"),
    ]
    bill = read(tmp_path, page(bucket(*results)))
    assert [(item.row, item.cost) for item in bill.items] == [(1, Decimal(1)), (3, Decimal(3))]
    ((row, where, message),) = said(bill)
    assert (row, where) == (2, column)
    assert why in message


def test_a_quantity_in_words_is_said_and_the_money_kept(tmp_path: Path) -> None:
    bill = read(tmp_path, page(bucket(result(AUDIO_IN, "1", "many"))))
    assert [(item.quantity, item.cost, item.scale) for item in bill.items] == [(None, Decimal(1), Scale.UNSETTLED)]
    assert said(bill) == [(1, "quantity", "a quantity cannot be read: 'many' is not an amount")]


def test_a_bucket_of_many_days_is_no_day(tmp_path: Path) -> None:
    week = bucket(result(AUDIO_IN, "7"), end_time=START + 7 * DAY)
    bill = read(tmp_path, page(week, bucket(result(AUDIO_IN, "1"), start=START + 7 * DAY)))
    assert [item.cost for item in bill.items] == [1]
    assert bill.left_out == [LeftOut(what="costs of more than a day", rows=1, cost=Decimal(7), currency="USD")]
    assert said(bill)[0][1] == "end_time"
    assert (bill.first, bill.last) == (date(2026, 11, 25), date(2026, 11, 25))


@pytest.mark.parametrize(
    ("start", "end", "column"),
    [
        (START + DAY // 2, START + DAY, "start_time"),
        (START + 1, START + DAY + 1, "start_time"),
        (START, START + DAY // 2, "end_time"),
        (START + DAY // 2, None, "start_time"),
    ],
)
def test_a_bucket_of_half_a_day_is_no_day(tmp_path: Path, start: int, end: int | None, column: str) -> None:
    half = bucket(result(AUDIO_IN, "7"), start=start, end_time=end)
    bill = read(tmp_path, page(half, bucket(result(AUDIO_IN, "1"), start=START + DAY)))
    assert [item.cost for item in bill.items] == [1]
    assert bill.left_out == [LeftOut(what="costs of a part of a day", rows=1, cost=Decimal(7), currency="USD")]
    why = "the bucket of 2026-11-18 has only a part of the day; ask for a start_time and an end_time at 00:00 UTC"
    assert said(bill) == [(1, column, why)]
    assert (bill.first, bill.last) == (date(2026, 11, 19), date(2026, 11, 19))


def test_a_bucket_that_does_not_say_its_end_is_a_day(tmp_path: Path) -> None:
    bill = read(tmp_path, page(bucket(result(AUDIO_IN, "1"), end_time=None)))
    assert [item.cost for item in bill.items] == [1]
    assert bill.problems == []


def test_a_line_that_is_cut_off_leaves_the_others(tmp_path: Path) -> None:
    bill = read(tmp_path, f"{WHOLE}\n{WHOLE[:60]}")
    assert [item.cost for item in bill.items] == [1]
    assert "line 2: it breaks off" in bill.problems[0].message
    bill = read(tmp_path, f"{WHOLE}\n{WHOLE[:60]}\n{WHOLE.replace(AUDIO_IN, 'gpt-realtime-2 audio, input')}")
    assert [item.cost for item in bill.items] == [1, 1]
    assert said(bill) == [(None, None, f"line 2: {CUT}")]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_page_is_said_to_break_off_wherever_it_does(tmp_path: Path, indent: int | None) -> None:
    whole = json.dumps(
        page(bucket(result(AUDIO_IN, "1", -1.5e-09, name='é "\n"', more=[True, None])), next_page=False), indent=indent
    )
    for length in range(1, len(whole)):
        bill = read(tmp_path, whole[:length])
        assert said(bill) == [(None, None, CUT)], length
        assert (bill.items, bill.first) == ([], None)
