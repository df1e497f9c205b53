"""Azure Voice Live: billed by tier on meters of its own, with totals that are worked out by hand, to the bill."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from realtime_spend import RealtimeInstrumentor
from realtime_spend.simulator import Deployment, SimulatorOptions, run_in_thread
from realtime_spend.simulator.bill.writing import BillForm, bill_for

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.metrics import MeterProvider
    from tests.conftest import Run, Seen
    from tests.hooks.conftest import Transport

# USD per million tokens, as the meters of each tier have them per thousand: cached costs the same for text and audio.
_RATES = {
    "voice-live-pro": {"text": ("5.5", "2.75", "22"), "audio": ("44", "2.75", "88")},
    "voice-live-std": {"text": ("0.66", "0.33", "2.64"), "audio": ("11", "0.33", "22")},
}
# With a voice of Azure Speech it is the same text, and other audio.
_SPEECH = {
    "voice-live-pro-standard-speech": {"text": ("5.5", "2.75", "22"), "audio": ("17", "2.75", "38")},
    "voice-live-pro-custom-speech": {"text": ("5.5", "2.75", "22"), "audio": ("40", "2.75", "55")},
    "voice-live-std-standard-speech": {"text": ("0.66", "0.33", "2.64"), "audio": ("15", "0.33", "33")},
    "voice-live-std-custom-speech": {"text": ("0.66", "0.33", "2.64"), "audio": ("39", "0.33", "50")},
    "voice-live-lite-standard-speech": {"text": ("0.08", "0.04", "0.32"), "audio": ("13", "0.04", "33")},
}
# Of these the price list has no meter for one part each: what it costs is not known, and not nothing.
_WITH_A_GAP = {
    "voice-live-lite": ({"text": ("0.08", "0.04", "0.32"), "audio": ("4", "0.04", "0")}, "audio.output"),
    "voice-live-lite-custom-speech": ({"text": ("0.08", "0.04", "0.32"), "audio": ("0", "0.04", "50")}, "audio.input"),
}


def by_hand(rates: dict[str, tuple[str, str, str]], quantities: dict[str, int]) -> Decimal:
    total = Decimal(0)
    for part, many in quantities.items():
        modality, _, component = part.partition(".")
        rate = rates[modality][("input", "cached_input", "output").index(component)]
        total += Decimal(rate) * many / 1_000_000
    return total


def spoken(transport: Transport, port: int) -> list[dict[str, Any]]:
    """Hold a session of Voice Live, and return the usage of its responses."""
    url = f"ws://127.0.0.1:{port}/voice-live/realtime?api-version=2026-04-10&model=gpt-realtime"
    messages: list[str | bytes] = []
    with transport.open(url) as socket:
        for _ in range(4):
            socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 64_000}))
            messages += socket.until("response.done")
    events = [json.loads(message) for message in messages]
    return [event["response"]["usage"] for event in events if event["type"] == "response.done"]


def parts_of(usages: list[dict[str, Any]]) -> dict[str, int]:
    """Take what is cached out of what was sent, and add the usages up."""
    total: Counter[str] = Counter()
    for usage in usages:
        sent, made = usage["input_token_details"], usage["output_token_details"]
        cached = sent["cached_tokens_details"]
        total.update({"text.output": made["text_tokens"], "audio.output": made["audio_tokens"]})
        for modality in ("text", "audio"):
            kept = cached[f"{modality}_tokens"]
            total.update({f"{modality}.cached_input": kept, f"{modality}.input": sent[f"{modality}_tokens"] - kept})
    return dict(total)


@pytest.mark.parametrize("tier", list(_RATES))
def test_a_session_is_priced_by_the_tier_that_the_user_names_and_equals_the_bill(
    tier: str, transports: dict[str, Transport], provider: MeterProvider, seen: Seen, *, run: Run, tmp_path: Path
) -> None:
    RealtimeInstrumentor().instrument(
        meter_provider=provider,
        ledger=tmp_path / "ledger",
        account="voice",
        deployments={"gpt-realtime": {"model": tier, "scope": "global"}},
    )
    deployments = {"gpt-realtime": Deployment(model=tier)}
    with run_in_thread(SimulatorOptions(seed=3, deployments=deployments)) as simulator:
        usages = spoken(transports["aiohttp"], simulator.port)
        simulator.wait_idle()
    total = by_hand(_RATES[tier], parts_of(usages))
    assert total > 0
    truth = simulator.truth.as_json()
    assert Decimal(truth["cost"]) == total
    [row] = run("report", tmp_path / "ledger", "--by", "model", "--json").json["rows"]
    assert (row["model"], Decimal(row["cost"])) == (tier, total)
    assert sum(value for _, value in seen.points("realtime_spend.cost")) == pytest.approx(float(total))
    bill_for(truth["usages"], BillForm.EA, tmp_path / "bill")
    asked = ("--ledger", tmp_path / "ledger", "--bill", tmp_path / "bill", "--json")
    compared = run("reconcile", *asked).json
    assert Decimal(compared["totals"]["unmapped_cost"]) == 0
    assert {row["model"] for row in compared["rows"]} >= {tier}
    drift = [Decimal(row["drift_cost"]) for row in compared["rows"] if row["model"] == tier]
    assert abs(sum(drift, Decimal(0))) < Decimal("1e-6")


def test_without_a_tier_its_tokens_are_counted_and_have_no_price(
    transports: dict[str, Transport], provider: MeterProvider, seen: Seen
) -> None:
    RealtimeInstrumentor().instrument(meter_provider=provider)
    with run_in_thread(SimulatorOptions(seed=3)) as simulator:
        usages = spoken(transports["aiohttp"], simulator.port)
    tokens = seen.points("gen_ai.client.inference.usage.input_tokens")
    assert sum(value for _, value in tokens) == sum(usage["input_tokens"] for usage in usages)
    assert not [value for _, value in seen.points("realtime_spend.cost") if value]
    [reason] = {
        attributes["realtime_spend.reason"] for attributes, value in seen.points("realtime_spend.unpriced") if value
    }
    assert reason == "other_price_list"


@pytest.mark.parametrize("tier", [*_SPEECH, *_WITH_A_GAP])
def test_other_voices_have_other_prices_and_what_has_no_meter_has_none(
    tier: str, transports: dict[str, Transport], provider: MeterProvider, seen: Seen, *, run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "ledger"
    RealtimeInstrumentor().instrument(
        meter_provider=provider, ledger=folder, deployments={"gpt-realtime": {"model": tier, "scope": "global"}}
    )
    with run_in_thread(SimulatorOptions(seed=3)) as simulator:
        usages = spoken(transports["aiohttp"], simulator.port)
    rates, gap = _WITH_A_GAP.get(tier) or (_SPEECH[tier], None)
    parts = parts_of(usages)
    total = by_hand(rates, parts)
    assert total > 0
    told = run("report", folder, "--by", "model", "--json").json
    assert [Decimal(row["cost"]) for row in told["rows"]] == [total]
    assert sum(value for _, value in seen.points("realtime_spend.cost")) == pytest.approx(float(total))
    records = [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    unpriced = {part for record in records for part, cost in record["costs"].items() if cost is None}
    assert unpriced == ({gap} if gap else set())
    assert sum(record["quantities"].get("audio.output", 0) for record in records) == parts["audio.output"]
    assert bool([value for _, value in seen.points("realtime_spend.unpriced") if value]) is (gap is not None)
