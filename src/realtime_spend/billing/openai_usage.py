"""OpenAI's Usage API as a second source: the tokens and seconds of each project, model and day.

Its documentation once said that `input_audio_tokens` includes cached tokens, and says now that it does not; whether the
numbers changed with the words nobody tells. Where the sum of a result settles it, that is believed; else both hold.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from realtime_spend.billing.openai_costs import BASE_URL
from realtime_spend.billing.openai_line_items import read_line_item
from realtime_spend.billing.openai_live import days_query, pages
from realtime_spend.billing.source_text import SourceError
from realtime_spend.billing.witnesses import Witness
from realtime_spend.core.line_items import CACHED_INPUT_OF, INPUT_OF, OUTPUT_OF, Component, Modality, Part, Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from realtime_spend.core.reconciliation.bills import Meter

SOURCE = "OpenAI's Usage API"
_MOST_BUCKETS = 31
_MODALITIES = (Modality.TEXT, Modality.AUDIO, Modality.IMAGE)
_SECONDS = Part(Modality.AUDIO, Component.DURATION)


class _Input(NamedTuple):
    """The input tokens of a result by modality, as written."""

    said: dict[Modality, int]
    cached: dict[Modality, int]

    def includes_cached(self, result: Mapping[str, Any]) -> bool | None:
        """Whether `said` includes what was cached, None where the result's own sums do not tell."""
        said, cached = sum(self.said.values()), sum(self.cached.values())
        whole, uncached = _count(result.get("input_tokens")), _count(result.get("input_uncached_tokens"))
        if not cached:
            return False
        if uncached is not None and said in (uncached, uncached + cached) and (whole in (None, uncached + cached)):
            return said != uncached
        if whole is not None and said in (whole, whole - cached):
            return said == whole
        return None


def fetch_usage(
    first: date,
    last: date,
    *,
    key: str,
    base_url: str = BASE_URL,
    project: str | None = None,
    advance: Callable[[int], None] = lambda _days: None,
) -> list[Witness]:
    """Return what OpenAI counted of our models from `first` to `last`. `advance` is told of days, twice each.

    Raises:
        ValueError: it does not say all of it; the sentence says what to do.
    """
    found: list[Witness] = []
    for what in ("completions", "audio_transcriptions"):
        query = days_query(first, last, group_by="model", limit=_MOST_BUCKETS, project=project)
        for page in pages(f"{base_url.rstrip('/')}/organization/usage/{what}", query, key=key):
            found += read_usage(page)
            advance(len(page["data"]))
    return found


def read_usage(page: Mapping[str, Any]) -> list[Witness]:
    """Return what one page of usage says of our models.

    Raises:
        ValueError: it is no such page.
    """
    try:
        return [
            witness
            for bucket in page["data"]
            for result in bucket["results"]
            for witness in _witnesses(datetime.fromtimestamp(bucket["start_time"], UTC).date(), result)
        ]
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, OSError):
        raise SourceError("it is no page of usage, which has data of buckets with results; ask for it again") from None


def _witnesses(day: date, result: Mapping[str, Any]) -> Iterator[Witness]:
    name = str(result.get("model") or "")
    # A line item says of a model what is asked here: whether it is ours, and which snapshot.
    meter = read_line_item(f"{name} audio, output", "tokens")
    if not meter.is_realtime or meter.model is None:
        return
    for parts, low, high in _quantities(result):
        yield _witness(day, result, meter, parts, (low, high))


def _quantities(result: Mapping[str, Any]) -> Iterator[tuple[Sequence[Part], int, int]]:
    if (seconds := _count(result.get("seconds"))) is not None:
        yield (_SECONDS,), seconds, seconds
        return
    into = _Input(
        {modality: _count(result.get(f"input_{modality}_tokens")) or 0 for modality in _MODALITIES},
        {modality: _count(result.get(f"input_cached_{modality}_tokens")) or 0 for modality in _MODALITIES},
    )
    includes_cached = into.includes_cached(result)
    for modality in _MODALITIES:
        said, cached = into.said[modality], into.cached[modality]
        low = said if includes_cached is False else max(said - cached, 0)
        high = max(said - cached, 0) if includes_cached is True else said
        if said or cached:
            yield (INPUT_OF[modality],), low, high
        if cached:
            yield (CACHED_INPUT_OF[modality],), cached, cached
        if out := _count(result.get(f"output_{modality}_tokens")):
            yield (OUTPUT_OF[modality],), out, out


def _witness(
    day: date, result: Mapping[str, Any], meter: Meter, parts: Sequence[Part], between: tuple[int, int]
) -> Witness:
    project = result.get("project_id")
    return Witness(
        day=day,
        provider=Provider.OPENAI,
        source=SOURCE,
        account=str(project) if project else None,
        model=meter.model,
        version=meter.version,
        deployment=None,
        parts=frozenset(parts),
        low=Decimal(between[0]),
        high=Decimal(between[1]),
    )


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int | Decimal) and not isinstance(value, bool) and value >= 0
    return int(value) if is_count else None
