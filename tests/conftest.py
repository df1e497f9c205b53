from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric

from realtime_spend.containment import Containment
from realtime_spend.instrumentor import RealtimeInstrumentor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@pytest.fixture(autouse=True)
def nothing_is_hidden_and_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Containment, "reraise", True)
    for variable in [name for name in os.environ if name.startswith("REALTIME_SPEND_")]:
        monkeypatch.delenv(variable)
    yield
    instrumentor = RealtimeInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def provider(reader: InMemoryMetricReader) -> Iterator[MeterProvider]:
    provider = MeterProvider([reader], shutdown_on_exit=False)
    yield provider
    provider.shutdown()


class Seen:
    """What a collection by the SDK sees of our metrics, each time it is asked."""

    def __init__(self, reader: InMemoryMetricReader) -> None:
        self._reader = reader

    def metrics(self) -> dict[str, Metric]:
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        assert {scope.scope.name for scope in scopes} <= {"realtime_spend"}
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """The attributes and the value of each point; of a histogram, the sum of what was recorded."""
        metric = self.metrics().get(name)
        if metric is None:
            return []
        return [
            (dict(point.attributes or {}), getattr(point, "value", None) if hasattr(point, "value") else point.sum)
            for point in metric.data.data_points
        ]

    def value(self, name: str, match: Mapping[str, object] | None = None) -> Any:
        """The value of the only point with these attributes that is not merely there; None if there is none."""
        wanted = (match or {}).items()
        found = [value for attributes, value in self.points(name) if wanted <= attributes.items()]
        found = [value for value in found if value] or found[:1]
        assert len(found) <= 1, f"{len(found)} points of {name} match {match}"
        return found[0] if found else None


@pytest.fixture
def seen(reader: InMemoryMetricReader) -> Seen:
    return Seen(reader)
