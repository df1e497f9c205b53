"""What a client says of itself in the header `baggage`: the allow-listed entries, as in a program of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import attach, detach

from realtime_spend.attribution import attributes_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_spend.relay.handshake import Request


def baggage_of(request: Request, keys: Sequence[str]) -> dict[str, str]:
    """Return the entries of these names."""
    if not keys:
        return {}
    carried = b",".join(request.all(b"baggage")).decode("utf-8", "replace")
    token = attach(W3CBaggagePropagator().extract({"baggage": carried}))
    try:
        return attributes_now(keys)
    finally:
        detach(token)
