"""Three accounts of the same sessions side by side: what was sent, what the ledger holds, what arrived over OTLP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from realtime_spend.core import money
from realtime_spend.core.line_items import Component, Modality, Part
from realtime_spend.core.spending import spending
from realtime_spend.sinks import metrics as names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

    from realtime_spend.demo.receiver import Received
    from realtime_spend.estimates.ledger import Entry

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
    otlp: tuple[float, float] | None

    @property
    def agrees(self) -> bool:
        """Whether tokens and ledger are exactly what was sent, and the metric is within a double's reach of it."""
        if self.sent != self.ledger:
            return False
        if self.otlp is None:
            return True
        quantity, cost = (float(value) for value in self.sent)
        return _near(self.otlp[0], quantity) and _near(self.otlp[1], cost)


def compare(truth: Iterable[Mapping[str, Any]], entries: Iterable[Entry], received: Received | None) -> list[Line]:
    """Return a line for every component that any account speaks of. `truth` holds the totals of the simulators."""
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
            otlp=None if received is None else _arrived(received, model, part),
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


def _arrived(received: Received, model: _Model, part: Part) -> tuple[float, float]:
    """Return quantity and cost as the metrics have them; input tokens include the cached ones there."""
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


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= _RELATIVE * abs(wanted)
