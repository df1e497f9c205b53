"""The whole road once: real sockets, a real hook, a real ledger, and a bill for what the service knows it did."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from tests.reconciling.playing import NOTHING
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from realtime_spend import RealtimeInstrumentor
from realtime_spend.core.reconciliation.drift import Cause
from realtime_spend.reconciler import Question, answer
from realtime_spend.simulator import Deployment, SimulatorOptions, run_in_thread
from realtime_spend.simulator.bill.faults import discount
from realtime_spend.simulator.bill.writing import BillForm, bill_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.sync.connection import Connection

    from realtime_spend.core.rates import RateBook
    from realtime_spend.simulator import RunningSimulator

_PATIENCE = 20.0
_AUDIO = "A" * 16_000
_DEPLOYED = {
    "voice": Deployment(model="gpt-realtime", version="2025-08-28"),
    "browser": Deployment(model="gpt-realtime-mini", version="2025-12-15"),
    "transcribe": Deployment(model="gpt-4o-mini-transcribe", version="2025-12-15"),
}
_UPDATE = {
    "type": "session.update",
    "session": {
        "type": "realtime",
        "audio": {"input": {"format": {"type": "audio/pcmu"}, "transcription": {"model": "transcribe"}}},
    },
}


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with run_in_thread(SimulatorOptions(seed=3, deployments=_DEPLOYED)) as running:
        yield running


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Path]:
    """Instrument this process as an operator would, with what he knows of his deployments."""
    provider = MeterProvider(shutdown_on_exit=False)
    deployments = {name: {"model": one.model, "version": one.version} for name, one in _DEPLOYED.items()}
    RealtimeInstrumentor().instrument(
        meter_provider=provider, ledger=tmp_path / "ledger", deployments=deployments, account="contoso-voice"
    )
    try:
        yield tmp_path / "ledger"
    finally:
        RealtimeInstrumentor().uninstrument()
        provider.shutdown()


def _talk(simulator: RunningSimulator, options: str, *, model: str = "voice", turns: int = 3) -> None:
    """Hold a session; one that the service cuts off has ended too."""
    url = f"{simulator.url.replace('http', 'ws', 1)}/openai/v1/realtime?model={model}{options}"
    with connect(url, proxy=None, max_queue=None) as socket:
        _until(socket, "session.created")
        socket.send(json.dumps(_UPDATE))
        _until(socket, "session.updated")
        for _ in range(turns):
            socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": _AUDIO}))
            if not _until(socket, "response.done"):
                return


def _until(socket: Connection, type_: str) -> bool:
    try:
        while json.loads(socket.recv(timeout=_PATIENCE))["type"] != type_:
            pass
    except ConnectionClosed:
        return False
    return True


def _talk_in_a_browser(simulator: RunningSimulator) -> None:
    """Hold a session on a socket that is shown no usage, to the end of its response."""
    url = f"{simulator.url.replace('http', 'ws', 1)}/openai/v1/realtime?model=browser&webrtcfilter=on"
    with connect(url, proxy=None, max_queue=None) as socket:
        socket.send(json.dumps({"type": "response.create"}))
        deadline = time.monotonic() + _PATIENCE
        while not _counts(simulator)["hidden"]:
            assert time.monotonic() < deadline, "the response never ended"
            time.sleep(0.02)


def _counts(simulator: RunningSimulator) -> dict[str, Any]:
    counts: dict[str, Any] = simulator.truth.totals_as_json()["counts"]
    return counts


def test_what_went_wrong_in_real_sessions_is_found_on_their_bill(
    simulator: RunningSimulator, ledger: Path, tmp_path: Path, book: RateBook
) -> None:
    for _ in range(3):
        _talk(simulator, "")
    _talk(simulator, "&sim_transcription_usage=missing")
    _talk(simulator, "&sim_outcomes=completed,dropped", turns=2)
    _talk_in_a_browser(simulator)
    simulator.wait_idle()
    counts = _counts(simulator)
    assert counts["missing"] == 3
    assert counts["lost"] == counts["hidden"] == 1

    draft = bill_for(simulator.truth.as_json()["usages"], BillForm.MCA, tmp_path / "bill", faults=[discount()])
    question = Question(
        bills=(tmp_path / "bill" / "bill",), at=datetime.now(UTC) + timedelta(days=4), ledger=ledger, floor=Decimal(0)
    )
    found = answer(question, book=book)
    expected = {
        Cause.TRANSCRIPTION_UNOBSERVED: _sum(draft.injected, "transcription_unobserved"),
        Cause.LOST_RESPONSES: _sum(draft.injected, "lost_responses"),
        Cause.UNOBSERVED_TRAFFIC: _sum(draft.injected, "unobserved_traffic"),
        Cause.PRICE: _sum(draft.injected, "discount"),
    }
    assert all(expected.values())
    under = {
        cause: sum((share.cost for share in found.shares if share.cause is cause), Decimal(0))
        for cause in {share.cause for share in found.shares}
    }
    assert under.keys() == expected.keys()
    assert all(abs(under[cause] - expected[cause]) < NOTHING for cause in expected), (under, expected)
    assert found.is_beyond
    assert not found.problems


def _sum(injected: list[Any], fault: str) -> Decimal:
    return sum((one.cost for one in injected if one.fault == fault), Decimal(0))


def test_sessions_without_a_fault_come_to_their_bill_exactly(
    simulator: RunningSimulator, ledger: Path, tmp_path: Path, book: RateBook
) -> None:
    for _ in range(3):
        _talk(simulator, "")
    simulator.wait_idle()
    bill_for(simulator.truth.as_json()["usages"], BillForm.FOCUS_1_2, tmp_path / "bill")
    at = datetime.now(UTC) + timedelta(days=4)
    found = answer(Question(bills=(tmp_path / "bill" / "bill",), at=at, ledger=ledger), book=book)
    assert found.rows
    assert found.totals.drift_cost == 0
    assert found.shares == []
    assert found.problems == []
