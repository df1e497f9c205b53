"""Every current price of OpenAI on our card against another list of them, the pinned release of genai-prices."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version

import pytest
from genai_prices.data import providers

from realtime_spend.core.line_items import Provider, Scope, Sku
from realtime_spend.core.rates import Prices, RateBook
from realtime_spend.rate_cards import built_in

CARD = built_in("openai.toml")
BOOK = RateBook([CARD])
NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
THEIRS = next(provider for provider in providers if provider.id == "openai")

# Their word for each part of ours, and how many of our units one of their prices is for.
PARTS = {
    "input_mtok": ("text.input", 1_000_000),
    "cache_read_mtok": ("text.cached_input", 1_000_000),
    "output_mtok": ("text.output", 1_000_000),
    "input_audio_mtok": ("audio.input", 1_000_000),
    "cache_audio_read_mtok": ("audio.cached_input", 1_000_000),
    "output_audio_mtok": ("audio.output", 1_000_000),
    "input_image_mtok": ("image.input", 1_000_000),
    "cache_image_read_mtok": ("image.cached_input", 1_000_000),
    "audio_hours": ("audio.duration", 3_600),
    # The same hour again, from the side of the input: charged once.
    "input_audio_hours": ("audio.duration", 3_600),
}

_BY_PREFIX = "they match gpt-4o-realtime by prefix and give every snapshot the price of 2024-12-17"
DIFFERENCES = {
    ("gpt-4o-realtime-preview-2024-10-01", "audio.input"): _BY_PREFIX,
    ("gpt-4o-realtime-preview-2024-10-01", "audio.cached_input"): _BY_PREFIX,
    ("gpt-4o-realtime-preview-2024-10-01", "audio.output"): _BY_PREFIX,
}

_DATED = "they match the bare name exactly and miss the dated one"
UNKNOWN_TO_THEM = {
    "gpt-realtime-1.5-2026-02-23": _DATED,
    "gpt-4o-mini-transcribe-2025-03-20": _DATED,
    "gpt-4o-mini-transcribe-2025-12-15": _DATED,
    "gpt-live-1.1": "it is younger than their release",
}


def ours(name: str) -> dict[str, Decimal]:
    """What one unit of each part costs, as we say, exactly where a price per million or per hour is."""
    listed = CARD.names[name]
    sku = Sku(provider=Provider.OPENAI, model=listed.model, version=listed.version, scope=Scope.GLOBAL)
    prices = BOOK.prices(sku, NOW)
    assert isinstance(prices, Prices)
    per = dict(PARTS.values())
    return {str(part): rate.unit_price * per[str(part)] / rate.per for part, rate in prices.rates.items()}


def theirs(name: str) -> dict[str, Decimal] | None:
    """What they say; None where they do not know the name."""
    model = THEIRS.find_model(name)
    if model is None:
        return None
    said: dict[str, Decimal] = {}
    for word, price in vars(model.get_prices(NOW)).items():
        if price is None:
            continue
        assert isinstance(price, Decimal), f"{name}: {word} has become a price in tiers"
        part, _ = PARTS[word]
        assert said.setdefault(part, price) == price, f"{name}: they say two things of {part}"
    return said


def differing(name: str) -> set[str]:
    said, meant = theirs(name), ours(name)
    if said is None:
        return set()
    return {part for part in said.keys() | meant.keys() if said.get(part) != meant.get(part)}


def test_the_release_compared_with_is_the_pinned_one() -> None:
    assert version("genai-prices") == "0.2.3"


@pytest.mark.parametrize("name", CARD.names)
def test_every_part_costs_what_they_say_except_where_a_reason_is_given(name: str) -> None:
    assert differing(name) == {part for excepted, part in DIFFERENCES if excepted == name}


def test_the_names_that_they_do_not_know_are_these_and_no_others() -> None:
    assert {name for name in CARD.names if theirs(name) is None} == set(UNKNOWN_TO_THEM)


def test_an_exception_is_made_for_names_of_the_card_alone() -> None:
    assert {name for name, _ in DIFFERENCES} | set(UNKNOWN_TO_THEM) <= set(CARD.names)


def test_every_voice_model_that_they_price_is_on_the_card() -> None:
    words = ("realtime", "transcribe", "whisper", "live", "gpt-audio")
    voice = {model.id for model in THEIRS.models if any(word in model.id for word in words)}
    assert voice
    assert voice <= set(CARD.names)
