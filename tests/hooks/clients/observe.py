"""Run a client's program as it is, observed, and write down what was measured, what ran, and whom it called.

python observe.py RESULT.json PROGRAM.py [ARGUMENT ...]
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import runpy
import sys
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from realtime_spend import RealtimeInstrumentor

_HERE = {None, "", "127.0.0.1", "::1", "localhost"}


def main() -> None:
    """Observe the program from before its first import to its end."""
    result, program, *arguments = sys.argv[1:]
    strangers: set[str] = set()
    sys.addaudithook(functools.partial(_note_strangers, strangers))
    reader = InMemoryMetricReader()
    RealtimeInstrumentor().instrument(meter_provider=MeterProvider(metric_readers=[reader]))
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")
    said = {"metrics": _collect(reader), "versions": _versions(), "strangers": sorted(strangers)}
    Path(result).write_text(json.dumps(said), encoding="utf-8")


def _note_strangers(strangers: set[str], event: str, arguments: tuple[Any, ...]) -> None:
    """Note every host that is looked up or connected to and is not this one."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in _HERE:
        strangers.add(str(host))


def _collect(reader: InMemoryMetricReader) -> list[Any]:
    data = reader.get_metrics_data()
    resources = json.loads(data.to_json())["resource_metrics"] if data else []
    return [metric for resource in resources for scope in resource["scope_metrics"] for metric in scope["metrics"]]


def _versions() -> dict[str, str]:
    return {one.metadata["Name"]: one.version for one in importlib.metadata.distributions()}


if __name__ == "__main__":
    main()
