"""Every query of every dashboard and rule, asked of a Prometheus that was filled through the real collector."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import yaml
from grafana.names import COST, SENT, label, series
from tests.stack.conftest import wait_until_handed_on
from tests.stack.filling import queries
from tests.stack.filling.recording import Replay, play
from tests.stack.filling.sent import told_by, whose
from tests.stack.filling.syntax import Node, operands, printed, with_offsets
from tests.stack.filling.totals import grown, quantities
from tests.stack.filling.troubled import every_failure_is_growing, overwritten, too_old, troubled
from tests.stack.filling.truth import Evaluator, NotATotalError, Row, rows_of

from realtime_spend.estimates.ledger import entry_of
from realtime_spend.sinks import metrics as names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.stack.conftest import Collector, Lived, Prometheus, StartCollector, StartPrometheus
    from tests.stack.filling.queries import Query, Variable
    from tests.stack.filling.recording import Recorded
    from tests.stack.filling.troubled import Troubled
    from tests.stack.filling.truth import Vector

T = TypeVar("T")

HOUR, DAY = 3_600, 86_400
NANO = 10**9
# All that is sent lies in it, and none of it in the day before it.
RANGE = 7 * DAY
# When the programs are said to have ended, in seconds before now. The oldest is what last week is compared with: it is
# inside the seven days that Prometheus takes in, and near enough to their end.
AGES = (360, 3 * HOUR, 14 * HOUR, 2 * DAY + 2 * HOUR, 4 * DAY + 5 * HOUR, 167 * HOUR + 45 * 60)
# The program of which two processes run under one id.
SHARES_ITS_ID = "short-1"
# How far apart the program and the service may be about how long one session was, where none waits for the machine.
SECONDS_OFF = 0.1
NOT_TAKEN = "job_instance_stage:otelcol_metric_points_not_taken:sum"
# So that the few seconds are seen in which the collector was scraped.
STEP = 1


def of_sessions(asked: list[T]) -> list[T]:
    """Without those about bills, whose truth is no session's: test_drift_running.py asks them, beside a reconciler."""
    return [one for one in asked if not str(one).startswith(("estimate-beside-bill.json: ", "drift.yml: "))]


PANELS = of_sessions(queries.panel_queries(range_seconds=RANGE))
VARIABLES = of_sessions(queries.variables())
RECORDED = of_sessions(queries.rules("record"))
ALERTS = of_sessions(queries.rules("alert"))

stack = pytest.mark.stack
# The fleet is run within the setup of the first test.
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A Prometheus with the shipped configuration and rules, and the truth about what was sent to it."""

    prometheus: Prometheus
    rows: list[Row]
    # Nothing is scraped before the first, and the last failures are from after the second.
    begin: float
    failing: float
    end: float

    def parsed(self, expr: str) -> Node:
        node: Node = self.prometheus.ask("parse_query", query=expr)
        return node

    def instants(self, query: Query) -> range:
        """The instants at which Grafana asks: multiples of the step, from the range's beginning on."""
        step, seconds = query.step or STEP, RANGE if query.step else HOUR
        return range(int(self.end - seconds) // step * step, int(self.end) + 1, step)

    def answer(self, query: Query) -> Vector:
        """The value of each series; of a query in steps, their sum, which says nothing but for totals."""
        if not query.is_range:
            return self.prometheus.query(query.expr, at=self.end)
        instants = self.instants(query)
        asked = {"start": instants[0], "end": instants[-1], "step": instants.step}
        result = self.prometheus.ask("query_range", query=query.expr, **asked)["result"]
        return {
            frozenset(series["metric"].items()): math.fsum(
                number for _, value in series["values"] if math.isfinite(number := float(value))
            )
            for series in result
        }

    def says_something(self, expr: str) -> bool:
        """Whether it has a value that is not 0; of what says that a series is absent: before there was any."""
        at = self.begin - 1 if expr.startswith("absent (") else self.end
        return any(value and math.isfinite(value) for value in self.prometheus.query(expr, at=at).values())

    def expected(self, query: Query) -> Vector:
        """What the query must answer if each usage is counted once, in its own window."""
        node = self.parsed(query.expr)
        total: dict[frozenset[tuple[str, str]], float] = {}
        for at in self.instants(query) if query.is_range else [self.end]:
            answer = Evaluator(rows=self.rows, at=at).vector(node)
            assert isinstance(answer, dict)
            for labels, value in answer.items():
                total[labels] = total.get(labels, 0) + value
        return total


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A collector and a Prometheus that know of each other, and the collectors in trouble that are scraped besides."""

    collector: Collector
    troubled: Troubled
    prometheus: Prometheus
    begin: float


def replays(recorded: Mapping[str, Recorded], now: float) -> Iterator[Replay]:
    number = count(1)
    for age in AGES:
        for program in recorded.values():
            onto = round((now - age) * NANO)
            yield Replay(recorded=program, instant=program.end, onto=onto, number=next(number))


def configuration(folder: Path, *, metrics_ports: list[int]) -> str:
    """The shipped configuration, with this test's ports, and rules that are evaluated each second."""
    shipped = queries.REPOSITORY / "prometheus"
    said: Any = yaml.safe_load((shipped / "prometheus.yml").read_text(encoding="utf-8"))
    said["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    del said["alerting"]
    (job,) = said["scrape_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in metrics_ports]}]
    (folder / "rules").mkdir()
    for path in queries.RULES:
        rules: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group in rules["groups"]:
            group.pop("interval", None)
            group.pop("query_offset", None)
        (folder / "rules" / path.name).write_text(yaml.safe_dump(rules))
    return yaml.safe_dump(said)


@pytest.fixture(scope="module")
def pipeline(
    lived: Lived,
    start_prometheus: StartPrometheus,
    start_collector: StartCollector,
    unused_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Pipeline:
    folder, port = tmp_path_factory.mktemp("filled"), unused_port()
    collector = start_collector(folder, prometheus_url=f"http://127.0.0.1:{port}/api/v1/otlp/v1/metrics")
    nobody = f"http://127.0.0.1:{unused_port()}/"
    others = troubled(start_collector, folder, recorded=lived.recorded["once-1"], nobody=nobody)
    begin = time.time()
    shipped = configuration(folder, metrics_ports=[collector.metrics_port, *others.metrics_ports])
    prometheus = start_prometheus(folder, port=port, configuration=shipped)
    return Pipeline(collector=collector, troubled=others, prometheus=prometheus, begin=begin)


@pytest.fixture(scope="module")
def filled(
    lived: Lived,
    pipeline: Pipeline,
    eventually: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Filled:
    collector, prometheus = pipeline.collector, pipeline.prometheus
    folder = tmp_path_factory.mktemp("ledgers")
    sent = list(replays(lived.recorded, time.time()))
    *most, last = sent
    play(most, port=collector.otlp_http_port, ledger=folder / "taken")
    # So that at least the last one is sent between two scrapes.
    eventually(lambda: prometheus.query(SENT) or None, what="what was sent to be scraped")
    play([last], port=collector.otlp_http_port, ledger=folder / "taken")
    shares_its_id = next(replay for replay in sent if replay.recorded.name == SHARES_ITS_ID)
    play([overwritten(shares_its_id)], port=collector.otlp_http_port, ledger=folder / "overwritten")

    eventually(lambda: prometheus.query(NOT_TAKEN) or None, what="the first failures to be recorded")
    failing = time.time()

    def fail() -> bool | None:
        pipeline.troubled.refuse()
        play([too_old(sent[0])], port=collector.otlp_http_port, ledger=folder / "refused")
        return every_failure_is_growing(prometheus)

    eventually(fail, what="every kind of failure to be seen")
    wait_until_handed_on(collector)
    handed_on = time.time()
    eventually(lambda: scraped(prometheus), what="the collector to be scraped")
    end = eventually(lambda: evaluated(prometheus, since=handed_on), what="the rules to be evaluated")
    rows = list(all_rows(sent, lived))
    return Filled(prometheus=prometheus, rows=rows, begin=pipeline.begin, failing=failing, end=end)


def scraped(prometheus: Prometheus) -> bool | None:
    return True if prometheus.query('count_over_time(up{job="otelcol"}[1m]) >= 4') else None


def evaluated(prometheus: Prometheus, *, since: float) -> float | None:
    """The present, once every group of rules was evaluated after an instant and a scrape, or nothing."""
    after = max(since, time.time() - 2)
    groups = prometheus.ask("rules")["groups"]
    evaluations = [datetime.fromisoformat(group["lastEvaluation"]).timestamp() for group in groups]
    return time.time() if min(evaluations) > after else None


def all_rows(sent: list[Replay], lived: Lived) -> Iterator[Row]:
    for replay in sent:
        for record in replay.records():
            entry = entry_of(record)
            assert entry is not None
            yield from rows_of(entry, replay.recorded.name)
    repeats = lived.truth["counts"]["repeats"]
    assert repeats > 0
    for replay in sent:
        if replay.recorded.name == "doubtful":
            labels = {label(names.PROVIDER_NAME): "openai", label(names.MODEL): "gpt-realtime-2"}
            for _ in range(repeats):
                at = replay.moved(replay.recorded.spending[0]) / NANO
                yield Row(at, series(names.DUPLICATES), labels, Decimal(1))


# --- Every query returns data -----------------------------------------------------------------------------------------


@stack
@pytest.mark.parametrize("query", PANELS, ids=str)
def test_every_panel_query_returns_data(filled: Filled, query: Query) -> None:
    answer = filled.answer(query)
    assert answer
    assert any(answer.values())
    assert all(math.isfinite(value) for value in answer.values())


@stack
@pytest.mark.parametrize("variable", VARIABLES, ids=str)
def test_every_variable_has_values_to_choose_from(filled: Filled, variable: Variable) -> None:
    values = set(filled.prometheus.ask(f"label/{variable.label}/values", **{"match[]": variable.selector}))
    told = {row.labels[variable.label] for row in filled.rows if variable.label in row.labels}
    assert values == told
    assert len(told) >= 2


@stack
@pytest.mark.parametrize("rule", RECORDED, ids=str)
def test_every_recording_rule_records_data(filled: Filled, rule: Query) -> None:
    assert filled.says_something(rule.expr)
    recorded = rule.where.partition(": ")[2]
    assert filled.says_something(f'{{__name__="{recorded}"}}')


@stack
@pytest.mark.parametrize("alert", ALERTS, ids=str)
def test_every_alert_looks_at_data(filled: Filled, alert: Query) -> None:
    """Whatever it compares is there; where it looks back to before Prometheus was started, it looks back less far."""
    offset = round((filled.end - filled.failing) * 1000)
    looked_at = [printed(with_offsets(operand, offset)) for operand in operands(filled.parsed(alert.expr))]
    assert looked_at
    assert [expr for expr in looked_at if not filled.says_something(expr)] == []


@stack
def test_prometheus_finds_no_fault_in_the_rules(filled: Filled) -> None:
    rules = [rule for group in filled.prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == len(queries.rules("record")) + len(queries.rules("alert"))
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []


# --- Every total is the truth -----------------------------------------------------------------------------------------


def is_total(query: Query) -> bool:
    """Whether the query is one of the exact formula, and not of a histogram, whose sums usages do not tell."""
    return "last_over_time" in query.expr and "or" in query.expr and not re.search(UNTOLD, query.expr)


# Durations, and what the collector reports of itself.
UNTOLD = r"_seconds_(bucket|sum|count)|session_time_seconds|otelcol"
TOTALS = [query for query in [*PANELS, *RECORDED] if is_total(query)]


@stack
@pytest.mark.parametrize("query", TOTALS, ids=str)
def test_every_total_is_what_the_simulated_service_sent(filled: Filled, query: Query) -> None:
    expected = {labels: value for labels, value in filled.expected(query).items() if value}
    answer = {labels: value for labels, value in filled.answer(query).items() if value}
    assert expected
    assert answer == pytest.approx(expected, rel=1e-9)


@stack
def test_every_quantity_of_every_model_is_what_the_simulated_service_told(filled: Filled, lived: Lived) -> None:
    """By its own totals, of each modality and component: the ledger has no part in it."""
    expected = {key: float(value) * len(AGES) for key, value in told_by(lived.truth).counted().items() if value}
    answer = quantities(filled.prometheus, window=f"{RANGE}s", at=filled.end)
    assert {metric for metric, *_ in expected} == {metric for metric, *_ in answer}
    assert {modality for _, _, modality in expected} >= {"text", "audio", "unknown"}
    assert answer == pytest.approx(expected, rel=1e-9)


@stack
def test_every_cost_of_every_model_is_what_the_simulated_service_would_bill(filled: Filled, lived: Lived) -> None:
    told = told_by(lived.truth)
    answer = grown(filled.prometheus, names.COST, names.MODALITY, names.COMPONENT, window=f"{RANGE}s", at=filled.end)
    expected = {(model, *part): float(cost) * len(AGES) for (model, part), cost in told.costs.items() if cost}
    not_split = [key for key in {*expected, *answer} if key[0] in told.not_split and "input" in key[2]]
    inputs = {key: (expected.pop(key, 0), answer.pop(key, 0)) for key in not_split}
    assert len(expected) > 10
    assert answer == pytest.approx(expected, rel=1e-9)

    # Of an unsplit count the cost is the upper bound, and the width to the lower one is told.
    width = grown(filled.prometheus, names.COST_UNCERTAINTY, window=f"{RANGE}s", at=filled.end)
    assert {model for (model,) in width} == told.not_split == {model for model, *_ in inputs}
    for model in told.not_split:
        would_be, counted = (
            math.fsum(pair[side] for key, pair in inputs.items() if key[0] == model) for side in (0, 1)
        )
        assert counted - width[model,] <= would_be * (1 + 1e-9)
        assert would_be <= counted * (1 + 1e-9)


def longest_way(lived: Lived) -> float:
    """The seconds from when the service sent a usage to when a program wrote it down: many, on a busy machine."""
    sent = {(usage["kind"], usage["id"]): usage["at"] for usage in lived.truth["usages"]}
    ways = [
        datetime.fromisoformat(record["at"]) - datetime.fromisoformat(sent[record["kind"], record["id"]])
        for program in lived.recorded.values()
        for record in program.records
        if record["usage"] == "reported"
    ]
    return max(ways).total_seconds()


@stack
def test_the_time_of_sessions_is_what_the_simulated_service_saw(filled: Filled, lived: Lived) -> None:
    """The program and the service each have moments of their own for the begin and the end of a session."""
    seconds: dict[tuple[Any, ...], float] = {}
    off: dict[tuple[Any, ...], float] = {}
    each_off = SECONDS_OFF + longest_way(lived)
    for session in lived.truth["sessions"]:
        opened, closed = (datetime.fromisoformat(session[key]) for key in ("opened_at", "closed_at"))
        of_model = (whose(session),)
        seconds[of_model] = seconds.get(of_model, 0) + (closed - opened).total_seconds() * len(AGES)
        off[of_model] = off.get(of_model, 0) + each_off * len(AGES)
    counted = grown(filled.prometheus, names.SESSION_TIME, window=f"{RANGE}s", at=filled.end)
    assert counted.keys() == seconds.keys()
    assert {model for model in seconds if abs(counted[model] - seconds[model]) > off[model]} == set()

    # And so is what is divided by it.
    (panel,) = (query for query in PANELS if "Cost per session minute" in query.where)
    (cost_per_minute,) = filled.answer(panel).values()
    cost = float(sum(row.amount for row in filled.rows if row.metric == COST))
    would_be, width = math.fsum(seconds.values()), math.fsum(off.values())
    assert width < would_be / 5
    assert cost / (would_be + width) * 60 <= cost_per_minute <= cost / (would_be - width) * 60


@stack
def test_falls_of_a_total_are_seen_of_processes_that_share_an_id_and_of_no_other(filled: Filled) -> None:
    (panel,) = (query for query in PANELS if "Resets inside a series" in query.where)
    falls = {dict(labels)["job"]: value for labels, value in filled.answer(panel).items()}
    assert falls.keys() == {row.labels["job"] for row in filled.rows if row.metric == COST}
    assert {job for job, value in falls.items() if value} == {SHARES_ITS_ID}
    (alert,) = (query for query in ALERTS if query.where.endswith(": RealtimeSpendInstanceIdShared"))
    found = [dict(labels) for labels in filled.prometheus.query(alert.expr, at=filled.end)]
    assert {labels["job"] for labels in found} == {SHARES_ITS_ID}
    assert len({labels["instance"] for labels in found}) == 1


def test_most_queries_are_totals_that_can_be_checked() -> None:
    assert len(TOTALS) >= 20
    asked = queries.all_queries()
    assert len(asked) > len([*PANELS, *RECORDED, *ALERTS]) > len(asked) / 2
    guessed = [query.where for query in asked if re.search(r"\bincrease\(", query.expr)]
    assert guessed == []


@stack
def test_the_evaluator_knows_what_it_does_not_know(filled: Filled) -> None:
    for expr in ("sum(rate(realtime_spend_cost_USD_total[5m]))", "max(realtime_spend_cost_USD_total)"):
        with pytest.raises(NotATotalError):
            Evaluator(rows=filled.rows, at=filled.end).vector(filled.parsed(expr))


# --- Names ------------------------------------------------------------------------------------------------------------


def test_every_query_asks_for_what_is_emitted() -> None:
    asked = queries.all_queries()
    assert len(asked) > 40
    assert queries.unknown_names(asked) == []


def test_a_metric_that_is_renamed_is_missed_by_the_panels_that_show_it(tmp_path: Path) -> None:
    """The test above, run with a copy of the package in which one metric has another name."""
    package = shutil.copytree(queries.REPOSITORY / "src" / "realtime_spend", tmp_path / "src" / "realtime_spend")
    renamed = package / "sinks" / "metrics.py"
    text = renamed.read_text(encoding="utf-8")
    assert text.count('"realtime_spend.cost"') == 1
    renamed.write_text(text.replace('"realtime_spend.cost"', '"realtime_spend.spending"'), encoding="utf-8")
    test = f"{__file__}::{test_every_query_asks_for_what_is_emitted.__name__}"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider", test],
        cwd=queries.REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "live-spend.json: Total cost in the range A: realtime_spend_cost_USD_total" in ran.stdout
    assert "totals.yml: " in ran.stdout
