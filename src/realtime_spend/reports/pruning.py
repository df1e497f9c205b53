"""The answer of `realtime-spend prune`: which files were removed, and what could not be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from realtime_spend.reports.printing import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date
    from pathlib import Path

    from rich.console import Console


class DayFile(Protocol):
    """A file of a ledger."""

    @property
    def path(self) -> Path:
        """Where it is, or was."""

    @property
    def day(self) -> date:
        """The UTC day of its events."""

    @property
    def size(self) -> int:
        """Its bytes."""


def pruning_json(
    removed: Sequence[DayFile], kept: Sequence[DayFile], failed: Iterable[tuple[DayFile, str]], *, dry_run: bool
) -> dict[str, Any]:
    """Return what was removed, or with `dry_run` would be, as JSON."""
    return {
        "dry_run": dry_run,
        "removed": [{"file": file.path.name, "day": str(file.day), "bytes": file.size} for file in removed],
        "bytes": sum(file.size for file in removed),
        "kept": len(kept),
        "failed": [{"file": file.path.name, "reason": reason} for file, reason in failed],
    }


def print_pruning(console: Console, removed: Sequence[DayFile], kept: Sequence[DayFile], *, dry_run: bool) -> None:
    """Print a line a file, and what they come to."""
    verb = "would remove" if dry_run else "removed"
    for file in removed:
        console.print(f"{verb} {file.path.name}, {counted(file.size, 'byte')}", soft_wrap=True)
    size = sum(file.size for file in removed)
    since = f"; the oldest is of {min(file.day for file in kept)}" if kept else ""
    console.print(
        f"{verb} {counted(len(removed), 'file')}, {counted(size, 'byte')}; keeps {counted(len(kept), 'file')}{since}",
        soft_wrap=True,
    )
