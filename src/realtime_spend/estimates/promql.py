"""Reads exact totals from any PromQL server: what was used and spent, per UTC day or over a range.

`increase()` extrapolates, and leaves out what a series began with: for short sessions it is wrong by half. A total here
is, for each series, its last value in a window minus its last value before it, minus 0 where it did not exist yet. So
consecutive windows add up to the whole. Two conditions: every process has a `service.instance.id` of its own (else a
counter seems to fall, which is reported as a problem), and no series pauses for longer than `LOOKBACK`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from realtime_spend.core import money
from realtime_spend.core.line_items import Component, Modality
from realtime_spend.estimates.promql_server import PromqlError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from decimal import Decimal

    from realtime_spend.estimates.promql_server import PromqlServer

# How far before a window the last value of a series is looked for.
LOOKBACK = timedelta(days=1)
_DAY = timedelta(days=1)
_SUFFIX_OF_UNIT = {"s": "seconds", "By": "bytes", "1": "ratio", "%": "percent"}


class Names(Protocol):
    """The names of what is emitted, as `realtime_spend.sinks.metrics` has them: that module is one of these."""

    @property
    def COUNTERS(self) -> Mapping[str, tuple[str, str]]: ...  # noqa: N802, D102 - as that module spells it
    @property
    def COST(self) -> str: ...  # noqa: N802, D102
    @property
    def INPUT_TOKENS(self) -> str: ...  # noqa: N802, D102
    @property
    def CACHE_READ_TOKENS(self) -> str: ...  # noqa: N802, D102
    @property
    def OUTPUT_TOKENS(self) -> str: ...  # noqa: N802, D102
    @property
    def BILLABLE_DURATION(self) -> str: ...  # noqa: N802, D102
    @property
    def PROVIDER_NAME(self) -> str: ...  # noqa: N802, D102
    @property
    def ACCOUNT(self) -> str: ...  # noqa: N802, D102
    @property
    def MODEL(self) -> str: ...  # noqa: N802, D102
    @property
    def VERSION(self) -> str: ...  # noqa: N802, D102
    @property
    def SCOPE(self) -> str: ...  # noqa: N802, D102
    @property
    def MODALITY(self) -> str: ...  # noqa: N802, D102
    @property
    def COMPONENT(self) -> str: ...  # noqa: N802, D102
    @property
    def USAGES(self) -> str: ...  # noqa: N802, D102
    @property
    def KIND(self) -> str: ...  # noqa: N802, D102
    @property
    def USAGE(self) -> str: ...  # noqa: N802, D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Whose and what a total is. None where the series do not say."""

    provider: str | None
    account: str | None
    model: str | None
    version: str | None
    scope: str | None
    modality: Modality
    component: Component


@dataclass(slots=True)
class Total:
    """The quantity in tokens or seconds, and the cost in USD; None where no series tells it, which is not 0."""

    quantity: Decimal | None = None
    cost: Decimal | None = None


@dataclass(slots=True, kw_only=True)
class Totals:
    """What was used and spent after `start` and up to `end`, and what is doubtful about it.

    Cached tokens whose modality nobody said are in `unsplit`: they are within the input of the other modalities, so to
    take them from one of these would be a guess.
    """

    start: datetime
    end: datetime
    by_key: dict[Key, Total] = field(default_factory=dict)
    unsplit: dict[Key, Decimal] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def of(self, key: Key) -> Total:
        """Return the total of `key`, which is made where there is none yet."""
        return self.by_key.setdefault(key, Total())

    def add(self, other: Totals) -> None:
        """Add the totals of another window."""
        for key, total in other.by_key.items():
            mine = self.of(key)
            mine.quantity, mine.cost = _sum(mine.quantity, total.quantity), _sum(mine.cost, total.cost)
        for key, tokens in other.unsplit.items():
            self.unsplit[key] = money.add(self.unsplit.get(key, money.ZERO), tokens)
        self.problems += [problem for problem in other.problems if problem not in self.problems]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromqlReader:
    """Reads totals from `server`. `names` is `realtime_spend.sinks.metrics`; `only` are labels that all series have."""

    server: PromqlServer
    names: Names
    only: Mapping[str, str] = field(default_factory=dict)

    def days(self, first: datetime, last: datetime) -> Iterator[Totals]:
        """Yield the totals of each UTC day from that of `first` to that of `last`.

        Raises:
            PromqlError: the server did not answer; the sentence says what to do.
        """
        midnight = first.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        while midnight <= last:
            yield self._window(midnight, midnight + _DAY)
            midnight += _DAY

    def between(self, start: datetime, end: datetime) -> Totals:
        """Return the totals after `start` and up to `end`, asked for by UTC days, of which each answer is small.

        Raises:
            PromqlError: the server did not answer; the sentence says what to do.
        """
        start, end = _in_milliseconds(start), _in_milliseconds(end)
        found = Totals(start=start, end=end)
        while start < end:
            midnight = start.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
            found.add(self._window(start, min(midnight, end)))
            start = midnight
        return found

    def counted(
        self, metric: str, by: Iterable[str], start: datetime, end: datetime
    ) -> dict[tuple[str | None, ...], Decimal]:
        """Return what the counter `metric` was incremented by after `start` and up to `end`, by these attributes.

        Metric and attributes are named as OpenTelemetry names them. The window should not be longer than a day.
        """
        labels = [label_name(attribute) for attribute in by]
        series = self._series(metric)
        samples = self.server.ask(f"sum by ({', '.join(labels)}) ({counted_in(series, end - start)})", end)
        return {tuple(one.labels.get(label) or None for label in labels): one.value for one in samples}

    def _series(self, metric: str) -> str:
        only = ", ".join(f"{label}={_quoted(value)}" for label, value in self.only.items())
        return f"{counter_name(metric, self.names.COUNTERS[metric][0])}{{{only}}}"

    def _window(self, start: datetime, end: datetime) -> Totals:
        names, found = self.names, Totals(start=start, end=end)
        whose = (names.PROVIDER_NAME, names.ACCOUNT, names.MODEL, names.VERSION, names.SCOPE)
        costs = self.counted(names.COST, (*whose, names.MODALITY, names.COMPONENT), start, end)
        for (*who, modality, component), cost in costs.items():
            found.of(_key(who, modality, component)).cost = cost
        for (*who, modality), count in self.counted(names.OUTPUT_TOKENS, (*whose, names.MODALITY), start, end).items():
            found.of(_key(who, modality, Component.OUTPUT)).quantity = count
        for place, seconds in self.counted(names.BILLABLE_DURATION, whose, start, end).items():
            found.of(_key(place, Modality.AUDIO, Component.DURATION)).quantity = seconds
        self._add_input(found, whose)
        found.problems += self._falling(start, end)
        return found

    def _add_input(self, found: Totals, whose: tuple[str, ...]) -> None:
        """Add the input tokens, of which the cached ones are counted twice in metrics and once in totals."""
        by, start, end = (*whose, self.names.MODALITY), found.start, found.end
        inputs = self.counted(self.names.INPUT_TOKENS, by, start, end)
        cached = self.counted(self.names.CACHE_READ_TOKENS, by, start, end)
        for place, count in inputs.items():
            *who, modality = place
            within = min(cached.get(place, money.ZERO), count)
            found.of(_key(who, modality, Component.INPUT)).quantity = money.subtract(count, within)
        for place, count in cached.items():
            *who, modality = place
            within = min(inputs.get(place, money.ZERO), count)
            key = _key(who, modality, Component.CACHED_INPUT)
            if within or modality != Modality.UNKNOWN:
                found.of(key).quantity = within
            if count > within:
                found.unsplit[key] = money.subtract(count, within)

    def _falling(self, start: datetime, end: datetime) -> list[str]:
        """Return a sentence where counters fell: then processes share an identity, and no sum of theirs is right."""
        window = _duration(end - start)
        series = self._series(self.names.COST)
        # From the last value before the window on: a fall onto its first one is in no range of the window alone.
        known = f"resets({series}[{_duration(end - start + LOOKBACK)}])"
        query = f"count({known} - (resets({series}[{_duration(LOOKBACK)}] offset {window}) or {known} * 0) > 0)"
        fallen = money.add(*(sample.value for sample in self.server.ask(query, end)))
        if not fallen:
            return []
        when = f"between {start:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M} UTC"
        why = "processes share a service.instance.id, or one was started again with the id of another"
        return [f"{money.plain(fallen)} series of {self.names.COST} fell {when}, so that sums are not right: {why}"]


def counted_in(series: str, window: timedelta) -> str:
    """Return the PromQL of what each of the counters `series` was incremented by in the window that ends when asked."""
    inside = f"last_over_time({series}[{_duration(window)}])"
    before = f"last_over_time({series}[{_duration(LOOKBACK)}] offset {_duration(window)})"
    return f"{inside} - ({before} or {inside} * 0)"


def counter_name(metric: str, unit: str) -> str:
    """Return how the OTLP receiver of Prometheus names a counter: `realtime_spend.cost` in USD has `_USD_total`."""
    said = "" if unit.startswith("{") else _SUFFIX_OF_UNIT.get(unit, unit)
    return "_".join(filter(None, (label_name(metric), said, "total")))


def label_name(attribute: str) -> str:
    """Return how Prometheus names an attribute."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", attribute)


def _duration(span: timedelta) -> str:
    return f"{round(span.total_seconds() * 1000)}ms"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _in_milliseconds(instant: datetime) -> datetime:
    """Return what the server understands, so that what ends at an instant and what starts there meet exactly."""
    instant = instant.astimezone(UTC)
    return instant - timedelta(microseconds=instant.microsecond % 1000)


def _key(who: Iterable[str | None], modality: str | None, component: str | None) -> Key:
    provider, account, model, version, scope = who
    try:
        part = Modality(modality or Modality.UNKNOWN), Component(component or "")
    except ValueError:
        raise PromqlError(
            f"series of {modality}.{component} are none that this version knows; install a newer one"
        ) from (None)
    return Key(
        provider=provider,
        account=account,
        model=model,
        version=version,
        scope=scope,
        modality=part[0],
        component=part[1],
    )


def _sum(left: Decimal | None, right: Decimal | None) -> Decimal | None:
    return right if left is None else left if right is None else money.add(left, right)
