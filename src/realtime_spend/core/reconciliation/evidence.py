"""What is known beside the quantities and the costs: gaps in what was counted, the price lists, where it was read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.rates import ModelKind
from realtime_spend.core.reconciliation.listed_prices import ListedPrices
from realtime_spend.core.reconciliation.price_history import PriceHistory
from realtime_spend.core.usage import Kind, Reported

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import date, datetime

    from realtime_spend.core.line_items import Part, Provider
    from realtime_spend.core.rates import RateBook
    from realtime_spend.core.reconciliation.compared import Compared, GroupKey
    from realtime_spend.core.reconciliation.estimated import EstimateSource, Gap

_WITHOUT_NUMBERS = (Reported.MISSING, Reported.LOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What causes are judged by. `at` is the instant that the bill is as of, `currency` that of the bill."""

    source: EstimateSource
    gaps: Mapping[tuple[date, Provider, str | None], Sequence[Gap]]
    book: RateBook
    currency: str
    at: datetime
    # Usage under no account that the bill has, by day, provider and model: it may be what an account of it is billed.
    unplaced: AbstractSet[tuple[date, Provider, str | None]] = frozenset()
    listed: ListedPrices = field(init=False)
    # Gaps whose model nobody knows, by kind: each is evidence once, whichever model takes it first.
    _used: Counter[tuple[date, Provider, str | None, Kind]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        object.__setattr__(self, "listed", ListedPrices(PriceHistory(self.book)))

    def is_transcription(self, group: GroupKey) -> bool:
        """Whether the model of `group` is one that transcribes, by a price list or by a gap that names it."""
        if group.model is None:
            return False
        kinds = {
            listed.kind
            for card in self.book.cards
            for listed in card.names.values()
            if card.provider is group.provider and listed.model == group.model
        }
        if kinds:
            return ModelKind.TRANSCRIPTION in kinds
        return any(
            gap.model == group.model and gap.kind is Kind.TRANSCRIPTION
            for gap in self.gaps.get((group.day, group.provider, group.account), ())
        )

    def transcription_gaps(self, group: GroupKey) -> list[Gap]:
        """Return the transcriptions of the day that came without usage, and may be of this model."""
        return [gap for gap in self._gaps(group) if gap.kind is Kind.TRANSCRIPTION]

    def lost(self, group: GroupKey) -> Lost | None:
        """Return what the responses of the day that have no numbers can come to for this model, None if there are none.

        A model that transcribes has no responses.
        """
        if self.is_transcription(group):
            return None
        gaps = [gap for gap in self._gaps(group) if gap.kind is not Kind.TRANSCRIPTION]
        left = {id(gap): gap.count for gap in gaps}
        for gap in gaps:
            if gap.model is None:
                left[id(gap)] = max(gap.count - self._used[*_place(group), gap.kind], 0)
        gaps = [gap for gap in gaps if left[id(gap)]]
        return Lost(gaps=gaps, counts=[left[id(gap)] for gap in gaps]) if gaps else None

    def use(self, group: GroupKey, lost: Lost, taken: Mapping[Part, Decimal], cells: Sequence[Compared]) -> None:
        """Note how many of the responses without a model this one has accounted for."""
        own = sum(count for gap, count in zip(lost.gaps, lost.counts, strict=True) if gap.model is not None)
        needed = lost.needed(taken, cells) - own
        for gap, count in zip(lost.gaps, lost.counts, strict=True):
            if gap.model is None and needed > 0:
                self._used[*_place(group), gap.kind] += min(needed, count)
                needed -= min(needed, count)

    def _gaps(self, group: GroupKey) -> list[Gap]:
        return [
            gap
            for gap in self.gaps.get(_place(group), ())
            if gap.reported in _WITHOUT_NUMBERS
            and gap.count
            and gap.model in (None, group.model)
            and (gap.scope is None or group.scope in (None, gap.scope))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Responses of a day without numbers, and how many of each gap nothing has accounted for yet."""

    gaps: Sequence[Gap]
    counts: Sequence[int]

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.counts)

    def bound(self, part: Part, cells: Sequence[Compared]) -> Decimal | None:
        """Return the most that they can have used of `part`: each as much as the largest, else as the mean one.

        None where nothing of the day has numbers: then there is nothing to bound them by.
        """
        each = [self._each(gap, part, cells) for gap in self.gaps]
        known = [amount for amount in each if amount is not None]
        if len(known) < len(each):
            return None
        return money.add(
            *(money.multiply(amount, Decimal(count)) for amount, count in zip(known, self.counts, strict=True))
        )

    def needed(self, taken: Mapping[Part, Decimal], cells: Sequence[Compared]) -> int:
        """Return how many of them it takes at least to have used so much."""
        most = 1
        for part, quantity in taken.items():
            bound = self.bound(part, cells)
            if bound:
                share = money.divide(money.multiply(quantity, Decimal(self.count)), bound)
                most = max(most, int(share.to_integral_value(rounding=ROUND_CEILING)))
        return min(most, self.count)

    def words(self) -> str:
        """Say what they are."""
        lost = sum(count for gap, count in zip(self.gaps, self.counts, strict=True) if gap.reported is Reported.LOST)
        missing = self.count - lost
        said = [f"{_responses(lost)} {'was' if lost == 1 else 'were'} created and never done"] if lost else []
        said += [f"{_responses(missing)} came without usage"] if missing else []
        return " and ".join(said)

    def _each(self, gap: Gap, part: Part, cells: Sequence[Compared]) -> Decimal | None:
        if gap.largest:
            return gap.largest.get(part, money.ZERO)
        counted = gap.usages - sum(other.count for other in self.gaps if other.model == gap.model)
        if counted <= 0:
            return None if not any(cell.estimated for cell in cells) else money.ZERO
        used = money.add(*(cell.estimated for cell in cells if cell.row.part == part))
        return money.divide(used, Decimal(counted))


def _responses(count: int) -> str:
    return "1 response" if count == 1 else f"{count} responses"


def _place(group: GroupKey) -> tuple[date, Provider, str | None]:
    return group.day, group.provider, group.account
