"""Which estimate stands beside which billed row: names that one side leaves out are taken from the other's only one.

The key is a day, provider, account, model, version, scope and part. The model is the family. What a side does not say
joins the other side's only answer, and where there are several it stays by itself. Nothing is priced again by joining:
what then differs is a difference in price.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from realtime_spend.core.line_items import Scope, Sku
from realtime_spend.core.rates import Reason
from realtime_spend.core.reconciliation.price_history import PriceHistory

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from datetime import date

    from realtime_spend.core.line_items import Part, Provider
    from realtime_spend.core.rates import RateBook
    from realtime_spend.core.reconciliation.accounts import Accounts
    from realtime_spend.core.reconciliation.bills import BilledItem
    from realtime_spend.core.reconciliation.estimated import Estimate

    _T = TypeVar("_T")


class Key(NamedTuple):
    """What one row is about. `part` and `model` None: meters that cannot be read."""

    day: date
    provider: Provider
    account: str | None
    model: str | None
    version: str | None
    scope: Scope | None
    part: Part | None


@dataclass(slots=True)
class Sides:
    """The two sides of one key."""

    estimates: list[Estimate] = field(default_factory=list)
    billed: list[BilledItem] = field(default_factory=list)


class _Use(NamedTuple):
    """One estimate or billed row, as far as joining looks at it."""

    day: date
    provider: Provider
    account: str | None
    model: str | None
    version: str | None
    scope: Scope | None
    region: str | None

    @property
    def model_key(self) -> _Model:
        """The model, where it was used."""
        return self.provider, self.account, self.model


class RateClasses:
    """Tells versions apart by what they cost: those with the same rates join one another, others never do."""

    def __init__(self, book: RateBook) -> None:
        self._history = PriceHistory(book)
        self._known: dict[tuple[date, Provider, str, str, Scope | None, str | None], Hashable] = {}

    def of(self, use: _Use, scope: Scope | None) -> Hashable:
        """Return what is equal for versions that cost the same at the end of the day."""
        if use.model is None or use.version is None:
            return None
        region = use.region if scope is Scope.REGIONAL else None
        key = (use.day, use.provider, use.model, use.version, scope, region)
        if key not in self._known:
            self._known[key] = self._rates(key)
        return self._known[key]

    def _rates(self, key: tuple[date, Provider, str, str, Scope | None, str | None]) -> Hashable:
        day, provider, model, version, scope, region = key
        sku = Sku(provider=provider, model=model, version=version, scope=scope, region=region)
        prices = self._history.prices(sku, end_of(day))
        if isinstance(prices, Reason):
            return version
        return frozenset((part, rate.unit_price, rate.per) for part, rate in prices.rates.items())


def end_of(day: date) -> datetime:
    """Return the last instant of a UTC day, at which a price that changed on it holds."""
    return datetime.combine(day, time.max, UTC)


def match(
    estimates: Sequence[Estimate], items: Sequence[BilledItem], *, accounts: Accounts, book: RateBook
) -> dict[Key, Sides]:
    """Return both sides of every key that either side has."""
    counted = [
        _Use(
            item.day,
            item.provider,
            accounts.of_estimate(item.provider, item.account),
            item.model,
            item.version,
            item.scope,
            item.region,
        )
        for item in estimates
    ]
    billed = [
        _Use(item.day, item.provider, item.account, item.meter.model, item.meter.version, item.meter.scope, item.region)
        for item in items
    ]
    readable = [use for use, item in zip(billed, items, strict=True) if is_mapped(item)]
    counted, readable = _by_scope(counted, readable)
    counted, readable = _by_version(counted, readable, RateClasses(book))
    sides: dict[Key, Sides] = {}
    for use, estimate in zip(counted, estimates, strict=True):
        sides.setdefault(_key(use, estimate.part), Sides()).estimates.append(estimate)
    found = iter(readable)
    for item, use in zip(items, billed, strict=True):
        key = _key(next(found), item.meter.part) if is_mapped(item) else _unread(use)
        sides.setdefault(key, Sides()).billed.append(item)
    return sides


def is_mapped(item: BilledItem) -> bool:
    """Whether the meter of `item` could be read."""
    return item.meter.model is not None and item.meter.part is not None


def _key(use: _Use, part: Part | None) -> Key:
    return Key(use.day, use.provider, use.account, use.model, use.version, use.scope, part)


def _unread(use: _Use) -> Key:
    return Key(use.day, use.provider, use.account, None, None, None, None)


def _joined(other: set[_T], own: set[_T]) -> _T | None:
    """Return what a side means that does not say: the other side's only answer, else its own where nobody else's is."""
    answers = other or own
    return next(iter(answers)) if len(answers) == 1 else None


class _Scopes:
    """The scopes that one side tells of each model, by day and in the whole range."""

    def __init__(self, uses: list[_Use]) -> None:
        self._by_day: dict[tuple[date, _Model], set[Scope]] = {}
        self._ever: dict[_Model, set[Scope]] = {}
        for use in uses:
            today = self._by_day.setdefault((use.day, use.model_key), set())
            ever = self._ever.setdefault(use.model_key, set())
            # Provisioned capacity is billed by the hour, so that no meter of tokens means it.
            if use.scope not in (None, Scope.PROVISIONED):
                today.add(use.scope)
                ever.add(use.scope)

    def of(self, use: _Use) -> set[Scope] | None:
        """Return the scopes of the model on the day of `use`; of any day where it was not used; None where never."""
        today = self._by_day.get((use.day, use.model_key))
        return self._ever.get(use.model_key) if today is None else today


def _by_scope(counted: list[_Use], billed: list[_Use]) -> tuple[list[_Use], list[_Use]]:
    """Give a scope to what has none: the only one that the other side has of its model."""
    here, there = _Scopes(counted), _Scopes(billed)

    def of_estimate(use: _Use) -> _Use:
        ours, theirs = here.of(use) or set(), there.of(use)
        if use.scope is None:
            return use._replace(scope=_joined(theirs or set(), ours))
        # A bill that tells no scopes of a model has those of several in one row.
        is_unsplit = theirs is not None and not theirs and len(ours) > 1
        return use._replace(scope=None) if is_unsplit and use.scope is not Scope.PROVISIONED else use

    def of_item(use: _Use) -> _Use:
        return use if use.scope else use._replace(scope=_joined(here.of(use) or set(), there.of(use) or set()))

    return [of_estimate(use) for use in counted], [of_item(use) for use in billed]


_Model = tuple["Provider", "str | None", "str | None"]
_Place = tuple["Provider", "str | None", "str | None", "Scope | None"]


class _Versions:
    """The versions of one side by where they were used, each with the class of its rates."""

    def __init__(self, uses: list[_Use], classes: RateClasses) -> None:
        self._by_day: dict[tuple[date, _Place], dict[Hashable, set[str]]] = {}
        self._ever: dict[_Place, dict[Hashable, set[str]]] = {}
        for use in uses:
            place = _place(use)
            today = self._by_day.setdefault((use.day, place), {})
            if use.version is not None:
                found = classes.of(use, use.scope)
                today.setdefault(found, set()).add(use.version)
                self._ever.setdefault(place, {}).setdefault(found, set()).add(use.version)

    def classes(self, day: date, place: _Place) -> set[Hashable]:
        """Return the classes used on that day, or, where nothing was, on any."""
        today = self._by_day.get((day, place))
        return set(self._ever.get(place, {}) if today is None else today)

    def name(self, day: date, place: _Place, found: Hashable) -> str | None:
        """Return the version that stands for the class on that day: the first by name."""
        return min(self._by_day.get((day, place), {}).get(found, ()), default=None)

    def name_on_any_day(self, place: _Place, found: Hashable) -> str | None:
        """Return a version of the class, whenever it was used."""
        return min(self._ever.get(place, {}).get(found, ()), default=None)


def _place(use: _Use) -> _Place:
    return use.provider, use.account, use.model, use.scope


def _by_version(counted: list[_Use], billed: list[_Use], classes: RateClasses) -> tuple[list[_Use], list[_Use]]:
    here, there = _Versions(counted, classes), _Versions(billed, classes)

    def settled(use: _Use, own: _Versions, other: _Versions) -> _Use:
        place = _place(use)
        if use.version is None:
            found = _joined(other.classes(use.day, place), own.classes(use.day, place))
        else:
            found = classes.of(use, use.scope)
        if found is None:
            return use._replace(version=None)
        named = there.name(use.day, place, found) or here.name(use.day, place, found)
        return use._replace(version=named or there.name_on_any_day(place, found) or here.name_on_any_day(place, found))

    return [settled(use, here, there) for use in counted], [settled(use, there, here) for use in billed]
