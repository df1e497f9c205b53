"""`realtime-spend reconcile` on ledgers and bills on the disk: its options, what it prints, its status, its page."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from tests.reconciling.conversations import AZURE, DAYS, conversations
from tests.reconciling.recording import record

from realtime_spend.cli import main
from realtime_spend.rate_cards import load_book
from realtime_spend.simulator.bill import faults
from realtime_spend.simulator.bill.draft import draft_bill
from realtime_spend.simulator.bill.faults import Where, inject
from realtime_spend.simulator.bill.writing import BillForm, write_bill

if TYPE_CHECKING:
    from tests.conftest import Run

    from realtime_spend.simulator.bill.draft import Draft

_AT = "2026-11-20"
_THESE = Where(models=["gpt-realtime"], days=DAYS[1:3])


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(conversations(AZURE), tmp_path_factory.mktemp("command") / "ledger", load_book())


def _draft() -> Draft:
    return draft_bill(conversations(AZURE), provider=BillForm.MCA.provider)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bill(_draft(), BillForm.MCA, tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def high(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bill for twice the sessions on two days."""
    draft = inject(_draft(), [faults.unobserved_traffic(_THESE, extra=Decimal(1))])
    return write_bill(draft, BillForm.MCA, tmp_path_factory.mktemp("high"))


def test_a_clean_bill_has_status_0_and_json_alone_on_standard_output(run: Run, ledger: Path, clean: Path) -> None:
    answer = run("reconcile", "--ledger", ledger, "--bill", clean, "--at", _AT, "--json")
    assert (answer.status, answer.err) == (0, "")
    assert list(answer.json) == ["schema", "currency", "from", "to", "rows", "causes", "totals", "problems"]
    assert (answer.json["from"], answer.json["to"]) == (str(DAYS[0]), str(DAYS[-1]))


def test_drift_beyond_the_tolerance_has_status_1_and_its_causes(run: Run, ledger: Path, high: Path) -> None:
    answer = run("reconcile", "--ledger", ledger, "--bill", high, "--at", _AT, "--json")
    assert answer.status == 1
    found = answer.json
    assert {cause["cause"] for cause in found["causes"] if abs(Decimal(cause["cost"])) > Decimal("1e-9")} == {
        "unobserved_traffic"
    }
    counted = sum(
        Decimal(row["estimated_cost"])
        for row in found["rows"]
        if row["model"] == "gpt-realtime" and row["day"] in {str(day) for day in DAYS[1:3]}
    )
    assert Decimal(found["totals"]["drift_cost"]) == pytest.approx(counted, abs=Decimal("1e-9"))


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["--tolerance", "60%"], 0),
        (["--tolerance", "60 %"], 0),
        (["--tolerance", "0.6"], 0),
        (["--tolerance", "2%", "--floor", "100"], 0),
        (["--tolerance", "10%", "--floor", "0"], 1),
        (["--to", str(DAYS[0])], 0),
        (["--from", str(DAYS[1]), "--to", str(DAYS[1])], 1),
        (["--account", "contoso-voice"], 1),
    ],
)
def test_the_status_is_as_tolerant_as_it_is_told(
    run: Run, ledger: Path, high: Path, options: list[str], status: int
) -> None:
    answer = run("reconcile", "--ledger", ledger, "--bill", high, "--at", _AT, *options, "--json")
    assert answer.status == status, answer.err


def test_an_open_day_decides_nothing(run: Run, ledger: Path, high: Path) -> None:
    options = ("--bill", high, "--from", DAYS[2], "--to", DAYS[2], "--json")
    assert run("reconcile", "--ledger", ledger, *options, "--at", f"{DAYS[3]}T12:00:00Z").status == 0
    assert run("reconcile", "--ledger", ledger, *options, "--at", f"{DAYS[4]}T00:00:00Z").status == 1


def test_a_bill_in_another_currency_needs_a_rate_where_it_has_none(run: Run, ledger: Path, tmp_path: Path) -> None:
    draft = inject(_draft(), [faults.currency("EUR", Decimal("1.25"))])
    bill = write_bill(draft, BillForm.EA, tmp_path)
    without = run("reconcile", "--ledger", ledger, "--bill", bill, "--at", _AT, "--json").json
    assert without["currency"] == "EUR"
    assert without["totals"]["drift_cost"] is None
    assert any("--fx" in problem["message"] for problem in without["problems"])
    answer = run("reconcile", "--ledger", ledger, "--bill", bill, "--at", _AT, "--json", "--fx", "eur=1.25")
    assert answer.status == 0
    assert abs(Decimal(answer.json["totals"]["drift_cost"])) < Decimal("1e-8")
    table = run("reconcile", "--ledger", ledger, "--bill", bill, "--at", _AT)
    assert table.status == 0
    assert "unknown" in table.out


def test_settings_of_a_caller_are_taken_as_they_are(ledger: Path, high: Path) -> None:
    own = {"tolerance": Decimal("0.6"), "floor": Decimal(0), "first": DAYS[0], "fx": [("EUR", Decimal("1.08"))]}
    options = ("--ledger", ledger, "--bill", high, "--at", _AT, "--json")
    done = CliRunner().invoke(main, ["reconcile", *map(str, options)], default_map={"reconcile": own})
    assert done.exit_code == 0, done.output


def test_the_ledger_is_that_of_the_environment_unless_it_is_said(run: Run, ledger: Path, clean: Path) -> None:
    answer = run("reconcile", "--bill", clean, "--at", _AT, "--json", REALTIME_SPEND_LEDGER=str(ledger))
    assert answer.status == 0


def test_the_table_says_sums_causes_and_rows_within_the_width_of_a_terminal(
    run: Run, ledger: Path, high: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime_spend.reconcile_command.console_of", _narrow)
    answer = run("reconcile", "--ledger", ledger, "--bill", high, "--at", _AT)
    assert answer.status == 1
    lines = answer.out.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0] == f"Estimate beside bill, {DAYS[0]} to {DAYS[-1]}, USD"
    assert [line for line in lines if line.startswith("unobserved_traffic ")]
    assert [line for line in lines if line.startswith("left out: tax, 1 row, 11.43 USD")]
    heading = next(number for number, line in enumerate(lines) if line.startswith("part "))
    assert lines[heading + 1].startswith("gpt-realtime 2025-08-28")
    first = lines[heading + 2].split()
    assert first[0] == "audio.output"
    assert first[-3:] == ["2", "of", "5"]


def _narrow() -> Any:
    from rich.console import Console  # noqa: PLC0415 - where the command gets its own

    return Console(width=100, highlight=False, markup=False, emoji=False)


def test_what_stands_in_the_table_is_text_never_markup(run: Run, ledger: Path, tmp_path: Path) -> None:
    name = "gpt rt [red]aud[/red] Tokens :boom:"
    bill = write_bill(inject(_draft(), [faults.unmapped_meter(name)]), BillForm.MCA, tmp_path)
    assert name in run("reconcile", "--ledger", ledger, "--bill", bill, "--at", _AT).out


# --- What cannot be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--ledger", "x", "--prometheus", "http://127.0.0.1:1"], "--ledger and --prometheus are both given"),
        ([], "say where the estimate is: either --ledger DIR or --prometheus URL"),
        (["--ledger", "nowhere"], "nowhere"),
        (["--prometheus", "http://127.0.0.1:1"], "http://127.0.0.1:1 cannot be reached"),
        (["--ledger", "LEDGER", "--from", "2026-11-12", "--to", "2026-11-11"], "exchange them"),
        (["--ledger", "LEDGER", "--from", "yesterday"], "'yesterday' is no day; write 2026-11-22"),
        (["--ledger", "LEDGER", "--tolerance", "two"], "'two' is no part of a whole; write 2% or 0.02"),
        (["--ledger", "LEDGER", "--tolerance", "2"], "'2' is not between 0% and 100%"),
        (["--ledger", "LEDGER", "--tolerance", "-2%"], "'-2%' is not between 0% and 100%"),
        (["--ledger", "LEDGER", "--floor", "some"], "'some' is no amount; write 0.50"),
        (["--ledger", "LEDGER", "--floor", "-1"], "'-1' is negative"),
        (["--ledger", "LEDGER", "--fx", "EUR=much"], "'EUR=much' is no rate; write EUR=1.08"),
        (["--ledger", "LEDGER", "--fx", "EUR"], "'EUR' is no rate"),
        (["--ledger", "LEDGER", "--fx", "EUR=0"], "'EUR=0' is no rate"),
        (["--ledger", "LEDGER", "--fx", "euros=1.08"], "'euros=1.08' is no rate"),
        (["--ledger", "LEDGER", "--at", "soon"], "'soon' is neither a day nor an instant"),
        (["--ledger", "LEDGER", "--html", "nowhere/page.html"], "there is no folder nowhere; make it"),
        (["--ledger", "LEDGER", "--html", "."], ". is a folder; give --html a file in it"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence_with_status_2(
    run: Run, ledger: Path, clean: Path, options: list[str], sentence: str
) -> None:
    given = [str(ledger) if option == "LEDGER" else option for option in options]
    answer = run("reconcile", "--bill", clean, *given)
    assert answer.status == 2
    assert answer.out == ""
    said = answer.err.splitlines()[-1]
    assert said.startswith("Error: ")
    assert sentence in said


@pytest.mark.parametrize("as_json", [True, False])
def test_a_bill_that_is_not_there_is_said(run: Run, ledger: Path, tmp_path: Path, as_json: bool) -> None:  # noqa: FBT001
    options = ["--json"] if as_json else []
    answer = run("reconcile", "--ledger", ledger, "--bill", tmp_path / "bill.csv", *options)
    assert (answer.status, answer.out) == (2, "")
    assert (
        answer.err == f"Error: there is no bill at {tmp_path / 'bill.csv'}; give a file or a folder of them to --bill\n"
    )


@pytest.mark.parametrize("form", [BillForm.OPENAI_COSTS, BillForm.FOCUS_PARQUET])
def test_half_a_bill_is_said_to_break_off(run: Run, ledger: Path, tmp_path: Path, form: BillForm) -> None:
    whole = write_bill(draft_bill(conversations(AZURE), provider=form.provider), form, tmp_path)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    answer = run("reconcile", "--ledger", ledger, "--bill", whole)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert "breaks off" in answer.err
    assert "again" in answer.err


def test_no_bill_at_all_is_said(run: Run, ledger: Path) -> None:
    answer = run("reconcile", "--ledger", ledger)
    assert answer.status == 2
    assert "--bill" in answer.err


def test_headers_that_are_none_are_said(run: Run, ledger: Path, clean: Path) -> None:
    answer = run("reconcile", "--ledger", ledger, "--bill", clean, REALTIME_SPEND_PROMETHEUS_HEADERS="x")
    assert answer.status == 2
    assert "REALTIME_SPEND_PROMETHEUS_HEADERS must be name=value" in answer.err


def test_a_row_that_cannot_be_read_does_not_stop_the_rest(run: Run, ledger: Path, clean: Path, tmp_path: Path) -> None:
    bill = tmp_path / "bill.csv"
    text = clean.read_text(encoding="utf-8-sig")
    number = next(number for number, line in enumerate(text.splitlines(), 1) if "gpt rt" in line)
    lines = text.splitlines()
    lines[number - 1] = lines[number - 1].replace("11/09/2026", "11/99/2026")
    bill.write_text("\n".join(lines))
    answer = run("reconcile", "--ledger", ledger, "--bill", bill, "--at", _AT, "--json")
    assert len(answer.json["rows"]) > 50
    [problem] = [problem for problem in answer.json["problems"] if problem["row"] == number]
    assert problem["file"] == str(bill)
    assert list(problem) == ["file", "row", "column", "message"]
    table = run("reconcile", "--ledger", ledger, "--bill", bill, "--at", _AT)
    assert f"! {bill}, row {number}, column " in table.out


# --- The page --------------------------------------------------------------------------------------------------------


def test_the_page_is_written_whole_and_said(run: Run, ledger: Path, high: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("the one of yesterday")
    answer = run("reconcile", "--ledger", ledger, "--bill", high, "--at", _AT, "--html", page)
    assert answer.status == 1
    assert answer.out.endswith(f"the page is in {page}\n")
    html = page.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert html.endswith("</html>\n")
    assert str(high) in html
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_with_json_the_page_is_said_beside_standard_output(run: Run, ledger: Path, clean: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    answer = run("reconcile", "--ledger", ledger, "--bill", clean, "--at", _AT, "--html", page, "--json")
    assert json.loads(answer.out)["schema"] == "realtime-spend/reconciliation/1"
    assert answer.err == f"the page is in {page}\n"


def test_the_page_has_the_rights_of_any_other_file(run: Run, ledger: Path, clean: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        run("reconcile", "--ledger", ledger, "--bill", clean, "--at", _AT, "--html", tmp_path / "page.html")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o640


def test_the_name_of_a_folder_may_hold_anything(run: Run, ledger: Path, clean: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"ledger \xff <b>")
    shutil.copytree(ledger, folder)
    page = tmp_path / "page.html"
    answer = run("reconcile", "--ledger", folder, "--bill", clean, "--at", _AT, "--html", page, "--json")
    assert answer.status == 0
    assert "ledger \\udcff &lt;b&gt;" in page.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_leaves_the_old_one_and_the_answer(
    run: Run, ledger: Path, clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("the one of yesterday")

    def full(*_: object, **__: object) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    answer = run("reconcile", "--ledger", ledger, "--bill", clean, "--at", _AT, "--html", page)
    assert answer.status == 2
    assert answer.err == f"Error: {page} cannot be written: No space left on device; choose another\n"
    assert answer.out.startswith("Estimate beside bill")
    assert page.read_text() == "the one of yesterday"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_without_the_extra_the_page_says_what_to_install(
    run: Run, ledger: Path, clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "realtime_spend.reports.page", raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    answer = run("reconcile", "--ledger", ledger, "--bill", clean, "--at", _AT, "--html", tmp_path / "page.html")
    assert answer.status == 2
    assert "pip install 'realtime-spend[reconcile]'" in answer.err


def test_it_is_a_command_of_the_program(ledger: Path, clean: Path) -> None:
    program = Path(sys.executable).with_name("realtime-spend")
    command = list(map(str, (program, "reconcile", "--ledger", ledger, "--bill", clean, "--at", _AT, "--json")))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["totals"]["unmapped_cost"] == "0"
