from __future__ import annotations

import decimal
from decimal import Decimal

import pytest
from tests.known_usage import mtok

from realtime_spend.simulator import Provider, Scope
from realtime_spend.simulator.models import SNAPSHOTS, Sku
from realtime_spend.simulator.prices import cost_of, plain


def _sku(
    model: str, version: str | None = None, scope: Scope = Scope.GLOBAL, provider: Provider = Provider.AZURE
) -> Sku:
    return Sku(provider=provider, model=model, version=version, scope=scope)


@pytest.mark.parametrize(
    ("model", "component", "price"),
    [
        ("gpt-realtime", "audio.input", "32"),
        ("gpt-realtime", "audio.cached_input", "0.4"),
        ("gpt-realtime", "image.input", "5"),
        ("gpt-realtime-2", "text.output", "24"),
        ("gpt-realtime-mini", "text.cached_input", "0.06"),
        ("gpt-realtime-mini", "audio.cached_input", "0.3"),
        ("gpt-4o-mini-realtime-preview", "audio.output", "20"),
        ("gpt-4o-transcribe", "audio.input", "6"),
        ("gpt-4o-mini-transcribe", "audio.input", "3"),
    ],
)
def test_a_component_costs_its_price_per_million_tokens(model: str, component: str, price: str) -> None:
    assert cost_of(_sku(model), component, 1_234) == mtok(price, 1_234)


def test_a_snapshot_can_cost_something_else_than_its_family() -> None:
    old = _sku("gpt-4o-realtime-preview", "2024-10-01")
    new = _sku("gpt-4o-realtime-preview", "2024-12-17")
    assert cost_of(old, "audio.input", 10) == mtok("100", 10)
    assert cost_of(new, "audio.input", 10) == mtok("40", 10)


def test_an_azure_data_zone_costs_a_tenth_more() -> None:
    assert cost_of(_sku("gpt-realtime", scope=Scope.DATAZONE), "audio.input", 7) == mtok("32", 7) * Decimal("1.10")


@pytest.mark.parametrize("scope", [Scope.REGIONAL, Scope.PROVISIONED])
def test_scopes_that_the_table_does_not_hold_have_no_price(scope: Scope) -> None:
    assert cost_of(_sku("gpt-realtime", scope=scope), "audio.input", 7) is None


@pytest.mark.parametrize(
    ("model", "component"),
    [
        ("gpt-realtime-9", "text.input"),
        ("gpt-realtime", "image.output"),
        ("gpt-realtime", "audio.duration"),
        ("whisper-1", "audio.input"),
        ("gpt-4o-mini-realtime-preview", "image.input"),
    ],
)
def test_what_is_not_on_the_price_list_has_no_price_and_not_zero(model: str, component: str) -> None:
    assert cost_of(_sku(model), component, 5) is None


def test_time_is_priced_by_the_minute_and_kept_to_twelve_places() -> None:
    assert (
        cost_of(_sku("whisper-1", provider=Provider.OPENAI), "audio.duration", Decimal(3)) == Decimal("0.006") * 3 / 60
    )
    assert cost_of(_sku("gpt-realtime-whisper"), "audio.duration", Decimal(1)) == Decimal("0.000283333333")


def test_costs_do_not_depend_on_the_decimal_context_of_the_host() -> None:
    with decimal.localcontext(prec=2):
        assert cost_of(_sku("gpt-realtime"), "audio.input", 123_457) == Decimal("3.950624")


@pytest.mark.parametrize("model", sorted(SNAPSHOTS))
def test_every_known_model_has_a_price(model: str) -> None:
    components = ("text.input", "audio.duration")
    sku = _sku(model, provider=Provider.OPENAI)
    assert any(cost_of(sku, component, 1) is not None for component in components)


def test_azure_prices_time_for_its_own_models_and_in_global_scope_only() -> None:
    assert cost_of(_sku("whisper"), "audio.duration", 60) == Decimal("0.006")
    assert cost_of(_sku("whisper", scope=Scope.DATAZONE), "audio.duration", 60) is None
    assert cost_of(_sku("gpt-transcribe"), "audio.duration", 60) is None


@pytest.mark.parametrize(
    ("amount", "printed"), [("0E-12", "0"), ("1.500", "1.5"), ("1E+3", "1000"), ("100", "100"), ("0.10", "0.1")]
)
def test_decimals_are_printed_plainly(amount: str, printed: str) -> None:
    assert plain(Decimal(amount)) == printed
