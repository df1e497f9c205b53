"""The form of a rate card: a parsed TOML document becomes a RateCard, or says in one sentence what is wrong with it.

format = 1
provider = "openai"                     # or "azure.ai.openai"
name = "openai"                         # with `date` it makes the name in the ledger: openai@2026-11-19
date = 2026-11-19
currency = "USD"

[[model]]
model = "gpt-realtime"                  # the family, as a price page prints it
kind = "realtime"                       # realtime, transcription, translation, live, voice_live, chat
names = { "gpt-realtime" = "", "gpt-realtime-2025-08-28" = "2025-08-28" }      # name = version, "" if it tells none

[[rate]]
model = "gpt-realtime"
versions = ["2025-08-28"]               # left out: any version; "" is "nobody said"
scopes = ["global"]                     # left out: global
regions = ["swedencentral"]             # with the scope regional only
from = 2025-08-28                       # a day (00:00 UTC) or an instant; left out: since the model exists
text = { input = "4", cached_input = "0.4", output = "16" }                    # per million tokens, as text
duration = { price = "0.017", per = "minute" }                                 # or per hour
contested = [{ part = "audio.input", others = ["2.5"], why = "..." }]
source = "https://..."
checked = 2026-11-19
note = "..."

[[discount]]                            # in a user's own card
model = "gpt-realtime"                  # left out: every model; likewise scope and from
off = "0.12"
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from realtime_spend.core import money
from realtime_spend.core.line_items import Component, Modality, Part, Provider, Rate, Scope
from realtime_spend.core.rates import BEGINNING, Contest, Discount, Listed, ModelKind, RateCard, RateRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

_TOKENS_PER_PRICE = 1_000_000
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}
_CARD_KEYS = {"format", "provider", "name", "date", "currency", "model", "rate", "discount"}
_MODEL_KEYS = {"model", "kind", "names"}
_RATE_KEYS = {"model", "versions", "scopes", "regions", "from", "text", "audio", "image", "duration", "contested"}
_RATE_KEYS |= {"source", "checked", "note"}
_DISCOUNT_KEYS = {"model", "scope", "from", "off"}
_Chosen = TypeVar("_Chosen", bound=StrEnum)


def parse_card(document: Mapping[str, Any]) -> RateCard:
    """Return the card that `document` (a parsed TOML file) describes; ValueError with one sentence if it is not one."""
    _known(document, _CARD_KEYS, "the card")
    if document.get("format") != 1:
        raise ValueError("the card must say `format = 1`")
    provider = _choice(Provider, document.get("provider"), "provider")
    day = document.get("date")
    if isinstance(day, datetime):
        day = day.date()
    if not isinstance(day, date):
        raise ValueError("the card must give its `date`, for example 2026-11-19, without quotes")
    names: dict[str, Listed] = {}
    for entry in _tables(document, "model"):
        for said, listed in _names(entry):
            if said in names:
                raise ValueError(f"the name {said!r} is listed twice")
            names[said] = listed
    return RateCard(
        name=f"{_text(document, 'name', 'the card')}@{day.isoformat()}",
        provider=provider,
        currency=_text(document, "currency", "the card"),
        names=MappingProxyType(names),
        rows=tuple(_row(entry) for entry in _tables(document, "rate")),
        discounts=tuple(_discount(entry) for entry in _tables(document, "discount")),
    )


def _names(entry: Mapping[str, Any]) -> Iterator[tuple[str, Listed]]:
    model = _text(entry, "model", "a [[model]]")
    _known(entry, _MODEL_KEYS, f"[[model]] {model}")
    kind = _choice(ModelKind, entry.get("kind"), f"kind of {model}")
    names = entry.get("names", {model: ""})
    if not isinstance(names, dict) or not all(isinstance(version, str) for version in names.values()):
        raise ValueError(f'names of {model} must be a table of name = "version"')
    for name, version in names.items():
        yield name, Listed(model=model, version=version or None, kind=kind)


def _row(entry: Mapping[str, Any]) -> RateRow:
    model = _text(entry, "model", "a [[rate]]")
    where = f"[[rate]] {model}"
    _known(entry, _RATE_KEYS, where)
    rates = dict(_rates(entry, where))
    if not rates:
        raise ValueError(f"{where} gives no price: add text, audio, image or duration")
    scopes = frozenset(
        _choice(Scope, scope, f"scopes of {where}") for scope in _texts(entry, "scopes", where) or ["global"]
    )
    regions = _texts(entry, "regions", where)
    if (Scope.REGIONAL in scopes) != (regions is not None):
        raise ValueError(f"{where}: regions belong to the scope regional, and it needs them")
    versions = _texts(entry, "versions", where)
    return RateRow(
        model=model,
        versions=None if versions is None else frozenset(version or None for version in versions),
        scopes=scopes,
        regions=None if regions is None else frozenset(regions),
        starts=_instant(entry.get("from"), where),
        rates=MappingProxyType(rates),
        contests=tuple(_contest(contest, rates, where) for contest in _list(entry.get("contested", []), where)),
        source=str(entry.get("source", "")),
        checked=str(entry.get("checked", "")),
        note=str(entry.get("note", "")),
    )


def _rates(entry: Mapping[str, Any], where: str) -> Iterator[tuple[Part, Rate]]:
    for modality in (Modality.TEXT, Modality.AUDIO, Modality.IMAGE):
        for component, price in _table(entry.get(modality, {}), f"{modality} of {where}").items():
            part = Part(modality, _choice(Component, component, f"{modality} of {where}"))
            if part.component is Component.DURATION:
                raise ValueError(f'{where}: a price by time is written duration = {{ price = "…", per = "minute" }}')
            yield part, Rate(unit_price=_price(price, f"{part} of {where}"), per=_TOKENS_PER_PRICE)
    if "duration" in entry:
        duration = _table(entry["duration"], f"duration of {where}")
        _known(duration, {"price", "per"}, f"duration of {where}")
        per = _SECONDS.get(str(duration.get("per")))
        if per is None:
            raise ValueError(f"duration of {where} is per second, minute or hour")
        price = _price(duration.get("price"), f"duration of {where}")
        yield Part(Modality.AUDIO, Component.DURATION), Rate(unit_price=price, per=per)


def _contest(entry: object, rates: Mapping[Part, Rate], where: str) -> Contest:
    entry = _table(entry, f"contested of {where}")
    _known(entry, {"part", "others", "why"}, f"contested of {where}")
    part = next((part for part in rates if str(part) == entry.get("part")), None)
    if part is None:
        raise ValueError(f"{where} contests {entry.get('part')!r}, which it does not price")
    others = tuple(_price(price, f"contested {part} of {where}") for price in _texts(entry, "others", where) or ())
    return Contest(part=part, used=rates[part].unit_price, others=others, why=str(entry.get("why", "")))


def _discount(entry: Mapping[str, Any]) -> Discount:
    _known(entry, _DISCOUNT_KEYS, "a [[discount]]")
    off = _price(entry.get("off"), "off of a [[discount]]")
    if off > 1:
        raise ValueError("off of a [[discount]] is a share: 0.12 for 12 %")
    scope = entry.get("scope")
    return Discount(
        model=_text(entry, "model", "a [[discount]]") if "model" in entry else None,
        scope=None if scope is None else _choice(Scope, scope, "scope of a [[discount]]"),
        starts=_instant(entry.get("from"), "a [[discount]]"),
        off=off,
    )


def _price(value: object, where: str) -> Decimal:
    """Refuse anything but text: a TOML float has been through binary already."""
    if not isinstance(value, str):
        raise ValueError(f'{where} must be written as text, for example "0.4"')
    price = money.exact(value)
    if price < 0:
        raise ValueError(f"{where} is negative")
    return price


def _instant(value: object, where: str) -> datetime:
    if value is None:
        return BEGINNING
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"from of {where} needs an offset, for example 2026-07-01T00:00:00Z")
        try:
            return value.astimezone(UTC)
        except OverflowError:
            raise ValueError(f"from of {where} is before or after all time") from None
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise ValueError(f"from of {where} must be a day or an instant, without quotes")


def _tables(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    tables = document.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{key} must be written as [[{key}]] tables")
    return tables


def _table(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a table, written in braces")
    return value


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"contested of {where} must be a list, written in brackets")
    return value


def _texts(table: Mapping[str, Any], key: str, where: str) -> list[str] | None:
    """Return a list of texts, None where there is none. A single text would be taken apart into its letters."""
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f'{key} of {where} must be a list of texts, for example ["2025-08-28"]')
    return value


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where} must give its `{key}` as text")
    return value


def _known(table: Mapping[str, Any], keys: set[str], where: str) -> None:
    """Refuse a misspelt key: a price that is silently not read is a price that is silently wrong."""
    if unknown := sorted(set(table) - keys):
        raise ValueError(f"{where} has no key {unknown[0]!r}; it knows {', '.join(sorted(keys))}")


def _choice(kind: type[_Chosen], value: object, where: str) -> _Chosen:
    try:
        return kind(str(value))
    except ValueError:
        raise ValueError(f"{where} is {value!r}; it must be one of {', '.join(kind)}") from None
