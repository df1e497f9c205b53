"""Fills a Prometheus for pictures: example programs, a collector, and their exports said again on other days.

The sessions are simulated from a seed, so two runs cost the same to the last digit. Each program runs once; the days
before are its exports again, with their instants moved and drawn out and each under an instance id of its own, as if it
had been held then. Nothing else of them is changed.
"""

import copy
import http.client
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from grafana.running import running
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from realtime_spend.core.spending import spending
from realtime_spend.demo.programs import DEPLOYMENTS, Program, programs, run
from realtime_spend.estimates.ledger import Entry, read_ledger
from realtime_spend.simulator import Deployment, Scope, SessionOptions, SimulatorOptions, run_in_thread

# A second of a program is five minutes of the day that it is moved to; it exports every fifth of a second.
_STRETCH = 300
_EXPORT_MILLISECONDS = 200
_DAYS = 6
_PATIENCE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What one program exported, and its ledger: its usages, and what they cost by model, modality and component."""

    service: str
    begin: int
    requests: list[ExportMetricsServiceRequest]
    entries: Sequence[Entry]
    costs: Mapping[tuple[str, str, str], Decimal]


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """A program that is said to have begun at this second of another day."""

    begin: int
    recorded: Recorded

    def moved(self, nanoseconds: int) -> int:
        """When something is said to have been, in nanoseconds, which was at this instant."""
        return self.begin * 10**9 + (nanoseconds - self.recorded.begin) * _STRETCH


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A Prometheus with something to see, and the truth about it."""

    url: str
    # Between these the programs really ran, and everything was handed on.
    began: float
    ended: float
    # The end of the days that are shown.
    end: float
    replayed: list[Replayed]


@contextmanager
def filled(folder: Path, *, otelcol: Path, prometheus: Path, seed: int = 1) -> Iterator[Filled]:
    """Run everything in `folder`; Prometheus answers for as long as the block lasts."""
    with running(folder, otelcol=otelcol, prometheus=prometheus) as pipeline:
        began = time.time()
        ledgers = _run_programs(folder, f"http://127.0.0.1:{pipeline.otlp_port}", seed)
        pipeline.wait_until_handed_on()
        replayed, end = _replay(_read(pipeline.recording, ledgers), pipeline.otlp_port, seed)
        pipeline.wait_until_handed_on()
        yield Filled(url=pipeline.url, began=began, ended=time.time(), end=end, replayed=replayed)


def _run_programs(folder: Path, endpoint: str, seed: int) -> list[Path]:
    """Run each program once; return their ledgers, each called after its program."""
    deployments = {
        name: Deployment(model=of["model"], version=of["version"], scope=Scope(of["scope"]))
        for name, of in DEPLOYMENTS.items()
    }
    slowly = SessionOptions(rate=10)
    ledgers = []
    with (
        run_in_thread(SimulatorOptions(seed=seed, session=slowly)) as openai,
        run_in_thread(SimulatorOptions(seed=seed + 1, session=slowly, deployments=deployments)) as azure,
    ):
        for program in _programs(openai.url, azure.url):
            ledger = folder / program.environment["OTEL_SERVICE_NAME"]
            ended = run(program, ledger, endpoint)
            if ended.returncode:
                raise RuntimeError(f"{program.file} ended with status {ended.returncode}: {ended.stderr[-2000:]}")
            ledgers.append(ledger)
    return ledgers


def _programs(openai: str, azure: str) -> Iterator[Program]:
    """The example programs; then one whose service is in doubt, and one whose deployment nobody configured."""
    sdk, azure_sdk, plain = programs(openai, azure)
    doubtful = "sim_outcomes=completed,usage_missing,unsplit_cache,unsplit_cache"
    url = plain.environment["REALTIME_URL"].partition("&")[0]
    for name, program, more in (
        ("assistant", sdk, {}),
        ("hotline", azure_sdk, {"REALTIME_SPEND_ACCOUNT": "contoso"}),
        ("kiosk", plain, {}),
        ("legacy", plain, {"REALTIME_URL": f"{url}&{doubtful}"}),
        ("trial", azure_sdk, {"REALTIME_SPEND_DEPLOYMENTS": "{}"}),
    ):
        often = {"OTEL_SERVICE_NAME": name, "OTEL_METRIC_EXPORT_INTERVAL": str(_EXPORT_MILLISECONDS)}
        yield replace(program, environment={**program.environment, **often, **more})


def _read(recording: Path, ledgers: Sequence[Path]) -> list[Recorded]:
    exported: dict[str, list[ExportMetricsServiceRequest]] = {ledger.name: [] for ledger in ledgers}
    for request in _requests(recording.read_bytes()):
        exported[_attribute(request.resource_metrics[0].resource, "service.name").string_value].append(request)
    recorded = []
    for ledger in ledgers:
        entries = list(read_ledger(ledger).entries)
        groups = spending(entries, lambda entry: (str(entry.model),))
        costs: dict[tuple[str, str, str], Decimal] = {}
        for ((model,), _), spent in groups.items():
            for part, cost in spent.costs.items():
                modality, component = part.split(".")
                costs[str(model), modality, component] = cost
        requests = exported[ledger.name]
        begin = min(point.time_unix_nano for request in requests for point in _points(request))
        recorded.append(Recorded(service=ledger.name, begin=begin, requests=requests, entries=entries, costs=costs))
    return recorded


def _requests(recording: bytes) -> Iterator[ExportMetricsServiceRequest]:
    # Each message stands behind its length.
    while recording:
        end = 4 + int.from_bytes(recording[:4], "big")
        yield ExportMetricsServiceRequest.FromString(recording[4:end])
        recording = recording[end:]


def _replay(recorded: Sequence[Recorded], port: int, seed: int) -> tuple[list[Replayed], float]:
    """Send the days before yesterday, 16:00 UTC, in the order of their instants; no program lies across an hour."""
    dice = random.Random(seed)  # noqa: S311 - the same plan each time is the point
    end = datetime.now(UTC).replace(hour=16, minute=0, second=0, microsecond=0) - timedelta(days=1)
    replayed, requests = [], []
    for hours in range(1, (_DAYS - 1) * 24):
        hour = end - timedelta(hours=hours)
        # Busy in the day, quiet at night; the last hours, which most panels show, are full.
        calls = dice.randint(0, 2) if 7 <= hour.hour < 20 else dice.randint(0, 5) // 5  # noqa: PLR2004 - office hours
        for _ in range(3 if hours <= 6 else calls):  # noqa: PLR2004 - the range that the dashboard opens with
            chosen = dice.choices(recorded, weights=(6, 5, 5, 2, 2))[0]
            program = Replayed(begin=int(hour.timestamp()) + dice.randint(60, 900), recorded=chosen)
            replayed.append(program)
            requests += [_moved(request, program, len(replayed)) for request in chosen.requests]
    for request in sorted(requests, key=lambda request: next(_points(request)).time_unix_nano):
        _send(request, port)
    return replayed, end.timestamp()


def _moved(exported: ExportMetricsServiceRequest, program: Replayed, number: int) -> ExportMetricsServiceRequest:
    request = copy.deepcopy(exported)
    for point in _points(request):
        for name in ("time_unix_nano", "start_time_unix_nano"):
            if instant := getattr(point, name):
                setattr(point, name, program.moved(instant))
    for of_resource in request.resource_metrics:
        _attribute(of_resource.resource, "service.instance.id").string_value += f"-{number}"
    return request


def _points(request: ExportMetricsServiceRequest) -> Iterator[Any]:
    for of_resource in request.resource_metrics:
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                yield from getattr(metric, str(metric.WhichOneof("data"))).data_points


def _attribute(resource: Any, key: str) -> Any:
    return next(pair.value for pair in resource.attributes if pair.key == key)


def _send(request: ExportMetricsServiceRequest, port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request(
            "POST", "/v1/metrics", request.SerializeToString(), {"Content-Type": "application/x-protobuf"}
        )
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"the collector answered {answer.status}: {answer.read()!r}")
    finally:
        connection.close()
