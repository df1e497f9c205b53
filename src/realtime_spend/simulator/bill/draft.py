"""What a provider charges for a truth: a charge for each part of a model on each UTC day, and what else it bills.

A company's bill holds far more than voice: storage, chat models, tax, credits. `Draft` is the whole of it before it is
printed in one of the forms that providers send; faults change it there and write down the money that they move.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import TYPE_CHECKING, Any

from realtime_spend.simulator.models import SNAPSHOTS, Provider, Scope, Sku
from realtime_spend.simulator.prices import DURATION, add, cost_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Our own context: the host program may have changed the default one.
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
ZERO, ONE = Decimal(0), Decimal(1)
SECONDS_PER_HOUR = 3600
_MILLION = 1_000_000
_FINEST = Decimal("1e-15")
# What nobody who listened was told, by how the usage was said and what it was for.
UNTOLD = {
    ("missing", "transcription"): "transcription_unobserved",
    ("hidden", "transcription"): "transcription_unobserved",
    ("lost", "response"): "lost_responses",
    ("hidden", "response"): "unobserved_traffic",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A quantity of one part of a model on a UTC day, in tokens or seconds, and its cost in USD.

    `price` is for a million tokens or for an hour. `meter` is a name of its own where no rule makes it.
    """

    day: date
    provider: Provider
    account: str
    model: str
    version: str | None
    scope: Scope
    component: str
    quantity: Decimal
    price: Decimal
    cost: Decimal
    region: str = "eastus2"
    meter: str | None = None

    @property
    def per(self) -> int:
        """How many tokens or seconds `price` is for."""
        return SECONDS_PER_HOUR if self.component == DURATION else _MILLION

    def of(self, quantity: Decimal) -> Charge:
        """Return the charge for another quantity at the same price."""
        cost = over(times(quantity, self.price), Decimal(self.per))
        # An hour's third has no end as a decimal.
        return replace(self, quantity=quantity, cost=in_steps(cost, _FINEST))

    def at(self, factor: Decimal) -> Charge:
        """Return the charge at another price."""
        return replace(self, price=times(self.price, factor), cost=times(self.cost, factor))


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherCharge:
    """Something on the bill that is no usage of a Realtime model. `kind` is a charge type as Azure spells it."""

    day: date
    category: str
    meter: str
    unit: str
    quantity: Decimal
    price: Decimal
    kind: str = "Usage"

    @property
    def cost(self) -> Decimal:
        """What it comes to."""
        return times(self.quantity, self.price)


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """Money, in USD, that one fault put on the bill of a day and of one part of a model; negative where it took it.

    `model` is None of a meter that nobody can read.
    """

    fault: str
    day: date
    model: str | None
    component: str
    cost: Decimal


@dataclass(slots=True, kw_only=True)
class Draft:
    """A bill before it is printed. One unit of its currency is `to_usd` USD."""

    charges: list[Charge]
    others: list[OtherCharge] = field(default_factory=list)
    injected: list[Injected] = field(default_factory=list)
    currency: str = "USD"
    to_usd: Decimal = ONE

    @property
    def days(self) -> list[date]:
        """The days that it charges for, in order."""
        return sorted({charge.day for charge in self.charges})

    def billed(self, usd: Decimal) -> Decimal:
        """Return an amount of USD in the bill's currency, to as many digits as a provider prints."""
        return usd if self.to_usd == ONE else in_steps(over(usd, self.to_usd), _FINEST)

    def gather(self) -> None:
        """Make one charge of all for the same meter and day, in the order that a bill prints them."""
        found: dict[tuple[object, ...], Charge] = {}
        for charge in self.charges:
            meter = (charge.model, charge.version, charge.scope, charge.region, charge.component, charge.meter)
            key = (charge.day, charge.account, *meter, charge.price)
            known = found.get(key)
            found[key] = charge if known is None else _sum(known, charge)
        self.charges = [found[key] for key in sorted(found, key=lambda key: [str(word) for word in key])]

    def inject(self, fault: str, charge: Charge, cost: Decimal) -> None:
        """Write down the money that a fault moved."""
        if cost:
            model = None if charge.meter else charge.model
            one = Injected(fault=fault, day=charge.day, model=model, component=charge.component, cost=cost)
            self.injected.append(one)


def draft_bill(
    usages: Iterable[Mapping[str, Any]],
    *,
    provider: Provider,
    account: str = "contoso-voice",
    seed: int = 0,
    shift: timedelta = timedelta(),
) -> Draft:
    """Return the bill of one provider for the usages of a truth, each `shift` later, among other things of a company.

    What has quantities is billed, whether or not anybody was told of it; what nobody was told of is injected.
    """
    draft = Draft(charges=[])
    for usage in usages:
        if usage["provider"] != provider:
            continue
        charges = list(_charges(usage, account, shift))
        draft.charges += charges
        if (fault := UNTOLD.get((usage["usage"], usage["kind"]))) is not None:
            for charge in charges:
                draft.inject(fault, charge, charge.cost)
    draft.gather()
    if provider is Provider.AZURE:
        draft.others = _company(draft.days, random.Random(f"bill:{seed}"))  # noqa: S311 - made to be predicted
    return draft


def _charges(usage: Mapping[str, Any], account: str, shift: timedelta) -> Iterable[Charge]:
    provider, scope = Provider(usage["provider"]), Scope(usage["scope"])
    sku = Sku(provider=provider, model=usage["model"], version=usage["version"], scope=scope)
    for component, quantity in usage["quantities"].items():
        cost = usage["costs"][component]
        price = cost_of(sku, component, SECONDS_PER_HOUR if component == DURATION else _MILLION)
        if cost is None or price is None or not Decimal(quantity):
            continue
        yield Charge(
            day=date.fromisoformat(usage["at"][:10]) + shift,
            provider=provider,
            account=account,
            model=sku.model,
            version=sku.version or _snapshot(sku),
            scope=scope,
            component=component,
            quantity=Decimal(quantity),
            price=price,
            cost=Decimal(cost),
        )


def _snapshot(sku: Sku) -> str | None:
    """OpenAI's bill names the snapshot that an alias stood for; models without one keep their name."""
    dates = SNAPSHOTS.get(sku.model, ())
    return dates[-1] if dates and "realtime" in sku.model else None


def _sum(left: Charge, right: Charge) -> Charge:
    return replace(left, quantity=add(left.quantity, right.quantity), cost=add(left.cost, right.cost))


def _company(days: list[date], rng: random.Random) -> list[OtherCharge]:
    """Make up what else such a company is billed: a reader has to find voice among it."""
    others = []
    for day in days:
        chat, stored = Decimal(rng.randint(10_000, 900_000)), Decimal(rng.randint(1_000, 9_000))
        others += [
            _other(day, "Storage", "Hot LRS Data Stored", "1 GB/Month", stored, "0.0000255"),
            _other(day, "Bandwidth", "Standard Data Transfer Out", "1 GB", Decimal(rng.randint(1, 90)), "0.087"),
            _other(day, "Foundry Models", "gpt 4.1 mini Inp glbl Tokens", "1K", chat, "0.0000004"),
            _other(day, "Foundry Models", "gpt 4.1 mini Outp glbl Tokens", "1K", chat // 4, "0.0000016"),
            _other(day, "Cognitive Services", "gpt aud 0828 Outp glbl Tokens", "1K", chat // 9, "0.00008"),
            _other(day, "Cognitive Services", "text-embedding-3-small-glbl Tokens", "1K", chat, "0.00000002"),
        ]
    if days:
        others += [
            _other(days[0], "Virtual Machines", "Reserved VM Instance D4s v5", "1", ONE, "89.79", "Purchase"),
            _other(days[-1], "Unassigned", "Unassigned", "1", ONE, "-50", "Credit"),
            _other(days[-1], "Unassigned", "Tax", "1", ONE, "11.43", "Tax"),
            _other(days[-1], "Storage", "Hot LRS Data Stored", "1 GB/Month", ONE, "-3.10", "Refund"),
        ]
    return others


def _other(  # noqa: PLR0917 - a row of a table
    day: date, category: str, meter: str, unit: str, quantity: Decimal, price: str, kind: str = "Usage"
) -> OtherCharge:
    return OtherCharge(
        day=day, category=category, meter=meter, unit=unit, quantity=quantity, price=Decimal(price), kind=kind
    )


def times(left: Decimal, right: Decimal) -> Decimal:
    """Multiply exactly, whatever the host did to the default decimal context."""
    return _EXACT.multiply(left, right)


def over(left: Decimal, right: Decimal) -> Decimal:
    """Divide likewise."""
    return _EXACT.divide(left, right)


def less(left: Decimal, right: Decimal) -> Decimal:
    """Subtract likewise."""
    return _EXACT.subtract(left, right)


def in_steps(amount: Decimal, step: Decimal) -> Decimal:
    """Round to a power of ten, half to even."""
    return _EXACT.quantize(amount, step)
