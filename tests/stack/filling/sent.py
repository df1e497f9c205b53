"""What the simulated service has told of, part by part and by its own books, and how our counters must say it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from realtime_spend.sinks import metrics as names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Provider, model and version; modality and component.
Whose = tuple[str, str, str | None]
Part = tuple[str, str]
Amounts = defaultdict[tuple[Whose, Part], Decimal]

_COUNTED = {"input": names.INPUT_TOKENS, "cached_input": names.INPUT_TOKENS, "output": names.OUTPUT_TOKENS}


@dataclass(frozen=True, kw_only=True)
class Told:
    """The totals of the service without what it sent to nobody, and what of them it did not split by modality."""

    quantities: Amounts
    costs: Amounts
    unsplit: Amounts

    @property
    def not_split(self) -> set[Whose]:
        """Whose costs are an upper bound."""
        return {whose for whose, _ in self.unsplit}

    def counted(self) -> dict[tuple[str, Whose, str], Decimal]:
        """The value of each counter of tokens and of time, by its name, its model and its modality."""
        found: defaultdict[tuple[str, Whose, str], Decimal] = defaultdict(Decimal)
        for (whose, (modality, component)), quantity in self.quantities.items():
            if component == "duration":
                found[names.BILLABLE_DURATION, whose, ""] += quantity
                continue
            found[_COUNTED[component], whose, modality] += quantity
            if component == "cached_input":
                unsplit = self.unsplit.get((whose, (modality, component)), Decimal(0))
                found[names.CACHE_READ_TOKENS, whose, modality] += quantity - unsplit
                found[names.CACHE_READ_TOKENS, whose, "unknown"] += unsplit
        return found


def told_by(truth: Mapping[str, Any]) -> Told:
    """Takes its totals, less what was lost on the way to whoever listened."""
    told = Told(quantities=defaultdict(Decimal), costs=defaultdict(Decimal), unsplit=defaultdict(Decimal))
    for total in truth["totals"]:
        key = whose(total), (total["modality"], total["component"])
        told.quantities[key] = Decimal(total["quantity"])
        told.costs[key] = Decimal(total["cost"] or 0)
    for usage in truth["usages"]:
        for part, quantity, cost in parts(usage):
            if usage["usage"] != "reported":
                told.quantities[whose(usage), part] -= quantity
                told.costs[whose(usage), part] -= cost
            elif not usage["cached_split"] and part[1] == "cached_input":
                told.unsplit[whose(usage), part] += quantity
    return told


def whose(said: Mapping[str, Any]) -> Whose:
    return said["provider"], said["model"], said["version"]


def parts(usage: Mapping[str, Any]) -> Iterator[tuple[Part, Decimal, Decimal]]:
    for name, quantity in usage["quantities"].items():
        modality, _, component = name.partition(".")
        yield (modality, component), Decimal(quantity), Decimal(usage["costs"][name] or 0)
