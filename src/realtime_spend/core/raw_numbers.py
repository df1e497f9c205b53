"""The numbers of a usage object as JSON, under their own keys: what the ledger keeps to price it from again."""

from __future__ import annotations

import json
from math import isfinite

_DEPTH, _MOST_FIELDS = 4, 64
# Python refuses to write integers of thousands of digits; no count needs more than these.
_LARGEST = 10**30
# Keys as JSON has them; a bounded number, since a service can make up any.
_KEYS: dict[str, str] = {}
_MOST_KEYS, _LONGEST_KEY = 1_000, 100


def numbers_text(usage: object, depth: int = _DEPTH) -> str | None:
    """Write the finite numbers of a usage object as JSON, each under its own key, and its `type`, and nothing else."""
    if not isinstance(usage, dict):
        return None
    kept: list[str] = []
    for key, value in usage.items() if len(usage) <= _MOST_FIELDS else list(usage.items())[:_MOST_FIELDS]:
        name = _KEYS.get(key) or _key(key)
        if name is None:
            continue
        if type(value) is int and -_LARGEST <= value <= _LARGEST:
            kept.append(f"{name}{value}")
        elif isinstance(value, dict) and depth > 1:
            kept.append(f"{name}{numbers_text(value, depth - 1)}")
        elif is_number(value) or (key == "type" and value in ("tokens", "duration")):
            kept.append(f"{name}{json.dumps(value)}")
    return f"{{{','.join(kept)}}}"


def _key(key: object) -> str | None:
    """Write a key as JSON has it; None for one of a length that no name of a count has."""
    name = str(key)
    if len(name) > _LONGEST_KEY:
        return None
    text = f"{json.dumps(name)}:"
    if len(_KEYS) < _MOST_KEYS:
        _KEYS[name] = text
    return text


def is_number(value: object) -> bool:
    """Whether a value is a finite number of a size that can be written."""
    if isinstance(value, float):
        return isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST
