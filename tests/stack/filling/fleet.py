"""Runs real programs against a simulated service, as many processes at once as the machine bears."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime_spend.simulator import Deployment, Scope, SimulatorOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

PROGRAM = Path(__file__).with_name("programs") / "voice.py"
DEPLOYMENTS = {
    "voice-prod": {"model": "gpt-realtime-mini", "version": "2025-12-15", "scope": "datazone"},
    "transcribe": {"model": "gpt-4o-mini-transcribe", "version": "2025-12-15", "scope": "global"},
}
_PROGRAM_SECONDS = 180
_AT_ONCE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One program of the fleet; its name is its `service.name`, and that of its ledger's folder."""

    name: str
    plan: list[dict[str, Any]]
    export_interval: float
    forks: bool = False
    account: str | None = None


def simulator_options() -> SimulatorOptions:
    deployments = {
        name: Deployment(model=entry["model"], version=entry["version"], scope=Scope(entry["scope"]))
        for name, entry in DEPLOYMENTS.items()
    }
    return SimulatorOptions(seed=4, deployments=deployments)


def fleet(service: str) -> list[Run]:
    """Sessions of every length, and among them all that a meter can find doubtful."""
    url = service.replace("http", "ws", 1)
    openai = f"{url}/v1/realtime?model="
    azure = f"{url}/openai/realtime?api-version=2025-04-01-preview&deployment=voice-prod"
    steady = {"url": openai + "gpt-realtime", "transcription": "gpt-4o-transcribe", "tenant": "acme"}
    return [
        *(Run(name=f"once-{n}", plan=[steady | {"answers": n}], export_interval=60) for n in (1, 2)),
        Run(name="short-1", plan=[steady | {"answers": 4, "pause": 0.9}], export_interval=0.5, account="proj_1"),
        Run(
            name="short-2",
            plan=[{"url": azure, "transcription": "transcribe", "tenant": "globex", "answers": 4, "pause": 1.1}],
            export_interval=0.7,
            account="contoso",
        ),
        Run(
            name="long",
            plan=[steady | {"answers": 12, "pause": 1.3}, {"url": azure, "answers": 10, "pause": 1.7}],
            export_interval=1,
        ),
        # Nothing is exported while it forks: OpenTelemetry's SDK holds a lock meanwhile, which would stay locked in the
        # child for good, and no metric of the child would arrive.
        Run(
            name="forking",
            plan=[{"url": openai + "gpt-realtime-mini", "answers": 3, "pause": 0.8}],
            export_interval=60,
            forks=True,
        ),
        Run(name="doubtful", plan=doubtful_sessions(openai), export_interval=1),
    ]


def doubtful_sessions(openai: str) -> list[dict[str, Any]]:
    """Usage that is lost, missing, without a price, not split, repeated, or not in tokens."""
    return [
        {
            "url": f"{openai}gpt-realtime&sim_outcomes=completed,usage_missing,never_finished",
            "answers": 3,
            "silence": 3,
        },
        {"url": f"{openai}gpt-realtime-mini&sim_outcomes=completed,failed,dropped", "answers": 3, "tenant": "acme"},
        {"url": f"{openai}gpt-realtime-9", "answers": 2, "pause": 1.2, "tenant": "globex"},
        {"url": f"{openai}gpt-realtime&sim_outcomes=unsplit_cache", "answers": 3, "pause": 1, "tenant": "acme"},
        {"url": f"{openai}gpt-realtime-2&sim_repeat=1", "answers": 2, "pause": 1.2},
        {
            "url": f"{openai}gpt-realtime&sim_transcription_usage=model,missing",
            "transcription": "gpt-realtime-whisper",
            "answers": 3,
            "pause": 1.1,
        },
    ]


def run_all(runs: Iterable[Run], *, ledgers: Path, otlp_endpoint: str) -> None:
    """Runs the programs side by side, each to its end."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(lambda run: run_one(run, ledgers=ledgers, otlp_endpoint=otlp_endpoint), runs):
            pass


def run_one(run: Run, *, ledgers: Path, otlp_endpoint: str) -> None:
    """Runs one program under `opentelemetry-instrument`, with nothing but the settings that a user would make."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "REALTIME_"))}
    environment |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_METRIC_EXPORT_INTERVAL": str(round(run.export_interval * 1000)),
        "OTEL_SERVICE_NAME": run.name,
        "REALTIME_SPEND_LEDGER": str(ledgers / run.name),
        "REALTIME_SPEND_DEPLOYMENTS": json.dumps(DEPLOYMENTS),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    if run.account:
        environment["REALTIME_SPEND_ACCOUNT"] = run.account
    instrument = Path(sys.executable).with_name("opentelemetry-instrument")
    command: list[str | Path] = [instrument, sys.executable, PROGRAM, json.dumps(run.plan)]
    ended = subprocess.run(
        [*command, *(["--fork"] if run.forks else [])],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_PROGRAM_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, f"{run.name} ended with status {ended.returncode}:\n{ended.stderr[-4000:]}"
