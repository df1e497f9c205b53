"""The collector configuration for a fleet: what it promises, who may send to it, and without what it does not start."""

from __future__ import annotations

import logging
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from opentelemetry.sdk.metrics.export import MetricExportResult
from tests.stack.conftest import PATIENCE_SECONDS, free_port, wait_for
from tests.stack.gateway.conftest import PROTOCOLS, TOKEN, stored

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stack.conftest import Programs, Prometheus
    from tests.stack.gateway.conftest import Certificates, Gateway, MakeProgram, StartGateway

ENVIRONMENT_VARIABLE = re.compile(r"\$\{env:(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")
OTLP_ENDPOINTS = ("COLLECTOR_OTLP_GRPC_ENDPOINT", "COLLECTOR_OTLP_HTTP_ENDPOINT")


def test_it_promises_what_the_single_host_promises(configuration: Any, single_host: Path) -> None:
    single = yaml.safe_load(single_host.read_text(encoding="utf-8"))
    name = "otlp_http/prometheus"
    ours, theirs = configuration["exporters"][name], single["exporters"][name]
    assert {key: ours[key] for key in theirs} == theirs
    assert set(ours) - set(theirs) == {"tls", "headers"}
    assert configuration["processors"] == single["processors"]
    whole = [
        each["receivers"]["otlp"]["protocols"]["grpc"]["max_recv_msg_size_mib"] for each in (configuration, single)
    ]
    assert whole == [20, 20]
    assert configuration["service"]["pipelines"] == single["service"]["pipelines"]
    assert configuration["service"]["telemetry"] == single["service"]["telemetry"]
    assert configuration["extensions"].items() >= single["extensions"].items()
    assert configuration["service"]["pipelines"]["metrics"]["processors"][0] == "memory_limiter"


def test_every_way_in_asks_for_a_token_over_tls(configuration: Any) -> None:
    protocols = configuration["receivers"]["otlp"]["protocols"]
    assert set(protocols) == {"grpc", "http"}
    assert set(configuration["receivers"]) == {"otlp"}
    for protocol in protocols.values():
        assert protocol["auth"] == {"authenticator": "bearertokenauth"}
        assert {"cert_file", "key_file"} <= set(protocol["tls"])
    assert "bearertokenauth" in configuration["service"]["extensions"]


def test_it_listens_on_loopback_and_holds_no_secret_unless_told_otherwise(text: str) -> None:
    defaults = {match["name"]: match["default"] for match in ENVIRONMENT_VARIABLE.finditer(text)}
    listens = {name: value for name, value in defaults.items() if name.endswith(("_ENDPOINT", "_HOST", "_URL"))}
    assert len(listens) == 5
    assert {value.removeprefix("http://").split(":")[0] for value in listens.values()} == {"127.0.0.1"}
    secrets = ("COLLECTOR_TOKEN", "COLLECTOR_TOKEN_FILE", "PROMETHEUS_AUTHORIZATION")
    assert [defaults[name] for name in secrets] == ["", "", ""]
    assert None not in defaults.values()


def test_every_variable_of_the_collector_is_in_the_documentation_and_no_other(text: str, repository: Path) -> None:
    documented = (repository / "docs" / "deployment.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\b(?:COLLECTOR|PROMETHEUS)_[A-Z_]+\b", documented)) == {
        match["name"] for match in ENVIRONMENT_VARIABLE.finditer(text)
    }


@pytest.mark.stack
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_comes_with_the_token_reaches_prometheus(
    program: MakeProgram, gateway: Gateway, prometheus: Prometheus, protocol: str
) -> None:
    instance = f"right-{protocol}"
    sender = program(gateway, instance=instance, protocol=protocol)
    sender.spend(0.125)
    assert sender.export() is MetricExportResult.SUCCESS
    assert wait_for(lambda: stored(prometheus, instance) or None, what="what was sent with the token") == [0.125]


REFUSED: dict[str, dict[str, Any]] = {
    "without a token": {"token": None},
    "with a wrong token": {"token": TOKEN + "x"},
    "with the beginning of the token": {"token": TOKEN[:-1]},
    "in plain text": {"scheme": "http"},
}


@pytest.mark.stack
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("how", [*REFUSED, "under another authority"])
def test_what_comes_otherwise_is_refused_and_not_stored(  # noqa: PLR0917 - fixtures
    program: MakeProgram,
    gateway: Gateway,
    prometheus: Prometheus,
    certificates: Certificates,
    protocol: str,
    how: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Which hides what it has said a moment before, in another test.
    monkeypatch.setattr(logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter"), "filters", [])
    wrong = REFUSED.get(how, {"authority": certificates.stranger})
    refused, taken = f"{how}-{protocol}", f"after {how}-{protocol}"
    sender = program(gateway, instance=refused, protocol=protocol, seconds=3, **wrong)
    sender.spend(1.0)
    assert sender.export() is MetricExportResult.FAILURE
    # For this and no other reason: where the certificate is refused, nobody learns that the token is missing.
    is_for_the_token = any(reason in caplog.text for reason in ("401", "Unauthorized", "UNAUTHENTICATED"))
    assert is_for_the_token == ("token" in how), caplog.text

    later = program(gateway, instance=taken, protocol=protocol)
    later.spend(0.25)
    assert later.export() is MetricExportResult.SUCCESS
    # The queue keeps its order: once this one is there, the other would be.
    assert wait_for(lambda: stored(prometheus, taken) or None, what="what was sent after it") == [0.25]
    assert stored(prometheus, refused) == []


@pytest.mark.stack
def test_a_token_is_replaced_without_a_restart(
    program: MakeProgram, start_gateway: StartGateway, prometheus: Prometheus, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("old-token # until Friday\n")
    gateway = start_gateway(
        tmp_path,
        prometheus_url=prometheus.otlp_metrics_url,
        COLLECTOR_TOKEN_FILE=str(tokens),
        COLLECTOR_TOKEN="x",  # noqa: S106 - made up here
    )

    def answers(*candidates: str) -> dict[str, bool]:
        asked = {}
        for number, token in enumerate(candidates):
            sender = program(gateway, instance=f"rotation-{number}", token=token)
            sender.spend(1.0)
            asked[token] = sender.export() is MetricExportResult.SUCCESS
        return asked

    def until(expected: dict[str, bool]) -> dict[str, bool]:
        return wait_for(lambda: expected if answers(*expected) == expected else None, what=f"the tokens {expected}")

    # A file given beside a token is the one that counts.
    until({"old-token": True, "new-token": False, "x": False})
    tokens.write_text("old-token # until Friday\nnew-token\n")
    until({"old-token": True, "new-token": True})
    replacement = tmp_path / "replacement"
    replacement.write_text("new-token\n")
    replacement.replace(tokens)
    until({"old-token": False, "new-token": True})


LACKING: dict[str, tuple[dict[str, str], str]] = {
    "neither": ({"COLLECTOR_TOKEN": "", "COLLECTOR_TOKEN_FILE": ""}, "no bearer token provided"),
    "a token file that is not there": ({"COLLECTOR_TOKEN_FILE": "/nowhere/token"}, "/nowhere/token"),
    "a certificate": ({"COLLECTOR_TLS_CERT_FILE": ""}, "must include both certificate and key"),
    "a certificate that is there": ({"COLLECTOR_TLS_CERT_FILE": "/nowhere/server.crt"}, "/nowhere/server.crt"),
    "a key": ({"COLLECTOR_TLS_KEY_FILE": ""}, "must include both certificate and key"),
    "a folder for its queue": ({"COLLECTOR_QUEUE_DIRECTORY": "{file}/queue"}, "{file}/queue"),
}


@pytest.mark.stack
@pytest.mark.parametrize("what", LACKING)
def test_it_does_not_start_without(
    programs: Programs, gateway_file: Path, certificates: Certificates, what: str
) -> None:
    changes, message = LACKING[what]
    environment = {
        "COLLECTOR_TOKEN": TOKEN,
        "COLLECTOR_TLS_CERT_FILE": str(certificates.certificate),
        "COLLECTOR_TLS_KEY_FILE": str(certificates.key),
        "COLLECTOR_QUEUE_DIRECTORY": str(certificates.key.parent / "queue"),
        "COLLECTOR_METRICS_PORT": str(free_port()),
    } | {name: f"127.0.0.1:{free_port()}" for name in ("COLLECTOR_HEALTH_ENDPOINT", *OTLP_ENDPOINTS)}
    file = str(certificates.key)
    changed = {name: value.format(file=file) for name, value in changes.items()}
    ended = subprocess.run(
        [programs.otelcol, f"--config={gateway_file}"],
        env=os.environ | environment | changed,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 1
    last_words = ended.stderr[ended.stderr.rindex("\nError: ") if "\nError: " in ended.stderr else 0 :]
    assert message.format(file=file) in last_words
