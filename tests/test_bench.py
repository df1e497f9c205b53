"""Every program of the bench runs and measures something; how long anything takes is nobody's business here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.__main__ import PROGRAMS
from bench.environments import UnavailableError, interpreter_with
from bench.measuring import by_turns, compared
from bench.peers import _answers
from bench.tables import BEGIN, END, Table, between_marks

_ROOT = Path(__file__).resolve().parents[1]
# The others need environments of their own, which is too much for a test.
_HERE = [program for program in PROGRAMS if program not in {"peers", "bills", "relay"}]
_FIGURES = {"bare", "with us", "added"}
# A program starts many others, and the machine may be a slow one that is busy.
_PATIENCE = 500
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("program", _HERE)
def test_a_program_of_the_bench_measures_what_its_rows_say(program: str) -> None:
    command = [sys.executable, "-m", f"bench.{program}", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, timeout=_PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    tables = json.loads(done.stdout)
    rows = [dict(zip(table["columns"], row, strict=True)) for table in tables for row in table["rows"]]
    assert rows
    for row in rows:
        assert {name: float(row[name]) for name in _FIGURES}["with us"] > 0, row


def test_a_bill_is_held_against_a_bare_scan_of_it() -> None:
    command = [sys.executable, "-m", "bench.bills", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, timeout=_PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    [table] = json.loads(done.stdout)
    bare, reconciled = (dict(zip(table["columns"], row, strict=True)) for row in table["rows"])
    assert bare["of the bare scan"] == "1.00x"
    assert float(reconciled["of the bare scan"].rstrip("x")) > 0
    assert min(float(row["peak MB"]) for row in (bare, reconciled)) > 0


def test_a_relay_is_held_against_the_plainest_one_on_the_same_frames() -> None:
    command = [sys.executable, "-m", "bench.relay", "--quick", "--json"]
    # LiteLLM needs an environment of its own.
    environment = {**os.environ, "REALTIME_SPEND_BENCH_WITHOUT": "litellm"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=_ROOT, timeout=_PATIENCE, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    stream, trip, memory = json.loads(done.stdout)
    ways = ["direct", "realtime-spend relay", "aiohttp pass-through"]
    names = [f"{size} KB: {way}" for size in (1, 8, 40) for way in ways]
    assert [row[0] for row in stream["rows"]] == [row[0] for row in trip["rows"]] == names
    for table in (stream, trip):
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
        ratios = [float(row["of aiohttp's"]) for row in rows if row["of aiohttp's"]]
        assert len(ratios) == 6
        assert min(ratios) > 0
    assert [row[0] for row in memory["rows"]] == ways[1:]


def test_all_tables_are_printed_with_the_machine() -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--only", "memory"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, timeout=_PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert "An open session" in done.stdout
    assert "Measured on 20" in done.stdout
    assert "websockets" in done.stdout


@pytest.mark.parametrize("arguments", [["--only", "speed"], ["--write", "--quick"]])
def test_what_cannot_be_measured_is_refused(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, timeout=_PATIENCE, check=False)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_rounds_alternate_and_the_first_is_not_counted() -> None:
    called: list[str] = []

    def side(name: str) -> float:
        called.append(name)
        return len(called)

    pairs = by_turns(lambda: side("bare"), lambda: side("ours"), 2, lambda: called.append("between"))
    assert called == ["bare", "ours", "between", "ours", "bare", "between", "bare", "ours", "between"]
    assert pairs == [(5, 4), (7, 8)]


def test_what_was_added_is_the_median_within_rounds() -> None:
    # A machine that is ten times slower in one round.
    found = compared([(1, 2), (10, 20), (1, 3), (2, 3)])
    assert (found.bare, found.ours, found.added) == (1.5, 3, 1.5)
    assert found.scaled(1000).cells(0) == ["1500", "3000", "+1500", "+1000 … +4000", "2.00"]


def test_a_document_keeps_what_stands_around_its_tables() -> None:
    table = Table(title="A frame", columns=["what", "bare"], rows=[["a|b", "1"]], notes=["A note."])
    once = between_marks(f"before\n{BEGIN}\nold\n{END}\nafter\n", table.markdown())
    assert once.startswith(f"before\n{BEGIN}\n")
    assert once.endswith(f"{END}\nafter\n")
    assert "| a\\|b | 1 |" in once
    assert "old" not in once
    assert between_marks(once, table.markdown()) == once
    with pytest.raises(ValueError, match="needs the lines"):
        between_marks("no marks", "text")


def test_the_document_has_its_marks() -> None:
    document = (_ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert between_marks(document, "text") != document


def test_an_environment_that_cannot_be_made_is_said_and_not_left_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REALTIME_SPEND_BENCH_ENVS", str(tmp_path / "environments"))
    # As where no registry can be reached.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UnavailableError, match="No matching distribution found for openai"):
        interpreter_with("openai")
    assert list((tmp_path / "environments").iterdir()) == []


def test_an_answer_is_yes_only_where_every_number_of_it_was_told() -> None:
    truth = {
        "usages": [
            {
                "kind": "response",
                "quantities": {
                    "text.input": 1,
                    "text.cached_input": 2,
                    "text.output": 4,
                    "audio.input": 8,
                    "audio.cached_input": 16,
                    "audio.output": 32,
                },
                "cost": "0.5",
            },
            {"kind": "transcription", "quantities": {"audio.input": 64, "text.output": 128}, "cost": "0.25"},
        ]
    }
    totals = {"input": 27.0, "output": 36.0}
    assert _answers(truth, {}) == ["no"] * 6
    assert _answers(truth, totals) == ["yes", *["no"] * 5]
    assert _answers(truth, totals | {"audio in": 24, "audio out": 32, "cached": 18}) == ["yes"] * 3 + ["no"] * 3
    assert _answers(truth, {"text": 2, "audio": 16, "heard": 64, "said": 128, "cost": 0.75}) == ["no"] * 3 + ["yes"] * 3
