from __future__ import annotations

from typing import Any

import pytest

from realtime_spend.simulator.session_object import SessionObject
from realtime_spend.simulator.wire import Dialect


def _session(dialect: Dialect, model: str | None = "gpt-realtime") -> SessionObject:
    return SessionObject(session_id="sess_1", model=model, dialect=dialect, expires_at=0)


def _transcriber(session: SessionObject) -> str | None:
    return session.transcription["model"] if session.transcription else None


def _hears_turns(session: SessionObject) -> bool:
    return session.turn_detection is not None


@pytest.mark.parametrize(
    ("dialect", "on", "off"),
    [
        (
            Dialect.GA,
            {"audio": {"input": {"transcription": {"model": "whisper-1"}, "turn_detection": None}}},
            {"audio": {"input": {"transcription": None}}},
        ),
        (
            Dialect.BETA,
            {"input_audio_transcription": {"model": "whisper-1"}, "turn_detection": None},
            {"input_audio_transcription": None},
        ),
    ],
)
def test_an_update_changes_what_it_names_and_leaves_the_rest(
    dialect: Dialect, on: dict[str, Any], off: dict[str, Any]
) -> None:
    session = _session(dialect)
    assert _transcriber(session) is None
    assert _hears_turns(session)
    session.merge(on)
    assert _transcriber(session) == "whisper-1"
    assert not _hears_turns(session)
    session.merge(off | {"model": "another", "id": "sess_2"})
    assert _transcriber(session) is None
    assert session.as_json()["model"] == "gpt-realtime"
    assert session.as_json()["id"] == "sess_1"


def test_a_telephone_format_has_fewer_bytes_a_millisecond() -> None:
    ga, beta = _session(Dialect.GA), _session(Dialect.BETA)
    assert ga.bytes_per_ms == beta.bytes_per_ms == 48
    ga.merge({"audio": {"input": {"format": {"type": "audio/pcmu"}}}})
    beta.merge({"input_audio_format": "g711_ulaw"})
    assert ga.bytes_per_ms == beta.bytes_per_ms == 8


def test_instructions_and_tools_are_part_of_every_prompt() -> None:
    session = _session(Dialect.GA)
    assert session.prompt_tokens() == 0
    session.merge({"instructions": "1234" * 10, "tools": [{"type": "function", "name": "f"}]})
    assert session.prompt_tokens() > session.prompt_tokens("1234") > 1


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_transcription_session_has_no_model_of_its_own(dialect: Dialect) -> None:
    session = _session(dialect, None)
    assert session.is_transcription
    assert "model" not in session.as_json()


def test_configuration_of_the_wrong_shape_is_as_good_as_none() -> None:
    session = _session(Dialect.GA)
    session.merge({"audio": "loud", "output_modalities": "text"})
    assert session.transcription is None
    assert session.turn_detection is None
    assert session.modalities == ["audio"]
    assert session.response_shape(["audio"])["audio"] == {"output": {"format": None, "voice": None}}
