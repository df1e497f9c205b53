"""The oldest and the newest versions of `websockets`, each in an environment of its own, against the same simulator."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from realtime_spend.simulator import SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from tests.hooks.conftest import Meter, Reader

MeterOf = Callable[["Reader", Path], "Meter"]
Environment = Callable[..., Path]

PROJECT = Path(__file__).resolve().parents[2]
# What the instrumentation itself needs, and the SDK that reads it out.
NEEDED = ("opentelemetry-sdk", "opentelemetry-instrumentation", "wrapt", "click", "rich")
BUILD_PATIENCE = 110.0


def _home() -> Path:
    said = os.environ.get("REALTIME_SPEND_TEST_ENVS")
    return Path(said) if said else Path.home() / ".cache" / "realtime-spend" / "test-envs"


def _run(*command: str | Path) -> str:
    ran = subprocess.run(
        [*map(str, command)], check=True, capture_output=True, text=True, timeout=BUILD_PATIENCE, cwd=PROJECT
    )
    return ran.stdout.strip()


def _build(requirements: tuple[str, ...], home: Path) -> None:
    """Make an environment beside `home` and move it there in one step, so that nobody finds half of one."""
    home.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
    python = making / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--disable-pip-version-check")
    try:
        # It may be moved, because of all that is in it nothing but the link to the interpreter is ever started.
        _run(sys.executable, "-m", "venv", "--without-pip", making)
        _run(*pip, *requirements)
        _run(*pip, "--no-deps", "-e", PROJECT)
        try:
            making.rename(home)
        except OSError:
            # Somebody else was quicker; theirs is as good.
            if not home.exists():
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)


@pytest.fixture(scope="session")
def environment() -> Environment:
    """Return the interpreter of an environment with these requirements, made once for all runs on this machine."""

    def made(*requirements: str) -> Path:
        wanted = (*requirements, *NEEDED)
        mark = hashlib.sha256(json.dumps([wanted, sys.version, str(PROJECT)]).encode()).hexdigest()[:16]
        home = _home() / mark
        if not home.exists():
            try:
                _build(wanted, home)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                said = str(error.stderr or error)[-500:]
                if os.environ.get("CI"):
                    pytest.fail(f"the environment cannot be made: {said}")
                pytest.skip(f"no package registry can be reached: {said}")
        return home / "bin" / "python"

    return made


CLIENT = """
import asyncio, json, sys
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from realtime_spend import RealtimeInstrumentor
from websockets.version import version

url, ledger, expected = sys.argv[1:]
assert version == expected, version
reader = InMemoryMetricReader()
RealtimeInstrumentor().instrument(meter_provider=MeterProvider(metric_readers=[reader]), ledger=ledger)

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_in_threads

{program}

data = json.loads(reader.get_metrics_data().to_json())
print(json.dumps([metric for scope in data["resource_metrics"][0]["scope_metrics"] for metric in scope["metrics"]]))
"""

WEBSOCKETS = """
CREATE = '{"type": "response.create"}'
LASTS = ["rate_limits.updated"] * 3 + ["response.created"]

async def asynchronous():
    kinds = []
    async with connect(url) as connection:
        for last in LASTS:
            await connection.send(CREATE)
            while not kinds or kinds[-1] != last:
                kinds.append(json.loads(await asyncio.wait_for(connection.recv(), 20))["type"])
            kinds.append("")
    return kinds

def in_threads():
    kinds = []
    with connect_in_threads(url) as connection:
        for last in LASTS:
            connection.send(CREATE)
            while not kinds or kinds[-1] != last:
                kinds.append(json.loads(connection.recv(20))["type"])
            kinds.append("")
    return kinds

async def cut():
    got = 0
    try:
        async with connect(url.replace("completed,completed,completed,never_finished", "dropped")) as connection:
            await connection.send(CREATE)
            while True:
                got += bool(await asyncio.wait_for(connection.recv(), 20))
    except ConnectionClosed as error:
        assert error.rcvd is error.sent is None, error
    assert got, got

assert asyncio.run(asynchronous()) == in_threads()
asyncio.run(cut())
"""

OPENAI = """
import openai

assert openai.__version__ == "3.54.0"
query = {"sim_outcomes": "completed,completed,completed,never_finished", "sim_deltas": 2}
base = url.partition("/realtime")[0]

async def asynchronous():
    async with openai.AsyncOpenAI(api_key="any", websocket_base_url=base) as client:
        async with client.realtime.connect(model="gpt-realtime", extra_query=query) as connection:
            for last in ["rate_limits.updated"] * 3 + ["response.created"]:
                await connection.response.create()
                async for event in connection:
                    if event.type == last:
                        break

def in_threads():
    with openai.OpenAI(api_key="any", websocket_base_url=base) as client:
        with client.realtime.connect(model="gpt-realtime", extra_query=query) as connection:
            for last in ["rate_limits.updated"] * 3 + ["response.created"]:
                connection.response.create()
                for event in connection:
                    if event.type == last:
                        break

asyncio.run(asynchronous())
in_threads()
"""


class Printed:
    """Metrics that another process printed as JSON, as the SDK's readers give them."""

    def __init__(self, text: str) -> None:
        self._metrics = json.loads(text)

    def get_metrics_data(self) -> Any:
        from opentelemetry.sdk.metrics.export import HistogramDataPoint, NumberDataPoint  # noqa: PLC0415

        def point(said: dict[str, Any]) -> Any:
            said.pop("exemplars", None)
            return HistogramDataPoint(**said) if "bucket_counts" in said else NumberDataPoint(**said)

        metrics = [
            SimpleNamespace(
                name=metric["name"],
                data=SimpleNamespace(data_points=[point(dict(one)) for one in metric["data"]["data_points"]]),
            )
            for metric in self._metrics
        ]
        return SimpleNamespace(resource_metrics=[SimpleNamespace(scope_metrics=[SimpleNamespace(metrics=metrics)])])


def meet(python: Path, program: str, version: str, tmp_path: Path, meter_of: MeterOf, *, responses: int) -> None:
    file = tmp_path / "client.py"
    file.write_text(CLIENT.replace("{program}", program), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON", "REALTIME_"))}
    with run_in_thread(SimulatorOptions(seed=9)) as simulator:
        outcomes = "completed,completed,completed,never_finished"
        url = f"ws://127.0.0.1:{simulator.port}/v1/realtime?model=gpt-realtime&sim_outcomes={outcomes}&sim_deltas=2"
        ran = subprocess.run(
            [python, file, url, tmp_path / "ledger", version],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=kept | {"no_proxy": "127.0.0.1"},
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr == ""
        simulator.wait_idle()
        truth = simulator.truth.as_json()
    assert truth["counts"]["responses"] == responses
    meter_of(Printed(ran.stdout), tmp_path / "ledger").agrees_with(truth)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", ["13.1", "14.2", "15.0.1", "16.0", "17.4"])
def test_each_version_of_websockets_is_counted_exactly(
    environment: Environment, meter_of: MeterOf, tmp_path: Path, version: str
) -> None:
    python = environment(f"websockets=={version}")
    meet(python, WEBSOCKETS, version, tmp_path, meter_of, responses=9)


@pytest.mark.timeout(300)
def test_the_openai_client_on_the_oldest_websockets_it_takes_is_counted_exactly(
    environment: Environment, meter_of: MeterOf, tmp_path: Path
) -> None:
    python = environment("openai==3.54.0", "websockets==13.1")
    meet(python, OPENAI, "13.1", tmp_path, meter_of, responses=8)
