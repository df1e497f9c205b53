"""Every query of the dashboard `live-spend.json`, asked of a Prometheus that was filled through the collector."""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.stack.conftest import Prometheus, StartCollector, StartPrometheus

DASHBOARD = Path(__file__).resolve().parents[2] / "grafana" / "dashboards" / "live-spend.json"
BOARD: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
PANELS = {panel["title"]: panel for panel in BOARD["panels"]}
QUERIES = [
    pytest.param(target, id=f"{title} {target['refId']}")
    for title, panel in PANELS.items()
    for target in panel["targets"]
]

RANGE_SECONDS = 600
# Responses that were exported before the middle of the test.
FIRST_HALF = 4


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
# How many usage events of each status a response of the simulated service is accompanied by.
USAGES = {"reported": 5, "missing": 2, "lost": 1}

Labels = frozenset[tuple[str, str]]
Series = tuple[tuple[str, str], ...]


@dataclass
class Service:
    """A process that holds sessions: it reports running totals under the names that realtime_spend emits."""

    url: str
    responses: int = 0
    provider: MeterProvider = field(init=False)

    def __post_init__(self) -> None:
        # Only the test decides when something is exported.
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=self.url), math.inf)
        resource = Resource({"service.name": "voice", "service.instance.id": str(uuid4())})
        self.provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = self.provider.get_meter("realtime_spend")
        counters: dict[str, tuple[str, Callable[[], Mapping[Series, float]]]] = {
            "gen_ai.client.inference.usage.input_tokens": ("{token}", lambda: self.tokens("input", "cached_input")),
            "gen_ai.client.inference.usage.cache_read.input_tokens": ("{token}", lambda: self.tokens("cached_input")),
            "gen_ai.client.inference.usage.output_tokens": ("{token}", lambda: self.tokens("output")),
            "realtime_spend.cost": ("USD", self.cost),
            "realtime_spend.cache.savings": ("USD", self.savings),
            "realtime_spend.usages": ("{event}", self.usages),
            "realtime_spend.unpriced": ("{event}", self.unpriced),
        }
        for name, (unit, totals) in counters.items():
            meter.create_observable_counter(name, [observing(totals)], unit)
        meter.create_observable_up_down_counter(
            "realtime_spend.session.active", [observing(self.sessions)], "{session}"
        )

    def tokens(self, *components: str) -> Mapping[Series, float]:
        totals: Counter[Series] = Counter()
        for line in LINES:
            if line.component in components:
                totals[common(line, ("gen_ai.token.modality", line.modality))] += line.tokens * self.responses
        return totals

    def cost(self) -> Mapping[Series, float]:
        return {
            common(line, ("gen_ai.token.modality", line.modality), ("realtime_spend.component", line.component)): float(
                line.cost * self.responses
            )
            for line in LINES
        }

    def savings(self) -> Mapping[Series, float]:
        return {
            common(line, ("gen_ai.token.modality", line.modality)): float(saved(line) * self.responses)
            for line in LINES
            if line.component == "cached_input"
        }

    def usages(self) -> Mapping[Series, float]:
        return {
            common(line, ("realtime_spend.usage", usage)): count * self.responses
            for line in LINES
            for usage, count in USAGES.items()
        }

    def unpriced(self) -> Mapping[Series, float]:
        return {(("gen_ai.provider.name", "openai"), ("realtime_spend.reason", "unknown_model")): 3 * self.responses}

    def sessions(self) -> Mapping[Series, float]:
        return {common(line): 1 for line in LINES}

    def respond_and_export(self) -> None:
        self.responses += 1
        self.export()

    def export(self) -> None:
        assert self.provider.force_flush()


def observing(totals: Callable[[], Mapping[Series, float]]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: [Observation(value, dict(series)) for series, value in totals().items()]


def common(line: Line, *more: tuple[str, str]) -> Series:
    return (("gen_ai.provider.name", line.provider), ("realtime_spend.model", line.model), *more)


def saved(line: Line) -> Decimal:
    (full,) = (other for other in LINES if other[:3] == line[:3] and other.component == "input")
    return line.tokens * (Decimal(full.rate) - Decimal(line.rate)) / 1_000_000


def money(responses: int, *, model: str | None = None) -> float:
    return float(responses * sum(line.cost for line in LINES if model in (None, line.model)))


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A Prometheus that took three services in: one that ran on, one that exported once, one that began later."""

    prometheus: Prometheus
    # After the responses of FIRST_HALF and before the others.
    middle: float
    end: float
    responses: int

    def ask(self, expr: str, *, model: str = ".*", seconds: float = RANGE_SECONDS) -> dict[Labels, float]:
        return self.prometheus.query(substituted(expr, model=model, seconds=seconds), at=self.end)

    def panel(self, title: str, ref: str = "A", **options: Any) -> dict[Labels, float]:
        (target,) = (target for target in PANELS[title]["targets"] if target["refId"] == ref)
        return self.ask(target["expr"], **options)


def substituted(expr: str, *, model: str = ".*", seconds: float = RANGE_SECONDS) -> str:
    """What Grafana sends, with "All" providers selected."""
    values = {
        "$__rate_interval": "60s",
        "$__range": f"{seconds * 1000:.0f}ms",
        "$provider": ".*",
        "$model": model,
    }
    for variable, value in values.items():
        expr = expr.replace(variable, value)
    assert "$" not in expr
    return expr


@pytest.fixture(scope="module")
def filled(
    start_collector: StartCollector,
    start_prometheus: StartPrometheus,
    eventually: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Filled:
    folder = tmp_path_factory.mktemp("stack")
    prometheus = start_prometheus(folder)
    url = start_collector(folder, prometheus_url=prometheus.otlp_metrics_url).metrics_url
    steady, once, late = Service(url), Service(url), Service(url)
    steady.export()
    steady.respond_and_export()
    steady.respond_and_export()
    once.responses = 2
    once.export()
    # Samples carry milliseconds: without a pause one could lie on the instant that divides the two halves.
    time.sleep(0.05)
    middle = time.time()
    time.sleep(0.05)
    steady.respond_and_export()
    late.responses = 2
    late.export()
    sent = steady.responses + once.responses + late.responses
    counted = f"sum(last_over_time(realtime_spend_unpriced_total[{RANGE_SECONDS}s]))"

    def all_there() -> bool | None:
        return True if list(prometheus.query(counted).values()) == [3 * sent] else None

    eventually(all_there, what="the last export to reach Prometheus")
    return Filled(prometheus=prometheus, middle=middle, end=time.time(), responses=sent)


def by(*labels: tuple[str, str]) -> Labels:
    return frozenset(labels)


@pytest.mark.stack
@pytest.mark.parametrize("target", QUERIES)
def test_every_query_returns_data(filled: Filled, target: Any) -> None:
    expr = substituted(target["expr"])
    if target["range"]:
        asked = {"start": filled.end - 60, "end": filled.end, "step": 1}
        values = [
            value
            for series in filled.prometheus.ask("query_range", query=expr, **asked)["result"]
            for _, value in series["values"]
        ]
    else:
        values = [str(value) for value in filled.prometheus.query(expr, at=filled.end).values()]
    assert any(float(value) > 0 for value in values)
    assert all(math.isfinite(float(value)) for value in values)


@pytest.mark.stack
def test_the_total_is_the_money_that_was_sent(filled: Filled) -> None:
    total = filled.panel("Total cost in the range")
    assert total == {by(): pytest.approx(money(filled.responses), rel=1e-9)}


@pytest.mark.stack
def test_the_totals_of_two_ranges_add_up_to_the_money_that_was_sent(filled: Filled) -> None:
    expr = substituted(PANELS["Total cost in the range"]["targets"][0]["expr"])
    before = filled.prometheus.query(expr, at=filled.middle)
    after = filled.panel("Total cost in the range", seconds=filled.end - filled.middle)
    assert before == {by(): pytest.approx(money(FIRST_HALF), rel=1e-9)}
    assert after == {by(): pytest.approx(money(filled.responses - FIRST_HALF), rel=1e-9)}


@pytest.mark.stack
def test_the_total_of_one_model_is_its_own(filled: Filled) -> None:
    total = filled.panel("Total cost in the range", model="gpt-realtime")
    assert total == {by(): pytest.approx(money(filled.responses, model="gpt-realtime"), rel=1e-9)}


@pytest.mark.stack
def test_the_cost_by_component_is_the_money_that_was_sent_for_each(filled: Filled) -> None:
    expected: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for line in LINES:
        expected[line.modality, line.component] += line.cost * filled.responses
    assert filled.panel("Cost in the range by modality and component") == {
        by(("gen_ai_token_modality", modality), ("realtime_spend_component", component)): pytest.approx(
            float(cost), rel=1e-9
        )
        for (modality, component), cost in expected.items()
    }


@pytest.mark.stack
def test_the_savings_are_what_the_cache_made_cheaper(filled: Filled) -> None:
    expected = sum(saved(line) for line in LINES if line.component == "cached_input") * filled.responses
    assert filled.panel("Saved by the cache in the range") == {by(): pytest.approx(float(expected), rel=1e-9)}


@pytest.mark.stack
def test_usages_are_counted_by_status_and_unpriced_ones_by_reason(filled: Filled) -> None:
    title = "Responses and other usage events by status"
    models = len({line.model for line in LINES})
    assert filled.panel(title) == {
        by(("realtime_spend_usage", usage)): count * models * filled.responses for usage, count in USAGES.items()
    }
    assert filled.panel(title, "B") == {by(("realtime_spend_reason", "unknown_model")): 3 * filled.responses}


@pytest.mark.stack
def test_the_cache_hit_ratio_is_the_cached_part_of_the_input(filled: Filled) -> None:
    cached: Counter[str] = Counter()
    everything: Counter[str] = Counter()
    for line in LINES:
        if line.component in ("input", "cached_input"):
            everything[line.modality] += line.tokens
        if line.component == "cached_input":
            cached[line.modality] += line.tokens
    assert filled.panel("Cache hit ratio by modality") == {
        by(("gen_ai_token_modality", modality)): pytest.approx(cached[modality] / everything[modality], rel=1e-9)
        for modality in everything
    }


@pytest.mark.stack
def test_the_active_sessions_are_those_of_every_process(filled: Filled) -> None:
    assert filled.panel("Active sessions by model") == {
        by(("realtime_spend_model", model)): 3 for model in {line.model for line in LINES}
    }


@pytest.mark.stack
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("provider", {line.provider for line in LINES}),
        ("model", {line.model for line in LINES}),
    ],
)
def test_the_reader_can_choose_among_what_was_sent(filled: Filled, name: str, expected: set[str]) -> None:
    (variable,) = (one for one in BOARD["templating"]["list"] if one["name"] == name)
    asked = re.fullmatch(r"label_values\((?P<series>.+), (?P<label>\w+)\)", variable["query"]["query"])
    assert asked
    answer = filled.prometheus.ask(f"label/{asked['label']}/values", **{"match[]": substituted(asked["series"])})
    assert set(answer) == expected
