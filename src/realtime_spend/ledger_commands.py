"""The commands about a ledger: `report` adds it up, `reprice` prices it again, `prune` removes what is old of it."""

# ruff: noqa: PLC0415 - a command imports what it needs, so that --help stays quick and no extra is needed for another's

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from realtime_spend.command_settings import book_of, configured, deployments_of
from realtime_spend.terminal import InputError, Instant, console_of, print_json, progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from realtime_spend.configuration import Configuration

    Command = Callable[..., Any]

_BY = (
    "month, day, hour, model, version, session, account, provider, kind, status, usage, scope, region, rate_card and "
    "other fields of a record, or an attribute; several with commas."
)


def _of_a_time(command: Command) -> Command:
    """Give a command the options that say which part of a ledger is meant."""
    for option in (
        click.option("--by", multiple=True, help=_BY),
        click.option(
            "--to",
            "--until",
            "until",
            type=Instant(ends=True),
            help="Last day (included), or the instant before which to stop, UTC.",
        ),
        click.option("--from", "--since", "since", type=Instant(), help="First day or instant, UTC."),
        click.argument("ledger", required=False, type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


@click.command()
@_of_a_time
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def report(
    *, ledger: Path | None, by: tuple[str, ...], since: datetime | None, until: datetime | None, as_json: bool
) -> None:
    """Add up what the LEDGER folder holds; without it the folder in REALTIME_SPEND_LEDGER.

    --by can be given several times: --by day --by model, which is also the default.
    """
    from realtime_spend.estimates.ledger import ledger_size
    from realtime_spend.reporting import add_up
    from realtime_spend.reports.spending import print_spending, spending_json

    configuration = configured()
    folder = _folder(ledger, configuration)
    _refuse_backwards(since, until)
    # The ledger holds its costs: a card of one's own that cannot be read is no reason not to add them up.
    book = book_of(configuration.rate_cards, is_needed=False)
    with progress("reading the ledger", ledger_size(folder), shown=not as_json) as advance:
        try:
            spent = add_up(folder, _keys(by) or ("day", "model"), since=since, until=until, book=book, advance=advance)
        except ValueError as error:
            raise InputError(str(error)) from None
    if as_json:
        print_json(spending_json(spent.by, spent.groups, spent.totals, spent.problems))
    else:
        print_spending(console_of(), spent.by, spent.groups, spent.totals, spent.problems)


@click.command()
@_of_a_time
@click.option(
    "--rate-card",
    "cards",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A card of your own, over ours; several times for several. REALTIME_SPEND_RATE_CARDS, unless said.",
)
@click.option(
    "--deployments",
    help="What your deployments run, JSON or a file of it. REALTIME_SPEND_DEPLOYMENTS, unless said.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Write a copy with the new prices to this new folder.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def reprice(
    *,
    ledger: Path | None,
    by: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    cards: tuple[Path, ...],
    deployments: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Price what the LEDGER folder holds again, and say what that changes. The ledger stays as it is.

    Each usage is priced at the rate that held at its own instant. Without LEDGER it is the folder in
    REALTIME_SPEND_LEDGER. --output writes the whole ledger anew, with the new prices.
    """
    from realtime_spend.estimates.ledger import ledger_size
    from realtime_spend.reports.repricing import print_repricing, repricing_json
    from realtime_spend.repricing import reprice as repriced

    configuration = configured()
    folder = _folder(ledger, configuration)
    _refuse_backwards(since, until)
    book = book_of(cards or configuration.rate_cards)
    named = configuration.deployments if deployments is None else deployments_of(deployments)
    with progress("pricing the ledger", ledger_size(folder), shown=not as_json) as advance:
        try:
            found = repriced(
                folder,
                _keys(by) or ("day", "model", "version"),
                book=book,
                deployments=named,
                since=since,
                until=until,
                output=output,
                advance=advance,
            )
        except ValueError as error:
            raise InputError(str(error)) from None
    if as_json:
        where = None if output is None else str(output)
        print_json(repricing_json(found.by, found.groups, found.totals, found.problems, where))
        return
    print_repricing(console_of(), found.by, found.groups, found.totals, found.problems)
    click.echo("nothing is changed: --output DIR writes a copy" if output is None else f"the copy is in {output}")


@click.command()
@click.argument("ledger", type=click.Path(path_type=Path))
@click.option("--keep-days", type=int, required=True, help="Keep so many UTC days before today's; 1 or more.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prune(*, ledger: Path, keep_days: int, dry_run: bool, as_json: bool) -> None:
    """Remove the files of the LEDGER folder that are older than --keep-days, without asking.

    The day is the UTC day in a file's name. Other files are left alone, and so are today's and yesterday's, which
    running programs may be writing.
    """
    from realtime_spend.estimates.pruning import prune as pruned
    from realtime_spend.reports.pruning import print_pruning, pruning_json

    try:
        found = pruned(ledger, keep_days, today=datetime.now(UTC).date(), dry_run=dry_run)
    except ValueError as error:
        raise InputError(str(error)) from None
    if as_json:
        print_json(pruning_json(found.removed, found.kept, found.failed, dry_run=dry_run))
    else:
        print_pruning(console_of(), found.removed, found.kept, dry_run=dry_run)
    if found.failed:
        stuck = ", ".join(f"{file.path.name} ({reason})" for file, reason in found.failed)
        raise InputError(f"cannot be removed: {stuck}; look at the rights of {ledger}. All others are done")


def _keys(by: tuple[str, ...]) -> tuple[str, ...]:
    """Return what to group by: one key however often it is given."""
    return tuple(dict.fromkeys(key.strip() for keys in by for key in keys.split(",") if key.strip()))


def _folder(ledger: Path | None, configuration: Configuration) -> Path:
    folder = ledger or configuration.ledger
    if folder is None:
        raise InputError("name the ledger's folder, or set REALTIME_SPEND_LEDGER to it")
    return folder


def _refuse_backwards(since: datetime | None, until: datetime | None) -> None:
    if since is not None and until is not None and since >= until:
        raise InputError("--from is not before --to; exchange them")
