"""What must not be named: differences that look like a cause and lack its evidence stay unexplained."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.core.reconciliation.two_sides import (
    AUDIO_CACHED,
    AUDIO_IN,
    AUDIO_OUT,
    MINI,
    MONDAY,
    TEXT_CACHED,
    TEXT_IN,
    TOKENS,
    TRANSCRIBES,
    TUESDAY,
    WEDNESDAY,
    WHISPER,
    at,
    billed,
    billed_day,
    by_cause,
    compare,
    counted,
    counted_day,
    gap,
    more,
    named,
    said,
    times,
    unseen,
)

from realtime_spend.core.line_items import Part, Scope
from realtime_spend.core.reconciliation.bills import Scale
from realtime_spend.core.reconciliation.estimated import EstimateSource, Gap
from realtime_spend.core.usage import Kind, Reported


@pytest.mark.parametrize("part", list(TOKENS), ids=str)
def test_one_meter_that_is_too_high_is_no_unobserved_traffic(part: str) -> None:
    extra = {part.replace(".", "_"): 7_000}
    found = compare(counted_day(), billed_day(tokens=more(TOKENS, **extra)))
    assert set(by_cause(found)) == {"unexplained"}


def test_meters_that_are_too_high_by_different_factors_are_no_unobserved_traffic() -> None:
    tokens = {part: quantity * (11 + place) // 10 for place, (part, quantity) in enumerate(TOKENS.items())}
    assert set(by_cause(compare(counted_day(), billed_day(tokens=tokens)))) == {"unexplained"}


def test_two_meters_above_the_factor_of_the_others_are_no_unobserved_traffic() -> None:
    tokens = times("1.5") | {AUDIO_OUT: 190_000, AUDIO_IN: 380_000}
    assert set(by_cause(compare(counted_day(), billed_day(tokens=tokens)))) == {"unexplained"}


def test_a_meter_below_the_factor_of_the_others_is_no_unobserved_traffic() -> None:
    tokens = times("1.5") | {AUDIO_OUT: 120_000}
    assert set(by_cause(compare(counted_day(), billed_day(tokens=tokens)))) == {"unexplained"}


def test_a_model_with_one_meter_that_is_too_high_is_no_unobserved_traffic() -> None:
    found = compare([counted(**WHISPER, quantity=100)], [billed(**WHISPER, quantity=150)])
    assert by_cause(found) == {"unexplained": at("1.02", 50, 3600)}


def test_a_bill_that_is_too_low_by_one_factor_is_no_unobserved_traffic() -> None:
    assert set(by_cause(compare(counted_day(tokens=times("1.5")), billed_day()))) == {"unexplained"}


@pytest.mark.parametrize(
    "others",
    [
        [],
        [gap(3, day=TUESDAY)],
        [gap(3, model="gpt-realtime-mini")],
        [gap(3, account="voice-east")],
        [gap(3, kind=Kind.TRANSCRIPTION)],
        [gap(3, reported=Reported.ESTIMATED)],
    ],
    ids=["none", "another day", "another model", "another account", "a transcription", "with numbers"],
)
def test_lost_responses_need_one_of_that_day_and_model(others: list[Gap]) -> None:
    estimates = [*counted_day(), counted(account="voice-east")]
    items = [*billed_day(tokens=more(audio_output=5_000)), billed(account="voice-east")]
    found = compare(estimates, items, gaps=others)
    assert by_cause(found) == {"unexplained": at("64", 5_000)}


def test_lost_responses_never_explain_a_bill_that_is_too_low() -> None:
    found = compare(counted_day(), billed_day(tokens=more(audio_output=-5_000)), gaps=[gap(3)])
    assert set(by_cause(found)) == {"unexplained"}


def test_missing_transcriptions_explain_no_meter_of_a_realtime_model() -> None:
    found = compare(
        counted_day(),
        billed_day(tokens=more(audio_input=5_000)),
        gaps=[unseen()],
    )
    assert set(by_cause(found)) == {"unexplained"}


def test_a_transcription_billed_above_the_count_without_missing_ones_is_unexplained() -> None:
    found = compare(
        [counted(**TRANSCRIBES, part=AUDIO_IN, quantity=1000, price="6")],
        [billed(**TRANSCRIBES, part=AUDIO_IN, quantity=3500, price="6")],
    )
    assert by_cause(found) == {"unexplained": at("6", 2500)}


def test_the_unsolved_case_of_640_tokens_for_110_is_unexplained() -> None:
    """Eleven seconds of audio, 110 tokens as the service said, 640 on the meter: nobody knows why."""
    model = named(model="gpt-realtime-mini", version="2025-12-15")
    found = compare(
        [
            counted(**model, part=AUDIO_IN, quantity=110, price="10"),
            counted(**model, part=AUDIO_OUT, quantity=90, price="20"),
        ],
        [
            billed(**model, part=AUDIO_IN, quantity=640, price="10"),
            billed(**model, part=AUDIO_OUT, quantity=90, price="20"),
        ],
    )
    assert by_cause(found) == {"unexplained": at("10", 530)}
    assert "640 tokens were billed and 110 tokens counted" in said(found, "unexplained")


def test_a_ledger_is_never_said_to_have_counted_twice() -> None:
    tokens = times("2")
    assert set(by_cause(compare(counted_day(tokens=tokens), billed_day()))) == {"unexplained"}
    # One meter that is not doubled is enough.
    tokens[AUDIO_OUT] = TOKENS[AUDIO_OUT]
    found = compare(counted_day(tokens=tokens), billed_day(), source=EstimateSource.PROMETHEUS)
    assert set(by_cause(found)) == {"unexplained"}


def test_a_multiple_that_is_not_whole_is_not_counted_twice() -> None:
    found = compare(counted_day(tokens=times("1.5")), billed_day(), source=EstimateSource.PROMETHEUS)
    assert set(by_cause(found)) == {"unexplained"}


def test_a_little_more_than_the_bill_is_not_counted_once() -> None:
    found = compare([counted(quantity=10_005)], [billed(quantity=10_000)], source=EstimateSource.PROMETHEUS)
    assert by_cause(found) == {"unexplained": -at("32", 5)}


def test_tokens_do_not_move_between_caches_of_different_modalities() -> None:
    found = compare(counted_day(), billed_day(tokens=more(audio_input=9_000, text_cached_input=-9_000)))
    assert set(by_cause(found)) == {"unexplained"}


def test_cached_tokens_that_do_not_add_up_have_not_moved() -> None:
    found = compare(counted_day(), billed_day(tokens=more(audio_input=9_000, audio_cached_input=-8_000)))
    assert set(by_cause(found)) == {"unexplained"}


def test_a_cached_meter_that_is_not_on_the_bill_has_not_moved_where_nothing_has_more() -> None:
    tokens = more(audio_input=1_000)
    del tokens[AUDIO_CACHED]
    assert set(by_cause(compare(counted_day(), billed_day(tokens=tokens)))) == {"unexplained"}


def test_days_that_are_no_neighbours_have_shifted_nothing() -> None:
    found = compare(
        [*counted_day(MONDAY), *counted_day(TUESDAY), *counted_day(WEDNESDAY)],
        [
            *billed_day(MONDAY, tokens=more(audio_output=-2_500)),
            *billed_day(TUESDAY),
            *billed_day(WEDNESDAY, tokens=more(audio_output=2_500)),
        ],
    )
    assert [share.cause for share in found.shares] == ["unexplained", "unexplained"]


def test_neighbours_whose_differences_do_not_cancel_have_shifted_nothing() -> None:
    found = compare(
        [*counted_day(MONDAY), *counted_day(TUESDAY)],
        [*billed_day(MONDAY, tokens=more(audio_output=-2_500)), *billed_day(TUESDAY, tokens=more(audio_output=2_000))],
    )
    assert set(by_cause(found)) == {"unexplained"}


def test_a_day_of_which_its_neighbour_has_only_a_part_is_not_shifted() -> None:
    found = compare(
        [*counted_day(MONDAY), *counted_day(TUESDAY)], billed_day(TUESDAY, tokens=times("1.5")), days=(MONDAY, TUESDAY)
    )
    assert set(by_cause(found)) == {"unexplained", "unobserved_traffic"}


def test_a_day_whose_neighbour_has_no_such_meter_is_not_shifted() -> None:
    monday, tuesday = {AUDIO_IN: 1_000, AUDIO_CACHED: 500}, {AUDIO_IN: 1_000}
    found = compare(
        [*counted_day(MONDAY, tokens=monday), *counted_day(TUESDAY, tokens=tuesday)],
        billed_day(TUESDAY, tokens={AUDIO_IN: 9_000}),
        days=(MONDAY, TUESDAY),
    )
    assert set(by_cause(found)) == {"unexplained"}


def test_a_day_that_another_model_has_is_not_shifted() -> None:
    found = compare([counted(MONDAY)], [billed(TUESDAY, **MINI)], days=(MONDAY, TUESDAY))
    assert by_cause(found) == {"unexplained": -at("32", 1000), "unobserved_traffic": at("32", 1000)}


def test_a_bill_of_fewer_cached_tokens_than_came_unsplit_is_cache_not_billed() -> None:
    estimates = [
        counted(part=TEXT_IN, quantity=10_000, low=Decimal(0), high=at("4", 20_000)),
        counted(part=TEXT_CACHED, quantity=40_000, low=at("0.4", 30_000), high=at("0.4", 40_000)),
    ]
    found = compare(estimates, billed_day(tokens={TEXT_IN: 25_000, TEXT_CACHED: 25_000}))
    assert by_cause(found) == {"cache_not_billed": at("3.6", 15_000)}


# 50,000 of 100,000 tokens of text and 100,000 of audio are cached, nobody knows which.
_UNSPLIT = [
    counted(part=TEXT_IN, quantity=50_000, low=at("4", 50_000), high=at("4", 100_000)),
    counted(part=TEXT_CACHED, quantity=50_000, low=Decimal(0), high=at("0.4", 50_000)),
    counted(part=AUDIO_IN, quantity=100_000, low=at("32", 50_000), high=at("32", 100_000)),
    counted(part=AUDIO_CACHED, quantity=0, low=Decimal(0), high=at("0.4", 50_000)),
    counted(part=AUDIO_OUT, quantity=10_000),
]


def test_a_bill_without_any_of_an_unsplit_cache_is_outside_of_every_split() -> None:
    """Each meter lies within its own bounds; but no split has all of them at once."""
    found = compare(_UNSPLIT, billed_day(tokens={TEXT_IN: 100_000, AUDIO_IN: 100_000, AUDIO_OUT: 10_000}))
    assert by_cause(found) == {"cache_not_billed": at("3.6", 50_000)}
    assert "50,000 tokens of text input were counted as cached and billed as uncached" in said(
        found, "cache_not_billed"
    )


def test_a_bill_of_more_cached_tokens_than_came_unsplit_is_cache_overbilled() -> None:
    tokens = {TEXT_IN: 20_000, TEXT_CACHED: 80_000, AUDIO_IN: 100_000, AUDIO_OUT: 10_000}
    found = compare(_UNSPLIT, billed_day(tokens=tokens))
    assert by_cause(found) == {"cache_overbilled": -at("3.6", 30_000)}


def test_a_cache_that_was_split_otherwise_and_not_wholly_billed_is_unexplained() -> None:
    """20,000 are billed as cached audio, and 30,000 of the 50,000 under no cached meter: nobody knows which."""
    tokens = {TEXT_IN: 100_000, AUDIO_IN: 80_000, AUDIO_CACHED: 20_000, AUDIO_OUT: 10_000}
    found = compare(_UNSPLIT, billed_day(tokens=tokens))
    assert set(by_cause(found)) == {"unexplained"}


def test_a_cached_meter_that_grew_by_more_than_moved_is_unexplained_where_the_cache_is_unsplit() -> None:
    """Text has 25,000 fewer cached tokens and audio 40,000 more, of which nothing moved: no cached token is missing."""
    tokens = {TEXT_IN: 75_000, TEXT_CACHED: 25_000, AUDIO_IN: 100_000, AUDIO_CACHED: 40_000, AUDIO_OUT: 10_000}
    found = compare(_UNSPLIT, billed_day(tokens=tokens))
    assert set(by_cause(found)) == {"unexplained"}


def test_a_bill_within_the_bounds_whose_input_does_not_add_up_is_unexplained() -> None:
    estimates = [
        counted(part=TEXT_IN, quantity=10_000, low=Decimal(0), high=at("4", 50_000)),
        counted(part=TEXT_CACHED, quantity=40_000, low=Decimal(0), high=at("0.4", 40_000)),
    ]
    found = compare(estimates, billed_day(tokens={TEXT_IN: 25_000, TEXT_CACHED: 20_000}))
    assert set(by_cause(found)) == {"unexplained"}


def test_a_discount_on_one_meter_is_not_flat() -> None:
    items = [*billed_day(tokens=more(audio_output=-100_000)), billed(part=AUDIO_OUT, quantity=100_000, price="57.6")]
    found = compare(counted_day(), items)
    assert by_cause(found) == {"price": -at("6.4", 100_000)}
    assert "It fits no price known here." in said(found, "price")


def test_a_surcharge_on_half_of_the_meters_is_not_said_to_be_common() -> None:
    factors = dict.fromkeys(list(TOKENS)[:3], "1.1") | dict.fromkeys(list(TOKENS)[3:], "1")
    items = [
        item for part, factor in factors.items() for item in billed_day(tokens={part: TOKENS[part]}, factor=factor)
    ]
    assert "have this factor" not in said(compare(counted_day(), items), "price")


def test_usage_on_another_scope_that_does_not_agree_is_not_the_same_usage() -> None:
    found = compare(counted_day(), billed_day(tokens=times("1.4"), factor="1.1", scope=Scope.DATAZONE))
    assert set(by_cause(found)) == {"unexplained"}


def test_usage_without_a_scope_is_none_of_two_that_have_the_same_tokens() -> None:
    items = [*billed_day(), *billed_day(factor="1.1", scope=Scope.DATAZONE)]
    found = compare(counted_day(scope=None), items)
    assert set(by_cause(found)) == {"unexplained"}
    assert sum(by_cause(found).values()) == found.totals.drift_cost


def test_usage_without_a_scope_is_none_of_two_though_one_of_them_has_its_tokens() -> None:
    items = [*billed_day(), *billed_day(tokens=times("1.4"), factor="1.1", scope=Scope.DATAZONE)]
    assert set(by_cause(compare(counted_day(scope=None), items))) == {"unexplained"}


def test_usage_of_one_scope_that_could_be_either_of_two_others_is_unexplained() -> None:
    items = [*billed_day(factor="1.1", scope=Scope.DATAZONE), *billed_day(factor="1.2", scope=Scope.REGIONAL)]
    assert set(by_cause(compare(counted_day(), items))) == {"unexplained"}


def test_an_alias_that_could_be_either_of_two_versions_is_unexplained() -> None:
    model = named(model="gpt-4o-realtime-preview", part=AUDIO_OUT, quantity=500)
    found = compare(
        [counted(**model, version=None, price="80")],
        [billed(**model, version="2024-10-01", price="200"), billed(**model, version="2024-12-17", price="80")],
    )
    assert set(by_cause(found)) == {"unexplained"}


def test_an_alias_that_has_the_tokens_of_one_of_two_versions_is_that_one() -> None:
    model = named(model="gpt-4o-realtime-preview", part=AUDIO_OUT)
    dear = billed(**model, version="2024-10-01", price="200", quantity=500)
    other = billed(**model, version="2024-12-17", price="80", quantity=900)
    found = compare([counted(**model, version=None, price="80", quantity=500)], [dear, other])
    assert by_cause(found) == {"price": at("120", 500), "unobserved_traffic": at("80", 900)}
    assert "were counted as version none and billed as 2024-10-01" in said(found, "price")


def test_usage_without_a_name_is_none_of_two_models_that_could_be_it() -> None:
    nameless = named(model=None, version=None, scope=None, price=None)
    found = compare(
        [counted(quantity=1_000, **nameless)],
        [billed(quantity=1_500), billed(model="gpt-realtime-1.5", version="2026-02-23", quantity=1_700)],
    )
    assert by_cause(found) == {"unobserved_traffic": at("32", 3_200), "unpriced": Decimal(0)}


@pytest.mark.parametrize("others", [{AUDIO_IN: 5100}, {AUDIO_IN: 5000, AUDIO_OUT: 900}, {TEXT_CACHED: 5000}, {}])
def test_usage_without_a_name_is_no_part_of_the_rest_of_a_model_that_was_counted(others: dict[Part, int]) -> None:
    unnamed = counted(part=AUDIO_IN, quantity=5000, price=None, model=None, version=None, scope=None)
    tokens = {part: quantity + others.get(part, 0) for part, quantity in TOKENS.items()}
    found = compare([*counted_day(), unnamed], billed_day(tokens=tokens))
    assert by_cause(found).get("unpriced", 0) == 0


def test_usage_without_a_name_is_none_of_two_models_that_lack_it() -> None:
    unnamed = counted(part=AUDIO_IN, quantity=5000, price=None, model=None, version=None, scope=None)
    tokens = TOKENS | {AUDIO_IN: TOKENS[AUDIO_IN] + 5000}
    found = compare(
        [*counted_day(), *counted_day(**MINI), unnamed],
        [*billed_day(tokens=tokens), *billed_day(tokens=tokens, **MINI)],
    )
    assert by_cause(found).get("unpriced", 0) == 0
    assert "unexplained" in by_cause(found)


def test_provisioned_usage_is_not_what_another_model_is_billed_for() -> None:
    found = compare(
        [counted(scope=Scope.PROVISIONED, price=None)],
        [billed(model="gpt-realtime-1.5", version="2026-02-23", quantity=1_000)],
    )
    assert by_cause(found) == {"unobserved_traffic": at("32", 1_000), "provisioned": Decimal(0)}


def test_usage_on_another_scope_with_more_meters_is_not_the_same_usage() -> None:
    found = compare(
        [counted(part=AUDIO_OUT)],
        billed_day(tokens={AUDIO_OUT: 1_000, TEXT_IN: 50}, factor="1.1", scope=Scope.DATAZONE),
    )
    assert set(by_cause(found)) == {"unexplained"}


def test_usage_without_a_name_is_no_model_that_has_less() -> None:
    nameless = named(model=None, version=None, scope=None, price=None)
    found = compare([counted(quantity=1_000, **nameless)], [billed(quantity=900)])
    assert by_cause(found) == {"unobserved_traffic": at("32", 900), "unpriced": Decimal(0)}


def test_a_scale_that_was_assumed_is_believed_at_the_price_of_another_scope() -> None:
    found = compare(
        [counted(part=AUDIO_OUT, quantity=100)],
        [billed(part=AUDIO_OUT, quantity=150, price="70.4", scale=Scale.ASSUMED)],
    )
    assert by_cause(found) == {"unexplained": at("64", 50), "price": at("6.4", 150)}


def test_a_part_that_costs_nothing_and_was_counted_otherwise_is_believed() -> None:
    found = compare(
        [counted(part=TEXT_CACHED, quantity=2_500)],
        [billed(part=TEXT_CACHED, quantity=3, cost=Decimal(0), scale=Scale.ASSUMED, precision=Decimal("0.00001"))],
    )
    assert set(by_cause(found)) == {"rounding", "unexplained"}


def test_a_scale_that_was_assumed_is_believed_where_its_price_makes_sense() -> None:
    found = compare(
        [counted(part=AUDIO_OUT, quantity=100)],
        [billed(part=AUDIO_OUT, quantity=150, scale=Scale.ASSUMED)],
    )
    assert by_cause(found) == {"unexplained": at("64", 50)}
