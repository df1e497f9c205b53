"""Runs the demo: two simulated services, three unmodified programs, and what came of it in tables."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp
from typing import TYPE_CHECKING, Any

from rich.table import Table

from realtime_spend.core import money
from realtime_spend.core.explanation import Assumptions, explain
from realtime_spend.core.line_items import Provider, Scope
from realtime_spend.core.naming import Naming
from realtime_spend.core.session_log import Log
from realtime_spend.core.usage import Reported
from realtime_spend.demo.comparison import compare
from realtime_spend.demo.programs import DEPLOYMENTS, examples_folder, programs, run
from realtime_spend.demo.receiver import receiving
from realtime_spend.estimates.ledger import read_ledger
from realtime_spend.rate_cards import load_book
from realtime_spend.reports.printing import print_table
from realtime_spend.simulator import Deployment, SimulatorOptions, run_in_thread
from realtime_spend.simulator import Scope as SimulatedScope
from realtime_spend.sinks.flusher import is_answered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from rich.console import Console

    from realtime_spend.core.rates import RateBook
    from realtime_spend.demo.comparison import Line
    from realtime_spend.demo.receiver import Received
    from realtime_spend.estimates.ledger import Entry

_OTLP_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class DemoError(Exception):
    """The demo could not be run; the sentence says what to do."""


def run_demo(console: Console, *, seed: int, ledger: Path | None) -> bool:
    """Run everything and print it; return whether truth, ledger and OTLP agree.

    Raises:
        DemoError: a program did not end well.
    """
    folder = ledger or Path(mkdtemp(prefix="realtime-spend-demo-"))
    _check_folder(folder)
    collector = os.environ.get(_OTLP_ENDPOINT)
    if collector is not None and not is_answered(os.environ):
        raise DemoError(f"no collector answers at {collector}; start it, or unset {_OTLP_ENDPOINT} to do without one")
    deployments = {
        name: Deployment(model=entry["model"], version=entry["version"], scope=SimulatedScope(entry["scope"]))
        for name, entry in DEPLOYMENTS.items()
    }
    received: Received | None = None
    with ExitStack() as stack:
        endpoint = collector
        if endpoint is None:
            endpoint, received = stack.enter_context(receiving())
        openai = stack.enter_context(run_in_thread(SimulatorOptions(seed=seed)))
        azure = stack.enter_context(run_in_thread(SimulatorOptions(seed=seed + 1, deployments=deployments)))
        console.print(f"simulated OpenAI at {openai.url}, simulated Azure OpenAI at {azure.url}, OTLP to {endpoint}")
        for program in programs(openai.url, azure.url):
            console.print(
                f"$ opentelemetry-instrument python {examples_folder().name}/{program.file}   # {program.shows}"
            )
            ended = run(program, folder, endpoint, keep_otlp=collector is not None)
            console.print(ended.stdout.rstrip(), style="dim")
            if ended.returncode:
                raise DemoError(f"{program.file} ended with status {ended.returncode}: {ended.stderr.strip()[-2000:]}")
            if ended.stderr.strip():
                console.print(ended.stderr.rstrip(), style="yellow")
        openai.wait_idle()
        azure.wait_idle()
        truths = [openai.truth.as_json(), azure.truth.as_json()]
    entries = read_ledger(folder).entries
    lines = compare([total for truth in truths for total in truth["totals"]], entries, received)
    _print_lines(console, lines, with_otlp=received is not None)
    _print_usages(console, entries, truths)
    _print_naive(console, entries)
    agree = bool(lines) and all(line.agrees for line in lines) and _counts(entries) == _sent_counts(truths)
    console.print(f"\nledger: {folder}   (realtime-spend report {folder})")
    if received is None:
        console.print(f"metrics went to the collector at {endpoint}: look at them there")
    who = "truth, ledger and OTLP" if received is not None else "truth and ledger"
    if agree:
        console.print(f"{who} agree for all {len(lines)} components", style="bold green")
    else:
        console.print(f"{who} do not agree: look at the lines marked DIFFERS and at the counts", style="bold red")
    return agree


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds a ledger already, or cannot hold one, before anything is run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DemoError(f"{folder} cannot be written ({error.strerror}); name another folder") from None
    if any(folder.glob("*.jsonl")):
        raise DemoError(f"{folder} holds a ledger already; name an empty or a new folder")


def _print_lines(console: Console, lines: Sequence[Line], *, with_otlp: bool) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", title="Tokens, seconds and USD", title_justify="left")
    table.add_column("model", no_wrap=True)
    table.add_column("part", no_wrap=True)
    for heading in ("sent", "ledger", *(["OTLP"] if with_otlp else []), "USD sent", "ledger"):
        table.add_column(heading, justify="right", no_wrap=True)
    if with_otlp:
        table.add_column("OTLP", justify="right", no_wrap=True)
    table.add_column("")
    for line in lines:
        otlp = line.otlp
        quantities = [money.plain(line.sent[0]), money.plain(line.ledger[0]), *([f"{otlp[0]:.12g}"] if otlp else [])]
        costs = [
            money.plain(line.sent[1]),
            money.plain(line.ledger[1]),
            *([f"{otlp[1]:.12f}".rstrip("0")] if otlp else []),
        ]
        name = line.model + (f" {line.version}" if line.version else "")
        where = " (Azure)" if line.provider == Provider.AZURE else ""
        table.add_row(name + where, str(line.part), *quantities, *costs, "ok" if line.agrees else "DIFFERS")
    sent, counted = (money.add(*(getattr(line, side)[1] for line in lines)) for side in ("sent", "ledger"))
    otlp_total = [f"{sum(line.otlp[1] for line in lines if line.otlp):.12f}".rstrip("0")] if with_otlp else []
    blanks = [""] * (3 if with_otlp else 2)
    table.add_section()
    table.add_row("total", "", *blanks, money.plain(sent), money.plain(counted), *otlp_total, "")
    print_table(console, table)


def _print_usages(console: Console, entries: Sequence[Entry], truths: Sequence[dict[str, Any]]) -> None:
    counts, sent = _counts(entries), _sent_counts(truths)
    said = ", ".join(f"{counts.get(reported, 0)} {reported} (sent {sent.get(reported, 0)})" for reported in _REPORTED)
    console.print(f"\nusage events: {said}")


_REPORTED = (Reported.REPORTED, Reported.MISSING, Reported.LOST)


def _counts(entries: Sequence[Entry]) -> dict[str, int]:
    return {str(kind): sum(entry.reported is kind for entry in entries) for kind in _REPORTED}


def _sent_counts(truths: Sequence[dict[str, Any]]) -> dict[str, int]:
    usages = [usage for truth in truths for usage in truth["usages"]]
    return {str(kind): sum(usage["usage"] == kind for usage in usages) for kind in _REPORTED}


def _print_naive(console: Console, entries: Sequence[Entry]) -> None:
    """Print what the common wrong formulas make of all these usages together."""
    book = load_book()
    right = money.add(*(entry.cost for entry in entries if entry.cost is not None))
    wrong: dict[str, tuple[Decimal, str]] = {}
    for entry in entries:
        for name, excess, why in _excesses(entry, book):
            wrong[name] = (money.add(wrong.get(name, (money.ZERO, ""))[0], excess), why)
    transcribed = money.add(*(entry.cost for entry in entries if entry.kind == "transcription" and entry.cost))
    if transcribed:
        why = "input transcription is billed at a model of its own and is in no response"
        wrong["transcription_ignored"] = (money.subtract(money.ZERO, transcribed), why)
    table = Table(box=None, pad_edge=False, header_style="bold", title="The common wrong sums", title_justify="left")
    for heading in ("formula", "USD", "of right", "why it is wrong"):
        table.add_column(heading, justify="right" if heading in ("USD", "of right") else "left")
    for name, (excess, why) in wrong.items():
        total = money.add(right, excess)
        table.add_row(name, money.plain(total), f"{money.ratio(total, right) or 0:.2f}x", why)
    print_table(console, table)


def _excesses(entry: Entry, book: RateBook) -> list[tuple[str, Decimal, str]]:
    """Return by how much each wrong formula misses one usage; those that are about one usage at a time."""
    if entry.raw is None or entry.model is None or entry.cost is None:
        return []
    name = entry.model if entry.version is None else f"{entry.model}-{entry.version}"
    assumptions = Assumptions(
        at=entry.at, model=name, provider=Provider(entry.provider), scope=Scope(entry.scope or Scope.GLOBAL)
    )
    explanation = explain(Log(values=(entry.raw,)), Naming(book), book, assumptions)
    return [(naive.name, money.subtract(naive.total, entry.cost), naive.why) for naive in explanation.naive]
