"""`realtime-spend simulate` as a program of its own: a server that says what it sent."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from websockets.sync.client import connect

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
        (["--session", "deltas=many"], "sim_deltas=many"),
        (["--session", "colour=red"], "is not an option"),
        (["--deployment", "voice"], "write NAME=MODEL"),
        (["--port", "70000"], "70000 is not in the range"),
        (["--host", "203.0.113.1"], "203.0.113.1"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_sentence(arguments: list[str], sentence: str) -> None:
    done = subprocess.run([*_COMMAND, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
