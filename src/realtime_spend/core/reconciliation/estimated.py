"""The nouns of an estimate by UTC day: what was counted and priced, and what is known to be missing from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from realtime_spend.core.line_items import Word

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from decimal import Decimal

    from realtime_spend.core.line_items import Part, Provider, Scope
    from realtime_spend.core.reconciliation.bills import BillProblem
    from realtime_spend.core.usage import Kind, Reported


class EstimateSource(Word):
    """Where an estimate was read: a ledger counts each usage once, metrics may have been told of one twice."""

    LEDGER = "ledger"
    PROMETHEUS = "prometheus"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What was used of one part of a sku on a UTC day, in tokens or seconds, and its cost in `currency`.

    `cost` is None where no card prices any of it; `unpriced` is the quantity that none prices. `low` and `high` are the
    bounds of the cost where a service did not split its cached tokens, else None. `model` None: nobody named it.
    """

    day: date
    provider: Provider
    account: str | None
    model: str | None
    version: str | None
    scope: Scope | None
    part: Part
    quantity: Decimal
    cost: Decimal | None
    unpriced: Decimal
    currency: str = "USD"
    region: str | None = None
    low: Decimal | None = None
    high: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Usages of a day that have no numbers: `reported` is missing or lost. `model` and `scope` None: not known.

    `usages` are all of that kind, model and day, those with numbers included. `largest` is the most that a single one
    had of each part, empty where the source does not tell.
    """

    day: date
    provider: Provider
    account: str | None
    model: str | None
    kind: Kind
    reported: Reported
    count: int
    usages: int = 0
    scope: Scope | None = None
    largest: Mapping[Part, Decimal] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Estimates:
    """All that was counted, by day."""

    source: EstimateSource
    items: list[Estimate] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    problems: list[BillProblem] = field(default_factory=list)
