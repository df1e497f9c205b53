"""Every metric and attribute name that we emit, defined once, and the exact totals behind them.

Counters are *observable* over totals of our own (`int`, `Decimal`), converted to what OpenTelemetry carries once per
collection: exact however many increments there are, cheap where frames arrive, no first increment lost to a missing
start, and a forked child can start from zero, where a synchronous counter would report its parent's sums again.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from opentelemetry.metrics import Observation, get_meter_provider

from realtime_spend.core import money
from realtime_spend.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions, Histogram, MeterProvider

SCOPE_NAME: Final = "realtime_spend"

# Names of the GenAI conventions, main branch of open-telemetry/semantic-conventions-genai, 2026-11. No released package
# holds constants for them yet.
INPUT_TOKENS: Final = "gen_ai.client.inference.usage.input_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.client.inference.usage.cache_read.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.client.inference.usage.output_tokens"
REASONING_TOKENS: Final = "gen_ai.client.inference.usage.reasoning.output_tokens"
OPERATION_INPUT_TOKENS: Final = "gen_ai.client.inference.operation.input_tokens"
OPERATION_OUTPUT_TOKENS: Final = "gen_ai.client.inference.operation.output_tokens"
OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"
COST: Final = "realtime_spend.cost"
COST_UNCERTAINTY: Final = "realtime_spend.cost.uncertainty"
CACHE_SAVINGS: Final = "realtime_spend.cache.savings"
BILLABLE_DURATION: Final = "realtime_spend.billable.duration"
USAGES: Final = "realtime_spend.usages"
UNPRICED: Final = "realtime_spend.unpriced"
DUPLICATES: Final = "realtime_spend.duplicates"
ERRORS: Final = "realtime_spend.errors"
SESSION_ACTIVE: Final = "realtime_spend.session.active"
SESSION_DURATION: Final = "realtime_spend.session.duration"
SESSION_TIME: Final = "realtime_spend.session.time"
TIME_TO_FIRST_AUDIO: Final = "realtime_spend.time_to_first_audio"

MODALITY: Final = "gen_ai.token.modality"
OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ACCOUNT: Final = "realtime_spend.account"
MODEL: Final = "realtime_spend.model"
VERSION: Final = "realtime_spend.version"
SCOPE: Final = "realtime_spend.scope"
COMPONENT: Final = "realtime_spend.component"
KIND: Final = "realtime_spend.kind"
STATUS: Final = "realtime_spend.status"
USAGE: Final = "realtime_spend.usage"
REASON: Final = "realtime_spend.reason"

# name: (unit, what it counts)
COUNTERS: Final[dict[str, tuple[str, str]]] = {
    INPUT_TOKENS: ("{token}", "Input tokens, cached ones included"),
    CACHE_READ_TOKENS: ("{token}", "Cached input tokens, a subset of the input tokens"),
    OUTPUT_TOKENS: ("{token}", "Output tokens, reasoning included"),
    REASONING_TOKENS: ("{token}", "Reasoning tokens, a subset of the output tokens"),
    COST: ("USD", "Estimated cost; the ledger is the exact record"),
    COST_UNCERTAINTY: ("USD", "Width of the cost where the service did not split its counts"),
    CACHE_SAVINGS: ("USD", "What the cached tokens would have cost more as plain input"),
    BILLABLE_DURATION: ("s", "Time of models that are billed by time"),
    SESSION_TIME: ("s", "How long the sockets of sessions that ended were open, in all"),
    USAGES: ("{event}", "Usage events, and those that should have come"),
    UNPRICED: ("{event}", "Usage events of which something has no price"),
    DUPLICATES: ("{event}", "Usage events seen before, and not counted again"),
    ERRORS: ("{error}", "Doubtful usage, assumptions made, and errors of our own"),
}
_TOKEN_BUCKETS: Final = [float(4**power) for power in range(14)]
_SECOND_BUCKETS: Final = [0.01 * 2**power for power in range(14)]
_SESSION_BUCKETS: Final = [1.0, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 2700, 3600]
# name: (unit, what it measures, bucket boundaries)
HISTOGRAMS: Final[dict[str, tuple[str, str, list[float]]]] = {
    OPERATION_INPUT_TOKENS: ("{token}", "Input tokens of one operation", _TOKEN_BUCKETS),
    OPERATION_OUTPUT_TOKENS: ("{token}", "Output tokens of one operation", _TOKEN_BUCKETS),
    OPERATION_DURATION: ("s", "From response.created to response.done", _SECOND_BUCKETS),
    TIME_TO_FIRST_CHUNK: ("s", "From response.created to the first delta", _SECOND_BUCKETS),
    SESSION_DURATION: ("s", "How long a socket of a session was open", _SESSION_BUCKETS),
    TIME_TO_FIRST_AUDIO: ("s", "From the end of the user's speech to the first audio", _SECOND_BUCKETS),
}

Attributes = dict[str, str | int]
Extra = tuple[tuple[str, str], ...]
Amount = int | Decimal

_MOST_VALUES = 200
_MOST_WAITING = 10_000
_OTHER = "other"
_add = money.CONTEXT.add


class Series:
    """The totals of one set of common attributes. Change them under the lock of their `Metrics` only."""

    __slots__ = ("active", "attributes", "totals")

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        self.totals: dict[str, dict[Extra, Amount]] = {}
        self.active: int | None = None

    def add(self, metric: str, extra: Extra, amount: Amount) -> None:
        """Add `amount` to one counter; an amount of 0 makes its series appear."""
        totals = self.of(metric)
        before = totals.get(extra)
        if before is None:
            totals[extra] = amount
        elif isinstance(amount, Decimal):
            totals[extra] = _add(Decimal(before), amount)
        else:
            totals[extra] = before + amount

    def of(self, metric: str) -> dict[Extra, Any]:
        """Return the totals of one counter by the attributes of its own."""
        totals = self.totals.get(metric)
        if totals is None:
            totals = self.totals[metric] = {}
        return totals


class Metrics:
    """All instruments on one meter provider, and the totals that they report."""

    def __init__(self, provider: MeterProvider) -> None:
        self.lock = threading.RLock()
        self._provider = weakref.ref(provider)
        self._series: dict[Extra | tuple[tuple[str, str | int], ...], Series] = {}
        self._values: dict[str, set[str]] = {}
        self.before_collection: Callable[[], None] = lambda: None
        self._measured: deque[tuple[str, float, Mapping[str, str | int]]] = deque()
        meter = provider.get_meter(SCOPE_NAME, __version__)
        for name, (unit, description) in COUNTERS.items():
            meter.create_observable_counter(name, [self._observer(name)], unit, description)
        meter.create_observable_up_down_counter(
            SESSION_ACTIVE, [self._observe_active], "{session}", "Sockets of sessions that are open"
        )
        self._histograms: dict[str, Histogram] = {
            name: meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=buckets)
            for name, (unit, description, buckets) in HISTOGRAMS.items()
        }

    def series(self, attributes: Attributes) -> Series:
        """Return the totals of this set of common attributes."""
        key = tuple(sorted(attributes.items()))
        with self.lock:
            return self._series.setdefault(key, Series(attributes))

    def count_error(self, kind: str) -> None:
        """Count something doubtful, assumed or wrong that belongs to no session."""
        series = self.series({})
        with self.lock:
            series.add(ERRORS, ((KIND, kind),), 1)

    def bounded(self, key: str, value: str) -> str:
        """Return `value`, or `other` once `key` has had as many values as a metric should carry."""
        with self.lock:
            values = self._values.setdefault(key, set())
            if value in values or len(values) < _MOST_VALUES:
                values.add(value)
                return value
        return _OTHER

    def record(self, histogram: str, value: float, attributes: Mapping[str, str | int]) -> None:
        """Take one measurement, which reaches its histogram at the next collection.

        Recording is by far the dearest thing to do with a usage, so it is left to the thread that collects, unless that
        thread does not come round. Unlike the counters, histograms of a forked child repeat its parent's. Hence the
        time of sessions, by which money is divided, is a total of our own besides.
        """
        if histogram == SESSION_DURATION:
            nanoseconds = Decimal(round(value * 1e9))
            series = self.series(dict(attributes))
            with self.lock:
                series.add(SESSION_TIME, (), money.CONTEXT.scaleb(nanoseconds, -9))
        self._measured.append((histogram, value, attributes))
        if len(self._measured) > _MOST_WAITING:
            # One out for one in: all of them at once would hold the host up for a third of a second.
            self._record_next()

    def _record_next(self) -> None:
        # Another thread may have taken the last one.
        with suppress(IndexError):
            histogram, value, attributes = self._measured.popleft()
            self._histograms[histogram].record(value, attributes)

    def _record_waiting(self) -> None:
        while self._measured:
            self._record_next()

    def begin_anew(self) -> None:
        """In a forked child: start from zero, since the parent reports what it counted. A held lock stays held."""
        self.lock = threading.RLock()
        self._measured = deque()
        # An exporter of increases remembers, in the child too, what it last saw; from zero it would report less than
        # nothing. So there the totals go on, and only what the child adds is an increase.
        if not self._reports_increases():
            self._series = {}

    def _reports_increases(self) -> bool:
        """Whether all readers of the provider export deltas. The SDK does not say so in public."""
        provider: Any = self._provider()
        if not hasattr(provider, "force_flush"):
            # A proxy from before the program set its provider.
            provider = get_meter_provider()
        configuration = getattr(provider, "_sdk_config", None)
        readers: Any = getattr(provider, "_metric_readers", None) or getattr(configuration, "metric_readers", ())
        found = [
            getattr(temporality, "name", "")
            for reader in readers
            for instrument, temporality in getattr(reader, "_instrument_class_temporality", {}).items()
            if instrument.__name__.lstrip("_") == "ObservableCounter"
        ]
        return bool(found) and set(found) == {"DELTA"}

    def _observer(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            self.before_collection()
            self._record_waiting()
            with self.lock:
                found = [
                    (amount, series.attributes, extra)
                    for series in self._series.values()
                    for extra, amount in series.totals.get(name, {}).items()
                ]
            return [
                Observation(float(amount) if isinstance(amount, Decimal) else amount, {**attributes, **dict(extra)})
                for amount, attributes, extra in found
            ]

        return observe

    def _observe_active(self, _options: CallbackOptions) -> Iterable[Observation]:
        self.before_collection()
        with self.lock:
            return [
                Observation(series.active, series.attributes)
                for series in self._series.values()
                if series.active is not None
            ]


# A second registration of a callback on the same provider would be ignored in silence, and with it all later totals.
_BY_PROVIDER: WeakKeyDictionary[MeterProvider, Metrics] = WeakKeyDictionary()
_OF_GLOBAL: list[Metrics] = []
_REGISTERING = threading.Lock()


def metrics_of(provider: MeterProvider) -> Metrics:
    """Return the metrics of `provider`, made on the first call and the same ever after, totals included.

    Before an application sets its provider the global one is a proxy for it: what is registered on the proxy is
    registered on the other.
    """
    with _REGISTERING:
        found = _BY_PROVIDER.get(provider)
        is_global = provider is get_meter_provider()
        if found is None and is_global and _OF_GLOBAL:
            found = _OF_GLOBAL[0]
        if found is None:
            found = _BY_PROVIDER[provider] = Metrics(provider)
        if is_global and not _OF_GLOBAL:
            _OF_GLOBAL.append(found)
        return found


def _after_fork_in_child() -> None:
    # Another thread may have held it at the fork.
    global _REGISTERING  # noqa: PLW0603
    _REGISTERING = threading.Lock()
    # Whether or not anything is instrumented just now: the totals are reported all the same.
    for metrics in list(_BY_PROVIDER.values()):
        metrics.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


# What the reconciler says, a full snapshot each time: `sinks/drift.py`.
ESTIMATED_COST: Final = "realtime_spend.estimated.cost"
BILLED_COST: Final = "realtime_spend.billed.cost"
BILL_STATE: Final = "realtime_spend.bill.state"
DRIFT_COST: Final = "realtime_spend.drift.cost"
DRIFT_RATIO: Final = "realtime_spend.drift.ratio"
BILL_LAST_SETTLED: Final = "realtime_spend.bill.last_settled"
BILL_LAST_SUCCESS: Final = "realtime_spend.bill.last_success"

DAY: Final = "realtime_spend.day"
CAUSE: Final = "realtime_spend.cause"

# name: (unit, what it says)
GAUGES: Final[dict[str, tuple[str, str]]] = {
    ESTIMATED_COST: ("USD", "What a UTC day is estimated to have cost"),
    BILLED_COST: ("USD", "What a UTC day was billed, as the bill says now"),
    BILL_STATE: ("{state}", "How much of a day's bill may still change: 0 open, 1 settled, 2 final"),
    DRIFT_COST: ("USD", "Billed minus estimated over the settled days, by cause"),
    DRIFT_RATIO: ("1", "Billed minus estimated over the settled days, as a part of the larger of the two"),
    BILL_LAST_SETTLED: ("s", "The end of the newest UTC day whose bill is settled"),
    BILL_LAST_SUCCESS: ("s", "When the bill was read last"),
}
