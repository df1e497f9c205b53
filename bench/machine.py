"""What the figures were measured on: machine, load, date and versions. A figure without these says nothing."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = (
    "websockets",
    "aiohttp",
    "websocket-client",
    "httpx-ws",
    "aiortc",
    "openai",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation",
    "wrapt",
    "duckdb",
)


def described() -> list[str]:
    """Return sentences that tell date, machine and versions."""
    load = ", ".join(f"{figure:.1f}" for figure in os.getloadavg())
    return [
        (
            f"Measured on {datetime.now(UTC):%Y-%m-%d}, {_processor()}, {os.cpu_count()} cores, {platform.system()} "
            f"{platform.release().partition('-')[0]}, {platform.python_implementation()} {platform.python_version()}; "
            f"load averages at the end: {load}."
        ),
        "With " + ", ".join(f"{name} {_version(name)}" for name in ("realtime-spend", *LIBRARIES)) + ".",
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    speeds = [line.partition(":")[2].strip() for line in lines if line.startswith("cpu MHz")]
    speed = f" at {float(speeds[0]) / 1000:.1f} GHz" if speeds else ""
    return (names[0] if names else platform.machine()) + speed


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "(absent)"
