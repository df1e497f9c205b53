from __future__ import annotations

import json

import pytest

from realtime_spend.simulator import KeyOrder, Outcome
from realtime_spend.simulator.tokens import ResponseTokens, Tokens
from realtime_spend.simulator.wire import Dialect, frame, response_usage

_USED = ResponseTokens(
    input=Tokens(text=200, audio=90), cached=Tokens(text=128, audio=64), output=Tokens(text=40, audio=70)
)


@pytest.mark.parametrize(
    ("order", "printed"),
    [
        (KeyOrder.TYPE_FIRST, '{"type":"x","event_id":"e","delta":"é"}'),
        (KeyOrder.EVENT_ID_FIRST, '{"event_id":"e","type":"x","delta":"é"}'),
        (KeyOrder.TYPE_LAST, '{"event_id":"e","delta":"é","type":"x"}'),
    ],
)
def test_frames_are_compact_and_their_keys_stand_where_they_were_asked_to(order: KeyOrder, printed: str) -> None:
    assert frame({"type": "x", "event_id": "e", "delta": "é"}, order) == printed


def test_ga_usage_has_the_recorded_shape() -> None:
    assert response_usage(_USED, Dialect.GA, Outcome.COMPLETED) == {
        "total_tokens": 400,
        "input_tokens": 290,
        "output_tokens": 110,
        "input_token_details": {
            "text_tokens": 200,
            "audio_tokens": 90,
            "image_tokens": 0,
            "cached_tokens": 192,
            "cached_tokens_details": {"text_tokens": 128, "audio_tokens": 64, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": 40, "audio_tokens": 70},
    }


def test_beta_usage_knows_no_images_unless_there_is_one() -> None:
    assert "image_tokens" not in json.dumps(response_usage(_USED, Dialect.BETA, Outcome.COMPLETED))
    seen = ResponseTokens(input=Tokens(text=9, image=194), cached=Tokens(), output=Tokens(text=1))
    usage = response_usage(seen, Dialect.BETA, Outcome.COMPLETED)
    assert usage["input_token_details"]["image_tokens"] == 194
    assert usage["input_token_details"]["cached_tokens_details"]["image_tokens"] == 0


def test_details_can_be_withheld() -> None:
    unsplit = response_usage(_USED, Dialect.GA, Outcome.UNSPLIT_CACHE)
    assert unsplit["input_token_details"]["cached_tokens"] == 192
    assert "cached_tokens_details" not in unsplit["input_token_details"]
    assert set(response_usage(_USED, Dialect.GA, Outcome.NO_DETAILS)) == {
        "total_tokens",
        "input_tokens",
        "output_tokens",
    }
