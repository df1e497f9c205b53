from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Context, Decimal, Inexact, Rounded, localcontext
from types import MappingProxyType
from typing import Any

import pytest

from realtime_spend.core.line_items import Component, Modality, Part, Provider, Rate, Scope, Sku
from realtime_spend.core.pricing import price
from realtime_spend.core.rates import Contest, Prices, RateBook, Reason
from realtime_spend.core.reading import read_amounts
from realtime_spend.core.usage import Amounts, Tokens

Money = Callable[[str, int], Decimal]
Minutes = Callable[[str, str], Decimal]
Usage = Callable[..., dict[str, Any]]
Shape = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int], int | None]

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TEXT, AUDIO, IMAGE, UNKNOWN = Modality.TEXT, Modality.AUDIO, Modality.IMAGE, Modality.UNKNOWN
# The text, audio and image prices of gpt-realtime, and of it on Azure within a data zone: input, cached, output.
LARGE = {"text": ("4", "0.4", "16"), "audio": ("32", "0.4", "64"), "image": ("5", "0.5", "0")}
MINI = {"text": ("0.6", "0.06", "2.4"), "audio": ("10", "0.3", "20"), "image": ("0.8", "0.08", "0")}


def rates(table: Mapping[str, tuple[str, ...]]) -> Prices:
    """Prices from a table of (input, cached input, output) by modality; an empty price is none at all."""
    found = {
        Part(Modality(modality), component): Rate(unit_price=Decimal(unit_price), per=1_000_000)
        for modality, row in table.items()
        for component, unit_price in zip(Component, row, strict=False)
        if unit_price
    }
    return Prices(rates=MappingProxyType(found), card="a-card")


def held(book: RateBook, sku: Sku, at: datetime = NOW) -> Prices:
    found = book.prices(sku, at)
    assert isinstance(found, Prices)
    return found


def response(usage: object) -> Amounts:
    return read_amounts(usage, text_output=False)


def lines(priced: Any) -> dict[str, Decimal | None]:
    return {str(item.part): item.cost for item in priced.items}


# --- payloads and what they cost -----------------------------------------------------------------------------------

OPENAI, AZURE = Provider.OPENAI, Provider.AZURE
PAYLOADS: dict[str, tuple[Sku, Shape, list[tuple[str, int]], str]] = {
    # The one that somebody was "billed half of what I calculated" for.
    "cached audio, gpt-4o-mini-realtime-preview": (
        Sku(provider=OPENAI, model="gpt-4o-mini-realtime-preview"),
        ((5378, 2845, 0), (5376, 2816, 0), (250, 1019), None),
        [("0.6", 5378 - 5376), ("0.3", 5376), ("10", 2845 - 2816), ("0.3", 2816), ("2.4", 250), ("20", 1019)],
        "0.0237288",
    ),
    "cached audio, gpt-4o-realtime-preview of December 2024": (
        Sku(provider=OPENAI, model="gpt-4o-realtime-preview", version="2024-12-17"),
        ((900, 1600, 0), (640, 1152, 0), (60, 240), None),
        [("5", 900 - 640), ("2.5", 640), ("40", 1600 - 1152), ("2.5", 1152), ("20", 60), ("80", 240)],
        "0.0441000",
    ),
    "an image, gpt-realtime": (
        Sku(provider=OPENAI, model="gpt-realtime"),
        ((1240, 2110, 765), (1152, 832, 0), (41, 260), None),
        [("4", 1240 - 1152), ("0.4", 1152), ("32", 2110 - 832), ("0.4", 832), ("5", 765), ("16", 41), ("64", 260)],
        "0.0631626",
    ),
    "an image, gpt-realtime on Azure": (
        Sku(provider=AZURE, model="gpt-realtime", version="2025-08-28", scope=Scope.GLOBAL),
        ((1240, 2110, 765), (1152, 832, 0), (41, 260), None),
        [("4", 1240 - 1152), ("0.4", 1152), ("32", 2110 - 832), ("0.4", 832), ("5", 765), ("16", 41), ("64", 260)],
        "0.0631626",
    ),
    "image and reasoning, gpt-realtime-2.1-mini": (
        Sku(provider=OPENAI, model="gpt-realtime-2.1-mini"),
        ((152, 0, 194), (128, 0, 0), (28, 0), 18),
        [("0.6", 152 - 128), ("0.06", 128), ("0.8", 194), ("2.4", 28)],
        "0.00024448",
    ),
    "reasoning, gpt-realtime-2.1 in an Azure data zone": (
        Sku(provider=AZURE, model="gpt-realtime-2.1", scope=Scope.DATAZONE),
        ((5120, 600, 0), (4608, 128, 0), (610, 220), 540),
        [("4.4", 5120 - 4608), ("0.44", 4608), ("35.2", 600 - 128), ("0.44", 128), ("26.4", 610), ("70.4", 220)],
        "0.05254304",
    ),
    "a cancelled response, gpt-realtime": (
        Sku(provider=OPENAI, model="gpt-realtime"),
        ((1310, 640, 0), (1280, 576, 0), (12, 66), None),
        [("4", 1310 - 1280), ("0.4", 1280), ("32", 640 - 576), ("0.4", 576), ("16", 12), ("64", 66)],
        "0.0073264",
    ),
}


@pytest.mark.parametrize(("sku", "shape", "parts", "printed"), PAYLOADS.values(), ids=PAYLOADS)
def test_a_response_costs_what_its_parts_cost(  # noqa: PLR0917 - a table of payloads
    book: RateBook,
    usage_of: Usage,
    mtok: Money,
    sku: Sku,
    shape: Shape,
    parts: list[tuple[str, int]],
    printed: str,
) -> None:
    priced = price(response(usage_of(*shape)), held(book, sku))
    assert priced.cost == sum(mtok(*part) for part in parts) == Decimal(printed)
    assert [item.cost for item in priced.items if item.cost] == [
        cost for cost in (mtok(*part) for part in _by_line(parts, priced)) if cost
    ]
    assert (priced.low, priced.high, priced.uncertainty) == (None, None, Decimal(0))
    assert priced.reasons == ()
    assert priced.currency == "USD"
    assert priced.card is not None
    assert "@" in priced.card


def _by_line(parts: list[tuple[str, int]], priced: Any) -> list[tuple[str, int]]:
    """The same parts in the order of the lines: each line has one of them, and no part is left over."""
    left = list(parts)
    ordered = []
    for item in priced.items:
        part = (str(item.rate.unit_price), int(item.quantity))
        left.remove(part)
        ordered.append(part)
    assert left == []
    return ordered


def test_a_transcription_by_tokens_costs_audio_and_text_of_its_own_model(book: RateBook, mtok: Money) -> None:
    usage = {
        "type": "tokens",
        "input_tokens": 15 + 26,
        "output_tokens": 16,
        "total_tokens": 15 + 26 + 16,
        "input_token_details": {"text_tokens": 15, "audio_tokens": 26},
    }
    priced = price(read_amounts(usage, text_output=True), held(book, Sku(provider=OPENAI, model="gpt-4o-transcribe")))
    assert priced.cost == mtok("2.5", 15) + mtok("6", 26) + mtok("10", 16) == Decimal("0.0003535")
    assert [str(contest.part) for contest in priced.contests] == ["audio.input"]


def test_a_transcription_by_tokens_without_details_lies_between_text_and_audio(book: RateBook, mtok: Money) -> None:
    usage = {"type": "tokens", "input_tokens": 26, "output_tokens": 9, "total_tokens": 26 + 9}
    priced = price(read_amounts(usage, text_output=True), held(book, Sku(provider=OPENAI, model="gpt-4o-transcribe")))
    assert (priced.cost, priced.high) == (mtok("6", 26) + mtok("10", 9), mtok("6", 26) + mtok("10", 9))
    assert priced.low == mtok("2.5", 26) + mtok("10", 9)
    assert priced.uncertainty == mtok("6", 26) - mtok("2.5", 26)
    assert priced.reasons == ()


def test_a_transcription_by_seconds_costs_its_share_of_a_minute(book: RateBook, minutes: Minutes) -> None:
    usage = {"type": "duration", "seconds": 9.3}
    priced = price(read_amounts(usage, text_output=True), held(book, Sku(provider=OPENAI, model="whisper-1")))
    assert priced.cost == minutes("0.006", "9.3") == Decimal("0.00093")
    assert lines(priced) == {"audio.duration": minutes("0.006", "9.3")}


def test_a_price_per_minute_without_a_finite_price_per_second_is_exact_for_whole_minutes(
    book: RateBook, minutes: Minutes
) -> None:
    prices = held(book, Sku(provider=OPENAI, model="gpt-realtime-whisper"))
    assert price(Amounts(seconds=Decimal(60)), prices).cost == Decimal("0.017")
    assert price(Amounts(seconds=Decimal(1)), prices).cost == minutes("0.017", "1")


def test_lines_stand_modality_by_modality(usage_of: Usage) -> None:
    priced = price(response(usage_of((4, 5, 6), (1, 2, 3), (7, 8))), rates(LARGE))
    assert [str(item.part) for item in priced.items] == [
        "text.input",
        "text.cached_input",
        "text.output",
        "audio.input",
        "audio.cached_input",
        "audio.output",
        "image.input",
        "image.cached_input",
    ]


def test_a_host_that_changed_the_default_decimal_context_changes_no_price(
    book: RateBook, usage_of: Usage, mtok: Money
) -> None:
    sku, shape, parts, _ = PAYLOADS["cached audio, gpt-4o-mini-realtime-preview"]
    expected = sum(mtok(*part) for part in parts)
    usage = usage_of(*shape)
    uncertain = {"input_tokens": 139, "output_tokens": 0, "input_token_details": {"text_tokens": 43}}
    undisturbed = price(response(uncertain), rates(LARGE))
    with localcontext(Context(prec=3, traps=[Inexact, Rounded])):
        priced = price(response(usage), held(book, sku))
        still = price(response(uncertain), rates(LARGE))
        uncertainty = still.uncertainty
    assert priced.cost == expected
    assert (still.items, still.low, still.cost) == (undisturbed.items, undisturbed.low, undisturbed.cost)
    assert uncertainty == undisturbed.uncertainty


# --- savings -------------------------------------------------------------------------------------------------------


def test_savings_are_what_cached_tokens_would_have_cost_more_as_input(usage_of: Usage, mtok: Money) -> None:
    priced = price(response(usage_of((100, 200, 300), (90, 150, 0), (1, 1))), rates(LARGE))
    assert priced.savings == {
        TEXT: mtok("4", 90) - mtok("0.4", 90),
        AUDIO: mtok("32", 150) - mtok("0.4", 150),
    }


def test_there_are_no_savings_where_either_price_is_not_known(usage_of: Usage) -> None:
    table = {"text": ("4", "", "16"), "audio": ("", "0.4", "64")}
    priced = price(response(usage_of((100, 200, 0), (90, 200, 0), (0, 0))), rates(table))
    assert priced.savings == {}


# --- what has no price ---------------------------------------------------------------------------------------------


def test_a_usage_without_prices_keeps_its_quantities_and_says_why(usage_of: Usage) -> None:
    priced = price(response(usage_of((10, 20, 0), (4, 5, 0), (6, 7))), Reason.MODEL_NOT_LISTED)
    assert priced.cost is None
    assert priced.reasons == (Reason.MODEL_NOT_LISTED,)
    assert set(lines(priced).values()) == {None}
    assert sum(item.quantity for item in priced.items) == 10 + 20 + 6 + 7
    assert priced.card is None
    assert priced.uncertainty == 0


def test_a_part_without_a_rate_is_unpriced_and_the_others_are_summed(usage_of: Usage, mtok: Money) -> None:
    table = {key: LARGE[key] for key in ("text", "audio")}
    priced = price(response(usage_of((10, 20, 30), (0, 0, 0), (0, 0))), rates(table))
    assert priced.cost == mtok("4", 10) + mtok("32", 20)
    assert lines(priced)["image.input"] is None
    assert priced.reasons == (Reason.NO_RATE,)


def test_nothing_priced_costs_nothing_known_rather_than_0(usage_of: Usage) -> None:
    priced = price(response(usage_of((0, 0, 30), (0, 0, 0), (0, 0))), rates({"text": LARGE["text"]}))
    assert priced.cost is None
    assert priced.reasons == (Reason.NO_RATE,)


def test_seconds_at_a_model_that_is_billed_by_tokens_are_unpriced() -> None:
    priced = price(Amounts(seconds=Decimal(9)), rates(LARGE))
    assert priced.cost is None
    assert priced.reasons == (Reason.NO_RATE,)


def test_a_missing_usage_has_no_lines_and_no_cost() -> None:
    priced = price(Amounts(), rates(LARGE))
    assert priced.items == ()
    assert priced.cost is None
    assert priced.reasons == ()


def test_a_usage_of_zeros_costs_nothing_and_that_is_known(usage_of: Usage) -> None:
    priced = price(response(usage_of((0, 0, 0), (0, 0, 0), (0, 0))), rates(LARGE))
    assert priced.items == ()
    assert (priced.cost, priced.low, priced.high) == (Decimal(0), None, None)
    assert priced.reasons == ()
    bare = price(response({"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}), rates(LARGE))
    assert bare.cost == 0


def test_a_usage_of_zeros_without_prices_has_no_cost(usage_of: Usage) -> None:
    priced = price(response(usage_of((0, 0, 0), (0, 0, 0), (0, 0))), Reason.MODEL_NOT_LISTED)
    assert (priced.cost, priced.reasons) == (None, (Reason.MODEL_NOT_LISTED,))


def test_only_the_contests_of_parts_that_were_used_are_told(usage_of: Usage) -> None:
    contests = tuple(
        Contest(part=Part(modality, Component.INPUT), used=Decimal(4), others=(Decimal(3),), why="two pages disagree")
        for modality in (TEXT, AUDIO)
    )
    prices = Prices(rates=rates(LARGE).rates, contests=contests)
    priced = price(response(usage_of((10, 0, 0), (0, 0, 0), (0, 0))), prices)
    assert priced.contests == (contests[0],)


# --- intervals -----------------------------------------------------------------------------------------------------


def test_an_unsplit_cache_costs_the_dearest_split_and_is_uncertain_by_the_distance_to_the_cheapest(
    mtok: Money,
) -> None:
    usage = {
        "input_tokens": 43 + 96,
        "output_tokens": 10,
        "input_token_details": {"text_tokens": 43, "audio_tokens": 96, "cached_tokens": 64},
        "output_token_details": {"text_tokens": 10},
    }
    priced = price(response(usage), rates(LARGE))
    # A cached audio token saves far more than a cached text token, so the dearest split caches all the text there is.
    dearest = mtok("0.4", 43) + mtok("32", 96 - 21) + mtok("0.4", 21) + mtok("16", 10)
    cheapest = mtok("4", 43) + mtok("32", 96 - 64) + mtok("0.4", 64) + mtok("16", 10)
    assert (priced.cost, priced.low, priced.high) == (dearest, cheapest, dearest)
    assert priced.uncertainty == dearest - cheapest
    assert lines(priced) == {
        "text.cached_input": mtok("0.4", 43),
        "text.output": mtok("16", 10),
        "audio.input": mtok("32", 96 - 21),
        "audio.cached_input": mtok("0.4", 21),
    }


def test_a_partly_split_cache_is_uncertain_by_its_rest_alone(mtok: Money) -> None:
    usage = {
        "input_tokens": 40 + 50,
        "output_tokens": 0,
        "input_token_details": {
            "text_tokens": 40,
            "audio_tokens": 50,
            "cached_tokens": 30,
            "cached_tokens_details": {"text_tokens": 10},
        },
    }
    priced = price(response(usage), rates(MINI))
    assert priced.high == mtok("0.06", 10 + 20) + mtok("0.6", 10) + mtok("10", 50)
    assert priced.low == mtok("0.06", 10) + mtok("0.6", 30) + mtok("10", 30) + mtok("0.3", 20)
    assert priced.uncertainty == (mtok("10", 20) - mtok("0.3", 20)) - (mtok("0.6", 20) - mtok("0.06", 20))


def test_without_any_details_the_bounds_are_the_dearest_and_the_cheapest_token(mtok: Money) -> None:
    priced = price(
        response({"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}), rates(MINI | {"image": ()})
    )
    assert priced.high == mtok("10", 100) + mtok("20", 10)
    assert priced.low == mtok("0.06", 100) + mtok("2.4", 10)
    assert lines(priced) == {"audio.input": mtok("10", 100), "audio.output": mtok("20", 10)}


def test_tokens_of_unknown_modality_next_to_known_ones_widen_the_interval_by_themselves_alone(mtok: Money) -> None:
    usage = {"input_tokens": 50, "output_tokens": 0, "input_token_details": {"text_tokens": 10, "audio_tokens": 27}}
    priced = price(response(usage), rates(LARGE))
    assert priced.high == mtok("4", 10) + mtok("32", 27 + 13)
    assert priced.low == mtok("4", 10 + 13) + mtok("32", 27)


def test_an_impossible_cache_lies_between_nothing_and_everything_cached(mtok: Money) -> None:
    usage = {
        "input_tokens": 30,
        "output_tokens": 0,
        "input_token_details": {"text_tokens": 10, "audio_tokens": 20, "cached_tokens": 31},
    }
    priced = price(response(usage), rates(LARGE))
    assert priced.high == mtok("4", 10) + mtok("32", 20)
    assert priced.low == mtok("0.4", 30)


def test_where_caching_costs_more_than_input_the_dearest_split_caches_the_most(mtok: Money) -> None:
    odd = rates({"text": ("1", "5", "0"), "audio": ("2", "4", "0")})
    usage = {
        "input_tokens": 30,
        "output_tokens": 0,
        "input_token_details": {"text_tokens": 10, "audio_tokens": 20, "cached_tokens": 31},
    }
    priced = price(response(usage), odd)
    assert priced.high == mtok("5", 10) + mtok("4", 20)
    assert priced.low == mtok("1", 10) + mtok("2", 20)


def test_where_every_split_costs_the_same_there_is_no_interval(mtok: Money) -> None:
    flat = rates({"text": ("4", "0.4", "16"), "audio": ("4", "0.4", "16")})
    usage = {
        "input_tokens": 30,
        "output_tokens": 0,
        "input_token_details": {"text_tokens": 10, "audio_tokens": 20, "cached_tokens": 12},
    }
    priced = price(response(usage), flat)
    assert priced.cost == mtok("4", 30 - 12) + mtok("0.4", 12)
    assert (priced.low, priced.high, priced.uncertainty) == (None, None, Decimal(0))


def test_tokens_that_may_have_no_rate_are_unpriced_rather_than_bounded(mtok: Money) -> None:
    without_caches = rates({"text": ("4", "", "16"), "audio": ("32", "", "64")})
    usage = {
        "input_tokens": 30,
        "output_tokens": 5,
        "input_token_details": {"text_tokens": 10, "audio_tokens": 20, "cached_tokens": 12},
        "output_token_details": {"text_tokens": 5},
    }
    priced = price(response(usage), without_caches)
    assert priced.cost == mtok("16", 5)
    assert (priced.low, priced.high) == (None, None)
    assert priced.reasons == (Reason.NO_RATE,)
    assert {str(item.part): int(item.quantity) for item in priced.items if item.cost is None} == {
        "unknown.input": 30 - 12,
        "unknown.cached_input": 12,
    }


def test_a_known_cached_part_without_a_rate_stays_unpriced_within_an_interval(mtok: Money) -> None:
    tokens = Tokens(
        input={TEXT: 10, AUDIO: 20, IMAGE: 5},
        cached={IMAGE: 5},
        unsplit=(4, 4),
        output={},
    )
    priced = price(Amounts(tokens=tokens), rates({"text": LARGE["text"], "audio": LARGE["audio"], "image": ("5", "")}))
    assert lines(priced)["image.cached_input"] is None
    assert priced.reasons == (Reason.NO_RATE,)
    assert priced.high == mtok("4", 10 - 4) + mtok("0.4", 4) + mtok("32", 20)
    assert priced.low == mtok("4", 10) + mtok("32", 20 - 4) + mtok("0.4", 4)


def test_an_interval_of_which_nothing_is_priced_has_no_bounds() -> None:
    tokens = Tokens(input={TEXT: 5}, cached={TEXT: 5}, unsplit=(0, 0), output={UNKNOWN: 3})
    priced = price(Amounts(tokens=tokens), rates({}))
    assert (priced.cost, priced.low, priced.high) == (None, None, None)
