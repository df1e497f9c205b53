"""A ledger that cannot be written: the program sees what it would have seen, and a counter and one log line tell."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect

from realtime_spend.containment import Containment
from realtime_spend.estimates.ledger import read_ledger
from realtime_spend.simulator import RunningSimulator, SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hooks.conftest import Meter, MeterOf, MeterWith

PROGRAM = Path(__file__).with_name("load") / "troubled.py"
PATIENCE = 60.0
WAYS = ("on an event loop", "in threads")
LEDGER = "ledger"


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """How many records a trouble costs: at least so many, of which one is half written or none."""

    lost: int
    torn: int = 0
    removed: int = 0


# Three turns are in trouble, of a transcription and a response each. Two turns came before it, or come afterwards.
TROUBLES = {
    "no room": Trouble(lost=6),
    "no room for a whole line": Trouble(lost=6, torn=1),
    "no room from the start": Trouble(lost=6),
    "a full device from the start": Trouble(lost=6),
    "no writing from the start": Trouble(lost=6),
    "a file in its place": Trouble(lost=6, removed=4),
    "removed": Trouble(lost=0, removed=4),
    "removed for good": Trouble(lost=6, removed=4),
}
RECORDS = 14


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a program said of a session, and what the simulator said of it."""

    seen: list[str]
    log: list[str]
    metrics: str
    folder: Path
    truth: dict[str, Any]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str, str], Told]:
    """Run a program in one of the ways, with a ledger in trouble, against a simulator that always does the same."""

    def go(way: str, trouble: str) -> Told:
        place = tmp_path / trouble.replace(" ", "-")
        place.mkdir()
        with run_in_thread(SimulatorOptions(seed=23)) as simulator:
            url = f"ws://127.0.0.1:{simulator.port}/v1/realtime?model=gpt-realtime"
            order = {"client": way, "url": url, "ledger": str(place / LEDGER), "trouble": trouble}
            said = _said_by(order)
            simulator.wait_idle()
            truth = simulator.truth.as_json()
        # The disk of the program has gone with it, and took the files along.
        folder = place / "copies"
        folder.mkdir()
        for name, text in said["files"].items():
            (folder / name).write_text(text, encoding="utf-8")
        seen, metrics = [_without_instants(frame) for frame in said["seen"]], json.dumps(said["metrics"])
        return Told(seen=seen, log=said["log"], metrics=metrics, folder=folder, truth=truth)

    return go


def _said_by(order: dict[str, str]) -> Any:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "REALTIME_"))}
    ran = subprocess.run(
        [sys.executable, PROGRAM, json.dumps(order)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=kept,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return json.loads(ran.stdout)


def _without_instants(frame: str) -> str:
    if not frame.startswith("{"):
        return frame
    event = json.loads(frame)
    event.get("session", {}).pop("expires_at", None)
    return json.dumps(event)


@pytest.mark.parametrize("way", WAYS)
def test_a_ledger_in_trouble_is_counted_and_said_once_and_nothing_else_changes(
    way: str, run: Callable[[str, str], Told], meter_of: MeterOf
) -> None:
    healthy = run(way, "nothing")
    assert healthy.log == []
    as_usual = meter_of(healthy.metrics, healthy.folder)
    as_usual.agrees_with(healthy.truth)
    assert len(as_usual.records()) == RECORDS
    for trouble, expected in TROUBLES.items():
        told = run(way, trouble)
        assert told.seen == healthy.seen, trouble
        meter = meter_of(told.metrics, told.folder)
        assert meter.totals() == as_usual.totals(), trouble
        assert meter.sessions() == as_usual.sessions() == 1
        lost = {"ledger": float(expected.lost)} if expected.lost else {}
        assert meter.errors() == as_usual.errors() | lost, trouble
        assert len(told.log) == bool(lost), (trouble, told.log)
        assert all("usage is missing from it" in line and LEDGER in line for line in told.log)
        is_left(told, missing=expected.lost + expected.removed, torn=expected.torn)


@pytest.mark.usefixtures("disk_can_be_mounted")
@pytest.mark.parametrize("way", WAYS)
def test_a_disk_that_is_really_full_and_has_room_again(
    way: str, run: Callable[[str, str], Told], meter_of: MeterOf
) -> None:
    """How much fits into its last block is the file system's affair; what did not fit is counted."""
    healthy, told = run(way, "nothing"), run(way, "a full disk")
    assert told.seen == healthy.seen
    meter = meter_of(told.metrics, told.folder)
    as_usual = meter_of(healthy.metrics, healthy.folder)
    assert meter.totals() == as_usual.totals()
    lost = meter.errors().pop("ledger")
    assert 0 < lost <= 6
    assert len(told.log) == 1
    is_left(told, missing=int(lost), torn=1)


def is_left(told: Told, *, missing: int, torn: int) -> None:
    """Check that a ledger lacks so many records, and none of those after the trouble; the others are right."""
    sent = {(usage["kind"], usage["id"]): usage for usage in told.truth["usages"]}
    reading = read_ledger(told.folder)
    written = {(entry.kind, entry.id): entry for entry in reading.entries}
    assert len(sent) - len(written) == missing
    assert len(reading.unreadable) == torn
    assert reading.repeated == 0
    # Two turns come after it: two transcriptions, two responses.
    assert set(list(sent)[-4:]) <= written.keys()
    for key, entry in written.items():
        assert str(entry.cost) == sent[key]["cost"]


# --- What comes together with a loss ---------------------------------------------------------------------------------


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with run_in_thread(SimulatorOptions(seed=29)) as running:
        yield running


async def talk(simulator: RunningSimulator, between: Callable[[int], None], turns: int = 3) -> None:
    url = f"ws://127.0.0.1:{simulator.port}/v1/realtime?model=gpt-realtime&sim_deltas=1"
    async with asyncio.timeout(PATIENCE), connect(url, proxy=None) as connection:
        for turn in range(turns):
            between(turn)
            await connection.send(json.dumps({"type": "response.create"}))
            while json.loads(await connection.recv())["type"] != "rate_limits.updated":
                pass


def test_a_log_handler_that_raises_costs_no_count(
    simulator: RunningSimulator, meter_with: MeterWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host's logging may write to the same full disk."""

    class Full(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Containment, "reraise", False)
    log, handler = logging.getLogger("realtime_spend"), Full()
    log.addHandler(handler)
    try:
        with meter_with() as meter:
            meter.folder.write_text("in the way", encoding="utf-8")
            asyncio.run(talk(simulator, lambda _turn: None))
            simulator.wait_idle()
            assert meter.errors() == {"ledger": 3}
            assert meter.sum("realtime_spend.usages", usage="reported") == 3
            meter.folder.unlink()
    finally:
        log.removeHandler(handler)


# --- Midnight --------------------------------------------------------------------------------------------------------


def test_a_session_across_midnight_writes_two_files_and_counts_as_ever(
    simulator: RunningSimulator, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of the host is set so that the first of three turns ends before midnight in UTC."""
    evening = int(datetime(2026, 11, 22, 23, 59, 50, tzinfo=UTC).timestamp()) * 1_000_000_000
    later = {"nanoseconds": 0}
    begun = time.monotonic_ns()
    clock = SimpleNamespace(time_ns=lambda: evening + time.monotonic_ns() - begun + later["nanoseconds"])

    def midnight(turn: int) -> None:
        if turn == 1:
            later["nanoseconds"] = 3600 * 1_000_000_000

    monkeypatch.setattr("realtime_spend.watcher.time", clock)
    asyncio.run(talk(simulator, midnight))
    simulator.wait_idle()
    meter.agrees_with(simulator.truth.as_json())
    files = {file.name[:10]: file.read_text(encoding="utf-8").splitlines() for file in meter.folder.iterdir()}
    assert {day: len(lines) for day, lines in files.items()} == {"2026-11-22": 1, "2026-11-23": 2}
    assert all(json.loads(line)["at"].startswith(day) for day, lines in files.items() for line in lines)
    assert len({file.name[11:] for file in meter.folder.iterdir()}) == 1
    [point] = meter.points("realtime_spend.session.duration")
    assert 3600 < getattr(point, "sum", 0) < 3600 + 2 * PATIENCE
