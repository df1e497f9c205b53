"""What every Grafana dashboard must be, and that the checked-in ones are what `grafana/build.py` makes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

GRAFANA = Path(__file__).resolve().parents[2] / "grafana"
# Links and alerts lead to these: a changed one breaks them in somebody's Grafana.
UIDS = {"live-spend.json": "realtime-spend-live"}
BOARDS: dict[str, Any] = {
    path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}
PANELS = [pytest.param(panel, id=f"{name} {panel['title']}") for name in BOARDS for panel in BOARDS[name]["panels"]]

every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def datasources(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        if "datasource" in node:
            yield node["datasource"]
        for value in node.values():
            yield from datasources(value)
    elif isinstance(node, list):
        for value in node:
            yield from datasources(value)


def check(grafana: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, grafana / "build.py", "--check"], check=False, capture_output=True, text=True, timeout=30
    )


def test_the_dashboards_are_what_their_program_makes() -> None:
    checked = check(GRAFANA)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_check_names_a_dashboard_that_was_changed_by_hand(tmp_path: Path) -> None:
    grafana = shutil.copytree(GRAFANA, tmp_path / "grafana")
    changed = grafana / "dashboards" / "live-spend.json"
    changed.write_text(changed.read_text(encoding="utf-8").replace("* 3600", "* 60"), encoding="utf-8")
    checked = check(grafana)
    assert (checked.returncode, str(changed) in checked.stderr) == (1, True)


def test_every_dashboard_keeps_its_uid() -> None:
    assert {name: board["uid"] for name, board in BOARDS.items()} == UIDS


@every_board
def test_a_dashboard_can_be_read_by_grafana_10_and_newer(board: Any) -> None:
    assert 39 <= board["schemaVersion"] <= 42
    assert "__inputs" not in board


@every_board
def test_a_dashboard_shows_days_as_the_bill_has_them_and_keeps_itself_fresh(board: Any) -> None:
    assert board["timezone"] == "utc"
    assert board["refresh"] == "30s"


@every_board
def test_panels_are_numbered_so_that_a_link_to_one_lasts(board: Any) -> None:
    assert [panel["id"] for panel in board["panels"]] == list(range(1, len(board["panels"]) + 1))


@every_board
def test_every_datasource_is_the_one_that_the_reader_chose(board: Any) -> None:
    used = list(datasources(board))
    assert len(used) > len(board["panels"])
    assert all(datasource == {"type": "prometheus", "uid": "${datasource}"} for datasource in used)
    assert [one["name"] for one in board["templating"]["list"] if one["type"] == "datasource"] == ["datasource"]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_a_unit_and_says_what_to_do_when_it_looks_wrong(panel: Any) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert "When it looks wrong: " in panel["description"]


@pytest.mark.parametrize("panel", PANELS)
def test_no_query_asks_for_a_sum_that_prometheus_would_guess(panel: Any) -> None:
    assert all("increase(" not in target["expr"] for target in panel["targets"])


def test_grafana_is_given_one_prometheus_under_a_fixed_uid() -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    assert [(one["uid"], one["type"]) for one in provisioned["datasources"]] == [
        ("realtime-spend-prometheus", "prometheus")
    ]
