"""Collectors to which things happen, so that every figure by which they would tell of it can be asked for."""

from __future__ import annotations

import http
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grafana import names
from tests.stack.filling.recording import Replay, posted

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from tests.stack.conftest import Collector, Prometheus, StartCollector
    from tests.stack.filling.recording import Recorded

DAY_NANOSECONDS = 86_400 * 10**9
# As shipped, but that a full queue is soon full, and that who sends hears of it at once.
STUCK = """\
exporters:
  otlp_http/prometheus:
    sending_queue: {queue_size: 3, block_on_overflow: false}
"""
# As shipped, on a machine that has less memory than the collector needs to start.
STARVED = """\
processors:
  memory_limiter: {limit_mib: 1}
"""
# What each kind of trouble is counted by.
FAILURES = (names.SEND_FAILED, names.ENQUEUE_FAILED, names.RECEIVER_REFUSED, names.MEMORY_LIMITER_REFUSED)


@dataclass(frozen=True, kw_only=True)
class Troubled:
    """A collector that cannot hand on what it has, and one that takes in nothing."""

    stuck: Collector
    starved: Collector
    request: ExportMetricsServiceRequest

    @property
    def metrics_ports(self) -> list[int]:
        return [self.stuck.metrics_port, self.starved.metrics_port]

    def refuse(self) -> None:
        """Have each of them refuse what it is sent."""
        for collector in (self.stuck, self.starved):
            status, _ = posted(collector.otlp_http_port, self.request)
            assert status == http.HTTPStatus.SERVICE_UNAVAILABLE


def troubled(start_collector: StartCollector, folder: Path, *, recorded: Recorded, nobody: str) -> Troubled:
    """Start them, and let the queue of the first be full from now on."""
    collectors = []
    for name, override in (("stuck", STUCK), ("starved", STARVED)):
        (place := folder / name).mkdir()
        (file := place / "override.yaml").write_text(override)
        collectors.append(start_collector(place, prometheus_url=nobody, overrides=[file]))
    stuck, starved = collectors
    (request, *_) = recorded.requests
    for _ in range(20):
        status, _ = posted(stuck.otlp_http_port, request)
        if status != http.HTTPStatus.OK:
            return Troubled(stuck=stuck, starved=starved, request=request)
    msg = "a queue for three requests took in twenty"
    raise AssertionError(msg)


def too_old(replay: Replay) -> Replay:
    """The same so long ago that Prometheus refuses it; it belongs in no ledger."""
    return Replay(recorded=replay.recorded, instant=replay.instant, onto=replay.onto - 9 * DAY_NANOSECONDS, number=0)


def overwritten(replay: Replay) -> Replay:
    """The same process once more, begun somewhat earlier under the very same id: its totals are lost in the other's.

    What the series say in the end is what the other process says, so that the totals are those of the other alone.
    """
    (exports,) = replay.recorded.exports.values()
    # Between two exports, since Prometheus has but one value for an instant.
    earlier = (exports[3] + exports[4]) // 2 - exports[0]
    return Replay(recorded=replay.recorded, instant=replay.instant, onto=replay.onto - earlier, number=replay.number)


def every_failure_is_growing(prometheus: Prometheus) -> bool | None:
    """Whether each was seen to rise from one scrape to another, for a first value is no rise."""
    return True if all(prometheus.query(f"rate({name}[1m]) > 0") for name in FAILURES) else None
