"""`realtime-spend simulate` as a program of its own: a server that says what it sent."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import fields
from pathlib import Path

import pytest
from websockets.sync.client import connect

from realtime_spend.simulator import SessionOptions, SimulatorOptions, run_in_thread

_COMMAND = [str(Path(sys.executable).with_name("realtime-spend")), "simulate"]


def test_it_serves_until_it_is_interrupted_and_writes_the_truth(tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    command = [*_COMMAND, "--seed", "5", "--truth", str(truth), "--session", "outcomes=cancelled"]
    command += ["--deployment", "voice-prod=gpt-realtime-mini@2025-12-15:datazone"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            socket = url.replace("http", "ws", 1) + "/openai/v1/realtime?model=voice-prod"
            with connect(socket, proxy=None, max_queue=None) as client:
                client.send(json.dumps({"type": "response.create"}))
                while json.loads(client.recv(timeout=10))["type"] != "response.done":
                    pass
            with urllib.request.urlopen(f"{url}/truth", timeout=10) as answer:  # noqa: S310 - ours
                [sent] = json.load(answer)["usages"]
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(20) == 0
    assert (sent["model"], sent["version"], sent["scope"]) == ("gpt-realtime-mini", "2025-12-15", "datazone")
    assert sent["status"] == "cancelled"
    assert json.loads(truth.read_text())["usages"] == [sent]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--session", "deltas"], "--session deltas has no value; write --session deltas=VALUE"),
        (["--session", "deltas=many"], "Error: deltas=many: must be a whole number, 0 to 1000000\n"),
        (["--session", "deltas=-1"], "Error: deltas=-1: must be a whole number"),
        (["--session", "rate=fast"], "Error: rate=fast: must be a number, 0 to"),
        (["--session", "outcomes=completed,lost"], "Error: outcomes=completed,lost: 'lost' is none of completed, "),
        (["--session", "weights=lost:1"], "'lost' is none of completed, "),
        (["--session", "key_order=none"], "Error: key_order=none: 'none' is none of "),
        (["--session", "colour=red"], "Error: colour is not an option; there are: outcomes, weights, "),
        (["--deployment", "voice"], "write NAME=MODEL"),
        (["--port", "70000"], "70000 is not in the range"),
        (["--host", "203.0.113.1"], "203.0.113.1"),
        (["--load", "0"], "0 is not in the range"),
        (["--load", "1", "--host", "203.0.113.1"], "203.0.113.1"),
        (["--load", "1", "--url", "example"], "write http://HOST:PORT"),
        (["--load", "1", "--url", "http://127.0.0.1:1"], "start a simulator there"),
        (["--load", "1", "--url", "http://127.0.0.1:1", "--truth", "t.json"], "leave those options out"),
        (["--url", "http://127.0.0.1:1"], "add --load N"),
        (["--json"], "add --load N"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_sentence(arguments: list[str], sentence: str) -> None:
    done = subprocess.run([*_COMMAND, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said_with_the_address_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = _run("--port", address.rpartition(":")[2])
    assert (done.returncode, done.stderr) == (2, f"Error: {address}: Address already in use; choose another\n")


def test_a_load_on_a_simulator_that_is_not_there_says_so() -> None:
    done = _run("--load", "1", "--url", "http://127.0.0.1:1")
    assert done.returncode == 2
    assert "ssl" not in done.stderr


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_every_option_of_a_session_is_listed_with_what_it_does() -> None:
    done = _run("--options")
    assert done.returncode == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert set(lines) == {field.name for field in fields(SessionOptions)}
    assert lines["fragments"].endswith("frames. Default: 1.")
    assert lines["outcomes"].endswith("Default: completed.")


def test_a_load_prints_the_totals_of_the_truth_and_exits(tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    done = _run("--load", "25", "--concurrency", "5", "--seed", "3", "--json", "--truth", str(truth))
    assert (done.returncode, done.stderr) == (0, "")
    told, sent = json.loads(done.stdout), json.loads(truth.read_text())
    assert told["ended"]["failed"] == 0
    assert told["sessions"] == 25 == len(sent["sessions"])
    assert {key: told[key] for key in ("totals", "cost", "counts")} == {
        key: sent[key] for key in ("totals", "cost", "counts")
    }
    table = _run("--load", "25", "--concurrency", "1", "--seed", "3")
    assert table.returncode == 0
    assert f"{told['cost']}\n" in table.stdout


def test_a_load_can_be_laid_on_a_simulator_that_runs_elsewhere() -> None:
    with run_in_thread(SimulatorOptions(seed=3)) as simulator:
        done = _run("--load", "25", "--seed", "3", "--json", "--url", simulator.url)
        assert simulator.truth.totals_as_json()["cost"] == json.loads(done.stdout)["cost"]
    assert done.returncode == 0


def test_a_load_in_which_a_session_fails_says_so_by_its_exit_status() -> None:
    done = _run("--load", "6", "--seed", "3", "--session", "close_after=1")
    assert done.returncode == 1
    assert "first failure: session" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["simulate", "--load", "5", "--json"], ["prices", "--json"]])
def test_an_answer_that_cannot_be_written_is_one_sentence_and_no_address_is_blamed(arguments: list[str]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        ran = subprocess.run(
            [_COMMAND[0], *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1] == "Error: the output cannot be written: No space left on device"
    assert "Traceback" not in ran.stderr


def test_a_load_that_is_interrupted_writes_the_truth_that_there_was(tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*_COMMAND, "--load", "5000", "--concurrency", "5", "--pace", "5"]
    command += ["--truth", str(truth), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as loading:
        try:
            _wait_for_sessions(f"http://127.0.0.1:{port}/truth/totals")
            loading.send_signal(signal.SIGINT)
            _, said = loading.communicate(timeout=60)
        finally:
            loading.kill()
    assert loading.returncode == 130
    assert "interrupted" in said
    assert json.loads(truth.read_text(encoding="utf-8"))["counts"]["sessions"] >= 1


def _wait_for_sessions(url: str) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - on this machine
            if json.loads(answer.read())["counts"]["sessions"]:
                return
        time.sleep(0.1)
    raise AssertionError("no session was held")
