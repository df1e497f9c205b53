"""Many sessions in a process, many processes on a ledger, and ten thousand sessions one after the other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from realtime_spend.estimates.ledger import read_ledger
from realtime_spend.simulator import RunningSimulator, SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hooks.conftest import MeterOf

TALKING = Path(__file__).with_name("load") / "talking.py"
KILLED = Path(__file__).with_name("load") / "telling.py"
CLIENTS = ("websockets", "websockets in threads", "aiohttp", "websocket-client")
PATIENCE = 900.0
pytestmark = pytest.mark.timeout(1_000)

# Everything that a session can come to, except its being cut off.
MIXED = "completed:6,cancelled:2,incomplete:1,failed:1,usage_missing:1,unsplit_cache:1,no_details:1"


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with run_in_thread(SimulatorOptions(seed=17)) as running:
        yield running


@dataclass
class Running:
    """A client program and where it writes its metrics."""

    process: subprocess.Popen[str]
    points: Path

    def outcome(self) -> dict[str, Any]:
        said, complained = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, complained
        # Not one line of ours either: nothing was lost, nothing was doubtful.
        assert complained == ""
        found: dict[str, Any] = json.loads(said)
        return found


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "REALTIME_"))}


class Load:
    """Starts client programs against one simulator and on one ledger."""

    def __init__(self, simulator: RunningSimulator, folder: Path) -> None:
        self._simulator, self._folder = simulator, folder
        self.ledger = folder / "ledger"
        self._points: list[Path] = []
        self._started: list[subprocess.Popen[str]] = []

    def plan(self, *, sim: dict[str, object] | None = None, model: str = "gpt-realtime", **said: object) -> Any:
        options = {"deltas": 2, "delta_bytes": 64, **(sim or {})}
        query = urlencode({"model": model, **{f"sim_{name}": value for name, value in options.items()}})
        return {"url": f"ws://127.0.0.1:{self._simulator.port}/v1/realtime?{query}", **said}

    def start(self, client: str, *plans: Any) -> Running:
        points = self._folder / f"points-{len(self._started)}.json"
        order = {"client": client, "ledger": str(self.ledger), "points": str(points), "plans": plans}
        process = subprocess.Popen(
            [sys.executable, TALKING, json.dumps(order)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=self._folder,
        )
        self._started.append(process)
        self._points.append(points)
        return Running(process=process, points=points)

    def metrics(self) -> str:
        """Return, as JSON, the metrics of all programs."""
        return json.dumps([metric for file in self._points for metric in json.loads(file.read_text(encoding="utf-8"))])

    def stop(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def load(simulator: RunningSimulator, tmp_path: Path) -> Iterator[Load]:
    load = Load(simulator, tmp_path)
    yield load
    load.stop()


def has_nothing_left(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert after["tasks"] == before["tasks"] == 0
    assert after["threads"] == before["threads"] == ["MainThread"]
    assert after["descriptors"] == before["descriptors"]


@pytest.mark.parametrize("client", CLIENTS)
def test_two_hundred_sessions_open_at_once_are_counted_exactly(
    client: str, load: Load, simulator: RunningSimulator, meter_of: MeterOf
) -> None:
    plan = load.plan(sim={"weights": MIXED}, sessions=200, at_once=200, turns=3, speech_ms=500)
    outcome = load.start(client, plan).outcome()
    assert outcome["most_open"] == 200
    has_nothing_left(outcome["weights"][0], outcome["weights"][-1])
    simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert (truth["counts"]["responses"], truth["counts"]["transcriptions"]) == (600, 600)
    meter_of(load.metrics(), load.ledger).agrees_with(truth)


def seconds_of_speech(truth: dict[str, Any]) -> float:
    """Tell how long was spoken: a user's second is ten tokens of audio, an assistant's twenty."""
    spoken = {"transcription": ("audio.input", 10), "response": ("audio.output", 20)}
    said = ((usage["quantities"], *spoken[usage["kind"]]) for usage in truth["usages"])
    return sum(float(quantities.get(part, 0)) / rate for quantities, part, rate in said)


def test_eight_processes_write_an_hour_of_speech_into_one_ledger(
    load: Load, simulator: RunningSimulator, meter_of: MeterOf
) -> None:
    plans = [
        load.plan(
            sim={"weights": MIXED, "repeat": number % 2},
            model=("gpt-realtime", "gpt-realtime-mini")[number % 2],
            sessions=10,
            at_once=5,
            turns=5,
            speech_ms=8_000,
        )
        for number in range(8)
    ]
    running = [load.start(CLIENTS[number // 2 % len(CLIENTS)], plan) for number, plan in enumerate(plans)]
    assert [one.outcome()["most_open"] for one in running] == [5] * 8
    simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert truth["counts"]["sessions"] == 80
    assert seconds_of_speech(truth) >= 3600
    meter = meter_of(load.metrics(), load.ledger)
    meter.agrees_with(truth)
    has_one_file_a_writer_and_day(load.ledger, writers=8)


def has_one_file_a_writer_and_day(folder: Path, *, writers: int) -> None:
    days: dict[str, set[str]] = defaultdict(set)
    for file in folder.iterdir():
        text = file.read_bytes()
        assert text.endswith(b"}\n")
        records = [json.loads(line) for line in text.split(b"\n")[:-1]]
        places = {(record["at"][:10], record["writer"]) for record in records}
        assert {f"{day}-{writer}.jsonl" for day, writer in places} == {file.name}
        for day, writer in places:
            days[writer].add(day)
    assert len(days) == writers
    assert sum(len(of) for of in days.values()) == len(list(folder.iterdir()))


@pytest.mark.parametrize("turns", [25, 1_000_000], ids=["at rest", "at work"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_has_written_whatever_its_clients_have_seen(
    number: signal.Signals, turns: int, simulator: RunningSimulator, tmp_path: Path
) -> None:
    url = f"ws://127.0.0.1:{simulator.port}/v1/realtime?model=gpt-realtime&sim_deltas=1"
    command: list[str | Path] = [sys.executable, KILLED, url, tmp_path / "ledger", str(turns)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            assert process.stdout is not None
            # Ten sessions: at rest, this is all that they ever tell.
            told = [process.stdout.readline() for _ in range(500)]
            process.send_signal(number)
            told += process.stdout
            assert process.wait(PATIENCE) == -number
        finally:
            process.kill()
    simulator.wait_idle()
    sent = {usage["id"]: usage for usage in simulator.truth.as_json()["usages"]}
    reading = read_ledger(tmp_path / "ledger")
    assert (reading.unreadable, reading.repeated) == ([], 0)
    written = {entry.id: entry for entry in reading.entries}
    seen = {line.removesuffix("\n") for line in told if line.endswith("\n")}
    assert len(seen) >= 500
    assert seen <= written.keys() <= sent.keys()
    assert all(str(entry.cost) == sent[entry.id or ""]["cost"] for entry in reading.entries)


@pytest.mark.parametrize("client", CLIENTS[1:])
def test_sessions_of_any_client_leave_nothing_behind(
    client: str, load: Load, simulator: RunningSimulator, meter_of: MeterOf
) -> None:
    asked = load.plan(sim={"deltas": 1}, sessions=500, at_once=50, turns=1)
    left = load.plan(sim={"outcomes": "never_finished"}, sessions=500, at_once=50, turns=0, leaves_early=True)
    outcome = load.start(client, asked, left, asked, left).outcome()
    first, _, before, _, after, last = outcome["weights"]
    assert after["objects"] == before["objects"]
    assert after["blocks"] - before["blocks"] < 1_000 / 4
    has_nothing_left(before, after)
    has_nothing_left(first, last)
    simulator.wait_idle()
    meter_of(load.metrics(), load.ledger).agrees_with(simulator.truth.as_json())


def test_ten_thousand_sessions_leave_nothing_behind(load: Load, simulator: RunningSimulator, meter_of: MeterOf) -> None:
    spoken = load.plan(sessions=500, at_once=50, turns=1, speech_ms=500)
    asked = load.plan(sim={"deltas": 1}, at_once=50, turns=1)
    left = load.plan(sim={"deltas": 1, "outcomes": "never_finished"}, at_once=50, turns=0, leaves_early=True)
    plans = [{**asked, "sessions": 750}, {**left, "sessions": 750}, spoken]
    plans += [{**asked, "sessions": 3_750}, {**left, "sessions": 3_750}, spoken]
    outcome = load.start("websockets", *plans).outcome()
    first, _, _, before, _, _, after, last = outcome["weights"]
    assert after["objects"] == before["objects"]
    # Eight thousand sessions: a block for every fourth, or 20 bytes in large ones for each, would be more than this.
    assert after["blocks"] - before["blocks"] < 8_000 / 4
    assert after["large"] - before["large"] < 8_000 * 20
    has_nothing_left(before, after)
    has_nothing_left(first, last)
    simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert (truth["counts"]["sessions"], truth["counts"]["lost"]) == (10_000, 4_500)
    meter_of(load.metrics(), load.ledger).agrees_with(truth)
