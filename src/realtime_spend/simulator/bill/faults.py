"""What can be wrong between a bill and those who counted: each fault changes a draft and writes down what it moved.

Faults of quantity come first and are worth the list price; those of price come after, on what is billed by then. So
the money of two faults adds up to what the bill is off, without a dollar counted twice.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from realtime_spend.simulator.bill.draft import ONE, UNTOLD, Charge, Draft, in_steps, less, times
from realtime_spend.simulator.models import Scope, Sku
from realtime_spend.simulator.prices import cost_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from datetime import date

# Of the global price, as Azure's list has it.
DATAZONE = Decimal("1.10")
REGIONS = {"eastus2": Decimal("1.10"), "swedencentral": Decimal("1.21"), "northeurope": Decimal("1.32")}
_MILLION = 1_000_000


class Stage(IntEnum):
    """When a fault is applied."""

    QUANTITY = 0
    PRICE = 1
    CURRENCY = 2
    DELIVERY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A change of a draft."""

    name: str
    stage: Stage
    change: Callable[[Draft], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which charges a fault is about; None is any."""

    models: Collection[str] | None = None
    days: Collection[date] | None = None

    def holds(self, charge: Charge) -> bool:
        """Whether it is about this charge."""
        is_model = self.models is None or charge.model in self.models
        return charge.meter is None and is_model and (self.days is None or charge.day in self.days)


_EVERYWHERE = Where()


def inject(draft: Draft, faults: Iterable[Fault]) -> Draft:
    """Apply faults, in their order of stages, and return the draft."""
    for fault in sorted(faults, key=lambda fault: fault.stage):
        fault.change(draft)
        draft.gather()
    return draft


def unobserved_traffic(where: Where = _EVERYWHERE, *, extra: Decimal = Decimal("0.5")) -> Fault:
    """More of the same sessions, held where nobody counts: each meter has `extra` of what it has on top."""

    def change(draft: Draft) -> None:
        for charge in [charge for charge in draft.charges if where.holds(charge)]:
            _change_quantity(draft, "unobserved_traffic", charge, times(charge.quantity, ONE + extra))

    return Fault(name="unobserved_traffic", stage=Stage.QUANTITY, change=change)


def one_meter_high(where: Where, component: str, *, factor: Decimal = Decimal("1.07")) -> Fault:
    """One meter of a model has more than was used, which nobody can explain."""

    def change(draft: Draft) -> None:
        for charge in [charge for charge in draft.charges if where.holds(charge) and charge.component == component]:
            _change_quantity(draft, "one_meter_high", charge, times(charge.quantity, factor))

    return Fault(name="one_meter_high", stage=Stage.QUANTITY, change=change)


def cache_not_billed(where: Where = _EVERYWHERE) -> Fault:
    """Cached tokens are billed as if they were not cached."""

    def change(draft: Draft) -> None:
        cached = [charge for charge in draft.charges if where.holds(charge) and "cached" in charge.component]
        for charge in cached:
            draft.charges.remove(charge)
            fresh = charge.component.replace("cached_input", "input")
            sku = Sku(provider=charge.provider, model=charge.model, version=charge.version, scope=charge.scope)
            price = cost_of(sku, fresh, _MILLION)
            assert price is not None  # noqa: S101 - what has a price cached has one uncached
            billed = replace(charge, component=fresh, price=price).of(charge.quantity)
            draft.charges.append(billed)
            draft.inject("cache_not_billed", charge, less(billed.cost, charge.cost))

    return Fault(name="cache_not_billed", stage=Stage.QUANTITY, change=change)


def another_team(
    *,
    model: str = "gpt-realtime-1.5",
    version: str | None = "2026-02-23",
    days: Collection[date] | None = None,
    most_tokens: int = 90_000,
) -> Fault:
    """Another team uses a model on the same account that we do not."""

    def change(draft: Draft) -> None:
        first = draft.charges[0]
        sku = Sku(provider=first.provider, model=model, version=version, scope=Scope.GLOBAL)
        for number, day in enumerate(draft.days if days is None else sorted(days)):
            rng = random.Random(f"team:{number}")  # noqa: S311 - made to be predicted
            for component in ("audio.input", "audio.cached_input", "audio.output", "text.input", "text.output"):
                price = cost_of(sku, component, _MILLION)
                assert price is not None  # noqa: S101 - a model of the table
                charge = replace(
                    first, day=day, model=model, version=version, scope=Scope.GLOBAL, component=component, price=price
                ).of(Decimal(rng.randint(most_tokens // 4, most_tokens)))
                draft.charges.append(charge)
                draft.inject("another_team", charge, charge.cost)

    return Fault(name="another_team", stage=Stage.QUANTITY, change=change)


def unmapped_meter(
    name: str = "gpt rt hlg 0828 Inp glbl Tokens", *, days: Collection[date] | None = None, tokens: int = 40_000
) -> Fault:
    """A meter whose name says Realtime and no more that anybody could read."""

    def change(draft: Draft) -> None:
        first = draft.charges[0]
        for day in draft.days if days is None else sorted(days):
            charge = replace(first, day=day, component="audio.input", price=Decimal(32), meter=name).of(Decimal(tokens))
            draft.charges.append(charge)
            draft.inject("unmapped_meter", charge, charge.cost)

    return Fault(name="unmapped_meter", stage=Stage.QUANTITY, change=change)


def day_shift(where: Where = _EVERYWHERE, *, part: int = 4, by: int = 1) -> Fault:
    """One part in so many of a day's usage is billed on the next day, or by so many days later."""

    def change(draft: Draft) -> None:
        for charge in [charge for charge in draft.charges if where.holds(charge)]:
            moved = charge.of(charge.quantity // part)
            if not moved.quantity:
                continue
            _change_quantity(draft, "day_shift", charge, less(charge.quantity, moved.quantity))
            later = replace(moved, day=charge.day + timedelta(days=by))
            draft.charges.append(later)
            draft.inject("day_shift", later, later.cost)

    return Fault(name="day_shift", stage=Stage.QUANTITY, change=change)


def discount(factor: Decimal = Decimal("0.85"), where: Where = _EVERYWHERE) -> Fault:
    """A price agreed on: so much of the list price, for all alike."""
    return _of_price("discount", where, lambda charge: charge.at(factor))


def datazone(where: Where = _EVERYWHERE) -> Fault:
    """What was taken for a global deployment is one of a data zone."""
    return _of_price("datazone", where, lambda charge: replace(charge, scope=Scope.DATAZONE).at(DATAZONE))


def regional(region: str = "swedencentral", where: Where = _EVERYWHERE) -> Fault:
    """What was taken for a global deployment is one of a region."""
    factor = REGIONS[region]
    return _of_price("regional", where, lambda charge: replace(charge, scope=Scope.REGIONAL, region=region).at(factor))


def _of_price(name: str, where: Where, priced: Callable[[Charge], Charge]) -> Fault:
    def change(draft: Draft) -> None:
        for index, charge in enumerate(draft.charges):
            if where.holds(charge):
                draft.charges[index] = changed = priced(charge)
                draft.inject(name, charge, less(changed.cost, charge.cost))

    return Fault(name=name, stage=Stage.PRICE, change=change)


def currency(code: str = "EUR", to_usd: Decimal = Decimal("1.25")) -> Fault:
    """The bill is in another currency, one unit of which is `to_usd` USD."""

    def change(draft: Draft) -> None:
        draft.currency, draft.to_usd = code, to_usd

    return Fault(name="currency", stage=Stage.CURRENCY, change=change)


def unsettled_day(day: date, *, share: Decimal = Decimal("0.6")) -> Fault:
    """Of one day only a share has arrived on the bill yet."""

    def change(draft: Draft) -> None:
        for charge in [charge for charge in draft.charges if charge.day == day]:
            _change_quantity(draft, "unsettled_day", charge, times(charge.quantity, share))

    return Fault(name="unsettled_day", stage=Stage.DELIVERY, change=change)


def _change_quantity(draft: Draft, fault: str, charge: Charge, quantity: Decimal) -> None:
    """Bill another quantity of a charge: whole tokens, and seconds to the millisecond."""
    whole = Decimal("0.001") if charge.component.endswith("duration") else ONE
    changed = charge.of(in_steps(quantity, whole))
    draft.charges[draft.charges.index(charge)] = changed
    draft.inject(fault, charge, less(changed.cost, charge.cost))


def with_untold_billed(usages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the usages of a truth; what was lost or told without numbers has those of a reported one of its model.

    A service has worked for a response that nobody waited for, and for a transcription that it says nothing of.
    """
    usages = list(usages)
    known = {_alike(usage): usage for usage in usages if usage["usage"] == "reported" and usage["quantities"]}
    return [_as_used(usage, known.get(_alike(usage))) for usage in usages]


def _alike(usage: Mapping[str, Any]) -> tuple[Any, ...]:
    return usage["at"][:10], *(usage[key] for key in ("kind", "provider", "model", "version", "scope"))


def _as_used(usage: Mapping[str, Any], like: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if like is None or usage["quantities"] or (usage["usage"], usage["kind"]) not in UNTOLD:
        return usage
    return {**usage, "quantities": like["quantities"], "costs": like["costs"], "cost": like["cost"]}


def named_fault(text: str) -> Fault:
    """Read `NAME` or `NAME=VALUE`, as a command line has it.

    Raises:
        ValueError: it is none; the message says how to write it.
    """
    name, _, value = text.partition("=")
    try:
        return _NAMED[name](value)
    except (KeyError, ArithmeticError, ValueError):
        raise ValueError(f"{text!r} is no fault of a bill; write one of {', '.join(FAULT_FORMS)}") from None


def _currency(value: str) -> Fault:
    code, _, to_usd = value.partition(":")
    return currency(code or "EUR", Decimal(to_usd or "1.25"))


_NAMED: Mapping[str, Callable[[str], Fault]] = {
    "unobserved-traffic": lambda value: unobserved_traffic(extra=Decimal(value or "0.5")),
    "cache-not-billed": lambda value: cache_not_billed(Where(models=[value] if value else None)),
    "another-team": lambda value: another_team(model=value, version=None) if value else another_team(),
    "unmapped-meter": lambda value: unmapped_meter(value) if value else unmapped_meter(),
    "day-shift": lambda value: day_shift(part=int(value or 4)),
    "discount": lambda value: discount(Decimal(value or "0.85")),
    "datazone": lambda value: datazone(Where(models=[value] if value else None)),
    "regional": lambda value: regional(value or "swedencentral"),
    "currency": _currency,
    "one-meter-high": lambda value: one_meter_high(_EVERYWHERE, value or "audio.output"),
}
FAULT_FORMS = (
    "unobserved-traffic[=SHARE]", "cache-not-billed[=MODEL]", "another-team[=MODEL]", "unmapped-meter[=NAME]",
    "day-shift[=PART]", "discount[=FACTOR]", "datazone[=MODEL]", "regional[=REGION]", "currency[=CODE:USD]",
    "one-meter-high[=PART]",
)  # fmt: skip
