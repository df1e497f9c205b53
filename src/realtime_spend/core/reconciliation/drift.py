"""The nouns of a reconciliation: rows of estimate beside bill, and the cause that each unit of drift is under."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from realtime_spend.core.line_items import Word

if TYPE_CHECKING:
    from datetime import date
    from decimal import Decimal

    from realtime_spend.core.line_items import Part, Provider, Scope, Unit
    from realtime_spend.core.reconciliation.bills import BillProblem, LeftOut


class State(Word):
    """How much of a day's bill may still change."""

    OPEN = "open"
    SETTLED = "settled"
    FINAL = "final"


class Cause(Word):
    """Why a bill differs from its estimate, in the order of precedence."""

    NOT_SETTLED = "not_settled"
    PRICE = "price"
    CACHE_NOT_BILLED = "cache_not_billed"
    CACHE_OVERBILLED = "cache_overbilled"
    TRANSCRIPTION_UNOBSERVED = "transcription_unobserved"
    LOST_RESPONSES = "lost_responses"
    UNOBSERVED_TRAFFIC = "unobserved_traffic"
    OBSERVED_TWICE = "observed_twice"
    SPLIT_UNKNOWN = "split_unknown"
    PROVISIONED = "provisioned"
    DAY_SHIFT = "day_shift"
    UNMAPPED_METER = "unmapped_meter"
    UNPRICED = "unpriced"
    UNIT_SCALE = "unit_scale"
    ROUNDING = "rounding"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One day of one part of a sku, as estimated and as billed, in tokens or seconds and in the bill's currency.

    `part` and `model` are None for a meter that could not be read. `estimated_cost` is None where no card prices what
    was used, or no rate of exchange is known; `drift_cost` is None in the latter case alone. `unconverted` is what
    is billed in a currency that no rate is known for, by currency: `billed_cost` lacks it, and is not known as a whole
    where there is any. `is_beyond` says whether the drift is beyond the tolerance; only rows that are not open decide
    anything.
    """

    day: date
    provider: Provider
    account: str | None
    model: str | None
    version: str | None
    part: Part | None
    scope: Scope | None
    unit: Unit | None
    estimated_quantity: Decimal | None
    billed_quantity: Decimal | None
    estimated_cost: Decimal | None
    estimated_low: Decimal | None
    estimated_high: Decimal | None
    billed_cost: Decimal
    drift_cost: Decimal | None
    state: State
    meters: tuple[str, ...] = ()
    is_beyond: bool = False
    # What a unit of the reconciliation's currency is in USD by the bill's own account; None where it does not tell.
    to_usd: Decimal | None = None
    unconverted: tuple[tuple[str, Decimal], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftShare:
    """The share of one row's drift that is under one cause. `evidence` is a sentence with the numbers in it."""

    cause: Cause
    row: Row
    cost: Decimal
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftTotals:
    """Sums over all rows, in the bill's currency. None where a rate of exchange is missing.

    Explained is what is under any cause but `unexplained`: the two add up to the drift. `unmapped_cost` is what meters
    that could not be read are billed, which is a cause like any other. `unconverted` is what `billed_cost` lacks, by
    currency, as in a row.
    """

    estimated_cost: Decimal | None
    billed_cost: Decimal
    drift_cost: Decimal | None
    explained_cost: Decimal | None
    unexplained_cost: Decimal | None
    unmapped_cost: Decimal
    unconverted: tuple[tuple[str, Decimal], ...] = ()


@dataclass(slots=True, kw_only=True)
class Reconciliation:
    """All of it. `first` and `last` are the UTC days that were compared; None where the bill speaks of no day."""

    currency: str
    first: date | None
    last: date | None
    rows: list[Row]
    shares: list[DriftShare]
    totals: DriftTotals
    problems: list[BillProblem] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def is_beyond(self) -> bool:
        """Whether any row that is settled or final drifts beyond the tolerance."""
        return any(row.is_beyond and row.state is not State.OPEN for row in self.rows)
