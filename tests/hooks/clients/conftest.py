"""Clients as their users have them: each with its own program, in an environment of its own, against the simulator."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from realtime_spend.simulator import Deployment, Scope, SessionOptions, SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from tests.conftest import Environment

HERE = Path(__file__).parent
# The largest environments are half a gigabyte.
BUILD_PATIENCE = 600.0
PROGRAM_PATIENCE = 120.0
DEPLOYED = {
    "voice": Deployment(model="gpt-realtime", version="2025-08-28", scope=Scope.DATAZONE),
    "ears": Deployment(model="gpt-4o-transcribe"),
    "gpt-realtime": Deployment(model="gpt-realtime"),
    "gpt-4o-mini-transcribe": Deployment(model="gpt-4o-mini-transcribe"),
}
# Three quarters of a second a response: long enough to be interrupted.
PACE = SessionOptions(rate=40.0, deltas=30)


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client, as `clients.toml` has it."""

    name: str
    environment: str
    distribution: str
    library: str
    reaches: str


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a program printed, what was seen of it, and what really happened."""

    stdout: str
    stderr: str
    metrics: str
    versions: dict[str, str]
    strangers: list[str]
    ledger: Path
    truth: dict[str, Any]


class RunClient(Protocol):
    """Runs a client's program to its end, observed, with these settings."""

    def __call__(self, client: Client, **settings: str) -> Ran: ...


def _clients() -> list[Client]:
    said = tomllib.loads((HERE / "clients.toml").read_text(encoding="utf-8"))
    return [Client(name=name, **fields) for name, fields in said.items()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "client" in metafunc.fixturenames:
        metafunc.parametrize("client", _clients(), ids=lambda client: client.name)


@pytest.fixture(scope="session")
def clients() -> list[Client]:
    return _clients()


@pytest.fixture(scope="session")
def run_client(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> RunClient:
    """Run a client's program; one that has run with the same settings is not run again."""

    @functools.cache
    def run(client: Client, **settings: str) -> Ran:
        requirements = (HERE / "requirements" / f"{client.environment}.txt").read_text(encoding="utf-8").splitlines()
        pinned = [line for line in requirements if line and not line.startswith("#")]
        python = environment(*pinned, patience=BUILD_PATIENCE)
        folder = tmp_path_factory.mktemp(client.name)
        with run_in_thread(SimulatorOptions(seed=9, deployments=DEPLOYED, session=PACE)) as simulator:
            ran = subprocess.run(
                [python, HERE / "observe.py", "seen.json", HERE / "programs" / f"{client.name}.py", simulator.url],
                capture_output=True,
                text=True,
                timeout=PROGRAM_PATIENCE,
                check=False,
                cwd=folder,
                env=_surroundings(folder, settings),
            )
            assert ran.returncode == 0, ran.stderr
            simulator.wait_idle()
            truth = simulator.truth.as_json()
        seen = json.loads((folder / "seen.json").read_text(encoding="utf-8"))
        seen["metrics"] = json.dumps(seen["metrics"])
        return Ran(stdout=ran.stdout, stderr=ran.stderr, ledger=folder / "ledger", truth=truth, **seen)

    return run


def _surroundings(folder: Path, settings: dict[str, str]) -> dict[str, str]:
    strange = ("OTEL_", "PYTHON", "REALTIME_", "OPENAI_", "AZURE_", "LIVEKIT_", "DASHSCOPE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    deployments = {
        name: {"model": one.model, "version": one.version, "scope": one.scope} for name, one in DEPLOYED.items()
    }
    ours = {"ledger": str(folder / "ledger"), "deployments": json.dumps(deployments)} | settings
    return kept | {"no_proxy": "127.0.0.1"} | {f"REALTIME_SPEND_{name.upper()}": value for name, value in ours.items()}
