"""What every Grafana dashboard must be, and that the checked-in ones are what `grafana/build.py` makes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from grafana import names

from realtime_spend.sinks import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
GRAFANA = REPOSITORY / "grafana"
# Links and alerts lead to these: a changed one breaks them in somebody's Grafana.
UIDS = {
    "live-spend.json": "realtime-spend-live",
    "pipeline-health.json": "realtime-spend-pipeline",
    "estimate-beside-bill.json": "realtime-spend-bill",
}
TITLES = {
    "live-spend.json": "Live spend",
    "pipeline-health.json": "Pipeline health",
    "estimate-beside-bill.json": "Estimate beside the bill",
}
BOARDS: dict[str, Any] = {
    path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}
PANELS = [pytest.param(panel, id=f"{name} {panel['title']}") for name in BOARDS for panel in BOARDS[name]["panels"]]

# What Prometheus itself says of a target, and the labels that it, the collector or the reader of the dashboard brings.
PROMETHEUS_SERIES = {"up"}
OTHER_LABELS = {"job", "instance", "le", "exporter", "$attribute", "$by"}
WORDS = {"by", "or", "and", "bool", "offset"}

every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
every_panel = pytest.mark.parametrize("panel", PANELS)


def datasources(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        if "datasource" in node:
            yield node["datasource"]
        for value in node.values():
            yield from datasources(value)
    elif isinstance(node, list):
        for value in node:
            yield from datasources(value)


def queries(board: Any) -> Iterator[tuple[str, str]]:
    """Every query of a dashboard, with the title of its panel or the name of its variable."""
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]["query"]


def named(expr: str) -> tuple[set[str], set[str]]:
    """The metrics and the labels that a query speaks of."""
    expr = re.sub(r'"[^"]*"', '""', expr)
    labels = set(re.findall(r"([$\w]+)\s*=", expr))
    for group in re.findall(r"\bby \(([^)]*)\)", expr):
        labels |= {label.strip() for label in group.split(",")}
    if choice := re.fullmatch(r"label_values\((.*), ([$\w]+)\)", expr):
        expr, label = choice.groups()
        labels.add(label)
    expr = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)|offset -?[$\w]+|\$\w+", " ", expr)
    return set(re.findall(r"\b[a-zA-Z_]\w*\b(?!\s*\()", expr)) - WORDS, labels


def unknown_names() -> dict[str, set[str]]:
    """What is asked for and nobody emits, by panel or variable."""
    series = names.all_series() | names.COLLECTOR_SERIES | PROMETHEUS_SERIES
    labels = names.all_labels() | OTHER_LABELS
    found: dict[str, set[str]] = {}
    for board in BOARDS.values():
        for title, expr in queries(board):
            asked_series, asked_labels = named(expr)
            if unknown := (asked_series - series) | (asked_labels - labels):
                found[title] = found.get(title, set()) | unknown
    return found


def alerts() -> set[str]:
    files = (REPOSITORY / "prometheus" / "rules").glob("*.yml")
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


def check(grafana: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grafana.build", "--check"],
        cwd=grafana.parent,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_dashboards_are_what_their_program_makes() -> None:
    checked = check(GRAFANA)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_check_names_a_dashboard_that_was_changed_by_hand(tmp_path: Path) -> None:
    grafana = shutil.copytree(GRAFANA, tmp_path / "grafana", ignore=shutil.ignore_patterns("__pycache__"))
    changed = grafana / "dashboards" / "live-spend.json"
    changed.write_text(changed.read_text(encoding="utf-8").replace("* 60", "* 3600"), encoding="utf-8")
    checked = check(grafana)
    assert (checked.returncode, str(changed) in checked.stderr) == (1, True)


def test_every_dashboard_keeps_its_uid() -> None:
    uids = {name: board["uid"] for name, board in BOARDS.items()}
    assert uids | UIDS == uids
    assert len(set(uids.values())) == len(BOARDS)


def test_a_dashboard_has_one_name_wherever_it_is_spoken_of() -> None:
    titles = {name: board["title"] for name, board in BOARDS.items()}
    assert titles | TITLES == titles
    for page in (REPOSITORY / "docs").rglob("*.md"):
        text = " ".join(page.read_text(encoding="utf-8").split())
        assert set(re.findall(r"[Dd]ashboard \*([^*]+)\*", text)) <= set(titles.values()), page
        assert "Realtime spend:" not in text, page
    text = (REPOSITORY / "docs" / "dashboards.md").read_text(encoding="utf-8")
    assert set(TITLES.values()) <= set(re.findall(r"^## (.+)$", text, flags=re.MULTILINE))


@every_board
def test_a_dashboard_can_be_read_by_grafana_10_and_newer(board: Any) -> None:
    assert 39 <= board["schemaVersion"] <= 42
    assert "__inputs" not in board


@every_board
def test_a_dashboard_shows_days_as_the_bill_has_them_and_keeps_itself_fresh(board: Any) -> None:
    assert board["timezone"] == "utc"
    assert board["refresh"] == "30s"


@every_board
def test_a_dashboard_leads_to_all_others_at_the_same_time(board: Any) -> None:
    assert [(link["type"], link["tags"], link["keepTime"]) for link in board["links"]] == [
        ("dashboards", ["realtime-spend"], True)
    ]
    assert [other["title"] for other in BOARDS.values() if "realtime-spend" not in other["tags"]] == []


@every_board
def test_panels_are_numbered_so_that_a_link_to_one_lasts(board: Any) -> None:
    assert [panel["id"] for panel in board["panels"]] == list(range(1, len(board["panels"]) + 1))


@every_board
def test_panels_fill_the_grid_and_never_lie_on_each_other(board: Any) -> None:
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in board["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)


@every_board
def test_every_datasource_is_the_one_that_the_reader_chose(board: Any) -> None:
    used = list(datasources(board))
    assert len(used) > len(board["panels"])
    assert all(datasource == {"type": "prometheus", "uid": "${datasource}"} for datasource in used)
    assert [one["name"] for one in board["templating"]["list"] if one["type"] == "datasource"] == ["datasource"]


@every_board
def test_every_variable_that_a_query_uses_is_there(board: Any) -> None:
    ours = {variable["name"] for variable in board["templating"]["list"]}
    grafanas = {"__range", "__rate_interval", "__interval"}
    used = {name for _, expr in queries(board) for name in re.findall(r"\$(\w+)", expr)}
    assert used <= ours | grafanas
    assert ours - used <= {"datasource", "prometheus_url", "runbooks"}


@every_panel
def test_a_panel_has_a_unit_and_says_what_to_do_when_it_looks_wrong(panel: Any) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert "When it looks wrong: " in panel["description"]


@every_panel
def test_no_query_asks_for_a_sum_that_prometheus_would_guess(panel: Any) -> None:
    assert all("increase(" not in target["expr"] for target in panel["targets"])


@every_panel
def test_a_panel_that_shows_a_trend_says_so(panel: Any) -> None:
    guesses = any("rate(" in target["expr"] for target in panel["targets"])
    assert guesses == ("rate()" in panel["description"] and "live trend" in panel["description"])


@every_panel
def test_bars_stand_at_the_start_of_what_they_are_for(panel: Any) -> None:
    custom = panel["fieldConfig"]["defaults"].get("custom") or {}
    window = panel.get("interval")
    assert (custom.get("drawStyle") == "bars") == bool(window)
    if window:
        assert custom["barAlignment"] == 1
        # Each holds what falls in its step, however long Grafana makes that.
        assert all("[$__interval] offset -$__interval" in target["expr"] for target in panel["targets"])


def test_every_alert_is_met_on_some_panel() -> None:
    linked = {
        re.sub(r".*(/|=)|\.md$", "", link["url"])
        for board in BOARDS.values()
        for panel in board["panels"]
        for link in panel.get("links") or []
    }
    assert linked == alerts()


def test_every_name_that_is_asked_for_is_one_that_is_emitted() -> None:
    assert unknown_names() == {}


def test_a_metric_that_is_renamed_is_missed_by_the_panels_that_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = {f"{name}s" if name == metrics.CACHE_SAVINGS else name: of for name, of in metrics.COUNTERS.items()}
    monkeypatch.setattr(metrics, "COUNTERS", counters)
    missed = "realtime_spend_cache_savings_USD_total"
    assert unknown_names() == {
        "Saved by the cache in the range": {missed},
        "Saved by the cache in the range by modality": {missed},
    }


def test_an_attribute_that_is_renamed_is_missed_by_the_panels_that_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "REASON", "realtime_spend.cause")
    assert unknown_names() == {
        "Responses and other usage events by status": {"realtime_spend_reason"},
        "Lost, missing and unpriced usage by hour": {"realtime_spend_reason"},
    }


def test_grafana_is_given_one_prometheus_under_a_fixed_uid() -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    assert [(one["uid"], one["type"]) for one in provisioned["datasources"]] == [
        ("realtime-spend-prometheus", "prometheus")
    ]
