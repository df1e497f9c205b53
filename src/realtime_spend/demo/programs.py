"""The programs that the demo runs, unchanged, each as its own process under `opentelemetry-instrument`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROGRAM_SECONDS = 60
_THIS_MACHINE = "127.0.0.1,localhost"
DEPLOYMENTS = {
    "voice-prod": {"model": "gpt-realtime-mini", "version": "2025-12-15", "scope": "datazone"},
    "transcribe": {"model": "gpt-4o-mini-transcribe", "version": "2025-12-15", "scope": "global"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One example program, what it shows, and the variables that point it at the simulators."""

    file: str
    shows: str
    environment: Mapping[str, str] = field(default_factory=dict)


def programs(openai_url: str, azure_url: str) -> list[Program]:
    """Return the programs, pointed at these two servers (`http://host:port`)."""
    openai_socket, azure_socket = openai_url.replace("http", "ws", 1), azure_url.replace("http", "ws", 1)
    return [
        Program(
            file="openai_sdk.py",
            shows="openai SDK, async, gpt-realtime, transcribed by tokens",
            environment={"OPENAI_API_KEY": "demo", "OPENAI_BASE_URL": f"{openai_url}/v1"},
        ),
        Program(
            file="azure_sdk.py",
            shows="openai SDK, Azure client, blocking, a data zone deployment",
            environment={
                "AZURE_OPENAI_API_KEY": "demo",
                "AZURE_OPENAI_ENDPOINT": azure_url,
                "AZURE_OPENAI_WEBSOCKET_URL": f"{azure_socket}/openai",
                "AZURE_OPENAI_DEPLOYMENT": "voice-prod",
                "AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT": "transcribe",
            },
        ),
        Program(
            file="plain_websockets.py",
            shows="plain websockets, gpt-realtime-mini, transcribed by seconds",
            environment={
                "OPENAI_API_KEY": "demo",
                "REALTIME_URL": f"{openai_socket}/v1/realtime?model=gpt-realtime-mini&sim_outcomes=completed,cancelled",
            },
        ),
    ]


def examples_folder() -> Path:
    """Return where the example programs are: in the installed package, or in the checkout that it is run from."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "examples", package.parent.parent / "examples"):
        if (folder / "openai_sdk.py").is_file():
            return folder
    raise FileNotFoundError("the example programs are missing; install realtime-spend anew, or run from a checkout")


def run(
    program: Program, ledger: Path, otlp_endpoint: str, *, keep_otlp: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run `program` to its end under `opentelemetry-instrument`. `keep_otlp`: with the user's own OTLP settings.

    Raises:
        subprocess.TimeoutExpired: it did not end within a minute.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "REALTIME_SPEND_"))},
        # What a user sets. Headers and the like, for a collector of his own, are passed on.
        **{name: value for name, value in os.environ.items() if keep_otlp and name.startswith("OTEL_EXPORTER_OTLP_")},
        # All servers are on this machine, whatever proxy the rest of the world is behind.
        "NO_PROXY": _THIS_MACHINE,
        "no_proxy": _THIS_MACHINE,
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_SERVICE_NAME": Path(program.file).stem,
        "REALTIME_SPEND_LEDGER": str(ledger),
        "REALTIME_SPEND_DEPLOYMENTS": json.dumps(DEPLOYMENTS),
        **program.environment,
    }
    instrument = Path(sys.executable).with_name("opentelemetry-instrument")
    command = [str(instrument), sys.executable, str(examples_folder() / program.file)]
    return subprocess.run(  # noqa: S603 - our own examples, by absolute path
        command, env=environment, capture_output=True, text=True, timeout=_PROGRAM_SECONDS, check=False
    )
