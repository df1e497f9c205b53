"""Removes the files of a ledger that are older than one wants to keep, and nothing else.

The day is that of the file's name, which is the UTC day of every event in it. A writer holds the file of its newest
event open, and an event of the last moments before midnight is written after it; so today's file and yesterday's may
still grow, and no less than one full day before today is ever kept. Should a file be removed while a writer holds it
all the same, because a clock is wrong, the writer sees that its file has no name any more, and begins it anew.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# As the ledger names them, and nobody else: a day and the UUID of a writer.
_NAME = re.compile(r"(\d{4}-\d\d-\d\d)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.jsonl", re.ASCII)
LEAST_DAYS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFile:
    """A file of the ledger: the events that one writer saw in one UTC day."""

    path: Path
    day: date
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What was removed, or would be; what was kept; and what could not be removed, with the reason."""

    removed: tuple[DayFile, ...]
    kept: tuple[DayFile, ...]
    failed: tuple[tuple[DayFile, str], ...] = ()

    @property
    def size(self) -> int:
        """The bytes that were removed."""
        return sum(file.size for file in self.removed)


def prune(folder: Path, keep_days: int, *, today: date, dry_run: bool = False) -> Pruning:
    """Remove the ledger files in `folder` of days more than `keep_days` before `today`, a UTC day.

    A file that cannot be removed keeps none of the others from being.

    Raises:
        ValueError: there is no such folder, or fewer days than one are to be kept; the sentence says what to do.
    """
    if keep_days < LEAST_DAYS:
        raise ValueError(f"{keep_days} days cannot be kept: keep {LEAST_DAYS} or more, since running programs write")
    files = _day_files(folder)
    removed: list[DayFile] = []
    failed: list[tuple[DayFile, str]] = []
    for file in (file for file in files if (today - file.day).days > keep_days):
        try:
            if not dry_run:
                # Somebody else may prune the same folder: what is gone is gone.
                file.path.unlink(missing_ok=True)
        except OSError as error:
            failed.append((file, error.strerror or str(error)))
        else:
            removed.append(file)
    kept = tuple(file for file in files if (today - file.day).days <= keep_days)
    return Pruning(removed=tuple(removed), kept=kept, failed=tuple(failed))


def _day_files(folder: Path) -> list[DayFile]:
    try:
        with os.scandir(folder) as entries:
            return sorted(_those_of_a_ledger(entries), key=lambda file: file.path.name)
    except FileNotFoundError:
        reason = "it does not exist"
    except NotADirectoryError:
        reason = "it is not a folder"
    except OSError as error:
        reason = error.strerror or str(error)
    raise ValueError(f"{folder} cannot be pruned: {reason}; name the folder that REALTIME_SPEND_LEDGER is set to")


def _those_of_a_ledger(entries: Iterator[os.DirEntry[str]]) -> Iterator[DayFile]:
    for entry in entries:
        named = _NAME.fullmatch(entry.name)
        if named is None:
            continue
        try:
            day = date.fromisoformat(named[1])
            if entry.is_file(follow_symlinks=False):
                yield DayFile(path=Path(entry.path), day=day, size=entry.stat(follow_symlinks=False).st_size)
        except (ValueError, FileNotFoundError):
            # No day of any calendar; or removed by somebody else since.
            continue
