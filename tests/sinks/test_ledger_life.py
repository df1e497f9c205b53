"""A ledger in the long run: a disk that is full and has room again, midnights, and many writers."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from realtime_spend.estimates.ledger import read_ledger
from realtime_spend.sinks.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20.0
TODAY, TOMORROW = "2026-11-18", "2026-11-19"


def record(number: int, day: str = TODAY) -> tuple[str, str]:
    fields = {
        "kind": "response",
        "provider": "openai",
        "server": "api.openai.com",
        "session": "sess_1",
        "id": f"resp_{number:06d}",
        "usage": "reported",
        "quantities": {"text.input": 1},
        "costs": {"text.input": "0.1"},
        "cost": "0.1",
    }
    return f"{day}T10:00:00.000000Z", json.dumps(fields)[1:-1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def ledger(folder: Path) -> Iterator[Ledger]:
    ledger = Ledger(folder)
    yield ledger
    ledger.close()


def file_of(ledger: Ledger, day: str = TODAY) -> Path:
    return ledger.folder / f"{day}-{ledger.writer}.jsonl"


def readable(folder: Path) -> list[int]:
    return sorted(int((entry.id or "").removeprefix("resp_")) for entry in read_ledger(folder).entries)


def unreadable(folder: Path) -> int:
    return len(read_ledger(folder).unreadable)


# --- A full disk -----------------------------------------------------------------------------------------------------


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond `size`: the kernel writes what there is room for, and then refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill_up(ledger: Ledger, number: int, *, after: int, day: str = TODAY) -> OSError | None:
    """Append a record when there is room for so many more bytes."""
    file = file_of(ledger, day)
    with room_for((file.stat().st_size if file.exists() else 0) + after):
        return ledger.append(*record(number, day))


@pytest.fixture
def length(tmp_path: Path) -> int:
    """How long a line is."""
    whole = Ledger(tmp_path / "another")
    assert whole.append(*record(0)) is None
    whole.close()
    return file_of(whole).stat().st_size


def test_wherever_a_full_disk_cuts_a_line_the_others_stay_whole(ledger: Ledger, folder: Path, length: int) -> None:
    for cut in range(length):
        assert ledger.append(*record(2 * cut)) is None
        assert isinstance(fill_up(ledger, 2 * cut + 1, after=cut), OSError)
    assert ledger.append(*record(2 * length)) is None
    # Of the line that was cut last nothing but its newline is missing.
    assert readable(folder) == sorted([*range(0, 2 * length + 1, 2), 2 * length - 1])
    assert unreadable(folder) == length - 2
    assert len(list(folder.iterdir())) == 1


def test_a_disk_that_stays_full_is_an_error_each_time_and_one_torn_line(ledger: Ledger, folder: Path) -> None:
    assert ledger.append(*record(0)) is None
    errors = [fill_up(ledger, number, after=after) for number, after in ((1, 20), (2, 0), (3, 1), (4, 0))]
    assert all(isinstance(error, OSError) for error in errors)
    assert ledger.append(*record(5)) is None
    assert readable(folder) == [0, 5]
    assert unreadable(folder) == 1


def test_a_disk_that_is_full_at_the_very_first_record(ledger: Ledger, folder: Path) -> None:
    assert isinstance(fill_up(ledger, 0, after=0), OSError)
    assert read_ledger(folder).entries == []
    assert isinstance(fill_up(ledger, 1, after=7), OSError)
    assert ledger.append(*record(2)) is None
    assert readable(folder) == [2]
    assert unreadable(folder) == 1


def test_trying_again_writes_nothing_that_is_read_and_only_where_a_record_is_missing(
    ledger: Ledger, folder: Path, length: int
) -> None:
    assert ledger.try_again() is None
    assert not folder.exists()
    assert ledger.append(*record(0)) is None
    size = file_of(ledger).stat().st_size
    assert ledger.try_again() is None
    assert file_of(ledger).stat().st_size == size
    assert isinstance(fill_up(ledger, 1, after=20), OSError)
    for after in (0, 1, 2, length // 2, length - 1):
        with room_for(file_of(ledger).stat().st_size + after):
            assert isinstance(ledger.try_again(), OSError)
    size = file_of(ledger).stat().st_size
    assert ledger.try_again() is None
    assert file_of(ledger).stat().st_size >= size + length
    size = file_of(ledger).stat().st_size
    assert ledger.try_again() is None
    assert file_of(ledger).stat().st_size == size
    assert ledger.append(*record(2)) is None
    assert readable(folder) == [0, 2]
    assert unreadable(folder) == 1


def test_a_forked_child_has_missed_nothing(ledger: Ledger, folder: Path) -> None:
    assert isinstance(fill_up(ledger, 0, after=0), OSError)
    ledger.begin_anew()
    assert ledger.try_again() is None
    assert len(list(folder.iterdir())) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_device_without_room_says_so(ledger: Ledger, folder: Path) -> None:
    folder.mkdir()
    file_of(ledger).symlink_to("/dev/full")
    for number in range(3):
        error = ledger.append(*record(number))
        assert error is not None
        assert error.strerror == "No space left on device"
    file_of(ledger).unlink()
    assert ledger.append(*record(3)) is None
    assert readable(folder) == [3]
    assert unreadable(folder) == 0


def test_threads_on_a_disk_that_fills_up_and_has_room_again_lose_only_what_they_are_told(
    ledger: Ledger, folder: Path
) -> None:
    written: list[int] = []
    refused: list[int] = []
    stop = threading.Event()

    def write(number: int) -> None:
        while not stop.is_set():
            (refused if ledger.append(*record(number)) else written).append(number)
            number += 1

    def one_more_is_in(told: list[int]) -> None:
        ends, before = time.monotonic() + PATIENCE, len(told)
        while len(told) == before:
            assert time.monotonic() < ends
            time.sleep(0.001)

    assert ledger.append(*record(0)) is None
    threads = [threading.Thread(target=write, args=(100_000 * number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            with room_for(file_of(ledger).stat().st_size + 1_000):
                one_more_is_in(refused)
            one_more_is_in(written)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(refused) >= 10
    found = set(readable(folder)) - {0}
    assert found >= set(written)
    # More is found than was said to be written where the newline of a line is all that was refused.
    assert len(found - set(written)) + unreadable(folder) <= len(refused)


# --- Midnight --------------------------------------------------------------------------------------------------------


def test_a_line_that_a_full_disk_tore_before_midnight_tears_none_after_it(ledger: Ledger, folder: Path) -> None:
    """A late record of the old day: it was read before midnight, and another thread was quicker."""
    assert ledger.append(*record(0)) is None
    assert isinstance(fill_up(ledger, 1, after=20), OSError)
    assert ledger.append(*record(2, TOMORROW)) is None
    assert ledger.append(*record(3)) is None
    assert ledger.append(*record(4, TOMORROW)) is None
    assert readable(folder) == [0, 2, 3, 4]
    assert unreadable(folder) == 1


def test_a_disk_that_is_full_at_midnight_holds_both_days_afterwards(ledger: Ledger, folder: Path) -> None:
    assert ledger.append(*record(0)) is None
    assert isinstance(fill_up(ledger, 1, after=20, day=TOMORROW), OSError)
    assert isinstance(fill_up(ledger, 2, after=20), OSError)
    assert ledger.append(*record(3)) is None
    assert ledger.append(*record(4, TOMORROW)) is None
    assert readable(folder) == [0, 3, 4]
    assert unreadable(folder) == 2


def test_threads_across_midnights_write_each_record_to_its_own_day(ledger: Ledger, folder: Path) -> None:
    days = [f"2026-11-{day}" for day in range(10, 20)]

    def write(thread: int) -> None:
        for number in range(100):
            # Neighbours in time, so that a thread is ahead of the others by a day, or behind them.
            day = days[min(number // 10 + (thread + number) % 2, 9)]
            assert ledger.append(*record(1_000 * thread + number, day)) is None

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {file.name[:10] for file in folder.iterdir()} == set(days)
    for file in folder.iterdir():
        assert {json.loads(line)["at"][:10] for line in file.read_text().splitlines()} == {file.name[:10]}
    assert readable(folder) == sorted(1_000 * thread + number for thread in range(8) for number in range(100))
    assert unreadable(folder) == 0


# --- The folder ------------------------------------------------------------------------------------------------------


def test_a_folder_that_a_file_takes_the_place_of_is_an_error_until_it_goes(ledger: Ledger, folder: Path) -> None:
    assert ledger.append(*record(0)) is None
    file_of(ledger).unlink()
    folder.rmdir()
    folder.write_text("in the way", encoding="utf-8")
    assert isinstance(ledger.append(*record(1)), FileExistsError)
    assert isinstance(ledger.append(*record(2)), FileExistsError)
    assert folder.read_text(encoding="utf-8") == "in the way"
    folder.unlink()
    assert ledger.append(*record(3)) is None
    assert readable(folder) == [3]


def test_a_file_that_is_removed_with_a_torn_line_takes_it_along(ledger: Ledger, folder: Path) -> None:
    assert ledger.append(*record(0)) is None
    assert isinstance(fill_up(ledger, 1, after=20), OSError)
    file_of(ledger).unlink()
    assert ledger.append(*record(2)) is None
    assert readable(folder) == [2]
    assert unreadable(folder) == 0


def test_a_folder_whose_parents_are_removed_too_is_made_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "deep" / "deeper" / "ledger")
    assert ledger.append(*record(0)) is None
    file_of(ledger).unlink()
    for folder in (ledger.folder, *ledger.folder.parents[:2]):
        folder.rmdir()
    assert ledger.append(*record(1)) is None
    ledger.close()
    assert readable(ledger.folder) == [1]


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_no_descriptor_is_left_by_errors(ledger: Ledger, folder: Path) -> None:
    assert ledger.append(*record(0)) is None
    before = descriptors()
    for number in range(50):
        assert isinstance(fill_up(ledger, number, after=number % 3), OSError)
        assert ledger.append(*record(1_000 + number, (TODAY, TOMORROW)[number % 2])) is None
    assert descriptors() == before
    ledger.close()
    assert descriptors() == before - 1
    assert len(list(folder.iterdir())) == 2


# --- Many writers ----------------------------------------------------------------------------------------------------

WRITING = """
import os, sys, threading
from pathlib import Path
from realtime_spend.sinks.ledger import Ledger

ledger, first = Ledger(Path(sys.argv[1])), int(sys.argv[2])
os.register_at_fork(after_in_child=ledger.begin_anew)
fields = ('"kind":"response","provider":"openai","server":"api.openai.com","usage":"reported",'
          '"quantities":{},"costs":{},"cost":"0.1","id":"resp_%06d"')
days = ("2026-11-18", "2026-11-19")
started = threading.Barrier(5)

def write(begin, count):
    for number in range(begin, begin + count):
        at = f"{days[number % 2]}T10:00:00.000000Z"
        if ledger.append(at, fields % number) is not None:
            os._exit(3)

def in_a_thread(begin):
    started.wait()
    write(begin, 300)

threads = [threading.Thread(target=in_a_thread, args=(first + 300 * number,)) for number in range(4)]
for thread in threads:
    thread.start()
started.wait()
children = []
# While the threads write: any of them may hold the lock of the ledger at that moment.
for number in range(8):
    child = os.fork()
    if not child:
        write(first + 2000 + 100 * number, 100)
        os._exit(0)
    children.append(child)
statuses = [os.waitpid(child, 0)[1] for child in children]
for thread in threads:
    thread.join()
sys.exit(any(statuses))
"""


def test_processes_with_threads_and_forks_write_every_record_once_into_files_of_their_own(
    folder: Path, tmp_path: Path
) -> None:
    program = tmp_path / "writing.py"
    program.write_text(WRITING, encoding="utf-8")
    command: list[str | Path] = [sys.executable, "-W", "ignore::DeprecationWarning", program, folder]
    running = [
        subprocess.Popen([*command, str(10_000 * number)], stderr=subprocess.PIPE, text=True) for number in range(4)
    ]
    try:
        for process in running:
            _, complained = process.communicate(timeout=60)
            assert (process.returncode, complained) == (0, "")
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.communicate()
    by_writer: dict[str, set[str]] = defaultdict(set)
    for file in folder.iterdir():
        day, writer = file.name[:10], file.name[11:-6]
        lines = [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]
        assert {(line["at"][:10], line["writer"]) for line in lines} == {(day, writer)}
        by_writer[writer].add(day)
    # Four processes, and eight children of each.
    assert len(by_writer) == 4 + 32
    assert all(days == {TODAY, TOMORROW} for days in by_writer.values())
    own = [range(10_000 * number, 10_000 * number + 1_200) for number in range(4)]
    childrens = [range(10_000 * number + 2_000, 10_000 * number + 2_800) for number in range(4)]
    assert readable(folder) == sorted(number for numbers in own + childrens for number in numbers)
    assert (read_ledger(folder).repeated, unreadable(folder)) == (0, 0)
