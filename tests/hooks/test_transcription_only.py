"""Sessions that only transcribe: no response ever, each utterance a usage of its own, and totals by hand."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from realtime_spend import RealtimeInstrumentor
from realtime_spend.simulator import SimulatorOptions, run_in_thread
from realtime_spend.simulator.bill.writing import BillForm, bill_for

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.metrics import MeterProvider
    from tests.conftest import Run, Seen
    from tests.hooks.conftest import Transport

_COMPLETED = "conversation.item.input_audio_transcription.completed"
# USD a minute, and per million tokens of audio in and text out.
_MINUTE = {
    "whisper-1": "0.006",
    "gpt-transcribe": "0.0045",
    "gpt-realtime-whisper": "0.017",
    "gpt-live-transcribe": "0.017",
}
_MILLION = {"gpt-4o-transcribe": ("6", "10"), "gpt-4o-mini-transcribe": ("3", "5")}
_URL = "ws://127.0.0.1:{port}/v1/realtime?intent=transcription&sim_transcription_usage={usage}"


def transcribed(transport: Transport, url: str, model: str, *milliseconds: int) -> list[dict[str, Any]]:
    """Have utterances of these lengths transcribed, and return what was said of their usage."""
    chosen = {"type": "transcription", "audio": {"input": {"transcription": {"model": model}, "turn_detection": None}}}
    messages: list[str | bytes] = []
    with transport.open(url) as socket:
        socket.send(json.dumps({"type": "session.update", "session": chosen}))
        for length in milliseconds:
            audio = base64.b64encode(bytes(48 * length)).decode()
            socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
            socket.send(json.dumps({"type": "input_audio_buffer.commit"}))
            messages += socket.until(_COMPLETED)
    events = [json.loads(message) for message in messages]
    assert not [event for event in events if event["type"].startswith("response.")]
    return [event for event in events if event["type"] == _COMPLETED]


@pytest.mark.parametrize("name", ["websockets", "aiohttp"])
def test_by_time_each_utterance_costs_its_seconds_rounded_up_and_by_token_its_tokens(
    name: str, transports: dict[str, Transport], provider: MeterProvider, seen: Seen, *, run: Run, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    RealtimeInstrumentor().instrument(meter_provider=provider, ledger=ledger)
    with run_in_thread(SimulatorOptions(seed=9)) as simulator:
        url = _URL.format(port=simulator.port, usage="model")
        timed = transcribed(transports[name], url, "gpt-realtime-whisper", 2600, 400, 1000)
        counted = transcribed(transports[name], url, "gpt-4o-transcribe", 2600, 400)
        simulator.wait_idle()
    # 2.6, 0.4 and 1 seconds, each rounded up, at 0.017 a minute.
    assert [event["usage"]["seconds"] for event in timed] == [3, 1, 1]
    by_time = Decimal(3 + 1 + 1) * Decimal("0.017") / 60
    # Ten audio tokens a second at 6 USD a million, and what was written at 10.
    assert [event["usage"]["input_token_details"]["audio_tokens"] for event in counted] == [26, 4]
    written = sum(event["usage"]["output_tokens"] for event in counted)
    by_token = (Decimal(26 + 4) * 6 + Decimal(written) * 10) / 1_000_000
    rows = run("report", ledger, "--by", "model", "--json").json["rows"]
    costs = {row["model"]: Decimal(row["cost"]) for row in rows}
    assert costs["gpt-4o-transcribe"] == by_token
    assert costs["gpt-realtime-whisper"] == pytest.approx(by_time, abs=Decimal("1e-11"))
    assert sum(value for _, value in seen.points("realtime_spend.cost")) == pytest.approx(float(by_time + by_token))
    assert sum(value for _, value in seen.points("realtime_spend.billable.duration")) == 5
    kinds = {attributes["gen_ai.operation.name"] for attributes, value in seen.points("realtime_spend.usages") if value}
    assert kinds == {"speech_to_text"}
    bill_for(simulator.truth.as_json()["usages"], BillForm.OPENAI_COSTS, tmp_path / "bill")
    found = run("reconcile", "--ledger", ledger, "--bill", tmp_path / "bill", "--json").json["totals"]
    assert abs(Decimal(found["drift_cost"])) < Decimal("1e-6")
    assert Decimal(found["unmapped_cost"]) == 0


@pytest.mark.parametrize("model", [*_MINUTE, *_MILLION])
def test_every_model_that_transcribes_is_counted_on_meters_of_its_own(
    model: str, transports: dict[str, Transport], provider: MeterProvider, *, run: Run, tmp_path: Path
) -> None:
    RealtimeInstrumentor().instrument(meter_provider=provider, ledger=tmp_path / "ledger")
    with run_in_thread(SimulatorOptions(seed=9)) as simulator:
        url = _URL.format(port=simulator.port, usage="model")
        told = transcribed(transports["websockets"], url, model, 1200, 2600, 400)
        simulator.wait_idle()
    if model in _MINUTE:
        seconds = Decimal(2 + 3 + 1)
        quantities, total = {"audio.duration": seconds}, Decimal(_MINUTE[model]) * seconds / 60
    else:
        sent, written = Decimal(12 + 26 + 4), Decimal(sum(event["usage"]["output_tokens"] for event in told))
        quantities = {"audio.input": sent, "text.output": written}
        total = (Decimal(_MILLION[model][0]) * sent + Decimal(_MILLION[model][1]) * written) / 1_000_000
    [row] = run("report", tmp_path / "ledger", "--by", "model", "--json").json["rows"]
    assert (row["model"], row["usages"], Decimal(row["cost"])) == (model, 3, total)
    # The same from a log of the session.
    log = "\n".join(json.dumps(event) for event in told)
    assert Decimal(run("explain", "--transcription-model", model, "--json", given=log).json["total"]) == total
    bill_for(simulator.truth.as_json()["usages"], BillForm.OPENAI_COSTS, tmp_path / "bill")
    found = run("reconcile", "--ledger", tmp_path / "ledger", "--bill", tmp_path / "bill", "--json").json["rows"]
    parts = [(f"{row['modality']}.{row['component']}", row) for row in found]
    assert {part: Decimal(row["estimated_quantity"]) for part, row in parts} == quantities
    assert {part: Decimal(row["billed_quantity"]) for part, row in parts} == quantities
    assert {row["model"] for row in found} == {model}


def test_a_model_that_says_no_usage_is_missing_and_never_free(
    transports: dict[str, Transport], provider: MeterProvider, seen: Seen, tmp_path: Path
) -> None:
    RealtimeInstrumentor().instrument(meter_provider=provider, ledger=tmp_path / "ledger")
    with run_in_thread(SimulatorOptions(seed=9)) as simulator:
        url = _URL.format(port=simulator.port, usage="missing,null")
        assert len(transcribed(transports["websockets"], url, "gpt-live-transcribe", 2000, 2000)) == 2
    files = list((tmp_path / "ledger").glob("*.jsonl"))
    written = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert [(record["usage"], record["cost"], record["model"]) for record in written] == [
        ("missing", None, "gpt-live-transcribe")
    ] * 2
    assert not [value for _, value in seen.points("realtime_spend.cost") if value]
