from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, is_hypothesis_test, settings
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric
from tests.lacking import lacking

from realtime_spend.cli import main
from realtime_spend.containment import Containment
from realtime_spend.instrumentor import RealtimeInstrumentor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# How long an example takes, to run or to be made, is nobody's business: the machine may be busy with something else. In
# CI the same examples are drawn each time, so that a run is red for a change and never for luck.
settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
    database=None,
)
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give properties longer than other tests: a hundred examples, traced on a busy machine, had taken two minutes."""
    for item in items:
        if is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(autouse=True)
def nothing_is_hidden_and_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Containment, "reraise", True)
    for variable in [name for name in os.environ if name.startswith("REALTIME_SPEND_")]:
        monkeypatch.delenv(variable)
    yield
    instrumentor = RealtimeInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def provider(reader: InMemoryMetricReader) -> Iterator[MeterProvider]:
    provider = MeterProvider([reader], shutdown_on_exit=False)
    yield provider
    provider.shutdown()


@pytest.fixture
def port_of_nobody() -> Iterator[int]:
    """A port at which nobody listens, and at which nobody else can: it stays bound."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


class Seen:
    """What a collection by the SDK sees of our metrics, each time it is asked."""

    def __init__(self, reader: InMemoryMetricReader) -> None:
        self._reader = reader

    def metrics(self) -> dict[str, Metric]:
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        assert {scope.scope.name for scope in scopes} <= {"realtime_spend"}
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """The attributes and the value of each point; of a histogram, the sum of what was recorded."""
        metric = self.metrics().get(name)
        if metric is None:
            return []
        return [
            (dict(point.attributes or {}), getattr(point, "value", None) if hasattr(point, "value") else point.sum)
            for point in metric.data.data_points
        ]

    def value(self, name: str, match: Mapping[str, object] | None = None) -> Any:
        """The value of the only point with these attributes that is not merely there; None if there is none."""
        wanted = (match or {}).items()
        found = [value for attributes, value in self.points(name) if wanted <= attributes.items()]
        found = [value for value in found if value] or found[:1]
        assert len(found) <= 1, f"{len(found)} points of {name} match {match}"
        return found[0] if found else None


@pytest.fixture
def seen(reader: InMemoryMetricReader) -> Seen:
    return Seen(reader)


# --- The command ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Answer]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `realtime-spend` in this process, with `given` as its standard input."""

    def invoke(*arguments: object, given: str | bytes = "", **environment: str) -> Answer:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        data = given.encode() if isinstance(given, str) else given
        result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=data)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    return invoke


# --- Disks that are really full ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def disk_can_be_mounted() -> None:
    """Let a test mount a disk of its own; where nobody may do that it is skipped, but in CI it fails."""
    if sys.platform == "linux" and _may_mount():
        return
    lacking("a disk that is full has to be mounted: run it as root on Linux")


def _may_mount() -> bool:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    [powers] = [line.split()[1] for line in lines if line.startswith("CapEff")]
    # CAP_SYS_ADMIN.
    return bool(int(powers, 16) & 1 << 21)


# --- Programs of Debian's ---------------------------------------------------------------------------------------------


class Installed(Protocol):
    """Returns where a program is that `make packages` obtains; where it is absent a test is skipped, in CI it fails."""

    def __call__(self, name: str) -> Path: ...


@pytest.fixture(scope="session")
def installed() -> Installed:
    script = _PROJECT / "tests" / "packages.sh"
    shell = shutil.which("bash") or "/bin/bash"
    said = subprocess.run([shell, script, "--where"], check=True, capture_output=True, text=True, timeout=30).stdout
    paths = dict(line.split("=", 1) for line in said.splitlines())

    def path(name: str) -> Path:
        return Path(paths[name] or lacking(f"{name} not found: run make packages"))

    return path


# --- Environments with other versions, and with other clients ---------------------------------------------------------

_PROJECT = Path(__file__).resolve().parents[1]
# What the instrumentation itself needs, and the SDK that reads it out.
_NEEDED = ("opentelemetry-sdk", "opentelemetry-instrumentation", "wrapt", "click", "rich")
_BUILD_PATIENCE = 600.0


class Environment(Protocol):
    """Makes environments, once each for all runs on this machine, and returns their interpreters."""

    def __call__(self, *requirements: str, patience: float = _BUILD_PATIENCE) -> Path: ...


@pytest.fixture(scope="session")
def environment() -> Environment:
    """Return the interpreter of an environment with these requirements and this project as it stands."""

    def made(*requirements: str, patience: float = _BUILD_PATIENCE) -> Path:
        wanted = (*requirements, *_NEEDED)
        mark = hashlib.sha256(json.dumps([wanted, sys.version, str(_PROJECT)]).encode()).hexdigest()[:16]
        home = _home() / mark
        if not home.exists():
            try:
                _build(wanted, home, patience)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                said = str(error.stderr or error)[-500:]
                lacking(f"the environment cannot be made, as where no package registry can be reached: {said}")
        return home / "bin" / "python"

    return made


def _home() -> Path:
    said = os.environ.get("REALTIME_SPEND_TEST_ENVS")
    return Path(said) if said else Path.home() / ".cache" / "realtime-spend" / "test-envs"


def _build(requirements: tuple[str, ...], home: Path, patience: float) -> None:
    """Make an environment beside `home` and move it there in one step, so that nobody finds half of one."""
    home.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
    python = making / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--disable-pip-version-check")
    try:
        # It may be moved, because of all that is in it nothing but the link to the interpreter is ever started.
        _run(sys.executable, "-m", "venv", "--without-pip", making, patience=patience)
        _run(*pip, *requirements, patience=patience)
        _run(*pip, "--no-deps", "-e", _PROJECT, patience=patience)
        try:
            making.rename(home)
        except OSError:
            # Somebody else was quicker; theirs is as good.
            if not home.exists():
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _run(*command: str | Path, patience: float) -> None:
    subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, timeout=patience, cwd=_PROJECT)
