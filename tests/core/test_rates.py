from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from realtime_spend.core.card_format import parse_card
from realtime_spend.core.line_items import Component, Modality, Part, Provider, Scope, Sku
from realtime_spend.core.rates import Listed, ModelKind, Prices, RateBook, RateCard, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

TEXT_IN, TEXT_OUT = Part(Modality.TEXT, Component.INPUT), Part(Modality.TEXT, Component.OUTPUT)
AUDIO_IN = Part(Modality.AUDIO, Component.INPUT)
NOW = datetime(2026, 11, 22, tzinfo=UTC)
Row = dict[str, Any]


def card(*rows: Row, **more: Any) -> RateCard:
    document: Mapping[str, Any] = {
        "format": 1,
        "provider": "openai",
        "name": "list",
        "date": NOW.date(),
        "currency": "USD",
        "rate": [{"model": "m", **row} for row in rows],
        **more,
    }
    return parse_card(document)


def text(price: str, **row: Any) -> Row:
    return {"text": {"input": price}, **row}


def sku(version: str | None = None, scope: Scope | None = None, region: str | None = None) -> Sku:
    return Sku(provider=Provider.OPENAI, model="m", version=version, scope=scope, region=region)


def held(book: RateBook, wanted: Sku, at: datetime = NOW) -> Prices:
    found = book.prices(wanted, at)
    assert isinstance(found, Prices)
    return found


def text_price(book: RateBook, wanted: Sku, at: datetime = NOW) -> Decimal:
    return held(book, wanted, at).rates[TEXT_IN].unit_price


# --- names ---------------------------------------------------------------------------------------------------------


def test_names_match_exactly_and_never_by_prefix() -> None:
    model = {"model": "m", "kind": "realtime", "names": {"m": "", "m-2024-10-01": "2024-10-01"}}
    book = RateBook([card(model=[model])])
    listed = Listed(model="m", version="2024-10-01", kind=ModelKind.REALTIME)
    assert book.listed(Provider.OPENAI, "m-2024-10-01") == listed
    assert book.listed(Provider.OPENAI, "m-2024") is None
    assert book.listed(Provider.OPENAI, "m-2024-10-01-x") is None
    assert book.listed(Provider.OPENAI, "M") is None


def test_a_name_belongs_to_its_provider_and_the_first_card_has_the_word() -> None:
    own = card(model=[{"model": "own", "kind": "realtime", "names": {"m": "v"}}])
    ours = card(model=[{"model": "m", "kind": "realtime"}])
    assert RateBook([own, ours]).listed(Provider.OPENAI, "m") == Listed(
        model="own", version="v", kind=ModelKind.REALTIME
    )
    assert RateBook([own, ours]).listed(Provider.AZURE, "m") is None


# --- time ----------------------------------------------------------------------------------------------------------


def test_a_rate_holds_from_its_first_instant_until_a_later_row_replaces_it() -> None:
    change = datetime(2026, 7, 1, tzinfo=UTC)
    book = RateBook([card(text("5"), text("4", **{"from": change}))])
    assert text_price(book, sku(), change - timedelta(microseconds=1)) == 5
    assert text_price(book, sku(), change) == 4
    assert text_price(book, sku(), change + timedelta(days=10_000)) == 4


def test_the_order_of_the_rows_does_not_matter_and_of_two_at_one_instant_the_later_written_holds() -> None:
    change = datetime(2026, 7, 1, tzinfo=UTC)
    first, second = text("5"), text("4", **{"from": change})
    assert text_price(RateBook([card(second, first)]), sku()) == 4
    assert text_price(RateBook([card(second, first, text("3", **{"from": change}))]), sku()) == 3


def test_of_two_rows_that_name_a_version_the_later_holds() -> None:
    change = datetime(2026, 7, 1, tzinfo=UTC)
    one, both = text("5", versions=["a"]), text("4", versions=["a", "b"], **{"from": change})
    for rows in ((one, both), (both, one)):
        book = RateBook([card(*rows)])
        assert text_price(book, sku("a"), change - timedelta(microseconds=1)) == 5
        assert text_price(book, sku("a"), change) == text_price(book, sku("b"), change) == 4


def test_a_later_row_for_any_version_replaces_an_earlier_one_for_this_version() -> None:
    change = datetime(2026, 7, 1, tzinfo=UTC)
    book = RateBook([card(text("100", versions=["old"]), text("5", **{"from": change}))])
    assert text_price(book, sku("old"), change - timedelta(microseconds=1)) == 100
    assert text_price(book, sku("old"), change) == 5


def test_an_instant_is_compared_as_an_instant_in_whatever_zone_it_is_written() -> None:
    book = RateBook([card(text("5"), text("4", **{"from": datetime(2026, 7, 1, tzinfo=UTC)}))])
    east = timezone(timedelta(hours=9))
    assert text_price(book, sku(), datetime(2026, 7, 1, 8, 59, tzinfo=east)) == 5
    assert text_price(book, sku(), datetime(2026, 7, 1, 9, 0, tzinfo=east)) == 4


def test_there_is_no_rate_before_the_first() -> None:
    book = RateBook([card(text("5", **{"from": datetime(2026, 7, 1, tzinfo=UTC)}))])
    assert book.prices(sku(), datetime(2026, 6, 30, tzinfo=UTC)) is Reason.NO_RATE


def test_a_model_that_no_row_prices_has_no_rate() -> None:
    assert RateBook([]).prices(sku(), NOW) is Reason.NO_RATE
    assert RateBook([card(text("5"))]).prices(Sku(provider=Provider.AZURE, model="m"), NOW) is Reason.NO_RATE


# --- scope and region ----------------------------------------------------------------------------------------------


def test_a_scope_that_nobody_configured_is_priced_as_global() -> None:
    book = RateBook([card(text("4"), text("4.4", scopes=["datazone"]))])
    assert text_price(book, sku()) == text_price(book, sku(scope=Scope.GLOBAL)) == 4
    assert text_price(book, sku(scope=Scope.DATAZONE)) == Decimal("4.4")


def test_a_scope_without_rows_has_no_rate() -> None:
    book = RateBook([card(text("4"))])
    assert book.prices(sku(scope=Scope.DATAZONE), NOW) is Reason.NO_RATE
    assert book.prices(sku(scope=Scope.REGIONAL, region="northeurope"), NOW) is Reason.NO_RATE


def test_provisioned_capacity_has_no_price_by_token() -> None:
    book = RateBook([card(text("4", scopes=["global", "provisioned"]))])
    assert book.prices(sku(scope=Scope.PROVISIONED), NOW) is Reason.NOT_PRICED_BY_TOKEN


def test_a_regional_price_is_that_of_the_region() -> None:
    north, east = (
        text("5.28", scopes=["regional"], regions=["northeurope"]),
        text("4.4", scopes=["regional"], regions=["eastus", "eastus2"]),
    )
    book = RateBook([card(north, east)])
    assert text_price(book, sku(scope=Scope.REGIONAL, region="northeurope")) == Decimal("5.28")
    assert text_price(book, sku(scope=Scope.REGIONAL, region="eastus2")) == Decimal("4.4")
    assert book.prices(sku(scope=Scope.REGIONAL, region="westus"), NOW) is Reason.NO_RATE
    assert book.prices(sku(scope=Scope.REGIONAL), NOW) is Reason.REGION_NOT_KNOWN


# --- versions ------------------------------------------------------------------------------------------------------


def test_a_row_for_a_version_wins_over_one_for_any_version() -> None:
    book = RateBook([card(text("5"), text("100", versions=["old"]))])
    assert text_price(book, sku("old")) == 100
    assert text_price(book, sku("new")) == 5
    assert text_price(book, sku()) == 5


def test_a_version_that_no_row_speaks_of_has_no_rate() -> None:
    book = RateBook([card(text("100", versions=["old"]))])
    assert book.prices(sku("new"), NOW) is Reason.NO_RATE


def test_a_name_without_a_version_may_have_a_row_of_its_own() -> None:
    book = RateBook([card(text("100", versions=["old"]), text("40", versions=["", "new"]))])
    assert text_price(book, sku()) == 40


def test_a_name_that_could_be_any_of_several_prices_has_none() -> None:
    book = RateBook([card(text("100", versions=["old"]), text("40", versions=["new"]))])
    assert book.prices(sku(), NOW) is Reason.VERSION_NOT_KNOWN


def test_a_name_that_could_be_any_of_several_versions_at_one_price_has_that_price() -> None:
    book = RateBook([card(text("40", versions=["old"]), text("40", versions=["new"]))])
    assert text_price(book, sku()) == 40


def test_a_price_that_changed_for_one_version_alone_leaves_the_bare_name_without_one() -> None:
    change = datetime(2026, 7, 1, tzinfo=UTC)
    later = text("30", versions=["new"], **{"from": change})
    book = RateBook([card(text("40", versions=["old"]), text("40", versions=["new"]), later)])
    assert text_price(book, sku(), change - timedelta(seconds=1)) == 40
    assert book.prices(sku(), change) is Reason.VERSION_NOT_KNOWN
    assert text_price(book, sku("new"), change) == 30
    assert text_price(book, sku("old"), change) == 40


# --- the user's own card -------------------------------------------------------------------------------------------


def own_card(*rows: Row, **more: Any) -> RateCard:
    return card(*rows, **{"name": "own", **more})


def test_the_users_card_wins_part_by_part_and_the_name_says_who_had_a_hand_in_it() -> None:
    ours = card({"text": {"input": "4", "output": "16"}, "audio": {"input": "32"}})
    prices = held(RateBook([own_card(text("3")), ours]), sku())
    assert {part: rate.unit_price for part, rate in prices.rates.items()} == {TEXT_IN: 3, TEXT_OUT: 16, AUDIO_IN: 32}
    assert prices.card == "own@2026-11-22+list@2026-11-22"


def test_a_users_card_that_states_everything_is_named_alone() -> None:
    prices = held(RateBook([own_card(text("3")), card(text("4"))]), sku())
    assert prices.card == "own@2026-11-22"


def test_a_users_card_for_a_model_of_his_own_needs_none_of_ours() -> None:
    assert text_price(RateBook([own_card(text("3"))]), sku()) == 3


def test_prices_in_another_currency_are_not_mixed_with_ours() -> None:
    ours = card({"text": {"input": "4", "output": "16"}})
    prices = held(RateBook([own_card(text("3"), currency="EUR"), ours]), sku())
    assert prices.currency == "EUR"
    assert set(prices.rates) == {TEXT_IN}


def test_a_contest_about_a_price_that_the_user_states_is_settled() -> None:
    contested = [{"part": part, "others": ["1"], "why": "two pages"} for part in ("text.input", "audio.input")]
    ours = card({"text": {"input": "4"}, "audio": {"input": "6"}, "contested": contested})
    prices = held(RateBook([own_card(text("3")), ours]), sku())
    assert [contest.part for contest in prices.contests] == [AUDIO_IN]


def test_the_reason_is_that_of_the_card_that_knows_most() -> None:
    ours = card(text("100", versions=["old"]), text("40", versions=["new"]))
    assert RateBook([own_card(), ours]).prices(sku(), NOW) is Reason.VERSION_NOT_KNOWN


# --- discounts -----------------------------------------------------------------------------------------------------


def discount(off: str, **more: Any) -> Row:
    return {"off": off, **more}


def test_a_discount_is_taken_off_our_rates_and_never_off_those_of_the_same_card() -> None:
    ours = card({"text": {"input": "4", "output": "16"}})
    prices = held(RateBook([own_card(text("3"), discount=[discount("0.12")]), ours]), sku())
    assert prices.rates[TEXT_IN].unit_price == 3
    assert prices.rates[TEXT_OUT].unit_price == Decimal(16) * (1 - Decimal("0.12"))
    assert prices.rates[TEXT_OUT].per == 1_000_000
    assert prices.card == "own@2026-11-22+list@2026-11-22"


def test_a_card_of_discounts_alone_is_named_in_the_price() -> None:
    prices = held(RateBook([own_card(discount=[discount("0.5")]), card(text("4"))]), sku())
    assert prices.rates[TEXT_IN].unit_price == 2
    assert prices.card == "own@2026-11-22+list@2026-11-22"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (discount("0.5", model="m"), 2),
        (discount("0.5", model="another"), 4),
        (discount("0.5", scope="global"), 2),
        (discount("0.5", scope="datazone"), 4),
        (discount("0.5", **{"from": NOW}), 2),
        (discount("0.5", **{"from": NOW + timedelta(microseconds=1)}), 4),
        (discount("1"), 0),
        (discount("0"), 4),
    ],
)
def test_a_discount_is_for_its_model_scope_and_time(wanted: Row, expected: int) -> None:
    assert text_price(RateBook([own_card(discount=[wanted]), card(text("4"))]), sku()) == expected


def test_of_two_discounts_the_newer_holds_and_they_do_not_add_up() -> None:
    both = [discount("0.5"), discount("0.25", **{"from": datetime(2026, 7, 1, tzinfo=UTC)})]
    book = RateBook([own_card(discount=both), card(text("4"))])
    assert text_price(book, sku()) == 3
    assert text_price(book, sku(), datetime(2026, 6, 30, tzinfo=UTC)) == 2


def test_a_discount_for_the_model_wins_over_a_newer_one_for_everything() -> None:
    newer = {"from": datetime(2026, 7, 1, tzinfo=UTC)}
    both = [discount("0.5", model="m"), discount("0.25", **newer), discount("0.75", scope="global", **newer)]
    for order in (both, both[::-1]):
        assert text_price(RateBook([own_card(discount=order), card(text("4"))]), sku()) == 4 * (1 - Decimal("0.5"))


def test_a_discount_for_the_scope_wins_over_a_newer_one_for_everything() -> None:
    both = [discount("0.5", scope="global"), discount("0.25", **{"from": datetime(2026, 7, 1, tzinfo=UTC)})]
    for order in (both, both[::-1]):
        assert text_price(RateBook([own_card(discount=order), card(text("4"))]), sku()) == 4 * (1 - Decimal("0.5"))


def test_a_cards_discount_is_taken_off_later_cards_only() -> None:
    first = own_card(text("3"))
    second = card({"audio": {"input": "20"}}, name="agreed", discount=[discount("0.25")])
    third = card({"text": {"input": "4", "output": "16"}, "audio": {"input": "32"}})
    prices = held(RateBook([first, second, third]), sku())
    assert {part: rate.unit_price for part, rate in prices.rates.items()} == {
        TEXT_IN: 3,
        TEXT_OUT: 16 * (1 - Decimal("0.25")),
        AUDIO_IN: 20,
    }
    assert prices.card == "own@2026-11-22+agreed@2026-11-22+list@2026-11-22"


def test_the_discounts_of_two_cards_are_taken_one_after_the_other() -> None:
    second = card(name="agreed", discount=[discount("0.25")])
    book = RateBook([own_card(discount=[discount("0.5")]), second, card(text("4"))])
    assert text_price(book, sku()) == 4 * (1 - Decimal("0.25")) * (1 - Decimal("0.5"))


def test_a_contested_rate_is_discounted_like_its_rate() -> None:
    contested = [{"part": "audio.input", "others": ["2.5", "6"], "why": "two pages"}]
    ours = card({"text": {"input": "4"}, "audio": {"input": "32"}, "contested": contested})
    prices = held(RateBook([own_card(discount=[discount("0.12")]), ours]), sku())
    share = 1 - Decimal("0.12")
    (contest,) = prices.contests
    assert contest.used == prices.rates[AUDIO_IN].unit_price == 32 * share
    assert contest.others == (Decimal("2.5") * share, 6 * share)
    assert (contest.part, contest.why) == (AUDIO_IN, "two pages")


def test_a_contested_rate_that_a_card_states_itself_is_not_discounted_by_it() -> None:
    contested = [{"part": "audio.input", "others": ["2.5"], "why": "two pages"}]
    own = own_card({"audio": {"input": "20"}, "contested": contested}, discount=[discount("0.5")])
    prices = held(RateBook([own, card({"text": {"input": "4"}, "audio": {"input": "32"}})]), sku())
    (contest,) = prices.contests
    assert contest.used == prices.rates[AUDIO_IN].unit_price == 20
    assert contest.others == (Decimal("2.5"),)


def test_a_discount_on_one_providers_card_leaves_the_other_provider_alone() -> None:
    azure = own_card(discount=[discount("0.5")], provider="azure.ai.openai")
    assert text_price(RateBook([azure, card(text("4"))]), sku()) == 4


def test_a_discount_on_a_model_without_a_price_prices_nothing() -> None:
    assert RateBook([own_card(discount=[discount("0.5")])]).prices(sku(), NOW) is Reason.NO_RATE
