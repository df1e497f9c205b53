"""The shared nouns: what was used, of which sku, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from realtime_spend.core import money

if TYPE_CHECKING:
    from decimal import Decimal


class Modality(StrEnum):
    """What a token or a second carries. `unknown` where the service did not say."""

    TEXT = "text"
    AUDIO = "audio"
    IMAGE = "image"
    UNKNOWN = "unknown"


class Component(StrEnum):
    """Which part of a price list a quantity falls under. Input excludes cached input; output includes reasoning."""

    INPUT = "input"
    CACHED_INPUT = "cached_input"
    OUTPUT = "output"
    DURATION = "duration"


class Unit(StrEnum):
    """What a quantity counts."""

    TOKENS = "tokens"
    SECONDS = "seconds"


class Scope(StrEnum):
    """Where a deployment may run its work, which sets the price list: the first four on Azure, OpenAI has two."""

    GLOBAL = "global"
    DATAZONE = "datazone"
    REGIONAL = "regional"
    PROVISIONED = "provisioned"
    RESIDENCY = "residency"


class Provider(StrEnum):
    """Who sends the bill, in the words of the OpenTelemetry GenAI conventions."""

    OPENAI = "openai"
    AZURE = "azure.ai.openai"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sku:
    """What a price list prices: a model (with its version where anybody said it) on a scope.

    `model` is the family as a price page prints it, `version` the snapshot date or None. `region` matters on
    `regional` alone. `scope` None means that nobody configured it.
    """

    provider: Provider
    model: str
    version: str | None = None
    scope: Scope | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One cell of a price list: a modality and a component. Written `audio.cached_input` in the ledger."""

    modality: Modality
    component: Component

    def __str__(self) -> str:
        return f"{self.modality}.{self.component}"

    @property
    def unit(self) -> Unit:
        """What this part is counted in."""
        return Unit.SECONDS if self.component is Component.DURATION else Unit.TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`unit_price` for each `per` units, as printed: 0.4 per 1,000,000 tokens, 0.017 per 60 seconds."""

    unit_price: Decimal
    per: int

    def cost(self, quantity: Decimal) -> Decimal:
        """Return what `quantity` units cost, quantised once."""
        return money.cost(quantity, self.unit_price, self.per)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineItem:
    """A quantity and its rate. `rate` None where no card prices it: then it has no cost, which is not a cost of 0."""

    part: Part
    quantity: Decimal
    rate: Rate | None

    @property
    def cost(self) -> Decimal | None:
        """What this line costs, to 12 places; None where it is unpriced."""
        return None if self.rate is None else self.rate.cost(self.quantity)
