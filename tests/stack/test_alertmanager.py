"""The shipped configuration of Alertmanager in the real one: who hears of which alert, and of which not."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.stack.alerting import CONFIGURATION, listening_operator, running_alertmanager, with_a_way_to_reach
from tests.stack.compose.reading import REPOSITORY, load, release
from tests.stack.conftest import PATIENCE_SECONDS, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stack.alerting import Alertmanager, Operator
    from tests.stack.conftest import Programs, StartPrometheus

pytestmark = pytest.mark.stack

ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in load("prometheus/rules/alerts.yml")["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
TEXT = CONFIGURATION.read_text(encoding="utf-8")
FAST, SLOW, SPENT = (f"RealtimeSpendBudget{name}" for name in ("BurnFast", "BurnSlow", "Spent"))


def labels(name: str, **own: str) -> dict[str, str]:
    """The labels of an alert as the rules give them, and those of where it comes from."""
    return {"alertname": name, **ALERTS[name]["labels"], **own}


def test_the_release_that_is_built_is_the_one_of_compose() -> None:
    built = re.search(r"^alertmanager_release=(.+)$", (REPOSITORY / "tests/stack/obtain.sh").read_text(), re.MULTILINE)
    assert built is not None
    assert built[1] == release("alertmanager")


# --- Read by amtool ---------------------------------------------------------------------------------------------------


def checked(programs: Programs, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [programs.amtool, "check-config", file], check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )


def test_alertmanager_accepts_the_configuration(programs: Programs) -> None:
    answer = checked(programs, CONFIGURATION)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "1 inhibit rules" in answer.stdout


def test_the_receiver_that_its_head_shows_is_accepted_too(programs: Programs, tmp_path: Path) -> None:
    example = "".join(f"{line[2:]}\n" for line in TEXT.splitlines() if line.startswith("#   "))
    assert "slack_configs" in example
    whole = yaml.safe_load(TEXT) | {"receivers": yaml.safe_load(example)}
    (file := tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(whole))
    answer = checked(programs, file)
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("route:\n  receiver: operator", "route:\n  receiver: nobody", "nobody"),
        ('[severity = "critical"]', '[severity is "critical"]', "severity"),
        ("target_matchers", "target_matcher", "target_matcher"),
        ("repeat_interval: 12h", "repeat_interval: daily", "daily"),
    ],
)
def test_what_alertmanager_would_not_start_with_is_found(
    programs: Programs, tmp_path: Path, right: str, wrong: str, complaint: str
) -> None:
    assert right in TEXT
    (file := tmp_path / "alertmanager.yml").write_text(TEXT.replace(right, wrong))
    answer = checked(programs, file)
    assert answer.returncode != 0
    assert complaint in answer.stdout


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_reaches_the_operator_and_a_critical_one_again_each_hour(programs: Programs, name: str) -> None:
    told = [f"{key}={value}" for key, value in labels(name).items()]
    argv: list[str | Path] = [programs.amtool, "config", "routes", "test", "--tree", "--verify.receivers=operator"]
    answer = subprocess.run(
        [*argv, f"--config.file={CONFIGURATION}", *told],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    again = '{severity="critical"}  receiver: operator' in answer.stdout
    assert again == (ALERTS[name]["labels"]["severity"] == "critical")
    (route,) = yaml.safe_load(TEXT)["route"]["routes"]
    assert route["repeat_interval"] == "1h"


# --- Told by Alertmanager ---------------------------------------------------------------------------------------------


@pytest.fixture
def operator() -> Iterator[Operator]:
    with listening_operator() as listening:
        yield listening


@pytest.fixture
def alertmanager(programs: Programs, operator: Operator, tmp_path: Path) -> Iterator[Alertmanager]:
    config = with_a_way_to_reach(operator, tmp_path)
    with running_alertmanager(programs, tmp_path, config=config) as running:
        yield running


def in_a_hurry(folder: Path, alertmanager_port: int) -> str:
    """The shipped configuration and rules without their waits, and with a collector to scrape that is not there."""
    rules = shutil.copytree(REPOSITORY / "prometheus" / "rules", folder / "rules")
    for path in rules.iterdir():
        text = re.sub(r"(interval|query_offset): \w+", r"\1: 1s", path.read_text(encoding="utf-8"))
        path.write_text(re.sub(r"^ +for: \w+\n", "", text, flags=re.MULTILINE), encoding="utf-8")
    text = (REPOSITORY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    text = re.sub(r"_interval: \w+", "_interval: 1s", text)
    for shipped, port in (("127.0.0.1:8888", free_port()), ("127.0.0.1:9093", alertmanager_port)):
        assert shipped in text
        text = text.replace(shipped, f"127.0.0.1:{port}")
    return text


def test_an_alert_of_prometheus_comes_to_the_operator_and_says_what_to_do(
    alertmanager: Alertmanager, operator: Operator, start_prometheus: StartPrometheus, tmp_path: Path
) -> None:
    start_prometheus(tmp_path, configuration=in_a_hurry(tmp_path, alertmanager.port))

    def told() -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The message about the collector that was asked in vain; there may be one before it was asked."""
        alerts = ((message, alert) for message in operator.messages for alert in message["alerts"])
        return next(((message, alert) for message, alert in alerts if "instance" in alert["labels"]), None)

    message, alert = wait_for(told, what="the alert to be told of")
    instance = alert["labels"]["instance"]
    assert alert["labels"] == labels("RealtimeSpendCollectorDown", job="otelcol", instance=instance)
    assert alert["annotations"]["description"].startswith(f"The collector {instance} has not answered")
    assert alert["annotations"]["runbook_url"].endswith("/RealtimeSpendCollectorDown.md")
    assert (message["receiver"], message["groupLabels"]) == ("operator", {"alertname": "RealtimeSpendCollectorDown"})


def test_the_slow_burn_is_silent_while_the_fast_one_fires_and_what_is_spent_is_not(
    alertmanager: Alertmanager, operator: Operator
) -> None:
    alertmanager.send(labels(FAST))
    operator.wait_for(FAST)
    alertmanager.send(labels(SLOW))
    alertmanager.send(labels(SPENT))
    operator.wait_for(SPENT)
    # Begun after the slow burn, so told of after it, were it told of.
    alertmanager.send(labels("RealtimeSpendUsageLost"))
    operator.wait_for("RealtimeSpendUsageLost")
    assert (SLOW, "firing") not in operator.told()
    known = alertmanager.alerts()
    inhibited_by = {name: alert["status"]["inhibitedBy"] for name, alert in known.items()}
    silent = {FAST: [], SLOW: [known[FAST]["fingerprint"]], SPENT: [], "RealtimeSpendUsageLost": []}
    assert inhibited_by == silent

    alertmanager.send(labels(FAST), until=datetime.now(UTC))
    operator.wait_for(SLOW)
    assert operator.told().index((SPENT, "firing")) < operator.told().index((SLOW, "firing"))


def test_a_budget_does_not_speak_for_that_of_another_prometheus(alertmanager: Alertmanager, operator: Operator) -> None:
    """Several may report to one Alertmanager, each with a budget of its own."""
    alertmanager.send(labels(FAST, cluster="east"))
    operator.wait_for(FAST)
    alertmanager.send(labels(SLOW, cluster="west"))
    (alert,) = operator.wait_for(SLOW)["alerts"]
    assert alert["labels"]["cluster"] == "west"


def test_it_starts_with_the_shipped_file_as_compose_gives_it(programs: Programs, tmp_path: Path) -> None:
    with running_alertmanager(programs, tmp_path) as alertmanager:
        alertmanager.send(labels(FAST))
        found = wait_for(lambda: alertmanager.alerts() or None, what="the alert to be listed")
    assert [receiver["name"] for receiver in found[FAST]["receivers"]] == ["operator"]
