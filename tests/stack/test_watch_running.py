"""`realtime-spend watch` on real files, through the real collector, to alerts that the real Prometheus fires."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
from grafana import names
from tests.counted_and_billed import DAY, TOKENS, watching, write_bill, write_ledger
from tests.stack.test_drift_running import DRIFTS, in_a_hurry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.stack.conftest import Prometheus, StartCollector, StartPrometheus


def firing(prometheus: Prometheus) -> set[str]:
    found = prometheus.query(f'ALERTS{{alertname=~"{"|".join(DRIFTS)}", alertstate="firing"}}')
    return {dict(labels)["alertname"] for labels in found}


@pytest.fixture
def prometheus(
    start_prometheus: StartPrometheus,
    start_collector: StartCollector,
    unused_port: Callable[[], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Prometheus:
    """Where whatever exports by the environment of this process arrives, through a collector."""
    port = unused_port()
    collector = start_collector(tmp_path, prometheus_url=f"http://127.0.0.1:{port}/api/v1/otlp/v1/metrics")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.otlp_http_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    return start_prometheus(tmp_path, port=port, configuration=in_a_hurry(tmp_path))


@pytest.mark.stack
@pytest.mark.timeout(240)
def test_20_percent_fire_until_the_day_is_restated(
    prometheus: Prometheus, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    ledger, bill, log = write_ledger(tmp_path / "ledger"), tmp_path / "bill.json", tmp_path / "log"

    def is_billed(amount: float) -> Callable[[], bool | None]:
        query = f'sum({names.BILLED_COST}{{{names.DAY}="{DAY}"}})'
        return lambda: list(prometheus.query(query).values()) == [pytest.approx(amount)] or None

    write_bill(bill, TOKENS)
    with watching("--ledger", ledger, "--bill", bill, "--every", "1s", log=log) as process:
        eventually(is_billed(64), what="the bill to be said")
        ratio = "provider_account_model:realtime_spend_drift_ratio:settled"
        eventually(lambda: list(prometheus.query(ratio).values()) == [0] or None, what="the rules to be evaluated")
        assert firing(prometheus) == set()

        write_bill(bill, TOKENS * 12 // 10)
        eventually(lambda: firing(prometheus) == set(DRIFTS) or None, what="the alerts on drift to fire")
        eventually(is_billed(76.8), what="the bill with 20 % more")

        write_bill(bill, TOKENS)
        eventually(lambda: not firing(prometheus) or None, what="the alerts to end")
        eventually(is_billed(64), what="the restated bill")
        causes = prometheus.query(f"sum by ({names.CAUSE}) ({names.DRIFT_COST})")
        assert set(causes.values()) == {0}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
