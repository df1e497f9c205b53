from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from realtime_spend.core.card_format import parse_card
from realtime_spend.core.line_items import Component, Modality, Part, Provider, Rate, Scope
from realtime_spend.core.rates import BEGINNING, Contest, Listed, ModelKind, RateCard

HEAD = """
format = 1
provider = "azure.ai.openai"
name = "mine"
date = 2026-11-19
currency = "EUR"
"""


def read(text: str) -> RateCard:
    return parse_card(tomllib.loads(HEAD + text))


def head(**changes: object) -> dict[str, Any]:
    document = tomllib.loads(HEAD) | changes
    return {key: value for key, value in document.items() if value is not None}


def rate(**changes: object) -> dict[str, Any]:
    row: dict[str, Any] = {"model": "m", "text": {"input": "4"}} | changes
    return head(rate=[{key: value for key, value in row.items() if value is not None}])


def discount(**changes: object) -> dict[str, Any]:
    return head(discount=[{"off": "0.12", **changes}])


def test_a_card_is_named_after_itself_and_its_day() -> None:
    card = read("")
    assert (card.name, card.provider, card.currency) == ("mine@2026-11-19", Provider.AZURE, "EUR")
    assert (dict(card.names), card.rows, card.discounts) == ({}, (), ())


def test_a_model_is_listed_under_its_names_with_the_version_that_each_tells() -> None:
    card = read("""
        [[model]]
        model = "gpt-realtime"
        kind = "realtime"
        names = { "gpt-realtime" = "", "gpt-realtime-2025-08-28" = "2025-08-28" }
        [[model]]
        model = "whisper"
        kind = "transcription"
    """)
    assert dict(card.names) == {
        "gpt-realtime": Listed(model="gpt-realtime", version=None, kind=ModelKind.REALTIME),
        "gpt-realtime-2025-08-28": Listed(model="gpt-realtime", version="2025-08-28", kind=ModelKind.REALTIME),
        "whisper": Listed(model="whisper", version=None, kind=ModelKind.TRANSCRIPTION),
    }


def test_a_row_is_read_with_everything_in_it() -> None:
    card = read("""
        [[rate]]
        model = "gpt-realtime"
        versions = ["2025-08-28", ""]
        scopes = ["regional", "datazone"]
        regions = ["swedencentral"]
        from = 2025-08-28
        text = { input = "4", cached_input = "0.4", output = "16" }
        audio = { input = "32" }
        image = { input = "5" }
        duration = { price = "0.017", per = "minute" }
        contested = [{ part = "audio.input", others = ["2.5"], why = "two pages disagree" }]
        source = "https://example.com"
        checked = 2026-11-19
        note = "seen once"
    """)
    (row,) = card.rows
    assert row.versions == frozenset({"2025-08-28", None})
    assert row.scopes == {Scope.REGIONAL, Scope.DATAZONE}
    assert row.regions == frozenset({"swedencentral"})
    assert row.starts == datetime(2025, 8, 28, tzinfo=UTC)
    assert dict(row.rates) == {
        Part(Modality.TEXT, Component.INPUT): Rate(unit_price=Decimal(4), per=1_000_000),
        Part(Modality.TEXT, Component.CACHED_INPUT): Rate(unit_price=Decimal("0.4"), per=1_000_000),
        Part(Modality.TEXT, Component.OUTPUT): Rate(unit_price=Decimal(16), per=1_000_000),
        Part(Modality.AUDIO, Component.INPUT): Rate(unit_price=Decimal(32), per=1_000_000),
        Part(Modality.IMAGE, Component.INPUT): Rate(unit_price=Decimal(5), per=1_000_000),
        Part(Modality.AUDIO, Component.DURATION): Rate(unit_price=Decimal("0.017"), per=60),
    }
    assert row.contests == (
        Contest(
            part=Part(Modality.AUDIO, Component.INPUT),
            used=Decimal(32),
            others=(Decimal("2.5"),),
            why="two pages disagree",
        ),
    )
    assert (row.source, row.checked, row.note) == ("https://example.com", "2026-11-19", "seen once")


def test_what_a_row_leaves_out_means_any_version_global_and_for_ever() -> None:
    (row,) = parse_card(rate()).rows
    assert (row.versions, row.scopes, row.regions, row.starts) == (None, frozenset({Scope.GLOBAL}), None, BEGINNING)
    assert (row.contests, row.source, row.checked, row.note) == ((), "", "", "")


@pytest.mark.parametrize(("per", "seconds"), [("second", 1), ("minute", 60), ("hour", 3600)])
def test_a_price_by_time_is_per_second_minute_or_hour(per: str, seconds: int) -> None:
    (row,) = parse_card(rate(duration={"price": "0.36", "per": per})).rows
    assert row.rates[Part(Modality.AUDIO, Component.DURATION)] == Rate(unit_price=Decimal("0.36"), per=seconds)


def test_an_instant_keeps_its_offset_and_is_compared_in_utc() -> None:
    (row,) = read("""
        [[rate]]
        model = "m"
        from = 2026-07-01T02:00:00+02:00
        text = { input = "4" }
    """).rows
    assert row.starts == datetime(2026, 7, 1, tzinfo=UTC)
    assert row.starts.tzinfo is UTC


def test_a_discount_names_what_it_is_for_or_is_for_everything() -> None:
    everything, one = read("""
        [[discount]]
        off = "0.05"
        [[discount]]
        model = "gpt-realtime"
        scope = "datazone"
        from = 2026-07-01
        off = "1"
    """).discounts
    assert (everything.model, everything.scope, everything.starts, everything.off) == (
        None,
        None,
        BEGINNING,
        Decimal("0.05"),
    )
    assert (one.model, one.scope, one.starts, one.off) == (
        "gpt-realtime",
        Scope.DATAZONE,
        datetime(2026, 7, 1, tzinfo=UTC),
        Decimal(1),
    )


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no format": (head(format=None), "must say `format = 1`"),
    "another format": (head(format=2), "must say `format = 1`"),
    "an unknown key": (head(prices=[]), "the card has no key 'prices'; it knows currency, date"),
    "an unknown provider": (head(provider="google"), "provider is 'google'; it must be one of openai, azure.ai.openai"),
    "no provider": (head(provider=None), "provider is None"),
    "no date": (head(date=None), "must give its `date`"),
    "a date in quotes": (head(date="2026-11-19"), "must give its `date`"),
    "no name": (head(name=None), "the card must give its `name` as text"),
    "an empty name": (head(name=""), "the card must give its `name` as text"),
    "no currency": (head(currency=840), "the card must give its `currency` as text"),
    "models that are no tables": (head(model="gpt-realtime"), r"model must be written as \[\[model\]\] tables"),
    "rates that are no tables": (head(rate=["4"]), r"rate must be written as \[\[rate\]\] tables"),
    "a model without its name": (head(model=[{"kind": "realtime"}]), r"a \[\[model\]\] must give its `model` as text"),
    "a model with a misspelt key": (
        head(model=[{"model": "m", "type": "realtime"}]),
        r"\[\[model\]\] m has no key 'type'",
    ),
    "a model of an unknown kind": (head(model=[{"model": "m", "kind": "voice"}]), "kind of m is 'voice'"),
    "names in a list": (head(model=[{"model": "m", "kind": "chat", "names": ["m"]}]), "names of m must be a table"),
    "a version that is no text": (
        head(model=[{"model": "m", "kind": "chat", "names": {"m": date(2026, 1, 1)}}]),
        "names of m must be a table",
    ),
    "a rate without its model": (rate(model=None), r"a \[\[rate\]\] must give its `model` as text"),
    "a rate with a misspelt key": (rate(vesions=["x"]), r"\[\[rate\]\] m has no key 'vesions'"),
    "a rate without a price": (rate(text=None), "gives no price: add text, audio, image or duration"),
    "a rate of an empty table": (rate(text={}), "gives no price"),
    "an unknown component": (rate(text={"in": "4"}), r"text of \[\[rate\]\] m is 'in'; it must be one of input"),
    "a duration among tokens": (rate(audio={"duration": "4"}), "a price by time is written duration ="),
    "a price in binary": (rate(text={"input": 0.4}), r"text.input of \[\[rate\]\] m must be written as text"),
    "a price as a whole number": (rate(text={"input": 4}), "must be written as text"),
    "a price that is no number": (rate(text={"input": "four"}), "'four' is not a decimal number"),
    "a price that is not finite": (rate(text={"input": "NaN"}), "'NaN' is not a finite number"),
    "a negative price": (rate(text={"input": "-4"}), r"text.input of \[\[rate\]\] m is negative"),
    "a duration without its unit": (rate(duration={"price": "1"}), "is per second, minute or hour"),
    "a duration per day": (rate(duration={"price": "1", "per": "day"}), "is per second, minute or hour"),
    "a duration without its price": (
        rate(duration={"per": "hour"}),
        r"duration of \[\[rate\]\] m must be written as text",
    ),
    "an unknown scope": (rate(scopes=["europe"]), r"scopes of \[\[rate\]\] m is 'europe'"),
    "regions without the scope": (rate(regions=["eastus"]), "regions belong to the scope regional"),
    "the scope without regions": (rate(scopes=["regional"]), "regions belong to the scope regional"),
    "an instant without its offset": (
        rate(**{"from": datetime(2026, 7, 1)}),  # noqa: DTZ001 - what TOML makes of an instant without an offset
        r"from of \[\[rate\]\] m needs an offset",
    ),
    "an instant in quotes": (rate(**{"from": "2026-07-01"}), "must be a day or an instant, without quotes"),
    "a time of day": (rate(**{"from": time(12)}), "must be a day or an instant"),
    "a contest about nothing": (rate(contested=[{"part": "audio.input"}]), "contests 'audio.input', which it does not"),
    "a contest in binary": (
        rate(contested=[{"part": "text.input", "others": [2.5]}]),
        r"others of \[\[rate\]\] m must be a list of texts",
    ),
    "a contest by a price that is none": (
        rate(contested=[{"part": "text.input", "others": ["two"]}]),
        "'two' is not a decimal number",
    ),
    "a contest by a negative price": (
        rate(contested=[{"part": "text.input", "others": ["-2"]}]),
        r"contested text.input of \[\[rate\]\] m is negative",
    ),
    "a contest that is no table": (rate(contested=["x"]), r"contested of \[\[rate\]\] m must be a table"),
    "contests that are no list": (
        rate(contested={"part": "text.input"}),
        r"contested of \[\[rate\]\] m must be a list, written in brackets",
    ),
    "a contest with a misspelt key": (
        rate(contested=[{"part": "text.input", "other": ["2"]}]),
        r"contested of \[\[rate\]\] m has no key 'other'; it knows others, part, why",
    ),
    "versions in one text": (rate(versions="2025"), r"versions of \[\[rate\]\] m must be a list of texts"),
    "a version without quotes": (
        rate(versions=[date(2025, 8, 28)]),
        r"versions of \[\[rate\]\] m must be a list of texts, for example \[\"2025-08-28\"\]",
    ),
    "versions that are a number": (rate(versions=3), r"versions of \[\[rate\]\] m must be a list of texts"),
    "no version at all": (rate(versions=[]), r"versions of \[\[rate\]\] m must be a list of texts"),
    "no scope at all": (rate(scopes=[]), r"scopes of \[\[rate\]\] m must be a list of texts"),
    "regions in one text": (
        rate(scopes=["regional"], regions="swedencentral"),
        r"regions of \[\[rate\]\] m must be a list of texts",
    ),
    "prices that are no table": (rate(text="4"), r"text of \[\[rate\]\] m must be a table, written in braces"),
    "a duration that is no table": (
        rate(duration="4"),
        r"duration of \[\[rate\]\] m must be a table, written in braces",
    ),
    "a duration per list": (
        rate(duration={"price": "1", "per": ["minute"]}),
        r"duration of \[\[rate\]\] m is per second, minute or hour",
    ),
    "a duration with a misspelt key": (
        rate(duration={"price": "1", "per": "minute", "pro": "minute"}),
        r"duration of \[\[rate\]\] m has no key 'pro'; it knows per, price",
    ),
    "a price beyond all money": (rate(text={"input": "1e9999999"}), "'1e9999999' has more digits than any amount"),
    "a name that is listed twice": (
        head(model=[{"model": "m", "kind": "chat"}, {"model": "n", "kind": "chat", "names": {"m": ""}}]),
        "the name 'm' is listed twice",
    ),
    "an instant before all time": (
        rate(**{"from": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=10)))}),
        r"from of \[\[rate\]\] m is before or after all time",
    ),
    "a discount for a number": (discount(model=3), r"a \[\[discount\]\] must give its `model` as text"),
    "a discount of more than everything": (discount(off="12"), r"off of a \[\[discount\]\] is a share: 0.12 for 12 %"),
    "a negative discount": (discount(off="-0.1"), r"off of a \[\[discount\]\] is negative"),
    "a discount in binary": (discount(off=0.12), r"off of a \[\[discount\]\] must be written as text"),
    "a discount with a misspelt key": (discount(scop="global"), r"a \[\[discount\]\] has no key 'scop'"),
    "a discount of an unknown scope": (discount(scope="europe"), r"scope of a \[\[discount\]\] is 'europe'"),
    "a discount from words": (discount(**{"from": "July"}), r"from of a \[\[discount\]\] must be a day"),
}


@pytest.mark.parametrize(("document", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_card_that_is_none_says_in_one_sentence_what_is_wrong(document: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refused:
        parse_card(document)
    assert "\n" not in str(refused.value)
