"""The answer of `realtime-spend meters`: what each name of a meter says, or why it says nothing to us."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from realtime_spend.reports.printing import print_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from realtime_spend.core.reconciliation.bills import Meter


def meters_json(meters: Iterable[Meter]) -> list[dict[str, Any]]:
    """Return one object a meter, in order."""
    return [
        {
            "meter": meter.name,
            "model": meter.model,
            "version": meter.version,
            "modality": None if meter.part is None else meter.part.modality,
            "component": None if meter.part is None else meter.part.component,
            "scope": meter.scope,
            "unit": meter.unit,
            "problem": meter.problem,
        }
        for meter in meters
    ]


def print_meters(console: Console, meters: Sequence[Meter]) -> None:
    """Print one line a meter that could be read, then one sentence each about the others."""
    read = [meter for meter in meters if meter.part is not None]
    if read:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("meter", "model", "version", "modality", "component", "scope", "unit"):
            table.add_column(heading, no_wrap=True)
        for meter in read:
            table.add_row(*_cells(meter))
        print_table(console, table)
    for meter in meters:
        if meter.problem is not None:
            console.print(f"! {meter.problem}", style="yellow")


def _cells(meter: Meter) -> tuple[str, ...]:
    part = meter.part
    said = (meter.model, meter.version, part and part.modality, part and part.component, meter.scope, meter.unit)
    return (meter.name, *(str(value) if value else "-" for value in said))
