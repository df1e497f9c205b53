"""Sessions that only transcribe, billed by the token or by the second, with totals that are worked out by hand."""

from __future__ import annotations

import asyncio
import base64
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import websockets

from realtime_spend import RealtimeInstrumentor
from realtime_spend.simulator import Simulator, SimulatorOptions
from realtime_spend.simulator.bill.writing import BillForm, bill_for

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.metrics import MeterProvider
    from tests.conftest import Run, Seen

_COMPLETED = "conversation.item.input_audio_transcription.completed"
# What is said, in milliseconds: 2, 3 and 1 seconds by the clock of the bill, which counts each begun one.
_SAID = (1200, 2600, 400)
_SECONDS = 2 + 3 + 1
_AUDIO_TOKENS = 12 + 26 + 4
_MINUTE = {"whisper-1": "0.006", "gpt-transcribe": "0.0045", "gpt-realtime-whisper": "0.017"}
_MINUTE["gpt-live-transcribe"] = "0.017"
# USD per million tokens: audio in, text out.
_MILLION = {"gpt-4o-transcribe": ("6", "10"), "gpt-4o-mini-transcribe": ("3", "5")}


async def transcribed(port: int, model: str) -> list[dict[str, Any]]:
    """Hold a session in which all is said by hand, and return what the service says of each piece."""
    said: list[dict[str, Any]] = []
    url = f"ws://127.0.0.1:{port}/v1/realtime?intent=transcription"
    session = {"type": "transcription", "audio": {"input": {"transcription": {"model": model}, "turn_detection": None}}}
    async with asyncio.timeout(30), websockets.connect(url, proxy=None, max_queue=None) as socket:
        await socket.send(json.dumps({"type": "session.update", "session": session}))
        for milliseconds in _SAID:
            audio = base64.b64encode(bytes(48 * milliseconds)).decode()
            await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
            await socket.send(json.dumps({"type": "input_audio_buffer.commit"}))
            while not said or said[-1]["type"] != _COMPLETED:
                said.append(json.loads(await socket.recv()))
            said.append({"type": "said"})
    return [event for event in said if event["type"] == _COMPLETED]


@pytest.mark.parametrize("model", [*_MINUTE, *_MILLION])
async def test_each_piece_is_priced_at_its_own_model_and_equals_the_bill(
    model: str, provider: MeterProvider, seen: Seen, run: Run, *, tmp_path: Path
) -> None:
    RealtimeInstrumentor().instrument(meter_provider=provider, ledger=tmp_path / "ledger")
    async with Simulator(SimulatorOptions(seed=5)) as simulator:
        told = await transcribed(simulator.port, model)
        await simulator.wait_idle()
    if model in _MINUTE:
        assert [event["usage"] for event in told] == [{"type": "duration", "seconds": many} for many in (2, 3, 1)]
        total = Decimal(_MINUTE[model]) * _SECONDS / 60
        quantities = {"audio.duration": Decimal(_SECONDS)}
    else:
        made = sum(event["usage"]["output_tokens"] for event in told)
        sent, out = map(Decimal, _MILLION[model])
        total = (sent * _AUDIO_TOKENS + out * made) / 1_000_000
        quantities = {"audio.input": Decimal(_AUDIO_TOKENS), "text.output": Decimal(made)}
    assert sum(value for _, value in seen.points("realtime_spend.cost")) == pytest.approx(float(total))
    [row] = run("report", tmp_path / "ledger", "--by", "model", "--json").json["rows"]
    assert (row["model"], row["usages"], Decimal(row["cost"])) == (model, 3, total)
    # The same from a log of the session, as a newcomer has it.
    log = "\n".join(json.dumps(event) for event in told)
    explained = run("explain", "--transcription-model", model, "--json", given=log).json
    assert Decimal(explained["total"]) == total
    truth = simulator.truth.as_json()
    assert Decimal(truth["cost"]) == total
    bill_for(truth["usages"], BillForm.OPENAI_COSTS, tmp_path / "bill")
    found = run("reconcile", "--ledger", tmp_path / "ledger", "--bill", tmp_path / "bill", "--json").json
    estimated = {f"{row['modality']}.{row['component']}": row["estimated_quantity"] for row in found["rows"]}
    billed = {f"{row['modality']}.{row['component']}": row["billed_quantity"] for row in found["rows"]}
    assert {part: Decimal(many) for part, many in estimated.items()} == quantities
    assert billed == estimated
    assert Decimal(found["totals"]["estimated_cost"]) == total
    assert abs(Decimal(found["totals"]["drift_cost"])) < Decimal("1e-9")
