"""Goes on from what an earlier process has counted of a session of GPT-Live, as far as it is in the ledger.

Such a session says its running total. A process that is started again in the middle of it would count all of that on
its own metrics, beside what the process before it had sent. Ordinary calls say nothing twice.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, BinaryIO

from realtime_spend.core.usage import Kind, Usage
from realtime_spend.estimates.ledger import entry_of, parse_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from realtime_spend.core.endpoints import Endpoint
    from realtime_spend.core.session import Sessions
    from realtime_spend.estimates.ledger import Entry
    from realtime_spend.sinks.ledger import Ledger

ORIGIN = "sideband"
_TOTAL = "audio.duration"
_BLOCK = 1024 * 1024


def resume(endpoint: Endpoint, ledger: Ledger, sessions: Sessions) -> None:
    """Take for counted what others have written of the session of this endpoint. Reads files: not for an event loop."""
    for entry in _written(endpoint, ledger):
        if entry.kind == Kind.RESPONSE:
            sessions.accept(endpoint, Usage(Kind.RESPONSE, entry.id, entry.status, entry.reported))
        # A total whose model nobody had said was written down and not counted.
        elif entry.kind == Kind.LIVE and entry.model is not None and entry.session is not None:
            total = entry.quantities.get(_TOTAL)
            if total is not None:
                sessions.increase(endpoint, entry.session, total)


def _written(endpoint: Endpoint, ledger: Ledger) -> Iterator[Entry]:
    """Yield what sidebands have written of the session; a program that holds it has counts of its own."""
    source = f"{endpoint.provider}.{ORIGIN}"
    where = endpoint.provider, endpoint.server, endpoint.session
    named = encode_basestring_ascii(endpoint.session or "").encode()
    for path in _files(ledger):
        # What cannot be read is counted anew, as without a ledger.
        with suppress(OSError), path.open("rb") as file:
            for line in _lines_with(named, file):
                record = parse_record(line)
                entry = None if record is None or record.get("source") != source else entry_of(record)
                if entry is not None and (entry.provider, entry.server, entry.session) == where:
                    yield entry


def _files(ledger: Ledger) -> list[Path]:
    """Return the files of today and of yesterday, for no session is longer; but for our own, which we have counted."""
    today = datetime.now(UTC).date()
    found = [path for day in (today - timedelta(days=1), today) for path in ledger.folder.glob(f"{day}-*.jsonl")]
    return sorted(path for path in found if not path.stem.endswith(ledger.writer))


def _lines_with(text: bytes, file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines that hold this; most blocks of a large file hold it nowhere, and are not taken apart."""
    while block := file.read(_BLOCK) + file.readline():
        if text in block:
            yield from (line for line in block.split(b"\n") if text in line)
