"""The answer of `realtime-spend reconcile` as JSON and in a terminal: estimate beside bill, and where the rest went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.measure import Measurement
from rich.table import Table

from realtime_spend.core import money
from realtime_spend.core.reconciliation.drift import Cause, State
from realtime_spend.reports.printing import amount_json, counted, print_table, visible
from realtime_spend.reports.reconciliation_sums import (
    Naming,
    Writing,
    by_cause,
    by_part,
    days_by_state,
    days_of,
    is_beyond,
    place_of,
    quantity,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from realtime_spend.core.reconciliation.bills import BillProblem
    from realtime_spend.core.reconciliation.drift import DriftShare, DriftTotals, Reconciliation, Row
    from realtime_spend.reports.reconciliation_sums import PartSum

_SCHEMA = "realtime-spend/reconciliation/1"
_MOST_PROBLEMS = 20
_WIDEST = 200
_HEADINGS = ("part", "counted", "billed", "estimate", "bill", "drift", "days beyond")


def reconciliation_json(found: Reconciliation) -> dict[str, Any]:
    """Return all of it as JSON: money and quantities as plain decimal text, null where something is not known."""
    return {
        "schema": _SCHEMA,
        "currency": found.currency,
        "from": None if found.first is None else found.first.isoformat(),
        "to": None if found.last is None else found.last.isoformat(),
        "rows": [_row(row) for row in found.rows],
        "causes": [_share(share) for share in found.shares],
        "totals": _totals(found.totals),
        "problems": [
            {"file": one.file, "row": one.row, "column": one.column, "message": one.message} for one in found.problems
        ],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "day": row.day.isoformat(),
        "provider": row.provider.value,
        "account": row.account,
        "model": row.model,
        "version": row.version,
        "modality": None if row.part is None else row.part.modality.value,
        "component": None if row.part is None else row.part.component.value,
        "scope": None if row.scope is None else row.scope.value,
        "unit": None if row.unit is None else row.unit.value,
        "estimated_quantity": amount_json(row.estimated_quantity),
        "billed_quantity": amount_json(row.billed_quantity),
        "estimated_cost": amount_json(row.estimated_cost),
        "estimated_low": amount_json(row.estimated_low),
        "estimated_high": amount_json(row.estimated_high),
        "billed_cost": amount_json(None if row.unconverted else row.billed_cost),
        "drift_cost": amount_json(row.drift_cost),
        "state": row.state.value,
        "meters": list(row.meters),
    }


def _share(share: DriftShare) -> dict[str, Any]:
    part = share.row.part
    return {
        "cause": share.cause.value,
        "day": share.row.day.isoformat(),
        "model": share.row.model,
        "modality": None if part is None else part.modality.value,
        "component": None if part is None else part.component.value,
        "cost": amount_json(share.cost),
        "evidence": share.evidence,
    }


def _totals(totals: DriftTotals) -> dict[str, Any]:
    return {
        "estimated_cost": amount_json(totals.estimated_cost),
        "billed_cost": amount_json(None if totals.unconverted else totals.billed_cost),
        "drift_cost": amount_json(totals.drift_cost),
        "explained_cost": amount_json(totals.explained_cost),
        "unexplained_cost": amount_json(totals.unexplained_cost),
        "unmapped_cost": amount_json(None if totals.unconverted else totals.unmapped_cost),
    }


def sentence_of(problem: BillProblem) -> str:
    """Return a problem as one sentence, with where it is before it."""
    row = None if problem.row is None else f"row {problem.row}"
    column = None if problem.column is None else f"column {problem.column}"
    where = ", ".join(part for part in (problem.file, row, column) if part is not None)
    return f"{where}: {problem.message}" if where else problem.message


# --- In a terminal ---------------------------------------------------------------------------------------------------


def print_reconciliation(console: Console, found: Reconciliation) -> None:
    """Print the sums, the causes by money, the rows by model and part over the time, and what could not be read."""
    writing = Writing.of(found)
    console.print(f"Estimate beside bill, {days_of(found)}, {visible(found.currency)}", style="bold")
    _print_fitting(console, _summary(found, writing))
    if beyond := sum(is_beyond(row) for row in found.rows):
        decided = sum(row.state is not State.OPEN for row in found.rows)
        said = f"{beyond} of {counted(decided, 'settled row')} {'is' if beyond == 1 else 'are'} beyond the tolerance"
        console.print(said, style="red")
    if found.shares:
        console.print()
        _print_fitting(console, _causes(found, writing))
    if found.rows:
        console.print()
        _print_rows(console, found, writing)
    if found.left_out or found.problems:
        console.print()
    for left in found.left_out:
        said = f"left out: {left.what}, {counted(left.rows, 'row')}, {money.plain(left.cost)} {left.currency}"
        console.print(visible(said), style="dim", soft_wrap=True)
    for problem in found.problems[:_MOST_PROBLEMS]:
        console.print(f"! {visible(sentence_of(problem))}", style="yellow", soft_wrap=True)
    if (more := len(found.problems) - _MOST_PROBLEMS) > 0:
        console.print(f"! and {counted(more, 'problem')} more; --json and --html have all of them", style="yellow")


def _table() -> Table:
    return Table(box=None, pad_edge=False, header_style="bold")


def _summary(found: Reconciliation, writing: Writing) -> Table:
    totals = found.totals
    table = _table()
    figures = {
        "estimated": writing.amount(totals.estimated_cost),
        "billed": writing.amount(None if totals.unconverted else totals.billed_cost),
        "drift": writing.change(totals.drift_cost),
        "of the estimate": writing.share(totals.drift_cost, totals.estimated_cost) or "-",
        "explained": writing.change(totals.explained_cost),
        "unexplained": writing.change(totals.unexplained_cost),
        "days": ", ".join(days_by_state(found)) or "none",
    }
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=heading != "days")
    table.add_row(*figures.values())
    return table


def _causes(found: Reconciliation, writing: Writing) -> Table:
    table = _table()
    table.add_column("cause", no_wrap=True)
    table.add_column("money", justify="right", no_wrap=True)
    table.add_column("evidence")
    for one in by_cause(found):
        evidence = one.by_evidence()
        more = f"; {counted(len(evidence) - 1, 'more sentence')}" if len(evidence) > 1 else ""
        said = f"{evidence[0][0].evidence} ({place_of(evidence[0])}{more})"
        style = "dim" if one.cause is Cause.NOT_SETTLED else None
        table.add_row(one.cause.value, writing.change(one.cost), visible(said), style=style)
    return table


def _print_rows(console: Console, found: Reconciliation, writing: Writing) -> None:
    """Print the parts of each sku below its name: beside the figures a long name would leave no room."""
    naming = Naming.of(found)
    skus = by_part(found)
    lines = [_HEADINGS, *(_figures(one, naming, writing) for parts in skus for one in parts)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    _print_line(console, _HEADINGS, widths, "bold")
    for parts in skus:
        first = parts[0]
        name = visible(naming.sku(first.first)) + (", days still open" if first.is_open else "")
        console.print(name, style="dim" if first.is_open else None, soft_wrap=True)
        for one in parts:
            style = "dim" if one.is_open else "red" if one.beyond else None
            _print_line(console, _figures(one, naming, writing), widths, style)


def _figures(one: PartSum, naming: Naming, writing: Writing) -> tuple[str, ...]:
    return (
        f"  {naming.part(one.first)}",
        quantity(one.estimated_quantity),
        quantity(one.billed_quantity),
        writing.amount(one.estimated_cost),
        writing.amount(one.billed_cost if one.is_converted else None),
        writing.change(one.drift_cost),
        "open" if one.is_open else f"{one.beyond} of {len(one.rows)}" if one.beyond else "-",
    )


def _print_line(console: Console, cells: Sequence[str], widths: Sequence[int], style: str | None) -> None:
    first, *others = zip(cells, widths, strict=True)
    figures = [cell.rjust(width) for cell, width in others]
    console.print("  ".join([first[0].ljust(first[1]), *figures]), style=style, soft_wrap=True)


def _print_fitting(console: Console, table: Table) -> None:
    """Print `table` with its words wrapped to the console's width; wider than that only where its figures are."""
    wanted = Measurement.get(console, console.options.update(width=_WIDEST), table)
    if wanted.minimum <= console.width:
        console.print(table)
    else:
        print_table(console, table)
