"""What of a ledger is gone on from: of which days, from which place in a file, and nothing that is our own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from realtime_spend.core.endpoints import recognise
from realtime_spend.core.session import Sessions
from realtime_spend.sideband.resuming import resume
from realtime_spend.sinks.ledger import Ledger

if TYPE_CHECKING:
    from pathlib import Path

_ENDPOINT = recognise("api.openai.com", 443, "/v1/live/sessions/sess_1/attach", "")
_BLOCK = 1024 * 1024


def record(session: str, seconds: str) -> str:
    fields = {
        "source": "openai.sideband",
        "kind": "live",
        "provider": "openai",
        "server": "api.openai.com",
        "session": session,
        "id": session,
        "usage": "reported",
        "model": "gpt-live-1",
        "quantities": {"audio.duration": seconds},
        "costs": {"audio.duration": "0.01"},
        "cost": "0.01",
    }
    return json.dumps(fields)[1:-1]


def at(days_ago: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days_ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def counted(ledger: Ledger) -> Decimal:
    """How much of 100 seconds is known."""
    assert _ENDPOINT is not None
    sessions = Sessions()
    resume(_ENDPOINT, ledger, sessions)
    increase, is_first = sessions.increase(_ENDPOINT, "sess_1", Decimal(100))
    assert is_first == (increase == 100)
    return 100 - increase


@pytest.mark.parametrize(("days_ago", "expected"), [(0, 7), (1, 7), (2, 0)])
def test_the_files_of_today_and_yesterday_are_read(days_ago: int, expected: int, tmp_path: Path) -> None:
    before = Ledger(tmp_path)
    assert before.append(at(days_ago), record("sess_1", "7")) is None
    before.close()
    assert counted(Ledger(tmp_path)) == expected


def test_the_greatest_counts_and_what_this_process_has_written_does_not(tmp_path: Path) -> None:
    one, other, own = Ledger(tmp_path), Ledger(tmp_path), Ledger(tmp_path)
    for ledger, seconds in ((one, "3"), (other, "12.5"), (one, "4"), (own, "50")):
        assert ledger.append(at(0), record("sess_1", seconds)) is None
        ledger.close()
    assert counted(own) == Decimal("12.5")
    assert counted(Ledger(tmp_path)) == 50


@pytest.mark.parametrize("offset", [0, 1, 17, 300])
def test_a_record_is_found_wherever_it_lies_in_a_large_file(offset: int, tmp_path: Path) -> None:
    before = Ledger(tmp_path)
    assert before.append(at(0), record("sess_2", "1")) is None
    [file] = tmp_path.iterdir()
    with file.open("ab") as end:
        end.write(b" " * (_BLOCK - file.stat().st_size - offset - 1) + b"\n")
    assert before.append(at(0), record("sess_1", "7")) is None
    for _ in range(10_000):
        assert before.append(at(0), record("sess_2", "2")) is None
    before.close()
    assert file.stat().st_size > 3 * _BLOCK
    assert counted(Ledger(tmp_path)) == 7


def test_where_there_is_no_ledger_yet_there_is_nothing(tmp_path: Path) -> None:
    assert counted(Ledger(tmp_path / "nothing")) == 0
