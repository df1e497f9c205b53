"""The form of a ledger record, version 1: everything known of one usage event, with its price as it was on that day."""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import compress
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

from realtime_spend.core.line_items import Unit
from realtime_spend.core.money import plain
from realtime_spend.core.usage import COUNTED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

    from realtime_spend.core.endpoints import Endpoint
    from realtime_spend.core.line_items import Part
    from realtime_spend.core.naming import Named, Resolved
    from realtime_spend.core.pricing import Priced
    from realtime_spend.core.rates import Prices
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
        self._prices: Prices | None = None
        self._end = ""

    def fields(self, item: Metered, priced: Priced) -> str:
        """Return the record of one usage as JSON text without its braces, and without what the ledger itself knows.

        Amounts of money and seconds are decimal text, tokens are integers. Missing and lost usage has empty
        `quantities` and `costs`; a cost of None is an unknown one.
        """
        usage = item.usage
        if priced.prices is not self._prices:
            self._prices, self._end = priced.prices, self._ending(priced)
        return (
            f"{self._source}{usage.kind}{self._whose}{_name(item.session)}"
            f',"id":{_name(usage.id)},"status":{_name(usage.status)},"usage":"{usage.reported}'
            f"{self._what}{usage.raw or 'null'}{_money(priced)}{self._end}"
        )

    def _ending(self, priced: Priced) -> str:
        currency = None if priced.card is None else priced.currency
        return f',"currency":{_name(currency)},"rate_card":{_name(priced.card)}{self._attributes}'


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


def _money(priced: Priced) -> str:
    """Return what was used, what each part of it costs and what it all comes to."""
    # Below 1 no digit precedes the point: nearly all usage is written so, several times as fast.
    if priced.counts is not None and priced.total < 10 ** (places := priced.prices.tariff.places):
        counts = priced.counts[:-1]
        form = _money_form(tuple(compress(COUNTED, counts)), places)
        text = form % (*compress(counts, counts), *compress(priced.costs, counts), priced.total)
        # A number of tokens ends before a comma or a brace, so that zeros before a quote end an amount.
        text = text.replace('000"', '"').replace('00"', '"').replace('0"', '"')
        while '0"' in text:
            text = text.replace('0"', '"')
        return text.replace('."', '"')
    items = priced.items
    quantities = ",".join(
        [f"{part.key}{many if part.unit is _TOKENS else _amount(many)}" for part, many, _, _ in items]
    )
    costs = ",".join([f"{part.key}{_amount(cost)}" for part, _, _, cost in items])
    total, low, high = _amount(priced.cost), _amount(priced.low), _amount(priced.high)
    return f',"quantities":{{{quantities}}},"costs":{{{costs}}},"cost":{total},"low":{low},"high":{high}'


@lru_cache(maxsize=256)
def _money_form(parts: tuple[Part, ...], places: int) -> str:
    quantities = ",".join([f"{part.key}%d" for part in parts])
    costs = ",".join([f'{part.key}"0.%0{places}d"' for part in parts])
    return f',"quantities":{{{quantities}}},"costs":{{{costs}}},"cost":"0.%0{places}d","low":null,"high":null'


def _amount(amount: Decimal | None) -> str:
    return "null" if amount is None else f'"{plain(amount)}"'


def _name(name: str | None) -> str:
    return "null" if name is None else encode_basestring_ascii(name)
