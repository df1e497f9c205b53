"""The answer of `realtime-spend explain`, as JSON and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from realtime_spend.core import money
from realtime_spend.core.line_items import Unit
from realtime_spend.reports.printing import print_table

if TYPE_CHECKING:
    from decimal import Decimal

    from rich.console import Console

    from realtime_spend.core.explanation import ExplainedLine, Explanation


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """Return the contract: money, prices and seconds as plain decimal text, tokens as integers."""
    return {
        "currency": explanation.currency,
        "total": _text(explanation.total),
        "low": _text(explanation.low),
        "high": _text(explanation.high),
        "line_items": [
            {
                **_sku(line),
                "unit_price": money.plain(line.rate.unit_price),
                "per": line.rate.per,
                "cost": _text(line.cost),
            }
            for line in explanation.lines
            if line.rate is not None
        ],
        "naive": [
            {"name": naive.name, "total": money.plain(naive.total), "ratio": _text(naive.ratio), "why": naive.why}
            for naive in explanation.naive
        ],
        "unpriced": [{**_sku(line), "reason": line.reason} for line in explanation.lines if line.rate is None],
        "problems": [{"kind": problem.kind, "message": problem.message} for problem in explanation.problems],
    }


def print_explanation(console: Console, explanation: Explanation) -> None:
    """Print line items, total, the wrong sums beside it, and what is doubtful."""
    if explanation.lines:
        print_table(console, _line_items(explanation))
    console.print(_total(explanation))
    if explanation.naive:
        print_table(console, _naive(explanation))
    for problem in explanation.problems:
        console.print(f"! {problem.message}", style="yellow", markup=False)


def _line_items(explanation: Explanation) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", "modality", "component"):
        table.add_column(heading, no_wrap=True)
    for heading in ("quantity", "unit price", f"cost {explanation.currency}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in explanation.lines:
        table.add_row(
            line.model or "?",
            line.part.modality,
            line.part.component,
            f"{money.plain(line.quantity)} {'s' if line.part.unit is Unit.SECONDS else 'tok'}",
            _price(line),
            "unpriced" if line.cost is None else money.plain(line.cost),
        )
    return table


def _total(explanation: Explanation) -> Text:
    if explanation.total is None:
        return Text("total: unknown")
    is_partial = any(line.rate is None for line in explanation.lines)
    least = "at least " if is_partial else ""
    total = Text(f"total: {least}{money.plain(explanation.total)} {explanation.currency}", style="bold")
    if explanation.low is not None:
        bounds = f" at most, {money.plain(explanation.low)} at least: the service did not split its counts"
        total.append(bounds, style="not bold")
    return total.append(f"  (rates: {explanation.card})", style="not bold")


def _naive(explanation: Explanation) -> Table:
    table = Table(
        box=None, pad_edge=False, header_style="bold", title="What the common wrong sums give", title_justify="left"
    )
    table.add_column("formula", no_wrap=True)
    table.add_column("total", justify="right", no_wrap=True)
    table.add_column("of right", justify="right", no_wrap=True)
    table.add_column("why it is wrong", overflow="fold")
    for naive in explanation.naive:
        times = "-" if naive.ratio is None else f"{naive.ratio:.2f}x"
        table.add_row(naive.name, money.plain(naive.total), times, naive.why)
    return table


def _sku(line: ExplainedLine) -> dict[str, Any]:
    is_tokens = line.part.unit is Unit.TOKENS
    return {
        "model": line.model,
        "modality": line.part.modality,
        "component": line.part.component,
        "quantity": int(line.quantity) if is_tokens else money.plain(line.quantity),
        "unit": line.part.unit,
    }


def _price(line: ExplainedLine) -> str:
    if line.rate is None:
        return "-"
    per = {1_000_000: "1M", 60: "min", 3600: "h", 1: "s"}.get(line.rate.per, str(line.rate.per))
    return f"{money.plain(line.rate.unit_price)}/{per}"


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else money.plain(amount)
