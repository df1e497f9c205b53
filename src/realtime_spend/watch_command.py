"""The command `watch`: reads the bill on a schedule and reports estimate, bill and drift as gauges over OTLP."""

# ruff: noqa: PLC0415 - a command imports what it needs, so that --help stays quick and no extra is needed for another's

from __future__ import annotations

import os
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from realtime_spend.command_settings import book_of, configured
from realtime_spend.core import money
from realtime_spend.reconcile_command import reconcile
from realtime_spend.terminal import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from decimal import Decimal
    from pathlib import Path

    from realtime_spend.core.reconciliation.drift import Reconciliation
    from realtime_spend.export_failures import SaidOnce
    from realtime_spend.watching import Watch

_BEYOND_TOLERANCE, _UNREADABLE = 1, 2
_LONGEST_REASON = 300
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
# What is asked is what `reconcile` asks.
_ASKED = [
    parameter
    for parameter in reconcile.params
    if parameter.name in {"ledger", "prometheus", "bills", "account", "tolerance", "floor", "fx"}
]

if TYPE_CHECKING:
    _DurationType = click.ParamType[timedelta]
else:
    # Before 8.4 click's types could not be subscribed, and many environments hold it back.
    _DurationType = click.ParamType


class _Duration(_DurationType):
    """A time span: `90s`, `15m`, `1h`, `1d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the time span."""
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"\s*([0-9]{1,6})\s*([smhd])\s*", value)
        if found is None or not int(found[1]):
            self.fail(f"{value!r} is no time span; write 90s, 15m, 1h or 1d", param, ctx)
        return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])


@click.command(params=_ASKED)
@click.option(
    "--every", type=_Duration(), default="1h", show_default=True, help="How often to read the bill; for `azure:`, 1d."
)
@click.option(
    "--days",
    type=click.IntRange(3, 400),
    default=35,
    show_default=True,
    help="How many UTC days to report, today's too.",
)
@click.option("--once", is_flag=True, help="Read and report once, and exit with the status of `reconcile`.")
@click.pass_context
def watch(
    ctx: click.Context,
    *,
    ledger: Path | None,
    prometheus: str | None,
    bills: tuple[Path, ...],
    account: str | None,
    tolerance: Decimal,
    floor: Decimal,
    fx: tuple[tuple[str, Decimal], ...],
    every: timedelta,
    days: int,
    once: bool,
) -> None:
    """Read the bill on a schedule, and report estimate, bill and drift as gauges over OTLP until Ctrl-C or SIGTERM.

    OTEL_EXPORTER_OTLP_ENDPOINT and its like say where to. Where the bill cannot be read, what was read last stays, and
    standard error says why, once.
    """
    if ledger is not None and prometheus is not None:
        raise InputError("--ledger and --prometheus are both given; leave one of them out")
    configuration = configured()
    ledger = None if prometheus is not None else ledger or configuration.ledger
    if ledger is None and prometheus is None:
        raise InputError("say where the estimate is: either --ledger DIR or --prometheus URL, one of the two")
    try:
        from realtime_spend.bill_sources import Access, is_live
        from realtime_spend.reconciler import Question, answer

        access = Access.of(os.environ)
    except ValueError as error:
        raise InputError(str(error)) from None
    book = book_of(configuration.rate_cards)

    def ask(at: datetime) -> Reconciliation:
        first = at.astimezone(UTC).date() - timedelta(days=days - 1)
        question = Question(
            ledger=ledger,
            prometheus=prometheus,
            bills=bills,
            # A file is compared on the days that it covers: before them it bills nothing, and that is no drift.
            first=first if any(map(is_live, bills)) else None,
            account=account,
            tolerance=tolerance,
            floor=floor,
            fx=dict(fx),
            at=at,
            access=access,
        )
        return _told(_since(answer(question, book=book), first), at)

    watching, failures = _watch_of(
        ask, (ledger, prometheus, *bills, account), fx=dict(fx), every=None if once else every, days=days
    )
    ctx.exit(_once(watching, failures) if once else _for_ever(watching))


def _watch_of(
    ask: Callable[[datetime], Reconciliation],
    identity: tuple[object, ...],
    *,
    fx: dict[str, Decimal],
    every: timedelta | None,
    days: int,
) -> tuple[Watch, SaidOnce]:
    from realtime_spend.export_failures import SAID_AGAIN, say_failures_once
    from realtime_spend.telemetry_pipe import exporter_of, instance_of, pipe_of
    from realtime_spend.watching import SERVICE_NAME, Emission, Watch

    try:
        # Before anything long is read.
        exporter_of(os.environ)
    except ValueError as error:
        raise InputError(str(error)) from None
    # Where there is no second time, the end says it.
    failures = say_failures_once(os.environ, note=None if every is None else SAID_AGAIN)
    instance = instance_of(*identity)
    emission = Emission(lambda: pipe_of(os.environ, service=SERVICE_NAME, instance=instance))
    return Watch(ask=ask, emission=emission, every=every, days=days, fx=fx, tell=_tell), failures


def _once(watching: Watch, failures: SaidOnce) -> int:
    """Look once; return the status of `reconcile`, or that of an input that is not there."""
    from realtime_spend.export_failures import say_failures_as_ever

    try:
        found = watching.look()
        arrived = watching.emission.arrived
    finally:
        watching.emission.end()
        say_failures_as_ever()
    if found is None:
        return _UNREADABLE
    if arrived is None:
        _tell(f"no day of the last {watching.days} is on the bill, so there is nothing to report")
    if arrived is False:
        why = f" ({' '.join(failures.why.split())[:_LONGEST_REASON]})" if failures.why else ""
        raise InputError(
            f"nobody took the gauges{why}; start a collector, or set OTEL_EXPORTER_OTLP_ENDPOINT to where it is"
        )
    return _BEYOND_TOLERANCE if found.is_beyond else 0


def _for_ever(watching: Watch) -> int:
    """Look until somebody asks for the end, which is no failure."""
    from realtime_spend.watching import Ended, ending_on_signals, said

    if watching.every is not None:
        _tell(f"the bill is read every {said(watching.every)}; Ctrl-C ends this")
    try:
        with ending_on_signals():
            watching.run(threading.Event())
    except Ended:
        _tell("ending; what was read last is exported once more")
    finally:
        watching.emission.end()
    return 0


def _since(found: Reconciliation, first: date) -> Reconciliation:
    """Return what is about the days that are reported: an older one must not decide anything any more."""
    found.rows = [row for row in found.rows if row.day >= first]
    found.shares = [share for share in found.shares if share.row.day >= first]
    return found


def _told(found: Reconciliation, at: datetime) -> Reconciliation:
    billed = money.add(*(row.billed_cost for row in found.rows))
    drift = money.add(*(row.drift_cost for row in found.rows if row.drift_cost is not None))
    _tell(
        f"{at:%Y-%m-%d %H:%M} UTC: bill to {found.last}, billed {billed:.2f} {found.currency}, "
        f"drift {drift:.2f} {found.currency}"
    )
    return found


def _tell(sentence: str) -> None:
    click.echo(f"realtime-spend: {sentence}", err=True)
