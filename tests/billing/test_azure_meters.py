"""Every name of a meter that is known is read right in every slot, and no damaged one is read as another's."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_spend.billing.azure_meters import family_of, read_meter
from realtime_spend.billing.meter_grammar import Grammar
from realtime_spend.core.line_items import Component, Part, Provider, Scope, Sku, Unit
from realtime_spend.core.rates import Prices, RateBook
from realtime_spend.rate_cards import built_in

if TYPE_CHECKING:
    from realtime_spend.core.reconciliation.bills import Meter

FIXTURE = Path(__file__).parent / "fixtures" / "azure_meters.csv"
with FIXTURE.open(encoding="utf-8", newline="") as _file:
    ROWS = list(csv.DictReader(_file))
NAMES = [row["meter_name"] for row in ROWS]
OURS = [row for row in ROWS if row["kind"] != "audio"]
CARD = built_in("azure.toml")
NOW = datetime(2026, 11, 22, tzinfo=UTC)

# kind, generation, mini, stamp, diarize, as the fixture has them.
SKUS = {
    ("realtime", "", "", "0828", ""): ("gpt-realtime", "2025-08-28"),
    ("realtime", "", "yes", "", ""): ("gpt-realtime-mini", "2025-10-06"),
    ("realtime", "", "yes", "1215", ""): ("gpt-realtime-mini", "2025-12-15"),
    ("realtime", "1.5", "", "", ""): ("gpt-realtime-1.5", "2026-02-23"),
    ("realtime", "2", "", "", ""): ("gpt-realtime-2", None),
    ("realtime", "2.1", "", "", ""): ("gpt-realtime-2.1", None),
    ("realtime", "2.1", "yes", "", ""): ("gpt-realtime-2.1-mini", None),
    ("realtime", "4o", "", "", ""): ("gpt-4o-realtime-preview", "2024-10-01"),
    ("realtime", "4o", "", "1217", ""): ("gpt-4o-realtime-preview", "2024-12-17"),
    ("realtime", "4o", "", "0603", ""): ("gpt-4o-realtime-preview", "2025-06-03"),
    ("realtime", "4o", "yes", "1217", ""): ("gpt-4o-mini-realtime-preview", "2024-12-17"),
    ("transcribe", "4o", "", "", ""): ("gpt-4o-transcribe", None),
    ("transcribe", "4o", "", "", "yes"): ("gpt-4o-transcribe-diarize", None),
    ("transcribe", "4o", "yes", "", ""): ("gpt-4o-mini-transcribe", "2025-03-20"),
    ("transcribe", "4o", "yes", "1215", ""): ("gpt-4o-mini-transcribe", "2025-12-15"),
    ("whisper", "", "", "", ""): ("whisper", None),
    ("realtime-translate", "", "", "", ""): ("gpt-realtime-translate", None),
}


class Slots(NamedTuple):
    model: str | None
    version: str | None
    scope: str | None
    part: str | None


def slots(meter: Meter) -> Slots:
    return Slots(meter.model, meter.version, meter.scope, meter.part)


def expected(row: dict[str, str]) -> Slots:
    model, version = SKUS[row["kind"], row["generation"], row["mini"], row["stamp"], row["diarize"]]
    if row["unit_of_measure"] == "1 Hour":
        part = "audio.duration"
    else:
        part = f"{row['modality']}.{'cached_input' if row['cached'] else row['direction']}"
    return Slots(model, version, row["scope"] or None, part)


def test_the_fixture_holds_every_family() -> None:
    assert len(ROWS) == 222
    assert {expected(row)[:2] for row in OURS} == set(SKUS.values())


@pytest.mark.parametrize("row", OURS, ids=lambda row: row["meter_name"])
def test_every_name_is_read_in_every_slot(row: dict[str, str]) -> None:
    meter = read_meter(row["meter_name"])
    assert meter.problem is None
    assert meter.is_realtime
    assert meter.name == row["meter_name"]
    assert slots(meter) == expected(row)
    assert meter.unit is (Unit.SECONDS if row["unit_of_measure"] == "1 Hour" else Unit.TOKENS)


@pytest.mark.parametrize("row", [row for row in ROWS if row["kind"] == "audio"], ids=lambda row: row["meter_name"])
def test_meters_of_gpt_audio_are_not_ours(row: dict[str, str]) -> None:
    meter = read_meter(row["meter_name"])
    assert not meter.is_realtime
    assert meter.problem is None
    assert slots(meter) == (None, None, None, None)
    assert family_of(row["meter_name"]).endswith("is a meter of gpt-audio, not of a Realtime model")


@pytest.mark.parametrize("row", OURS, ids=lambda row: row["meter_name"])
def test_what_is_read_is_a_sku_of_the_card_at_its_own_price(row: dict[str, str]) -> None:
    meter = read_meter(row["meter_name"])
    assert meter.model is not None
    assert meter.part is not None
    assert meter.version in {listed.version for listed in CARD.names.values() if listed.model == meter.model}
    if meter.scope is not Scope.GLOBAL:
        return
    sku = Sku(provider=Provider.AZURE, model=meter.model, version=meter.version, scope=meter.scope)
    prices = RateBook([CARD]).prices(sku, NOW)
    assert isinstance(prices, Prices)
    block = {"1K": 1_000, "1M": 1_000_000, "1 Hour": 3_600}[row["unit_of_measure"]]
    rate = prices.rates[meter.part]
    assert rate.unit_price * block == Decimal(row["list_prices_usd"]) * rate.per


@pytest.mark.parametrize(
    ("name", "slots_of_it"),
    [
        # As people write them down: no scope, no stamp, no unit.
        ("gpt rt aud mn in", ("gpt-realtime-mini", None, None, "audio.input")),
        ("gpt rt txt mn cd in", ("gpt-realtime-mini", None, None, "text.cached_input")),
        ("gpt-4o-rt-aud Outp glbl", ("gpt-4o-realtime-preview", None, "global", "audio.output")),
        # Of the same families, and in no list of ours.
        ("gpt rt img mn cchd in gl 1215", ("gpt-realtime-mini", "2025-12-15", "global", "image.cached_input")),
        ("gpt rt txt mini Outp glbl Tokens", ("gpt-realtime-mini", "2025-10-06", "global", "text.output")),
        ("gpt-realtime-2 Audio opt DZ 1M Tokens", ("gpt-realtime-2", None, "datazone", "audio.output")),
        ("gpt rt aud 08282025 Inp glbl Tokens", ("gpt-realtime", "2025-08-28", "global", "audio.input")),
        (
            "gpt4o mn trscb txt out rg 1215 1M Tokens",
            ("gpt-4o-mini-transcribe", "2025-12-15", "regional", "text.output"),
        ),
        ("gpt 4o tcrb d aud inp rgnl Tokens", ("gpt-4o-transcribe-diarize", None, "regional", "audio.input")),
        # By the hour, with and without a direction.
        ("gpt-realtime-whisper Opt Gl Unit", ("gpt-realtime-whisper", None, "global", "audio.duration")),
        ("gpt-realtime-translate Opt DZ Unit", ("gpt-realtime-translate", None, "datazone", "audio.duration")),
        ("gpt-transcribe Gl Unit", ("gpt-transcribe", None, "global", "audio.duration")),
        ("gpt-live-transcribe Gl Unit", ("gpt-live-transcribe", None, "global", "audio.duration")),
        # The order, the case and the separators are anybody's.
        ("TOKENS_1215-GL-MN-AUD-RT-GPT_IN", ("gpt-realtime-mini", "2025-12-15", "global", "audio.input")),
        ("gpt4o realtimeprvwaudinp data-zone", ("gpt-4o-realtime-preview", "2024-10-01", "datazone", "audio.input")),
    ],
)
def test_names_that_no_list_of_ours_has(name: str, slots_of_it: tuple[str | None, ...]) -> None:
    meter = read_meter(name)
    assert meter.problem is None
    assert slots(meter) == slots_of_it


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gpt rt aud mn in gl 0401 1M Tokens", "its stamp 0401 is no version of gpt-realtime-mini that is known"),
        ("gpt rt aud 0828 1215 Inp glbl", "its stamp 0828 1215 is no version of gpt-realtime that is known"),
        ("gpt rt aud 08282026 Inp glbl", "its stamp 08282026 is no version"),
        ("gpt rt vid 0828 Inp glbl", "no word 'vid' is known"),
        ("gpt rt aud 3 inp gl", "no word '3' is known"),
        ("gpt rt aud 0828 glbl", "it says neither input nor output"),
        ("gpt rt 0828 Inp glbl", "it says neither audio nor text nor image"),
        ("gpt rt aud txt 0828 Inp glbl", "it says both audio and text"),
        ("gpt rt aud 0828 Inp Outp glbl", "it says both input and output"),
        ("gpt rt aud 0828 Inp glbl dz", "it says both datazone and global"),
        ("gpt rt aud 0828 cchd Outp glbl", "output is never cached"),
        ("gpt 4o tcrb cd aud inp glbl", "gpt-4o-transcribe is never cached"),
        ("gpt 4o tcrb dz aud inp dz", "it says 'dz' twice"),
        ("gpt aud mn in rt 1215", "it says input or output before the model"),
        ("gpt rt batch aud inp gl", "it is of no model that is known"),
        ("gpt rt 1.5 mini aud inp gl", "it is of no model that is known"),
        ("gpt rt 2 prvw aud inp gl", "it is of no model that is known"),
        ("gpt-4o-mini-transcribe-aud-inp-d", "no word 'd' is known"),
        ("gpt 4o tcrb  aud inp dz Tokens", "a word seems to be missing"),
        ("gpt-realtime-whisper inp Gl Unit", "this is not an hour's meter"),
        ("gpt-transcribe Gl Tokens", "gpt-transcribe is billed by the hour"),
        ("gpt-realtime-whisper Gl 1M Tokens", "gpt-realtime-whisper is billed by the hour"),
        ("gpt rt aud 0828 Inp glbl Unit", "this is an hour's meter"),
        ("mistral transcribe audio inp", "no word 'mistral' is known"),
        # One more way to write realtime, or a slip in it.
        ("gpt rlt aud 0828 Inp glbl", "no word 'rlt' is known"),
        ("gpt rlt txt 0828 Inp glbl", "no word 'rlt' is known"),
        ("gpt-reatlime-2 Image inp Gl", "no word 'reatlime' is known"),
        ("gpt4o realtimPrvwAudInp DataZone", "no word 'realtimprvwaudinp' is known"),
        ("gpt-4o-transcribed", "no word 'transcribed' is known"),
        ("gptrt txt 0828 Inp glbl", "no word 'gptrt' is known"),
        ("Speech-to-Text-Batch-Wisper-glbl Unit", "no word 'wisper' is known"),
        ("gpt rt aud mn in gl " + "1215 " * 60, "is known"),
        ("Voice Live API Gold - LLM Audio Input Tokens", "a meter of Voice Live, which is billed by tier"),
        ("Voice Live API Pro - Custom Speech Text Input Tokens", "Azure Speech has audio alone"),
        ("Voice Live BYO Custom Speech Audio Input Tokens", "a meter of Voice Live"),
    ],
)
def test_what_cannot_be_read_says_why_and_nothing_else(name: str, why: str) -> None:
    meter = read_meter(name)
    assert meter.is_realtime
    assert meter.problem is not None
    assert why in meter.problem
    assert meter.problem.startswith(repr(name))
    assert slots(meter) == (None, None, None, None)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("gpt4o mn tts aud out gl 1215 1M Tokens", "a meter of text to speech"),
        ("gpt aud mini txt Inp regnl Tokens", "a meter of gpt-audio"),
        ("Image 2 txt inp Gl 1M Tokens", "no meter of a Realtime or transcription model"),
        ("gpt 5.6 luna inp Gl 1M Tokens", "no meter of a Realtime or transcription model"),
        ("text-embedding-3-large-glbl Tokens", "no meter of a Realtime or transcription model"),
        ("Fast Transcription", "no meter of a Realtime or transcription model"),
        ("gpt image 1 mini txt inp Gl", "no meter of a Realtime or transcription model"),
        ("S1 Speech To Text Batch", "no meter of a Realtime or transcription model"),
        ("Provisioned Managed Global Unit", "no meter of a Realtime or transcription model"),
        ("", "no meter of a Realtime or transcription model"),
    ],
)
def test_other_families_are_left_out_and_named_to_whoever_asks(name: str, what: str) -> None:
    meter = read_meter(name)
    assert not meter.is_realtime
    assert meter.problem is None
    assert what in family_of(name)


def test_an_id_is_believed_before_a_name() -> None:
    document = _document()
    document["ids"] = {"00BB768D-0000-0000-0000-000000000001": "gpt rt aud 0828 Inp glbl Tokens"}
    grammar = Grammar(document)
    renamed = read_meter("Realtime voice, new", " 00bb768d-0000-0000-0000-000000000001", grammar=grammar)
    assert renamed.name == "Realtime voice, new"
    assert slots(renamed) == ("gpt-realtime", "2025-08-28", "global", "audio.input")
    assert read_meter("Realtime voice, new", "another-id", grammar=grammar).problem is not None


def _document() -> dict[str, object]:
    import tomllib  # noqa: PLC0415 - this test alone makes a grammar of its own
    from importlib import resources  # noqa: PLC0415

    text = (resources.files("realtime_spend.billing") / "azure_meters.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


# Spellings that nobody has seen


def _is_the_same_or_nothing(name: str, original: str) -> None:
    """A wrong sku is worse than none: what is read of a damaged name is the same, or left open, or a problem."""
    found, meant = read_meter(name), read_meter(original)
    if found.problem is not None or not found.is_realtime:
        assert slots(found) == (None, None, None, None)
        return
    for said, was in zip(slots(found), slots(meant), strict=True):
        assert said in (was, None), (name, found)
    assert found.model == meant.model
    assert found.part == meant.part


@given(name=st.sampled_from(NAMES), data=st.data())
def test_case_means_nothing(name: str, data: st.DataObject) -> None:
    cases = data.draw(st.lists(st.sampled_from((str.upper, str.lower)), min_size=len(name), max_size=len(name)))
    written = "".join(case(letter) for case, letter in zip(cases, name, strict=True))
    assert slots(read_meter(written)) == slots(read_meter(name))


@given(name=st.sampled_from(NAMES), data=st.data())
def test_separators_mean_nothing(name: str, data: st.DataObject) -> None:
    separator = st.sampled_from(" -_\t\u00a0\u2011\u2013")
    written = "".join(data.draw(separator) if letter in " -_" else letter for letter in name)
    assert slots(read_meter(written)) == slots(read_meter(name))


@pytest.mark.parametrize("dash", [" ", "\u00a0", "\u2011", "\u2013", " \u2013 "])
def test_words_that_belong_together_are_parted_by_anything(dash: str) -> None:
    name = "Speech-to-Text-Batch-Whisper-glbl Unit"
    written = name.replace("h-t", f"h{dash}t").replace("o-T", f"o{dash}T")
    assert slots(read_meter(written)) == slots(read_meter(name))


@given(name=st.sampled_from(NAMES), data=st.data())
def test_a_shuffled_name_is_the_same_or_nothing(name: str, data: st.DataObject) -> None:
    _is_the_same_or_nothing(" ".join(data.draw(st.permutations(name.split()))), name)


@given(name=st.sampled_from(NAMES), data=st.data())
def test_a_lost_letter_gives_the_same_or_nothing(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(name) - 1))
    _is_the_same_or_nothing(name[:at] + name[at + 1 :], name)


@given(name=st.sampled_from(NAMES), data=st.data(), letter=st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789."))
def test_a_letter_too_many_gives_the_same_or_nothing(name: str, data: st.DataObject, letter: str) -> None:
    at = data.draw(st.integers(0, len(name)))
    _is_the_same_or_nothing(name[:at] + letter + name[at:], name)


@given(name=st.sampled_from(NAMES), data=st.data(), letter=st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789."))
def test_a_wrong_letter_gives_the_same_or_nothing(name: str, data: st.DataObject, letter: str) -> None:
    at = data.draw(st.integers(0, len(name) - 1))
    _is_the_same_or_nothing(name[:at] + letter + name[at + 1 :], name)


def test_every_single_lost_or_doubled_letter_of_every_name_gives_the_same_or_nothing() -> None:
    for name in NAMES:
        for at in range(len(name)):
            _is_the_same_or_nothing(name[:at] + name[at + 1 :], name)
            _is_the_same_or_nothing(name[:at] + name[at] + name[at:], name)


@given(st.text(max_size=400))
def test_any_text_at_all_is_answered(text: str) -> None:
    meter = read_meter(text)
    assert meter.name == text
    assert meter.problem is not None or meter.part is not None or not meter.is_realtime


_WORDS = st.sampled_from(
    [word for row in ROWS[::9] for word in row["meter_name"].split()]
    + [
        "gpt",
        "rt",
        "in",
        "opt",
        "cd",
        "dz",
        "rg",
        "mn",
        "1.5",
        "2",
        "0828",
        "tcrb",
        "d",
        "live",
        "whisper",
        "Unit",
        "x",
    ]
)


@given(st.lists(_WORDS, max_size=12))
def test_any_heap_of_words_is_a_sku_of_the_card_or_nothing(words: list[str]) -> None:
    meter = read_meter(" ".join(words))
    if meter.part is None:
        assert slots(meter) == (None, None, None, None)
    else:
        listed = {(entry.model, entry.version) for entry in CARD.names.values()}
        assert (meter.model, meter.version) in listed


def test_parts_are_the_shared_ones() -> None:
    meter = read_meter("gpt rt aud mn cd in gl 1215 1M Tokens")
    assert isinstance(meter.part, Part)
    assert meter.part.component is Component.CACHED_INPUT


@pytest.mark.parametrize(
    ("tier", "model"),
    [
        ("Pro -", "voice-live-pro"),
        ("Plus -", "voice-live-pro"),
        ("Std -", "voice-live-std"),
        ("Std-", "voice-live-std"),
        ("Basic -", "voice-live-std"),
        ("Lite -", "voice-live-lite"),
    ],
)
@pytest.mark.parametrize(
    ("what", "version", "part"),
    [
        ("LLM Audio Input", None, "audio.input"),
        ("LLM Text Cached", None, "text.cached_input"),
        ("LLM Text Output", None, "text.output"),
        ("Standard Speech Audio Outpt", "standard-speech", "audio.output"),
        ("Standard Speech Audio Cache", "standard-speech", "audio.cached_input"),
        ("Custom Speech Audio Cached", "custom-speech", "audio.cached_input"),
    ],
)
def test_the_meters_of_voice_live_are_of_a_tier(
    tier: str, model: str, what: str, version: str | None, part: str
) -> None:
    meter = read_meter(f"Voice Live API {tier} {what} Tokens")
    assert (meter.problem, meter.model, meter.version, str(meter.part)) == (None, model, version, part)
