"""The same sessions under other instrumentations: what each adds to an event, and what each has counted in the end.

    python -m bench.peers [--quick]

Each stands in an environment of its own. Two processes of one client, one instrumented and one not, hold sessions by
turns; what the instrumented one has counted is compared with what its service sent. Nothing is taken from anybody's
documentation.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.agent import answering
from bench.environments import UnavailableError, interpreter_with
from bench.measuring import CELLS, by_turns, compared, rounds_of
from bench.simulated import simulated
from bench.tables import Table, program, progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.measuring import Compared

_ROOT = Path(__file__).resolve().parents[1]
_SDK, _AGENTS, _OTEL = "openai[realtime]", "openai-agents", "opentelemetry-sdk"
_SIZE = 8_192
_PAIRS, _ROUNDS = 2, 4
_PATIENCE = 30.0


class ClientEndedError(Exception):
    """A client ended before it answered."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One instrumentation with one client."""

    name: str
    instrument: str
    client: str
    requirements: tuple[str, ...]

    @property
    def shown(self) -> str:
        """What a table calls it."""
        return f"{self.name}: {_CLIENTS[self.client]}"


_CLIENTS = {"openai": "openai SDK", "openai-beta": "openai SDK, beta", "agents": "openai-agents"}
_TRACELOOP = (_SDK, _OTEL, "opentelemetry-instrumentation-openai")
PEERS = (
    Peer(name="realtime-spend", instrument="realtime-spend", client="openai", requirements=(_SDK, _OTEL)),
    Peer(name="realtime-spend", instrument="realtime-spend", client="agents", requirements=(_AGENTS, _OTEL)),
    Peer(name="traceloop", instrument="traceloop", client="openai", requirements=_TRACELOOP),
    Peer(name="traceloop", instrument="traceloop", client="openai-beta", requirements=_TRACELOOP),
    Peer(
        name="OpenInference",
        instrument="openinference",
        client="agents",
        requirements=(_AGENTS, _OTEL, "openinference-instrumentation-openai-agents"),
    ),
    Peer(name="ddtrace (LLM Observability)", instrument="ddtrace", client="openai", requirements=(_SDK, "ddtrace")),
)


def measure(quick: bool) -> list[Table]:  # noqa: FBT001 - what every program of the bench is asked
    """Measure every instrumentation, and ask it what it has counted."""
    costs = Table(
        title="Beside others: µs of CPU an event, in the thread that holds the session",
        columns=["instrumentation and client", *CELLS],
    )
    counted = Table(
        title="What each has counted of what was sent", columns=["instrumentation and client", *_QUANTITIES]
    )
    versions = []
    for peer in PEERS:
        progress(f"peers: {peer.shown}")
        try:
            python = interpreter_with(*peer.requirements, ours=peer.instrument == "realtime-spend")
        except UnavailableError as error:
            costs.rows.append([f"{peer.shown}: no environment ({error})", *[""] * len(CELLS)])
            continue
        try:
            found, answers = _measure(peer, python, quick=quick)
        except ClientEndedError:
            # What it had to say about that is on stderr.
            costs.rows.append([f"{peer.shown}: its client failed", *[""] * len(CELLS)])
            continue
        costs.rows.append([peer.shown, *found.cells(1)])
        counted.rows.append([peer.shown, *answers])
        versions.append(f"{peer.name} {_version(python, peer)}")
    costs.notes = [
        (
            f"Audio deltas of {_SIZE // 1024} KB; each client and its instrumentation in the newest versions that fit "
            f"each other: {', '.join(dict.fromkeys(versions))}. What exporters do in threads of their own is not in it."
        ),
    ]
    counted.notes = [
        (
            "“yes” where a number that came out of it (span attributes, metrics, LLM spans; summed up) is what the "
            "service sent. “cached by modality” needs the numbers of text and of audio."
        ),
    ]
    return [costs, counted]


# --- What it costs ----------------------------------------------------------------------------------------------------


def _measure(peer: Peer, python: Path, *, quick: bool) -> tuple[Compared, list[str]]:
    """Hold sessions by turns, in some pairs of processes: one pair may be quicker by chance of its memory's layout."""
    pairs: list[tuple[float, float]] = []
    answers: list[str] = []
    for _ in range(1 if quick else _PAIRS):
        with ExitStack() as stack:
            agent = stack.enter_context(answering())
            services = [stack.enter_context(simulated(delta_bytes=_SIZE)) for _ in range(2)]
            instruments = ("none", peer.instrument)
            bare, ours = (
                stack.enter_context(_client(python, peer.client, instrument, service.url, agent))
                for instrument, service in zip(instruments, services, strict=True)
            )
            rounds = rounds_of(quick=quick, rounds=_ROUNDS)
            pairs += by_turns(partial(_one, bare), partial(_one, ours), rounds)
            answers = _answers(services[1].truth(), _ask(ours, "told"))
    return compared(pairs), answers


@contextmanager
def _client(python: Path, client: str, instrument: str, url: str, agent: str) -> Iterator[subprocess.Popen[str]]:
    command: list[str | Path] = [
        python,
        "-m",
        "bench.sdk_sessions",
        "--client",
        client,
        "--instrument",
        instrument,
        "--url",
        url,
    ]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "DD_", "REALTIME_"))
    }
    # Nothing leaves this machine: what ddtrace sends goes to us, and the SDKs' own telemetry is off.
    environment |= {
        "DD_TRACE_AGENT_URL": agent,
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "OPENAI_API_KEY": "any",
    }
    process = subprocess.Popen(  # noqa: S603 - ours
        command, env=environment, cwd=_ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        try:
            process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _ask(process: subprocess.Popen[str], question: str) -> Any:
    assert process.stdin is not None  # noqa: S101 - both were asked for
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(f"{question}\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise ClientEndedError
    return json.loads(answer)


def _one(process: subprocess.Popen[str]) -> float:
    return float(_ask(process, "session"))


def _version(python: Path, peer: Peer) -> str:
    distribution = peer.requirements[-1] if peer.instrument != "realtime-spend" else peer.instrument
    code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    done = subprocess.run([python, "-c", code, distribution], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - ours
    return done.stdout.strip()


# --- What it counted --------------------------------------------------------------------------------------------------

_QUANTITIES = ("tokens in, out", "audio in, out", "cached", "cached by modality", "transcription", "cost")


def _answers(truth: dict[str, Any], told: dict[str, float]) -> list[str]:
    """Say for each quantity whether every number that it takes has been told."""
    responses, transcriptions = (_sums(truth, kind) for kind in ("response", "transcription"))
    sent_in, sent_out = (
        {modality: sum(responses[f"{modality}.{part}"] for part in parts) for modality in ("text", "audio")}
        for parts in (("input", "cached_input"), ("output",))
    )
    cached = [responses["text.cached_input"], responses["audio.cached_input"]]
    wanted = (
        [sum(sent_in.values()), sum(sent_out.values())],
        [sent_in["audio"], sent_out["audio"]],
        [sum(cached)],
        cached,
        list(transcriptions.values()),
        [sum(float(Decimal(usage["cost"])) for usage in truth["usages"])],
    )
    return ["yes" if all(_is_told(number, told) for number in numbers) else "no" for numbers in wanted]


def _sums(truth: dict[str, Any], kind: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for usage in truth["usages"]:
        if usage["kind"] == kind:
            found.update({part: int(quantity) for part, quantity in usage["quantities"].items()})
    return found


def _is_told(number: float, told: dict[str, float]) -> bool:
    return any(math.isclose(number, value, rel_tol=1e-9) for value in told.values())


if __name__ == "__main__":
    program(measure)
