"""Every query of the dashboard `live-spend.json`, asked of a Prometheus that was filled through the collector."""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from grafana import names
from grafana.asking import chosen, filled_in
from tests.stack.voice_service import (
    ACCOUNTS,
    DEPLOYMENTS,
    DOUBTS,
    DUPLICATES,
    FIRST_AUDIO_SECONDS,
    LINES,
    MODELS,
    SESSION_SECONDS,
    TRANSCRIPTION_MODELS,
    UNCERTAINTY,
    UNPRICED,
    USAGES,
    Service,
    money,
    saved,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from tests.stack.conftest import Prometheus, StartCollector, StartPrometheus

DASHBOARD = Path(__file__).resolve().parents[2] / "grafana" / "dashboards" / "live-spend.json"
BOARD: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
PANELS = {panel["title"]: panel for panel in BOARD["panels"]}
QUERIES = [
    pytest.param(panel, target, id=f"{title} {target['refId']}")
    for title, panel in PANELS.items()
    for target in panel["targets"]
]
VARIABLES = {one["name"]: one for one in BOARD["templating"]["list"] if one["type"] == "query"}

RANGE_SECONDS = 600
# Responses that were exported before the middle of the test, and those with the attribute tenant="acme".
FIRST_HALF = 4
OF_ACME = 2

# How far apart Grafana asks at the least: for bars once each, for lines as often as there are pixels.
STEP_SECONDS = {"1h": 3_600, "1d": 86_400, None: 0.2}

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A Prometheus that took three services in: one that ran on, one that exported once, one that began later."""

    prometheus: Prometheus
    begin: float
    # After the responses of FIRST_HALF and before the others.
    middle: float
    end: float
    responses: int

    def ask(self, expr: str, **choices: str) -> dict[Labels, float]:
        return self.prometheus.query(substituted(expr, **choices), at=self.end)

    def panel(self, title: str, ref: str = "A", **choices: str) -> dict[Labels, float]:
        (target,) = (target for target in PANELS[title]["targets"] if target["refId"] == ref)
        return self.ask(target["expr"], **choices)

    def bars(self, title: str, ref: str = "A", *, step: float | None = None) -> dict[Labels, float]:
        """The sum of all bars of a panel, by the step that Grafana takes: the least, unless bars would be too many."""
        (target,) = (target for target in PANELS[title]["targets"] if target["refId"] == ref)
        step = step or STEP_SECONDS[PANELS[title]["interval"]]
        # Grafana begins at a whole multiple of the step, which is in UTC.
        asked = {"start": self.begin // step * step, "end": self.end, "step": step}
        expr = substituted(target["expr"], step=f"{step:.0f}s")
        result = self.prometheus.ask("query_range", query=expr, **asked)["result"]
        return {frozenset(one["metric"].items()): sum(float(value) for _, value in one["values"]) for one in result}


def substituted(expr: str, *, over: str = f"{RANGE_SECONDS}s", step: str = "1s", **choices: str) -> str:
    """What Grafana sends for a range so long, as the dashboard opens unless something is chosen."""
    times = {"__range": over, "__interval": step, "__rate_interval": "60s"}
    return filled_in(expr, chosen(BOARD, **times, **choices))


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
    begin = time.time()
    steady, once = Service(url=url), Service(url=url)
    steady.export()
    steady.respond_and_export()
    steady.respond_and_export()
    once.respond_and_export(2)
    # Samples carry milliseconds: without a pause one could lie on the instant that divides the two halves.
    time.sleep(0.05)
    middle = time.time()
    time.sleep(0.05)
    steady.respond_and_export()
    late = Service(url=url, extra={"tenant": "acme"})
    late.respond_and_export(OF_ACME)
    sent = steady.responses + once.responses + late.responses
    counted = f"sum(last_over_time({names.UNPRICED}[{RANGE_SECONDS}s]))"

    def all_there() -> bool | None:
        return True if list(prometheus.query(counted).values()) == [UNPRICED * sent] else None

    eventually(all_there, what="the last export to reach Prometheus")
    return Filled(prometheus=prometheus, begin=begin, middle=middle, end=time.time(), responses=sent)


def by(*labels: tuple[str, str]) -> Labels:
    return frozenset(labels)


def about(amount: Decimal | float) -> Any:
    return pytest.approx(float(amount), rel=1e-9)


def total(responses: int, *, model: str | None = None) -> Any:
    return about(responses * sum(line.cost for line in LINES if model in (None, line.model)))


def tokens(*components: str) -> Counter[str]:
    """The tokens of one response of each model, by modality."""
    counts: Counter[str] = Counter()
    for line in LINES:
        if line.component in components:
            counts[line.modality] += line.tokens
    return counts


def by_modality(values: Mapping[str, Any]) -> dict[Labels, Any]:
    return {by((names.MODALITY, modality)): value for modality, value in values.items()}


@pytest.mark.stack
@pytest.mark.parametrize(("panel", "target"), QUERIES)
@pytest.mark.parametrize("attribute", ["tenant", "shoe_size"])
def test_every_query_returns_data(filled: Filled, panel: Any, target: Any, attribute: str) -> None:
    step = STEP_SECONDS[panel.get("interval")]
    expr = substituted(target["expr"], attribute=attribute, step=f"{step:.0f}s")
    if target.get("range"):
        asked = {"start": filled.begin // step * step, "end": filled.end, "step": step}
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
def test_prometheus_has_the_names_that_we_translate_to(filled: Filled) -> None:
    stored = set(filled.prometheus.ask("label/__name__/values")) - {"target_info"}
    # The sink is fed with what has a panel; the rest is nowhere asked for.
    assert stored <= names.all_series()
    assert len(stored) >= len(PANELS) // 2


@pytest.mark.stack
def test_the_total_is_the_money_that_was_sent(filled: Filled) -> None:
    assert filled.panel("Total cost in the range") == {by(): total(filled.responses)}


@pytest.mark.stack
def test_the_totals_of_two_ranges_add_up_to_the_money_that_was_sent(filled: Filled) -> None:
    expr = PANELS["Total cost in the range"]["targets"][0]["expr"]
    before = filled.prometheus.query(substituted(expr), at=filled.middle)
    rest = f"{(filled.end - filled.middle) * 1000:.0f}ms"
    after = filled.prometheus.query(substituted(expr, over=rest), at=filled.end)
    assert before == {by(): total(FIRST_HALF)}
    assert after == {by(): total(filled.responses - FIRST_HALF)}


@pytest.mark.stack
@pytest.mark.parametrize("title", ["Cost by hour and $by", "Cost by day and $by"])
@pytest.mark.parametrize("step", [None, 7_200, 86_400, 604_800])
def test_the_bars_add_up_to_the_money_that_was_sent(filled: Filled, title: str, step: int | None) -> None:
    assert filled.bars(title, step=step) == {
        by((names.MODEL, model)): total(filled.responses, model=model) for model in MODELS
    }


@pytest.mark.stack
@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"provider": "openai"}, "gpt-realtime|gpt-4o-transcribe"),
        ({"model": "gpt-realtime"}, "gpt-realtime"),
        ({"deployment": "gpt-realtime-mini-eu"}, "gpt-realtime-mini"),
        ({"account": "contoso"}, "gpt-realtime-mini"),
    ],
)
def test_what_the_reader_chooses_narrows_the_total(filled: Filled, choice: dict[str, str], expected: str) -> None:
    cost = sum(line.cost for line in LINES if line.model in expected.split("|")) * filled.responses
    assert filled.panel("Total cost in the range", **choice) == {by(): about(cost)}


@pytest.mark.stack
def test_a_tenant_is_one_where_there_are_tenants(filled: Filled) -> None:
    assert filled.panel("Total cost in the range", tenant="acme") == {by(): total(OF_ACME)}
    assert filled.panel("Cost in the range by $by", by="tenant") == {
        by(("tenant", "acme")): total(OF_ACME),
        by(("tenant", "not set")): total(filled.responses - OF_ACME),
    }


@pytest.mark.stack
def test_an_attribute_that_nobody_sets_takes_nothing_away(filled: Filled) -> None:
    assert filled.panel("Total cost in the range", attribute="shoe_size") == {by(): total(filled.responses)}
    assert filled.panel("Cost in the range by $by", by="shoe_size") == {
        by(("shoe_size", "not set")): total(filled.responses)
    }


@pytest.mark.stack
@pytest.mark.parametrize(("label", "of"), [(names.MODEL, 1), (names.MODALITY, 2), (names.COMPONENT, 3)])
def test_the_cost_is_split_by_what_the_reader_chose(filled: Filled, label: str, of: int) -> None:
    costs = money(LINES, lambda line: str(line[of]))
    assert filled.panel("Cost in the range by $by", by=label) == {
        by((label, value)): about(cost * filled.responses) for value, cost in costs.items()
    }


@pytest.mark.stack
def test_the_cost_by_component_is_the_money_that_was_sent_for_each(filled: Filled) -> None:
    costs = money(LINES, lambda line: f"{line.modality} {line.component}")
    assert filled.panel("Cost in the range by modality and component") == {
        by((names.MODALITY, both.split()[0]), (names.COMPONENT, both.split()[1])): about(cost * filled.responses)
        for both, cost in costs.items()
    }


@pytest.mark.stack
def test_a_response_costs_its_inference_without_transcription(filled: Filled) -> None:
    answering = MODELS - TRANSCRIPTION_MODELS
    cost = sum(line.cost for line in LINES if line.model in answering)
    assert filled.panel("Cost per response in the range") == {by(): about(cost / len(answering) / sum(USAGES.values()))}


@pytest.mark.stack
def test_a_session_minute_costs_everything_through_the_minutes_of_sessions(filled: Filled) -> None:
    minutes = len(MODELS - TRANSCRIPTION_MODELS) * SESSION_SECONDS / 60
    assert filled.panel("Cost per session minute in the range") == {
        by(): about(float(sum(money(LINES).values())) / minutes)
    }


@pytest.mark.stack
def test_the_share_of_audio_output_is_its_part_of_the_money(filled: Filled) -> None:
    costs = money(LINES, lambda line: f"{line.modality} {line.component}")
    spoken = costs["audio output"] / sum(costs.values())
    assert filled.panel("Share of audio output in the cost") == {by(): about(spoken)}


@pytest.mark.stack
def test_the_savings_are_what_the_cache_made_cheaper(filled: Filled) -> None:
    cached = [line for line in LINES if line.component == "cached_input"]
    in_all = sum(saved(line) for line in cached) * filled.responses
    assert filled.panel("Saved by the cache in the range") == {by(): about(in_all)}
    assert filled.panel("Saved by the cache in the range by modality") == by_modality(
        {
            modality: about(sum(saved(line) for line in cached if line.modality == modality) * filled.responses)
            for modality in ("text", "audio", "image")
        }
    )


@pytest.mark.stack
def test_tokens_are_counted_by_modality(filled: Filled) -> None:
    for ref, components in {"A": ("input", "cached_input"), "B": ("cached_input",), "C": ("output",)}.items():
        assert filled.panel("Tokens in the range by modality", ref) == by_modality(
            {modality: count * filled.responses for modality, count in tokens(*components).items()}
        )


@pytest.mark.stack
@pytest.mark.parametrize("title", ["Cache hit ratio by modality", "Cache hit ratio in the range by modality"])
def test_the_cache_hit_ratio_is_the_cached_part_of_the_input(filled: Filled, title: str) -> None:
    cached, everything = tokens("cached_input"), tokens("input", "cached_input")
    assert filled.panel(title) == by_modality({of: about(cached[of] / everything[of]) for of in everything})


@pytest.mark.stack
def test_usages_are_counted_by_kind_and_status_and_unpriced_ones_by_reason(filled: Filled) -> None:
    title = "Responses and other usage events by status"
    models = {"response": MODELS - TRANSCRIPTION_MODELS, "transcription": TRANSCRIPTION_MODELS}
    assert filled.panel(title) == {
        by((names.KIND, kind), (names.USAGE, usage)): count * len(models[kind]) * filled.responses
        for kind in models
        for usage, count in USAGES.items()
    }
    assert filled.panel(title, "B") == {by((names.REASON, "unknown_model")): UNPRICED * filled.responses}


@pytest.mark.stack
@pytest.mark.parametrize("step", [None, 7_200, 86_400])
def test_the_bars_of_what_has_no_cost_add_up_to_what_was_sent(filled: Filled, step: int | None) -> None:
    title = "Lost, missing and unpriced usage by hour"
    assert filled.bars(title, step=step) == {
        by((names.USAGE, usage)): USAGES[usage] * len(MODELS) * filled.responses for usage in ("missing", "lost")
    }
    assert filled.bars(title, "B", step=step) == {by((names.REASON, "unknown_model")): UNPRICED * filled.responses}


@pytest.mark.stack
def test_doubts_are_counted_by_kind(filled: Filled) -> None:
    title = "Doubts, assumptions and errors in the range by kind"
    each = len(MODELS) * filled.responses
    assert filled.panel(title) == {by((names.KIND, doubt)): count * each for doubt, count in DOUBTS.items()}
    assert filled.panel(title, "B") == {by(): DUPLICATES * each}


@pytest.mark.stack
def test_the_uncertainty_is_what_was_sent_and_zero_where_nothing_was(filled: Filled) -> None:
    title = "Uncertainty of the cost in the range"
    assert filled.panel(title) == {by(): about(UNCERTAINTY * len(MODELS) * filled.responses)}
    assert filled.panel(title, model="none-of-ours") == {by(): 0}


@pytest.mark.stack
def test_the_active_sessions_are_those_of_every_process(filled: Filled) -> None:
    assert filled.panel("Active sessions by model") == {by((names.MODEL, model)): 3 for model in MODELS}


@pytest.mark.stack
def test_the_time_to_first_audio_lies_in_its_bucket(filled: Filled) -> None:
    # Also that of the processes which exported once, where rate() sees nothing.
    for ref in ("A", "B", "C"):
        (seconds,) = filled.panel("Time to first audio", ref).values()
        assert FIRST_AUDIO_SECONDS / 2 < seconds <= FIRST_AUDIO_SECONDS * 2


@pytest.mark.stack
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("provider", set(ACCOUNTS)),
        ("model", MODELS),
        ("deployment", set(DEPLOYMENTS.values())),
        ("account", set(ACCOUNTS.values())),
        ("tenant", {"acme"}),
    ],
)
def test_the_reader_can_choose_among_what_was_sent(filled: Filled, name: str, expected: set[str]) -> None:
    assert options_of(filled, name) == expected


@pytest.mark.stack
def test_an_attribute_that_nobody_sets_leaves_no_choice_but_all(filled: Filled) -> None:
    assert options_of(filled, "tenant", attribute="shoe_size") == set()


def options_of(filled: Filled, name: str, **choices: str) -> set[str]:
    query = substituted(VARIABLES[name]["query"]["query"], **choices)
    asked = re.fullmatch(r"label_values\((?P<series>.+), (?P<label>\w+)\)", query)
    assert asked
    return set(filled.prometheus.ask(f"label/{asked['label']}/values", **{"match[]": asked["series"]}))


def test_every_choice_of_a_label_is_tried_here_or_one_of_ours() -> None:
    of_the_reader = {"tenant", "plan", "team"}
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "custom":
            labels = {option["value"] for option in variable["options"]}
            written = {pair.split(" : ")[1] for pair in variable["query"].split(", ")}
            assert labels == written
            assert labels <= names.all_labels() | of_the_reader | {names.ENVIRONMENT}
            assert variable["allowCustomValue"] is True
