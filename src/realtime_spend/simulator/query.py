"""Session options in a URL: `sim_outcomes=completed,failed&sim_rate=20`, so that an unmodified client can choose."""

from __future__ import annotations

import ast
import inspect
import math
from dataclasses import fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from realtime_spend.simulator.options import KeyOrder, Outcome, SessionOptions, TranscriptionUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from enum import StrEnum

PREFIX = "sim_"

# A test server must not be talked into eating the machine it runs on.
_MOST_DELTAS = 1_000_000
_MOST_DELTA_BYTES = 4 * 1024 * 1024
_MOST_TOKENS = 1_000_000
_MOST_CONTEXT = 1_000_000_000
_MOST_RATE = 100_000.0
_MOST_SECONDS = 3600.0
_LONGEST_LIST = 1000
_MOST_FRAGMENTS = 1000
_MOST_SESSIONS = 1_000_000_000
_Choice = TypeVar("_Choice", bound="StrEnum")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number, {low} to {high}")
        return int(text)

    return read


def _real(high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        # Not a number is not in between either.
        if not 0 <= number <= high:
            raise ValueError(f"must be a number, 0 to {high:g}")
        return number

    return read


def _flag(text: str) -> bool:
    if text.lower() not in {"0", "1", "true", "false"}:
        raise ValueError("must be 0 or 1")
    return text.lower() in {"1", "true"}


def _words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not 1 <= len(words) <= _LONGEST_LIST:
        raise ValueError(f"must list 1 to {_LONGEST_LIST} values")
    return words


def _one_of(known: type[_Choice]) -> Callable[[str], _Choice]:
    def read(text: str) -> _Choice:
        if text not in list(known):
            raise ValueError(f"{text!r} is none of {', '.join(known)}")
        return known(text)

    return read


def _outcomes(text: str) -> tuple[Outcome, ...]:
    return tuple(map(_one_of(Outcome), _words(text)))


def _weights(text: str) -> tuple[tuple[Outcome, float], ...]:
    pairs = [word.partition(":") for word in _words(text)]
    weights = tuple((_one_of(Outcome)(name), _real(1e9)(weight or "1")) for name, _, weight in pairs)
    if not any(weight for _, weight in weights):
        raise ValueError("must have one weight above 0")
    return weights


def _transcription_usages(text: str) -> tuple[TranscriptionUsage, ...]:
    return tuple(map(_one_of(TranscriptionUsage), _words(text)))


_READERS: Mapping[str, Callable[[str], Any]] = {
    "outcomes": _outcomes,
    "weights": _weights,
    "deltas": _whole(0, _MOST_DELTAS),
    "delta_bytes": _whole(0, _MOST_DELTA_BYTES),
    "rate": _real(_MOST_RATE),
    "base_text_tokens": _whole(0, _MOST_TOKENS),
    "context_tokens": _whole(1, _MOST_CONTEXT),
    "utterance_seconds": _real(_MOST_SECONDS),
    "transcription_usage": _transcription_usages,
    "transcription_late": _flag,
    "repeat": _flag,
    "close_after": _whole(0, _MOST_TOKENS),
    "close_code": _whole(1000, 4999),
    "number": _whole(0, _MOST_SESSIONS),
    "key_order": _one_of(KeyOrder),
    "spaced": _flag,
    "binary": _flag,
    "deflate": _flag,
    "fragments": _whole(1, _MOST_FRAGMENTS),
    "empty_first": _flag,
    "pings": _flag,
    "call_id": str,
    "silent_end": _flag,
    "model": str,
}

# A field without a reader could not be set from a URL, and nobody would notice.
if {field.name for field in fields(SessionOptions)} != set(_READERS):  # pragma: no cover
    raise AssertionError("every field of SessionOptions needs a reader")


def described_options() -> dict[str, str]:
    """Say of each option what it does: its name, its default and what is written below its field."""
    [known] = ast.parse(inspect.getsource(SessionOptions)).body
    assert isinstance(known, ast.ClassDef)  # noqa: S101 - it is one
    found = {}
    for below, text in pairwise(known.body):
        if isinstance(below, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            name = ast.unparse(below.target)
            found[name] = f"{' '.join(str(text.value.value).split())} Default: {_printed(name)}."
    return found


def _printed(name: str) -> str:
    """Print an option's default as it would be written in a URL."""
    value = getattr(SessionOptions(), name)
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(int(value))
    return "none" if value is None else str(value)


def session_options(defaults: SessionOptions, query: Mapping[str, str], prefix: str = PREFIX) -> SessionOptions:
    """Read the keys that begin with `prefix`, those of a URL as a rule, over the server's defaults.

    Raises:
        ValueError: a key is not an option, or its value cannot be read; the message says which.
    """
    changes: dict[str, Any] = {}
    for key, text in query.items():
        if not key.startswith(prefix):
            continue
        name = key.removeprefix(prefix)
        reader = _READERS.get(name)
        if reader is None:
            raise ValueError(f"{key} is not an option; there are: {', '.join(prefix + known for known in _READERS)}")
        try:
            changes[name] = reader(text)
        except ValueError as error:
            raise ValueError(f"{key}={text}: {error}") from error
    return replace(defaults, **changes)
