"""The collector of a fleet loses nothing that it took, and takes nothing that it would lose."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import ssl
import subprocess
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
import yaml
from opentelemetry.sdk.metrics.export import MetricExportResult
from tests.stack.conftest import PATIENCE_SECONDS, free_port, wait_for
from tests.stack.gateway.conftest import PROTOCOLS, TOKEN, stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stack.conftest import Programs, Prometheus, StartPrometheus
    from tests.stack.gateway.conftest import Certificates, Gateway, MakeProgram, StartGateway

# What a Prometheus that asks for a password is given, and how it knows it (bcrypt).
PASSWORD = "only-in-tests"  # noqa: S105 - made up here
PASSWORD_HASH = "$2b$04$E7SifOxOE3IjUooNIxoQn.P4KLLgkF/PAEcRhQ7jCa8E0u0JVcczy"  # noqa: S105 - of the one above
AUTHORIZATION = "Basic " + base64.b64encode(f"prometheus:{PASSWORD}".encode()).decode()


@pytest.mark.stack
def test_a_report_of_many_series_is_taken_whole_over_grpc(
    program: MakeProgram, gateway: Gateway, prometheus: Prometheus
) -> None:
    sender = program(gateway, instance="many", protocol="grpc")
    # More than the 4 MiB at which a gRPC server stops to listen unless told otherwise.
    for number in range(1_500):
        sender.spend(1.0, tenant=f"{number:04}" + "x" * 4_000)
    assert sender.export() is MetricExportResult.SUCCESS
    arrived = wait_for(lambda: stored(prometheus, "many") or None, what="the many series")
    assert arrived == [1.0] * 1_500


@pytest.mark.stack
def test_what_was_taken_in_an_outage_arrives_after_the_collector_was_killed(
    program: MakeProgram, start_gateway: StartGateway, start_prometheus: StartPrometheus, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/api/v1/otlp/v1/metrics"
    gateway = start_gateway(tmp_path, prometheus_url=url)
    for number, protocol in enumerate(itertools.islice(itertools.cycle(PROTOCOLS), 6)):
        sender = program(gateway, instance=f"ended-{number}", protocol=protocol)
        sender.spend(0.125)
        assert sender.export() is MetricExportResult.SUCCESS
    wait_for(lambda: True if gateway.waiting() == 6 else None, what="the collector to say that six wait")
    gateway.process.kill()
    gateway.process.wait(PATIENCE_SECONDS)

    start_gateway(tmp_path, prometheus_url=url)
    prometheus = start_prometheus(tmp_path, port=port)
    query = 'last_over_time(realtime_spend_cost_USD_total{instance=~"ended-.*"}[1h])'

    def all_of_them() -> list[float] | None:
        values = list(prometheus.query(query).values())
        return values if len(values) == 6 else None

    assert wait_for(all_of_them, what="the six sessions that ended while Prometheus was down") == [0.125] * 6


@pytest.mark.stack
def test_a_full_queue_makes_the_sender_keep_its_money(
    program: MakeProgram, start_gateway: StartGateway, start_prometheus: StartPrometheus, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/api/v1/otlp/v1/metrics"
    gateway = start_gateway(tmp_path, prometheus_url=url, COLLECTOR_TOKEN=TOKEN, COLLECTOR_QUEUE_REQUESTS="2")
    sender = program(gateway, instance="keeps", seconds=3)
    answers = []
    for _ in range(3):
        sender.spend(1.0)
        answers.append(sender.export())
    # The third waits in vain for room, and its sender hears that.
    assert answers == [MetricExportResult.SUCCESS, MetricExportResult.SUCCESS, MetricExportResult.FAILURE]

    prometheus = start_prometheus(tmp_path, port=port)
    assert wait_for(lambda: stored(prometheus, "keeps") or None, what="what was taken before it was full")
    wait_for(lambda: True if sender.export() is MetricExportResult.SUCCESS else None, what="room in the queue")
    # Sums are running totals: the next report carries what the refused one said.
    wait_for(lambda: True if stored(prometheus, "keeps") == [3.0] else None, what="the whole money")


@pytest.mark.stack
def test_short_of_memory_it_refuses_before_it_takes(  # noqa: PLR0917 - fixtures
    program: MakeProgram,
    start_gateway: StartGateway,
    prometheus: Prometheus,
    text: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # A limit below what the collector needs to live stands for one that is reached.
    starved = text.replace("limit_percentage: 80", "limit_mib: 2").replace(
        "spike_limit_percentage: 25", "spike_limit_mib: 1"
    )
    config = tmp_path / "starved.yaml"
    config.write_text(starved)
    gateway = start_gateway(tmp_path, prometheus_url=prometheus.otlp_metrics_url, config=config)
    wait_for(lambda: True if "Memory usage is above" in gateway.log.read_text() else None, what="the limiter to act")
    sender = program(gateway, instance="starved", seconds=3)
    sender.spend(1.0)
    assert sender.export() is MetricExportResult.FAILURE
    # The answer that an exporter tries again on.
    assert "Service Unavailable" in caplog.text
    assert stored(prometheus, "starved") == []


@contextmanager
def guarded_prometheus(programs: Programs, certificates: Certificates, folder: Path, port: int) -> Iterator[None]:
    """Runs a Prometheus that speaks TLS only and wants a password."""
    web = {
        "tls_server_config": {"cert_file": str(certificates.certificate), "key_file": str(certificates.key)},
        "basic_auth_users": {"prometheus": PASSWORD_HASH},
    }
    (folder / "web.yml").write_text(yaml.safe_dump(web))
    (folder / "prometheus.yml").write_text("storage: {tsdb: {out_of_order_time_window: 7d}}\n")
    argv: list[str | Path] = [
        programs.prometheus,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--web.config.file={folder / 'web.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-otlp-receiver",
    ]
    with (folder / "prometheus.log").open("ab") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)


@pytest.mark.stack
def test_prometheus_may_ask_for_tls_and_a_password_too(
    program: MakeProgram, start_gateway: StartGateway, programs: Programs, certificates: Certificates, tmp_path: Path
) -> None:
    port = free_port()
    gateway = start_gateway(
        tmp_path,
        prometheus_url=f"https://127.0.0.1:{port}/api/v1/otlp/v1/metrics",
        COLLECTOR_TOKEN=TOKEN,
        PROMETHEUS_CA_FILE=str(certificates.authority),
        PROMETHEUS_AUTHORIZATION=AUTHORIZATION,
    )
    sender = program(gateway, instance="guarded")
    sender.spend(0.5)
    assert sender.export() is MetricExportResult.SUCCESS
    trusted = ssl.create_default_context(cafile=str(certificates.authority))

    def asked() -> list[str] | None:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS, context=trusted)
        query = urlencode({"query": "last_over_time(realtime_spend_cost_USD_total[1h])"})
        try:
            connection.request("GET", f"/api/v1/query?{query}", headers={"Authorization": AUTHORIZATION})
            response = connection.getresponse()
            # It listens before it is ready: until then each query is answered with 503 and plain words.
            if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
                return None
            answer = json.load(response)
        except OSError:
            return None
        finally:
            connection.close()
        return [one["value"][1] for one in answer["data"]["result"]] or None

    with guarded_prometheus(programs, certificates, tmp_path, port):
        assert wait_for(asked, what="the money, behind the password") == ["0.5"]
