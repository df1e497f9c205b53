"""What people hold when they ask what a session cost: a usage object, an event, an array, or JSON Lines."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_USAGE_TYPES = ("tokens", "duration")


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The JSON values of an input in order, and the lines that hold none, numbered from 1."""

    values: tuple[object, ...]
    unreadable: tuple[int, ...] = ()


def read_log(text: str) -> Log:
    """Read `text` as one JSON value (an array is a log of its elements), else as JSON Lines.

    Raises:
        ValueError: no line of it is a JSON object; the sentence says what to give instead.
    """
    if not text.strip():
        raise ValueError("the input is empty; give a usage object, an event, or a log with one JSON event a line")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _read_lines(text)
    if isinstance(value, list):
        return Log(values=tuple(value))
    if not isinstance(value, dict):
        raise ValueError("the input is JSON, but not an object or an array of objects")
    return Log(values=(value,))


def _read_lines(text: str) -> Log:
    values: list[object] = []
    unreadable: list[int] = []
    # Not splitlines(): JSON text may hold the other characters that Unicode calls an end of line.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            unreadable.append(number)
            continue
        values.append(value)
    if not any(isinstance(value, dict) for value in values):
        raise ValueError(
            "the input is not JSON, or is cut off in the middle; give a whole usage object, an event, "
            "or a log with one JSON event a line"
        )
    return Log(values=tuple(values), unreadable=tuple(unreadable))


def is_event(value: object) -> bool:
    """Whether a value is an event of the protocol rather than a bare usage."""
    return isinstance(value, dict) and isinstance(value.get("type"), str) and value["type"] not in _USAGE_TYPES


def bare_usage(value: object) -> dict[str, Any] | None:
    """Return the usage in a value that is no event: the value itself, or what it or its response holds as `usage`."""
    if not isinstance(value, dict):
        return None
    for holder in (value, value.get("response")):
        if isinstance(holder, dict) and isinstance(holder.get("usage"), dict):
            return dict(holder["usage"])
    counts = ("input_tokens", "output_tokens", "total_tokens", "input_token_details", "output_token_details", "seconds")
    return value if any(key in value for key in counts) else None


def is_transcription_usage(usage: dict[str, Any]) -> bool:
    """Whether a bare usage is of a transcription: only those carry a type, or seconds."""
    return usage.get("type") in _USAGE_TYPES or "seconds" in usage
