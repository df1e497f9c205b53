"""Runs the demo: two simulated services, three unmodified programs, and what came of it in tables."""

from __future__ import annotations

import os
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from subprocess import TimeoutExpired
from tempfile import TemporaryDirectory, TemporaryFile, mkdtemp
from typing import TYPE_CHECKING, Any

from realtime_spend.demo.comparison import by_otlp, by_promql, compare
from realtime_spend.demo.destination import Destination
from realtime_spend.demo.programs import DEPLOYMENTS, examples_folder, programs, run
from realtime_spend.demo.receiver import receiving
from realtime_spend.demo.reconciling import reconcile_bills
from realtime_spend.demo.stack import StackError, find_stack, running
from realtime_spend.demo.tables import counts_agree, print_lines, print_naive, print_usages
from realtime_spend.estimates.ledger import read_ledger
from realtime_spend.estimates.promql import PromqlReader
from realtime_spend.estimates.promql_server import PromqlError, PromqlServer
from realtime_spend.simulator import Deployment, SimulatorOptions, run_in_thread
from realtime_spend.simulator import Scope as SimulatedScope
from realtime_spend.sinks import metrics as metric_names
from realtime_spend.sinks.flusher import is_answered

if TYPE_CHECKING:
    from rich.console import Console

_OTLP_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
# The first sample of a process is not stamped before the process was there; clocks are read to the millisecond.
_BEFORE = timedelta(minutes=1)


class DemoError(Exception):
    """The demo could not be run; the sentence says what to do."""


class _UnfitFolderError(DemoError):
    """The folder cannot take this demo's ledger, whatever is in it is not ours."""


def run_demo(console: Console, *, seed: int, ledger: Path | None) -> bool:
    """Run everything and print it; return whether truth, ledger and metrics agree.

    Metrics go to the collector that the user names, else to the real stack that `make stack` obtains, else to a small
    receiver of our own.

    Raises:
        DemoError: something is missing, or a program did not end well.
    """
    _check_extras()
    if (endpoint := os.environ.get(_OTLP_ENDPOINT)) is not None and not is_answered(os.environ):
        raise DemoError(f"no collector answers at {endpoint}; start it, or unset {_OTLP_ENDPOINT} to do without one")
    folder = ledger or Path(mkdtemp(prefix="realtime-spend-demo-"))
    try:
        _check_folder(folder)
        return _run_in(folder, console, seed)
    except PromqlError as error:
        raise DemoError(f"{error}\nwhat was recorded is in {folder}") from None
    except (KeyboardInterrupt, SystemExit):
        if any(folder.glob("*.jsonl")):
            console.print(f"what was recorded until then is in {folder}")
        raise
    except DemoError as error:
        if any(folder.glob("*.jsonl")) and not isinstance(error, _UnfitFolderError):
            raise DemoError(f"{error}\nwhat was recorded until then is in {folder}") from None
        raise
    finally:
        if ledger is None and not any(folder.iterdir()):
            folder.rmdir()


def _run_in(folder: Path, console: Console, seed: int) -> bool:
    with ExitStack() as stack:
        destination = _destination(console, folder, stack)
        truths = _sessions(console, folder, destination, seed, stack)
        entries = read_ledger(folder).entries
        sent = [total for truth in truths for total in truth["totals"]]
        lines = destination.settled(lambda metered: compare(sent, entries, metered))
    print_lines(console, lines, metrics=destination.heading)
    print_usages(console, entries, truths)
    print_naive(console, entries)
    agree = bool(lines) and all(line.agrees for line in lines) and counts_agree(entries, truths)
    console.print(f"\nledger: {folder}, yours to keep or remove   (realtime-spend report {folder})")
    if destination.heading is None:
        console.print(f"metrics went to the collector at {destination.endpoint}: look at them there")
    who = "truth and ledger" if destination.heading is None else f"truth, ledger and {destination.heading}"
    if agree:
        console.print(f"{who} agree for all {len(lines)} components", style="bold green")
    else:
        console.print(f"{who} do not agree: look at the lines marked DIFFERS and at the counts", style="bold red")
    if destination.more:
        console.print(destination.more)
    try:
        reconcile_bills(console, folder, truths)
    except ValueError as error:
        raise DemoError(str(error)) from None
    return agree


def _destination(console: Console, folder: Path, stack: ExitStack) -> Destination:
    if (endpoint := os.environ.get(_OTLP_ENDPOINT)) is not None:
        return Destination(endpoint=endpoint, is_users=True)
    try:
        found = find_stack(os.environ)
    except StackError as error:
        endpoint, received = stack.enter_context(receiving())
        return Destination(endpoint=endpoint, heading="OTLP", read=lambda: by_otlp(received), more=str(error))
    # What the two write goes with them; the ledger stays.
    scratch = Path(stack.enter_context(TemporaryDirectory(prefix="stack-", dir=folder)))
    try:
        running_stack = stack.enter_context(running(found, scratch))
    except StackError as error:
        raise DemoError(str(error)) from None
    console.print(f"{found.otelcol.name} and Prometheus with the files of collector-config and prometheus")
    reader = PromqlReader(server=PromqlServer(url=running_stack.prometheus_url), names=metric_names)
    started = datetime.now(UTC)
    return Destination(
        endpoint=running_stack.otlp_endpoint,
        heading="PromQL",
        read=lambda: by_promql(reader.between(started - _BEFORE, datetime.now(UTC))),
    )


def _sessions(
    console: Console, folder: Path, destination: Destination, seed: int, stack: ExitStack
) -> list[dict[str, Any]]:
    """Run the programs against two simulated services; return what these say that they have sent."""
    deployments = {
        name: Deployment(model=entry["model"], version=entry["version"], scope=SimulatedScope(entry["scope"]))
        for name, entry in DEPLOYMENTS.items()
    }
    openai = stack.enter_context(run_in_thread(SimulatorOptions(seed=seed)))
    azure = stack.enter_context(run_in_thread(SimulatorOptions(seed=seed + 1, deployments=deployments)))
    endpoint = destination.endpoint
    console.print(f"simulated OpenAI at {openai.url}, simulated Azure OpenAI at {azure.url}, OTLP to {endpoint}")
    for program in programs(openai.url, azure.url):
        console.print(f"$ opentelemetry-instrument python {examples_folder().name}/{program.file}   # {program.shows}")
        try:
            ended = run(program, folder, endpoint, keep_otlp=destination.is_users)
        except TimeoutExpired as error:
            raise DemoError(f"{program.file} did not end within {error.timeout:g} s") from None
        console.print(ended.stdout.rstrip(), style="dim")
        if ended.returncode:
            raise DemoError(f"{program.file} ended with status {ended.returncode}: {ended.stderr.strip()[-2000:]}")
        if ended.stderr.strip():
            console.print(ended.stderr.rstrip(), style="yellow")
    openai.wait_idle()
    azure.wait_idle()
    return [openai.truth.as_json(), azure.truth.as_json()]


def _check_extras() -> None:
    """Refuse to begin where a program could not: it would end in a traceback, with half of the sessions recorded."""
    for module in ("openai", "websockets", "opentelemetry.exporter.otlp.proto.http", "duckdb"):
        try:
            is_there = find_spec(module) is not None
        except ModuleNotFoundError:
            is_there = False
        if not is_there:
            raise DemoError(f"the demo needs {module}: pip install 'realtime-spend[demo]'")


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds a ledger already, or cannot hold one, before anything is run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _UnfitFolderError(f"{folder} cannot be written ({error.strerror}); name another folder") from None
    if any(folder.glob("*.jsonl")):
        raise _UnfitFolderError(f"{folder} holds a ledger already; name an empty or a new folder")
