"""Usage and rates in, line items out: each quantity once, at its own rate, exactly; or unpriced; or between two bounds.

Where a service did not say how the cached tokens split by modality (or which modality the tokens are of), every split
that its totals allow is feasible. The line items are those of the dearest one; `low` and `high` bound the truth.
Caching one token of a modality saves its full rate minus its cached rate, and the savings of different tokens do not
touch each other, so the dearest split caches where it saves least and the cheapest where it saves most.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import compress
from operator import mul
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.line_items import INPUT_OF, Component, LineItem, Modality, Part, Rate
from realtime_spend.core.rates import Prices, Reason
from realtime_spend.core.usage import COUNTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from realtime_spend.core.rates import Contest
    from realtime_spend.core.usage import Amounts, Counts, Tokens

    # Of several rates, the dearest or the cheapest: `max` or `min`.
    Extreme = Callable[[Iterable[Decimal]], Decimal]

_NOTHING = money.ZERO
_add = money.CONTEXT.add
_UNPRICED = (Reason.NO_RATE,)
_NO_PRICES = Prices()
_REAL = (Modality.TEXT, Modality.AUDIO, Modality.IMAGE)
# As a price page has them: modality by modality.
_ORDER = tuple(Part(modality, component) for modality in Modality for component in Component)


class Priced:
    """Line items and what they come to, in `currency`.

    `cost` is the sum of what is priced, None if nothing is. `low` and `high` are set where the cost is an interval;
    `cost` is then `high`. `reasons` says why anything has no price, `prices` at which rates the rest is.

    Nearly all usage has `counts`, while a phone call waits: its tokens in the order of COUNTED, their costs in the same
    and `total`, both in units of the last place of the tariff. `items` and `cost` are made of them where somebody asks.
    """

    __slots__ = ("_cost", "_items", "contests", "costs", "counts", "high", "low", "prices", "reasons", "total")

    def __init__(
        self,
        prices: Prices,
        counts: Counts | None = None,
        costs: Counts = (),
        total: int = 0,
        *,
        items: tuple[LineItem, ...] = (),
        cost: Decimal | None = None,
        low: Decimal | None = None,
        reasons: tuple[Reason, ...] = (),
        contests: tuple[Contest, ...] = (),
    ) -> None:
        self.prices, self.counts, self.costs, self.total = prices, counts, costs, total
        self._items, self._cost, self.low, self.reasons, self.contests = items, cost, low, reasons, contests
        self.high = None if low is None else cost

    @property
    def items(self) -> tuple[LineItem, ...]:
        """The line items, in the order of a price page."""
        if self.counts is not None and not self._items:
            rates, places = self.prices.rates, self.prices.tariff.places
            self._items = tuple(
                LineItem(part, Decimal(tokens), rates[part], money.of_places(cost, places))
                for part, tokens, cost in zip(COUNTED, self.counts, self.costs, strict=False)
                if tokens
            )
        return self._items

    @property
    def cost(self) -> Decimal | None:
        """The sum of what is priced, None if nothing is."""
        return self._cost if self.counts is None else money.of_places(self.total, self.prices.tariff.places)

    @property
    def rates(self) -> Mapping[Part, Rate]:
        """The rates that held."""
        return self.prices.rates

    @property
    def currency(self) -> str:
        """The currency of all amounts."""
        return self.prices.currency

    @property
    def card(self) -> str | None:
        """The rate card that priced it, None if none did."""
        return self.prices.card or None

    @property
    def savings(self) -> dict[Modality, Decimal]:
        """What the cached tokens would have cost more as plain input, by modality."""
        found: dict[Modality, Decimal] = {}
        for part, quantity, _rate, cost in self.items:
            if part.component is Component.CACHED_INPUT and cost is not None:
                full = self.rates.get(INPUT_OF[part.modality])
                if full is not None:
                    found[part.modality] = money.subtract(full.cost(quantity), cost)
        return found

    @property
    def uncertainty(self) -> Decimal:
        """The width of the interval: 0 where the cost is exact."""
        return _NOTHING if self.low is None or self.high is None else money.subtract(self.high, self.low)


def price(amounts: Amounts, prices: Prices | Reason) -> Priced:
    """Price what one usage event reported at the rates that held, or say why it cannot be priced."""
    if isinstance(prices, Reason):
        return Priced(_NO_PRICES, items=_items(amounts.quantities(), {}), reasons=(prices,))
    if (counts := amounts.counts) is not None and not any(map(counts.__getitem__, prices.tariff.unknown)):
        # The reasoning at the end of the counts is in the output already, and has no price of its own.
        costs = tuple(map(mul, counts, prices.tariff.each))
        priced = Priced(prices, counts, costs, sum(costs))
        if prices.contests:
            priced.contests = _contests(set(compress(COUNTED, counts)), prices.contests)
        return priced
    tokens = amounts.tokens
    if tokens is not None and tokens.is_split:
        return _total(_items(amounts.quantities(), prices.rates), prices, nothing=True)
    if tokens is None or not _boundable(tokens, prices.rates):
        return _total(_items(amounts.quantities(), prices.rates), prices, nothing=not amounts.is_missing)
    dearest = _items(_split(tokens, prices.rates, max), prices.rates)
    cheapest = _items(_split(tokens, prices.rates, min), prices.rates)
    priced = _total(dearest, prices)
    low, high = _sum(cheapest), priced.cost
    if low is None or high is None or low >= high:
        return priced
    return _total(dearest, prices, low=low)


def _items(quantities: Mapping[Part, Decimal], rates: Mapping[Part, Rate]) -> tuple[LineItem, ...]:
    found = quantities.get
    return tuple(LineItem.of(part, quantity, rates.get(part)) for part in _ORDER if (quantity := found(part)))


def _sum(items: Iterable[LineItem]) -> Decimal | None:
    total: Decimal | None = None
    for item in items:
        if (cost := item.cost) is not None:
            total = cost if total is None else _add(total, cost)
    return total


def _total(items: tuple[LineItem, ...], prices: Prices, low: Decimal | None = None, *, nothing: bool = False) -> Priced:
    """Add the lines up. `nothing`: no lines mean that nothing was used, which costs nothing, and is not unknown."""
    cost = money.ZERO if nothing and not items else None
    reasons: tuple[Reason, ...] = ()
    for item in items:
        if (item_cost := item.cost) is None:
            reasons = _UNPRICED
        else:
            cost = item_cost if cost is None else _add(cost, item_cost)
    contests = _contests({item.part for item in items}, prices.contests)
    return Priced(prices, items=items, cost=cost, low=low, reasons=reasons, contests=contests)


def _contests(used: set[Part], contests: tuple[Contest, ...]) -> tuple[Contest, ...]:
    return tuple(contest for contest in contests if contest.part in used)


def _prices_of(component: Component, modality: Modality, rates: Mapping[Part, Rate]) -> dict[Modality, Decimal]:
    """Return the rates that tokens of `modality` may have: all there are where it is unknown."""
    candidates = _REAL if modality is Modality.UNKNOWN else (modality,)
    found = {candidate: rates.get(Part(candidate, component)) for candidate in candidates}
    return {candidate: rate.unit_price for candidate, rate in found.items() if rate is not None}


def _boundable(tokens: Tokens, rates: Mapping[Part, Rate]) -> bool:
    """Whether every feasible split has a price. Tokens that may have no rate at all cannot be bounded."""
    spare = [modality for modality, count in tokens.spare().items() if count]
    return (
        all(_prices_of(Component.INPUT, modality, rates) for modality in spare)
        and (not tokens.unsplit[0] or all(_prices_of(Component.CACHED_INPUT, modality, rates) for modality in spare))
        and all(_prices_of(Component.OUTPUT, modality, rates) for modality in tokens.output)
    )


def _split(tokens: Tokens, rates: Mapping[Part, Rate], extreme: Extreme) -> dict[Part, Decimal]:
    """Return the quantities of the dearest (`extreme` is max) or the cheapest (min) feasible split."""
    counts: dict[Part, int] = {}

    def put(component: Component, modality: Modality, count: int) -> None:
        prices = _prices_of(component, modality, rates)
        wanted = extreme(prices.values()) if prices else None
        # A known modality without a rate keeps its own line, which is then unpriced.
        real = next((candidate for candidate, unit_price in prices.items() if unit_price == wanted), modality)
        part = Part(real, component)
        counts[part] = counts.get(part, 0) + count

    extra = _cache(tokens, rates, extreme)
    for modality, count in tokens.spare().items():
        put(Component.INPUT, modality, count - extra.get(modality, 0))
        put(Component.CACHED_INPUT, modality, extra.get(modality, 0))
    for modality, count in tokens.cached.items():
        put(Component.CACHED_INPUT, modality, count)
    for modality, count in tokens.output.items():
        put(Component.OUTPUT, modality, count)
    return {part: Decimal(count) for part, count in counts.items()}


def _cache(tokens: Tokens, rates: Mapping[Part, Rate], extreme: Extreme) -> dict[Modality, int]:
    """Choose which of the spare input tokens are the cached ones that came without their modality."""
    least, most = tokens.unsplit
    savings: list[tuple[Decimal, Modality, int]] = []
    for modality, count in tokens.spare().items():
        cached = _prices_of(Component.CACHED_INPUT, modality, rates)
        # A model without a price for cached tokens has no cache, so that none of these can be in it.
        if count and most and cached:
            full = extreme(_prices_of(Component.INPUT, modality, rates).values())
            savings.append((money.subtract(full, extreme(cached.values())), modality, count))
    dearest = extreme is max
    savings.sort(key=lambda entry: entry[0], reverse=not dearest)
    chosen: dict[Modality, int] = {}
    for saving, modality, count in savings:
        worthwhile = saving < 0 if dearest else saving > 0
        taken = min(count, most if worthwhile else least)
        chosen[modality] = taken
        least, most = max(least - taken, 0), most - taken
    return chosen
