"""The command `reconcile`: estimate beside bill, where each part of the difference went, and a status to act on."""

# ruff: noqa: PLC0415 - a command imports what it needs, so that --help stays quick and no extra is needed for another's

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from realtime_spend.command_settings import book_of, configured
from realtime_spend.core import money
from realtime_spend.terminal import InputError, Instant, console_of, print_json, progress

if TYPE_CHECKING:
    from realtime_spend.core.reconciliation.drift import Reconciliation
    from realtime_spend.reconciler import Question

_BEYOND_TOLERANCE = 1
_PERCENT = "%"

if TYPE_CHECKING:
    _DateType = click.ParamType[date]
    _DecimalType = click.ParamType[Decimal]
    _RateType = click.ParamType[tuple[str, Decimal]]
else:
    # Before 8.4 click's types could not be subscribed, and many environments hold it back.
    _DateType = _DecimalType = _RateType = click.ParamType


class _Day(_DateType):
    """A UTC day."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Return the day."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no day; write 2026-11-22", param, ctx)


class _Share(_DecimalType):
    """A part of a whole: `2%`, `2 %` or `0.02`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Return it as a part of 1."""
        if isinstance(value, Decimal):
            return value
        text = value.strip()
        figure = text.removesuffix(_PERCENT).strip()
        try:
            share = money.exact(figure)
        except ValueError:
            self.fail(f"{value!r} is no part of a whole; write 2% or 0.02", param, ctx)
        share = money.divide(share, money.exact("100")) if text.endswith(_PERCENT) else share
        if not 0 <= share <= 1:
            self.fail(f"{value!r} is not between 0% and 100%; write 2% or 0.02", param, ctx)
        return share


class _Amount(_DecimalType):
    """An amount of money that is not negative."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Return the amount."""
        if isinstance(value, Decimal):
            return value
        try:
            amount = money.exact(value.strip())
        except ValueError:
            self.fail(f"{value!r} is no amount; write 0.50", param, ctx)
        if amount < 0:
            self.fail(f"{value!r} is negative; write 0.50", param, ctx)
        return amount


class _Rate(_RateType):
    """A rate of exchange: what one unit of a currency is in USD."""

    name = "cur=usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Decimal]:
        """Return the currency and the rate."""
        if isinstance(value, tuple):
            return value
        currency, _, figure = value.partition("=")
        currency = currency.strip().upper()
        try:
            rate = money.exact(figure.strip())
        except ValueError:
            rate = money.ZERO
        if not currency.isalpha() or len(currency) != len("USD") or rate <= 0:
            self.fail(f"{value!r} is no rate; write EUR=1.08 where one EUR is 1.08 USD", param, ctx)
        return currency, rate


@click.command()
@click.option("--ledger", type=click.Path(path_type=Path), help="The ledger's folder; else REALTIME_SPEND_LEDGER.")
@click.option("--prometheus", metavar="URL", help="A PromQL server to read the estimate from, instead of a ledger.")
@click.option(
    "--bill",
    "bills",
    multiple=True,
    required=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="A bill, or a folder of an export; several times for several. `openai:` and `azure:SCOPE` ask live.",
)
@click.option("--from", "first", type=_Day(), help="First UTC day; that of the bill, unless said.")
@click.option("--to", "last", type=_Day(), help="Last UTC day, included; that of the bill, unless said.")
@click.option("--account", help="Only this account: the Azure resource, or the OpenAI project.")
@click.option("--tolerance", type=_Share(), default="2%", show_default=True, help="Drift that is fine, as a share.")
@click.option("--floor", type=_Amount(), default="0.50", show_default=True, help="Drift that is fine, as an amount.")
@click.option("--fx", type=_Rate(), multiple=True, help="What one unit of the bill's currency is in USD: EUR=1.08.")
@click.option("--at", type=Instant(), help="Take days as open or settled as of this instant; now, unless said.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page to this file, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def reconcile(
    ctx: click.Context,
    *,
    ledger: Path | None,
    prometheus: str | None,
    bills: tuple[Path, ...],
    first: date | None,
    last: date | None,
    account: str | None,
    tolerance: Decimal,
    floor: Decimal,
    fx: tuple[tuple[str, Decimal], ...],
    at: datetime | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Hold what was counted beside what was billed, and say where each part of the difference comes from.

    The status is 1 where a settled day drifts beyond the tolerance: a share of the larger side, or the floor if that is
    more. REALTIME_SPEND_PROMETHEUS_TOKEN and _HEADERS go with --prometheus, OPENAI_ADMIN_KEY with `openai:`.
    """
    from realtime_spend.reports.reconciliation import print_reconciliation, reconciliation_json

    if ledger is not None and prometheus is not None:
        raise InputError("--ledger and --prometheus are both given; leave one of them out")
    configuration = configured()
    if html is not None:
        _refuse_no_place(html)
    book = book_of(configuration.rate_cards)
    try:
        from realtime_spend.bill_sources import Access
        from realtime_spend.reconciler import Question, answer

        question = Question(
            ledger=None if prometheus is not None else ledger or configuration.ledger,
            prometheus=prometheus,
            bills=bills,
            first=first,
            last=last,
            account=account,
            tolerance=tolerance,
            floor=floor,
            fx=dict(fx),
            at=at or datetime.now(UTC),
            access=Access.of(os.environ),
        )
        found = answer(question, book=book, progress=partial(progress, shown=not as_json))
    except ValueError as error:
        raise InputError(str(error)) from None
    # Before anything is printed: whoever reads that may stop reading.
    failure = None if html is None else _written(html, found, question)
    if as_json:
        print_json(reconciliation_json(found))
    else:
        print_reconciliation(console_of(), found)
    if failure is not None:
        raise failure
    if html is not None:
        click.echo(f"the page is in {html}", err=as_json)
    ctx.exit(_BEYOND_TOLERANCE if found.is_beyond else 0)


def _refuse_no_place(html: Path) -> None:
    """Refuse a file that cannot be written before anything long is read."""
    if html.is_dir():
        raise InputError(f"{html} is a folder; give --html a file in it")
    if not html.absolute().parent.is_dir():
        raise InputError(f"--html: there is no folder {html.parent}; make it, or choose another")


def _written(html: Path, found: Reconciliation, question: Question) -> InputError | None:
    """Write the page; return why it could not be, which is no reason not to print the answer."""
    try:
        from realtime_spend.reports.page import Basis, page
    except ModuleNotFoundError as error:
        return InputError(f"--html needs an extra: pip install 'realtime-spend[reconcile]' ({error.name} is not there)")
    basis = Basis(
        estimate=str(question.prometheus or question.ledger),
        bills=tuple(map(str, question.bills)),
        account=question.account,
        tolerance=question.tolerance,
        floor=question.floor,
        fx=question.fx,
        at=question.at,
    )
    try:
        _replace(html, page(found, basis))
    except OSError as error:
        return InputError(f"{html} cannot be written: {error.strerror or error}; choose another")
    return None


def _replace(path: Path, text: str) -> None:
    """Write a file beside its place and move it there whole, so that no half of one is ever there."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.absolute().parent)
    made = Path(name)
    try:
        # The name of a file may hold what no encoding has.
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
        # As any file that this user writes: the temporary one is for the owner alone.
        mask = os.umask(0)
        os.umask(mask)
        made.chmod(0o666 & ~mask)
        made.replace(path)
    except BaseException:
        with suppress(OSError):
            made.unlink()
        raise
