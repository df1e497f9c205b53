"""What `estimates.promql` reads from a real Prometheus is what was sent, for each day, where `increase()` is not."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from tests.stack.filling.sent import told_by

from realtime_spend.core.line_items import Component, Modality
from realtime_spend.estimates.promql import PromqlReader, counter_name
from realtime_spend.estimates.promql_server import PromqlError, PromqlServer
from realtime_spend.sinks import metrics as names

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stack.conftest import Lived, Prometheus, StartPrometheus

    from realtime_spend.estimates.promql import Totals

# The fleet is run within the setup of the test that looks at it.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAYS = 3
FIRST = TODAY - timedelta(days=DAYS)
EVERY = timedelta(minutes=1)
# What one flush of a process says of each modality and component: tokens (or seconds), and USD.
FLUSH = {
    (Modality.TEXT, Component.INPUT): ("297", "0.001188"),
    (Modality.TEXT, Component.CACHED_INPUT): ("256", "0.0001024"),
    (Modality.TEXT, Component.OUTPUT): ("82", "0.001312"),
    (Modality.AUDIO, Component.INPUT): ("258", "0.008256"),
    (Modality.AUDIO, Component.CACHED_INPUT): ("128", "0.0000512"),
    (Modality.AUDIO, Component.OUTPUT): ("1019", "0.0237288"),
    (Modality.AUDIO, Component.DURATION): ("2.5", "0.000708333333"),
    (Modality.IMAGE, Component.INPUT): ("765", "0.003825"),
    (Modality.IMAGE, Component.CACHED_INPUT): ("64", "0.000032"),
}
FLUSH_COST = sum((Decimal(cost) for _, cost in FLUSH.values()), Decimal(0))
TOKENS = {
    Component.INPUT: [names.INPUT_TOKENS],
    # A subset of the input.
    Component.CACHED_INPUT: [names.INPUT_TOKENS, names.CACHE_READ_TOKENS],
    Component.OUTPUT: [names.OUTPUT_TOKENS],
}
WHO = {names.PROVIDER_NAME: "openai", names.MODEL: "gpt-realtime", names.ACCOUNT: "voice", names.SCOPE: "global"}


class Sender:
    """Counters of one process, sent to Prometheus as an SDK would send them, with instants of our choice."""

    def __init__(self, prometheus: Prometheus, instance: str) -> None:
        self._prometheus, self._instance = prometheus, instance
        self.sums: dict[tuple[str, tuple[tuple[str, str], ...]], Decimal] = defaultdict(Decimal)

    def add(self, metric: str, amount: str, **own: str) -> None:
        attributes = {**WHO, **{getattr(names, name.upper()): value for name, value in own.items()}}
        self.sums[metric, tuple(sorted(attributes.items()))] += Decimal(amount)

    def send(self, at: datetime) -> None:
        request = ExportMetricsServiceRequest()
        metrics = request.resource_metrics.add()
        for name, text in (("service.name", "voice"), ("service.instance.id", self._instance)):
            attribute = metrics.resource.attributes.add(key=name)
            attribute.value.string_value = text
        scope = metrics.scope_metrics.add()
        for (name, attributes), total in self.sums.items():
            metric = scope.metrics.add(name=name, unit=names.COUNTERS[name][0])
            metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
            metric.sum.is_monotonic = True
            point = metric.sum.data_points.add(time_unix_nano=int(at.timestamp()) * 10**9, as_double=float(total))
            for key, text in attributes:
                attribute = point.attributes.add(key=key)
                attribute.value.string_value = text
        body, headers = request.SerializeToString(), {"Content-Type": "application/x-protobuf"}
        with urlopen(Request(self._prometheus.otlp_metrics_url, body, headers), timeout=30) as answer:  # noqa: S310
            assert answer.status == 200


class Filled:
    """A Prometheus with three days of processes: one flush, a few, and one over all three days."""

    def __init__(self, prometheus: Prometheus) -> None:
        self.prometheus = prometheus
        self.flushes: Counter[datetime] = Counter()
        long = Sender(prometheus, "long")
        for day in range(DAYS):
            midnight = FIRST + timedelta(days=day)
            for session in range(5):
                at = midnight + timedelta(hours=2 + session)
                self._spend([Sender(prometheus, f"once-{day}-{session}")], at, flushes=1)
                self._spend([Sender(prometheus, f"short-{day}-{session}")], at, flushes=3)
            for hour in range(0, 24, 3):
                self._spend([long], midnight + timedelta(hours=hour, minutes=1), flushes=2)

    def _spend(self, senders: list[Sender], at: datetime, *, flushes: int) -> None:
        for sender in senders:
            for flush in range(flushes):
                instant = at + flush * EVERY
                for (modality, component), (quantity, cost) in FLUSH.items():
                    sender.add(names.COST, cost, modality=modality, component=component)
                    for metric in TOKENS.get(component, []):
                        sender.add(metric, quantity, modality=modality)
                    if component is Component.DURATION:
                        sender.add(names.BILLABLE_DURATION, quantity)
                self.flushes[instant.replace(hour=0, minute=0)] += 1
                sender.send(instant)

    def reader(self, **only: str) -> PromqlReader:
        return PromqlReader(server=PromqlServer(url=f"http://127.0.0.1:{self.prometheus.port}"), names=names, only=only)


@pytest.fixture(scope="module")
def filled(start_prometheus: StartPrometheus, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return Filled(start_prometheus(tmp_path_factory.mktemp("prometheus")))


def are_of(flushes: int, found: Totals) -> Decimal:
    """Whether the totals are those of so many flushes, each modality and component; what they cost together."""
    parts = {(key.modality, key.component): total for key, total in found.by_key.items()}
    assert len(parts) == len(found.by_key)
    assert {part: total.quantity for part, total in parts.items()} == {
        part: Decimal(quantity) * flushes for part, (quantity, _) in FLUSH.items()
    }
    costs = {part: float(total.cost) for part, total in parts.items() if total.cost is not None}
    assert costs == pytest.approx({part: float(cost) * flushes for part, (_, cost) in FLUSH.items()}, rel=1e-9)
    return FLUSH_COST * flushes


def test_each_day_and_their_sum_are_what_was_sent(filled: Filled) -> None:
    days = list(filled.reader().days(FIRST, TODAY - timedelta(days=1)))
    assert [day.start for day in days] == sorted(filled.flushes)
    increase = f"sum(increase({counter_name(names.COST, 'USD')}[1d]))"
    for day in days:
        truth = are_of(filled.flushes[day.start], day)
        said = next(iter(filled.prometheus.query(increase, at=day.end.timestamp()).values()))
        assert said != pytest.approx(float(truth), rel=0.05)
        assert {(key.provider, key.account, key.model, key.version, key.scope) for key in day.by_key} == {
            ("openai", "voice", "gpt-realtime", None, "global")
        }
        assert day.problems == []


def test_any_range_adds_up_with_those_beside_it(filled: Filled) -> None:
    reader, total = filled.reader(), float(FLUSH_COST * filled.flushes.total())
    bounds = [FIRST, FIRST + timedelta(hours=2, seconds=90), FIRST + timedelta(hours=40, minutes=1), TODAY]
    costs = []
    for start, end in pairwise(bounds):
        found = reader.between(start, end).by_key.values()
        costs.append(float(sum(one.cost for one in found if one.cost is not None)))
    assert min(costs) > 0
    assert sum(costs) == pytest.approx(total, rel=1e-9)
    are_of(filled.flushes.total(), reader.between(FIRST, TODAY))


def test_only_the_processes_that_were_asked_for_are_read(filled: Filled) -> None:
    are_of(DAYS * 8 * 2, filled.reader(instance="long").between(FIRST, TODAY))
    assert filled.reader(job="another").between(FIRST, TODAY).by_key == {}


def test_what_real_programs_used_is_read_part_by_part_as_the_service_told_it(lived: Lived) -> None:
    """Of the models whose counts were all split by modality: for those the service's own books are the truth."""
    reader = PromqlReader(server=PromqlServer(url=f"http://127.0.0.1:{lived.prometheus.port}"), names=names)
    told = told_by(lived.truth)
    quantities: dict[Any, Decimal] = defaultdict(Decimal)
    costs: dict[Any, Decimal] = defaultdict(Decimal)
    begin, end = (datetime.fromtimestamp(round(at, 3), UTC) for at in (lived.begin, lived.end + 1))
    for key, total in reader.between(begin, end).by_key.items():
        if (whose := (key.provider, key.model, key.version)) not in told.not_split:
            quantities[whose, (key.modality, key.component)] += total.quantity or 0
            costs[whose, (key.modality, key.component)] += total.cost or 0
    wanted = {key: quantity for key, quantity in told.quantities.items() if key[0] not in told.not_split and quantity}
    assert len({whose for whose, _ in wanted}) >= 5
    assert {key: quantity for key, quantity in quantities.items() if quantity} == wanted
    assert {key: float(cost) for key, cost in costs.items() if cost} == pytest.approx(
        {key: float(cost) for key in wanted if (cost := told.costs[key])}, rel=1e-9
    )


def test_two_processes_with_one_id_are_a_problem_that_is_said(
    start_prometheus: StartPrometheus, tmp_path: Path
) -> None:
    prometheus = start_prometheus(tmp_path)
    one, other = Sender(prometheus, "same"), Sender(prometheus, "same")
    at = TODAY - timedelta(hours=12)
    for turn in range(3):
        one.add(names.COST, "5", modality="audio", component="output")
        other.add(names.COST, "1", modality="audio", component="output")
        one.send(at + 2 * turn * EVERY)
        other.send(at + (2 * turn + 1) * EVERY)
    reader = PromqlReader(server=PromqlServer(url=f"http://127.0.0.1:{prometheus.port}"), names=names)
    found = reader.between(TODAY - timedelta(days=1), TODAY)
    [problem] = found.problems
    assert problem.startswith("1 series of realtime_spend.cost fell")


def test_a_process_that_starts_again_under_its_id_at_midnight_is_a_problem_of_the_new_day_alone(
    start_prometheus: StartPrometheus, tmp_path: Path
) -> None:
    prometheus = start_prometheus(tmp_path)
    midnight = TODAY - timedelta(days=2)
    for start in (midnight - timedelta(hours=2), midnight + timedelta(hours=1)):
        process = Sender(prometheus, "fixed")
        for turn in range(3):
            process.add(names.COST, "2", modality="audio", component="output")
            # Less in the second one, so that the whole day seems to have cost less than nothing.
            process.send(start + turn * EVERY)
            if start > midnight:
                break
    reader = PromqlReader(server=PromqlServer(url=f"http://127.0.0.1:{prometheus.port}"), names=names)
    days = list(reader.days(midnight - timedelta(days=1), midnight + timedelta(days=1)))
    assert [len(day.problems) for day in days] == [0, 1, 0]


def test_what_prometheus_says_of_a_query_that_it_refuses_is_passed_on(filled: Filled) -> None:
    server = PromqlServer(url=f"http://127.0.0.1:{filled.prometheus.port}")
    with pytest.raises(PromqlError, match=r"HTTP 400\): .*parse error"):
        server.ask("sum(", TODAY)
    with pytest.raises(PromqlError, match="has no /api/v1/query"):
        PromqlServer(url=f"{server.url}/elsewhere").ask("up", TODAY)
