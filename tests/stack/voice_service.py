"""A process that holds voice sessions, as far as its metrics go: the real sink, fed with amounts that a test knows."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from realtime_spend.sinks import metrics as names
from realtime_spend.sinks.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from realtime_spend.sinks.metrics import Attributes, Series


class Line(NamedTuple):
    """What one response uses of one thing, and the USD that a million of it cost."""

    provider: str
    model: str
    modality: str
    component: str
    tokens: int
    rate: str

    @property
    def cost(self) -> Decimal:
        return self.tokens * Decimal(self.rate) / 1_000_000


LINES = (
    Line("openai", "gpt-realtime", "text", "input", 119, "4"),
    Line("openai", "gpt-realtime", "text", "cached_input", 64, "0.40"),
    Line("openai", "gpt-realtime", "text", "output", 30, "16"),
    Line("openai", "gpt-realtime", "audio", "input", 1_203, "32"),
    Line("openai", "gpt-realtime", "audio", "cached_input", 2_816, "0.40"),
    Line("openai", "gpt-realtime", "audio", "output", 1_019, "64"),
    Line("openai", "gpt-realtime", "image", "input", 77, "5"),
    Line("openai", "gpt-realtime", "image", "cached_input", 11, "0.50"),
    Line("azure.ai.openai", "gpt-realtime-mini", "text", "input", 29, "0.60"),
    Line("azure.ai.openai", "gpt-realtime-mini", "text", "cached_input", 5_376, "0.06"),
    Line("azure.ai.openai", "gpt-realtime-mini", "audio", "input", 333, "10"),
    Line("azure.ai.openai", "gpt-realtime-mini", "audio", "cached_input", 128, "0.30"),
    Line("azure.ai.openai", "gpt-realtime-mini", "audio", "output", 512, "20"),
    Line("openai", "gpt-4o-transcribe", "audio", "input", 250, "6"),
    Line("openai", "gpt-4o-transcribe", "text", "output", 40, "10"),
)
TRANSCRIPTION_MODELS = {"gpt-4o-transcribe"}
MODELS = {line.model for line in LINES}
DEPLOYMENTS = {model: f"{model}-eu" for model in MODELS}
ACCOUNTS = {"openai": "org-1", "azure.ai.openai": "contoso"}
# What comes with each response of each model.
USAGES = {"reported": 5, "missing": 2, "lost": 1}
DUPLICATES = 4
UNCERTAINTY = Decimal("0.000123")
DOUBTS = {"scope_assumed": 2, "cached_not_split": 1}
# What comes with each response, of no model that is known.
UNPRICED = 3
SESSION_SECONDS = 90.0
FIRST_AUDIO_SECONDS = 0.3


@dataclass(kw_only=True)
class Service:
    """A process that reports running totals; only the test decides when something is exported."""

    url: str
    instance: str = field(default_factory=lambda: str(uuid4()))
    # Attributes of the reader's own, as attributed() puts them on the metrics.
    extra: Mapping[str, str] = field(default_factory=dict)
    responses: int = 0

    def __post_init__(self) -> None:
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=self.url), math.inf)
        resource = Resource({"service.name": "voice", "service.instance.id": self.instance})
        self.provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        self.metrics = Metrics(self.provider)
        for model in MODELS:
            self.series_of(model).active = 1
        # Everything appears with 0, as the models of a session do.
        self.count(0)

    def respond(self, times: int = 1) -> None:
        for _ in range(times):
            self.responses += 1
            self.count(1)
            for model in MODELS - TRANSCRIPTION_MODELS:
                attributes = self.series_of(model).attributes
                self.metrics.record(names.SESSION_DURATION, SESSION_SECONDS, attributes)
                self.metrics.record(names.TIME_TO_FIRST_AUDIO, FIRST_AUDIO_SECONDS, attributes)

    def export(self) -> None:
        assert self.provider.force_flush()

    def respond_and_export(self, times: int = 1) -> None:
        self.respond(times)
        self.export()

    def series_of(self, model: str | None) -> Series:
        attributes: Attributes = {names.PROVIDER_NAME: "openai", **self.extra}
        if model:
            (provider,) = {line.provider for line in LINES if line.model == model}
            attributes |= {
                names.PROVIDER_NAME: provider,
                names.ACCOUNT: ACCOUNTS[provider],
                names.MODEL: model,
                names.REQUEST_MODEL: DEPLOYMENTS[model],
                names.OPERATION_NAME: "speech_to_text" if model in TRANSCRIPTION_MODELS else "realtime_inference",
            }
        return self.metrics.series(attributes)

    def count(self, times: int) -> None:
        for line in LINES:
            self._count_line(line, times)
        for model in MODELS:
            series = self.series_of(model)
            kind = "transcription" if model in TRANSCRIPTION_MODELS else "response"
            for usage, count in USAGES.items():
                series.add(names.USAGES, ((names.KIND, kind), (names.USAGE, usage)), count * times)
            for doubt, count in DOUBTS.items():
                series.add(names.ERRORS, ((names.KIND, doubt),), count * times)
            series.add(names.DUPLICATES, (), DUPLICATES * times)
            series.add(names.COST_UNCERTAINTY, (), UNCERTAINTY * times)
        self.series_of(None).add(names.UNPRICED, ((names.REASON, "unknown_model"),), UNPRICED * times)

    def _count_line(self, line: Line, times: int) -> None:
        series, modality = self.series_of(line.model), ((names.MODALITY, line.modality),)
        series.add(names.COST, (*modality, (names.COMPONENT, line.component)), line.cost * times)
        tokens = line.tokens * times
        if line.component == "output":
            series.add(names.OUTPUT_TOKENS, modality, tokens)
            return
        series.add(names.INPUT_TOKENS, modality, tokens)
        if line.component == "cached_input":
            series.add(names.CACHE_READ_TOKENS, modality, tokens)
            series.add(names.CACHE_SAVINGS, modality, saved(line) * times)


def saved(line: Line) -> Decimal:
    (full,) = (other for other in LINES if other[:3] == line[:3] and other.component == "input")
    return line.tokens * (Decimal(full.rate) - Decimal(line.rate)) / 1_000_000


def money(lines: Iterable[Line], by: Callable[[Line], str] = lambda _: "") -> dict[str, Decimal]:
    """What one response of each model costs."""
    costs: defaultdict[str, Decimal] = defaultdict(Decimal)
    for line in lines:
        costs[by(line)] += line.cost
    return dict(costs)
