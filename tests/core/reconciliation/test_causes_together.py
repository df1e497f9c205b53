"""Two causes at once, each with the money that it brings about by itself: quantities at our price, prices on all."""

from __future__ import annotations

from decimal import Decimal

from tests.core.reconciliation.two_sides import (
    AUDIO_CACHED,
    AUDIO_IN,
    AUDIO_OUT,
    DAY_COST,
    MINI,
    MONDAY,
    NEWER,
    TEXT_OUT,
    TOKENS,
    TRANSCRIBES,
    TUESDAY,
    at,
    billed,
    billed_day,
    by_cause,
    by_part,
    compare,
    counted,
    counted_day,
    gap,
    more,
    named,
    said,
    times,
    unseen,
    worth,
)


def test_a_missing_transcription_is_worth_our_price_and_the_regional_price_is_on_all_of_it() -> None:
    """The regional price is 1.21 of ours: on what was counted, and on the 2,500 that were not."""
    regional = Decimal(6) * Decimal("1.21")
    found = compare(
        [counted(**TRANSCRIBES, part=AUDIO_IN, quantity=1000, price="6"), *counted_day()],
        [billed(**TRANSCRIBES, part=AUDIO_IN, quantity=3500, price=regional), *billed_day(factor="1.21")],
        gaps=[unseen()],
    )
    assert by_cause(found) == {
        "transcription_unobserved": at("6", 2500),
        "price": (at("6", 3500) + DAY_COST) * Decimal("0.21"),
    }


def test_a_transcription_that_was_never_counted_has_the_discount_of_the_account_too() -> None:
    found = compare(
        counted_day(),
        [billed(**TRANSCRIBES, part=AUDIO_IN, quantity=2000, price="5.1"), *billed_day(factor="0.85")],
        gaps=[unseen()],
    )
    assert by_cause(found) == {
        "transcription_unobserved": at("6", 2000),
        "price": (at("6", 2000) + DAY_COST) * Decimal("-0.15"),
    }


def test_a_surcharge_on_a_model_is_on_its_meters_that_were_never_counted_too() -> None:
    """Most of the account is billed at the list price; the one model in a data zone decides for its own text."""
    found = compare(
        [*counted_day(), counted(**MINI, part=AUDIO_OUT, quantity=1_000, price="20")],
        [
            *billed_day(),
            billed(**MINI, part=AUDIO_OUT, quantity=1_000, price="22"),
            billed(**MINI, part=TEXT_OUT, quantity=500, price="2.64"),
        ],
    )
    assert by_cause(found) == {"price": at("2", 1_000) + at("0.24", 500), "unexplained": at("2.4", 500)}


def test_what_was_never_counted_has_the_discount_though_other_models_have_a_surcharge_as_well() -> None:
    """Most meters are billed at 1.1 times 0.85, one model at 0.85; so is the team's, of which nothing was counted."""
    mini, team = MINI | {"part": AUDIO_OUT}, NEWER | {"part": AUDIO_OUT}
    euro = named(currency="EUR")
    found = compare(
        [*counted_day(), counted(**mini, price="20")],
        [
            *billed_day(factor="0.748", **euro),
            billed(**mini, price="13.6", **euro),
            billed(**team, quantity=3_000, price="43.52", **euro),
        ],
        settings={"fx": {"EUR": Decimal("1.25")}},
    )
    # One euro is 1.25 USD: 0.935 times 0.8 is 0.748; 64 USD are 51.2 EUR, of which 85 % are 43.52.
    assert by_cause(found) == {
        "unobserved_traffic": at("51.2", 3_000),
        "price": DAY_COST * Decimal("0.8") * Decimal("-0.065") - at("2.4", 1_000) - at("7.68", 3_000),
    }


def test_another_team_at_the_list_price_has_no_part_in_our_surcharge() -> None:
    found = compare(counted_day(), [*billed_day(factor="1.1"), *billed_day(**NEWER)])
    assert by_cause(found) == {"unobserved_traffic": DAY_COST, "price": DAY_COST * Decimal("0.1")}


def test_unobserved_traffic_in_a_data_zone() -> None:
    tokens = times("1.5")
    found = compare(counted_day(), billed_day(tokens=tokens, factor="1.1"))
    assert by_cause(found) == {"unobserved_traffic": DAY_COST / 2, "price": worth(tokens) * Decimal("0.1")}
    assert "The quantities agree" not in said(found, "price")


def test_cache_not_billed_in_a_data_zone() -> None:
    tokens = more(audio_input=300_000, audio_cached_input=-300_000)
    found = compare(counted_day(), billed_day(tokens=tokens, factor="1.1"))
    assert by_cause(found) == {"cache_not_billed": at("31.6", 300_000), "price": worth(tokens) * Decimal("0.1")}


def test_cache_not_billed_and_unobserved_traffic() -> None:
    """All cached audio is billed as uncached, and half of everything on top of that."""
    moved = more(audio_input=300_000)
    del moved[AUDIO_CACHED]
    tokens = times("1.5", moved)
    found = compare(counted_day(), billed_day(tokens=tokens))
    assert by_cause(found) == {"cache_not_billed": at("31.6", 300_000), "unobserved_traffic": worth(moved) / 2}


def test_one_meter_too_high_within_unobserved_traffic_stays_unexplained() -> None:
    tokens = times("1.5") | {AUDIO_OUT: 160_500}
    found = compare(counted_day(), billed_day(tokens=tokens))
    assert by_cause(found) == {"unobserved_traffic": DAY_COST / 2, "unexplained": at("64", 10_500)}
    assert by_part(found, "unexplained") == {AUDIO_OUT: at("64", 10_500)}


def test_a_shifted_day_whose_neighbour_is_also_billed_without_its_cache() -> None:
    whole = times("2")
    tokens = whole | {AUDIO_IN: whole[AUDIO_IN] + whole[AUDIO_CACHED]}
    del tokens[AUDIO_CACHED]
    found = compare(
        [*counted_day(MONDAY), *counted_day(TUESDAY)], [*billed_day(TUESDAY, tokens=tokens)], days=(MONDAY, TUESDAY)
    )
    assert by_cause(found) == {"day_shift": Decimal(0), "cache_not_billed": at("31.6", 600_000)}
    assert {share.row.day for share in found.shares if share.cause == "cache_not_billed"} == {TUESDAY}


def test_a_part_of_a_day_is_shifted_at_another_price() -> None:
    less, greater = more(audio_output=-2_500), more(audio_output=2_500)
    found = compare(
        [*counted_day(MONDAY), *counted_day(TUESDAY)],
        [*billed_day(MONDAY, tokens=less, factor="1.32"), *billed_day(TUESDAY, tokens=greater, factor="1.32")],
    )
    assert by_cause(found) == {"day_shift": Decimal(0), "price": 2 * DAY_COST * Decimal("0.32")}


def test_lost_responses_and_a_discount() -> None:
    largest = dict.fromkeys(TOKENS, Decimal(9_000))
    tokens = more(audio_output=4_000, text_output=50)
    found = compare(counted_day(), billed_day(tokens=tokens, factor="0.9"), gaps=[gap(1, largest=largest)])
    assert by_cause(found) == {
        "lost_responses": at("64", 4_000) + at("16", 50),
        "price": -worth(tokens) / 10,
    }


def test_another_currency_changes_no_cause() -> None:
    tokens = more(audio_output=7_000)
    found = compare(counted_day(), billed_day(tokens=tokens, factor="0.8", currency="EUR", to_usd=Decimal("1.25")))
    assert by_cause(found) == {"unexplained": at("64", 7_000) * Decimal("0.8")}
