from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from realtime_spend.core.card_format import parse_card
from realtime_spend.core.line_items import Component, Modality, Part, Provider, Scope
from realtime_spend.core.price_list import Difference, differences, listed_rates
from realtime_spend.core.rates import RateBook, RateCard

_AT = datetime(2026, 11, 18, tzinfo=UTC)


def _card(*rates: dict[str, Any], provider: str = "openai", name: str = "ours", kind: str = "realtime") -> RateCard:
    models = sorted({rate["model"] for rate in rates})
    return parse_card(
        {
            "format": 1,
            "provider": provider,
            "name": name,
            "date": date(2026, 11, 1),
            "currency": "USD",
            "model": [
                {"model": model, "kind": kind, "names": {model: "", f"{model}-2026-01-01": "2026-01-01"}}
                for model in models
            ],
            "rate": list(rates),
        }
    )


def _rate(model: str = "one", starts: date | None = None, **changes: Any) -> dict[str, Any]:
    changes |= {"from": starts} if starts else {}
    return {"model": model, "text": {"input": "4", "output": "16"}, **changes}


def test_each_rate_of_each_card_is_listed_in_the_order_of_the_cards() -> None:
    book = RateBook([_card(_rate(), name="own"), _card(_rate("two"), provider="azure.ai.openai")])
    found = [(rate.card, rate.row.model, str(rate.part), rate.rate.unit_price) for rate in listed_rates(book)]
    assert found == [
        ("own@2026-11-01", "one", "text.input", Decimal(4)),
        ("own@2026-11-01", "one", "text.output", Decimal(16)),
        ("ours@2026-11-01", "two", "text.input", Decimal(4)),
        ("ours@2026-11-01", "two", "text.output", Decimal(16)),
    ]


def test_the_list_can_be_of_one_provider_or_of_one_model_by_any_of_its_names() -> None:
    book = RateBook([_card(_rate(), _rate("two")), _card(_rate(), provider="azure.ai.openai", name="azure")])
    assert {rate.provider for rate in listed_rates(book, Provider.AZURE)} == {Provider.AZURE}
    for name in ("two", "two-2026-01-01"):
        assert {(rate.card, rate.row.model) for rate in listed_rates(book, model=name)} == {("ours@2026-11-01", "two")}
    assert list(listed_rates(book, Provider.AZURE, "two")) == []
    assert list(listed_rates(book, model="tw")) == []


def test_a_rate_starts_on_its_day_or_on_none_that_is_known() -> None:
    book = RateBook([_card(_rate(starts=date(2026, 3, 1)), _rate("two"))])
    assert [rate.starts for rate in listed_rates(book)] == ["2026-03-01", "2026-03-01", None, None]


def test_a_rate_that_sources_disagree_on_bears_the_other_figures() -> None:
    contest = {"part": "text.input", "others": ["5", "6"], "why": "two pages"}
    book = RateBook([_card(_rate(contested=[contest]))])
    assert [rate.contested_by for rate in listed_rates(book)] == [(Decimal(5), Decimal(6)), ()]


def test_equal_cards_do_not_differ() -> None:
    card = _card(_rate(), _rate("two", scopes=["regional"], regions=["northeurope", "swedencentral"]))
    assert list(differences(RateBook([card]), card, _AT)) == []


def test_a_price_that_differs_is_given_from_both_sides() -> None:
    theirs = _card(_rate(text={"input": "4.40", "output": "16.0"}), name="theirs")
    [found] = differences(RateBook([_card(_rate())]), theirs, _AT)
    assert found.part == Part(Modality.TEXT, Component.INPUT)
    assert (found.sku.provider, found.sku.model, found.sku.scope) == (Provider.OPENAI, "one", Scope.GLOBAL)
    assert (found.ours, found.theirs) == (Decimal(4), Decimal("4.4"))


def _prices(found: list[Difference]) -> list[tuple[str, Decimal | None, Decimal | None]]:
    return [(str(difference.part), difference.ours, difference.theirs) for difference in found]


def test_a_part_that_one_side_lacks_is_a_difference() -> None:
    ours = RateBook([_card(_rate(text={"input": "4"}))])
    assert _prices(list(differences(ours, _card(_rate(text={"output": "16"})), _AT))) == [
        ("text.input", Decimal(4), None),
        ("text.output", None, Decimal(16)),
    ]


def test_a_model_that_we_do_not_price_differs_in_each_part() -> None:
    assert _prices(list(differences(RateBook([]), _card(_rate()), _AT))) == [
        ("text.input", None, Decimal(4)),
        ("text.output", None, Decimal(16)),
    ]


def test_a_model_of_which_their_card_does_not_speak_is_no_difference() -> None:
    assert list(differences(RateBook([_card(_rate(), _rate("two"))]), _card(_rate()), _AT)) == []


def test_each_version_scope_and_region_of_their_card_is_compared() -> None:
    row = _rate(versions=["", "2026-01-01"], scopes=["global", "regional"], regions=["northeurope", "swedencentral"])
    found = {
        (difference.sku.version, difference.sku.scope, difference.sku.region)
        for difference in differences(RateBook([]), _card(row), _AT)
    }
    assert {version for version, _, _ in found} == {None, "2026-01-01"}
    assert {region for _, scope, region in found if scope is Scope.REGIONAL} == {"northeurope", "swedencentral"}


def test_the_rates_of_the_instant_are_compared() -> None:
    ours = _card(_rate(), _rate(text={"input": "5", "output": "16"}, starts=date(2026, 12, 1)))
    theirs = _card(_rate())
    assert list(differences(RateBook([ours]), theirs, _AT)) == []
    assert _prices(list(differences(RateBook([ours]), theirs, datetime(2026, 12, 1, tzinfo=UTC)))) == [
        ("text.input", Decimal(5), Decimal(4))
    ]


def test_a_price_by_the_minute_and_the_same_by_the_hour_are_one_price() -> None:
    ours = _card({"model": "one", "duration": {"price": "0.006", "per": "minute"}}, kind="transcription")
    theirs = _card({"model": "one", "duration": {"price": "0.36", "per": "hour"}}, kind="transcription")
    assert Decimal("0.006") * 60 == Decimal("0.36")
    assert list(differences(RateBook([ours]), theirs, _AT)) == []
