"""OpenAI's Usage API: both readings of its audio tokens, and how a result's own sums settle which one holds."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.billing.answering import Asked, Reply, answering

from realtime_spend.billing.openai_usage import fetch_usage, read_usage
from realtime_spend.billing.witnesses import beside
from realtime_spend.core.line_items import CACHED_INPUT_OF, INPUT_OF, OUTPUT_OF, Modality, Part, Provider
from realtime_spend.core.reconciliation.estimated import Estimate, Estimates, EstimateSource

DAY = date(2026, 11, 18)
START = 1_794_960_000
KEY = "sk-admin-of-nobody"
MODEL = "gpt-realtime-2025-08-28"
AUDIO_IN, AUDIO_CACHED = INPUT_OF[Modality.AUDIO], CACHED_INPUT_OF[Modality.AUDIO]


def result(**said: Any) -> dict[str, Any]:
    return {
        "object": "organization.usage.completions.result",
        "model": MODEL,
        "project_id": "proj_voice",
        "num_model_requests": 4,
        "output_tokens": 0,
        **said,
    }


def page(*results: Any) -> dict[str, Any]:
    bucket = {"object": "bucket", "start_time": START, "end_time": START + 86_400, "results": list(results)}
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None}


def readings(*results: Any) -> dict[str, tuple[int, int]]:
    return {"+".join(witness.parts): (int(witness.low), int(witness.high)) for witness in read_usage(page(*results))}


# 100 fresh audio tokens and 64 cached ones, 20 fresh text tokens and 128 cached ones, in both ways to write them.
TODAY = {"input_text_tokens": 20, "input_audio_tokens": 100}
ONCE = {"input_text_tokens": 148, "input_audio_tokens": 164}
CACHED = {"input_cached_text_tokens": 128, "input_cached_audio_tokens": 64}


@pytest.mark.parametrize(
    "said",
    [
        {**TODAY, **CACHED, "input_tokens": 312, "input_uncached_tokens": 120},
        {**TODAY, **CACHED, "input_tokens": 312},
        {**ONCE, **CACHED, "input_tokens": 312},
        {**ONCE, **CACHED, "input_tokens": 312, "input_uncached_tokens": 120},
    ],
)
def test_the_sums_of_a_result_settle_what_its_words_leave_open(said: dict[str, int]) -> None:
    assert readings(result(**said)) == {
        "text.input": (20, 20),
        "text.cached_input": (128, 128),
        "audio.input": (100, 100),
        "audio.cached_input": (64, 64),
    }


@pytest.mark.parametrize("whole", [None, 999])
def test_where_no_sum_settles_it_both_readings_hold(whole: int | None) -> None:
    said = {**ONCE, **CACHED, "input_tokens": whole}
    assert readings(result(**said))["audio.input"] == (100, 164)
    assert readings(result(**said))["text.input"] == (20, 148)


def test_without_cached_tokens_there_is_one_reading() -> None:
    assert readings(result(input_tokens=7, input_audio_tokens=110, output_audio_tokens=299, output_text_tokens=97)) == {
        "audio.input": (110, 110),
        "audio.output": (299, 299),
        "text.output": (97, 97),
    }


def test_seconds_of_transcription_and_other_models() -> None:
    heard = {"object": "organization.usage.audio_transcriptions.result", "model": "whisper-1", "seconds": 90}
    assert readings(heard, result(model="gpt-4o-mini", input_text_tokens=5), result(model=None)) == {
        "audio.duration": (90, 90)
    }


def test_model_version_and_project_are_told() -> None:
    (witness,) = read_usage(page(result(input_audio_tokens=1)))
    assert (witness.day, witness.account, witness.model, witness.version) == (
        DAY,
        "proj_voice",
        "gpt-realtime",
        "2025-08-28",
    )


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"data": 1},
        {"data": ["x"]},
        {"data": [{"results": [result(input_audio_tokens=1)]}]},
        {"data": [{"start_time": 10**30, "results": [result(input_audio_tokens=1)]}]},
        {"data": [{"start_time": START, "results": [1]}]},
    ],
)
def test_what_is_no_page_of_usage_is_one_sentence(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="it is no page of usage"):
        read_usage(broken)


def test_both_endpoints_are_asked_for_by_model_and_project() -> None:
    def answer(asked: Asked) -> Reply:
        is_heard = asked.path.endswith("audio_transcriptions")
        return Reply(page({"model": "whisper-1", "seconds": 9} if is_heard else result(input_audio_tokens=110)))

    steps: list[int] = []
    with answering(answer) as service:
        found = fetch_usage(DAY, DAY + timedelta(days=1), key=KEY, base_url=f"{service.url}/v1", advance=steps.append)
    assert [next(iter(witness.parts)) for witness in found] == ["audio.input", "audio.duration"]
    assert [asked.path for asked in service.asked] == [
        "/v1/organization/usage/completions",
        "/v1/organization/usage/audio_transcriptions",
    ]
    assert service.asked[0].query["group_by[]"] == ["model", "project_id"]
    assert service.asked[0].query["end_time"] == [str(START + 2 * 86_400)]
    assert steps == [1, 1]


def _estimates(**quantities: int) -> Estimates:
    parts = {str(part): part for part in (*INPUT_OF.values(), *CACHED_INPUT_OF.values(), *OUTPUT_OF.values())}
    return Estimates(
        source=EstimateSource.LEDGER,
        items=[_estimate(parts[name.replace("__", ".")], quantity) for name, quantity in quantities.items()],
    )


def _estimate(part: Part, quantity: int) -> Estimate:
    return Estimate(
        day=DAY,
        provider=Provider.OPENAI,
        account=None,
        model="gpt-realtime",
        version=None,
        scope=None,
        part=part,
        quantity=Decimal(quantity),
        cost=None,
        unpriced=Decimal(0),
    )


@pytest.mark.parametrize(("counted", "agrees"), [(99, False), (100, True), (164, True), (165, False)])
def test_either_reading_agrees_with_what_was_counted(counted: int, *, agrees: bool) -> None:
    witnesses = read_usage(page(result(**ONCE, **CACHED)))
    found = {row.parts: row for row in beside(witnesses, _estimates(audio__input=counted, audio__cached_input=64))}
    assert found[AUDIO_IN,].agrees is agrees
    assert found[AUDIO_CACHED,].agrees
    assert f"counts 100 to 164 of audio.input, we {'the same' if agrees else counted}" in found[AUDIO_IN,].sentence()
