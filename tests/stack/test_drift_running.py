"""Estimate beside bill through the real collector in the real Prometheus: gauges, rules, the dashboard's queries."""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from grafana import names
from grafana.asking import chosen, filled_in
from tests.reconciled import days_before, reconciliation, row
from tests.stack.conftest import wait_until_handed_on

from realtime_spend.core.line_items import Provider
from realtime_spend.core.reconciliation.drift import Cause, State
from realtime_spend.telemetry_pipe import instance_of, pipe_of
from realtime_spend.watching import DAYS, SERVICE_NAME, Emission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from tests.stack.conftest import Collector, Prometheus, StartCollector, StartPrometheus

    from realtime_spend.core.reconciliation.drift import Reconciliation, Row

REPOSITORY = Path(__file__).resolve().parents[2]
BOARD: dict[str, Any] = json.loads((REPOSITORY / "grafana/dashboards/estimate-beside-bill.json").read_text("utf-8"))
PANELS = {panel["title"]: panel for panel in BOARD["panels"]}
QUERIES = [
    pytest.param(target["expr"], id=f"{title} {target['refId']}")
    for title, panel in PANELS.items()
    for target in panel["targets"]
]
VARIABLES = [
    pytest.param(variable["query"]["query"], id=variable["name"])
    for variable in BOARD["templating"]["list"]
    if variable["type"] == "query"
]
MODELS = 60
DRIFTS = ("RealtimeSpendCostDriftFast", "RealtimeSpendCostDriftSlow")

# The sessions of a module's one setup, and then what changes.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


def in_a_hurry(folder: Path) -> str:
    """The shipped configuration; rules evaluated each second, and alerts that need not last to fire."""
    rules = shutil.copytree(REPOSITORY / "prometheus" / "rules", folder / "rules")
    for path in rules.iterdir():
        text = re.sub(r"(interval|query_offset): \w+", r"\1: 1s", path.read_text(encoding="utf-8"))
        path.write_text(re.sub(r" for: \w+", " for: 0s", text), encoding="utf-8")
    text = (REPOSITORY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    return re.sub(r"_interval: \w+", "_interval: 1s", text)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A Prometheus behind a collector, and a reconciler that says what a test wants."""

    prometheus: Prometheus
    collector: Collector
    emission: Emission
    # The same in all tests, or a midnight between two of them would be the end of a day that both speak of.
    now: datetime

    def say(self, reconciled: Reconciliation) -> None:
        self.emission.say(reconciled, at=self.now, days=DAYS, fx={})
        assert self.emission.arrived
        wait_until_handed_on(self.collector)

    def sum_of(self, gauge: str, **labels: str) -> float | None:
        matchers = ", ".join(f'{name}="{value}"' for name, value in labels.items())
        return self.prometheus.query(f"sum({gauge}{{{matchers}}})").get(frozenset())

    def firing(self, *alerts: str) -> set[tuple[str, str]]:
        """Which alerts fire, and of which account."""
        found = self.prometheus.query(f'ALERTS{{alertname=~"{"|".join(alerts)}", alertstate="firing"}}')
        return {(dict(labels)["alertname"], dict(labels).get(names.ACCOUNT, "")) for labels in found}


def everything(today: date) -> list[Row]:
    """A clean account of many models, one that drifts by 20 %, one whose sessions nobody counts, and an open day."""
    settled = days_before(today - timedelta(days=2), DAYS - 2)
    clean = [
        row(day, estimated="2.5", billed="2.5", account="clean", model=f"model-{number}")
        for day in settled
        for number in range(MODELS)
    ]
    drifting = [row(day, estimated="100", billed="120", account="drifting") for day in settled]
    uncounted = [row(settled[-1], estimated="0", billed="7.5", account="uncounted", provider=Provider.AZURE)]
    still_open = [row(today, estimated="50", billed="1", account="clean", model="model-0", state=State.OPEN)]
    return [*clean, *drifting, *uncounted, *still_open]


def reconciled(rows: list[Row]) -> Reconciliation:
    return reconciliation(*rows, cause=Cause.PRICE)


@pytest.fixture(scope="module")
def running(
    start_prometheus: StartPrometheus,
    start_collector: StartCollector,
    unused_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    folder, port = tmp_path_factory.mktemp("drift"), unused_port()
    collector: Collector = start_collector(folder, prometheus_url=f"http://127.0.0.1:{port}/api/v1/otlp/v1/metrics")
    prometheus = start_prometheus(folder, port=port, configuration=in_a_hurry(folder))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.otlp_http_port}")
        # Only what a test says is exported, and only then.
        patched.setenv("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
        patched.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
        instance = instance_of("ledger", "bill")
        environment = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        emission = Emission(lambda: pipe_of(environment, service=SERVICE_NAME, instance=instance))
        running = Running(prometheus=prometheus, collector=collector, emission=emission, now=datetime.now(UTC))
        running.say(reconciled(everything(running.now.date())))
        yield running
        emission.end()


@pytest.fixture(scope="module")
def said(running: Running, eventually: Callable[..., Any]) -> Running:
    """Once everything that has arrived was evaluated."""
    alerts = {*DRIFTS, "RealtimeSpendBilledWithoutEstimate"}
    eventually(
        lambda: {name for name, _ in running.firing(*alerts)} == alerts or None, what="the rules to be evaluated"
    )
    return running


# --- What is said is there --------------------------------------------------------------------------------------------


def test_every_series_is_there_under_its_own_name_and_none_is_added_up_with_another(said: Running) -> None:
    days = DAYS - 2
    assert said.prometheus.query(f"count({names.BILLED_COST})")[frozenset()] == days * MODELS + days + 1 + 1 > 2_000
    assert said.prometheus.query('count({otel_metric_overflow!=""})') == {}
    assert said.sum_of(names.BILLED_COST, **{names.ACCOUNT: "drifting"}) == days * 120
    assert said.sum_of(names.ESTIMATED_COST, **{names.ACCOUNT: "drifting"}) == days * 100
    assert said.sum_of(names.DRIFT_COST, **{names.ACCOUNT: "drifting", names.CAUSE: "price"}) == days * 20
    ratio = said.prometheus.query(f'{names.DRIFT_RATIO}{{{names.ACCOUNT}="drifting"}}')
    assert list(ratio.values()) == [pytest.approx(20 / 120)]


def test_whoever_says_it_is_the_reconciler_and_the_same_after_a_restart(said: Running) -> None:
    (labels,) = said.prometheus.query(f"group by (job, instance) ({names.BILLED_COST})")
    assert dict(labels) == {"job": SERVICE_NAME, "instance": instance_of("ledger", "bill")}


def test_it_says_how_old_it_is(said: Running) -> None:
    read = said.prometheus.query(f"time() - max by ({names.PROVIDER}) ({names.LAST_SUCCESS})")
    assert {dict(labels)[names.PROVIDER] for labels in read} == {"openai", "azure.ai.openai"}
    assert all(-1 <= age <= time.time() - said.now.timestamp() + 1 for age in read.values())
    midnight = datetime.combine(said.now.date() - timedelta(days=1), datetime.min.time(), UTC)
    settled = said.prometheus.query(f'{names.LAST_SETTLED}{{{names.PROVIDER}="openai"}}')
    assert list(settled.values()) == [midnight.timestamp()]


# --- The dashboard ----------------------------------------------------------------------------------------------------


def asked(expr: str) -> str:
    return filled_in(expr, chosen(BOARD))


@pytest.mark.parametrize("expr", QUERIES)
def test_every_query_of_the_dashboard_returns_it(said: Running, expr: str) -> None:
    answer = said.prometheus.query(asked(expr))
    assert answer
    assert all(math.isfinite(value) for value in answer.values())
    # Rightly 0 is the number of days that are final.
    assert any(answer.values()) or expr.endswith("== bool 2)")


@pytest.mark.parametrize("query", VARIABLES)
def test_every_variable_has_values_to_choose_from(said: Running, query: str) -> None:
    found = re.fullmatch(r"label_values\((?P<selector>.+), (?P<label>\w+)\)", asked(query))
    assert found
    assert len(said.prometheus.ask(f"label/{found['label']}/values", **{"match[]": found["selector"]})) >= 2


def panel(said: Running, title: str, ref: str) -> dict[frozenset[tuple[str, str]], float]:
    (target,) = (target for target in PANELS[title]["targets"] if target["refId"] == ref)
    return said.prometheus.query(asked(target["expr"]))


def test_the_sums_are_the_money_that_was_said(said: Running) -> None:
    title, days = "Billed, estimated and drift over the settled days", DAYS - 2
    clean = days * MODELS * Decimal("2.5")
    expected = (clean + days * 120 + Decimal("7.5"), clean + days * 100, days * 20 + Decimal("7.5"))
    for ref, amount in zip("ABC", expected, strict=True):
        assert panel(said, title, ref) == {frozenset(): pytest.approx(float(amount))}


def test_the_days_are_counted_by_how_settled_they_are(said: Running) -> None:
    title = "Days by how settled their bill is"
    assert [list(panel(said, title, ref).values()) for ref in "ABC"] == [[1], [DAYS - 2], [0]]


def test_the_bars_of_a_day_are_its_money(said: Running) -> None:
    today = said.now.date().isoformat()
    by_day = {
        dict(labels)[names.DAY]: value for labels, value in panel(said, "Billed and estimated by UTC day", "A").items()
    }
    assert len(by_day) == DAYS - 2 + 1
    assert by_day[today] == 1
    assert by_day[min(by_day)] == pytest.approx(MODELS * 2.5 + 120)
    drift = panel(said, "Drift by settled UTC day", "A")
    assert today not in {dict(labels)[names.DAY] for labels in drift}
    assert sorted(drift.values()) == [pytest.approx(20)] * (DAYS - 3) + [pytest.approx(20 + 7.5)]


def test_two_reconcilers_at_once_count_once(said: Running) -> None:
    environment = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    other = Emission(lambda: pipe_of(environment, service=SERVICE_NAME, instance="another"))
    found = reconciled([one for one in everything(said.now.date()) if one.account == "uncounted"])
    other.say(found, at=said.now, days=DAYS, fx={})
    other.end()
    wait_until_handed_on(said.collector)
    both = f'count({names.BILLED_COST}{{{names.ACCOUNT}="uncounted"}})'
    assert list(said.prometheus.query(both).values()) == [2]
    (billed,) = panel(said, "Billed, estimated and drift over the settled days", "A").values()
    assert billed == pytest.approx((DAYS - 2) * (MODELS * 2.5 + 120) + 7.5)


# --- The alerts -------------------------------------------------------------------------------------------------------


def test_20_percent_fire_and_0_are_quiet(said: Running) -> None:
    assert said.firing(*DRIFTS) == {(alert, "drifting") for alert in DRIFTS}


def test_what_nobody_counts_fires_as_that_and_not_as_drift(said: Running) -> None:
    assert said.firing("RealtimeSpendBilledWithoutEstimate") == {("RealtimeSpendBilledWithoutEstimate", "uncounted")}


def test_nothing_else_fires(said: Running) -> None:
    assert said.firing("RealtimeSpendBillMissing", "RealtimeSpendReconcilerStale") == set()


def test_every_rule_can_be_evaluated(said: Running) -> None:
    rules = [rule for group in said.prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] == "err"] == []


def test_a_restated_day_overwrites_and_the_alert_ends(said: Running, eventually: Callable[..., Any]) -> None:
    restated = [
        row(one.day, estimated="100", billed="100", account="drifting") if one.account == "drifting" else one
        for one in everything(said.now.date())
    ]
    said.say(reconciled(restated))
    eventually(lambda: not said.firing(*DRIFTS) or None, what="the alerts to end")
    title, amount = "Billed, estimated and drift over the settled days", (DAYS - 2) * (MODELS * 2.5 + 100)
    assert panel(said, title, "A") == {frozenset(): pytest.approx(amount + 7.5)}
    # A cause that is over explains nothing, at once.
    assert panel(said, title, "C") == {frozenset(): pytest.approx(7.5)}
