"""Folders of exported bills: which run of an export counts for which days, and which files it is made of.

A run from the first of the month to date repeats the runs before it, so two are never summed: for each day the run that
was submitted last counts. A folder that no manifest describes is all its files.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from realtime_spend.core.reconciliation.bills import BillProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

MANIFEST = "manifest.json"
_BILLS = (".csv", ".csv.gz", ".gz", ".parquet", ".json", ".jsonl")
_PERIOD = re.compile(r"(\d{8})-(\d{8})").fullmatch
_SUBMITTED = re.compile(r"\d{12}").fullmatch
_FRACTION = re.compile(r"(\.\d{6})\d+")
_EXPORTS = re.compile(r"/providers/microsoft\.costmanagement/exports/[^/]*$", re.IGNORECASE)
# The kinds of exports that are of the same money, the most literal first. Others, of prices or reservations, are none.
_KINDS = ("actualcost", "usage", "focuscost", "amortizedcost")
_ALWAYS = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class Run:
    """One run of an export: its files, the days it is about, and which of these a newer run says again."""

    manifest: Path
    files: list[Path]
    first: date
    last: date
    submitted: datetime
    scope: str
    kind: str
    newer: list[tuple[date, date]] = field(default_factory=list)

    def covers(self, day: date) -> bool:
        """Whether this run is the one that counts for a day. Corrections of earlier days are in no other run."""
        return not any(first <= day <= last for first, last in self.newer)

    @property
    def is_superseded(self) -> bool:
        """Whether newer runs say all of it again."""
        day = self.first
        while day <= self.last:
            until = max((last for first, last in self.newer if first <= day <= last), default=None)
            if until is None:
                return False
            day = until.fromordinal(until.toordinal() + 1)
        return True


@dataclass(slots=True, kw_only=True)
class Source:
    """A file to read, and the days that it counts for."""

    path: Path
    covers: Callable[[date], bool]


@dataclass(slots=True, kw_only=True)
class Sources:
    """What paths come to: files to read, what is wrong with their folders, and when the newest of them was made."""

    files: list[Source] = field(default_factory=list)
    problems: list[BillProblem] = field(default_factory=list)
    made: datetime | None = None


def sources_of(paths: Iterable[Path]) -> Sources:
    """Return the files that the paths, of files and folders, come to, each once."""
    found = Sources()
    runs: list[Run] = []
    loose: list[Path] = []
    for path in paths:
        if path.is_dir() or path.name == MANIFEST:
            folder = path if path.is_dir() else path.parent
            described, others = _of_folder(folder, found)
            runs += described
            loose += others
            if not described and not others and not found.problems:
                found.problems.append(BillProblem(message="the folder holds no bill", file=str(path)))
        elif path.exists():
            loose.append(path)
        else:
            found.problems.append(BillProblem(message="there is no such file", file=str(path)))
    counted = _counted({run.manifest.resolve(): run for run in runs}.values(), found)
    found.made = max((run.submitted for run in counted if run.submitted != _ALWAYS), default=None)
    files = [Source(path=file, covers=run.covers) for run in counted for file in run.files]
    files += [Source(path=path, covers=_any) for path in loose]
    found.files = list({source.path.resolve(): source for source in reversed(files)}.values())[::-1]
    return found


def _any(_day: date) -> bool:
    return True


def _of_folder(folder: Path, found: Sources) -> tuple[list[Run], list[Path]]:
    """Return the runs that manifests below a folder describe, and the files that none of them does."""
    manifests = sorted(folder.rglob(MANIFEST))
    runs = [run for manifest in manifests if (run := _run(manifest, found)) is not None]
    owned = tuple(manifest.parent for manifest in manifests)
    loose = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name.lower().endswith(_BILLS)
        and path.name != MANIFEST
        and not any(path.is_relative_to(owner) for owner in owned)
    ]
    return runs, loose


def _run(manifest: Path, found: Sources) -> Run | None:
    """Return what a manifest says, None where it is of no bill or cannot be read."""
    try:
        said = json.loads(manifest.read_text(encoding="utf-8-sig"))
        blobs = [str(blob["blobName"]) for blob in said["blobs"]]
        config, info = said.get("exportConfig") or {}, said.get("runInfo") or {}
        kind = str(config.get("type") or _KINDS[0]).lower()
        if kind not in _KINDS:
            return None
        first, last = _period(manifest, info)
        submitted = _submitted(manifest, info)
    except OSError as error:
        found.problems.append(BillProblem(message=f"the manifest cannot be read: {error.strerror}", file=str(manifest)))
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"the manifest is not one of a cost export ({type(error).__name__}: {error}); its folder was left out"
        found.problems.append(BillProblem(message=message, file=str(manifest)))
        return None
    files = [_part(manifest, blob) for blob in blobs]
    for file in files:
        if not file.exists():
            message = f"the manifest lists {file.name}, which is not there: the days of this run are not complete"
            found.problems.append(BillProblem(message=message, file=str(manifest)))
    scope = _EXPORTS.sub("", str(config.get("resourceId") or config.get("exportName") or ""))
    return Run(
        manifest=manifest,
        files=[file for file in files if file.exists()],
        first=first,
        last=last,
        submitted=submitted,
        scope=scope.lower(),
        kind=kind,
    )


def _part(manifest: Path, blob: str) -> Path:
    """Return where a part lies: as its name ends, which begins with folders of a storage account."""
    parts = blob.replace("\\", "/").split("/")
    for start in range(len(parts)):
        path = manifest.parent.joinpath(*parts[start:])
        if ".." not in parts and path.exists():
            return path
    return manifest.parent / parts[-1]


def _period(manifest: Path, info: dict[str, Any]) -> tuple[date, date]:
    if info.get("startDate") and info.get("endDate"):
        return _instant(info["startDate"]).date(), _instant(info["endDate"]).date()
    named = next((found for folder in manifest.parents if (found := _PERIOD(folder.name))), None)
    if named is None:
        raise ValueError("neither it nor its folder says which days it is about")
    return date.fromisoformat(named[1]), date.fromisoformat(named[2])


def _submitted(manifest: Path, info: dict[str, Any]) -> datetime:
    if info.get("submittedTime"):
        return _instant(info["submittedTime"])
    named = next((folder.name for folder in manifest.parents if _SUBMITTED(folder.name)), None)
    return _ALWAYS if named is None else datetime.strptime(named, "%Y%m%d%H%M").replace(tzinfo=UTC)


def _instant(text: object) -> datetime:
    # Azure writes seven digits behind the point.
    instant = datetime.fromisoformat(_FRACTION.sub(r"\1", str(text)))
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _counted(runs: Iterable[Run], found: Sources) -> list[Run]:
    """Return the runs that count for any day, each knowing which of its days a newer one says again."""
    by_scope: dict[str, list[Run]] = {}
    for run in runs:
        by_scope.setdefault(run.scope, []).append(run)
    counted: list[Run] = []
    for several in by_scope.values():
        counted += _of_scope(several, found)
    return counted


def _of_scope(runs: Sequence[Run], found: Sources) -> list[Run]:
    kinds = sorted({run.kind for run in runs}, key=_KINDS.index)
    for kind in kinds[1:]:
        files = ", ".join(str(run.manifest) for run in runs if run.kind == kind)
        message = f"an export of {kind} says the same money again as one of {kinds[0]}, and only the latter was read"
        found.problems.append(BillProblem(message=message, file=files))
    newest_first = sorted(
        (run for run in runs if run.kind == kinds[0]), key=lambda run: (run.submitted, run.last), reverse=True
    )
    for number, run in enumerate(newest_first):
        run.newer = [(newer.first, newer.last) for newer in newest_first[:number]]
    return [run for run in newest_first if not run.is_superseded]
