from __future__ import annotations

import json
import os
import tempfile
import uuid
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from realtime_spend.estimates.pruning import prune
from realtime_spend.sinks.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

_TODAY = date(2026, 11, 22)
_NOBODY = 65534


def _file(folder: Path, day: str, text: str = "{}\n") -> Path:
    path = folder / f"{day}-{uuid.uuid4()}.jsonl"
    path.write_text(text)
    return path


def _days(folder: Path) -> list[str]:
    return sorted(path.name[:10] for path in folder.iterdir())


@pytest.mark.parametrize(
    ("keep_days", "kept"),
    [
        (1, ["2026-11-21", "2026-11-22", "2026-11-23"]),
        (2, ["2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"]),
        (30, ["2026-10-23", "2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"]),
        (10**12, ["2026-10-22", "2026-10-23", "2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"]),
    ],
)
def test_days_are_counted_back_from_today(keep_days: int, kept: list[str], tmp_path: Path) -> None:
    for day in ("2026-10-22", "2026-10-23", "2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"):
        _file(tmp_path, day)
    prune(tmp_path, keep_days, today=_TODAY)
    assert _days(tmp_path) == kept


def test_it_says_what_it_removed_and_kept(tmp_path: Path) -> None:
    old, older, new = (
        _file(tmp_path, "2026-01-02", "x" * 5),
        _file(tmp_path, "2026-01-01"),
        _file(tmp_path, "2026-11-22"),
    )
    found = prune(tmp_path, 1, today=_TODAY)
    assert [(file.path, file.day, file.size) for file in found.removed] == [
        (older, date(2026, 1, 1), 3),
        (old, date(2026, 1, 2), 5),
    ]
    assert [file.path for file in found.kept] == [new]
    assert (found.failed, found.size) == ((), 8)


def test_a_dry_run_says_the_same_and_removes_nothing(tmp_path: Path) -> None:
    old = _file(tmp_path, "2026-01-01")
    dry = prune(tmp_path, 1, today=_TODAY, dry_run=True)
    assert old.exists()
    assert prune(tmp_path, 1, today=_TODAY) == dry
    assert not old.exists()


_WRITER = "6b1f0000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "2020-01-01.jsonl",
        "2020-01-01-notes.jsonl",
        f"2020-01-01-{_WRITER}.jsonl.gz",
        f"2020-01-01-{_WRITER}.json",
        f"a-2020-01-01-{_WRITER}.jsonl",
        f"2020-13-01-{_WRITER}.jsonl",
        f"2020-02-30-{_WRITER}.jsonl",
        f"20200101-{_WRITER}.jsonl",
        f"2020-01-01-{_WRITER}.jsonl\n",
        f"٢٠٢٠-01-01-{_WRITER}.jsonl",
    ],
)
def test_what_the_ledger_did_not_name_is_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    found = prune(tmp_path, 1, today=_TODAY)
    assert (found.removed, found.kept) == ((), ())
    assert (tmp_path / name).read_text() == "mine"


def test_folders_and_links_are_left_alone_and_so_is_what_they_lead_to(tmp_path: Path) -> None:
    name = f"2020-01-01-{_WRITER}.jsonl"
    ledger, outside = tmp_path / "ledger", tmp_path / "outside"
    (ledger / "deep").mkdir(parents=True)
    outside.write_text("mine")
    (ledger / "deep" / name).write_text("mine")
    (ledger / name).symlink_to(outside)
    (ledger / name.replace("6b", "7b")).mkdir()
    assert prune(ledger, 1, today=_TODAY).removed == ()
    assert (outside.read_text(), (ledger / "deep" / name).read_text()) == ("mine", "mine")
    assert (ledger / name).is_symlink()


def test_less_than_a_day_is_refused_and_nothing_is_removed(tmp_path: Path) -> None:
    old = _file(tmp_path, "2020-01-01")
    for days in (0, -1):
        with pytest.raises(ValueError, match="days cannot be kept: keep 1 or more"):
            prune(tmp_path, days, today=_TODAY)
    assert old.exists()


@pytest.mark.parametrize(("name", "reason"), [("none", "it does not exist"), ("file", "it is not a folder")])
def test_a_folder_that_is_none_is_said_in_a_sentence(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=f"{name} cannot be pruned: {reason}; name the folder"):
        prune(tmp_path / name, 1, today=_TODAY)


@contextmanager
def _as_nobody() -> Iterator[None]:
    """Give up the right of a superuser to do anything, where we have it."""
    is_superuser = os.geteuid() == 0
    if is_superuser:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if is_superuser:
            os.seteuid(0)


def test_a_file_that_cannot_be_removed_is_said_and_so_is_a_folder_that_cannot_be_read() -> None:
    # Not in the folder of pytest, which nobody else may enter.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old, new = _file(folder, "2020-01-01"), _file(folder, "2026-11-22")
        folder.chmod(0o555)
        with _as_nobody():
            found = prune(folder, 1, today=_TODAY)
        assert [(file.path, reason) for file, reason in found.failed] == [(old, "Permission denied")]
        assert (found.removed, [file.path for file in found.kept]) == ((), [new])
        folder.chmod(0o000)
        with _as_nobody(), pytest.raises(ValueError, match="cannot be pruned: Permission denied"):
            prune(folder, 1, today=_TODAY)
        folder.chmod(0o755)
        assert old.exists()


def test_a_writer_at_midnight_loses_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    now = datetime(2026, 11, 22, tzinfo=UTC)
    before = now - timedelta(microseconds=1)
    try:
        assert ledger.append(before.isoformat(), '"id":"a"') is None
        assert prune(tmp_path, 1, today=now.date()).removed == ()
        # The event of the last moment of a day that is written when the next has begun.
        assert ledger.append(before.isoformat(), '"id":"b"') is None
        assert ledger.append(now.isoformat(), '"id":"c"') is None
    finally:
        ledger.close()
    lines = [line for path in sorted(tmp_path.iterdir()) for line in path.read_text().splitlines()]
    assert [json.loads(line)["id"] for line in lines] == ["a", "b", "c"]


def test_a_writer_whose_file_was_removed_begins_it_anew(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    try:
        assert ledger.append("2020-01-01T00:00:00Z", '"id":"a"') is None
        assert len(prune(tmp_path, 1, today=_TODAY).removed) == 1
        assert ledger.append("2020-01-01T00:00:01Z", '"id":"b"') is None
    finally:
        ledger.close()
    [path] = tmp_path.iterdir()
    assert json.loads(path.read_text())["id"] == "b"
