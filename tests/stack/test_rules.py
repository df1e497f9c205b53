"""The Prometheus rules: when they fire, when they are quiet, and that every name in them and their runbooks is real."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from grafana.names import label, series

from realtime_spend.core.line_items import Component, Modality
from realtime_spend.core.rates import Reason
from realtime_spend.core.usage import Kind, Reported
from realtime_spend.sinks import metrics as names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.stack.conftest import Programs

REPOSITORY = Path(__file__).resolve().parents[2]
PROMETHEUS = REPOSITORY / "prometheus"
RUNBOOKS = REPOSITORY / "docs" / "runbooks"
SCENARIOS = Path(__file__).resolve().parent / "rules"
# What a collector says about itself; test_rules_running.py sees each of them on a real one.
COLLECTOR_METRICS = {
    "otelcol_exporter_queue_size",
    "otelcol_exporter_queue_capacity",
    "otelcol_exporter_send_failed_metric_points",
    "otelcol_exporter_enqueue_failed_metric_points",
    "otelcol_receiver_refused_metric_points",
    "otelcol_processor_memory_limiter_refused_metric_points",
}
# `stage` is our own; the others are Prometheus', the collector's, and the attribute that prometheus.yml promotes.
OTHER_LABELS = {"job", "instance", "stage", "exporter", "data_type", "__name__", "deployment_environment_name"}
WORDS_OF_PROMQL = {
    "by",
    "and",
    "or",
    "unless",
    "on",
    "group_left",
    "offset",
    "sum",
    "count",
    "topk",
    "sort_desc",
    "scalar",
    "vector",
}
WORDS_OF_PROMQL |= {"absent", "resets", "last_over_time", "min_over_time", "label_replace", "max", "abs", "time"}
VALUES: dict[str, set[str]] = {
    label(names.KIND): set(Kind),
    label(names.USAGE): set(Reported),
    label(names.REASON): set(Reason),
    label(names.MODALITY): set(Modality),
    label(names.COMPONENT): set(Component),
    # A service's own words, which counting.py takes as they come; none where there was no event.
    label(names.STATUS): {"completed", "cancelled", "failed", "incomplete", "in_progress", ""},
}


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


RULES = [
    rule
    for path in sorted((PROMETHEUS / "rules").glob("*.yml"))
    for group in loaded(path)["groups"]
    for rule in group["rules"]
]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
FILES = {path.name.removesuffix(".test.yaml"): path for path in sorted(SCENARIOS.glob("*.test.yaml"))}
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(RUNBOOKS.glob("RealtimeSpend*.md"))}

every_rule = pytest.mark.parametrize("rule", RULES, ids=[rule.get("alert") or rule["record"] for rule in RULES])
every_alert = pytest.mark.parametrize("alert", ALERTS)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)


def our_metrics() -> set[str]:
    return {series(name) for name in (*names.COUNTERS, *names.HISTOGRAMS, *names.GAUGES, names.SESSION_ACTIVE)}


def our_labels() -> set[str]:
    constants = {value for key, value in vars(names).items() if key.isupper() and isinstance(value, str)}
    return {label(name) for name in constants.difference(names.COUNTERS, names.HISTOGRAMS, names.GAUGES)}


def alternatives(pattern: str) -> list[str]:
    """What a matcher such as `a_(b|c)_d` or `b|c` stands for."""
    around = re.fullmatch(r"(.*)\((.*)\)(.*)", pattern)
    before, within, after = around.groups() if around else ("", pattern, "")
    return [f"{before}{one}{after}" for one in within.split("|")]


def unknown_names(expr: str) -> set[str]:
    """The names in a query that are neither PromQL's, nor ours, nor recorded, nor of something that is scraped."""
    known = our_metrics() | our_labels() | RECORDED | COLLECTOR_METRICS | OTHER_LABELS | WORDS_OF_PROMQL
    known |= {"up", "target_info"}
    matched = {name for pattern in re.findall(r'__name__=~"([^"]+)"', expr) for name in alternatives(pattern)}
    bare = re.sub(r'"[^"]*"|\[[^]]*\]|offset \w+', "", expr)
    return (set(re.findall(r"(?<![\w.])[A-Za-z_][\w:]*", bare)) | matched) - known


def values_asked_for(expr: str) -> Iterator[tuple[str, str]]:
    for name, pattern in re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', expr):
        for value in alternatives(pattern):
            yield name, value


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=110)


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, folder / "build.py", "--check")


# --- What they do -----------------------------------------------------------------------------------------------------


@pytest.mark.stack
def test_prometheus_takes_the_configuration_and_the_rules_in(programs: Programs) -> None:
    checked = run(programs.promtool, "check", "config", "--lint=all", "--lint-fatal", PROMETHEUS / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    files = len(list((PROMETHEUS / "rules").iterdir()))
    assert f"{files} rule files found" in checked.stdout


@pytest.mark.stack
@pytest.mark.parametrize("scenario", FILES)
def test_a_scenario_goes_as_it_says(programs: Programs, scenario: str) -> None:
    tested = run(programs.promtool, "test", "rules", FILES[scenario])
    assert tested.returncode == 0, tested.stdout + tested.stderr


@every_alert
def test_an_alert_has_a_scenario_in_which_it_is_quiet_then_fires_then_ends(alert: str) -> None:
    steps = [
        bool(step["exp_alerts"])
        for test in loaded(FILES[alert])["tests"]
        for step in test["alert_rule_test"]
        if step["alertname"] == alert
    ]
    first = steps.index(True)
    assert first > 0
    assert False in steps[first:]
    (healthy,) = loaded(FILES["healthy"])["tests"]
    quiet = [step for step in healthy["alert_rule_test"] if step["alertname"] == alert and not step["exp_alerts"]]
    assert len(quiet) == 2


@every_alert
def test_an_alert_says_what_it_means_and_leads_on(alert: str) -> None:
    rule, said = ALERTS[alert], ALERTS[alert]["annotations"]
    assert alert.startswith("RealtimeSpend")
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert set(said) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert "{{" not in said["summary"]
    # Whether something answers has no value to tell.
    assert "$value" in said["description"] or alert == "RealtimeSpendCollectorDown"
    assert said["runbook_url"].endswith(f"/{alert}.md")


def test_totals_are_never_guessed() -> None:
    queries = [rule["expr"] for rule in RULES] + [query for page in PAGES.values() for query in blocks(page, "promql")]
    assert len(queries) > 40
    assert [query for query in queries if re.search(r"\b(i?rate|increase|i?delta)\(", query)] == []


# --- What they name ---------------------------------------------------------------------------------------------------


@every_rule
def test_a_rule_names_only_what_there_is(rule: Any) -> None:
    assert unknown_names(rule["expr"]) == set()
    for text in rule.get("annotations", {}).values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= our_labels() | OTHER_LABELS
        assert {unknown for query in re.findall(r'query "(.+?)"', text) for unknown in unknown_names(query)} == set()


@every_rule
def test_a_rule_asks_only_for_values_that_we_give(rule: Any) -> None:
    asked = [(label, value) for label, value in values_asked_for(rule["expr"]) if label in VALUES]
    assert [(label, value) for label, value in asked if value not in VALUES[label]] == []


def test_alerts_are_split_by_an_environment_that_prometheus_makes_a_label() -> None:
    promoted = loaded(PROMETHEUS / "prometheus.yml")["otlp"]["promote_resource_attributes"]
    assert "deployment_environment_name" in {label(attribute) for attribute in promoted}
    split = {alert for alert, rule in ALERTS.items() if "deployment_environment_name" in rule["expr"]}
    about_usage = {"UnpricedUsage", "UsageLost", "UsageMissing", "CostUncertain", "TranscriptionUnobserved"}
    assert split == {f"RealtimeSpend{kind}" for kind in about_usage | {"InstanceIdShared"}}
    assert [alert for alert in split if "environment" not in ALERTS[alert]["annotations"]["description"]] == []


@pytest.mark.parametrize("record", sorted(RECORDED))
def test_a_recorded_total_is_named_by_its_labels_its_metric_and_what_was_done(record: str) -> None:
    _, metric, _ = record.split(":")
    counters = {name.removesuffix("_total") for name in our_metrics()}
    assert metric in counters | {"budget_USD", "otelcol_metric_points_not_taken"}


def test_a_renamed_metric_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = {("renamed" if name == names.COST else name): said for name, said in names.COUNTERS.items()}
    monkeypatch.setattr(names, "COUNTERS", counters)
    found = {rule["record"] for rule in RULES if "record" in rule and unknown_names(rule["expr"])}
    assert found == {record for record in RECORDED if "realtime_spend_cost_USD:" in record}


# --- The manifest -----------------------------------------------------------------------------------------------------


def test_the_manifest_is_what_its_program_makes() -> None:
    checked = build(PROMETHEUS)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_manifest_has_every_group_of_the_rules_as_it_is() -> None:
    manifest = loaded(PROMETHEUS / "kubernetes" / "prometheusrule.yaml")
    groups = [group for path in (PROMETHEUS / "rules").glob("*.yml") for group in loaded(path)["groups"]]
    assert (manifest["apiVersion"], manifest["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert sorted(manifest["spec"]["groups"], key=str) == sorted(groups, key=str)


@pytest.mark.parametrize("changed", ["kubernetes/prometheusrule.yaml", "rules/budget.yml"])
def test_the_check_names_a_manifest_that_no_longer_fits(tmp_path: Path, changed: str) -> None:
    folder = shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    text = (folder / changed).read_text(encoding="utf-8")
    (folder / changed).write_text(text.replace("vector(100)", "vector(7)"), encoding="utf-8")
    checked = build(folder)
    assert (checked.returncode, str(folder / "kubernetes" / "prometheusrule.yaml") in checked.stderr) == (1, True)


def test_a_rule_file_that_is_new_is_missed_in_the_manifest(tmp_path: Path) -> None:
    folder = shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    new = "groups: [{name: new, rules: [{record: 'a:b:c', expr: vector(1)}]}]\n"
    (folder / "rules" / "more.yml").write_text(new, encoding="utf-8")
    checked = build(folder)
    assert (checked.returncode, str(folder / "kubernetes" / "prometheusrule.yaml") in checked.stderr) == (1, True)
    assert run(sys.executable, folder / "build.py").returncode == 0
    groups = loaded(folder / "kubernetes" / "prometheusrule.yaml")["spec"]["groups"]
    assert "new" in {group["name"] for group in groups}
