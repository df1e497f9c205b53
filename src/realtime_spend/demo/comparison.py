"""Three accounts of the same sessions side by side: what was sent, what the ledger holds, what the metrics tell."""

from __future__ import annotations

from collections import defaultdict
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
    from realtime_spend.estimates.promql import Total, Totals

    # Provider, model and version.
    Model = tuple[str, str, str | None]
    # Quantity and cost of all that the metrics speak of.
    Metered = Mapping[tuple[Model, Part], tuple[float, float]]

_RELATIVE = 1e-9
_COMPONENTS = {
    names.INPUT_TOKENS: Component.INPUT,
    names.CACHE_READ_TOKENS: Component.CACHED_INPUT,
    names.OUTPUT_TOKENS: Component.OUTPUT,
    names.BILLABLE_DURATION: Component.DURATION,
}


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
    """Return a line for every component that any account speaks of: what nobody sent must not be counted, either.

    `truth` holds the totals of the simulators, `metered` quantity and cost of each model's part by the metrics.
    """
    sent: dict[tuple[Model, Part], tuple[Decimal, Decimal]] = {}
    for total in truth:
        model = (str(total["provider"]), str(total["model"]), total["version"])
        part = Part(Modality(total["modality"]), Component(total["component"]))
        sent[model, part] = (money.exact(str(total["quantity"])), money.exact(str(total["cost"])))
    counted = _counted(entries)
    # A series appears with 0 as soon as its model is named.
    told = {} if metered is None else {key: amounts for key, amounts in metered.items() if any(amounts)}
    zero = (money.ZERO, money.ZERO)
    return [
        Line(
            provider=model[0],
            model=model[1],
            version=model[2],
            part=part,
            sent=sent.get((model, part), zero),
            ledger=counted.get((model, part), zero),
            metrics=None if metered is None else told.get((model, part), (0.0, 0.0)),
        )
        for model, part in sorted({*sent, *counted, *told}, key=str)
    ]


def _counted(entries: Iterable[Entry]) -> dict[tuple[Model, Part], tuple[Decimal, Decimal]]:
    groups = spending(entries, lambda entry: (entry.provider, str(entry.model), entry.version))
    found: dict[tuple[Model, Part], tuple[Decimal, Decimal]] = {}
    for ((provider, model, version), _), spent in groups.items():
        for text, quantity in spent.quantities.items():
            modality, component = text.split(".")
            part = Part(Modality(modality), Component(component))
            found[(str(provider), str(model), version), part] = (quantity, spent.costs.get(text, money.ZERO))
    return found


def by_otlp(received: Received) -> Metered:
    """Return what has arrived at the small receiver, where input tokens include the cached ones."""
    found: defaultdict[tuple[Model, Part], list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(labels: Mapping[str, str], component: Component, *, quantity: float = 0, cost: float = 0) -> None:
        model = (labels.get(names.PROVIDER_NAME, ""), labels.get(names.MODEL, ""), labels.get(names.VERSION))
        # Time has none, and is that of audio.
        amounts = found[model, Part(Modality(labels.get(names.MODALITY, Modality.AUDIO)), component)]
        amounts[0] += quantity
        amounts[1] += cost

    for (_, metric, pairs), value in list(received.series.items()):
        labels = dict(pairs)
        if metric == names.COST:
            add(labels, Component(labels[names.COMPONENT]), cost=value)
        elif metric in _COMPONENTS:
            add(labels, _COMPONENTS[metric], quantity=value)
            # Those that were not split by modality are within the input of one that is known.
            if metric == names.CACHE_READ_TOKENS and labels.get(names.MODALITY) != Modality.UNKNOWN:
                add(labels, Component.INPUT, quantity=-value)
    return {key: (quantity, cost) for key, (quantity, cost) in found.items()}


def by_promql(totals: Totals) -> Metered:
    """Return what Prometheus holds, by the totals that were read from it: of all accounts and scopes together."""
    found: defaultdict[tuple[Model, Part], list[Total]] = defaultdict(list)
    for key, total in totals.by_key.items():
        model = (str(key.provider), str(key.model), key.version)
        found[model, Part(key.modality, key.component)].append(total)
    return {
        key: (
            float(money.add(*(total.quantity for total in of_key if total.quantity is not None))),
            float(money.add(*(total.cost for total in of_key if total.cost is not None))),
        )
        for key, of_key in found.items()
    }


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= _RELATIVE * abs(wanted)
