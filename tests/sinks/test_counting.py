from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from realtime_spend.core.line_items import Component, Modality, Part, Provider, Rate, Scope, Sku
from realtime_spend.core.pricing import price
from realtime_spend.core.rates import Prices, RateBook, Reason
from realtime_spend.core.reading import read_amounts
from realtime_spend.core.usage import Kind, Reported, Usage
from realtime_spend.sinks.counting import count_usage, count_usages, let_appear
from realtime_spend.sinks.metrics import Amount, Series

Mtok = Callable[[str, int], Decimal]
_AT = datetime(2026, 11, 18, 10, tzinfo=UTC)
_TEXT, _AUDIO, _IMAGE, _UNKNOWN = ({"gen_ai.token.modality": word} for word in ("text", "audio", "image", "unknown"))
_INPUT = "gen_ai.client.inference.usage.input_tokens"
_CACHED = "gen_ai.client.inference.usage.cache_read.input_tokens"
_OUTPUT = "gen_ai.client.inference.usage.output_tokens"
_REASONING = "gen_ai.client.inference.usage.reasoning.output_tokens"
_DURATION = "realtime_spend.billable.duration"


def _cost_of(modality: str, component: str) -> dict[str, str]:
    return {"gen_ai.token.modality": modality, "realtime_spend.component": component}


def _points(series: Series, name: str) -> list[tuple[dict[str, str], Amount]]:
    return [(dict(extra), amount) for extra, amount in series.totals.get(name, {}).items()]


def _prices(book: RateBook, model: str, version: str | None = None) -> Prices:
    sku = Sku(provider=Provider.OPENAI, model=model, version=version, scope=Scope.GLOBAL)
    found = book.prices(sku, _AT)
    assert isinstance(found, Prices)
    return found


def _count(
    said: object,
    prices: Prices | Reason,
    *,
    kind: Kind = Kind.RESPONSE,
    status: str | None = "completed",
    reported: Reported = Reported.REPORTED,
    scope_assumed: bool = False,
) -> Series:
    amounts = read_amounts(said, text_output=kind is Kind.TRANSCRIPTION)
    usage = Usage(kind=kind, id="one", status=status, reported=reported, amounts=amounts)
    series = Series({})
    count_usage(series, usage, price(amounts, prices), scope_assumed=scope_assumed)
    return series


def test_a_usage_adds_its_tokens_by_modality_with_the_cached_ones_inside_the_input(
    f1: dict[str, Any], book: RateBook
) -> None:
    series = _count(f1, _prices(book, "gpt-4o-mini-realtime-preview", "2024-12-17"))
    assert _points(series, _INPUT) == [(_TEXT, 5378), (_AUDIO, 2845)]
    assert _points(series, _CACHED) == [(_TEXT, 5376), (_AUDIO, 2816)]
    assert _points(series, _OUTPUT) == [(_TEXT, 250), (_AUDIO, 1019)]
    assert all(type(amount) is int for name in (_INPUT, _CACHED, _OUTPUT) for _, amount in _points(series, name))


def test_a_usage_adds_its_cost_by_modality_and_component(f1: dict[str, Any], book: RateBook, mtok: Mtok) -> None:
    series = _count(f1, _prices(book, "gpt-4o-mini-realtime-preview", "2024-12-17"))
    assert _points(series, "realtime_spend.cost") == [
        (_cost_of("text", "input"), mtok("0.6", 5378 - 5376)),
        (_cost_of("text", "cached_input"), mtok("0.3", 5376)),
        (_cost_of("text", "output"), mtok("2.4", 250)),
        (_cost_of("audio", "input"), mtok("10", 2845 - 2816)),
        (_cost_of("audio", "cached_input"), mtok("0.3", 2816)),
        (_cost_of("audio", "output"), mtok("20", 1019)),
    ]
    assert sum(cost for _, cost in _points(series, "realtime_spend.cost")) == Decimal("0.0237288")


def test_the_savings_of_the_cache_are_what_its_tokens_would_have_cost_more(
    f1: dict[str, Any], book: RateBook, mtok: Mtok
) -> None:
    series = _count(f1, _prices(book, "gpt-4o-mini-realtime-preview", "2024-12-17"))
    assert _points(series, "realtime_spend.cache.savings") == [
        (_TEXT, mtok("0.6", 5376) - mtok("0.3", 5376)),
        (_AUDIO, mtok("10", 2816) - mtok("0.3", 2816)),
    ]


def test_a_whole_usage_has_no_uncertainty_no_error_and_nothing_unpriced(f1: dict[str, Any], book: RateBook) -> None:
    series = _count(f1, _prices(book, "gpt-4o-mini-realtime-preview", "2024-12-17"))
    for name in ("realtime_spend.cost.uncertainty", "realtime_spend.errors", "realtime_spend.unpriced", _REASONING):
        assert sum(amount for _, amount in _points(series, name)) == 0


def test_cached_tokens_without_their_split_are_of_unknown_modality_and_make_the_cost_uncertain(
    book: RateBook, mtok: Mtok
) -> None:
    said = {
        "total_tokens": 3_100,
        "input_tokens": 3_000,
        "output_tokens": 100,
        "input_token_details": {"text_tokens": 2_000, "audio_tokens": 1_000, "cached_tokens": 600},
        "output_token_details": {"audio_tokens": 100},
    }
    series = _count(said, _prices(book, "gpt-realtime"))
    assert _points(series, _CACHED) == [(_UNKNOWN, 600)]
    assert _points(series, _INPUT) == [(_TEXT, 2_000), (_AUDIO, 1_000)]
    dearest = mtok("4", 1_400) + mtok("0.4", 600) + mtok("32", 1_000)
    cheapest = mtok("4", 2_000) + mtok("0.4", 600) + mtok("32", 400)
    assert _points(series, "realtime_spend.cost.uncertainty") == [({}, dearest - cheapest)]
    assert sum(cost for _, cost in _points(series, "realtime_spend.cost")) == dearest + mtok("64", 100)
    assert _points(series, "realtime_spend.errors") == [({"realtime_spend.kind": "cached_not_split"}, 1)]


def test_tokens_without_any_modality_are_counted_as_unknown(book: RateBook) -> None:
    series = _count({"total_tokens": 30, "input_tokens": 20, "output_tokens": 10}, _prices(book, "gpt-realtime"))
    assert _points(series, _INPUT) == [(_UNKNOWN, 20)]
    assert _points(series, _OUTPUT) == [(_UNKNOWN, 10)]


def test_reasoning_is_counted_inside_the_output_and_not_on_top_of_it(book: RateBook, mtok: Mtok) -> None:
    said = {
        "total_tokens": 222,
        "input_tokens": 194,
        "output_tokens": 28,
        "input_token_details": {"image_tokens": 194},
        "output_token_details": {"text_tokens": 28, "reasoning_tokens": 18},
    }
    series = _count(said, _prices(book, "gpt-realtime-2.1-mini"))
    assert _points(series, _REASONING) == [(_TEXT, 18)]
    assert _points(series, _OUTPUT) == [(_TEXT, 28)]
    assert _points(series, "realtime_spend.cost") == [
        (_cost_of("text", "output"), mtok("2.4", 28)),
        (_cost_of("image", "input"), mtok("0.8", 194)),
    ]


def test_a_transcription_by_time_adds_its_seconds(book: RateBook) -> None:
    said = {"type": "duration", "seconds": 9.3}
    series = _count(said, _prices(book, "whisper-1"), kind=Kind.TRANSCRIPTION)
    assert _points(series, _DURATION) == [({}, Decimal("9.3"))]
    assert _points(series, "realtime_spend.cost") == [
        (_cost_of("audio", "duration"), Decimal("0.006") * Decimal("9.3") / 60)
    ]
    assert _points(series, _INPUT) == []


@pytest.mark.parametrize("reason", list(Reason))
def test_without_a_price_the_tokens_are_counted_and_the_reason_is_said(f1: dict[str, Any], reason: Reason) -> None:
    series = _count(f1, reason)
    assert _points(series, _INPUT) == [(_TEXT, 5378), (_AUDIO, 2845)]
    assert _points(series, "realtime_spend.cost") == []
    assert _points(series, "realtime_spend.unpriced") == [({"realtime_spend.reason": str(reason)}, 1)]


def test_a_part_without_a_rate_is_unpriced_beside_parts_that_have_one(book: RateBook, mtok: Mtok) -> None:
    said = {
        "total_tokens": 30,
        "input_tokens": 30,
        "output_tokens": 0,
        "input_token_details": {"text_tokens": 20, "image_tokens": 10},
    }
    series = _count(said, _prices(book, "gpt-4o-mini-realtime-preview", "2024-12-17"))
    assert _points(series, "realtime_spend.cost") == [(_cost_of("text", "input"), mtok("0.6", 20))]
    assert _points(series, "realtime_spend.unpriced") == [({"realtime_spend.reason": "no_rate"}, 1)]


@pytest.mark.parametrize("reported", [Reported.MISSING, Reported.LOST])
def test_usage_that_did_not_come_is_counted_as_that_and_not_as_unpriced(reported: Reported) -> None:
    series = _count(None, Reason.MODEL_NOT_LISTED, status=None, reported=reported, scope_assumed=True)
    assert _points(series, "realtime_spend.usages") == [
        ({"realtime_spend.kind": "response", "realtime_spend.usage": str(reported)}, 1)
    ]
    assert set(series.totals) == {"realtime_spend.usages"}


@pytest.mark.parametrize(
    ("status", "counted"),
    [
        ("completed", "completed"),
        ("cancelled", "cancelled"),
        ("failed", "failed"),
        ("incomplete", "incomplete"),
        ("in_progress", "in_progress"),
        ("resp_0123456789", "other"),
    ],
)
def test_a_status_is_one_of_a_few_words(status: str, counted: str) -> None:
    series = _count(None, Reason.NO_RATE, status=status, reported=Reported.MISSING)
    [(attributes, _)] = _points(series, "realtime_spend.usages")
    assert attributes["realtime_spend.status"] == counted


def test_an_assumed_scope_is_counted(f1: dict[str, Any], book: RateBook) -> None:
    series = _count(f1, _prices(book, "gpt-4o-mini-realtime-preview", "2024-12-17"), scope_assumed=True)
    assert _points(series, "realtime_spend.errors") == [({"realtime_spend.kind": "scope_assumed"}, 1)]


def _euros() -> Prices:
    rates = {
        Part(Modality.TEXT, Component.INPUT): Rate(unit_price=Decimal(4), per=1_000_000),
        Part(Modality.TEXT, Component.CACHED_INPUT): Rate(unit_price=Decimal("0.4"), per=1_000_000),
    }
    return Prices(rates=MappingProxyType(rates), currency="EUR", card="own@2026-11-01")


def test_a_cost_in_another_currency_is_no_number_of_dollars_and_is_said() -> None:
    said = {
        "total_tokens": 100,
        "input_tokens": 100,
        "output_tokens": 0,
        "input_token_details": {
            "text_tokens": 100,
            "cached_tokens": 40,
            "cached_tokens_details": {"text_tokens": 40},
        },
    }
    series = _count(said, _euros())
    assert _points(series, _INPUT) == [(_TEXT, 100)]
    assert set(series.totals) == {_INPUT, _CACHED, "realtime_spend.usages", "realtime_spend.errors"}
    assert _points(series, "realtime_spend.errors") == [({"realtime_spend.kind": "currency_not_usd"}, 1)]


def test_a_cost_in_another_currency_that_is_not_known_is_only_unpriced() -> None:
    said = {"total_tokens": 5, "input_tokens": 5, "input_token_details": {"audio_tokens": 5}, "output_tokens": 0}
    series = _count(said, _euros())
    assert _points(series, "realtime_spend.errors") == []
    assert _points(series, "realtime_spend.unpriced") == [({"realtime_spend.reason": "no_rate"}, 1)]


def test_a_listed_model_appears_with_a_zero_for_each_rate(book: RateBook) -> None:
    series = Series({})
    let_appear(series, Kind.RESPONSE, _prices(book, "gpt-realtime"))
    parts = [
        *((modality, component) for modality in ("text", "audio") for component in ("input", "cached_input", "output")),
        ("image", "input"),
        ("image", "cached_input"),
    ]
    assert _points(series, "realtime_spend.cost") == [(_cost_of(*part), Decimal(0)) for part in parts]
    assert _points(series, _INPUT) == [(_TEXT, 0), (_AUDIO, 0), (_IMAGE, 0)]
    assert _points(series, _CACHED) == [(_TEXT, 0), (_AUDIO, 0), (_IMAGE, 0)]
    assert _points(series, _OUTPUT) == [(_TEXT, 0), (_AUDIO, 0)]
    assert _points(series, "realtime_spend.cache.savings") == [
        (_TEXT, Decimal(0)),
        (_AUDIO, Decimal(0)),
        (_IMAGE, Decimal(0)),
    ]
    assert (
        {
            "realtime_spend.kind": "response",
            "realtime_spend.status": "completed",
            "realtime_spend.usage": "reported",
        },
        0,
    ) in _points(series, "realtime_spend.usages")
    assert _points(series, "realtime_spend.session.time") == [({}, Decimal(0))]


def test_a_model_billed_by_time_appears_with_seconds(book: RateBook) -> None:
    series = Series({})
    let_appear(series, Kind.TRANSCRIPTION, _prices(book, "whisper-1"))
    assert _points(series, _DURATION) == [({}, Decimal(0))]
    assert _points(series, "realtime_spend.cost") == [(_cost_of("audio", "duration"), Decimal(0))]
    assert _points(series, _INPUT) == []
    # A session is the model's that answers.
    assert "realtime_spend.session.time" not in series.totals


def test_a_model_without_a_price_appears_with_its_tokens_and_never_with_a_cost_of_zero() -> None:
    series = Series({})
    let_appear(series, Kind.RESPONSE, Reason.MODEL_NOT_LISTED)
    assert _points(series, _INPUT) == [(_TEXT, 0), (_AUDIO, 0)]
    assert _points(series, _OUTPUT) == [(_TEXT, 0), (_AUDIO, 0)]
    assert "realtime_spend.cost" not in series.totals


def test_to_appear_changes_no_total(f1: dict[str, Any], book: RateBook) -> None:
    prices = _prices(book, "gpt-4o-mini-realtime-preview", "2024-12-17")
    series = _count(f1, prices)
    before = {name: dict(totals) for name, totals in series.totals.items()}
    let_appear(series, Kind.RESPONSE, prices)
    assert {name: {key: total for key, total in totals.items() if total} for name, totals in series.totals.items()} == {
        name: before.get(name, {}) for name in series.totals
    }


def test_a_model_priced_in_another_currency_appears_without_any_dollars() -> None:
    series = Series({})
    let_appear(series, Kind.RESPONSE, _euros())
    assert "realtime_spend.cost" not in series.totals
    assert "realtime_spend.cache.savings" not in series.totals


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        (_REASONING, _TEXT),
        ("realtime_spend.cost.uncertainty", {}),
        ("realtime_spend.duplicates", {}),
        (
            "realtime_spend.usages",
            {
                "realtime_spend.kind": "response",
                "realtime_spend.status": "cancelled",
                "realtime_spend.usage": "reported",
            },
        ),
        ("realtime_spend.usages", {"realtime_spend.kind": "response", "realtime_spend.usage": "lost"}),
    ],
)
def test_whatever_a_listed_model_can_add_to_appears_at_once(
    name: str, attributes: dict[str, str], book: RateBook
) -> None:
    series = Series({})
    let_appear(series, Kind.RESPONSE, _prices(book, "gpt-realtime-2.1"))
    assert (attributes, 0) in _points(series, name)


def test_usages_that_are_counted_together_add_up_to_what_they_are_one_by_one(
    f1: dict[str, Any], book: RateBook
) -> None:
    mini, large = _prices(book, "gpt-4o-mini-realtime-preview", "2024-12-17"), _prices(book, "gpt-realtime")
    in_euro = Prices(rates=mini.rates, currency="EUR", card="own")
    unsplit = {"input_tokens": 100, "output_tokens": 7, "total_tokens": 107, "input_token_details": {"text_tokens": 60}}
    wrong = {**f1, "total_tokens": 1}
    many = [
        (said, prices, status, reported, assumed)
        for said in (f1, unsplit, wrong, {}, f1, f1)
        for prices in (mini, large, in_euro, Reason.MODEL_NOT_LISTED)
        for status, reported in (("completed", Reported.REPORTED), ("cancelled", Reported.REPORTED))
        for assumed in (False, True)
    ]
    together, apart = (Series({}), Series({})), (Series({}), Series({}))
    used = []
    for number, (said, prices, status, reported, assumed) in enumerate(many):
        amounts = read_amounts(said, text_output=False)
        usage = Usage(Kind.RESPONSE, f"resp_{number}", status, reported, amounts)
        priced = price(amounts, prices)
        used.append((together[number % 3 % 2], usage, priced, assumed))
        count_usage(apart[number % 3 % 2], usage, priced, scope_assumed=assumed)
    count_usages(used)
    for one, other in zip(together, apart, strict=True):
        assert one.totals == other.totals
        assert {name: {type(amount) for amount in found.values()} for name, found in one.totals.items()} == {
            name: {type(amount) for amount in found.values()} for name, found in other.totals.items()
        }
    assert sum(amount for series in together for _, amount in _points(series, "realtime_spend.usages")) == len(many)
