"""What can be wrong between a ledger and a bill, and what came of it, in a form that can be compared."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from realtime_spend.core.reconciliation.drift import Cause
from realtime_spend.simulator.bill.azure import Counting
from realtime_spend.simulator.bill.writing import BillForm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.reconciling.conversations import Truth

    from realtime_spend.core.reconciliation.drift import Reconciliation
    from realtime_spend.simulator.bill.draft import Draft
    from realtime_spend.simulator.bill.faults import Fault

SETTLED = datetime(2026, 11, 20, tzinfo=UTC)
# Of the money of a second there is no end, and usages are rounded to 12 places: some hundreds of them come to this.
NOTHING = Decimal("1e-9")
Money = dict[tuple[Cause, date, "str | None"], Decimal]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Something that is wrong. `told` changes who was told of what, `faults` the bill."""

    cause: Cause | None
    told: Callable[[Truth], Truth] = lambda usages: usages
    faults: tuple[Fault, ...] = ()
    at: datetime = SETTLED
    open_days: tuple[date, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was put into the bill, and what was found."""

    draft: Draft
    found: Reconciliation

    def money(self) -> Money:
        """What was found, by cause, day and model."""
        sums: Money = defaultdict(Decimal)
        for share in self.found.shares:
            sums[share.cause, share.row.day, share.row.model] += share.cost
        return _without_nothing(sums)

    def injected(self, causes: Mapping[str, Cause], *, open_days: tuple[date, ...] = ()) -> Money:
        """What was put into the bill, likewise; of a day that is open, nothing but that can be said."""
        sums: Money = defaultdict(Decimal)
        for one in self.draft.injected:
            cause = Cause.NOT_SETTLED if one.day in open_days else causes[one.fault]
            sums[cause, one.day, one.model] += self.draft.billed(one.cost)
        return _without_nothing(sums)


def _without_nothing(sums: Money) -> Money:
    return {key: cost for key, cost in sums.items() if abs(cost) > NOTHING}


def assert_same_money(found: Money, expected: Money) -> None:
    """Compare to far below the cent; amounts of a day are some dollars."""
    assert found.keys() == expected.keys(), f"{_readable(found)}\nin place of\n{_readable(expected)}"
    off = {key: (found[key], expected[key]) for key in found if abs(found[key] - expected[key]) > NOTHING}
    assert not off


def _readable(sums: Money) -> str:
    return "\n".join(
        f"{cause} {day} {model}: {cost:.9f}" for (cause, day, model), cost in sorted(sums.items(), key=str)
    )


class Play(Protocol):
    """Records, bills and reconciles."""

    def __call__(
        self,
        *scenarios: Scenario,
        form: BillForm = BillForm.MCA,
        usages: Truth | None = None,
        counting: Counting = Counting.TOKENS,
        fx: Mapping[str, Decimal] | None = None,
    ) -> Outcome: ...
