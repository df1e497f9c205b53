"""The price list of Azure Voice Live, meter by meter: USD per thousand tokens, as the list prints them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from realtime_spend.core.line_items import Component, Modality, Part, Provider, Scope, Sku
from realtime_spend.core.rates import ModelKind, Prices, RateBook
from realtime_spend.rate_cards import built_in

CARD = built_in("azure_voice_live.toml")
_AT = datetime(2026, 11, 22, tzinfo=UTC)
# Tier and version: text, then audio, each input, cached input and output.
_LISTED = {
    ("pro", None): ("0.0055 0.00275 0.022", "0.044 0.00275 0.088"),
    ("pro", "standard-speech"): ("0.0055 0.00275 0.022", "0.017 0.00275 0.038"),
    ("pro", "custom-speech"): ("0.0055 0.00275 0.022", "0.04 0.00275 0.055"),
    ("std", None): ("0.00066 0.00033 0.00264", "0.011 0.00033 0.022"),
    ("std", "standard-speech"): ("0.00066 0.00033 0.00264", "0.015 0.00033 0.033"),
    ("std", "custom-speech"): ("0.00066 0.00033 0.00264", "0.039 0.00033 0.05"),
    ("lite", None): ("0.00008 0.00004 0.00032", "0.004 0.00004 -"),
    ("lite", "standard-speech"): ("0.00008 0.00004 0.00032", "0.013 0.00004 0.033"),
    ("lite", "custom-speech"): ("0.00008 0.00004 0.00032", "- 0.00004 0.05"),
}


@pytest.mark.parametrize(("place", "listed"), _LISTED.items(), ids=str)
def test_every_meter_has_the_price_of_the_list(place: tuple[str, str | None], listed: tuple[str, str]) -> None:
    tier, version = place
    sku = Sku(provider=Provider.AZURE, model=f"voice-live-{tier}", version=version, scope=Scope.GLOBAL)
    found = RateBook([CARD]).prices(sku, _AT)
    assert isinstance(found, Prices)
    components = (Component.INPUT, Component.CACHED_INPUT, Component.OUTPUT)
    expected = {
        Part(modality, component): Decimal(price)
        for modality, prices in zip((Modality.TEXT, Modality.AUDIO), listed, strict=True)
        for component, price in zip(components, prices.split(), strict=True)
        if price != "-"
    }
    assert {part: rate.cost(Decimal(1000)) for part, rate in found.rates.items()} == expected


def test_the_card_holds_these_tiers_and_nothing_else() -> None:
    names = {(listed.model.removeprefix("voice-live-"), listed.version) for listed in CARD.names.values()}
    assert names == set(_LISTED)
    assert {listed.kind for listed in CARD.names.values()} == {ModelKind.VOICE_LIVE}
    assert len(CARD.rows) == len(_LISTED)
    assert all(row.source.startswith("https://") and row.checked <= "2025-11-30" for row in CARD.rows)
