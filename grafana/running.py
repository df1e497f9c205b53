"""Runs a collector and a Prometheus that scrapes it, on free ports of this machine, for the pictures."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from grafana import names
from grafana.asking import ask, fetched

from realtime_spend.demo.stack import free_ports, program

_COLLECTOR = Path(__file__).resolve().parent.parent / "collector-config" / "single-host.yaml"
# Beside what an operator deploys: the collector also writes down what it takes in.
_RECORDER = """\
exporters: {{file: {{path: "{recording}", format: proto, flush_interval: 100ms}}}}
service: {{pipelines: {{metrics: {{exporters: [otlp_http/prometheus, file]}}}}}}
"""
_PROMETHEUS = """\
storage: {{tsdb: {{out_of_order_time_window: 7d}}}}
scrape_configs:
  - {{job_name: otelcol, scrape_interval: 1s, static_configs: [{{targets: ["127.0.0.1:{metrics}"]}}]}}
"""
_PATIENCE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Where exports go to, where they are written down, and where they can be asked for."""

    otlp_port: int
    metrics_port: int
    recording: Path
    url: str

    def wait_until_handed_on(self) -> None:
        """Wait until Prometheus has all that the collector took in, and has scraped that it has."""
        sent = f'sum({names.SENT}{{exporter="otlp_http/prometheus"}})'

        def handed_on() -> bool:
            result = ask(self.url, "query", query=sent)["result"]
            return bool(result) and float(result[0]["value"][1]) == self._accepted()

        _wait(handed_on, "Prometheus to take in what the collector has")

    def _accepted(self) -> float:
        text = fetched(f"http://127.0.0.1:{self.metrics_port}/metrics")
        lines = [line for line in text.splitlines() if line.startswith(names.ACCEPTED + "{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@contextmanager
def running(folder: Path, *, otelcol: Path, prometheus: Path) -> Iterator[Pipeline]:
    """Run both, with all that they write in `folder`, for as long as the block lasts."""
    recording, recorder, configuration = (folder / name for name in ("recording", "recorder.yaml", "prometheus.yml"))
    grpc, otlp, health, metrics, web = free_ports(5)
    recorder.write_text(_RECORDER.format(recording=recording), encoding="utf-8")
    configuration.write_text(_PROMETHEUS.format(metrics=metrics), encoding="utf-8")
    url = f"http://127.0.0.1:{web}"
    environment = {
        "COLLECTOR_OTLP_GRPC_ENDPOINT": f"127.0.0.1:{grpc}",
        "COLLECTOR_OTLP_HTTP_ENDPOINT": f"127.0.0.1:{otlp}",
        "COLLECTOR_HEALTH_ENDPOINT": f"127.0.0.1:{health}",
        "COLLECTOR_METRICS_HOST": "127.0.0.1",
        "COLLECTOR_METRICS_PORT": str(metrics),
        "COLLECTOR_QUEUE_DIRECTORY": str(folder / "queue"),
        "PROMETHEUS_OTLP_METRICS_URL": f"{url}/api/v1/otlp/v1/metrics",
    }
    stored = [f"--storage.tsdb.path={folder / 'prometheus'}", f"--web.listen-address=127.0.0.1:{web}"]
    of_prometheus: list[str | Path] = [
        prometheus,
        f"--config.file={configuration}",
        "--web.enable-otlp-receiver",
        *stored,
    ]
    of_collector: list[str | Path] = [otelcol, f"--config={_COLLECTOR}", f"--config={recorder}"]
    with ExitStack() as started:
        started.enter_context(program(of_prometheus, folder / "prometheus.log", f"{url}/-/ready", {}))
        healthy = f"http://127.0.0.1:{health}/"
        started.enter_context(program(of_collector, folder / "collector.log", healthy, environment))
        yield Pipeline(otlp_port=otlp, metrics_port=metrics, recording=recording, url=url)


def _wait(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {_PATIENCE_SECONDS} s in vain for {what}")
        time.sleep(0.1)
