"""What the demo prints: the accounts side by side, the usage events, and what the common wrong sums make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from realtime_spend.core import money
from realtime_spend.core.explanation import Assumptions, explain
from realtime_spend.core.line_items import Provider, Scope
from realtime_spend.core.naming import Naming
from realtime_spend.core.session_log import Log
from realtime_spend.core.usage import Reported
from realtime_spend.rate_cards import load_book
from realtime_spend.reports.printing import print_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from rich.console import Console

    from realtime_spend.core.rates import RateBook
    from realtime_spend.demo.comparison import Line
    from realtime_spend.estimates.ledger import Entry


def print_lines(console: Console, lines: Sequence[Line], *, metrics: str | None) -> None:
    """Print the accounts side by side; `metrics` heads the one of the metrics, None where there is none."""
    table = Table(box=None, pad_edge=False, header_style="bold", title="Tokens, seconds and USD", title_justify="left")
    table.add_column("model", no_wrap=True)
    table.add_column("part", no_wrap=True)
    for heading in ("sent", "ledger", *([metrics] if metrics else []), "USD sent", "ledger"):
        table.add_column(heading, justify="right", no_wrap=True)
    if metrics:
        table.add_column(metrics, justify="right", no_wrap=True)
    table.add_column("")
    for line in lines:
        metered = line.metrics
        quantities = [
            money.plain(line.sent[0]),
            money.plain(line.ledger[0]),
            *([f"{metered[0]:.12g}"] if metered else []),
        ]
        costs = [
            money.plain(line.sent[1]),
            money.plain(line.ledger[1]),
            *([f"{metered[1]:.12f}".rstrip("0")] if metered else []),
        ]
        name = line.model + (f" {line.version}" if line.version else "")
        where = " (Azure)" if line.provider == Provider.AZURE else ""
        table.add_row(name + where, str(line.part), *quantities, *costs, "ok" if line.agrees else "DIFFERS")
    sent, counted = (money.add(*(getattr(line, side)[1] for line in lines)) for side in ("sent", "ledger"))
    metered_total = [f"{sum(line.metrics[1] for line in lines if line.metrics):.12f}".rstrip("0")] if metrics else []
    blanks = [""] * (3 if metrics else 2)
    table.add_section()
    table.add_row("total", "", *blanks, money.plain(sent), money.plain(counted), *metered_total, "")
    print_table(console, table)


def print_usages(console: Console, entries: Sequence[Entry], truths: Sequence[dict[str, Any]]) -> None:
    """Print how many usage events there are of each kind, and how many were sent."""
    counts, sent = _counts(entries), _sent_counts(truths)
    said = ", ".join(f"{counts.get(reported, 0)} {reported} (sent {sent.get(reported, 0)})" for reported in _REPORTED)
    console.print(f"\nusage events: {said}")


_REPORTED = (Reported.REPORTED, Reported.MISSING, Reported.LOST)


def counts_agree(entries: Sequence[Entry], truths: Sequence[dict[str, Any]]) -> bool:
    """Whether the ledger has as many usage events of each kind as were sent."""
    return _counts(entries) == _sent_counts(truths)


def _counts(entries: Sequence[Entry]) -> dict[str, int]:
    return {str(kind): sum(entry.reported is kind for entry in entries) for kind in _REPORTED}


def _sent_counts(truths: Sequence[dict[str, Any]]) -> dict[str, int]:
    usages = [usage for truth in truths for usage in truth["usages"]]
    return {str(kind): sum(usage["usage"] == kind for usage in usages) for kind in _REPORTED}


def print_naive(console: Console, entries: Sequence[Entry]) -> None:
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
