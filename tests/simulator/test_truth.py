from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Any

from realtime_spend.simulator import Kind, Provider, Said, Scope, SentUsage, Truth
from realtime_spend.simulator.models import Sku


def _usage(number: int, quantities: dict[str, Any], model: str = "gpt-realtime", **changes: Any) -> SentUsage:
    sku = Sku(provider=Provider.AZURE, model=model, version="2025-08-28", scope=changes.pop("scope", Scope.GLOBAL))
    facts: dict[str, Any] = {
        "session": "sess_1",
        "sku": sku,
        "kind": Kind.RESPONSE,
        "id": f"resp_{number}",
        "status": "completed",
        "said": Said.REPORTED,
        "outcome": "completed",
        "quantities": quantities,
    }
    return SentUsage(**(facts | changes))


def test_a_usage_is_printed_with_what_each_quantity_costs() -> None:
    truth = Truth()
    truth.sent(_usage(1, {"audio.input": 100, "text.output": 10}))
    printed = truth.as_json()["usages"][0]
    assert printed.pop("at").endswith("Z")
    audio, text = Decimal(32) * 100 / 1_000_000, Decimal(16) * 10 / 1_000_000
    assert printed == {
        "session": "sess_1",
        "provider": "azure.ai.openai",
        "kind": "response",
        "id": "resp_1",
        "status": "completed",
        "usage": "reported",
        "outcome": "completed",
        "model": "gpt-realtime",
        "version": "2025-08-28",
        "scope": "global",
        "quantities": {"audio.input": 100, "text.output": 10},
        "costs": {"audio.input": str(audio), "text.output": str(text)},
        "cost": str(audio + text),
        "cached_split": True,
    }


def test_an_unknown_model_has_tokens_but_no_cost() -> None:
    truth = Truth()
    truth.sent(_usage(1, {"audio.input": 100}, model="gpt-realtime-9"))
    printed = truth.as_json()
    assert printed["usages"][0]["costs"] == {"audio.input": None}
    assert printed["usages"][0]["cost"] is None
    assert printed["totals"][0]["quantity"] == 100
    assert printed["totals"][0]["cost"] is None
    assert printed["cost"] == "0"
    assert printed["counts"]["unpriced"] == 1


def test_totals_add_up_by_model_version_modality_and_component_whatever_the_decimal_context() -> None:
    truth = Truth()
    with decimal.localcontext(prec=1):
        for number in range(3):
            truth.sent(_usage(number, {"audio.input": 123}))
            truth.sent(_usage(number, {"audio.duration": Decimal(25)}, model="whisper", kind=Kind.TRANSCRIPTION))
    printed = truth.as_json()
    audio, duration = printed["totals"]
    assert (audio["quantity"], Decimal(audio["cost"])) == (369, Decimal(32) * 369 / 1_000_000)
    assert (duration["quantity"], Decimal(duration["cost"])) == ("75", Decimal("0.006") * 75 / 60)
    assert Decimal(printed["cost"]) == Decimal(audio["cost"]) + Decimal(duration["cost"])


def test_beyond_its_limit_the_truth_keeps_totals_and_says_so() -> None:
    truth = Truth(limit=1)
    for number in range(3):
        truth.sent(_usage(number, {"audio.input": 1}))
        truth.session_closed(truth.session_opened(f"sess_{number}", {}), "client")
    printed = truth.as_json()
    assert len(printed["usages"]) == len(printed["sessions"]) == 1
    assert printed["counts"]["beyond_limit"] == 2
    assert printed["totals"][0]["quantity"] == 3
