"""The demo's receiver takes what real exporters send."""

from __future__ import annotations

import urllib.request

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from realtime_spend.demo.receiver import receiving


@pytest.mark.parametrize("compression", list(Compression))
def test_the_newest_value_of_each_process_counts(compression: Compression) -> None:
    with receiving() as (endpoint, received):
        for instance in ("one", "two"):
            exporter = OTLPMetricExporter(f"{endpoint}/v1/metrics", compression=compression)
            provider = MeterProvider(
                [PeriodicExportingMetricReader(exporter, export_interval_millis=60_000)],
                resource=Resource({"service.instance.id": instance}),
                shutdown_on_exit=False,
            )
            counter = provider.get_meter("test").create_counter("tokens")
            for count in (3, 4):
                counter.add(count, {"server.port": 443})
                provider.force_flush()
            provider.shutdown()
        assert received.total("tokens", {"server.port": "443"}) == 2 * (3 + 4)


def test_other_signals_are_taken_and_forgotten() -> None:
    with receiving() as (endpoint, received):
        request = urllib.request.Request(f"{endpoint}/v1/traces", data=b"anything", method="POST")  # noqa: S310 - ours
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - ours
            assert answer.status == 200
    assert (received.requests, received.series) == (0, {})
