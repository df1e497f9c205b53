"""What holds for every usage, every rate and every order of events, not for chosen examples alone."""

from __future__ import annotations

import itertools
import json
import math
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_spend.core import events, reading, whole_usage
from realtime_spend.core.card_format import parse_card
from realtime_spend.core.connection import Connection
from realtime_spend.core.endpoints import Endpoint
from realtime_spend.core.frames import DELTA_TYPES, DeltaFilter
from realtime_spend.core.line_items import Component, Modality, Part, Provider, Rate, Scope, Sku
from realtime_spend.core.pricing import price
from realtime_spend.core.rates import Prices, RateBook
from realtime_spend.core.raw_numbers import numbers_text
from realtime_spend.core.reading import read_amounts
from realtime_spend.core.session import Learned, Metered, Sessions
from realtime_spend.core.usage import Amounts, Reported
from realtime_spend.core.whole_usage import read_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

law = settings(max_examples=100)

TEXT, AUDIO, IMAGE = Modality.TEXT, Modality.AUDIO, Modality.IMAGE
INPUT, CACHED, OUTPUT = Component.INPUT, Component.CACHED_INPUT, Component.OUTPUT
REAL = (TEXT, AUDIO, IMAGE)
MILLION = 1_000_000
EXACT = Context(prec=100)
HERE = Endpoint(provider=Provider.OPENAI, server="api.openai.com", port=443, scope=Scope.GLOBAL)

# --- any JSON at all -----------------------------------------------------------------------------------------------

any_text = st.text(st.characters(), max_size=20)
numbers = st.one_of(
    st.integers(min_value=-(10**20), max_value=10**20),
    st.integers(min_value=-(10**100), max_value=10**100),
    st.floats(),
    st.sampled_from([0, -1, 3, 10**15, 10**15 + 1, 10**9, 10**9 + 1, 2**63, 1e300, 5e-324, -0.0]),
)
# Keys that mean something to us, so that garbage stands where it could do harm.
keys = st.one_of(
    any_text,
    st.sampled_from(
        [
            "type",
            "event_id",
            "session",
            "id",
            "model",
            "audio",
            "input",
            "transcription",
            "input_audio_transcription",
            "response",
            "status",
            "usage",
            "metadata",
            "item",
            "item_id",
            "role",
            "content_index",
            "seconds",
            "total_tokens",
            "input_tokens",
            "output_tokens",
            "input_token_details",
            "output_token_details",
            "text_tokens",
            "audio_tokens",
            "image_tokens",
            "cached_tokens",
            "cached_tokens_details",
            "reasoning_tokens",
        ]
    ),
)
words = st.one_of(any_text, st.sampled_from(["tokens", "duration", "completed", "in_progress", "user", "resp_1", "i"]))
any_json = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, words),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=15,
)
KINDS = sorted(
    {
        events.RESPONSE_CREATED,
        events.RESPONSE_DONE,
        events.TRANSCRIPTION_COMPLETED,
        events.TRANSCRIPTION_FAILED,
        events.AUDIO_COMMITTED,
        events.SPEECH_STOPPED,
        *events.ITEM_ADDED_EVENTS,
        *events.SESSION_EVENTS,
        *DELTA_TYPES,
    }
)
any_event = st.builds(
    lambda kind, fields: {**fields, "type": kind}, st.sampled_from(KINDS), st.dictionaries(keys, any_json, max_size=6)
)
any_frame = st.one_of(
    any_text,
    st.binary(max_size=200),
    st.binary(max_size=200).map(bytearray),
    any_event.map(json.dumps),
    any_event.map(lambda event: json.dumps(event).encode()),
    st.builds(lambda event, end: json.dumps(event)[:end], any_event, st.integers(min_value=0, max_value=300)),
)


@law
@given(st.lists(st.one_of(any_json, any_event), max_size=8))
def test_no_json_value_makes_a_connection_raise(values: list[object]) -> None:
    connection = Connection(HERE, Sessions())
    for at, value in enumerate(values):
        for learned in connection.receive_event(value, at):
            _hold_to_what_is_promised(learned)
    for learned in connection.close(99):
        _hold_to_what_is_promised(learned)


@law
@given(st.lists(any_frame, max_size=8))
def test_no_frame_makes_a_connection_raise(frames: list[str | bytes | bytearray]) -> None:
    connection = Connection(HERE, Sessions())
    for at, frame in enumerate(frames):
        for learned in connection.receive(frame, at):
            _hold_to_what_is_promised(learned)
    connection.close(99)


def _hold_to_what_is_promised(learned: Learned) -> None:
    if isinstance(learned, Metered):
        usage = learned.usage
        assert (usage.reported is Reported.REPORTED) is not usage.amounts.is_missing
        assert usage.raw is None or isinstance(json.loads(usage.raw, parse_constant=int), dict)
        for name in (usage.id, usage.status, learned.session, learned.named.said):
            assert name is None or name.encode("utf-8")


@law
@given(any_json, st.booleans())
def test_no_json_value_makes_the_reading_or_the_pricing_of_a_usage_raise(usage: object, text_output: bool) -> None:  # noqa: FBT001 - drawn
    amounts = read_amounts(usage, text_output=text_output)
    assert all(quantity > 0 for quantity in amounts.quantities().values())
    prices = Prices(rates=MappingProxyType({Part(TEXT, INPUT): Rate(unit_price=Decimal(4), per=MILLION)}))
    assert price(amounts, prices).uncertainty >= 0


@law
@given(any_json)
def test_the_numbers_that_are_kept_of_any_usage_can_be_written_as_json(usage: object) -> None:
    kept = numbers_text(usage)
    # `parse_constant` refuses NaN and the infinities, which are no JSON.
    assert (kept is None) is not isinstance(usage, dict)
    assert kept is None or isinstance(json.loads(kept, parse_constant=int), dict)


@law
@given(any_event, st.lists(any_event, max_size=5))
def test_no_event_but_a_delta_is_ever_skipped(event: dict[str, Any], before: list[dict[str, Any]]) -> None:
    known = DeltaFilter()
    for earlier in before:
        known.is_delta(json.dumps(earlier))
    for order in (event, dict(reversed(event.items())), {"type": event["type"], **event}):
        for frame in (json.dumps(order), json.dumps(order, separators=(",", ":")).encode()):
            assert not known.is_delta(frame) or event["type"] in DELTA_TYPES


# --- quantities ----------------------------------------------------------------------------------------------------

counts = st.integers(min_value=0, max_value=10**7)
by_modality = st.tuples(counts, counts, counts)


@st.composite
def usages(draw: st.DrawFn, most: int = 10**7) -> dict[str, Any]:
    """A usage object that agrees with itself."""
    sent = [draw(st.integers(min_value=0, max_value=most)) for _ in REAL]
    cached = [draw(st.integers(min_value=0, max_value=count)) for count in sent]
    produced = [draw(st.integers(min_value=0, max_value=most)) for _ in (TEXT, AUDIO)]
    details = dict(zip(("text_tokens", "audio_tokens", "image_tokens"), sent, strict=True))
    split = dict(zip(("text_tokens", "audio_tokens", "image_tokens"), cached, strict=True))
    return {
        "total_tokens": sum(sent) + sum(produced),
        "input_tokens": sum(sent),
        "output_tokens": sum(produced),
        "input_token_details": {**details, "cached_tokens": sum(cached), "cached_tokens_details": split},
        "output_token_details": {
            "text_tokens": produced[0],
            "audio_tokens": produced[1],
            "reasoning_tokens": draw(st.integers(min_value=0, max_value=produced[0])),
        },
    }


def _total(amounts: Amounts) -> int:
    return int(sum(amounts.quantities().values()))


@law
@given(usages())
def test_disjoint_quantities_add_up_to_the_reported_totals(usage: dict[str, Any]) -> None:
    amounts = read_amounts(usage, text_output=False)
    assert _total(amounts) == usage["total_tokens"]
    assert amounts.problems == ()
    found = amounts.quantities()
    for modality in REAL:
        sent = found.get(Part(modality, INPUT), 0) + found.get(Part(modality, CACHED), 0)
        assert sent == usage["input_token_details"][f"{modality}_tokens"]
    assert all(quantity > 0 for quantity in found.values())


@law
@given(usages(), st.sets(st.sampled_from(["cached split", "cached total", "input", "output", "image", "total"])))
def test_whatever_detail_is_left_out_the_quantities_add_up_to_the_totals(
    usage: dict[str, Any], left_out: set[str]
) -> None:
    details = usage["input_token_details"]
    if "cached split" in left_out:
        del details["cached_tokens_details"]
    if "cached total" in left_out:
        del details["cached_tokens"]
    if "image" in left_out:
        del details["image_tokens"]
    if "input" in left_out:
        del usage["input_token_details"]
    if "output" in left_out:
        del usage["output_token_details"]
    expected = usage["total_tokens"]
    if "total" in left_out:
        del usage["total_tokens"]
    assert _total(read_amounts(usage, text_output=False)) == expected


@law
@given(usages())
def test_reasoning_changes_no_quantity(usage: dict[str, Any]) -> None:
    with_reasoning = read_amounts(usage, text_output=False).quantities()
    del usage["output_token_details"]["reasoning_tokens"]
    assert read_amounts(usage, text_output=False).quantities() == with_reasoning


# --- prices --------------------------------------------------------------------------------------------------------

unit_prices = st.integers(min_value=0, max_value=200 * MILLION).map(lambda micros: Decimal(micros).scaleb(-6))
PRICED = [Part(modality, component) for modality in REAL for component in (INPUT, CACHED, OUTPUT)]
PRICED.remove(Part(IMAGE, OUTPUT))


@st.composite
def price_lists(draw: st.DrawFn) -> Prices:
    rates = {part: Rate(unit_price=draw(unit_prices), per=MILLION) for part in PRICED}
    rates[Part(AUDIO, Component.DURATION)] = Rate(
        unit_price=draw(unit_prices), per=draw(st.sampled_from([1, 60, 3600]))
    )
    return Prices(rates=MappingProxyType(rates))


def _added(one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        return {key: _added(one[key], other[key]) for key in one}
    return one + other


def _cost(amounts: Amounts, prices: Prices) -> Decimal:
    return price(amounts, prices).cost or Decimal(0)


@law
@given(usages(), usages(), price_lists())
def test_two_usages_cost_together_exactly_what_they_cost_apart(
    one: dict[str, Any], other: dict[str, Any], prices: Prices
) -> None:
    together, first, second = (
        _cost(read_amounts(usage, text_output=False), prices) for usage in (_added(one, other), one, other)
    )
    assert together == EXACT.add(first, second)


seconds = st.integers(min_value=1, max_value=10**9).map(lambda milliseconds: Decimal(milliseconds).scaleb(-3))


@law
@given(seconds, seconds, price_lists())
def test_two_durations_cost_together_what_they_cost_apart_but_for_the_last_digit_of_each(
    one: Decimal, other: Decimal, prices: Prices
) -> None:
    together, first, second = (_cost(Amounts(seconds=length), prices) for length in (one + other, one, other))
    assert abs(EXACT.subtract(together, EXACT.add(first, second))) <= 2 * Decimal("1e-12")


@law
@given(usages(), price_lists())
def test_savings_are_the_distance_to_a_bill_without_caches(usage: dict[str, Any], prices: Prices) -> None:
    priced = price(read_amounts(usage, text_output=False), prices)
    uncached = json.loads(json.dumps(usage))
    uncached["input_token_details"]["cached_tokens"] = 0
    uncached["input_token_details"]["cached_tokens_details"] = {}
    full = _cost(read_amounts(uncached, text_output=False), prices)
    assert sum(priced.savings.values()) == full - (priced.cost or 0)


fine_prices = st.decimals(min_value=0, max_value=1000, places=9, allow_nan=False, allow_infinity=False)


@law
@given(usages(), st.dictionaries(st.sampled_from(PRICED), st.one_of(unit_prices, fine_prices)))
def test_plain_counts_cost_what_the_same_tokens_cost_by_modality(
    usage: dict[str, Any], unit_prices_of: dict[Part, Decimal]
) -> None:
    prices = Prices(rates={part: Rate(unit_price=each, per=MILLION) for part, each in unit_prices_of.items()})
    amounts = read_amounts(usage, text_output=False)
    assert amounts.counts is not None
    quick, thorough = (price(one, prices) for one in (amounts, Amounts(tokens=amounts.tokens)))
    assert (thorough.counts, quick.items, quick.cost) == (None, thorough.items, thorough.cost)
    assert (quick.savings, quick.reasons, quick.card) == (thorough.savings, thorough.reasons, thorough.card)
    assert [line.cost and line.cost.as_tuple() for line in quick.items] == [
        line.cost and line.cost.as_tuple() for line in thorough.items
    ]
    assert amounts.totals == Amounts(tokens=amounts.tokens).totals == (usage["input_tokens"], usage["output_tokens"])


# --- intervals -----------------------------------------------------------------------------------------------------

few = st.integers(min_value=0, max_value=6)


def _bounds(amounts: Amounts, prices: Prices) -> tuple[Decimal, Decimal]:
    """The cheapest and the dearest that a usage may have cost; both the cost where that is certain."""
    priced = price(amounts, prices)
    cost = priced.cost or Decimal(0)
    low, high = (cost if bound is None else bound for bound in (priced.low, priced.high))
    assert cost == high
    assert priced.uncertainty == high - low
    return low, high


def _costs(cells: Iterable[dict[Part, int]], prices: Prices) -> list[Decimal]:
    return [
        sum((count * prices.rates[part].unit_price for part, count in split.items()), Decimal(0)) / MILLION
        for split in cells
    ]


@law
@given(st.tuples(few, few, few), st.data(), price_lists())
def test_the_bounds_of_an_unsplit_cache_are_the_extremes_of_all_feasible_splits(
    sent: tuple[int, int, int], data: st.DataObject, prices: Prices
) -> None:
    known = tuple(data.draw(st.integers(min_value=0, max_value=count)) for count in sent)
    cached = data.draw(st.integers(min_value=sum(known), max_value=sum(sent)))
    split = dict(zip(("text_tokens", "audio_tokens", "image_tokens"), known, strict=True))
    usage = {
        "input_tokens": sum(sent),
        "output_tokens": 0,
        "input_token_details": {
            **dict(zip(("text_tokens", "audio_tokens", "image_tokens"), sent, strict=True)),
            "cached_tokens": cached,
            "cached_tokens_details": split,
        },
    }
    feasible = [
        {Part(modality, INPUT): count - hit for modality, count, hit in zip(REAL, sent, hits, strict=True)}
        | {Part(modality, CACHED): hit for modality, hit in zip(REAL, hits, strict=True)}
        for hits in itertools.product(*(range(least, count + 1) for least, count in zip(known, sent, strict=True)))
        if sum(hits) == cached
    ]
    true = _costs(feasible, prices)
    assert _bounds(read_amounts(usage, text_output=False), prices) == (min(true), max(true))


@law
@given(few, few, st.one_of(st.none(), few), price_lists())
def test_the_bounds_of_tokens_without_modality_are_the_extremes_of_all_they_may_be(
    sent: int, produced: int, cached: int | None, prices: Prices
) -> None:
    usage: dict[str, Any] = {"input_tokens": sent, "output_tokens": produced}
    if cached is not None:
        cached = min(cached, sent)
        usage["input_token_details"] = {"cached_tokens": cached}
    inputs = [Part(modality, component) for modality in REAL for component in (INPUT, CACHED)]
    feasible_inputs = [
        parts
        for parts in itertools.combinations_with_replacement(inputs, sent)
        if cached is None or sum(part.component is CACHED for part in parts) == cached
    ]
    outputs = [Part(TEXT, OUTPUT), Part(AUDIO, OUTPUT)]
    ends = []
    for choices in (feasible_inputs, list(itertools.combinations_with_replacement(outputs, produced))):
        true = _costs(({part: parts.count(part) for part in parts} for parts in choices), prices)
        ends.append((min(true), max(true)))
    assert _bounds(read_amounts(usage, text_output=False), prices) == (
        ends[0][0] + ends[1][0],
        ends[0][1] + ends[1][1],
    )


# --- time ----------------------------------------------------------------------------------------------------------

instants = st.datetimes(min_value=datetime(2024, 1, 1), max_value=datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the strategy adds the zone
MOMENT = timedelta(microseconds=1)


@law
@given(st.lists(st.tuples(instants, unit_prices), min_size=1, max_size=5, unique_by=lambda row: row[0]), instants)
def test_a_rate_change_at_an_instant_splits_exactly_there(
    rows: list[tuple[datetime, Decimal]], moment: datetime
) -> None:
    card = {
        "format": 1,
        "provider": "openai",
        "name": "law",
        "date": datetime(2030, 1, 1, tzinfo=UTC).date(),
        "currency": "USD",
        "rate": [{"model": "m", "from": start, "text": {"input": f"{unit_price:f}"}} for start, unit_price in rows],
    }
    book, sku = RateBook([parse_card(card)]), Sku(provider=Provider.OPENAI, model="m")
    for at in {moment, *(start for start, _ in rows), *(start - MOMENT for start, _ in rows)}:
        begun = [row for row in rows if row[0] <= at]
        found = book.prices(sku, at)
        if not begun:
            assert not isinstance(found, Prices)
            continue
        assert isinstance(found, Prices)
        assert found.rates[Part(TEXT, INPUT)].unit_price == max(begun)[1]


# --- once ----------------------------------------------------------------------------------------------------------

ids = st.sampled_from(["a", "b", "c"])
some_usage = st.one_of(st.none(), usages(most=100))
session_events = st.one_of(
    st.builds(lambda key: {"type": events.RESPONSE_CREATED, "response": {"id": key}}, ids),
    st.builds(
        lambda key, usage: {"type": events.RESPONSE_DONE, "response": {"id": key, "usage": usage}}, ids, some_usage
    ),
    st.builds(lambda key: {"type": events.AUDIO_COMMITTED, "item_id": key}, ids),
    st.builds(
        lambda key, part, usage: {
            "type": events.TRANSCRIPTION_COMPLETED,
            "item_id": key,
            "content_index": part,
            "usage": usage,
        },
        ids,
        st.integers(min_value=0, max_value=1),
        some_usage,
    ),
    st.builds(
        lambda key, model: {"type": "session.updated", "session": {"id": key, "input_audio_transcription": model}},
        st.sampled_from(["sess_1", "sess_2"]),
        st.one_of(st.none(), st.just({"model": "whisper-1"}), st.just({"model": "gpt-4o-transcribe"})),
    ),
)


def _accounts(connection: Connection, received: Iterable[dict[str, Any]]) -> list[Metered]:
    learned = [one for event in received for one in connection.receive_event(event, 0)]
    return [one for one in learned if isinstance(one, Metered)]


@law
@given(st.lists(session_events, max_size=12))
def test_an_event_that_is_repeated_at_once_changes_nothing(received: list[dict[str, Any]]) -> None:
    plain, stuttering = Connection(HERE, Sessions()), Connection(HERE, Sessions())
    once = _accounts(plain, received)
    twice = _accounts(stuttering, (event for event in received for _ in range(2)))
    assert once == twice
    assert plain.close(1) == stuttering.close(1)


@law
@given(st.lists(session_events, max_size=12))
def test_a_usage_that_is_repeated_later_changes_nothing_on_any_socket(received: list[dict[str, Any]]) -> None:
    sessions = Sessions()
    first, second = Connection(HERE, sessions), Connection(HERE, sessions)
    _accounts(first, received)
    metered = [event for event in received if event["type"] in (events.RESPONSE_DONE, events.TRANSCRIPTION_COMPLETED)]
    assert _accounts(first, metered) == []
    assert _accounts(second, reversed(metered)) == []


@law
@given(st.lists(session_events, max_size=12))
def test_each_usage_is_reported_at_most_once_and_never_after_a_better_account(received: list[dict[str, Any]]) -> None:
    connection = Connection(HERE, Sessions())
    metered = _accounts(connection, received)
    metered += [one for one in connection.close(1) if isinstance(one, Metered)]
    order = [Reported.LOST, Reported.MISSING, Reported.REPORTED]
    best: dict[tuple[str, str | None], int] = {}
    for one in metered:
        key = (one.usage.kind, one.usage.id)
        rank = order.index(one.usage.reported)
        assert rank > best.get(key, -1)
        best[key] = rank


# --- the quick way to read a usage -----------------------------------------------------------------------------------

few = st.integers(min_value=0, max_value=3)


@st.composite
def nearly_whole(draw: st.DrawFn) -> dict[str, Any]:
    """A usage that says everything and adds up, but for what may have been changed or left out of it."""
    sent, cached, made = (draw(st.tuples(few, few, few)) for _ in range(3))
    names = ("text_tokens", "audio_tokens", "image_tokens")
    details = dict(zip(names, cached, strict=True))
    usage: dict[str, Any] = {
        "total_tokens": sum(sent) + sum(made),
        "input_tokens": sum(sent),
        "output_tokens": sum(made),
        "input_token_details": {
            **dict(zip(names, sent, strict=True)),
            "cached_tokens": sum(cached),
            "cached_tokens_details": details,
        },
        "output_token_details": {**dict(zip(names, made, strict=True)), "reasoning_tokens": draw(few)},
    }
    places = [usage, usage["input_token_details"], details, usage["output_token_details"]]
    keys_of_it = ["seconds", "type", *usage, *usage["input_token_details"], "reasoning_tokens"]
    for _ in range(draw(st.integers(min_value=0, max_value=2))):
        place = draw(st.sampled_from(places))
        key = draw(st.sampled_from(keys_of_it))
        if draw(st.booleans()):
            place.pop(key, None)
        else:
            place[key] = draw(st.sampled_from([None, -1, 0, 1, 2, 1.0, 1.5, True, "1", {}, [], 10**16, "tokens"]))
    return usage


@settings(law, max_examples=600)
@given(usage=nearly_whole(), text_output=st.booleans(), again=nearly_whole())
def test_the_quick_way_to_read_a_usage_answers_as_the_thorough_one_or_not_at_all(
    *, usage: dict[str, Any], text_output: bool, again: dict[str, Any]
) -> None:
    for one in (usage, again, usage):
        quick = read_whole(one, text_output=text_output)
        if quick is not None:
            counts, raw = quick
            assert Amounts(counts) == reading.read_thoroughly(one, text_output=text_output)
            assert raw == numbers_text(one)


def test_the_layouts_that_are_remembered_are_bounded() -> None:
    usage: dict[str, Any] = {"input_tokens": 2, "output_tokens": 1, "total_tokens": 3, "type": "tokens"}
    usage["input_token_details"] = {"text_tokens": 2, "audio_tokens": 0}
    for order in itertools.permutations(usage):
        whole = {key: usage[key] for key in order}
        assert read_whole(whole, text_output=True) == ((2, 0, 1, *[0] * 7), json.dumps(whole, separators=(",", ":")))
        assert read_whole({**whole, "made_up": 0}, text_output=True) is None
    assert len(whole_usage._LAYOUTS) == whole_usage._MOST_LAYOUTS < math.factorial(len(usage))
    assert not any("made_up" in keys for keys in whole_usage._LAYOUTS)


def test_the_quick_way_is_taken_by_what_services_send() -> None:
    whole = {
        "total_tokens": 9,
        "input_tokens": 5,
        "output_tokens": 4,
        "input_token_details": {
            "text_tokens": 2,
            "audio_tokens": 3,
            "cached_tokens": 1,
            "cached_tokens_details": {"text_tokens": 1, "audio_tokens": 0},
        },
        "output_token_details": {"text_tokens": 1, "audio_tokens": 3},
    }
    transcribed = {
        "type": "tokens",
        "total_tokens": 9,
        "input_tokens": 5,
        "output_tokens": 4,
        "input_token_details": {"text_tokens": 0, "audio_tokens": 5},
    }
    assert read_whole(whole, text_output=False) is not None
    assert read_whole(transcribed, text_output=True) is not None
