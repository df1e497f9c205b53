"""Writes a copy of a ledger, file by file: whole, or not at all, and never over anything that is there."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO

_FILE_MODE = 0o600
_FOLDER_MODE = 0o700


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
        self._made_folder = not folder.exists()
        self._made: list[Path] = []
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            is_empty = not any(self.folder.iterdir())
        except OSError as error:
            raise self._unwritable(error) from error
        if not is_empty:
            raise ValueError(f"{self.folder} is not empty; name a new folder, or empty this one")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        try:
            self._finish()
        except OSError as unwritten:
            self._remove()
            raise self._unwritable(unwritten) from error
        if kind is not None:
            self._remove()

    def begin(self, name: str) -> None:
        """Begin the file of this name."""
        path = self.folder / name
        try:
            self._finish()
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE), "wb")
        except OSError as error:
            raise self._unwritable(error) from error
        self._made.append(path)

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

    def _remove(self) -> None:
        for path in self._made:
            with suppress(OSError):
                path.unlink()
        if self._made_folder:
            with suppress(OSError):
                self.folder.rmdir()

    def _unwritable(self, error: OSError) -> ValueError:
        return ValueError(f"{self.folder} cannot be written: {error.strerror}; name another folder")
