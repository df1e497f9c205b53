"""Three accounts of the same sessions side by side: what was sent, what the ledger holds, what the metrics tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from realtime_spend.core import money
from realtime_spend.core.line_items import Component, Modality, Part
from realtime_spend.core.spending import spending
from realtime_spend.sinks import metrics as names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from decimal import Decimal

    from realtime_spend.demo.receiver import Received
    from realtime_spend.estimates.ledger import Entry
    from realtime_spend.estimates.promql import Totals

    # Quantity and cost of one part of a model, as the metrics have them.
    Metered = Callable[[tuple[str, str, str | None], Part], tuple[float, float]]

_RELATIVE = 1e-9
_Model = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One component of one model in the three accounts. None where an account was not taken."""

    provider: str
    model: str
    version: str | None
    part: Part
    sent: tuple[Decimal, Decimal]
    ledger: tuple[Decimal, Decimal]
    metrics: tuple[float, float] | None

    @property
    def agrees(self) -> bool:
        """Whether tokens and ledger are exactly what was sent, and the metric is within a double's reach of it."""
        if self.sent != self.ledger:
            return False
        if self.metrics is None:
            return True
        quantity, cost = (float(value) for value in self.sent)
        return _near(self.metrics[0], quantity) and _near(self.metrics[1], cost)


def compare(
    truth: Iterable[Mapping[str, Any]],
    entries: Iterable[Entry],
    metered: Metered | None,
) -> list[Line]:
    """Return a line for every component that truth or ledger speaks of.

    `truth` holds the totals of the simulators, `metered` gives quantity and cost of a model's part by the metrics.
    """
    sent: dict[tuple[_Model, Part], tuple[Decimal, Decimal]] = {}
    for total in truth:
        model = (str(total["provider"]), str(total["model"]), total["version"])
        part = Part(Modality(total["modality"]), Component(total["component"]))
        sent[model, part] = (money.exact(str(total["quantity"])), money.exact(str(total["cost"])))
    counted = _counted(entries)
    zero = (money.ZERO, money.ZERO)
    return [
        Line(
            provider=model[0],
            model=model[1],
            version=model[2],
            part=part,
            sent=sent.get((model, part), zero),
            ledger=counted.get((model, part), zero),
            metrics=None if metered is None else metered(model, part),
        )
        for model, part in sorted({*sent, *counted}, key=str)
    ]


def _counted(entries: Iterable[Entry]) -> dict[tuple[_Model, Part], tuple[Decimal, Decimal]]:
    groups = spending(entries, lambda entry: (entry.provider, str(entry.model), entry.version))
    found: dict[tuple[_Model, Part], tuple[Decimal, Decimal]] = {}
    for ((provider, model, version), _), spent in groups.items():
        for text, quantity in spent.quantities.items():
            modality, component = text.split(".")
            part = Part(Modality(modality), Component(component))
            found[(str(provider), str(model), version), part] = (quantity, spent.costs.get(text, money.ZERO))
    return found


def by_otlp(received: Received) -> Metered:
    """Return what has arrived at the small receiver, where input tokens include the cached ones."""

    def metered(model: _Model, part: Part) -> tuple[float, float]:
        labels = {names.PROVIDER_NAME: model[0], names.MODEL: model[1], names.VERSION: model[2]}
        modality = {**labels, names.MODALITY: str(part.modality)}
        cost = received.total(names.COST, {**modality, names.COMPONENT: str(part.component)})
        if part.component is Component.DURATION:
            return received.total(names.BILLABLE_DURATION, labels), cost
        if part.component is Component.OUTPUT:
            return received.total(names.OUTPUT_TOKENS, modality), cost
        cached = received.total(names.CACHE_READ_TOKENS, modality)
        if part.component is Component.CACHED_INPUT:
            return cached, cost
        return received.total(names.INPUT_TOKENS, modality) - cached, cost

    return metered


def by_promql(totals: Totals) -> Metered:
    """Return what Prometheus holds, by the totals that were read from it."""

    def metered(model: _Model, part: Part) -> tuple[float, float]:
        wanted = (*model, part)
        found = [
            total
            for key, total in totals.by_key.items()
            if (key.provider, key.model, key.version, Part(key.modality, key.component)) == wanted
        ]
        quantities, costs = (
            [amount for total in found if (amount := getattr(total, side)) is not None] for side in ("quantity", "cost")
        )
        return float(money.add(*quantities)), float(money.add(*costs))

    return metered


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= _RELATIVE * abs(wanted)
