"""compose.yaml: valid by its schema, closed by default, and made of the files and versions that the other tests run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml
from tests.lacking import lacking
from tests.stack.compose.reading import (
    COMPOSE,
    COMPOSE_FILE,
    MOUNTS,
    REPOSITORY,
    SERVICES,
    flag,
    load,
    on_this_side,
    release,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[str], subprocess.CompletedProcess[str]]

# The one that ends when it has done its work.
LASTING = sorted(set(SERVICES) - {"collector-queue"})
BUILD_SECONDS = 110

every_service = pytest.mark.parametrize("name", sorted(SERVICES))
every_lasting_service = pytest.mark.parametrize("name", LASTING)


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Reads a Compose file as Docker Compose does, with the schema that the Compose project publishes."""
    go = shutil.which("go")
    if go is None:
        lacking("go not found: it builds the reader of Compose files")
    folder = tmp_path_factory.mktemp("compose")
    reader = folder / "reader"
    subprocess.run(
        [go, "build", "-trimpath", "-o", reader, "."],
        cwd=REPOSITORY / "tests" / "stack" / "compose",
        env=os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"},
        check=True,
        timeout=BUILD_SECONDS,
    )

    def read(text: str) -> subprocess.CompletedProcess[str]:
        file = folder / "compose.yaml"
        file.write_text(text, encoding="utf-8")
        return subprocess.run([reader, file], check=False, capture_output=True, text=True, timeout=30, cwd=folder)

    return read


def test_it_is_a_compose_file_by_the_published_schema(check: Check) -> None:
    answer = check(COMPOSE_FILE.read_text(encoding="utf-8"))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert sorted(json.loads(answer.stdout)["services"]) == sorted(SERVICES)


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("    healthcheck:\n", "    helthcheck:\n", "helthcheck"),
        ("interval: 10s", "interval: soon", "interval"),
        ("- 127.0.0.1:3000:3000", "- 127.0.0.1:3000:lots", "lots"),
        ("      collector-queue: {condition", "      queue: {condition", "queue"),
        ("      - prometheus:/prometheus", "      - prometeus:/prometheus", "prometeus"),
    ],
)
def test_the_check_finds_what_docker_compose_would_refuse(check: Check, right: str, wrong: str, complaint: str) -> None:
    text = COMPOSE_FILE.read_text(encoding="utf-8")
    assert right in text
    answer = check(text.replace(right, wrong))
    assert answer.returncode != 0
    assert complaint in answer.stderr


def test_everything_mounted_from_here_is_there_and_cannot_be_written() -> None:
    here = [(source, options) for _, source, _, *options in MOUNTS if source.startswith(".")]
    assert len(here) >= 6
    assert [source for source, _ in here if not (REPOSITORY / source).is_dir()] == []
    assert [source for source, options in here if options != ["ro"]] == []


def test_everything_written_is_in_a_volume_that_survives() -> None:
    written = {source for _, source, *_ in MOUNTS if not source.startswith(".")}
    assert written == set(COMPOSE["volumes"]) == {"collector-queue", "prometheus", "alertmanager", "grafana"}
    # Without options: a volume on the disk, neither in memory nor somebody else's.
    assert set(COMPOSE["volumes"].values()) == {None}


def test_every_port_is_on_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert sorted(ports) == [f"127.0.0.1:{port}:{port}" for port in (3000, 4317, 4318, 9090, 9093)]


@every_service
def test_an_image_is_pinned_to_one_release(name: str) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", release(name))


def test_the_releases_are_the_ones_that_the_tests_run() -> None:
    assert release("collector") == load("tests/stack/builder.yaml")["dist"]["version"]
    built = re.search(
        r"github\.com/prometheus/prometheus v0\.(\d)(\d\d)\.(\d+)",
        (REPOSITORY / "tests/stack/prometheus/go.mod").read_text(encoding="utf-8"),
    )
    assert built is not None
    # Release 3.14.0 is v0.314.0 as a Go module.
    assert release("prometheus") == f"{built[1]}.{int(built[2])}.{built[3]}"


@every_service
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = COMPOSE["x-service"] | SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["CHOWN"] if name == "collector-queue" else [])
    assert not {"privileged", "pid", "ipc", "devices"} & set(service)


@every_lasting_service
def test_a_service_comes_back_after_a_reboot_and_has_somebody_who_asks_how_it_is(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    # Containers that live in another one's network may stay down after a reboot.
    assert "network_mode" not in SERVICES[name]
    asked = SERVICES[name] if name != "collector" else SERVICES["collector-health"]
    assert asked["healthcheck"]["test"][0] == "CMD"
    assert asked["healthcheck"]["interval"] == "10s"


def test_the_collector_is_asked_where_it_answers() -> None:
    port = SERVICES["collector"]["environment"]["COLLECTOR_HEALTH_ENDPOINT"].rpartition(":")[2]
    assert SERVICES["collector-health"]["healthcheck"]["test"][-1] == f"http://collector:{port}/"


def test_the_collector_may_write_its_queue() -> None:
    collector, before = SERVICES["collector"], SERVICES["collector-queue"]
    folder = collector["environment"]["COLLECTOR_QUEUE_DIRECTORY"]
    mount = f"collector-queue:{folder}"
    assert mount in collector["volumes"]
    assert before["volumes"] == [mount]
    assert before["command"] == ["chown", collector["user"], folder]
    assert not collector["user"].startswith("0:")
    assert collector["depends_on"]["collector-queue"] == {"condition": "service_completed_successfully"}


def test_the_collector_reads_every_variable_that_it_is_given() -> None:
    config = on_this_side("collector", flag("collector", "--config"))
    read = dict(re.findall(r"\$\{env:(\w+):-([^}]*)\}", config.read_text(encoding="utf-8")))
    given = SERVICES["collector"]["environment"]
    assert set(given) <= set(read)
    # What listens on loopback in a container can be reached by nobody.
    ours = {name: value for name, value in (read | given).items() if name.endswith(("_ENDPOINT", "_HOST"))}
    assert len(ours) == 4
    assert {value.partition(":")[0] for value in ours.values()} == {"0.0.0.0"}  # noqa: S104 - in a container
    # On the ports that are published and scraped.
    assert {value.partition(":")[2] for value in ours.values()} == {"4317", "4318", "13133", ""}
    assert load("prometheus/compose/prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"] == [
        f"collector:{read['COLLECTOR_METRICS_PORT']}"
    ]


def test_prometheus_keeps_and_takes_what_the_dashboards_need() -> None:
    command = SERVICES["prometheus"]["command"]
    assert "--web.enable-otlp-receiver" in command
    assert flag("prometheus", "--storage.tsdb.retention.time") == "400d"
    assert f"prometheus:{flag('prometheus', '--storage.tsdb.path')}" in SERVICES["prometheus"]["volumes"]
    config = on_this_side("prometheus", flag("prometheus", "--config.file"))
    rules = [
        file for pattern in yaml.safe_load(config.read_text())["rule_files"] for file in config.parent.glob(pattern)
    ]
    assert {file.resolve() for file in rules} == set((REPOSITORY / "prometheus" / "rules").glob("*.yml"))


def test_prometheus_is_set_up_as_on_a_single_host_but_for_its_neighbours_names() -> None:
    single = (REPOSITORY / "prometheus/prometheus.yml").read_text(encoding="utf-8")
    for here, there in {
        "127.0.0.1:8888": "collector:8888",
        "127.0.0.1:9093": "alertmanager:9093",
        "- rules/": "- ../rules/",
    }.items():
        assert here in single
        single = single.replace(here, there)
    assert load("prometheus/compose/prometheus.yml") == yaml.safe_load(single)


def test_grafana_is_set_up_as_on_a_single_host_but_for_prometheus_name() -> None:
    single = load("grafana/provisioning/datasources/prometheus.yaml")
    assert single["datasources"][0].pop("url") == "http://127.0.0.1:9090"
    compose = load("grafana/compose/datasources/prometheus.yaml")
    assert compose["datasources"][0].pop("url") == "http://prometheus:9090"
    assert compose == single


def test_grafana_finds_the_dashboards_where_its_provisioning_looks() -> None:
    provider = load("grafana/provisioning/dashboards/realtime-spend.yaml")["providers"][0]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]


def test_no_secret_stands_in_the_file() -> None:
    assert COMPOSE["secrets"] == {"grafana-admin-password": {"environment": "GRAFANA_ADMIN_PASSWORD"}}
    told = SERVICES["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"]
    assert told == f"/run/secrets/{SERVICES['grafana']['secrets'][0]}"
    assert SERVICES["grafana"]["environment"]["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_alertmanager_speaks_of_receivers_and_alerts_that_exist() -> None:
    config = yaml.safe_load(on_this_side("alertmanager", flag("alertmanager", "--config.file")).read_text())
    routes = [config["route"], *config["route"]["routes"]]
    assert {route["receiver"] for route in routes} <= {receiver["name"] for receiver in config["receivers"]}
    groups = load("prometheus/rules/alerts.yml")["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    inhibited = [
        matcher
        for rule in config["inhibit_rules"]
        for end in ("source", "target")
        for matcher in rule[f"{end}_matchers"]
    ]
    assert set(inhibited) <= {f'alertname = "{rule["alert"]}"' for rule in rules}
    severities = {matcher for route in routes for matcher in route.get("matchers", [])}
    assert severities <= {f'severity = "{rule["labels"]["severity"]}"' for rule in rules}
