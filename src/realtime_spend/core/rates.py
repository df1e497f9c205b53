"""Dated rate cards: which rate held at this instant, for this model, version, scope and region.

A card is what `rate_cards/*.toml` or a user's own file says, parsed. A rate holds from an instant until a later row of
the same key replaces it: a change of price appends a row, and a retired model keeps its last one, so that history can
always be priced. Names match exactly, never by prefix: `gpt-4o-realtime-preview-2024-10-01` cost 2.5 times what its
successors do.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from realtime_spend.core import money
from realtime_spend.core.line_items import Part, Provider, Rate, Scope, Sku, Word
from realtime_spend.core.usage import COUNTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from decimal import Decimal

BEGINNING = datetime.min.replace(tzinfo=UTC)


class ModelKind(Word):
    """What a model does, which decides which usage it may price."""

    REALTIME = "realtime"
    TRANSCRIPTION = "transcription"
    TRANSLATION = "translation"
    LIVE = "live"
    # On a card of your own: Azure Voice Live has meters that are on no card of ours.
    VOICE_LIVE = "voice_live"
    CHAT = "chat"


class Reason(Word):
    """Why a usage, or a part of it, has no price."""

    MODEL_NOT_NAMED = "model_not_named"
    MODEL_NOT_LISTED = "model_not_listed"
    NOT_A_TRANSCRIPTION_MODEL = "not_a_transcription_model"
    OTHER_PRICE_LIST = "other_price_list"
    NOT_PRICED_BY_TOKEN = "provisioned"  # noqa: S105 - a scope, not a secret
    VERSION_NOT_KNOWN = "version_not_known"
    REGION_NOT_KNOWN = "region_not_known"
    NO_RATE = "no_rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What a card says of a name: the model it belongs to, and the version if the name tells it."""

    model: str
    version: str | None
    kind: ModelKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """A rate that sources disagree on: the one we use, the others, and why it is unsettled."""

    part: Part
    used: Decimal
    others: tuple[Decimal, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRow:
    """One dated row of a card. `versions` None: any version; `starts` the first instant at which it holds."""

    model: str
    versions: frozenset[str | None] | None
    scopes: frozenset[Scope]
    regions: frozenset[str] | None
    starts: datetime
    rates: Mapping[Part, Rate]
    contests: tuple[Contest, ...]
    source: str
    checked: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """A share taken off the listed price: `off` 0.12 is 12 %. None fields match anything."""

    model: str | None
    scope: Scope | None
    starts: datetime
    off: Decimal
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCard:
    """All that one file says of one provider's prices. `name` is what the ledger records: `openai@2026-11-19`."""

    name: str
    provider: Provider
    currency: str
    names: Mapping[str, Listed]
    rows: tuple[RateRow, ...]
    discounts: tuple[Discount, ...] = ()


class Tariff(NamedTuple):
    """What one token of each part of COUNTED costs, as integers: they take a fraction of the time that decimals take.

    `each` is in units of the last of so many decimal `places`. `unknown` holds the indices of those that have no rate,
    or one that is finer than the 12 places of a cost: `each` says 0 of them, and nothing can be priced by it.
    """

    each: tuple[int, ...]
    places: int
    unknown: tuple[int, ...]

    @classmethod
    def of(cls, rates: Mapping[Part, Rate]) -> Tariff:
        """Return the tariff of these rates."""
        exact = [None if (rate := rates.get(part)) is None else rate.each for part in COUNTED]
        fine = [0 if each is None else money.decimal_places(each) for each in exact]
        known = [each is not None and digits <= money.MOST_PLACES for each, digits in zip(exact, fine, strict=True)]
        places = max((digits for digits, is_known in zip(fine, known, strict=True) if is_known), default=0)
        return cls(
            each=tuple(
                money.in_places(each, places) if is_known and each is not None else 0
                for each, is_known in zip(exact, known, strict=True)
            ),
            places=places,
            unknown=tuple(index for index, is_known in enumerate(known) if not is_known),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The rates of one sku at one instant, and where they come from."""

    rates: Mapping[Part, Rate] = field(default_factory=lambda: MappingProxyType({}))
    contests: tuple[Contest, ...] = ()
    currency: str = "USD"
    card: str = ""
    tariff: Tariff = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tariff", Tariff.of(self.rates))


class RateBook:
    """The cards in order of precedence: the user's own first, ours after them."""

    def __init__(self, cards: Iterable[RateCard]) -> None:
        self.cards = tuple(cards)
        self._rows: dict[tuple[Provider, str], list[tuple[RateCard, RateRow]]] = {}
        for card in self.cards:
            for row in card.rows:
                self._rows.setdefault((card.provider, row.model), []).append((card, row))

    def listed(self, provider: Provider, name: str) -> Listed | None:
        """Return what the first card that lists exactly `name` says of it."""
        for card in self.cards:
            if card.provider is provider and (found := card.names.get(name)):
                return found
        return None

    def changes(self, sku: Sku) -> list[datetime]:
        """Return the instants at which the prices of `sku` may change, in order. Between them they do not."""
        rows = self._rows.get((sku.provider, sku.model), ())
        discounts = [discount for card in self.cards for discount in card.discounts]
        return sorted({*(row.starts for _, row in rows), *(discount.starts for discount in discounts)})

    def prices(self, sku: Sku, at: datetime) -> Prices | Reason:
        """Return the rates that held for `sku` at the aware instant `at`, or the reason why there is none.

        A scope that nobody configured is priced as global (the caller says so). An earlier card overrides the later
        ones part by part, and its discount is taken off the rates of the later ones, never off its own.
        """
        if sku.scope is Scope.PROVISIONED:
            return Reason.NOT_PRICED_BY_TOKEN
        held: Prices | None = None
        reason = Reason.NO_RATE
        scope = sku.scope or Scope.GLOBAL
        is_told = any(
            _speaks_of(row, sku.version) and row.starts <= at and scope in row.scopes
            for _, row in self._rows.get((sku.provider, sku.model), ())
        )
        for card in reversed(self.cards):
            rows = [row for owner, row in self._rows.get((sku.provider, sku.model), ()) if owner is card]
            # Where any card has a rate for the name without a version, one for a single version is not meant by it.
            rows = [row for row in rows if _speaks_of(row, sku.version)] if is_told else rows
            found = _row_of(rows, sku, at)
            if isinstance(found, RateRow):
                held = _overlay(held, card, found)
            elif found is not Reason.NO_RATE:
                reason = found
            if held is not None and card.discounts:
                held = _discounted(held, card, sku, at, own=found if isinstance(found, RateRow) else None)
        return reason if held is None else held


def by_family(card: RateCard, known: Iterable[RateCard]) -> RateCard:
    """Return `card` with every row and discount under its model's family, whatever listed name they were given under.

    Raises:
        ValueError: a name is on no card of that provider; its rate would silently never apply.
    """
    names: dict[str, Listed] = {}
    for other in known:
        if other.provider is card.provider:
            names |= {listed.model: replace(listed, version=None) for listed in other.names.values()}
    for other in reversed(list(known)):
        if other.provider is card.provider:
            names |= other.names

    def listed(model: str) -> Listed:
        found = names.get(model)
        if found is None:
            raise ValueError(f"no [[model]] of {card.provider} lists {model!r}; list it, or mend its name")
        return found

    def settled(row: RateRow) -> RateRow:
        found = listed(row.model)
        versions = frozenset({found.version}) if found.version and not row.versions else row.versions
        return replace(row, model=found.model, versions=versions)

    rows = tuple(settled(row) for row in card.rows)
    discounts = tuple(
        discount
        if discount.model is None
        else replace(discount, model=listed(discount.model).model, version=listed(discount.model).version)
        for discount in card.discounts
    )
    return replace(card, rows=rows, discounts=discounts)


def _row_of(rows: Sequence[RateRow], sku: Sku, at: datetime) -> RateRow | Reason:
    """Choose among one card's rows of the sku's model the one that held at `at`."""
    scope = sku.scope or Scope.GLOBAL
    candidates = [row for row in rows if scope in row.scopes and row.starts <= at]
    if scope is Scope.REGIONAL and candidates:
        candidates = [row for row in candidates if row.regions is None or sku.region in row.regions]
        if not candidates and sku.region is None:
            return Reason.REGION_NOT_KNOWN
    speaking = [row for row in candidates if _speaks_of(row, sku.version)]
    if speaking:
        return _newest(speaking)
    if sku.version is not None or not candidates:
        return Reason.NO_RATE
    versions = dict.fromkeys(version for row in candidates for version in sorted(row.versions or (), key=str))
    newest = [_newest([row for row in candidates if version in (row.versions or ())]) for version in versions]
    # Versions with different rates never mix: an alias that could be any of several dear or cheap snapshots is unknown.
    return newest[0] if all(row.rates == newest[0].rates for row in newest) else Reason.VERSION_NOT_KNOWN


def _speaks_of(row: RateRow, version: str | None) -> bool:
    return row.versions is None or version in row.versions


def _newest(rows: Sequence[RateRow]) -> RateRow:
    """Return the row that began last; of one instant the one that is about a version, then the one written later."""
    return max(enumerate(rows), key=lambda entry: (entry[1].starts, entry[1].versions is not None, entry[0]))[1]


def _overlay(under: Prices | None, card: RateCard, row: RateRow) -> Prices:
    if under is None or under.currency != card.currency:
        return Prices(rates=row.rates, contests=row.contests, currency=card.currency, card=card.name)
    kept = tuple(contest for contest in under.contests if contest.part not in row.rates)
    return Prices(
        rates=MappingProxyType({**under.rates, **row.rates}),
        contests=kept + row.contests,
        currency=card.currency,
        card=card.name if set(under.rates) <= set(row.rates) else f"{card.name}+{under.card}",
    )


def _discounted(prices: Prices, card: RateCard, sku: Sku, at: datetime, own: RateRow | None) -> Prices:
    """Take the newest discount of `card` that matches off every rate that the card does not state itself."""
    scope = sku.scope or Scope.GLOBAL
    matching = [
        discount
        for discount in card.discounts
        if card.provider is sku.provider
        and discount.model in (None, sku.model)
        and discount.version in (None, sku.version)
        and discount.scope in (None, scope)
        and discount.starts <= at
    ]
    if not matching:
        return prices
    # One for this model wins over one for everything, and of equals the newer one.
    best = max(
        enumerate(matching),
        key=lambda entry: (entry[1].model is not None, entry[1].scope is not None, entry[1].starts, entry[0]),
    )[1]
    share = money.subtract(money.exact("1"), best.off)
    stated = own.rates if own else {}
    rates = {
        part: rate if part in stated else Rate(unit_price=money.multiply(rate.unit_price, share), per=rate.per)
        for part, rate in prices.rates.items()
    }
    name = prices.card if card.name in prices.card.split("+") else f"{card.name}+{prices.card}"
    contests = tuple(contest if contest.part in stated else _shared(contest, share) for contest in prices.contests)
    return Prices(rates=MappingProxyType(rates), contests=contests, currency=prices.currency, card=name)


def _shared(contest: Contest, share: Decimal) -> Contest:
    """Take the same share of every figure in question."""
    others = tuple(money.multiply(other, share) for other in contest.others)
    return replace(contest, used=money.multiply(contest.used, share), others=others)
