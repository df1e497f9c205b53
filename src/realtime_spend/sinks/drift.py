"""Estimate beside bill as gauges: by UTC day, and as drift over the days whose bill is settled.

Each snapshot replaces the one before it, so that a restated day overwrites what was said of it. What is no longer said
is no longer exported, and Prometheus forgets such a series five minutes after its last sample.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from realtime_spend.core import money
from realtime_spend.core.reconciliation.drift import Cause, State
from realtime_spend.core.reconciliation.settling import state_of
from realtime_spend.sinks import metrics as names
from realtime_spend.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opentelemetry.metrics import CallbackOptions, MeterProvider

    from realtime_spend.core.line_items import Part, Provider, Scope
    from realtime_spend.core.reconciliation.drift import DriftShare, Reconciliation, Row

_USD = "USD"
_STATES = {State.OPEN: Decimal(0), State.SETTLED: Decimal(1), State.FINAL: Decimal(2)}
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """What the gauges are keyed by. `day` None: all its settled days together."""

    provider: Provider
    account: str | None
    model: str | None
    version: str | None
    part: Part | None
    scope: Scope | None
    day: date | None = None

    @classmethod
    def of(cls, row: Row) -> _Place:
        return cls(
            provider=row.provider,
            account=row.account,
            model=row.model,
            version=row.version,
            part=row.part,
            scope=row.scope,
            day=row.day,
        )

    @property
    def labels(self) -> Labels:
        """The attributes; what is not known has none."""
        found = {
            names.PROVIDER_NAME: self.provider,
            names.ACCOUNT: self.account,
            names.MODEL: self.model,
            names.VERSION: self.version,
            names.MODALITY: self.part and self.part.modality,
            names.COMPONENT: self.part and self.part.component,
            names.SCOPE: self.scope,
            names.DAY: self.day and self.day.isoformat(),
        }
        return tuple((name, str(value)) for name, value in found.items() if value is not None)


@dataclass(slots=True, kw_only=True)
class Snapshot:
    """The value of every series, by metric and attributes, as of an instant.

    `without_rate` counts the rows whose money is not in it.
    """

    at: datetime
    values: dict[str, dict[Labels, Decimal]] = field(default_factory=dict)
    without_rate: int = 0

    def add(self, metric: str, labels: Labels, amount: Decimal) -> None:
        """Add to a series; an amount of 0 makes it appear."""
        of_metric = self.values.setdefault(metric, {})
        of_metric[labels] = money.add(of_metric.get(labels, money.ZERO), amount)

    def at_most(self, metric: str, labels: Labels, value: Decimal) -> None:
        """Lower a series to `value`, or make it appear with that."""
        of_metric = self.values.setdefault(metric, {})
        of_metric[labels] = min(of_metric.get(labels, value), value)


def snapshot_of(
    reconciliation: Reconciliation, *, at: datetime, days: int, fx: Mapping[str, Decimal] | None = None
) -> Snapshot:
    """Return what the gauges are to say of the `days` UTC days that end with that of `at`, in USD.

    `fx` is what a unit of a currency is in USD, for rows that do not tell it themselves. Where nobody does, no money of
    a row is said, since the gauges are in USD: only how settled its day is.
    """
    snapshot = Snapshot(at=at)
    first = at.astimezone(UTC).date() - timedelta(days=days - 1)
    in_usd = _InUsd(reconciliation.currency, fx or {})
    rows = [row for row in reconciliation.rows if row.day >= first]
    for row in rows:
        _say_day(snapshot, row, in_usd)
    settled = [row for row in rows if row.state is not State.OPEN]
    shares = [share for share in reconciliation.shares if share.row.day >= first and share.row.state is not State.OPEN]
    _say_drift(snapshot, settled, shares, in_usd)
    for provider in {row.provider for row in rows}:
        labels = ((names.PROVIDER_NAME, str(provider)),)
        snapshot.add(names.BILL_LAST_SUCCESS, labels, _seconds(at))
        if (day := _last_settled(provider, reconciliation, rows, at)) is not None:
            end = datetime.combine(day + timedelta(days=1), time(), UTC)
            snapshot.add(names.BILL_LAST_SETTLED, labels, _seconds(end))
    return snapshot


class _InUsd:
    """Converts amounts in the currency of a reconciliation, at the rate of the row, else at one that was given."""

    def __init__(self, currency: str, fx: Mapping[str, Decimal]) -> None:
        self._fixed = Decimal(1) if currency == _USD else None
        self._given = fx.get(currency)

    def rate(self, row: Row) -> Decimal | None:
        return self._fixed or row.to_usd or self._given


def _say_day(snapshot: Snapshot, row: Row, in_usd: _InUsd) -> None:
    labels = _Place.of(row).labels
    # Meters that cannot be read share a series.
    snapshot.at_most(names.BILL_STATE, labels, _STATES[row.state])
    rate = in_usd.rate(row)
    if rate is None or row.unconverted:
        snapshot.without_rate += 1
        return
    snapshot.add(names.BILLED_COST, labels, money.multiply(row.billed_cost, rate))
    if row.estimated_cost is not None:
        snapshot.add(names.ESTIMATED_COST, labels, money.multiply(row.estimated_cost, rate))


def _say_drift(snapshot: Snapshot, rows: Iterable[Row], shares: Iterable[DriftShare], in_usd: _InUsd) -> None:
    places: defaultdict[_Place, _Sides] = defaultdict(_Sides)
    for row in rows:
        rate = in_usd.rate(row)
        if rate is not None and row.drift_cost is not None:
            place = replace(_Place.of(row), day=None)
            places[place].add(row, row.drift_cost, rate)
            # There is a series where all is well, too.
            snapshot.add(names.DRIFT_COST, _with_cause(place, Cause.UNEXPLAINED), money.ZERO)
    for place, sides in places.items():
        snapshot.add(names.DRIFT_RATIO, place.labels, sides.ratio)
    for share in shares:
        rate = in_usd.rate(share.row)
        if rate is not None:
            place = replace(_Place.of(share.row), day=None)
            snapshot.add(names.DRIFT_COST, _with_cause(place, share.cause), money.multiply(share.cost, rate))


def _with_cause(place: _Place, cause: Cause) -> Labels:
    return (*place.labels, (names.CAUSE, str(cause)))


@dataclass(slots=True)
class _Sides:
    """Both sides of a place over its settled days."""

    estimated: Decimal = money.ZERO
    billed: Decimal = money.ZERO
    drift: Decimal = money.ZERO

    def add(self, row: Row, drift: Decimal, rate: Decimal) -> None:
        self.estimated = money.add(self.estimated, money.multiply(row.estimated_cost or money.ZERO, rate))
        self.billed = money.add(self.billed, money.multiply(row.billed_cost, rate))
        self.drift = money.add(self.drift, money.multiply(drift, rate))

    @property
    def ratio(self) -> Decimal:
        larger = max(abs(self.estimated), abs(self.billed))
        return money.divide(self.drift, larger) if larger else money.ZERO


def _last_settled(provider: Provider, reconciliation: Reconciliation, rows: Sequence[Row], at: datetime) -> date | None:
    """Return the newest settled day that this provider's bill speaks of."""
    own = [row for row in rows if row.provider == provider]
    days = [row.day for row in own if row.billed_cost and row.state is not State.OPEN]
    if len(own) == len(rows) and reconciliation.last is not None:
        # A day on which nothing was used has no row, and yet the bill covers it.
        before_open = [row.day - timedelta(days=1) for row in own if row.state is State.OPEN]
        days.append(min(reconciliation.last, _newest_settled(provider, at), *before_open))
    return max(days, default=None)


def _newest_settled(provider: Provider, at: datetime) -> date:
    day = at.astimezone(UTC).date()
    while state_of(day, provider, at) is State.OPEN:
        day -= timedelta(days=1)
    return day


def _seconds(instant: datetime) -> Decimal:
    return Decimal(int(instant.timestamp()))


class DriftGauges:
    """The gauges on one meter provider, which say the snapshot that was shown last."""

    def __init__(self, provider: MeterProvider, *, instead_of: DriftGauges | None = None) -> None:
        self.shown: Snapshot | None = None if instead_of is None else instead_of.shown
        meter = provider.get_meter(names.SCOPE_NAME, __version__)
        for name, (unit, description) in names.GAUGES.items():
            meter.create_observable_gauge(name, [self._observer(name)], unit, description)

    def show(self, snapshot: Snapshot) -> None:
        """Say this from now on, and nothing of what was said before but that a cause which is over explains 0.

        Else its last amount would stand beside the others until Prometheus forgets it, and they would not add up.
        """
        before = {} if self.shown is None else self.shown.values
        places = snapshot.values.get(names.DRIFT_RATIO, {})
        for labels in before.get(names.DRIFT_COST, {}):
            if tuple(pair for pair in labels if pair[0] != names.CAUSE) in places:
                snapshot.add(names.DRIFT_COST, labels, money.ZERO)
        # A bill that was read and has nothing of a provider any more was read all the same.
        for labels in before.get(names.BILL_LAST_SUCCESS, {}):
            snapshot.values.setdefault(names.BILL_LAST_SUCCESS, {})[labels] = _seconds(snapshot.at)
        self.shown = snapshot

    def _observer(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            # One object a snapshot: another thread may show the next one meanwhile.
            shown = self.shown
            found = {} if shown is None else shown.values.get(name, {})
            return [Observation(float(value), dict(labels)) for labels, value in found.items()]

        return observe
