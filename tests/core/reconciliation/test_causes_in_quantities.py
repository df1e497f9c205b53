"""Each cause of other quantities, alone: what nobody saw, what was seen twice, and what is on another meter or day."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from tests.core.reconciliation.two_sides import (
    AUDIO_CACHED,
    AUDIO_IN,
    AUDIO_OUT,
    DAY_COST,
    MINI,
    MONDAY,
    NEWER,
    SECONDS,
    TEXT_CACHED,
    TEXT_IN,
    TEXT_OUT,
    TOKENS,
    TRANSCRIBES,
    TUESDAY,
    WEDNESDAY,
    WHISPER,
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
)

from realtime_spend.core.reconciliation.estimated import EstimateSource

if TYPE_CHECKING:
    from realtime_spend.core.line_items import Part


def test_cache_not_billed_is_what_was_counted_as_cached_and_billed_at_the_full_price() -> None:
    found = compare(counted_day(), billed_day(tokens=more(audio_input=120_000, audio_cached_input=-120_000)))
    assert by_part(found, "cache_not_billed") == {
        AUDIO_IN: at("32", 120_000),
        AUDIO_CACHED: -at("0.4", 120_000),
    }
    assert by_cause(found) == {"cache_not_billed": at("31.6", 120_000)}
    assert "120,000 tokens of audio input" in said(found, "cache_not_billed")
    assert "300,000 cached ones were counted and 180,000 billed" in said(found, "cache_not_billed")


def test_cache_not_billed_where_the_cached_meter_is_not_on_the_bill() -> None:
    tokens = more(text_input=50_000)
    del tokens[TEXT_CACHED]
    found = compare(counted_day(), billed_day(tokens=tokens))
    assert by_cause(found) == {"cache_not_billed": at("3.6", 50_000)}


def test_cache_overbilled_is_more_on_the_cached_meter_than_was_counted() -> None:
    found = compare(counted_day(), billed_day(tokens=more(text_input=-4_000, text_cached_input=4_000)))
    assert by_cause(found) == {"cache_overbilled": -at("3.6", 4_000)}
    assert "counted as uncached and billed as cached" in said(found, "cache_overbilled")


def test_transcription_unobserved_is_what_is_billed_more_on_a_day_with_transcriptions_without_usage() -> None:
    found = compare(
        [counted(**TRANSCRIBES, part=AUDIO_IN, quantity=1000, price="6"), *counted_day()],
        [billed(**TRANSCRIBES, part=AUDIO_IN, quantity=3500, price="6"), *billed_day()],
        gaps=[unseen(count=5, usages=7)],
    )
    assert by_cause(found) == {"transcription_unobserved": at("6", 2500)}
    assert said(found, "transcription_unobserved") == (
        "5 of 7 transcriptions of the day came without usage; 2,500 tokens more are billed than counted, "
        "500 for each of them."
    )


def test_transcription_unobserved_is_bounded_by_the_largest_that_was_seen() -> None:
    largest = {AUDIO_IN: Decimal(400)}
    found = compare(
        [counted(**TRANSCRIBES, part=AUDIO_IN, quantity=1000, price="6")],
        [billed(**TRANSCRIBES, part=AUDIO_IN, quantity=3500, price="6")],
        gaps=[unseen(count=5, usages=7, largest=largest)],
    )
    assert by_cause(found) == {"transcription_unobserved": at("6", 2000), "unexplained": at("6", 500)}
    assert said(found, "transcription_unobserved") == (
        "5 of 7 transcriptions of the day came without usage, and can have used 2,000 tokens at most; "
        "2,500 tokens more are billed than counted."
    )


@pytest.mark.parametrize(
    ("part", "quantity", "price", "most"), [(SECONDS, 20_000, "1.02", 7_200), (AUDIO_IN, 100_000, "6", 72_000)]
)
def test_transcription_unobserved_is_bounded_by_the_longest_session_where_none_was_seen(
    part: Part, quantity: int, price: str, most: int
) -> None:
    names = named(model="gpt-4o-transcribe", version=None, part=part, price=price)
    per = 3600 if part == SECONDS else 1_000_000
    found = compare(
        [counted(**names, quantity=3_600)],
        [billed(**names, quantity=quantity)],
        # The largest of another part says nothing about this one.
        gaps=[unseen(2, largest={TEXT_IN: Decimal(9)})],
    )
    assert by_cause(found)["transcription_unobserved"] == at(price, most, per)
    assert set(by_cause(found)) == {"transcription_unobserved", "unexplained"}


def test_transcription_unobserved_may_be_all_of_it_and_in_seconds() -> None:
    found = compare(
        counted_day(),
        [*billed_day(), billed(**WHISPER, quantity=600)],
        gaps=[unseen(model="gpt-realtime-whisper", usages=3)],
    )
    assert by_cause(found) == {"transcription_unobserved": at("1.02", 600, 3600)}


def test_the_last_of_a_difference_has_all_the_money_that_is_left_of_it() -> None:
    """A second at 1.02 USD an hour has no finite price: what rounding leaves of it is no cause of its own."""
    found = compare(
        [counted(**WHISPER, quantity=100)],
        [billed(**WHISPER, quantity=150)],
        gaps=[unseen()],
    )
    assert by_cause(found) == {"transcription_unobserved": at("1.02", 150, 3600) - at("1.02", 100, 3600)}


def test_a_difference_that_costs_nothing_has_no_cause() -> None:
    found = compare(
        [counted(**TRANSCRIBES, quantity=100, price="0")],
        [billed(**TRANSCRIBES, quantity=150, price="0")],
        gaps=[unseen()],
    )
    assert not found.shares


def test_lost_responses_are_bounded_by_the_largest_that_was_seen() -> None:
    largest = {AUDIO_OUT: Decimal(2_000), TEXT_OUT: Decimal(100)}
    found = compare(
        counted_day(), billed_day(tokens=more(audio_output=5_000, text_output=400)), gaps=[gap(3, largest=largest)]
    )
    # Three of them can have used 6,000 tokens of audio and 300 of text.
    assert by_part(found, "lost_responses") == {AUDIO_OUT: at("64", 5_000), TEXT_OUT: at("16", 300)}
    assert by_part(found, "unexplained") == {TEXT_OUT: at("16", 100)}
    assert "3 responses were created and never done, and can have used 300 tokens at most" in said(
        found, "lost_responses"
    )


def test_lost_responses_are_bounded_by_the_mean_where_the_source_tells_no_largest() -> None:
    # 100,000 tokens of 50 - 10 responses are 2,500 each, so that ten lost ones are 25,000.
    found = compare(
        counted_day(), billed_day(tokens=more(audio_output=30_000)), gaps=[gap(10)], source=EstimateSource.PROMETHEUS
    )
    assert by_cause(found) == {"lost_responses": at("64", 25_000), "unexplained": at("64", 5_000)}


def test_lost_responses_of_a_day_without_any_number_have_no_bound_and_explain_nothing() -> None:
    found = compare([], billed_day(), gaps=[gap(2, usages=2)])
    assert by_cause(found) == {"unobserved_traffic": DAY_COST}


def test_lost_responses_of_no_known_model_are_used_up_once() -> None:
    """One lost response can have been of either model, but not of both."""
    mini = MINI | {"part": AUDIO_OUT, "price": "20"}
    found = compare(
        [counted(part=AUDIO_OUT, quantity=100_000), counted(**mini, quantity=100_000)],
        [billed(part=AUDIO_OUT, quantity=102_000), billed(**mini, quantity=102_000)],
        gaps=[gap(1, model=None, largest={AUDIO_OUT: Decimal(3_000)})],
    )
    assert by_cause(found) == {"lost_responses": at("64", 2_000), "unexplained": at("20", 2_000)}


def test_unobserved_traffic_is_one_factor_on_all_meters() -> None:
    found = compare(counted_day(), billed_day(tokens=times("1.5")))
    assert by_cause(found) == {"unobserved_traffic": DAY_COST / 2}
    assert "150,000 tokens billed and 100,000 tokens counted: all 6 meters of it about 1.5 times" in said(
        found, "unobserved_traffic"
    )


def test_unobserved_traffic_need_not_be_the_exact_image_of_what_was_seen() -> None:
    tokens = {
        part: quantity + int(quantity * share)
        for (part, quantity), share in zip(TOKENS.items(), (0.48, 0.51, 0.5, 0.5, 0.49, 0.52), strict=True)
    }
    found = compare(counted_day(), billed_day(tokens=tokens))
    assert set(by_cause(found)) == {"unobserved_traffic"}
    assert found.totals.unexplained_cost == 0


def test_unobserved_traffic_is_a_model_of_which_nothing_was_counted() -> None:
    found = compare(counted_day(), [*billed_day(), *billed_day(**NEWER)])
    assert by_cause(found) == {"unobserved_traffic": DAY_COST}
    assert (
        "100,000 tokens of gpt-realtime-1.5 2026-02-23 billed in voice-west; none of it was counted on any day."
        in said(found, "unobserved_traffic")
    )


def test_unobserved_traffic_is_a_day_on_which_nothing_was_counted() -> None:
    found = compare(counted_day(MONDAY), [*billed_day(MONDAY), *billed_day(TUESDAY)])
    assert by_cause(found) == {"unobserved_traffic": DAY_COST}
    assert "none of it was counted on 2026-11-03" in said(found, "unobserved_traffic")


def test_observed_twice_is_a_whole_multiple_of_the_bill_in_metrics() -> None:
    found = compare(counted_day(tokens=times("3")), billed_day(), source=EstimateSource.PROMETHEUS)
    assert by_cause(found) == {"observed_twice": -2 * DAY_COST}
    assert "300,000 tokens are 3 times the 100,000 billed" in said(found, "observed_twice")


def test_split_unknown_is_a_bill_between_the_bounds_of_a_cache_without_its_split() -> None:
    # 40,000 cached tokens are of text or of audio: 40,000 of either can have been.
    estimates = [
        counted(part=TEXT_IN, quantity=10_000, low=Decimal(0), high=at("4", 50_000)),
        counted(part=TEXT_CACHED, quantity=40_000, low=Decimal(0), high=at("0.4", 40_000)),
        counted(part=AUDIO_IN, quantity=90_000, low=at("32", 50_000), high=at("32", 90_000)),
        counted(part=AUDIO_CACHED, quantity=0, low=Decimal(0), high=at("0.4", 40_000)),
        counted(part=AUDIO_OUT, quantity=5_000),
    ]
    tokens = {TEXT_IN: 25_000, TEXT_CACHED: 25_000, AUDIO_IN: 75_000, AUDIO_CACHED: 15_000, AUDIO_OUT: 5_000}
    found = compare(estimates, billed_day(tokens=tokens))
    assert by_part(found, "split_unknown") == {
        TEXT_IN: at("4", 15_000),
        TEXT_CACHED: -at("0.4", 15_000),
        AUDIO_IN: -at("32", 15_000),
        AUDIO_CACHED: at("0.4", 15_000),
    }
    assert set(by_cause(found)) == {"split_unknown"}
    assert "this part costs 1.60 USD to 2.88 USD, and 2.40 USD is billed" in said(found, "split_unknown")


def test_day_shift_is_what_one_day_lacks_and_its_neighbour_has() -> None:
    found = compare(
        [*counted_day(MONDAY), *counted_day(TUESDAY)],
        [*billed_day(MONDAY, tokens=more(audio_output=-2_500)), *billed_day(TUESDAY, tokens=more(audio_output=2_500))],
    )
    assert [(share.row.day, str(share.cause), share.cost) for share in found.shares] == [
        (MONDAY, "day_shift", -at("64", 2_500)),
        (TUESDAY, "day_shift", at("64", 2_500)),
    ]
    assert {share.evidence for share in found.shares} == {
        "2,500 tokens counted on 2026-11-02 are on the bill of 2026-11-03."
    }


def test_day_shift_may_be_to_the_day_before() -> None:
    found = compare(
        [*counted_day(MONDAY), *counted_day(TUESDAY)],
        [*billed_day(MONDAY, tokens=more(text_input=70)), *billed_day(TUESDAY, tokens=more(text_input=-70))],
    )
    assert said(found, "day_shift").splitlines()[0] == "70 tokens counted on 2026-11-03 are on the bill of 2026-11-02."
    assert set(by_cause(found)) == {"day_shift"}


def test_day_shift_of_a_whole_day() -> None:
    found = compare(
        [*counted_day(MONDAY), *counted_day(TUESDAY), *counted_day(WEDNESDAY)],
        [*billed_day(MONDAY), *billed_day(WEDNESDAY, tokens=times("2"))],
    )
    assert by_cause(found) == {"day_shift": Decimal(0)}
    assert {share.row.day for share in found.shares} == {TUESDAY, WEDNESDAY}


def test_day_shift_by_a_clock_that_is_not_utc_runs_through_all_days() -> None:
    """A third of each day is billed on the next; the first day gets nothing, the last has nobody to give to."""
    use = {MONDAY: 9_000, TUESDAY: 12_000, WEDNESDAY: 6_000}
    bill = {MONDAY: 6_000, TUESDAY: 3_000 + 8_000, WEDNESDAY: 4_000 + 6_000}
    found = compare(
        [counted(day, AUDIO_OUT, quantity) for day, quantity in use.items()],
        [billed(day, AUDIO_OUT, quantity) for day, quantity in bill.items()],
    )
    assert by_cause(found) == {"day_shift": Decimal(0)}
    assert [share.cost for share in found.shares] == [-at("64", 3_000), -at("64", 1_000), at("64", 4_000)]
    assert "from 2026-11-02 to 2026-11-04 cancel exactly" in said(found, "day_shift")


def test_unexplained_is_the_rest() -> None:
    found = compare(counted_day(), billed_day(tokens=more(audio_output=7_000)))
    assert by_cause(found) == {"unexplained": at("64", 7_000)}
    assert said(found, "unexplained") == (
        "107,000 tokens were billed and 100,000 tokens counted; nothing explains 7,000 tokens (0.45 USD)."
    )
