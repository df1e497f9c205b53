"""`realtime-spend prune` as a program of its own, on folders that really hold files."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

_COMMAND = [str(Path(sys.executable).with_name("realtime-spend")), "prune"]
# The test may run over midnight: no file of it is of a day that this would put on the other side.
_DAYS_OLD = (0, 1, 5, 40)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    folder = tmp_path / "ledger"
    folder.mkdir()
    today = datetime.now(UTC).date()
    for days in _DAYS_OLD:
        (folder / f"{today - timedelta(days=days)}-{uuid.uuid4()}.jsonl").write_text("{}\n")
    (folder / "notes.txt").write_text("mine")
    return folder


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*_COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_it_removes_what_is_old_and_says_so(ledger: Path) -> None:
    before = {path.name for path in ledger.iterdir()}
    done = _run(ledger, "--keep-days", 10)
    gone = before - {path.name for path in ledger.iterdir()}
    assert (done.returncode, done.stderr) == (0, "")
    [old] = gone
    first, last = done.stdout.splitlines()
    assert first == f"removed {old}, 3 bytes"
    assert last.startswith("removed 1 file, 3 bytes; keeps 3 files; the oldest is of ")
    assert (ledger / "notes.txt").read_text() == "mine"


def test_a_dry_run_removes_nothing(ledger: Path) -> None:
    before = {path.name for path in ledger.iterdir()}
    done = _run(ledger, "--keep-days", 3, "--dry-run")
    assert {path.name for path in ledger.iterdir()} == before
    assert "would remove 2 files, 6 bytes; keeps 2 files" in done.stdout


def test_json_is_printed_alone(ledger: Path) -> None:
    done = _run(ledger, "--keep-days", 10, "--json")
    answer = json.loads(done.stdout)
    assert list(answer) == ["dry_run", "removed", "bytes", "kept", "failed"]
    [removed] = answer["removed"]
    assert removed["file"].startswith(removed["day"])
    assert (answer["dry_run"], removed["bytes"], answer["bytes"], answer["kept"], answer["failed"]) == (
        False,
        3,
        3,
        3,
        [],
    )


def test_a_folder_without_old_files_is_fine_for_cron(tmp_path: Path) -> None:
    done = _run(tmp_path, "--keep-days", 1)
    assert (done.returncode, done.stdout) == (0, "removed 0 files, 0 bytes; keeps 0 files\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--keep-days", "0"), "0 days cannot be kept: keep 1 or more"),
        (("--keep-days", "-3"), "-3 days cannot be kept"),
        (("--keep-days", "many"), "'many' is not a valid integer"),
        ((), "Missing option '--keep-days'"),
    ],
)
def test_wrong_input_is_said_and_removes_nothing(arguments: tuple[str, ...], sentence: str, ledger: Path) -> None:
    before = {path.name for path in ledger.iterdir()}
    done = _run(ledger, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in ledger.iterdir()} == before


def test_a_folder_that_is_not_there_is_said_in_one_sentence(tmp_path: Path) -> None:
    done = _run(tmp_path / "none", "--keep-days", 1)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "none cannot be pruned: it does not exist; name the folder" in done.stderr


def test_the_folder_must_be_named_even_where_the_environment_names_one(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REALTIME_SPEND_LEDGER", str(ledger))
    done = _run("--keep-days", 1)
    assert done.returncode == 2
    assert "Missing argument 'LEDGER'" in done.stderr


def test_a_file_that_cannot_be_removed_is_said_after_all_others_are_done() -> None:
    # Not in the folder of pytest, which nobody else may enter. The right of a superuser to do anything is given up.
    program = "import os, sys\nfrom realtime_spend.cli import main\nimport realtime_spend.estimates.pruning\n"
    program += "import realtime_spend.reports.pruning\nos.geteuid() or os.seteuid(65534)\nmain()"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old = folder / f"2020-01-01-{uuid.uuid4()}.jsonl"
        old.write_text("{}\n")
        folder.chmod(0o555)
        try:
            command = [sys.executable, "-c", program, "prune", name, "--keep-days", "1"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        finally:
            folder.chmod(0o755)
        assert old.exists()
    assert (done.returncode, done.stdout) == (2, "removed 0 files, 0 bytes; keeps 0 files\n")
    assert f"Error: cannot be removed: {old.name} (Permission denied); look at the rights of {folder}" in done.stderr
    assert done.stderr.count("\n") == 1
