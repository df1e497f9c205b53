from __future__ import annotations

from dataclasses import fields

import pytest

from realtime_spend.simulator import KeyOrder, Outcome, SessionOptions, TranscriptionUsage
from realtime_spend.simulator.query import session_options

_VALUES = {
    "outcomes": ("completed,cancelled", (Outcome.COMPLETED, Outcome.CANCELLED)),
    "weights": ("completed:8,failed", ((Outcome.COMPLETED, 8.0), (Outcome.FAILED, 1.0))),
    "deltas": ("20", 20),
    "delta_bytes": ("8192", 8192),
    "rate": ("12.5", 12.5),
    "base_text_tokens": ("0", 0),
    "context_tokens": ("500", 500),
    "utterance_seconds": ("0.2", 0.2),
    "transcription_usage": ("null,tokens", (TranscriptionUsage.NULL, TranscriptionUsage.TOKENS)),
    "transcription_late": ("true", True),
    "repeat": ("1", True),
    "close_after": ("3", 3),
    "close_code": ("1011", 1011),
    "key_order": ("type_last", KeyOrder.TYPE_LAST),
    "number": ("17", 17),
    "spaced": ("1", True),
    "binary": ("true", True),
    "deflate": ("1", True),
    "fragments": ("3", 3),
    "empty_first": ("1", True),
    "pings": ("1", True),
    "call_id": ("rtc_1", "rtc_1"),
    "silent_end": ("1", True),
    "model": ("gpt-realtime-mini", "gpt-realtime-mini"),
}


@pytest.mark.parametrize("name", [field.name for field in fields(SessionOptions)])
def test_every_session_option_can_be_chosen_in_the_url(name: str) -> None:
    text, value = _VALUES[name]
    options = session_options(SessionOptions(), {"model": "other", f"sim_{name}": text})
    assert getattr(options, name) == value
    assert options == session_options(options, {})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("sim_outcome", "completed"),
        ("sim_outcomes", "sometimes"),
        ("sim_outcomes", ""),
        ("sim_weights", "completed:0"),
        ("sim_weights", "completed:nan"),
        ("sim_deltas", "many"),
        ("sim_deltas", "-1"),
        ("sim_delta_bytes", "99999999"),
        ("sim_rate", "inf"),
        ("sim_repeat", "maybe"),
        ("sim_close_code", "7"),
        ("sim_key_order", "random"),
    ],
)
def test_an_option_that_cannot_be_read_is_refused_by_name(key: str, text: str) -> None:
    with pytest.raises(ValueError, match=key):
        session_options(SessionOptions(), {key: text})
