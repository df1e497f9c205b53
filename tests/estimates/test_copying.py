from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from realtime_spend.estimates.copying import LedgerCopy
from realtime_spend.estimates.ledger import ledger_files


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    folder = tmp_path / "ledger"
    folder.mkdir()
    (folder / "2026-11-18-w.jsonl").write_bytes(b"{}\n")
    return folder


def _copied(folder: Path, ledger: Path, *lines: bytes) -> None:
    with LedgerCopy(folder, of=ledger) as copy:
        copy.begin("2026-11-18-w.jsonl")
        for line in lines:
            copy.write(line)


def test_a_copy_holds_the_lines_of_each_file_and_is_for_its_owner_alone(ledger: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "copy"
    with LedgerCopy(folder, of=ledger) as copy:
        for name in ("a.jsonl", "b.jsonl"):
            copy.begin(name)
            copy.write(b"1\n")
            copy.write(b"torn")
    for name in ("a.jsonl", "b.jsonl"):
        assert (folder / name).read_bytes() == b"1\ntorn\n"
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_empty_folder_is_taken(ledger: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    _copied(folder, ledger, b"1\n")
    assert (folder / "2026-11-18-w.jsonl").read_bytes() == b"1\n"


@pytest.mark.parametrize("where", ["ledger", "ledger/copy", "ledger/deep/copy", "link/copy", "link"])
def test_a_copy_within_the_ledger_is_refused(where: str, ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ledger)
    with pytest.raises(ValueError, match=r"lies in the ledger .* name a folder outside"):
        LedgerCopy(tmp_path / where, of=ledger)
    assert [path.name for path in ledger.iterdir()] == ["2026-11-18-w.jsonl"]


def test_nothing_is_written_where_something_is(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="file is not a folder"):
        _copied(tmp_path / "file", ledger)
    with pytest.raises(ValueError, match="is not empty"):
        _copied(tmp_path, ledger)
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "2026-11-18-w.jsonl").exists()


def test_a_folder_that_cannot_be_made_is_said_in_a_sentence(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="copy cannot be written: Not a directory; name another folder"):
        _copied(tmp_path / "file" / "copy", ledger)


def test_one_file_is_never_begun_twice_and_none_is_no_file(ledger: Path, tmp_path: Path) -> None:
    with LedgerCopy(tmp_path / "copy", of=ledger) as copy:
        with pytest.raises(ValueError, match="no file was begun"):
            copy.write(b"1")
        copy.begin("a.jsonl")
        with pytest.raises(ValueError, match="cannot be written: File exists"):
            copy.begin("a.jsonl")


def test_what_fails_on_the_way_leaves_nothing_behind(ledger: Path, tmp_path: Path) -> None:
    def interrupt() -> None:
        with LedgerCopy(tmp_path / "copy", of=ledger) as copy:
            copy.begin("a.jsonl")
            copy.write(b"1\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert not (tmp_path / "copy").exists()
    (tmp_path / "copy").mkdir()
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert list((tmp_path / "copy").iterdir()) == [], "the folder was there before and stays"


_KILLED = """
import os, signal, sys
from pathlib import Path
from realtime_spend.estimates.copying import LedgerCopy

with LedgerCopy(Path(sys.argv[2]), of=Path(sys.argv[1])) as copy:
    copy.begin("2026-11-18-w.jsonl")
    copy.write(b"{}\\n" * 100_000)
    os.kill(os.getpid(), getattr(signal, sys.argv[3]))
"""


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGKILL"])
def test_a_program_that_is_killed_leaves_no_part_of_a_copy(
    signal_name: str, ledger: Path, tmp_path: Path, *, is_there: bool
) -> None:
    folder = tmp_path / "copy"
    if is_there:
        folder.mkdir()
    command = [sys.executable, "-c", _KILLED, str(ledger), str(folder), signal_name]
    done = subprocess.run(command, timeout=60, check=False)
    assert done.returncode == -signal.Signals[signal_name]
    with pytest.raises(ValueError, match="holds no ledger file" if is_there else "does not exist"):
        ledger_files(folder)
    left = [path.name for path in tmp_path.iterdir() if path not in (ledger, folder)]
    assert [name for name in left if not name.startswith(".copy.")] == []
    _copied(folder, ledger, b"1\n")
    assert (folder / "2026-11-18-w.jsonl").read_bytes() == b"1\n"


def test_a_copy_is_there_when_it_is_whole(ledger: Path, tmp_path: Path) -> None:
    with LedgerCopy(tmp_path / "copy", of=ledger) as copy:
        copy.begin("a.jsonl")
        copy.write(b"1\n")
        assert not (tmp_path / "copy").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "ledger"]


def test_what_came_into_the_folder_in_the_meantime_is_kept(ledger: Path, tmp_path: Path) -> None:
    def write() -> None:
        with LedgerCopy(tmp_path / "copy", of=ledger) as copy:
            copy.begin("a.jsonl")
            (tmp_path / "copy").mkdir()
            (tmp_path / "copy" / "mine").touch()

    with pytest.raises(ValueError, match="copy cannot be written: Directory not empty"):
        write()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "ledger"]
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["mine"]


def test_a_link_to_an_empty_folder_is_followed(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "copy")
    _copied(tmp_path / "link", ledger, b"1\n")
    assert (tmp_path / "copy" / "2026-11-18-w.jsonl").read_bytes() == b"1\n"


def test_the_folder_where_a_program_stands_is_refused(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would go on in the empty one that the copy took the place of.
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    with pytest.raises(ValueError, match="is the folder you are in; name another one"):
        LedgerCopy(Path(), of=ledger)


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from realtime_spend.estimates.copying import LedgerCopy

ledger, folder, size = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5, 5))
try:
    with LedgerCopy(folder, of=ledger) as copy:
        copy.begin("a.jsonl")
        copy.write(b"x" * size)
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("size", [10, 100_000], ids=["at the end", "on the way"])
def test_a_disk_that_is_full_leaves_nothing_behind(size: int, ledger: Path, tmp_path: Path) -> None:
    # A limit on the size of files stands for it, in a program of its own.
    command = [sys.executable, "-c", _FULL_DISK, str(ledger), str(tmp_path / "copy"), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "copy cannot be written: File too large; name another folder" in done.stdout
    assert not (tmp_path / "copy").exists()
