"""The shared nouns: what was used, of which sku, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from realtime_spend.core import money

if TYPE_CHECKING:
    from decimal import Decimal

_multiply, _quantize, _PLACES = money.CONTEXT.multiply, money.CONTEXT.quantize, money.PLACES


class Word(StrEnum):
    """One of a closed set of words, in the provider's or the convention's own spelling.

    It is hashed as the text it is: the hash of an ordinary enum is a Python function, and prices are looked up by these
    while a phone call waits.
    """

    __hash__ = str.__hash__


class Modality(Word):
    """What a token or a second carries. `unknown` where the service did not say."""

    TEXT = "text"
    AUDIO = "audio"
    IMAGE = "image"
    UNKNOWN = "unknown"


class Component(Word):
    """Which part of a price list a quantity falls under. Input excludes cached input; output includes reasoning."""

    INPUT = "input"
    CACHED_INPUT = "cached_input"
    OUTPUT = "output"
    DURATION = "duration"


class Unit(Word):
    """What a quantity counts."""

    TOKENS = "tokens"
    SECONDS = "seconds"


class Scope(Word):
    """Where a deployment may run its work, which sets the price list: the first four on Azure, OpenAI has two."""

    GLOBAL = "global"
    DATAZONE = "datazone"
    REGIONAL = "regional"
    PROVISIONED = "provisioned"
    RESIDENCY = "residency"


class Provider(Word):
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


class Part(str):
    """One cell of a price list, a modality and a component: `audio.cached_input`, as the ledger writes it.

    It is the text itself, and there is one object of each, so that looking up prices costs next to nothing.
    """

    __slots__ = ("component", "key", "modality", "unit")
    modality: Modality
    component: Component
    unit: Unit
    # As the key of a JSON object.
    key: str

    def __new__(cls, modality: Modality, component: Component) -> Part:  # noqa: PYI034 - there are no other kinds of parts
        """Return the one part of this modality and component."""
        known = _PARTS.get((modality, component))
        if known is None:
            known = super().__new__(cls, f"{modality}.{component}")
            known.modality, known.component = modality, component
            known.key = f'"{known}":'
            known.unit = Unit.SECONDS if component is Component.DURATION else Unit.TOKENS
            _PARTS[modality, component] = known
        return known


_PARTS: dict[tuple[Modality, Component], Part] = {}
INPUT_OF = {modality: Part(modality, Component.INPUT) for modality in Modality}
CACHED_INPUT_OF = {modality: Part(modality, Component.CACHED_INPUT) for modality in Modality}
OUTPUT_OF = {modality: Part(modality, Component.OUTPUT) for modality in Modality}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`unit_price` for each `per` units, as printed: 0.4 per 1,000,000 tokens, 0.017 per 60 seconds."""

    unit_price: Decimal
    per: int
    # The price of a single unit where it is finite, as that of a token is: dividing first then changes no digit.
    each: Decimal | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "each", money.share(self.unit_price, self.per))

    def cost(self, quantity: Decimal) -> Decimal:
        """Return what `quantity` units cost, quantised once."""
        each = self.each
        if each is None:
            return money.cost(quantity, self.unit_price, self.per)
        return _quantize(_multiply(quantity, each), _PLACES)


class LineItem(NamedTuple):
    """A quantity and its rate. `rate` None where no card prices it: then `cost` is None, which is not a cost of 0."""

    part: Part
    quantity: Decimal
    rate: Rate | None
    cost: Decimal | None

    @classmethod
    def of(cls, part: Part, quantity: Decimal, rate: Rate | None) -> LineItem:
        """Return the line item with its cost."""
        return cls(part, quantity, rate, None if rate is None else rate.cost(quantity))
