"""Writes a copy of a ledger, file by file: whole, or not at all, and never over anything that is there.

It is written into a hidden folder beside, which takes its name when it is whole. A program that is killed leaves that
one behind, under a name that no other copy takes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType
    from typing import BinaryIO

_FILE_MODE = 0o600


class LedgerCopy:
    """A copy in the making, as a context manager: if the `with` block fails, what was written is removed again.

    Raises:
        ValueError: it cannot be written there; the sentence says what to do.
    """

    def __init__(self, folder: Path, *, of: Path) -> None:
        """Take the `folder` of the copy, which may exist but must be empty, and the ledger that it is a copy `of`."""
        if folder.resolve().is_relative_to(of.resolve()):
            raise ValueError(f"{folder} lies in the ledger {of}; name a folder outside of it")
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is not a folder; name a new one")
        self.folder = folder
        # A link to a folder is followed, not replaced.
        self._target = folder.resolve()
        if self._target == Path.cwd():
            # The user's shell would go on in the empty folder that the copy took the place of.
            raise ValueError(f"{folder} is the folder you are in; name another one")
        self._unfinished: Path | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        try:
            if self._target.exists() and any(self._target.iterdir()):
                raise ValueError(f"{self.folder} is not empty; name a new folder, or empty this one")
            parent = self._target.parent
            if not parent.exists():
                parent.mkdir(parents=True, exist_ok=True)
            # Only its owner may enter it.
            self._unfinished = Path(tempfile.mkdtemp(prefix=f".{self._target.name}.", suffix=".unfinished", dir=parent))
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        try:
            self._finish()
            if kind is None and self._unfinished is not None:
                # It takes the place of an empty folder, and of nothing else.
                self._unfinished.rename(self._target)
                self._unfinished = None
        except OSError as unwritten:
            raise self._unwritable(unwritten) from error
        finally:
            if self._unfinished is not None:
                shutil.rmtree(self._unfinished, ignore_errors=True)

    def begin(self, name: str) -> None:
        """Begin the file of this name."""
        if self._unfinished is None:
            raise ValueError("the copy was not entered")
        path = self._unfinished / name
        try:
            self._finish()
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE), "wb")
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, line: bytes) -> None:
        """Add a line to the file that was begun last."""
        if self._file is None:
            raise ValueError("no file was begun")
        try:
            self._file.write(line if line.endswith(b"\n") else line + b"\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def _finish(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            # Closing writes what is still in the buffer, and closes even if that fails.
            file.close()

    def _unwritable(self, error: OSError) -> ValueError:
        return ValueError(f"{self.folder} cannot be written: {error.strerror}; name another folder")
