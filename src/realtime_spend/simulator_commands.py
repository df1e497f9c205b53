"""The commands that need no account: `simulate`, a service that knows its bill, and `demo`, which holds us to it."""

# ruff: noqa: PLC0415 - a command imports what it needs, so that --help stays quick and no extra is needed for another's

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from realtime_spend.terminal import InputError, console_of, print_json, progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_spend.simulator import LoadOptions, SimulatorOptions
    from realtime_spend.simulator.bill.draft import Draft

# Azure's days settle a day later than they are over, OpenAI's as well; the export of a day comes the morning after.
_SETTLES = timedelta(days=3)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="The port to listen on; 0 is any free one.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed and same client, same session.")
@click.option("--truth", type=click.Path(path_type=Path), help="Write what was sent, and what it costs, to this file.")
@click.option("--deployment", multiple=True, help="An Azure deployment: NAME=MODEL[@VERSION][:SCOPE].")
@click.option("--accept-any-deployment", is_flag=True, help="Take any other deployment's name for a model's.")
@click.option("--session", multiple=True, help="How sessions behave: OPTION=VALUE, as `sim_OPTION` in a URL does.")
@click.option("--options", "list_options", is_flag=True, help="List the options that --session takes, and exit.")
@click.option("--load", type=click.IntRange(1, 1_000_000), help="Hold so many sessions, print their totals, and exit.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="With --load: sessions open at the same time, at most.",
)
@click.option("--pace", type=click.FloatRange(0), help="With --load: sessions begun a second; else as fast as it goes.")
@click.option("--url", help="With --load: hold them at a simulator that runs elsewhere, http://HOST:PORT.")
@click.option("--json", "as_json", is_flag=True, help="With --load: print JSON.")
@click.option("--bill", type=click.Path(path_type=Path), help="Write the provider's bill into this folder at the end.")
@click.option(
    "--bill-form",
    default="openai-costs",
    show_default=True,
    help="The form of the bill: azure-ea, azure-mca, azure-c360, azure-export, focus-1.0, focus-1.0r2, focus-1.2, "
    "focus-parquet, openai-costs or openai-csv.",
)
@click.option("--fault", multiple=True, help="Something to be wrong on the bill, such as discount=0.85.")
def simulate(
    *,
    host: str,
    port: int,
    seed: int,
    truth: Path | None,
    deployment: tuple[str, ...],
    accept_any_deployment: bool,
    session: tuple[str, ...],
    list_options: bool,
    load: int | None,
    concurrency: int,
    pace: float | None,
    url: str | None,
    as_json: bool,
    bill: Path | None,
    bill_form: str,
    fault: tuple[str, ...],
) -> None:
    """Run a Realtime server for your own tests, OpenAI's and Azure's URLs both, until it is interrupted.

    It prints its URL. GET /truth says what was sent and what it costs; --truth writes the same at the end. For example:

    --session outcomes=completed,cancelled --deployment voice-prod=gpt-realtime-mini@2025-12-15:datazone

    With --load it is a client too: --load 5000 --concurrency 100 --seed 7 holds 5000 sessions that the seed makes up.

    --bill DIR writes what the provider would send, and injected.json: the money that each --fault put on it.
    """
    import asyncio

    try:
        from realtime_spend.simulator import (
            CannotListenError,
            LoadOptions,
            SessionOptions,
            SimulatorOptions,
            parse_deployment,
            serve,
            session_options,
        )
    except ImportError as error:
        raise InputError(f"the simulator needs {error.name}: pip install 'realtime-spend[simulator]'") from None
    if list_options:
        _list_session_options()
        return
    if load is None and (url is not None or as_json):
        raise InputError(f"{'--url' if url else '--json'} goes with --load; add --load N")
    if url is not None and (truth or bill or session or deployment or accept_any_deployment):
        raise InputError(
            "the simulator at --url has its own truth, bill, sessions and deployments; leave those options out"
        )
    if fault and bill is None:
        raise InputError("--fault is about the bill; add --bill DIR")
    try:
        billing = None if bill is None else _billing(bill, bill_form, fault, seed=seed)
        truth = truth or (bill / "truth.json" if bill else None)
        options = SimulatorOptions(
            host=host,
            port=port,
            seed=seed,
            deployments=dict(map(parse_deployment, deployment)),
            accept_any_deployment=accept_any_deployment,
            session=session_options(SessionOptions(), dict(map(_option, session)), prefix=""),
        )
        if load is not None:
            loaded = LoadOptions(sessions=load, concurrency=concurrency, pace=pace or 0.0, seed=seed)
            status = _load(options, loaded, url=url, truth=truth, as_json=as_json)
        else:
            status = 0
            asyncio.run(serve(options, truth_file=truth, announce=click.echo))
        if billing is not None and bill is not None and truth is not None:
            settled = max(billing(truth).days) + _SETTLES
            click.echo(f"the bill is in {bill / 'bill'}", err=True)
            click.echo("as if its days had settled, and with the folder of your ledger for LEDGER:", err=True)
            click.echo(
                f"realtime-spend reconcile --ledger LEDGER --bill {bill / 'bill'} --at {settled} --floor 0.001",
                err=True,
            )
        sys.exit(status)
    except ValueError as error:
        raise InputError(str(error)) from None
    except CannotListenError as error:
        # asyncio says the address too, and in its own words.
        why = os.strerror(error.errno) if error.errno else str(error)
        raise InputError(f"{host}:{port}: {why}; choose another") from None


def _list_session_options() -> None:
    from realtime_spend.simulator import described_options

    for name, text in described_options().items():
        click.echo(f"{name:20} {text}")


def _billing(folder: Path, form: str, faults: tuple[str, ...], *, seed: int) -> Callable[[Path], Draft]:
    """Return what writes the bill of a truth, once all that can be refused before the sessions has been looked at.

    Raises:
        ValueError: there is no such form, or no such fault.
    """
    import json
    from importlib import import_module

    from realtime_spend.simulator.bill.faults import named_fault
    from realtime_spend.simulator.bill.writing import BillForm, bill_for

    if form not in set(BillForm):
        raise ValueError(f"--bill-form {form} is none; write one of {', '.join(BillForm)}")
    chosen = [named_fault(text) for text in faults]
    try:
        if form == BillForm.FOCUS_PARQUET:
            import_module("duckdb")
        was_there = folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except ImportError as error:
        raise InputError(f"{form} needs {error.name}: pip install 'realtime-spend[reconcile]'") from None
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); name another folder") from None
    if not is_empty:
        raise InputError(f"{folder} is not empty; name a new folder for the bill")

    def write(truth: Path) -> Draft:
        told = json.loads(truth.read_text(encoding="utf-8"))
        usages, unkept = told["usages"], told["counts"]["beyond_limit"]
        if not usages and not unkept:
            _take_back(folder, truth, was_there=was_there)
            raise InputError("no session used anything, so there is no bill; let a client talk to the URL first")
        if unkept:
            raise InputError(f"{unkept} usages more than are kept one by one, so there is no bill; hold fewer sessions")
        return bill_for(usages, BillForm(form), folder, faults=chosen, seed=seed)

    return write


def _take_back(folder: Path, truth: Path, *, was_there: bool) -> None:
    """Leave the folder of a bill as it was, so that the next one can go there; a truth beside it was asked for."""
    try:
        if truth.parent == folder:
            truth.unlink()
        if not was_there:
            folder.rmdir()
    except OSError as error:
        raise InputError(f"{folder} cannot be cleared ({error.strerror}); delete it") from None


def _load(options: SimulatorOptions, loaded: LoadOptions, *, url: str | None, truth: Path | None, as_json: bool) -> int:
    """Hold the sessions and print what they came to; the exit status is 1 where one did not go as planned."""
    import asyncio

    import aiohttp

    from realtime_spend.simulator import hold
    from realtime_spend.simulator.load_report import print_load

    with progress("sessions", loaded.sessions, shown=True) as advance:
        try:
            result = asyncio.run(hold(options, loaded, url=url, truth_file=truth, advance=advance))
        except aiohttp.ClientError as error:
            refused = error.os_error.strerror if isinstance(error, aiohttp.ClientConnectorError) else None
            raise InputError(f"{url}: {refused or error}; start a simulator there, or leave --url out") from None
    held = result.as_json()
    print_json(held) if as_json else print_load(console_of(), held)
    return 1 if held["ended"]["failed"] else 0


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--session {text} has no value; write --session {name}=VALUE")
    return name, value


@click.command()
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same sessions.")
@click.option("--ledger", type=click.Path(path_type=Path), help="Keep the ledger in this folder.")
def demo(*, seed: int, ledger: Path | None) -> None:
    """Run three unmodified programs against simulated services and compare what was counted with the truth.

    OTLP goes to OTEL_EXPORTER_OTLP_ENDPOINT if it is set, else through a real collector to a real Prometheus where
    `make stack` has obtained both, else to a small receiver inside the demo.
    """
    try:
        from realtime_spend.demo.run import DemoError, run_demo
    except ImportError as error:
        raise InputError(f"the demo needs {error.name}: pip install 'realtime-spend[demo]'") from None
    try:
        agree = run_demo(console_of(), seed=seed, ledger=ledger)
    except DemoError as error:
        raise InputError(str(error)) from None
    sys.exit(0 if agree else 1)
