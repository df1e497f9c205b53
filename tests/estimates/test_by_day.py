"""What a ledger counted by UTC day: sums to the last digit, the bounds of an unsplit cache, and what has no numbers."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger_records import response_record, write_records

from realtime_spend.core import money
from realtime_spend.core.line_items import Component, Modality, Part, Provider, Scope
from realtime_spend.core.reconciliation.estimated import EstimateSource
from realtime_spend.core.usage import Kind, Reported
from realtime_spend.estimates.by_day import ledger_estimates
from realtime_spend.estimates.ledger import entry_of
from realtime_spend.estimates.unsplit_cache import bounds_of
from realtime_spend.rate_cards import load_book

if TYPE_CHECKING:
    from pathlib import Path

TEXT_INPUT = Part(Modality.TEXT, Component.INPUT)
AUDIO_INPUT = Part(Modality.AUDIO, Component.INPUT)
TEXT_CACHED = Part(Modality.TEXT, Component.CACHED_INPUT)
AUDIO_CACHED = Part(Modality.AUDIO, Component.CACHED_INPUT)
AUDIO_OUTPUT = Part(Modality.AUDIO, Component.OUTPUT)
# Of gpt-realtime, per token.
PRICES = {TEXT_INPUT: "0.000004", TEXT_CACHED: "0.0000004", AUDIO_INPUT: "0.000032", AUDIO_CACHED: "0.0000004"}
record = partial(
    response_record,
    account="proj_1",
    version="2025-08-28",
    quantities={"text.input": 4, "audio.output": 6},
    costs={"text.input": "0.000016", "audio.output": "0.000384"},
    cost="0.0004",
)


def test_usages_of_a_day_and_a_part_are_added_up_and_days_are_kept_apart(tmp_path: Path) -> None:
    folder = write_records(
        tmp_path,
        record(),
        record(id="resp_2", at="2026-11-18T23:59:59.999999Z"),
        record(id="resp_3", at="2026-11-19T01:00:00+02:00"),
        record(id="resp_4", at="2026-11-19T00:00:00Z"),
        record(id="resp_4", at="2026-11-19T00:00:00Z"),
    )
    found = ledger_estimates(folder)
    assert found.source is EstimateSource.LEDGER
    sums = {(item.day, item.part): (item.quantity, item.cost) for item in found.items}
    assert sums == {
        (date(2026, 11, 18), TEXT_INPUT): (Decimal(12), 3 * Decimal("0.000016")),
        (date(2026, 11, 18), AUDIO_OUTPUT): (Decimal(18), 3 * Decimal("0.000384")),
        (date(2026, 11, 19), TEXT_INPUT): (Decimal(4), Decimal("0.000016")),
        (date(2026, 11, 19), AUDIO_OUTPUT): (Decimal(6), Decimal("0.000384")),
    }
    assert {(item.provider, item.account, item.model, item.version, item.scope) for item in found.items} == {
        (Provider.OPENAI, "proj_1", "gpt-realtime", "2025-08-28", Scope.GLOBAL)
    }
    assert not found.gaps
    assert not found.problems


def test_only_the_days_that_are_asked_for_are_counted_both_ends_included(tmp_path: Path) -> None:
    days = [record(id=f"resp_{day}", at=f"2026-11-{day}T12:00:00Z") for day in (16, 17, 18, 19)]
    found = ledger_estimates(write_records(tmp_path, *days), first=date(2026, 11, 17), last=date(2026, 11, 18))
    assert {item.day.day for item in found.items} == {17, 18}


def test_what_no_card_prices_is_unpriced_and_never_costs_nothing(tmp_path: Path) -> None:
    quantities = {"text.input": 4, "audio.output": 6}
    folder = write_records(
        tmp_path,
        record(),
        record(id="resp_2", costs={"text.input": "0.000016", "audio.output": None}, cost="0.000016"),
        record(
            id="resp_3", model=None, quantities=quantities, costs=dict.fromkeys(quantities), cost=None, currency=None
        ),
    )
    found = {(item.model, item.part): item for item in ledger_estimates(folder).items}
    partly = found["gpt-realtime", AUDIO_OUTPUT]
    assert (partly.quantity, partly.cost, partly.unpriced) == (Decimal(12), Decimal("0.000384"), Decimal(6))
    never = found[None, AUDIO_OUTPUT]
    assert (never.quantity, never.cost, never.unpriced) == (Decimal(6), None, Decimal(6))


def test_usages_without_numbers_are_counted_beside_the_largest_that_have_some(tmp_path: Path) -> None:
    empty: dict[str, Any] = {"quantities": {}, "costs": {}, "cost": None, "currency": None}
    folder = write_records(
        tmp_path,
        record(),
        record(id="resp_2", quantities={"text.input": 9}, costs={"text.input": "0.000036"}, cost="0.000036"),
        record(id="resp_3", usage="lost", **empty),
        record(id="resp_4", usage="lost", **empty),
        record(id="item_1#0", kind="transcription", model="whisper-1", version=None, usage="missing", **empty),
    )
    lost, missing = sorted(ledger_estimates(folder).gaps, key=lambda gap: gap.reported)
    assert (lost.kind, lost.reported, lost.count, lost.usages) == (Kind.RESPONSE, Reported.LOST, 2, 4)
    assert lost.largest == {TEXT_INPUT: Decimal(9), AUDIO_OUTPUT: Decimal(6)}
    assert (missing.kind, missing.reported, missing.count, missing.usages) == (
        Kind.TRANSCRIPTION,
        Reported.MISSING,
        1,
        1,
    )
    assert (missing.model, missing.largest) == ("whisper-1", {})


def test_what_was_lost_without_a_model_or_a_scope_can_have_been_as_large_as_any(tmp_path: Path) -> None:
    empty: dict[str, Any] = {"quantities": {}, "costs": {}, "cost": None, "currency": None, "usage": "lost"}
    folder = write_records(
        tmp_path,
        record(),
        record(id="resp_2", model="gpt-realtime-mini", quantities={"audio.output": 99}, costs={"audio.output": None}),
        record(id="resp_3", model=None, scope=None, **empty),
        record(id="resp_4", scope=None, **empty),
    )
    largest = {gap.model: gap.largest for gap in ledger_estimates(folder).gaps}
    assert largest == {
        None: {TEXT_INPUT: Decimal(4), AUDIO_OUTPUT: Decimal(99)},
        "gpt-realtime": {TEXT_INPUT: Decimal(4), AUDIO_OUTPUT: Decimal(6)},
    }


def test_what_cannot_be_read_or_has_no_bill_is_said_and_the_rest_is_counted(tmp_path: Path) -> None:
    folder = write_records(
        tmp_path,
        '{"v": 1, "at": "2026',
        record(),
        record(id="resp_2", provider="somebody.else"),
        record(id="resp_3", quantities={"smell.input": 1}, costs={}),
        record(id="resp_4", kind="dream"),
    )
    found = ledger_estimates(folder)
    assert len(found.items) == 2
    assert [(problem.row, problem.message) for problem in found.problems] == [
        (1, "this line of the ledger cannot be read; it is left out"),
        (
            None,
            "3 usages of openai, somebody.else are of a provider or a kind that no bill is read of; they are left out",
        ),
    ]


def test_a_folder_that_holds_no_ledger_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no ledger file"):
        ledger_estimates(tmp_path)


# --- The bounds of an unsplit cache ---------------------------------------------------------------------------------


def unsplit(text: int, audio: int, text_cached: int, audio_cached: int) -> dict[str, Any]:
    """Return a record of a split that was chosen; its bounds are said to be others, whichever they are."""
    quantities = {
        TEXT_INPUT: text - text_cached,
        TEXT_CACHED: text_cached,
        AUDIO_INPUT: audio - audio_cached,
        AUDIO_CACHED: audio_cached,
    }
    costs = {part: money.plain(Decimal(PRICES[part]) * count) for part, count in quantities.items()}
    cost = money.plain(sum(map(Decimal, costs.values()), Decimal(0)))
    return record(quantities=quantities, costs=costs, cost=cost, low="0", high=cost)


def test_what_the_others_have_no_room_for_is_the_least_that_a_modality_has_of_the_cache(tmp_path: Path) -> None:
    # 64 cached tokens of 40 text and 100 audio: text has 0 to 40 of them, audio 24 to 64.
    ledger = write_records(tmp_path, unsplit(40, 100, 40, 24))
    found = {one.part: one for one in ledger_estimates(ledger, book=load_book()).items}
    assert (found[TEXT_CACHED].low, found[TEXT_CACHED].high) == (Decimal(0), 40 * Decimal("0.0000004"))
    assert (found[TEXT_INPUT].low, found[TEXT_INPUT].high) == (Decimal(0), 40 * Decimal("0.000004"))
    assert (found[AUDIO_CACHED].low, found[AUDIO_CACHED].high) == (24 * Decimal("0.0000004"), 64 * Decimal("0.0000004"))
    assert (found[AUDIO_INPUT].low, found[AUDIO_INPUT].high) == (36 * Decimal("0.000032"), 76 * Decimal("0.000032"))
    # No text input is left in the split that was recorded: what it would cost is on the card alone.
    assert found[TEXT_INPUT].quantity == 0
    assert TEXT_INPUT not in {item.part for item in ledger_estimates(tmp_path).items}


@given(st.data())
def test_every_feasible_split_lies_within_the_bounds_and_both_ends_are_feasible(data: st.DataObject) -> None:
    text, audio = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30))
    cached = data.draw(st.integers(1, text + audio))
    splits = [
        (of_text, cached - of_text) for of_text in range(cached + 1) if of_text <= text and cached - of_text <= audio
    ]
    chosen = data.draw(st.sampled_from(splits))
    entry = entry_of(unsplit(text, audio, *chosen))
    assert entry is not None
    bounds = bounds_of(entry, load_book())
    for part, of in ((TEXT_CACHED, 0), (AUDIO_CACHED, 1)):
        costs = [split[of] * Decimal(PRICES[part]) for split in splits]
        assert bounds.get(part, (costs[0], costs[0])) == (min(costs), max(costs))
    for part, of, whole in ((TEXT_INPUT, 0, text), (AUDIO_INPUT, 1, audio)):
        costs = [(whole - split[of]) * Decimal(PRICES[part]) for split in splits]
        assert bounds.get(part, (costs[0], costs[0])) == (min(costs), max(costs))
