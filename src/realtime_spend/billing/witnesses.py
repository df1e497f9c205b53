"""Second sources of quantities: what a provider counted itself on a day, held beside what was counted here.

A witness is no bill: it has no prices, it may count in another way, and it only helps to tell on which side a
difference arose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime_spend.core import money

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date
    from decimal import Decimal

    from realtime_spend.core.line_items import Part, Provider
    from realtime_spend.core.reconciliation.estimated import Estimates


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What `source` counted of `parts` together on a UTC day. `low` and `high` differ where it can be read in two ways.

    None fields are what the source does not tell: metrics of Azure know a deployment and no account's model.
    """

    day: date
    provider: Provider
    source: str
    account: str | None
    model: str | None
    version: str | None
    deployment: str | None
    parts: frozenset[Part]
    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One day of the same parts, by a witness and by us. `deployments` are those that the witness adds up."""

    day: date
    provider: Provider
    source: str
    account: str | None
    model: str | None
    parts: tuple[Part, ...]
    low: Decimal
    high: Decimal
    counted: Decimal
    deployments: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether what was counted here is what the witness says, by any of its readings."""
        return self.low <= self.counted <= self.high

    def sentence(self) -> str:
        """Return the comparison in words, with the numbers in it."""
        said = (
            money.plain(self.low) if self.low == self.high else f"{money.plain(self.low)} to {money.plain(self.high)}"
        )
        of = " ".join(filter(None, (self.account, self.model))) or "all accounts"
        where = f" in {', '.join(self.deployments)}" if self.deployments else ""
        verdict = "the same" if self.agrees else f"{money.plain(self.counted)}"
        return f"{self.day}, {of}: {self.source} counts {said} of {' and '.join(self.parts)}{where}, we {verdict}"


def beside(witnesses: Iterable[Witness], estimates: Estimates) -> list[Beside]:
    """Return each day of each witness with what was counted here of the same: deployments are added up."""
    groups: dict[tuple[date, Provider, str, str | None, str | None, tuple[Part, ...]], list[Witness]] = {}
    for witness in witnesses:
        parts = tuple(sorted(witness.parts))
        key = (witness.day, witness.provider, witness.source, witness.account, witness.model, parts)
        groups.setdefault(key, []).append(witness)
    return [
        Beside(
            day=day,
            provider=provider,
            source=source,
            account=account,
            model=model,
            parts=parts,
            low=money.add(*(witness.low for witness in found)),
            high=money.add(*(witness.high for witness in found)),
            counted=_counted(found[0], estimates),
            deployments=tuple(sorted({witness.deployment for witness in found if witness.deployment is not None})),
        )
        for (day, provider, source, account, model, parts), found in sorted(groups.items(), key=str)
    ]


def _counted(witness: Witness, estimates: Estimates) -> Decimal:
    """Add up what was counted of the day, provider, account and model. An account or model that is not said is any."""
    return money.add(
        *(
            item.quantity
            for item in estimates.items
            if item.day == witness.day
            and item.provider is witness.provider
            and item.part in witness.parts
            and (witness.account is None or item.account in (None, witness.account))
            and (witness.model is None or item.model == witness.model)
        )
    )
