"""Rate cards as a list to read, and one card held against another."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.line_items import Sku
from realtime_spend.core.rates import BEGINNING, Prices, RateBook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from realtime_spend.core.line_items import Part, Provider, Rate
    from realtime_spend.core.rates import RateCard, RateRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRate:
    """One rate of one row. `starts` is the day from which it holds, None where no day is known."""

    card: str
    provider: Provider
    currency: str
    row: RateRow
    part: Part
    rate: Rate

    @property
    def starts(self) -> str | None:
        """The first day on which the rate holds."""
        return None if self.row.starts == BEGINNING else self.row.starts.date().isoformat()

    @property
    def contested_by(self) -> tuple[Decimal, ...]:
        """What other sources say it is."""
        return next((contest.others for contest in self.row.contests if contest.part == self.part), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A rate that one card gives otherwise than the other, per million tokens or per hour, or that it does not give."""

    sku: Sku
    part: Part
    ours: Decimal | None
    theirs: Decimal | None


def listed_rates(book: RateBook, provider: Provider | None = None, model: str | None = None) -> Iterator[ListedRate]:
    """Return every rate of every card that matches; `model` is a family or any listed name of it."""
    for card in book.cards:
        named = card.names.get(model or "")
        wanted = named.model if named else model
        for row in card.rows:
            if provider in (None, card.provider) and wanted in (None, row.model):
                for part, rate in row.rates.items():
                    yield ListedRate(
                        card=card.name,
                        provider=card.provider,
                        currency=card.currency,
                        row=row,
                        part=part,
                        rate=rate,
                    )


def discounts_of(book: RateBook) -> Iterator[str]:
    """Say, a sentence each, what is taken off the listed rates."""
    for card in book.cards:
        for discount in card.discounts:
            share = money.plain(money.multiply(discount.off, Decimal(100)))
            what = " ".join(filter(None, [discount.model or "every model", discount.version, discount.scope]))
            yield f"{card.name} takes {share} % off the rates of later cards for {what}; the list is before discounts"


def differences(ours: RateBook, theirs: RateCard, at: datetime) -> Iterator[Difference]:
    """Return where the card `theirs` and our rates differ at `at`, for every sku that it speaks of."""
    book = RateBook([theirs])
    for sku in sorted(set(_skus(theirs)), key=str):
        left, right = ours.prices(sku, at), book.prices(sku, at)
        mine = left.rates if isinstance(left, Prices) else {}
        other = right.rates if isinstance(right, Prices) else {}
        for part in sorted({*mine, *other}, key=str):
            one, two = mine.get(part), other.get(part)
            if not _is_same(one, two):
                yield Difference(
                    sku=sku, part=part, ours=one.unit_price if one else None, theirs=two.unit_price if two else None
                )


def _is_same(one: Rate | None, two: Rate | None) -> bool:
    """Whether two rates come to the same: 0.006 a minute is 0.36 an hour."""
    if one is None or two is None:
        return one is two
    return money.multiply(one.unit_price, Decimal(two.per)) == money.multiply(two.unit_price, Decimal(one.per))


def _skus(card: RateCard) -> Iterator[Sku]:
    for row in card.rows:
        for version in row.versions or (None,):
            for scope in row.scopes:
                for region in row.regions or (None,):
                    yield Sku(provider=card.provider, model=row.model, version=version, scope=scope, region=region)
