"""The `session` object of the protocol: what a client configured, in the shape of its dialect."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from realtime_spend.simulator.models import Service
from realtime_spend.simulator.tokens import text_tokens
from realtime_spend.simulator.wire import Dialect

_PCM_RATE = 24_000
_QWEN_PCM_RATE = 16_000
_VOICE_LIVE_RATES = frozenset({8_000, 16_000, 24_000})
_G711_BYTES_PER_MS = 8
# What a session is, as against what a client may change of it.
_FIXED = frozenset({"id", "object", "model", "type", "expires_at", "client_secret"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncation:
    """What a session's `truncation` says."""

    is_disabled: bool = False
    retention: float = 1.0
    """The share of the limit that is kept when it is passed."""
    limit: int | None = None
    """The most tokens behind the instructions; `None` is what the model holds."""


class SessionObject:
    """A session's configuration, which `session.update` merges into."""

    def __init__(
        self,
        *,
        session_id: str,
        model: str | None,
        dialect: Dialect,
        expires_at: int,
        service: Service = Service.OPENAI,
    ) -> None:
        self._dialect = dialect
        self._pcm_rate = _QWEN_PCM_RATE if service is Service.QWEN else _PCM_RATE
        self.is_transcription = model is None
        head = {"object": "realtime.session", "id": session_id, "expires_at": expires_at}
        shape = _ga(model) if dialect is Dialect.GA else _beta(model)
        self._session: dict[str, Any] = {**head, **shape}
        if service is Service.QWEN:
            self._session["input_audio_transcription"] = {"model": "qwen3-asr-flash-realtime"}

    def as_json(self) -> dict[str, Any]:
        """Print the object as session events carry it."""
        return self._session

    def merge(self, update: dict[str, Any]) -> None:
        """Change what the client named and leave the rest."""
        _merge(self._session, {key: value for key, value in update.items() if key not in _FIXED})

    def rename(self, model: str) -> None:
        """Say another model name from now on."""
        self._session["model"] = model

    @property
    def _input(self) -> dict[str, Any]:
        return _object(_object(self._session.get("audio")).get("input"))

    @property
    def transcription(self) -> dict[str, Any] | None:
        """How input audio is transcribed; `None` when it is not."""
        ga = self._dialect is Dialect.GA
        chosen = self._input.get("transcription") if ga else self._session.get("input_audio_transcription")
        return chosen if isinstance(chosen, dict) and chosen.get("model") else None

    @property
    def turn_detection(self) -> dict[str, Any] | None:
        """How the end of a turn is heard; `None` when the client commits its audio itself."""
        ga = self._dialect is Dialect.GA
        chosen = self._input.get("turn_detection") if ga else self._session.get("turn_detection")
        return chosen if isinstance(chosen, dict) else None

    @property
    def bytes_per_ms(self) -> int:
        """How much a millisecond of input audio weighs."""
        chosen = self._input.get("format") if self._dialect is Dialect.GA else self._session.get("input_audio_format")
        name = str(chosen.get("type") if isinstance(chosen, dict) else chosen)
        if name.startswith(("g711", "audio/pcm")) and name != "audio/pcm":
            return _G711_BYTES_PER_MS
        # Voice Live takes audio of another rate, if it is told so.
        rate = self._session.get("input_audio_sampling_rate")
        rate = rate if isinstance(rate, int) and rate in _VOICE_LIVE_RATES else self._pcm_rate
        return rate * 2 // 1000

    @property
    def modalities(self) -> list[str]:
        """What responses consist of unless they are asked for something else."""
        chosen = self._session.get("output_modalities" if self._dialect is Dialect.GA else "modalities")
        return [str(one) for one in chosen] if isinstance(chosen, list) else ["audio"]

    @property
    def truncation(self) -> Truncation:
        """How a conversation that has grown too long is cut."""
        chosen = self._session.get("truncation")
        if not isinstance(chosen, dict):
            return Truncation(is_disabled=chosen == "disabled")
        ratio, limit = chosen.get("retention_ratio"), _object(chosen.get("token_limits")).get("post_instructions")
        return Truncation(
            retention=min(1.0, max(0.0, ratio)) if isinstance(ratio, int | float) else 1.0,
            limit=limit if isinstance(limit, int) and limit >= 0 else None,
        )

    @property
    def prompt(self) -> Any:
        """What every response's input begins with."""
        return self._session.get("instructions"), self._session.get("tools")

    def prompt_tokens(self, instructions: str | None = None) -> int:
        """Count what instructions and tools add to each response's input."""
        said = self._session.get("instructions") if instructions is None else instructions
        tools = self._session.get("tools")
        return text_tokens(str(said or "")) + (text_tokens(json.dumps(tools)) if tools else 0)

    def response_shape(self, modalities: list[str]) -> dict[str, Any]:
        """Shape the keys of a `response` that come from the session."""
        if self._dialect is Dialect.GA:
            output = _object(_object(self._session.get("audio")).get("output"))
            spoken = {"output": {"format": output.get("format"), "voice": output.get("voice")}}
            limit = self._session.get("max_output_tokens", "inf")
            return {"output_modalities": modalities, "max_output_tokens": limit, "audio": spoken}
        return {
            "modalities": modalities,
            "voice": self._session.get("voice"),
            "output_audio_format": self._session.get("output_audio_format"),
            "temperature": self._session.get("temperature"),
            "max_output_tokens": self._session.get("max_response_output_tokens", "inf"),
        }


def _ga(model: str | None) -> dict[str, Any]:
    pcm = {"type": "audio/pcm", "rate": _PCM_RATE}
    heard = {"format": pcm, "transcription": None, "noise_reduction": None, "turn_detection": _server_vad()}
    if model is None:
        return {"type": "transcription", "audio": {"input": heard}, "include": None}
    return {
        "type": "realtime",
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "audio": {"input": heard, "output": {"format": dict(pcm), "voice": "marin", "speed": 1.0}},
        "include": None,
    }


def _beta(model: str | None) -> dict[str, Any]:
    heard = {"input_audio_format": "pcm16", "input_audio_transcription": None, "turn_detection": _server_vad()}
    if model is None:
        return heard
    return {
        "model": model,
        "modalities": ["audio", "text"],
        "instructions": "",
        "voice": "alloy",
        "output_audio_format": "pcm16",
        **heard,
        "tools": [],
        "tool_choice": "auto",
        "temperature": 0.8,
        "max_response_output_tokens": "inf",
    }


def _server_vad() -> dict[str, Any]:
    return {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 200,
        "create_response": True,
        "interrupt_response": True,
    }


def _merge(into: dict[str, Any], update: dict[str, Any]) -> None:
    for key, value in update.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
