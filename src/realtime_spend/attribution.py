"""Whose session it is: attributes that the program gives, copied onto everything that its sessions cost."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

from opentelemetry import baggage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_given: ContextVar[dict[str, str] | None] = ContextVar("realtime_spend_attributes", default=None)
_LONGEST_VALUE = 4_096
# Attributes with these beginnings are ours to set, or OpenTelemetry's.
RESERVED = ("realtime_spend.", "gen_ai.", "server.", "error.")


@contextmanager
def attributed(**attributes: str | None) -> Iterator[None]:
    """Sessions that are opened inside this block carry these attributes, in metrics and in the ledger; None is none.

    with attributed(tenant="acme"):
        async with client.realtime.connect(model="gpt-realtime") as connection: ...
    """
    said = {key: value for key, value in attributes.items() if value is not None}
    token = _given.set({**(_given.get() or {}), **said})
    try:
        yield
    finally:
        # A framework may leave the block in another context than it entered it in; the other one ends by itself.
        with suppress(ValueError):
            _given.reset(token)


def attributes_now(baggage_keys: Sequence[str]) -> dict[str, str]:
    """Return what the current context says: the allow-listed keys of its baggage, and what `attributed` was given."""
    found = {key: baggage.get_baggage(key) for key in baggage_keys}
    said = {key: value for key, value in found.items() if value is not None}
    return {
        key: str(value)[:_LONGEST_VALUE].encode("utf-8", "replace").decode("utf-8")
        for key, value in {**said, **(_given.get() or {})}.items()
        if not key.startswith(RESERVED)
    }
