"""Programs that know nothing of us, under `opentelemetry-instrument`: what they send by OTLP is the truth."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics.export import HistogramDataPoint, NumberDataPoint

from realtime_spend.demo.receiver import taking
from realtime_spend.simulator import RunningSimulator, SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from tests.hooks.conftest import Meter, Reader

MeterOf = Callable[["Reader", Path], "Meter"]
INSTRUMENT = Path(sys.executable).with_name("opentelemetry-instrument")
PATIENCE = 60.0


class Collector:
    """Takes metrics by OTLP over HTTP, and keeps the newest point of each series."""

    def __init__(self) -> None:
        self.exports = 0
        self.url = ""
        self._points: dict[tuple[str, Any, Any], Any] = {}

    @contextmanager
    def running(self) -> Iterator[Collector]:
        with taking(self._take) as self.url:
            yield self

    def _take(self, request: ExportMetricsServiceRequest) -> None:
        self.exports += 1
        for resource in request.resource_metrics:
            process = str(resource.resource)
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    kind = metric.WhichOneof("data")
                    assert kind is not None
                    for point in getattr(metric, kind).data_points:
                        key = (metric.name, process, str(sorted(map(str, point.attributes))))
                        self._points[key] = (kind, point)

    def get_metrics_data(self) -> Any:
        """Return the points as the SDK's readers do."""
        by_name: dict[str, list[Any]] = {}
        for (name, _, _), (kind, point) in self._points.items():
            by_name.setdefault(name, []).append(_histogram(point) if kind == "histogram" else _number(point))
        metrics = [SimpleNamespace(name=name, data=SimpleNamespace(data_points=of)) for name, of in by_name.items()]
        return SimpleNamespace(resource_metrics=[SimpleNamespace(scope_metrics=[SimpleNamespace(metrics=metrics)])])


def _attributes(point: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in point.attributes}


def _number(point: Any) -> NumberDataPoint:
    value = getattr(point, point.WhichOneof("value"))
    return NumberDataPoint(_attributes(point), point.start_time_unix_nano, point.time_unix_nano, value)


def _histogram(point: Any) -> HistogramDataPoint:
    return HistogramDataPoint(
        attributes=_attributes(point),
        start_time_unix_nano=point.start_time_unix_nano,
        time_unix_nano=point.time_unix_nano,
        count=point.count,
        sum=point.sum,
        bucket_counts=list(point.bucket_counts),
        explicit_bounds=list(point.explicit_bounds),
        min=point.min,
        max=point.max,
    )


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector().running() as running:
        yield running


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with run_in_thread(SimulatorOptions(seed=5, accept_any_deployment=True)) as running:
        yield running


@pytest.fixture
def received(collector: Collector, meter_of: MeterOf, tmp_path: Path) -> Meter:
    """Tell what the programs of a test have sent and written."""
    return meter_of(collector, tmp_path / "ledger")


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path, collector: Collector) -> Run:
    """Run a program under `opentelemetry-instrument` (or as `command` says) to its end."""

    def go(
        program: str,
        *arguments: object,
        endpoint: str | None = None,
        command: tuple[str | Path, ...] = (INSTRUMENT, sys.executable),
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "program.py"
        file.write_text(program, encoding="utf-8")
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "REALTIME_", "PYTHON"))
        }
        return subprocess.run(
            [*command, file, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            cwd=tmp_path,
            env=kept
            | {
                "OTEL_SERVICE_NAME": "florist",
                "OTEL_METRICS_EXPORTER": "otlp",
                "OTEL_TRACES_EXPORTER": "none",
                "OTEL_LOGS_EXPORTER": "none",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint or collector.url,
                "REALTIME_SPEND_LEDGER": str(tmp_path / "ledger"),
            }
            | environment,
        )

    return go


def address(simulator: RunningSimulator, *, path: str = "/v1", query: str = "") -> str:
    return f"ws://127.0.0.1:{simulator.port}{path}{query}"


PLAIN = """
import json, sys
{at_the_top}

def main():
    {inside}
    with connect(sys.argv[1], proxy=None) as connection:
        for _ in range(3):
            connection.send('{{"type": "response.create"}}')
            while "rate_limits.updated" not in str(connection.recv(20)):
                pass
        connection.send('{{"type": "response.create"}}')
        while json.loads(connection.recv(20))["type"] != "response.created":
            pass
        {at_the_end}

main()
print("done")
"""

AT_THE_TOP = PLAIN.format(at_the_top="from websockets.sync.client import connect", inside="pass", at_the_end="pass")
INSIDE = PLAIN.format(at_the_top="", inside="from websockets.sync.client import connect", at_the_end="pass")
# A program may also end in the middle of a session.
EXITING = PLAIN.format(
    at_the_top="import websockets, websockets.sync.client\nconnect = websockets.sync.client.connect",
    inside="pass",
    at_the_end="print('done'); sys.exit(0)",
)
WITH_OPENAI = """
import asyncio, sys
from openai import AsyncOpenAI

async def main():
    async with AsyncOpenAI(api_key="any", websocket_base_url=sys.argv[1]) as client:
        query = {"sim_outcomes": "completed,completed,completed,never_finished", "sim_deltas": 2}
        async with client.realtime.connect(model="gpt-realtime", extra_query=query) as connection:
            for last in ["rate_limits.updated"] * 3 + ["response.created"]:
                await connection.response.create()
                async for event in connection:
                    if event.type == last:
                        break

asyncio.run(main())
print("done")
"""
QUERY = "/realtime?model=gpt-realtime&sim_outcomes=completed,completed,completed,never_finished&sim_deltas=2"

PROGRAMS = {
    "that imports websockets at the top": (AT_THE_TOP, QUERY),
    "that imports websockets inside a function": (INSIDE, QUERY),
    "that exits inside a session": (EXITING, QUERY),
    "that imports openai at the top": (WITH_OPENAI, ""),
}


@pytest.mark.parametrize("name", PROGRAMS, ids=[name.replace(" ", "_") for name in PROGRAMS])
def test_a_program_is_metered_without_a_line_of_code(
    simulator: RunningSimulator, run: Run, received: Meter, name: str
) -> None:
    program, query = PROGRAMS[name]
    ran = run(program, address(simulator, query=query))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")
    simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert (truth["counts"]["reported"], truth["counts"]["lost"]) == (3, 1)
    received.agrees_with(truth)


def test_a_program_that_imported_the_library_before_anything_else_is_metered(
    simulator: RunningSimulator, run: Run, received: Meter, tmp_path: Path
) -> None:
    early = tmp_path / "early"
    early.mkdir()
    (early / "sitecustomize.py").write_text(
        "import websockets.client, websockets.asyncio.client, websockets.sync.client\n"
        "from opentelemetry.instrumentation.auto_instrumentation import initialize\n"
        "initialize()\n",
        encoding="utf-8",
    )
    ran = run(
        AT_THE_TOP,
        address(simulator, query=QUERY),
        command=(sys.executable,),
        PYTHONPATH=str(early),
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")
    simulator.wait_idle()
    received.agrees_with(simulator.truth.as_json())


WITHOUT_SOCKETS = """
import sys
assert not [name for name in sys.modules if name.partition(".")[0] in ("websockets", "openai", "aiohttp")]
from opentelemetry import metrics
metrics.get_meter("florist").create_counter("roses").add(3)
print("done")
"""


def test_a_program_without_a_socket_library_does_not_get_one_from_us(collector: Collector, run: Run) -> None:
    ran = run(WITHOUT_SOCKETS)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")
    assert collector.exports == 1


def test_where_websockets_is_not_installed_the_program_runs_and_nothing_is_said(
    collector: Collector, run: Run, tmp_path: Path
) -> None:
    """An environment that has all that ours has, but no websockets."""
    home = tmp_path / "without"
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip())
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("websockets", "__pycache__")) and not (packages / entry.name).exists():
            (packages / entry.name).symlink_to(entry)
    program = WITHOUT_SOCKETS + "import importlib.util; assert importlib.util.find_spec('websockets') is None\n"
    start = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
    instrument = home / "bin" / "opentelemetry-instrument"
    instrument.write_text(f"#!{python}\n{start}\n", encoding="utf-8")
    instrument.chmod(0o755)
    ran = run(program, command=(instrument, python))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")
    assert collector.exports == 1


def test_the_usual_variable_switches_us_off(
    simulator: RunningSimulator, collector: Collector, run: Run, tmp_path: Path
) -> None:
    ran = run(
        AT_THE_TOP,
        address(simulator, query=QUERY),
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="openai_realtime",
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")
    assert not (tmp_path / "ledger").exists()
    assert collector.exports == 0


UNKNOWN = {
    "a model of openai": ("/v1", "REALTIME_SPEND_RATE_CARDS", "REALTIME_SPEND_DEPLOYMENTS"),
    "a deployment on azure": ("/openai/v1", "REALTIME_SPEND_DEPLOYMENTS", "REALTIME_SPEND_RATE_CARDS"),
}


@pytest.mark.parametrize("name", UNKNOWN, ids=[name.replace(" ", "_") for name in UNKNOWN])
def test_a_name_that_has_no_price_is_said_once_with_what_to_set(
    simulator: RunningSimulator, run: Run, received: Meter, name: str
) -> None:
    path, variable, other = UNKNOWN[name]
    program = AT_THE_TOP.replace("main()\nprint", "main()\nmain()\nprint").replace(
        '"rate_limits.updated" not in', '"response.done" not in'
    )
    query = QUERY.replace("gpt-realtime", "florist-voice")
    ran = run(program, address(simulator, path=path, query=query))
    assert (ran.returncode, ran.stdout) == (0, "done\n")
    said = ran.stderr.splitlines()
    assert len(said) == 1, ran.stderr
    assert variable in said[0]
    assert other not in said[0]
    assert "'florist-voice'" in said[0]
    simulator.wait_idle()
    truth = simulator.truth.as_json()
    received.agrees_with(truth)
    assert received.sum("realtime_spend.unpriced", reason="model_not_listed") == 6 == truth["counts"]["unpriced"]


# --- No collector ----------------------------------------------------------------------------------------------------


LIVES_ON = "\nimport time\ntime.sleep(0.9)\n"


@pytest.mark.parametrize("rest", ["", LIVES_ON], ids=["that ends at once", "that lives on after its last session"])
def test_without_a_collector_a_program_waits_for_one_export_as_with_a_counter_of_its_own(
    rest: str, simulator: RunningSimulator, run: Run, port_of_nobody: int
) -> None:
    own = "from opentelemetry import metrics\nmetrics.get_meter('florist').create_counter('roses').add(3)\n"
    url = address(simulator, query=QUERY)

    def failed_exports(program: str, **environment: str) -> int:
        ran = run(
            program, url, endpoint=f"http://127.0.0.1:{port_of_nobody}", OTEL_EXPORTER_OTLP_TIMEOUT="1", **environment
        )
        assert (ran.returncode, ran.stdout) == (0, "done\n"), ran.stderr
        return ran.stderr.count("Failed to export metrics batch")

    # Each export that fails has used up its time with retries; a flush of ours would be a second one to wait for. We
    # hold back what repeats itself in the log, unless somebody wants to see it all.
    exporter = "opentelemetry.exporter.otlp.proto.http.metric_exporter"
    all_said = f"import logging\nlogging.getLogger('{exporter}').setLevel('DEBUG')\n"
    ours = failed_exports(all_said + AT_THE_TOP + rest)
    theirs = failed_exports(own + AT_THE_TOP + rest, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="openai_realtime")
    assert ours == theirs == 1
