"""The exact record: a folder of JSON Lines, one record a usage event, appended with a single write.

A process that is killed loses nothing that it has seen, and writers never share a file: each has a UUID of its own,
because process ids repeat from container to container. Nothing in here raises; the caller is told what was lost.
"""

from __future__ import annotations

import os
import threading
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_FILE_MODE = 0o600
_FOLDER_MODE = 0o700


class Ledger:
    """Appends records to `<YYYY-MM-DD>-<writer>.jsonl` in `folder`, a file a UTC day. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._begin()

    def begin_anew(self) -> None:
        """In a forked child: become a writer of its own. The file stays the parent's."""
        self._close()
        self._begin()

    def append(self, at: str, fields: str) -> OSError | None:
        """Write the record of the instant `at`, as 2026-11-22T10:00:00.123456Z, that has these fields besides.

        Returns what went wrong if it is not in the ledger.
        """
        line = f'{{"v":1,"at":"{at}","writer":"{self.writer}",{fields}}}\n'
        with self._lock:
            return self._tried(at[:10], line.encode())

    def try_again(self) -> OSError | None:
        """Where the newest record could not be written, see whether one could be now; return what keeps it from that.

        Nobody may come with another record while it fails. It writes a blank line as long as the record that is
        missing, where that belonged, which readers pass over; where none is missing it writes nothing.
        """
        with self._lock:
            if self._missed is None:
                return None
            day, length = self._missed
            return self._tried(day, b" " * (length - 1) + b"\n")

    def close(self) -> None:
        """Let go of the file; a later record opens it again."""
        with self._lock:
            self._close()

    def _begin(self) -> None:
        self.writer = str(uuid.uuid4())
        self._lock = threading.RLock()
        self._file: int | None = None
        self._identity = (0, 0)
        self._day = ""
        # Day and length of the newest record if it is missing.
        self._missed: tuple[str, int] | None = None

    def _tried(self, day: str, line: bytes) -> OSError | None:
        try:
            self._write(day, line)
        except OSError as error:
            self._close()
            self._missed = day, len(line)
            return error
        self._missed = None
        return None

    def _write(self, day: str, line: bytes) -> None:
        if self._file is not None and (day != self._day or not self._is_ours(self._file)):
            self._close()
        if self._file is None:
            self.folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            path = self.folder / f"{day}-{self.writer}.jsonl"
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, _FILE_MODE)
            status = os.fstat(self._file)
            self._day, self._identity = day, _identity(status)
            # A line that a full disk cut short ends here, so that the next record begins one of its own.
            if status.st_size and os.pread(self._file, 1, status.st_size - 1) != b"\n":
                line = b"\n" + line
        written = os.write(self._file, line)
        if written < len(line):
            raise OSError(0, f"only {written} of {len(line)} bytes were written")

    def _is_ours(self, file: int) -> bool:
        """Whether the descriptor still is our file, under a name.

        A host that becomes a daemon closes descriptors that are not its own, and may open others under their numbers.
        A removed file would swallow records for ever: it has no name any more, but it can be written to.
        """
        try:
            status = os.fstat(file)
        except OSError:
            self._file = None
            return False
        if (status.st_dev, status.st_ino) != self._identity:
            # Somebody else's by now: neither ours to write to nor ours to close.
            self._file = None
            return False
        return status.st_nlink > 0

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                if _identity(os.fstat(file)) == self._identity:
                    os.close(file)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
