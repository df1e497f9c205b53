"""The totals of a load test as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console


def print_load(console: Console, result: dict[str, Any]) -> None:
    """Print what `LoadResult.as_json` holds."""
    table = Table(box=None, pad_edge=False, title="Sent, and what it costs", title_justify="left")
    table.add_column("model")
    table.add_column("part")
    table.add_column("quantity", justify="right")
    table.add_column("USD", justify="right")
    for row in result["totals"]:
        name = "-".join(filter(None, (row["model"], row["version"])))
        part = f"{row['modality']}.{row['component']}"
        table.add_row(name, part, str(row["quantity"]), "unknown" if row["cost"] is None else row["cost"])
    table.add_row("total", "", "", result["cost"])
    console.print(table)
    counts = result["counts"]
    console.print(
        f"{result['sessions']} sessions in {result['seconds']} s: "
        + ", ".join(f"{count} {name}" for name, count in result["ended"].items())
    )
    console.print(
        f"{counts['responses']} responses, {counts['transcriptions']} transcriptions: "
        + ", ".join(f"{counts[name]} {name}" for name in ("reported", "missing", "lost", "unpriced"))
    )
    if result["first_failure"]:
        console.print(f"first failure: {result['first_failure']}")
