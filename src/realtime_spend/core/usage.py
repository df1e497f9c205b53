"""The nouns of usage: what one event reported, in disjoint quantities, and what is doubtful about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from realtime_spend.core.line_items import CACHED_INPUT_OF, INPUT_OF, OUTPUT_OF, Component, Modality, Part, Word

if TYPE_CHECKING:
    from collections.abc import Mapping

# More tokens than any event can hold; a larger number would also not survive the sums that metrics make of it.
MOST_TOKENS = 10**15
# All that is cached has its modality.
SPLIT = (0, 0)
_AUDIO_DURATION = Part(Modality.AUDIO, Component.DURATION)
_REAL = (Modality.TEXT, Modality.AUDIO, Modality.IMAGE)
# The tokens of a usage that says everything, as plain numbers: disjoint quantities of these parts, and the reasoning.
COUNTED = tuple(of[modality] for modality in _REAL for of in (INPUT_OF, CACHED_INPUT_OF, OUTPUT_OF))
Counts = tuple[int, ...]


class Kind(Word):
    """What was metered, as the ledger says it."""

    RESPONSE = "response"
    TRANSCRIPTION = "transcription"
    TRANSLATION = "translation"
    LIVE = "live"


class Reported(Word):
    """How a usage is known: from the service, by our own estimate, not at all, or not even its end was seen."""

    REPORTED = "reported"
    ESTIMATED = "estimated"
    MISSING = "missing"
    LOST = "lost"


# Of several accounts of one usage the better one counts.
RANK = {Reported.LOST: 0, Reported.MISSING: 1, Reported.ESTIMATED: 2, Reported.REPORTED: 3}


class ProblemKind(Word):
    """What can be wrong with a usage that is counted all the same."""

    UNREADABLE = "usage_unreadable"
    TOTAL_MISMATCH = "total_mismatch"
    CACHED_EXCEEDS_INPUT = "cached_exceeds_input"
    CACHED_NOT_SPLIT = "cached_not_split"
    MODALITY_NOT_SAID = "modality_not_said"
    REASONING_EXCEEDS_TEXT = "reasoning_exceeds_text"
    DIRECTION_NOT_SAID = "direction_not_said"
    ZERO_DURATION = "zero_duration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something a reader of the figures should know. `message` is one sentence with the numbers in it."""

    kind: ProblemKind
    message: str


# These are made while a phone call waits, and freezing them would double the time that takes.
@dataclass(slots=True, kw_only=True)
class Tokens:
    """Token counts of one usage. `input` includes what is cached; `cached` holds what is cached by known modality.

    `unsplit` is the least and the most number of further cached tokens whose modality nobody said: (0, 0) as a rule.
    """

    input: Mapping[Modality, int]
    cached: Mapping[Modality, int]
    unsplit: tuple[int, int]
    output: Mapping[Modality, int]
    reasoning: int = 0

    @property
    def is_split(self) -> bool:
        """Whether each token has its modality and is known to be cached or not."""
        return self.unsplit == SPLIT and Modality.UNKNOWN not in self.input and Modality.UNKNOWN not in self.output

    def spare(self) -> dict[Modality, int]:
        """Return, by modality, the input tokens that are not known to be cached."""
        return {modality: count - self.cached.get(modality, 0) for modality, count in self.input.items()}

    def quantities(self) -> dict[Part, int]:
        """Return disjoint quantities that add up to the totals; what is not split stands under `unknown`."""
        spare = self.spare()
        least, most = self.unsplit
        if most:
            spare = {Modality.UNKNOWN: sum(spare.values()) - least}
        cached = dict(self.cached)
        cached[Modality.UNKNOWN] = cached.get(Modality.UNKNOWN, 0) + least
        found = {Part(modality, Component.INPUT): count for modality, count in spare.items()}
        found |= {Part(modality, Component.CACHED_INPUT): count for modality, count in cached.items()}
        found |= {Part(modality, Component.OUTPUT): count for modality, count in self.output.items()}
        return {part: count for part, count in found.items() if count}


class Amounts:
    """What a usage object says: tokens, or seconds, or neither (then the usage is missing), and its problems.

    Where everything was said, `counts` has the tokens in the order of `COUNTED` with the reasoning after them: nearly
    all usage passes in this form, while a phone call waits, and `tokens` is only made where somebody asks for it.
    """

    __slots__ = ("_tokens", "counts", "problems", "seconds")

    def __init__(
        self,
        counts: Counts | None = None,
        *,
        tokens: Tokens | None = None,
        seconds: Decimal | None = None,
        problems: tuple[Problem, ...] = (),
    ) -> None:
        self._tokens, self.seconds, self.problems, self.counts = tokens, seconds, problems, counts

    @property
    def tokens(self) -> Tokens | None:
        """The tokens by modality, None if the usage tells none."""
        if self._tokens is None and self.counts is not None:
            self._tokens = _by_modality(self.counts)
        return self._tokens

    def __eq__(self, other: object) -> bool:
        """Whether both say the same, in whatever form."""
        if not isinstance(other, Amounts):
            return NotImplemented
        return (self.tokens, self.seconds, self.problems) == (other.tokens, other.seconds, other.problems)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Return what it says."""
        return f"Amounts(tokens={self.tokens!r}, seconds={self.seconds!r}, problems={self.problems!r})"

    @property
    def is_missing(self) -> bool:
        """Whether there is nothing to price. That is not the same as nothing used."""
        return self.counts is None and self._tokens is None and self.seconds is None

    @property
    def totals(self) -> tuple[int, int] | None:
        """All input and all output tokens, None if the usage tells no tokens."""
        if (counts := self.counts) is not None:
            made = counts[2] + counts[5] + counts[8]
            return sum(counts[:9]) - made, made
        if (tokens := self._tokens) is not None:
            return sum(tokens.input.values()), sum(tokens.output.values())
        return None

    def quantities(self) -> dict[Part, Decimal]:
        """Return the disjoint quantities, seconds or tokens, without zeros."""
        if self.seconds is not None:
            return {_AUDIO_DURATION: self.seconds} if self.seconds else {}
        return {part: Decimal(count) for part, count in self.tokens.quantities().items()} if self.tokens else {}


def _by_modality(counts: Counts) -> Tokens:
    sent: dict[Modality, int] = {}
    cached: dict[Modality, int] = {}
    produced: dict[Modality, int] = {}
    for index, modality in enumerate(_REAL):
        full, of_cache, made = counts[3 * index : 3 * index + 3]
        if full or of_cache:
            sent[modality] = full + of_cache
        if of_cache:
            cached[modality] = of_cache
        if made:
            produced[modality] = made
    return Tokens(input=sent, cached=cached, unsplit=SPLIT, output=produced, reasoning=counts[-1])


# Made by position where it matters: naming the fields would take twice as long.
@dataclass(slots=True)
class Usage:
    """One metered event. `id` is `response.id` or `item_1#0`; `raw` is the JSON of the usage object's numbers."""

    kind: Kind
    id: str | None
    status: str | None
    reported: Reported
    amounts: Amounts = field(default_factory=Amounts)
    raw: str | None = None
    # A running total that has grown: it is no further usage.
    goes_on: bool = False
