"""The command `realtime-spend meters`: which model, modality and price list the meters of an Azure bill stand for."""

# ruff: noqa: PLC0415 - a command imports what it needs, so that --help stays quick and no extra is needed for another's

from __future__ import annotations

import sys
from dataclasses import replace

import click

from realtime_spend.terminal import InputError, console_of, print_json, read_text

_HOW = "give names as arguments, a file with one a line as --file, or - for standard input"


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME...|-]")
@click.option("--file", help="Read names from this file, one a line; - for standard input.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def meters(*, names: tuple[str, ...], file: str | None, as_json: bool) -> None:
    """Say what each NAME of an Azure meter charges for: model, version, modality, component, scope and unit.

    A single - reads names from standard input, one a line. What cannot be read has a sentence that says why.
    """
    from realtime_spend.billing.azure_meters import family_of, read_meter
    from realtime_spend.reports.meters import meters_json, print_meters

    read = [read_meter(name) for name in _names(names, file)]
    # In a bill they are left out without a word; whoever asks about one wants to hear what it is.
    told = [meter if meter.is_realtime else replace(meter, problem=family_of(meter.name)) for meter in read]
    print_json(meters_json(told)) if as_json else print_meters(console_of(), told)


def _names(names: tuple[str, ...], file: str | None) -> list[str]:
    given = [name for name in names if name != "-"]
    sources = [*(["-"] if "-" in names else []), *([file] if file is not None else [])]
    if not names and not sources and not sys.stdin.isatty():
        sources = ["-"]
    found = given + [line.strip() for source in dict.fromkeys(sources) for line in read_text(source).splitlines()]
    found = [name for name in found if name.strip()]
    if not found:
        raise InputError(f"there is no name of a meter; {_HOW}")
    return found
