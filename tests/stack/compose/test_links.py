"""Where links lead from dashboards and alerts, in compose.yaml as it is: panels that are there, pages that answer."""

from __future__ import annotations

import http
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.stack.compose.reading import REPOSITORY, SERVICES, flag, on_this_side
from tests.stack.conftest import free_port, get, running

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import ExitStack
    from pathlib import Path

    from tests.stack.conftest import Programs

RUNBOOKS = REPOSITORY / "docs" / "runbooks"
BOARDS: dict[str, Any] = {
    board["uid"]: board
    for path in sorted((REPOSITORY / "grafana" / "dashboards").glob("*.json"))
    for board in [json.loads(path.read_text(encoding="utf-8"))]
}
RULES = [
    rule
    for path in sorted((REPOSITORY / "prometheus" / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
PANELS = [
    pytest.param(board, panel, id=f"{board['title']}: {panel['title']}")
    for board in BOARDS.values()
    for panel in board["panels"]
]

every_alert = pytest.mark.parametrize("alert", ALERTS)
every_panel = pytest.mark.parametrize(("board", "panel"), PANELS)


def published(service: str) -> str:
    """Where a browser on the machine of compose.yaml finds a service."""
    (port,) = SERVICES[service]["ports"]
    return "http://" + str(port).rpartition(":")[0]


def annotation(alert: str, name: str) -> str:
    """A link of an alert, as it is where Prometheus has no external labels."""
    text = ALERTS[alert]["annotations"][name]
    said = re.fullmatch(r"\{\{ with \$externalLabels\.\w+ }}\{\{ \. }}\{\{ else }}(.+)\{\{ end }}(/[^{]+)", text)
    assert said, text
    return said[1].replace("{{ $externalURL }}", flag("prometheus", "--web.external-url")) + said[2]


def links(board: Any, panel: Any) -> list[str]:
    """The links of a panel, as they are until a reader changes a variable."""
    boxes = {one["name"]: one["query"] for one in board["templating"]["list"] if one["type"] == "textbox"}
    found = [str(link["url"]) for link in panel.get("links") or []]
    return [re.sub(r"\$\{(\w+):raw\}", lambda variable: str(boxes[variable[1]]), url) for url in found]


def panel_of(alert: str) -> tuple[Any, Any]:
    """The dashboard and the panel that an alert leads to."""
    url = annotation(alert, "dashboard_url")
    where = re.fullmatch(re.escape(published("grafana")) + r"/d/([\w-]+)\?viewPanel=(\d+)", url)
    assert where, url
    board = BOARDS[where[1]]
    (panel,) = (panel for panel in board["panels"] if panel["id"] == int(where[2]))
    return board, panel


def asked_for(exprs: Iterable[str]) -> list[str]:
    """The metrics that queries ask for in the end, through what is recorded, the first first."""
    found: list[str] = []
    for expr in exprs:
        chosen = re.findall(r'__name__=~"([^"]+)"', expr)
        bare = re.sub(r'"[^"]*"|\{[^}]*\}|\b(?:by|on) \([^)]*\)', "", expr)
        for name in (*re.findall(r"[A-Za-z_][\w:]*", bare), *chosen):
            if name in RECORDED:
                found += asked_for([RECORDED[name]])
            elif re.match(r"realtime_spend_|gen_ai_|otelcol_|up$", name):
                alike = re.fullmatch(r"(.*)\((.*)\)(.*)", name)
                found += [f"{alike[1]}{one}{alike[3]}" for one in alike[2].split("|")] if alike else [name]
    return found


@every_alert
def test_an_alert_leads_to_a_panel_that_shows_what_it_watches(alert: str) -> None:
    _, panel = panel_of(alert)
    watched = asked_for([ALERTS[alert]["expr"]])
    assert watched
    assert watched[0] in asked_for(target["expr"] for target in panel["targets"])


@every_alert
def test_the_panel_that_an_alert_leads_to_leads_back_to_it_and_to_its_runbook(alert: str) -> None:
    found = links(*panel_of(alert))
    assert f"{published('prometheus')}/alerts?search={alert}" in found
    assert annotation(alert, "runbook_url") in found
    assert annotation(alert, "runbook_url") == f"{published('prometheus')}/user/{alert}.md"


@every_panel
def test_a_panel_leads_to_alerts_that_there_are_each_with_its_runbook(board: Any, panel: Any) -> None:
    found = links(board, panel)
    alerts = [url.rpartition("=")[2] for url in found[::2]]
    assert set(alerts) <= set(ALERTS)
    assert found == [
        url
        for alert in alerts
        for url in (f"{published('prometheus')}/alerts?search={alert}", annotation(alert, "runbook_url"))
    ]


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_a_reader_can_say_at_the_top_where_links_lead(board: Any) -> None:
    boxes = [one for one in board["templating"]["list"] if one["type"] == "textbox"]
    assert [(one["name"], one.get("hide", 0)) for one in boxes] == [("prometheus_url", 0), ("runbooks", 0)]


@pytest.mark.stack
def test_prometheus_serves_the_pages_that_links_lead_to(
    programs: Programs, started: ExitStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, port = tmp_path_factory.mktemp("links"), free_port()
    (folder / "prometheus.yml").write_text("{}")
    # A slash, since the folder itself is what is mounted.
    pages = on_this_side("prometheus", flag("prometheus", "--web.user-assets") + "/")
    argv: list[str | Path] = [
        programs.prometheus,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--web.user-assets={pages}",
    ]
    started.enter_context(running(argv, log=folder / "log", ready=(port, "/-/ready"), environment={}))
    written = sorted(RUNBOOKS.glob("RealtimeSpend*.md"))
    assert len(written) > 10
    for page in written:
        path = annotation(page.stem, "runbook_url").removeprefix(published("prometheus"))
        assert get(port, path) == (http.HTTPStatus.OK, page.read_bytes())
    # A Prometheus of Go modules knows the page of alerts, and has not the program that a browser would run in it.
    assert get(port, "/alerts?search=RealtimeSpendUsageLost")[0] != http.HTTPStatus.NOT_FOUND
    assert get(port, "/alert")[0] == http.HTTPStatus.NOT_FOUND
    assert get(port, "/user/NoSuchAlert.md")[0] == http.HTTPStatus.NOT_FOUND
