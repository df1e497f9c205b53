"""How things look on the wire: the two dialects of the protocol and the shapes of their objects."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from realtime_spend.simulator.models import Service
from realtime_spend.simulator.options import KeyOrder, Outcome

if TYPE_CHECKING:
    from realtime_spend.simulator.tokens import ResponseTokens, Tokens


# Made once: `json.dumps` with arguments makes an encoder for every call, which shows at ten thousand deltas a second.
@cache
def _encoder(*, spaced: bool, in_order: bool, ascii_only: bool) -> json.JSONEncoder:
    separators = (", ", ": ") if spaced else (",", ":")
    return json.JSONEncoder(ensure_ascii=ascii_only, separators=separators, sort_keys=in_order)


class Dialect(StrEnum):
    """Which generation of event names and object shapes a session speaks."""

    GA = "ga"
    BETA = "beta"


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names that differ between the dialects."""

    audio_delta: str
    audio_done: str
    transcript_delta: str
    transcript_done: str
    text_delta: str
    text_done: str
    audio_part: str
    text_part: str


NAMES = {
    Dialect.GA: Names(
        audio_delta="response.output_audio.delta",
        audio_done="response.output_audio.done",
        transcript_delta="response.output_audio_transcript.delta",
        transcript_done="response.output_audio_transcript.done",
        text_delta="response.output_text.delta",
        text_done="response.output_text.done",
        audio_part="output_audio",
        text_part="output_text",
    ),
    Dialect.BETA: Names(
        audio_delta="response.audio.delta",
        audio_done="response.audio.done",
        transcript_delta="response.audio_transcript.delta",
        transcript_done="response.audio_transcript.done",
        text_delta="response.text.delta",
        text_done="response.text.done",
        audio_part="audio",
        text_part="text",
    ),
}


def frame(event: dict[str, Any], order: KeyOrder, *, spaced: bool = False) -> str:
    """Print an event, whose first two keys are `type` and `event_id`, as the JSON services send: compact by default."""
    if order is KeyOrder.EVENT_ID_FIRST:
        event = {"event_id": event["event_id"], **event}
    elif order is KeyOrder.TYPE_LAST:
        event = {**{key: value for key, value in event.items() if key != "type"}, "type": event["type"]}
    in_order = order is KeyOrder.ALPHABETICAL
    text = _encoder(spaced=spaced, in_order=in_order, ascii_only=False).encode(event)
    # A client may have sent half of a surrogate pair, which we give back but which UTF-8 cannot say.
    lone = not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)
    return _encoder(spaced=spaced, in_order=in_order, ascii_only=True).encode(event) if lone else text


def error(message: str, *, code: str | None, param: str | None, event_id: str | None) -> dict[str, Any]:
    """Shape the body of an `error` event that answers a client's mistake."""
    return {"type": "invalid_request_error", "code": code, "message": message, "param": param, "event_id": event_id}


def response_usage(
    used: ResponseTokens, dialect: Dialect, outcome: Outcome, service: Service = Service.OPENAI
) -> dict[str, Any]:
    """Shape `response.usage`, with the keys in the order services send them."""
    usage: dict[str, Any] = {
        "total_tokens": used.input.total + used.output.total,
        "input_tokens": used.input.total,
        "output_tokens": used.output.total,
    }
    if outcome is Outcome.NO_DETAILS:
        return usage
    details = {**_by_modality(used.input, dialect), "cached_tokens": used.cached.total}
    if outcome is not Outcome.UNSPLIT_CACHE:
        details["cached_tokens_details"] = _by_modality(used.cached, dialect, like=used.input)
    output = {"text_tokens": used.output.text, "audio_tokens": used.output.audio}
    if used.reasoning or service is Service.VOICE_LIVE:
        output["reasoning_tokens"] = used.reasoning
    if service is Service.QWEN:
        # It writes the plural, and has no cache to tell of.
        return {**usage, "input_tokens_details": _of_qwen(used.input), "output_tokens_details": output}
    return {**usage, "input_token_details": details, "output_token_details": output}


def _of_qwen(tokens: Tokens) -> dict[str, Any]:
    return {f"{modality}_tokens": count for modality, count in asdict(tokens).items() if count or modality != "image"}


def _by_modality(tokens: Tokens, dialect: Dialect, like: Tokens | None = None) -> dict[str, Any]:
    counts = {f"{modality}_tokens": count for modality, count in asdict(tokens).items()}
    if dialect is Dialect.BETA and not (like or tokens).image:
        # The beta protocol is older than images; a picture in a beta session must be counted all the same.
        del counts["image_tokens"]
    return counts


def transcription_tokens(spoken: int, prompt: int, output: int) -> dict[str, Any]:
    """Shape the usage of a transcription that is billed by tokens."""
    return {
        "type": "tokens",
        "total_tokens": spoken + prompt + output,
        "input_tokens": spoken + prompt,
        "input_token_details": {"text_tokens": prompt, "audio_tokens": spoken},
        "output_tokens": output,
    }


def transcription_duration(seconds: int) -> dict[str, Any]:
    """Shape the usage of a transcription that is billed by time: whole seconds, as an integer."""
    return {"type": "duration", "seconds": seconds}


def status_details(status: str, reason: str | None) -> dict[str, Any] | None:
    """Shape `response.status_details`."""
    if status == "failed":
        fault = {"type": "server_error", "code": "server_error", "message": "The server had an error. Please retry."}
        return {"type": status, "error": fault}
    return {"type": status, "reason": reason} if reason else None


def rate_limits(left: int) -> list[dict[str, Any]]:
    """Shape `rate_limits.updated`: a reservation, never a bill."""
    return [{"name": "tokens", "limit": 200_000, "remaining": left, "reset_seconds": 0.06}]
