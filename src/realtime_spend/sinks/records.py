"""The form of a ledger record, version 1: everything known of one usage event, with its price as it was on that day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realtime_spend.core import money
from realtime_spend.core.line_items import Unit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

    from realtime_spend.core.endpoints import Endpoint
    from realtime_spend.core.naming import Resolved
    from realtime_spend.core.pricing import Priced
    from realtime_spend.core.session import Metered


def ledger_record(
    item: Metered,
    endpoint: Endpoint,
    resolved: Resolved,
    priced: Priced,
    *,
    at: datetime,
    origin: str = "hook",
    account: str | None,
    attributes: Mapping[str, str],
) -> dict[str, Any]:
    """Return the record of one usage. Amounts of money and seconds are decimal text, tokens are integers.

    `model` of a usage that nobody could resolve is the name as the service said it. Missing and lost usage has empty
    `quantities` and `costs`; a cost of None is an unknown one.
    """
    usage, sku = item.usage, resolved.sku
    return {
        "at": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "source": f"{endpoint.provider}.{origin}",
        "kind": usage.kind,
        "provider": endpoint.provider,
        "server": endpoint.server,
        "account": account,
        "session": item.session,
        "id": usage.id,
        "status": usage.status,
        "usage": usage.reported,
        "model": sku.model if sku else item.named.said or item.named.requested,
        "version": sku.version if sku else None,
        "requested_model": item.named.requested,
        "scope": resolved.scope,
        "region": resolved.region,
        "raw": usage.raw,
        "quantities": {
            line.part: int(line.quantity) if line.part.unit is Unit.TOKENS else money.plain(line.quantity)
            for line in priced.items
        },
        "costs": {line.part: _text(line.cost) for line in priced.items},
        "cost": _text(priced.cost),
        "low": _text(priced.low),
        "high": _text(priced.high),
        "currency": None if priced.card is None else priced.currency,
        "rate_card": priced.card,
        "attributes": dict(attributes),
    }


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else money.plain(amount)
