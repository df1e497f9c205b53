"""`realtime-spend simulate --bill`: what the provider would send for sessions that were really held."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from realtime_spend import simulator

if TYPE_CHECKING:
    from tests.conftest import Run

_COMMAND = [str(Path(sys.executable).with_name("realtime-spend")), "simulate"]


def test_a_load_ends_with_its_bill_and_what_was_injected(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "bills"
    answer = run(
        "simulate", "--load", 20, "--json", "--bill", folder, "--fault", "discount=0.9", "--fault", "day-shift"
    )
    assert answer.status == 0
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    assert truth["cost"] == answer.json["cost"]
    [page] = json.loads((folder / "bill" / "costs.json").read_text(encoding="utf-8"))
    results = [result for bucket in page["data"] for result in bucket["results"]]
    billed = sum(Decimal(one["amount"]["value"]) for one in results if one["project_id"] == "contoso-voice")
    injected = json.loads((folder / "injected.json").read_text(encoding="utf-8"))
    moved = sum(Decimal(one["cost"]) for one in injected)
    assert {"discount", "day_shift"} <= {one["fault"] for one in injected}
    # A second has no finite price.
    assert abs(billed - moved - Decimal(truth["cost"])) < Decimal("1e-9")


def test_a_server_that_is_interrupted_writes_the_bill_of_its_sessions(tmp_path: Path) -> None:
    command = [*_COMMAND, "--bill", str(tmp_path / "bills"), "--bill-form", "azure-ea"]
    command += ["--truth", str(tmp_path / "truth.json"), "--deployment", "voice=gpt-realtime-mini@2025-12-15:datazone"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            socket = url.replace("http", "ws", 1) + "/openai/v1/realtime?model=voice"
            with connect(socket, proxy=None, max_queue=None) as client:
                client.send(json.dumps({"type": "response.create"}))
                while json.loads(client.recv(timeout=10))["type"] != "response.done":
                    pass
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(20) == 0
    assert json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))["usages"]
    bill = (tmp_path / "bills" / "bill" / "cost-details.csv").read_text(encoding="utf-8")
    assert ",gpt rt aud mn out DZ 1215 1M Tokens," in bill
    assert json.loads((tmp_path / "bills" / "injected.json").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--fault", "discount"], "--fault is about the bill; add --bill DIR"),
        (["--bill", "new", "--bill-form", "paper"], "--bill-form paper is none; write one of azure-ea, "),
        (["--bill", "new", "--fault", "theft"], "'theft' is no fault of a bill; write one of unobserved-traffic"),
        (["--bill", "full"], "full is not empty; name a new folder for the bill"),
        (["--bill", "file"], "file cannot be written (File exists); name another folder"),
        (["--bill", "new", "--url", "http://127.0.0.1:1"], "has its own truth, bill, sessions and deployments"),
        (["--bill", "new", "--bill-form", "azure-mca"], "hold sessions there, or choose another form"),
    ],
)
def test_what_cannot_be_billed_is_refused_in_a_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "costs.json").write_text("[]")
    (tmp_path / "file").write_text("")
    answer = run("simulate", "--load", 2, *arguments)
    assert answer.status == 2
    assert sentence in answer.err


def test_parquet_without_duckdb_is_refused_in_a_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    answer = run("simulate", "--load", 2, "--bill", tmp_path / "bills", "--bill-form", "focus-parquet")
    assert answer.status == 2
    assert answer.out == "", "before any session was held"
    assert "pip install 'realtime-spend[reconcile]'" in answer.err


@pytest.mark.parametrize("was_there", [True, False])
def test_without_sessions_nothing_is_written(tmp_path: Path, was_there: bool) -> None:  # noqa: FBT001
    folder = tmp_path / "bills"
    if was_there:
        folder.mkdir()
    command = [*_COMMAND, "--bill", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline().startswith("http://127.0.0.1:")
        finally:
            server.send_signal(signal.SIGINT)
            _, said = server.communicate(timeout=20)
    assert server.returncode == 2
    assert said == "Error: no session used anything, so there is no bill; let a client talk to the URL first\n"
    assert list(tmp_path.rglob("*")) == ([folder] if was_there else [])


def test_usages_that_are_not_kept_one_by_one_make_no_bill(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "SimulatorOptions", partial(simulator.SimulatorOptions, truth_limit=3))
    answer = run("simulate", "--load", 5, "--bill", tmp_path / "bills")
    assert answer.status == 2
    assert re.search(r"Error: \d+ usages more than are kept one by one, so there is no bill", answer.err)
    assert not (tmp_path / "bills" / "bill").exists()
