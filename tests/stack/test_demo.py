"""The demo's unchanged programs, through the real collector into the real Prometheus."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from realtime_spend.estimates.ledger import read_ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.stack.conftest import StartCollector, StartPrometheus

_COST = "sum by (realtime_spend_model, realtime_spend_component) (last_over_time(realtime_spend_cost_USD_total[1h]))"
_ACTIVE = "sum(last_over_time(realtime_spend_session_active[1h]))"


@pytest.mark.stack
def test_what_prometheus_holds_of_the_demo_is_what_its_ledger_says(
    start_prometheus: StartPrometheus,
    start_collector: StartCollector,
    eventually: Callable[..., Any],
    tmp_path: Path,
) -> None:
    prometheus = start_prometheus(tmp_path)
    collector = start_collector(tmp_path, prometheus_url=prometheus.otlp_metrics_url)
    ledger = tmp_path / "ledger"
    demo = subprocess.run(
        [Path(sys.executable).with_name("realtime-spend"), "demo", "--ledger", ledger],
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.otlp_http_port}"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "truth and ledger agree" in demo.stdout
    wanted: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for entry in read_ledger(ledger).entries:
        for part, cost in entry.costs.items():
            assert cost is not None
            wanted[str(entry.model), part.partition(".")[2]] += cost

    def spent() -> dict[tuple[str, str], float]:
        found = {
            tuple(value for _, value in sorted(labels)): value for labels, value in prometheus.query(_COST).items()
        }
        return {(model, component): value for (component, model), value in found.items() if value}

    eventually(lambda: spent().keys() == wanted.keys() or None, what="all components to arrive")
    assert spent() == {key: pytest.approx(float(cost), rel=1e-9) for key, cost in wanted.items()}
    assert prometheus.query(_ACTIVE) == {frozenset(): 0}
