"""The real OpenTelemetry Collector and Prometheus for the demo, where they are to be had, on free ports."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_READY_SECONDS = 60
_STOP_SECONDS = 10
_ASK_SECONDS = 30
_SHOWN = 1500
_PATH_NAMES = {"otelcol": ("otelcol-contrib", "otelcol"), "prometheus": ("prometheus",)}
# Rules, scraping and alerting are for a Prometheus that stays; the demo's must not reach what else runs on the machine.
_STORING = re.compile(r"^(?:global|storage|otlp):.*\n(?:[ \t#].*\n|\n)*", re.MULTILINE)
_MORE = "for a real collector and Prometheus run `make stack` in a clone of realtime-spend, then the demo again"


class StackError(Exception):
    """The collector or Prometheus is not to be had, or did not start; the sentence says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The programs and their configurations."""

    otelcol: Path
    prometheus: Path
    collector_config: Path
    prometheus_config: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningStack:
    """Where programs send to, and where their totals can be asked for."""

    otlp_endpoint: str
    prometheus_url: str


def find_stack(environment: Mapping[str, str]) -> Stack:
    """Return what is on PATH, else what `make stack` has built.

    Raises:
        StackError: something is not there; the sentence says how to get it.
    """
    collector_config = _configuration("collector-config", "single-host.yaml")
    prometheus_config = _configuration("prometheus", "prometheus.yml")
    collector = _first("otelcol", environment, lambda path: _accepts(path, collector_config))
    prometheus = _first("prometheus", environment, _takes_otlp)
    if collector is None or prometheus is None:
        raise StackError(_MORE)
    return Stack(
        otelcol=collector,
        prometheus=prometheus,
        collector_config=collector_config,
        prometheus_config=prometheus_config,
    )


def _configuration(folder: str, name: str) -> Path:
    """Return a file that operators deploy: in the installed package, or in the checkout that it is run from."""
    package = Path(__file__).resolve().parent.parent
    for root in (package, package.parent.parent):
        if (root / folder / name).is_file():
            return root / folder / name
    raise StackError(f"without a collector and Prometheus, since {folder}/{name} is not in this installation")


def _first(name: str, environment: Mapping[str, str], is_good: Callable[[Path], bool]) -> Path | None:
    return next(filter(is_good, _candidates(name, environment)), None)


def _candidates(name: str, environment: Mapping[str, str]) -> Iterator[Path]:
    for called in _PATH_NAMES[name]:
        if found := shutil.which(called, path=environment.get("PATH", "")):
            yield Path(found)
    home = environment.get("XDG_CACHE_HOME") or f"{environment.get('HOME', '')}/.cache"
    cache = Path(environment.get("REALTIME_SPEND_STACK") or f"{home}/realtime-spend/stack")
    # One folder a recipe: the newest is of the newest recipe.
    yield from sorted(cache.glob(f"*/bin/{name}"), key=lambda path: path.stat().st_mtime, reverse=True)


def _accepts(collector: Path, config: Path) -> bool:
    """Whether this collector has all the parts that the configuration names."""
    return _said_by([collector, "validate", f"--config={config}"]) is not None


def _takes_otlp(prometheus: Path) -> bool:
    version = re.search(r"version (\d+)\.", _said_by([prometheus, "--version"]) or "")
    return version is not None and int(version[1]) >= 3  # noqa: PLR2004 - the first with an OTLP receiver to rely on


def _said_by(command: Sequence[str | Path]) -> str | None:
    """Return what a program says, None where it fails or cannot be started."""
    try:
        said = subprocess.run(  # noqa: S603 - by absolute path
            command, env=_environment({}), capture_output=True, text=True, timeout=_ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout + said.stderr if said.returncode == 0 else None


@contextmanager
def running(stack: Stack, folder: Path) -> Iterator[RunningStack]:
    """Run Prometheus and the collector for as long as the block lasts, with all that they write in `folder`.

    Raises:
        StackError: one of them did not start; the sentence holds what it said.
    """
    prometheus, grpc, http, health, metrics = free_ports(5)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.yml"
    config.write_text("".join(_STORING.findall(stack.prometheus_config.read_text(encoding="utf-8"))), encoding="utf-8")
    url = f"http://127.0.0.1:{prometheus}"
    variables = {
        "COLLECTOR_OTLP_GRPC_ENDPOINT": f"127.0.0.1:{grpc}",
        "COLLECTOR_OTLP_HTTP_ENDPOINT": f"127.0.0.1:{http}",
        "COLLECTOR_HEALTH_ENDPOINT": f"127.0.0.1:{health}",
        "COLLECTOR_METRICS_HOST": "127.0.0.1",
        "COLLECTOR_METRICS_PORT": str(metrics),
        "COLLECTOR_QUEUE_DIRECTORY": str(folder / "queue"),
        "PROMETHEUS_OTLP_METRICS_URL": f"{url}/api/v1/otlp/v1/metrics",
    }
    arguments = [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{prometheus}",
        "--web.enable-otlp-receiver",
    ]
    with ExitStack() as started:
        started.enter_context(_ended_by_sigterm())
        started.enter_context(program([stack.prometheus, *arguments], folder / "prometheus.log", f"{url}/-/ready", {}))
        started.enter_context(
            program(
                [stack.otelcol, f"--config={stack.collector_config}"],
                folder / "collector.log",
                f"http://127.0.0.1:{health}/",
                variables,
            )
        )
        yield RunningStack(otlp_endpoint=f"http://127.0.0.1:{http}", prometheus_url=url)


@contextmanager
def program(command: Sequence[str | Path], log: Path, ready: str, variables: Mapping[str, str]) -> Iterator[None]:
    """Run a program from the moment that it says that it is ready until the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - by absolute path
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_environment(variables)
        )
    try:
        _wait_until_ready(process, ready, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_SECONDS)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    opener = build_opener(ProxyHandler({}))
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with opener.open(url, timeout=1):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    said = log.read_text(encoding="utf-8", errors="replace").strip()[-_SHOWN:]
    raise StackError(f"{log.stem} did not start; it said:\n{said}")


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a program: what the user set for OpenTelemetry or another collector is not for these."""
    foreign = ("OTEL_", "COLLECTOR_", "PROMETHEUS_")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(foreign)}, **variables}


def free_ports(count: int) -> list[int]:
    """Return so many ports that nobody listens on."""
    # All are held until all are found, or one could be found twice.
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let a SIGTERM end the block as Ctrl-C does: what it runs would go on without anybody to stop it."""

    def end(number: int, _frame: object) -> NoReturn:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
