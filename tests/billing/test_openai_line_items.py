"""Line items of OpenAI's bill, as they have been seen and as they may come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_spend.billing.openai_line_items import read_line_item
from realtime_spend.core.line_items import Part, Unit
from realtime_spend.core.rates import ModelKind
from realtime_spend.rate_cards import built_in

CARD = built_in("openai.toml")
TALKING = {name: listed for name, listed in CARD.names.items() if listed.kind is not ModelKind.CHAT}


PREVIEW = ("gpt-4o-realtime-preview", "2024-12-17")
DATED = "gpt-4o-realtime-preview-2024-12-17"


@pytest.mark.parametrize(
    ("text", "unit", "model", "part"),
    [
        # Seen on bills.
        (f"{DATED} audio, input", "tokens", PREVIEW, "audio.input"),
        (f"{DATED} audio, cached input", None, PREVIEW, "audio.cached_input"),
        (f"realtime api | {DATED} text, output", None, PREVIEW, "text.output"),
        ("gpt-4o-transcribe audio, input", "tokens", ("gpt-4o-transcribe", None), "audio.input"),
        ("gpt-4o-transcribe text, output", "tokens", ("gpt-4o-transcribe", None), "text.output"),
        ("gpt-realtime-2025-08-28 text, input", "1000_tokens", ("gpt-realtime", "2025-08-28"), "text.input"),
        # As other models have been seen.
        ("gpt-realtime-2.1 image, cached_input_tokens", "tokens", ("gpt-realtime-2.1", None), "image.cached_input"),
        ("gpt-realtime-2025-08-28, audio_output_tokens", None, ("gpt-realtime", "2025-08-28"), "audio.output"),
        ("GPT-Realtime-2 Text,  Cached Input", None, ("gpt-realtime-2", None), "text.cached_input"),
        # By time, with and without a word for it.
        ("whisper-1", None, ("whisper-1", None), "audio.duration"),
        ("whisper-1, input", "duration_seconds", ("whisper-1", None), "audio.duration"),
        ("gpt-realtime-whisper audio, input", "duration_minutes", ("gpt-realtime-whisper", None), "audio.duration"),
        ("gpt-realtime-translate, duration", None, ("gpt-realtime-translate", None), "audio.duration"),
        ("gpt-transcribe", None, ("gpt-transcribe", None), "audio.duration"),
        ("gpt-live-1.1", "duration_hours", ("gpt-live-1.1", None), "audio.duration"),
        ("gpt-4o-transcribe audio, input", "duration_seconds", ("gpt-4o-transcribe", None), "audio.duration"),
    ],
)
def test_what_a_line_item_says(text: str, unit: str | None, model: tuple[str, str | None], part: str) -> None:
    meter = read_line_item(text, unit)
    assert meter.problem is None
    assert meter.is_realtime
    assert (meter.name, meter.model, meter.version, meter.part, meter.scope) == (text, *model, part, None)
    assert meter.unit is (Unit.SECONDS if part == "audio.duration" else Unit.TOKENS)


@pytest.mark.parametrize("name", sorted(TALKING))
def test_model_and_version_are_those_of_the_card(name: str) -> None:
    listed = TALKING[name]
    meter = read_line_item(f"{name} audio, input", "tokens")
    assert (meter.model, meter.version) == (listed.model, listed.version)
    assert meter.part == "audio.input"


@pytest.mark.parametrize(
    "text",
    [
        "gpt-4o-mini, input",
        "gpt-6-astra, input_tokens",
        "gpt-image-2.5-flare image, output",
        "gpt-audio-mini audio, output",
        "gpt-4o-mini-tts audio, output",
        "text-embedding-3-large",
        "web search tool calls",
        "code interpreter sessions",
        "",
        ", ",
    ],
)
def test_other_models_are_not_ours(text: str) -> None:
    meter = read_line_item(text, "tokens")
    assert not meter.is_realtime
    assert (meter.problem, meter.model, meter.part) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "unit", "why"),
    [
        ("gpt-realtime-2, input", "tokens", "it does not say one of text, audio and image"),
        ("gpt-realtime-2 audio", "tokens", "it says neither input, nor cached input, nor output"),
        ("gpt-realtime-2 audio, cache write", "tokens", "it says neither input, nor cached input, nor output"),
        ("gpt-realtime-2 audio, cached output", "tokens", "it says neither input, nor cached input, nor output"),
        ("gpt-realtime-2 text audio, input", "tokens", "it does not say one of text, audio and image"),
        ("gpt-realtime-2 text, input", "duration_seconds", "it is counted in time"),
        ("gpt-realtime", None, "it says neither input, nor cached input, nor output"),
        ("realtime api, input", None, "'realtime api' is no name of a model"),
        ("gpt-realtime-2 residency audio, input", None, "'gpt-realtime-2 residency' is no name of a model"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, unit: str | None, why: str) -> None:
    meter = read_line_item(text, unit)
    assert meter.is_realtime
    assert (meter.model, meter.version, meter.part) == (None, None, None)
    assert meter.problem is not None
    assert why in meter.problem
    assert repr(text) in meter.problem


@given(
    st.one_of(
        st.text(max_size=80), st.builds("{} {}, {}".format, st.sampled_from(sorted(TALKING)), st.text(), st.text())
    ),
    st.sampled_from([None, "", "tokens", "duration_minutes", "images"]),
)
def test_any_text_is_answered(text: str, unit: str | None) -> None:
    meter = read_line_item(text, unit)
    assert meter.name == text
    assert isinstance(meter.part, Part) or meter.problem or not meter.is_realtime
    if meter.problem or not meter.is_realtime:
        assert (meter.model, meter.part) == (None, None)
