"""The root of reconciliation, with ledgers and bills on the disk, and with services that answer on loopback."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from azure.core.credentials import AccessToken
from tests.billing.answering import Asked, Reply, answering
from tests.http_server import Request, serving
from tests.reconciling.conversations import AZURE, DAYS, OPENAI, conversations
from tests.reconciling.recording import record

from realtime_spend.bill_sources import Access
from realtime_spend.core.reconciliation.drift import Cause, State
from realtime_spend.rate_cards import load_book
from realtime_spend.reconciler import Question, answer
from realtime_spend.simulator.bill.draft import draft_bill
from realtime_spend.simulator.bill.openai import costs_pages
from realtime_spend.simulator.bill.writing import BillForm, write_bill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import Message

    from realtime_spend.core.rates import RateBook

AT = datetime(2026, 11, 20, tzinfo=UTC)
FIRST, LAST = DAYS[0], DAYS[-1]


@pytest.fixture(scope="module")
def book() -> RateBook:
    return load_book()


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory, book: RateBook) -> Path:
    """What was told of five days with Azure."""
    return record(conversations(AZURE), tmp_path_factory.mktemp("azure") / "ledger", book)


@pytest.fixture(scope="module")
def openai_ledger(tmp_path_factory: pytest.TempPathFactory, book: RateBook) -> Path:
    """What was told of the same days with OpenAI."""
    return record(conversations(OPENAI), tmp_path_factory.mktemp("openai") / "ledger", book)


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[BillForm, Path]:
    """What both providers bill for the same days."""
    folder = tmp_path_factory.mktemp("bills")
    return {form: _bill(form, folder / form) for form in (BillForm.MCA, BillForm.FOCUS_1_2, BillForm.OPENAI_COSTS)}


def _bill(form: BillForm, folder: Path) -> Path:
    usages = conversations(OPENAI if form is BillForm.OPENAI_COSTS else AZURE)
    return write_bill(draft_bill(usages, provider=form.provider), form, folder)


@pytest.mark.parametrize("form", [BillForm.MCA, BillForm.FOCUS_1_2, BillForm.OPENAI_COSTS])
def test_a_bill_for_what_was_counted_has_no_drift(
    ledger: Path, openai_ledger: Path, bills: dict[BillForm, Path], book: RateBook, form: BillForm
) -> None:
    counted = openai_ledger if form is BillForm.OPENAI_COSTS else ledger
    found = answer(Question(ledger=counted, bills=(bills[form],), at=AT), book=book)
    # Of seconds at a price an hour there is no end; the ledger has twelve places of it.
    assert found.totals.drift_cost is not None
    assert abs(found.totals.drift_cost) < Decimal("1e-8")
    assert not found.is_beyond
    assert (found.first, found.last) == (FIRST, LAST)
    assert found.problems == []


def test_bills_of_several_providers_are_one(ledger: Path, bills: dict[BillForm, Path], book: RateBook) -> None:
    several = (bills[BillForm.MCA], bills[BillForm.OPENAI_COSTS])
    each = [answer(Question(ledger=ledger, bills=(bill,), at=AT), book=book) for bill in several]
    found = answer(Question(ledger=ledger, bills=several, at=AT), book=book)
    assert found.totals.billed_cost > 0
    assert found.totals.billed_cost == sum(one.totals.billed_cost for one in each)
    assert {row.provider for row in found.rows} == {"azure.ai.openai", "openai"}


def test_only_the_days_that_were_asked_for_are_compared(
    ledger: Path, bills: dict[BillForm, Path], book: RateBook
) -> None:
    question = Question(ledger=ledger, bills=(bills[BillForm.MCA],), first=DAYS[1], last=DAYS[2], at=AT)
    found = answer(question, book=book)
    assert {row.day for row in found.rows} == {DAYS[1], DAYS[2]}
    assert (found.first, found.last) == (DAYS[1], DAYS[2])
    assert found.problems == []


def test_days_are_as_settled_as_they_are_at_the_instant_that_is_given(
    ledger: Path, bills: dict[BillForm, Path], book: RateBook
) -> None:
    at = datetime(2026, 11, 14, 12, tzinfo=UTC)
    found = answer(Question(ledger=ledger, bills=(bills[BillForm.MCA],), at=at), book=book)
    assert {row.day for row in found.rows if row.state is State.OPEN} == {date(2026, 11, 13)}


def test_progress_is_told_of_every_byte_of_both_sides(
    ledger: Path, bills: dict[BillForm, Path], book: RateBook
) -> None:
    stages: dict[str, list[int]] = {}

    @contextmanager
    def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
        stages[what] = [total, 0]

        def advance(step: int) -> None:
            stages[what][1] += step

        yield advance

    answer(Question(ledger=ledger, bills=(bills[BillForm.MCA],), at=AT), book=book, progress=progress)
    assert list(stages) == ["reading the bill", "reading the ledger"]
    assert all(total == told > 0 for total, told in stages.values())


# --- What cannot be compared -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ledger": None}, "say where the estimate is: either --ledger DIR or --prometheus URL"),
        ({"prometheus": "http://127.0.0.1:1"}, "say where the estimate is"),
        ({"bills": ()}, "say where the bill is"),
        ({"bills": (Path("nowhere.csv"),)}, "there is no bill at nowhere.csv"),
        ({"first": LAST, "last": FIRST}, f"--from {LAST} is after --to {FIRST}; exchange them"),
        (
            {"first": date(2026, 12, 1), "last": date(2026, 12, 2)},
            f"the bill covers {FIRST} to {LAST}, nothing of it is left by --from 2026-12-01 --to 2026-12-02",
        ),
        ({"first": date(2026, 12, 1)}, f"the bill covers {FIRST} to {LAST}, nothing of it is left by --from"),
        ({"account": "contoso-chat"}, "--account contoso-chat is on neither side; there is contoso-voice"),
        ({"ledger": Path("nowhere")}, "nowhere"),
    ],
)
def test_a_question_without_an_answer_is_refused_in_one_sentence(
    ledger: Path, bills: dict[BillForm, Path], book: RateBook, changes: dict[str, Any], sentence: str
) -> None:
    question = Question(ledger=ledger, bills=(bills[BillForm.MCA],), at=AT)
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")) as refused:
        answer(replace(question, **changes), book=book)
    assert "\n" not in str(refused.value)


def test_a_bill_of_which_nothing_can_be_read_is_refused_with_its_own_problem(
    ledger: Path, book: RateBook, tmp_path: Path
) -> None:
    bill = tmp_path / "bill.csv"
    bill.write_text("<!doctype html><html><title>Sign in</title></html>")
    with pytest.raises(ValueError, match=r"bill\.csv: "):
        answer(Question(ledger=ledger, bills=(bill,), at=AT), book=book)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        # What is wrong comes before the encoding, of which it is not one more.
        (
            "Größe,ä\n1,2\n".encode("cp1252"),
            r"row 1, column \S+: the header has no column .* \(and 1 of other kinds\)$",
        ),
        (b"MeterName\x00,\x00Cost\n", r"the header has no column for the date.*give an export of cost details"),
        (b"<!doctype html><title>Sign in</title>", r"the file is a web page and no bill; .*; download it again$"),
        (b"", r"the file is empty; download it again$"),
    ],
)
def test_of_all_that_is_wrong_the_sentence_is_the_one_that_says_what_to_do(
    ledger: Path, book: RateBook, tmp_path: Path, data: bytes, sentence: str
) -> None:
    bill = tmp_path / "bill.csv"
    bill.write_bytes(data)
    with pytest.raises(ValueError, match=sentence):
        answer(Question(ledger=ledger, bills=(bill,), at=AT), book=book)


def test_only_what_is_the_same_is_called_alike(ledger: Path, book: RateBook, tmp_path: Path) -> None:
    for name, text in {"a.csv": "<html>", "b.csv": "<html>", "c.csv": "", "d.csv": "<html>"}.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=r"a\.csv: .* \(and 2 more like it and 1 of other kinds\)$"):
        answer(Question(ledger=ledger, bills=(tmp_path,), at=AT), book=book)


def _ungrouped(bills: dict[BillForm, Path], path: Path) -> Path:
    """Write what OpenAI answers where it was not asked to group by line item."""
    pages = json.loads(bills[BillForm.OPENAI_COSTS].read_text())
    for bucket in (bucket for page in pages for bucket in page["data"]):
        cost = str(sum(Decimal(result["amount"]["value"]) for result in bucket["results"]))
        whole = {"amount": {"value": cost, "currency": "usd"}, "line_item": None, "project_id": None}
        bucket["results"] = [{"object": "organization.costs.result", **whole}]
    path.write_text(json.dumps(pages))
    return path


@pytest.mark.parametrize("days", [{}, {"first": FIRST, "last": LAST}])
def test_costs_that_are_not_grouped_by_line_item_are_no_bill(
    openai_ledger: Path, bills: dict[BillForm, Path], book: RateBook, tmp_path: Path, days: dict[str, Any]
) -> None:
    bill = _ungrouped(bills, tmp_path / "costs.json")
    with pytest.raises(ValueError, match=r"column line_item: .* tell no model; ask for them with group_by=line_item"):
        answer(Question(ledger=openai_ledger, bills=(bill,), at=AT, **days), book=book)


def test_beside_a_bill_that_can_be_read_they_are_a_problem(
    ledger: Path, bills: dict[BillForm, Path], book: RateBook, tmp_path: Path
) -> None:
    several = (_ungrouped(bills, tmp_path / "costs.json"), bills[BillForm.MCA])
    found = answer(Question(ledger=ledger, bills=several, at=AT), book=book)
    assert [problem.column for problem in found.problems if problem.file == str(several[0])] == ["line_item"]
    assert {row.provider for row in found.rows} == {"azure.ai.openai"}
    assert "costs that are not grouped by line item" in {one.what for one in found.left_out}


def test_pages_that_were_saved_day_after_day_are_not_summed(
    openai_ledger: Path, bills: dict[BillForm, Path], book: RateBook, tmp_path: Path
) -> None:
    whole = bills[BillForm.OPENAI_COSTS]
    pages = json.loads(whole.read_text())
    for page in pages:
        page["data"] = page["data"][:3]
    (tmp_path / "early.json").write_text(json.dumps(pages))
    (tmp_path / "late.json").write_bytes(whole.read_bytes())
    once = answer(Question(ledger=openai_ledger, bills=(whole,), at=AT), book=book)
    found = answer(Question(ledger=openai_ledger, bills=(tmp_path,), at=AT), book=book)
    assert found.rows == once.rows
    assert found.totals == once.totals
    assert [problem.file for problem in found.problems] == [str(tmp_path / "early.json")]


def test_a_ledger_of_other_days_counted_nothing_of_the_bill_and_is_said(
    ledger: Path, book: RateBook, tmp_path: Path
) -> None:
    day = date(2026, 10, 5)
    usages = conversations(AZURE, days=[day])
    bill = write_bill(draft_bill(usages, provider=BillForm.MCA.provider), BillForm.MCA, tmp_path)
    found = answer(Question(ledger=ledger, bills=(bill,), at=AT), book=book)
    assert {share.cause for share in found.shares} == {Cause.UNOBSERVED_TRAFFIC}
    assert [problem.message for problem in found.problems] == [
        f"the ledger has {FIRST} to {LAST}: if these are not the days of the bill, give the other ledger",
        f"the bill has usage from {day} to {day}, the ledger on none of these days: the rest is in the drift",
    ]


def test_a_ledger_that_lacks_days_of_the_bill_is_said(
    book: RateBook, tmp_path: Path, bills: dict[BillForm, Path]
) -> None:
    ledger = record(conversations(AZURE, days=DAYS[2:]), tmp_path / "ledger", book)
    found = answer(Question(ledger=ledger, bills=(bills[BillForm.MCA],), at=AT), book=book)
    assert [problem.message for problem in found.problems] == [
        f"the bill has usage from {FIRST} to {LAST}, the ledger from {DAYS[2]} to {LAST}: the rest is in the drift"
    ]


def test_a_folder_without_a_record_is_no_ledger(book: RateBook, tmp_path: Path, bills: dict[BillForm, Path]) -> None:
    (tmp_path / f"{FIRST}-x.jsonl").write_text("not a record\n")
    with pytest.raises(ValueError, match=r"row 1: .*; name the folder that REALTIME_SPEND_LEDGER was set to"):
        answer(Question(ledger=tmp_path, bills=(bills[BillForm.MCA],), at=AT), book=book)


def test_problems_of_both_sides_are_kept(book: RateBook, tmp_path: Path) -> None:
    ledger = record(conversations(AZURE), tmp_path / "ledger", book)
    with next(ledger.glob("*.jsonl")).open("a") as file:
        file.write("not a record\n")
    bill = _bill(BillForm.MCA, tmp_path / "bill")
    lines = bill.read_text(encoding="utf-8-sig").splitlines()
    column = lines[0].split(",").index("quantity")
    [number] = [number for number, line in enumerate(lines) if "gpt rt" in line][:1]
    cells = lines[number].split(",")
    cells[column] = "many"
    lines[number] = ",".join(cells)
    bill.write_text("\n".join(lines))
    found = answer(Question(ledger=ledger, bills=(bill,), at=AT), book=book)
    assert {problem.file for problem in found.problems} >= {str(bill)}
    assert [problem for problem in found.problems if problem.row == number + 1]
    assert [problem for problem in found.problems if problem.file and problem.file.endswith(".jsonl")]
    assert len(found.problems) == len(set(found.problems))
    assert found.left_out


# --- Live sources ----------------------------------------------------------------------------------------------------


def _openai(
    answers: Callable[[Asked], Reply] | list[Reply], question: Question, book: RateBook
) -> tuple[Any, list[Asked]]:
    with answering(answers) as service:
        access = replace(question.access, openai_url=f"{service.url}/v1")
        return answer(replace(question, access=access), book=book), service.asked


def test_openai_is_asked_for_the_days_of_the_ledger(
    openai_ledger: Path, bills: dict[BillForm, Path], book: RateBook
) -> None:
    pages = json.loads(bills[BillForm.OPENAI_COSTS].read_text())
    question = Question(ledger=openai_ledger, bills=(Path("openai:"),), at=AT, access=Access(openai_key="sk-admin-1"))
    found, asked = _openai([Reply(page) for page in pages], question, book)
    from_file = answer(replace(question, bills=(bills[BillForm.OPENAI_COSTS],)), book=book)
    assert found.rows == from_file.rows
    assert asked[0].headers["authorization"] == "Bearer sk-admin-1"
    assert asked[0].query["start_time"] == [str(int(datetime(2026, 11, 9, tzinfo=UTC).timestamp()))]
    assert "project_ids[]" not in asked[0].query


def test_openai_can_be_asked_for_one_project_and_for_some_days(openai_ledger: Path, book: RateBook) -> None:
    usages = [usage for usage in conversations(OPENAI) if usage["at"][:10] == str(FIRST)]
    pages = costs_pages(draft_bill(usages, provider=BillForm.OPENAI_COSTS.provider))
    question = Question(
        ledger=openai_ledger,
        bills=(Path("openai:proj_1"),),
        at=AT,
        first=FIRST,
        last=FIRST,
        access=Access(openai_key="sk-admin-1"),
    )
    found, asked = _openai([Reply(page) for page in pages], question, book)
    assert {row.day for row in found.rows} == {FIRST}
    assert asked[0].query["project_ids[]"] == ["proj_1"]


class _SignedIn:
    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        return AccessToken("a-token", int(time.time()) + 3_600)


def test_azure_is_asked_for_a_scope(ledger: Path, book: RateBook) -> None:
    scope = "/subscriptions/1c4a2f6e-0000-4000-8000-000000000001"
    account = f"{scope}/resourcegroups/voice/providers/microsoft.cognitiveservices/accounts/Contoso-Voice"
    meter = "gpt rt aud mn in gl 1215 1M Tokens"
    columns = ("Cost", "UsageQuantity", "UsageDate", "Meter", "ResourceId", "Currency")
    properties = {
        "nextLink": None,
        "columns": [{"name": name, "type": "Number"} for name in columns],
        "rows": [[11, 1_100_000, 20261109, meter, account, "USD"], [11, 1_100_000, 20261110, meter, account, "USD"]],
    }
    with answering([Reply({"properties": properties})]) as service:
        access = Access(azure_url=service.url, azure_credential=_SignedIn())
        question = Question(
            ledger=ledger, bills=(Path(f"azure:{scope}"),), first=FIRST, last=DAYS[1], at=AT, access=access
        )
        found = answer(question, book=book)
    assert [(row.day, row.billed_quantity) for row in found.rows if row.billed_cost] == [
        (FIRST, Decimal(1_100_000)),
        (DAYS[1], Decimal(1_100_000)),
    ]
    assert service.asked[0].path == f"{scope}/providers/Microsoft.CostManagement/query"
    assert service.asked[0].headers["authorization"] == "Bearer a-token"
    assert "a-token" not in repr(question)


def test_without_a_sign_in_azure_is_one_sentence_and_no_log(
    ledger: Path, book: RateBook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    # Of all ways to sign in the one that asks nobody on the network.
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    with answering([]) as service:
        access = Access(azure_url=service.url)
        bills = (Path("azure:/subscriptions/1"),)
        question = Question(ledger=ledger, bills=bills, first=FIRST, last=DAYS[1], at=AT, access=access)
        with pytest.raises(ValueError, match="nobody is signed in to Azure: run `az login` or set ") as raised:
            answer(question, book=book)
    assert "\n" not in str(raised.value)
    assert service.asked == []
    assert [record for record in caplog.records if record.name.startswith("azure")] == []
    assert logging.getLogger("azure.identity").level == logging.NOTSET


def test_a_provider_that_has_nothing_of_these_days_is_said(ledger: Path, book: RateBook) -> None:
    access = Access(azure_url="http://127.0.0.1:1", azure_credential=_SignedIn())
    question = Question(
        ledger=ledger,
        bills=(Path("azure:/subscriptions/1"),),
        at=AT,
        access=access,
        first=date(2099, 1, 1),
        last=date(2099, 1, 2),
    )
    with pytest.raises(ValueError, match="the bill has no row of any of these days; look at --from, --to and --bill"):
        answer(question, book=book)


def test_without_the_extra_azure_cannot_be_asked(ledger: Path, book: RateBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    question = Question(ledger=ledger, bills=(Path("azure:/subscriptions/1"),), at=AT, access=Access())
    with pytest.raises(ValueError, match=r"asking azure needs an extra: pip install 'realtime-spend\[reconcile\]'"):
        answer(question, book=book)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"bills": (Path("openai:"),)}, "set OPENAI_ADMIN_KEY to an admin key"),
        ({"bills": (Path("azure:subscriptions/1"),)}, "azure:subscriptions/1 names no scope"),
        ({"bills": (Path("openai:"),), "first": date(2027, 1, 1)}, "cannot be asked from 2027-01-01 to 2026-11-20"),
        ({"ledger": None, "prometheus": "http://127.0.0.1:1", "bills": (Path("openai:"),)}, "say --from DAY: openai: "),
    ],
)
def test_a_provider_that_cannot_be_asked_is_said(
    ledger: Path, book: RateBook, changes: dict[str, Any], sentence: str
) -> None:
    question = Question(ledger=ledger, bills=(), at=AT, access=Access())
    with pytest.raises(ValueError, match=sentence):
        answer(replace(question, **changes), book=book)


@contextmanager
def _prometheus_without_series() -> Iterator[tuple[str, list[Message]]]:
    """Answer every query with nothing, and note the headers of each."""
    headers: list[Message] = []

    def take(request: Request) -> None:
        headers.append(request.headers)
        request.body()
        body = b'{"status": "success", "data": {"resultType": "vector", "result": []}}'
        request.send_response(200)
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    with serving(take) as port:
        yield f"http://127.0.0.1:{port}", headers


def test_prometheus_is_asked_for_each_day_with_what_lets_us_in(
    bills: dict[BillForm, Path], book: RateBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REALTIME_SPEND_PROMETHEUS_TOKEN", "t-1")
    monkeypatch.setenv("REALTIME_SPEND_PROMETHEUS_HEADERS", "X-Scope-OrgID=voice, X-Other=1=2")
    with _prometheus_without_series() as (url, headers):
        question = Question(prometheus=url, bills=(bills[BillForm.MCA],), at=AT)
        found = answer(question, book=book)
    assert {share.cause for share in found.shares} == {Cause.UNOBSERVED_TRAFFIC}
    assert "Prometheus on none of these days" in found.problems[-1].message
    assert len(headers) >= len(DAYS)
    for one in headers:
        assert (one["authorization"], one["x-scope-orgid"], one["x-other"]) == ("Bearer t-1", "voice", "1=2")
    assert "t-1" not in repr(question)


def test_headers_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="REALTIME_SPEND_PROMETHEUS_HEADERS must be name=value"):
        Access.of({"REALTIME_SPEND_PROMETHEUS_HEADERS": "X-Scope-OrgID"})


def test_without_the_extra_it_says_what_to_install(
    ledger: Path, bills: dict[BillForm, Path], book: RateBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith("realtime_spend.billing")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ValueError, match=r"pip install 'realtime-spend\[reconcile\]'"):
        answer(Question(ledger=ledger, bills=(bills[BillForm.MCA],), at=AT), book=book)
