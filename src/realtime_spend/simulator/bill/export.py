"""Lays a bill out as Azure delivers exports: a folder a month, in it a folder a run, with its parts and their manifest.

Runs of the month to date are cumulative, and each is kept: whoever adds two of them up has counted twice.
"""

from __future__ import annotations

import gzip
import json
import uuid
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from realtime_spend.simulator.bill.azure import month_of

if TYPE_CHECKING:
    from pathlib import Path

_MONTH = "%Y%m%d"
_ZERO_PADDED = "0001"


def write_run(
    folder: Path,
    text: str,
    month: date,
    submitted: datetime,
    *,
    export: str = "voice-costs",
    version: str = "2024-08-01",
    kind: str = "ActualCost",
    parts: int = 2,
    compressed: bool = False,
) -> Path:
    """Write one run of a month into the export's folder, in so many parts, and return the folder of the run."""
    first, last = month_of(month)
    run = uuid.uuid5(uuid.NAMESPACE_URL, f"{export}/{submitted.isoformat()}")
    root = folder / export / f"{first.strftime(_MONTH)}-{last.strftime(_MONTH)}"
    target = root / submitted.strftime("%Y%m%d%H%M") / str(run)
    target.mkdir(parents=True)
    written = [_write_part(target, number, part, compressed=compressed) for number, part in _split(text, parts)]
    blobs: list[dict[str, Any]] = [
        {"blobName": path.relative_to(folder).as_posix(), "byteCount": path.stat().st_size, "dataRowCount": rows}
        for path, rows in written
    ]
    manifest = {
        "manifestVersion": "2024-04-01",
        "byteCount": sum(blob["byteCount"] for blob in blobs),
        "blobCount": len(blobs),
        "dataRowCount": sum(rows for _, rows in written),
        "exportConfig": _export_config(export, version, kind),
        "deliveryConfig": {
            "partitionData": True,
            "dataOverwriteBehavior": "CreateNewReport",
            "fileFormat": "Csv",
            "compressionMode": "Gzip" if compressed else "None",
            "containerUri": "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/exports",
            "rootFolderPath": "",
        },
        "runInfo": {
            "executionType": "Scheduled",
            "submittedTime": submitted.isoformat().replace("+00:00", "Z"),
            "runId": str(run),
            "startDate": f"{first.isoformat()}T00:00:00",
            "endDate": f"{last.isoformat()}T00:00:00",
        },
        "blobs": blobs,
    }
    (target / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return target


def _export_config(export: str, version: str, kind: str) -> dict[str, Any]:
    return {
        "exportName": export,
        "resourceId": f"/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/exports/{export}",
        "dataVersion": version,
        "apiVersion": "2025-03-01",
        "type": kind,
        "timeFrame": "MonthToDate",
        "granularity": "Daily",
    }


def _split(text: str, parts: int) -> list[tuple[int, str]]:
    header, *rows = text.splitlines(keepends=True)
    size = max(1, -(-len(rows) // parts))
    chunks = [rows[start : start + size] for start in range(0, len(rows), size)] or [[]]
    return [(number, "".join([header, *chunk])) for number, chunk in enumerate(chunks, start=1)]


def _write_part(target: Path, number: int, text: str, *, compressed: bool) -> tuple[Path, int]:
    path = target / f"part_{number - 1}_{_ZERO_PADDED}.csv{'.gz' if compressed else ''}"
    # With the mark at its front that the services put there.
    data = text.encode("utf-8-sig")
    path.write_bytes(gzip.compress(data, mtime=0) if compressed else data)
    return path, text.count("\n") - 1


def next_morning(day: date) -> datetime:
    """Return when the run of a day is submitted."""
    return datetime.combine(day + timedelta(days=1), time(5, 30), tzinfo=UTC)
