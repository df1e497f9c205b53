from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_spend.core.endpoints import Endpoint, recognise
from realtime_spend.core.line_items import Rate
from realtime_spend.core.naming import Deployment, Named, Naming, Resolved
from realtime_spend.core.pricing import price
from realtime_spend.core.rates import Prices, RateBook, Reason
from realtime_spend.core.raw_numbers import numbers_text
from realtime_spend.core.reading import read_amounts
from realtime_spend.core.session import Metered
from realtime_spend.core.usage import COUNTED, Amounts, Kind, Reported, Usage
from realtime_spend.sinks.records import RecordForm, ledger_record

_AT = datetime(2026, 11, 18, 10, 0, 0, 123456, tzinfo=UTC)
_OPENAI = recognise("api.openai.com", 443, "/v1/realtime", "model=gpt-4o-mini-realtime-preview")
_AZURE = recognise("Contoso-Voice.openai.azure.com", 443, "/openai/v1/realtime", "model=voice-prod")
_KEYS = [
    "at",
    "source",
    "kind",
    "provider",
    "server",
    "service",
    "account",
    "session",
    "id",
    "status",
    "usage",
    "model",
    "version",
    "requested_model",
    "scope",
    "region",
    "raw",
    "quantities",
    "costs",
    "cost",
    "low",
    "high",
    "currency",
    "rate_card",
    "attributes",
]
Build = Callable[..., dict[str, Any]]


@pytest.fixture
def record_of(book: RateBook) -> Build:
    """Build the record of one usage and pass it through JSON, as a ledger does."""

    def build(
        said: object,
        *,
        endpoint: Endpoint | None = _OPENAI,
        model: str | None = "gpt-4o-mini-realtime-preview-2024-12-17",
        kind: Kind = Kind.RESPONSE,
        reported: Reported = Reported.REPORTED,
        deployments: dict[str, Deployment] | None = None,
    ) -> dict[str, Any]:
        assert endpoint is not None
        is_transcription = kind is Kind.TRANSCRIPTION
        named = Named(requested=endpoint.requested_model, said=model, transcription=is_transcription)
        resolved = Naming(book, deployments).resolve(endpoint, named)
        amounts = read_amounts(said, text_output=is_transcription) if reported is Reported.REPORTED else Amounts()
        prices: Prices | Reason = resolved.reason or Reason.MODEL_NOT_NAMED
        if resolved.sku is not None:
            prices = book.prices(resolved.sku, _AT)
        record = ledger_record(
            Metered(
                usage=Usage(
                    kind=kind,
                    id="resp_1",
                    status="completed" if reported is Reported.REPORTED else None,
                    reported=reported,
                    amounts=amounts,
                    raw=numbers_text(said),
                ),
                named=named,
                session="sess_1",
                at=0,
            ),
            endpoint,
            resolved,
            price(amounts, prices),
            at=_AT,
            account=endpoint.account,
            attributes={"tenant": "acme"},
        )
        found: dict[str, Any] = json.loads(json.dumps(record))
        return found

    return build


def test_the_record_of_a_whole_usage_has_each_key_of_the_contract(
    record_of: Build, f1: dict[str, Any], book: RateBook, mtok: Callable[[str, int], Decimal]
) -> None:
    record = record_of(f1)
    assert list(record) == _KEYS
    card = next(card.name for card in book.cards if card.name.startswith("openai@"))
    assert record == {
        "at": "2026-11-18T10:00:00.123456Z",
        "source": "openai.hook",
        "kind": "response",
        "provider": "openai",
        "server": "api.openai.com",
        "service": "realtime",
        "account": None,
        "session": "sess_1",
        "id": "resp_1",
        "status": "completed",
        "usage": "reported",
        "model": "gpt-4o-mini-realtime-preview",
        "version": "2024-12-17",
        "requested_model": "gpt-4o-mini-realtime-preview",
        "scope": "global",
        "region": None,
        "raw": f1,
        "quantities": {
            "text.input": 2,
            "text.cached_input": 5376,
            "text.output": 250,
            "audio.input": 29,
            "audio.cached_input": 2816,
            "audio.output": 1019,
        },
        "costs": {
            "text.input": "0.0000012",
            "text.cached_input": "0.0016128",
            "text.output": "0.0006",
            "audio.input": "0.00029",
            "audio.cached_input": "0.0008448",
            "audio.output": "0.02038",
        },
        "cost": "0.0237288",
        "low": None,
        "high": None,
        "currency": "USD",
        "rate_card": card,
        "attributes": {"tenant": "acme"},
    }
    assert Decimal(record["costs"]["audio.output"]) == mtok("20", 1019)
    assert sum(map(Decimal, record["costs"].values())) == Decimal(record["cost"])


def test_the_instant_always_has_six_places_so_that_text_sorts_as_time_does(record_of: Build) -> None:
    assert record_of(None, reported=Reported.LOST)["at"] == "2026-11-18T10:00:00.123456Z"


def test_seconds_are_decimal_text(record_of: Build) -> None:
    record = record_of({"type": "duration", "seconds": 42.5}, model="whisper-1", kind=Kind.TRANSCRIPTION)
    assert record["quantities"] == {"audio.duration": "42.5"}
    assert record["costs"] == {"audio.duration": "0.00425"}
    assert Decimal(record["cost"]) == Decimal("0.006") * Decimal("42.5") / 60
    assert record["raw"] == {"type": "duration", "seconds": 42.5}


@pytest.mark.parametrize("reported", [Reported.MISSING, Reported.LOST])
def test_usage_that_did_not_come_has_a_record_with_empty_quantities_and_costs(
    reported: Reported, record_of: Build
) -> None:
    record = record_of(None, reported=reported)
    assert list(record) == _KEYS
    assert (record["usage"], record["status"], record["raw"]) == (str(reported), None, None)
    assert (record["quantities"], record["costs"], record["cost"]) == ({}, {}, None)
    assert record["model"] == "gpt-4o-mini-realtime-preview"


def test_usage_of_an_unlisted_model_keeps_its_tokens_and_its_name_and_has_no_cost(
    record_of: Build, f1: dict[str, Any]
) -> None:
    record = record_of(f1, model="gpt-surprise")
    assert (record["model"], record["version"]) == ("gpt-surprise", None)
    assert record["quantities"]["audio.output"] == 1019
    assert record["costs"] == dict.fromkeys(record["quantities"])
    assert (record["cost"], record["currency"], record["rate_card"]) == (None, None, None)


def test_usage_whose_model_nobody_said_bears_the_requested_name(record_of: Build, f1: dict[str, Any]) -> None:
    record = record_of(f1, endpoint=_AZURE, model=None)
    assert (record["model"], record["requested_model"], record["cost"]) == ("voice-prod", "voice-prod", None)


def test_an_azure_record_says_account_and_scope_and_region_of_the_deployment(
    record_of: Build, f1: dict[str, Any]
) -> None:
    deployment = Deployment(
        model="gpt-4o-mini-realtime-preview",
        version="2024-12-17",
        scope="regional",  # type: ignore[arg-type]  # the words of a scope are scopes
        region="swedencentral",
    )
    record = record_of(f1, endpoint=_AZURE, model="voice-prod", deployments={"voice-prod": deployment})
    assert (record["provider"], record["source"]) == ("azure.ai.openai", "azure.ai.openai.hook")
    assert (record["server"], record["account"]) == ("contoso-voice.openai.azure.com", "contoso-voice")
    assert (record["scope"], record["region"]) == ("regional", "swedencentral")
    assert (record["model"], record["version"]) == ("gpt-4o-mini-realtime-preview", "2024-12-17")


def test_a_scope_that_nobody_configured_is_null_and_not_global(record_of: Build, f1: dict[str, Any]) -> None:
    record = record_of(f1, endpoint=_AZURE)
    assert record["scope"] is None
    assert record["cost"] is not None


def test_a_cache_without_its_split_gives_the_dearest_quantities_and_both_bounds(
    record_of: Build, mtok: Callable[[str, int], Decimal]
) -> None:
    said = {
        "total_tokens": 3_000,
        "input_tokens": 3_000,
        "output_tokens": 0,
        "input_token_details": {"text_tokens": 2_000, "audio_tokens": 1_000, "cached_tokens": 600},
    }
    record = record_of(said, model="gpt-realtime")
    high = mtok("4", 1_400) + mtok("0.4", 600) + mtok("32", 1_000)
    low = mtok("4", 2_000) + mtok("0.4", 600) + mtok("32", 400)
    assert record["quantities"] == {"text.input": 1_400, "text.cached_input": 600, "audio.input": 1_000}
    assert (Decimal(record["cost"]), Decimal(record["low"]), Decimal(record["high"])) == (high, low, high)
    assert record["raw"] == said


@given(
    counts=st.tuples(*[st.integers(0, 10**7)] * 9, st.just(0)),
    unit_prices=st.tuples(*[st.decimals(0, 1000, places=6)] * 9),
    per=st.sampled_from([1, 1_000_000]),
)
@settings(max_examples=200, database=None, derandomize=bool(os.environ.get("CI")))
def test_a_record_of_plain_counts_is_to_the_letter_that_of_the_same_tokens(
    counts: tuple[int, ...], unit_prices: tuple[Decimal, ...], per: int
) -> None:
    assert _OPENAI is not None
    rates = {part: Rate(unit_price=each, per=per) for part, each in zip(COUNTED, unit_prices, strict=True)}
    amounts, named = Amounts(counts), Named(requested="m", said="m")
    resolved = Resolved(sku=None, reason=Reason.MODEL_NOT_LISTED, scope=None, region=None, scope_assumed=False)
    form = RecordForm(_OPENAI, named, resolved, account=None, attributes={})
    records = []
    for one in (amounts, Amounts(tokens=amounts.tokens)):
        usage = Usage(Kind.RESPONSE, "resp_1", "completed", Reported.REPORTED, one)
        records.append(form.fields(Metered(usage, named, None, 0), price(one, Prices(rates=rates))))
    assert records[0] == records[1]
