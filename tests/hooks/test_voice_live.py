"""Azure Voice Live: billed by tier on meters of its own, with totals that are worked out by hand, to the bill."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from realtime_spend import RealtimeInstrumentor
from realtime_spend.simulator import Deployment, SimulatorOptions, run_in_thread
from realtime_spend.simulator.bill_writing import BillForm, bill_for

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


def by_hand(tier: str, quantities: dict[str, int]) -> Decimal:
    total = Decimal(0)
    for part, many in quantities.items():
        modality, _, component = part.partition(".")
        rate = _RATES[tier][modality][("input", "cached_input", "output").index(component)]
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
    total = Decimal(0)
    for usage in usages:
        sent, made = usage["input_token_details"], usage["output_token_details"]
        cached = sent["cached_tokens_details"]
        quantities = {"text.output": made["text_tokens"], "audio.output": made["audio_tokens"]}
        for modality in ("text", "audio"):
            quantities[f"{modality}.cached_input"] = cached[f"{modality}_tokens"]
            quantities[f"{modality}.input"] = sent[f"{modality}_tokens"] - cached[f"{modality}_tokens"]
        total += by_hand(tier, quantities)
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
