"""Opens a way by OTLP, as OpenTelemetry's own variables say, and knows whether what was sent last has arrived."""

# ruff: noqa: PLC0415 - OpenTelemetry's SDK and its exporters are an extra, which only some commands need

from __future__ import annotations

import inspect
import uuid
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter

_NAMESPACE = uuid.UUID("6f1d4a52-6f0b-5d0c-9a3e-6b1f2f1c7a35")
_EXTRA = "the exporter is in an extra: pip install 'realtime-spend[otlp]'"
# OpenTelemetry keeps what it has once been told of a series, and adds the 2,001st and all later ones up in a single
# one. There are as many here as days times meters, and every one of them is wanted.
_MOST_SERIES = 10_000_000
# In one request: a receiver may take no more than 4 MiB at once by gRPC.
_MOST_POINTS = 5_000
# What says that metrics are wanted, and where.
_SAY_WHERE = ("OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
T = TypeVar("T")


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's variables say where metrics are to go."""
    return any(environment.get(name, "").strip() not in ("", "none") for name in _SAY_WHERE)


@dataclass(slots=True)
class Delivery:
    """Whether what was exported last arrived; None until something was."""

    arrived: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipe:
    """A meter provider, and what became of its exports."""

    provider: MeterProvider
    delivery: Delivery


def instance_of(*parts: object) -> str:
    """Return the id of whoever answers this question: the same after a restart, another for another question.

    So a reconciler that starts again goes on with its series, where a new id would leave the old ones beside the new.
    """
    return str(uuid.uuid5(_NAMESPACE, "\n".join(map(str, parts))))


def pipe_of(environment: Mapping[str, str], *, service: str, instance: str) -> Pipe:
    """Return a meter provider that exports where OpenTelemetry's own variables say.

    Raises:
        ValueError: no exporter of that name is installed; the sentence says what to do.
    """
    exporter_class = exporter_of(environment)
    try:
        from opentelemetry.sdk.metrics import MeterProvider, ObservableGauge
        from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    except ModuleNotFoundError:
        raise ValueError(_EXTRA) from None
    delivery = Delivery()

    class Watched(MetricExporter):
        """Hands everything to the exporter and keeps whether it arrived, which the SDK tells nobody."""

        def __init__(self, inner: MetricExporter) -> None:
            super().__init__()
            self._inner = inner

        def export(self, metrics_data: Any, timeout_millis: float = 10_000, **more: Any) -> MetricExportResult:
            delivery.arrived = False
            result = self._inner.export(metrics_data, timeout_millis, **more)
            delivery.arrived = result is MetricExportResult.SUCCESS
            return result

        def force_flush(self, timeout_millis: float = 10_000) -> bool:
            return self._inner.force_flush(timeout_millis)

        def shutdown(self, timeout_millis: float = 30_000, **more: Any) -> None:
            self._inner.shutdown(timeout_millis, **more)

    exporter = Watched(_made(exporter_class, max_export_batch_size=_MOST_POINTS))
    limits = {ObservableGauge: _MOST_SERIES}
    reader = _made(PeriodicExportingMetricReader, exporter, cardinality_limits=limits)
    ours = {"service.name": service, "service.instance.id": instance}
    theirs = OTELResourceDetector().detect().attributes
    resource = Resource.create({name: value for name, value in ours.items() if name not in theirs})
    # It is ended by whoever watches, also on a signal: no handler at exit.
    provider = MeterProvider([reader], resource, shutdown_on_exit=False)
    return Pipe(provider=provider, delivery=delivery)


def _made(make: Callable[..., T], *arguments: Any, **newer: Any) -> T:
    """Make something with those of the `newer` arguments that its release knows already."""
    known = inspect.signature(make).parameters
    return make(*arguments, **{name: value for name, value in newer.items() if name in known})


def exporter_of(environment: Mapping[str, str]) -> Callable[..., MetricExporter]:
    """Return the exporter that OTEL_METRICS_EXPORTER names, which for OTLP depends on the protocol."""
    named = environment.get("OTEL_METRICS_EXPORTER", "").strip() or "otlp"
    if named == "otlp":
        protocol = environment.get("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL") or environment.get(
            "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"
        )
        named = "otlp_proto_http" if protocol.strip().startswith("http") else "otlp_proto_grpc"
    found = tuple(metadata.entry_points(group="opentelemetry_metrics_exporter", name=named))
    if found:
        loaded: Callable[..., MetricExporter] = found[0].load()
        return loaded
    if named.startswith("otlp"):
        raise ValueError(_EXTRA)
    raise ValueError(f"OTEL_METRICS_EXPORTER={named} is no exporter that is installed; set it to otlp")
