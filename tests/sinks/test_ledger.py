from __future__ import annotations

import json
import os
import stat
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from tests.forked import forks, in_a_child

from realtime_spend.sinks.ledger import Ledger

if TYPE_CHECKING:
    from pathlib import Path


def _record(number: int = 0, day: str = "2026-11-18", more: str = "") -> tuple[str, str]:
    """The instant of a record and its other fields, as text."""
    return f"{day}T10:00:00.000000Z", f'"id":"resp_{number}"{more}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def ledger(folder: Path) -> Any:
    ledger = Ledger(folder)
    yield ledger
    ledger.close()


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text().splitlines() if line]


def _ids(folder: Path) -> list[str]:
    return [line["id"] for line in _lines(folder)]


def test_a_record_is_one_line_that_begins_with_version_instant_and_writer(ledger: Ledger, folder: Path) -> None:
    assert ledger.append(*_record(more=',"cost":"0.1"')) is None
    [path] = folder.iterdir()
    text = path.read_text()
    assert text.endswith("}\n")
    assert text.count("\n") == 1
    assert list(json.loads(text).items()) == [
        ("v", 1),
        ("at", "2026-11-18T10:00:00.000000Z"),
        ("writer", ledger.writer),
        ("id", "resp_0"),
        ("cost", "0.1"),
    ]


def test_the_file_bears_the_day_and_a_writer_that_is_a_uuid(ledger: Ledger, folder: Path) -> None:
    ledger.append(*_record())
    assert [path.name for path in folder.iterdir()] == [f"2026-11-18-{uuid.UUID(ledger.writer)}.jsonl"]


def test_nobody_else_can_read_the_ledger(ledger: Ledger, folder: Path) -> None:
    ledger.append(*_record())
    [path] = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_nothing_is_made_before_there_is_a_record(ledger: Ledger, folder: Path) -> None:
    ledger.close()
    assert not folder.exists()


def test_a_record_is_written_with_a_single_write(ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    write = os.write

    def watched(file: int, data: bytes) -> int:
        writes.append(data)
        return write(file, data)

    monkeypatch.setattr(os, "write", watched)
    for number in range(3):
        ledger.append(*_record(number))
    assert [data.count(b"\n") for data in writes] == [1, 1, 1]
    assert b"".join(writes) == next(folder.iterdir()).read_bytes()


def test_a_record_is_in_the_file_as_soon_as_it_is_appended(ledger: Ledger, folder: Path) -> None:
    for number in range(3):
        ledger.append(*_record(number))
        assert len(_lines(folder)) == number + 1


def test_each_day_has_a_file_of_its_own_and_a_late_record_goes_to_its_own_day(ledger: Ledger, folder: Path) -> None:
    for number, day in enumerate(["2026-11-18", "2026-11-19", "2026-11-18"]):
        assert ledger.append(*_record(number, day)) is None
    files = {path.name[:10]: path for path in folder.iterdir()}
    assert {day: path.read_text().count("\n") for day, path in files.items()} == {"2026-11-18": 2, "2026-11-19": 1}


def test_two_ledgers_of_one_folder_never_share_a_file(folder: Path) -> None:
    ledgers = [Ledger(folder), Ledger(folder)]
    for number, ledger in enumerate(ledgers):
        ledger.append(*_record(number))
        ledger.close()
    assert len(list(folder.iterdir())) == 2
    assert sorted(_ids(folder)) == ["resp_0", "resp_1"]


def test_a_closed_ledger_goes_on_in_the_same_file_with_the_next_record(ledger: Ledger, folder: Path) -> None:
    ledger.append(*_record(0))
    ledger.close()
    ledger.append(*_record(1))
    assert len(list(folder.iterdir())) == 1
    assert _ids(folder) == ["resp_0", "resp_1"]


def test_after_a_short_write_the_next_record_starts_on_a_line_of_its_own(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    ledger.append(*_record(0))
    with monkeypatch.context() as full_disk:
        full_disk.setattr(os, "write", lambda file, data: write(file, data[:10]))
        error = ledger.append(*_record(1))
    assert isinstance(error, OSError)
    assert "10 of" in str(error.strerror)
    assert ledger.append(*_record(2)) is None
    [path] = folder.iterdir()
    lines = path.read_text().split("\n")
    assert [len(line) for line in lines] == [len(lines[0]), 10, len(lines[0]), 0]
    assert [json.loads(lines[0])["id"], json.loads(lines[2])["id"]] == ["resp_0", "resp_2"]
    assert ledger.append(*_record(3)) is None
    assert path.read_text().count("\n\n") == 0


def test_when_nothing_at_all_was_written_the_file_stays_as_it_is(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.append(*_record(0))

    def refuse(_file: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full_disk:
        full_disk.setattr(os, "write", refuse)
        error = ledger.append(*_record(1))
    assert error is not None
    assert error.strerror == "No space left on device"
    ledger.append(*_record(2))
    [path] = folder.iterdir()
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["resp_0", "resp_2"]


def test_a_folder_that_is_a_file_is_an_error_that_is_returned(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "ledger"):
        error = Ledger(folder).append(*_record())
        assert isinstance(error, OSError)
        assert error.strerror


def test_a_folder_that_cannot_be_written_is_an_error_that_is_returned(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as read_only:
        read_only.setattr(os, "open", refuse)
        error = ledger.append(*_record())
    assert isinstance(error, PermissionError)
    assert ledger.append(*_record()) is None


def test_a_folder_that_is_removed_under_the_ledger_is_made_again(ledger: Ledger, folder: Path) -> None:
    ledger.append(*_record(0))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert ledger.append(*_record(1)) is None
    assert _ids(folder) == ["resp_1"]


def test_many_threads_write_whole_lines(ledger: Ledger, folder: Path) -> None:
    def write(thread: int) -> None:
        for number in range(100):
            assert ledger.append(*_record(thread * 100 + number)) is None

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(folder.iterdir())) == 1
    assert sorted(_ids(folder)) == sorted(f"resp_{number}" for number in range(800))


@forks
def test_a_forked_child_is_another_writer_with_a_file_of_its_own(ledger: Ledger, folder: Path) -> None:
    ledger.append(*_record(0))

    def work() -> Any:
        ledger.begin_anew()
        error = ledger.append(*_record(1))
        return [ledger.writer, error is None]

    writer, was_written = in_a_child(work)
    ledger.append(*_record(2))
    assert was_written
    assert writer != ledger.writer
    by_writer = {path.name[11:-6]: _ids_of(path) for path in folder.iterdir()}
    assert by_writer == {ledger.writer: ["resp_0", "resp_2"], writer: ["resp_1"]}


def test_a_ledger_can_begin_anew_before_it_has_a_file(ledger: Ledger, folder: Path) -> None:
    before = ledger.writer
    ledger.begin_anew()
    assert ledger.writer != before
    ledger.append(*_record())
    assert [path.name for path in folder.iterdir()] == [f"2026-11-18-{ledger.writer}.jsonl"]


def _ids_of(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def _descriptor(ledger: Ledger) -> int:
    assert ledger._file is not None
    return ledger._file


def test_a_descriptor_that_the_host_closed_is_opened_again(ledger: Ledger, folder: Path) -> None:
    assert ledger.append(*_record(1)) is None
    os.close(_descriptor(ledger))
    assert ledger.append(*_record(2)) is None
    assert len(_ids(folder)) == 2


def test_a_descriptor_that_is_the_hosts_by_now_is_neither_written_to_nor_closed(
    ledger: Ledger, folder: Path, tmp_path: Path
) -> None:
    assert ledger.append(*_record(1)) is None
    number = _descriptor(ledger)
    theirs = tmp_path / "theirs.db"
    with theirs.open("wb", buffering=0) as file:
        # As a daemon does that closes what it inherited and opens files of its own under the same numbers.
        os.dup2(file.fileno(), number)
        assert ledger.append(*_record(2)) is None
        os.write(number, b"theirs")
        ledger.close()
        os.write(number, b" alone")
        os.close(number)
    assert theirs.read_bytes() == b"theirs alone"
    assert len(_ids(folder)) == 2


def test_a_forked_child_is_another_writer_even_if_the_descriptor_was_closed(ledger: Ledger) -> None:
    assert ledger.append(*_record(1)) is None
    os.close(_descriptor(ledger))
    before = ledger.writer
    ledger.begin_anew()
    assert ledger.writer != before
