"""The form of a ledger record, version 1: everything known of one usage event, with its price as it was on that day."""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

from realtime_spend.core.line_items import Unit
from realtime_spend.core.money import plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

    from realtime_spend.core.endpoints import Endpoint
    from realtime_spend.core.naming import Named, Resolved
    from realtime_spend.core.pricing import Priced
    from realtime_spend.core.session import Metered

_compact = json.JSONEncoder(separators=(",", ":")).encode
_TOKENS = Unit.TOKENS


class RecordForm:
    """What the records of one socket and one model have in common, written once; `fields` adds the rest to it.

    A record is written while a phone call waits, so it is put together as text: a general encoder takes three times as
    long to go through some thirty keys of which most never change.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        named: Named,
        resolved: Resolved,
        *,
        account: str | None,
        attributes: Mapping[str, str],
        origin: str = "hook",
    ) -> None:
        sku = resolved.sku
        whose = {
            "provider": endpoint.provider,
            "server": endpoint.server,
            "service": endpoint.service,
            "account": account,
        }
        what = {
            # Of a usage that nobody could resolve, the name as the service said it.
            "model": sku.model if sku else named.said or named.requested,
            "version": sku.version if sku else None,
            "requested_model": named.requested,
            "scope": resolved.scope,
            "region": resolved.region,
        }
        self._source = f'"source":"{endpoint.provider}.{origin}","kind":"'
        self._whose = f'",{_compact(whose)[1:-1]},"session":'
        self._what = f'",{_compact(what)[1:-1]},"raw":'
        self._attributes = f',"attributes":{_compact(dict(attributes))}'
        self._priced_by: tuple[str | None, str] = (None, "")
        self._end = ""

    def fields(self, item: Metered, priced: Priced) -> str:
        """Return the record of one usage as JSON text without its braces, and without what the ledger itself knows.

        Amounts of money and seconds are decimal text, tokens are integers. Missing and lost usage has empty
        `quantities` and `costs`; a cost of None is an unknown one.
        """
        usage = item.usage
        quantities, costs = [], []
        for part, quantity, _rate, cost in priced.items:
            quantities.append(f"{part.key}{quantity if part.unit is _TOKENS else _amount(quantity)}")
            # As `plain` has it, without asking: a cost has 12 places, and so always a point.
            text = "null" if cost is None else f'"{format(cost, "f").rstrip("0").rstrip(".")}"'
            costs.append(f"{part.key}{text}")
        return (
            f"{self._source}{usage.kind}{self._whose}{_name(item.session)}"
            f',"id":{_name(usage.id)},"status":{_name(usage.status)},"usage":"{usage.reported}'
            f"{self._what}{usage.raw or 'null'}"
            f',"quantities":{{{",".join(quantities)}}},"costs":{{{",".join(costs)}}}'
            f',"cost":{_amount(priced.cost)},"low":{_amount(priced.low)},"high":{_amount(priced.high)}'
            f"{self._ending(priced)}"
        )

    def _ending(self, priced: Priced) -> str:
        priced_by = (priced.card, priced.currency)
        if not self._end or priced_by != self._priced_by:
            currency = None if priced.card is None else priced.currency
            self._end = f',"currency":{_name(currency)},"rate_card":{_name(priced.card)}{self._attributes}'
            self._priced_by = priced_by
        return self._end


def ledger_record(
    item: Metered,
    endpoint: Endpoint,
    resolved: Resolved,
    priced: Priced,
    *,
    at: datetime,
    account: str | None,
    attributes: Mapping[str, str],
) -> dict[str, Any]:
    """Return the record of one usage as an object, but for the keys that the ledger itself adds."""
    form = RecordForm(endpoint, item.named, resolved, account=account, attributes=attributes)
    instant = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    record: dict[str, Any] = json.loads(f'{{"at":"{instant}",{form.fields(item, priced)}}}')
    return record


def _amount(amount: Decimal | None) -> str:
    return "null" if amount is None else f'"{plain(amount)}"'


def _name(name: str | None) -> str:
    return "null" if name is None else encode_basestring_ascii(name)
