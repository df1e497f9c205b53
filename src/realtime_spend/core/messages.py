"""A message of the server as JSON, read as quickly as can be and as leniently as a client would."""

from __future__ import annotations

import json

# What `json.loads` comes to once it has looked at its options, its blanks, and what encoding the text may have.
_parse = json.JSONDecoder().raw_decode


def parsed(frame: str | bytes | bytearray) -> object:
    """Return what a message says; None if it is no JSON."""
    try:
        text = frame if isinstance(frame, str) else str(frame, "utf-8", "surrogatepass")
        event, end = _parse(text)
    except (ValueError, RecursionError):
        text, event, end = "", None, -1
    # Else it is not ours to judge: the client above gets the same bytes and says what it thinks of them.
    return event if end == len(text) else _parsed_as_by_a_client(frame)


def _parsed_as_by_a_client(frame: str | bytes | bytearray) -> object:
    """Read a message as `json.loads` does, which also takes a mark of the byte order, and other encodings."""
    try:
        return json.loads(frame)
    except (ValueError, RecursionError):
        return None
