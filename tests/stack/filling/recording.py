"""What a collector really received from each program, and the same again at other instants and as other processes."""

from __future__ import annotations

import copy
import http.client
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from realtime_spend.estimates.ledger import read_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    from realtime_spend.estimates.ledger import Entry

# Beside the configuration of an operator: the collector writes down what it hands on.
RECORDER = """\
exporters:
  file/recording:
    path: {path}
    flush_interval: 100ms
service:
  pipelines:
    metrics:
      exporters: [otlp_http/prometheus, file/recording]
"""
_TIMES = ("time_unix_nano", "start_time_unix_nano")
_PATIENCE_SECONDS = 30
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Recorded:
    """One program: the requests that it sent, in their order, and the lines of its ledger."""

    name: str
    requests: tuple[ExportMetricsServiceRequest, ...]
    records: tuple[dict[str, Any], ...]

    @cached_property
    def exports(self) -> dict[str, list[int]]:
        """The instants of the exports of each process, in nanoseconds."""
        found: dict[str, set[int]] = {}
        for request in self.requests:
            for resource, point in points_of(request):
                found.setdefault(attribute(resource, "service.instance.id"), set()).add(point.time_unix_nano)
        return {instance: sorted(times) for instance, times in found.items()}

    @cached_property
    def spending(self) -> list[int]:
        """The instants at which usages were written down, in nanoseconds."""
        return sorted(nanoseconds(record["at"]) for record in self.records)

    @cached_property
    def begin(self) -> int:
        return min(self.spending[0], *(times[0] for times in self.exports.values()))

    @property
    def end(self) -> int:
        return max(self.spending[-1], *(times[-1] for times in self.exports.values()))

    @cached_property
    def longest_interval(self) -> int:
        """The export interval as it really was: the longest time before an export of a process."""
        ends = [(self.begin, times[0]) for times in self.exports.values()]
        between = [pair for times in self.exports.values() for pair in pairwise(times)]
        return max(after - before for before, after in [*ends, *between])

    def waiting(self) -> int:
        """An instant in the middle of the longest wait of money for an export, but for the wait for the last one."""
        exports = sorted(time for times in self.exports.values() for time in times)
        waits = [(at, min(time for time in exports if time > at)) for at in self.spending if at < exports[-2]]
        at, exported = max(waits, key=lambda wait: wait[1] - wait[0])
        return (at + exported) // 2


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A program that is said to have run at another time, faster or slower, as a process of its own."""

    recorded: Recorded
    # The instant of the record that is to lie on `onto`, both in nanoseconds.
    instant: int
    onto: int
    stretch: int = 1
    number: int

    def moved(self, instant: int) -> int:
        return self.onto + (instant - self.instant) * self.stretch

    @property
    def interval(self) -> int:
        return self.recorded.longest_interval * self.stretch

    def requests(self) -> Iterator[ExportMetricsServiceRequest]:
        for recorded in self.recorded.requests:
            request = copy.deepcopy(recorded)
            for resource, point in points_of(request):
                for field in _TIMES:
                    if value := getattr(point, field):
                        setattr(point, field, self.moved(value))
                assert not point.exemplars, f"an exemplar of {attribute(resource, 'service.name')} keeps its instant"
            for of_resource in request.resource_metrics:
                for pair in of_resource.resource.attributes:
                    if pair.key == "service.instance.id":
                        pair.value.string_value += f"-{self.number}"
            yield request

    def records(self) -> Iterator[dict[str, Any]]:
        for record in self.recorded.records:
            at = _EPOCH + timedelta(microseconds=self.moved(nanoseconds(record["at"])) // 1000)
            said = {key: f"{record[key]}-{self.number}" for key in ("id", "session", "writer") if record[key]}
            yield record | said | {"at": at.isoformat(timespec="microseconds").replace("+00:00", "Z")}


def read_recording(file: Path, ledgers: Path) -> dict[str, Recorded]:
    """Reads what the collector wrote down, and beside it the ledger of each program."""
    lines = file.read_text(encoding="utf-8").splitlines()
    requests = [json_format.Parse(line, ExportMetricsServiceRequest()) for line in lines]
    return {
        folder.name: Recorded(
            name=folder.name,
            requests=tuple(request for request in requests if sender_of(request) == folder.name),
            records=tuple(
                json.loads(line)
                for ledger in sorted(folder.glob("*.jsonl"))
                for line in ledger.read_text(encoding="utf-8").splitlines()
            ),
        )
        for folder in sorted(ledgers.iterdir())
    }


def sender_of(request: ExportMetricsServiceRequest) -> str:
    (resource,) = (one.resource for one in request.resource_metrics)
    return attribute(resource, "service.name")


def attribute(resource: Resource, key: str) -> str:
    return {pair.key: pair.value.string_value for pair in resource.attributes}[key]


def points_of(request: ExportMetricsServiceRequest) -> Iterator[tuple[Resource, Any]]:
    """Every point of a request, each with its resource."""
    for of_resource in request.resource_metrics:
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                kind = metric.WhichOneof("data")
                assert kind is not None
                for point in getattr(metric, kind).data_points:
                    yield of_resource.resource, point


def nanoseconds(instant: str) -> int:
    return (datetime.fromisoformat(instant) - _EPOCH) // timedelta(microseconds=1) * 1000


def play(replays: Iterable[Replay], *, port: int, ledger: Path) -> None:
    """Sends them to the collector one after the other, and writes their ledger."""
    send = sending(port)
    ledger.mkdir(exist_ok=True)
    for replay in replays:
        for request in replay.requests():
            send(request)
        with (ledger / f"{replay.recorded.name}-{replay.number}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in replay.records())


def sending(port: int) -> Callable[[ExportMetricsServiceRequest], None]:
    """Returns what posts a request to a collector, and insists on being told that it was taken."""

    def send(request: ExportMetricsServiceRequest) -> None:
        status, body = posted(port, request)
        assert status == http.HTTPStatus.OK, body
        assert ExportMetricsServiceResponse.FromString(body).partial_success.rejected_data_points == 0

    return send


def posted(port: int, request: ExportMetricsServiceRequest) -> tuple[int, bytes]:
    """Posts a request to a collector; returns what it answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
    try:
        headers = {"Content-Type": "application/x-protobuf"}
        connection.request("POST", "/v1/metrics", request.SerializeToString(), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def entries_of(ledger: Path) -> list[Entry]:
    reading = read_ledger(ledger)
    assert not reading.unreadable
    return reading.entries
