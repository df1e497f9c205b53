"""The command `realtime-spend`: each command parses its arguments, calls what does the work, and prints.

Exit status: 0 fine, 1 the bill drifts beyond the tolerance, the accounts of the demo disagree or a session of `--load`
failed, 2 the input cannot be read (one sentence on standard error says what to do). Standard output holds the answer
and nothing else, so that `--json` can be piped.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from realtime_spend.attach_command import attach
from realtime_spend.command_settings import book_of, configured
from realtime_spend.core.line_items import Provider, Scope
from realtime_spend.ledger_commands import prune, report, reprice
from realtime_spend.meters_command import meters
from realtime_spend.reconcile_command import reconcile
from realtime_spend.relay_command import relay
from realtime_spend.simulator_commands import demo, simulate
from realtime_spend.terminal import InputError, Instant, console_of, name_of, print_json, read_text
from realtime_spend.version import __version__
from realtime_spend.watch_command import watch

if TYPE_CHECKING:
    from realtime_spend.core.rates import RateBook

# As shells count a program that Ctrl-C ended.
_INTERRUPTED = 130
# Their values: click would take the names of an enum's members.
_PROVIDERS = click.Choice([provider.value for provider in Provider])
_SCOPES = click.Choice([scope.value for scope in Scope])


class _Commands(click.Group):
    """All commands; an answer that cannot be written, and Ctrl-C, are said like any other thing that ends one."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(_INTERRUPTED)
        except BrokenPipeError:
            # Whoever read it has read enough.
            raise
        except OSError as error:
            # What has no name is the output: what a command reads and writes by name fails with it.
            why = error.strerror or str(error)
            named = None if error.filename is None else f"{error.filename}: {why}; choose another"
            raise InputError(named or f"the output cannot be written: {why}") from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="realtime-spend")
def main() -> None:
    """What Realtime voice sessions cost, exactly, and why the bill says otherwise."""


for _command in (report, reprice, prune, reconcile, watch, meters, relay, attach, simulate, demo):
    main.add_command(_command)


@main.command()
@click.argument("file", default="-")
@click.option("--model", help="The model, where the input does not name it; also prices a lone transcription event.")
@click.option("--transcription-model", help="The model of the input transcriptions in a log.")
@click.option(
    "--provider",
    type=_PROVIDERS,
    default=Provider.OPENAI.value,
    show_default=True,
    help="Who bills it.",
)
@click.option(
    "--scope",
    type=_SCOPES,
    help="Where it may run, the deployment type on Azure, data residency on OpenAI; global, unless said.",
)
@click.option("--region", help="The Azure region, which sets the price on the scope regional.")
@click.option("--at", type=Instant(), help="Price at the rates of this instant; now, unless said.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(
    *,
    file: str,
    model: str | None,
    transcription_model: str | None,
    provider: str,
    scope: str | None,
    region: str | None,
    at: datetime | None,
    as_json: bool,
) -> None:
    """Say what the usage in FILE (or standard input, -) costs, and what the common wrong sums would make of it.

    FILE holds a usage object, one event, an array of events, or a session log with one JSON event a line.
    """
    from realtime_spend.core.explanation import Assumptions
    from realtime_spend.core.explanation import explain as explained
    from realtime_spend.core.naming import Naming
    from realtime_spend.core.session_log import read_log
    from realtime_spend.reports.explanation import explanation_json, print_explanation

    configuration = configured()
    book = book_of(configuration.rate_cards)
    try:
        log = read_log(read_text(file))
    except ValueError as error:
        raise InputError(f"{name_of(file)}: {error}") from None
    explanation = explained(
        log,
        Naming(book, configuration.deployments),
        book,
        Assumptions(
            at=at or datetime.now(UTC),
            model=model,
            transcription_model=transcription_model,
            provider=Provider(provider),
            scope=Scope(scope) if scope else None,
            region=region,
        ),
    )
    if as_json:
        print_json(explanation_json(explanation))
    else:
        print_explanation(console_of(), explanation)
    if log.unreadable:
        lines = ", ".join(map(str, log.unreadable[:5])) + (" ..." if len(log.unreadable) > 5 else "")  # noqa: PLR2004 - enough to find them
        raise InputError(f"{name_of(file)}: line {lines} is not JSON; mend or remove it. The rest is explained above")


@main.command()
@click.option("--provider", type=_PROVIDERS, help="Only this provider.")
@click.option("--model", help="Only this model, by any of its listed names.")
@click.option("--check", is_flag=True, help="Read all cards, yours too, and say how old and how contested they are.")
@click.option("--compare", type=click.Path(path_type=Path), help="Say where this card differs from ours.")
@click.option("--at", type=Instant(), help="With --compare: at the rates of this instant; now, unless said.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prices(
    *,
    provider: str | None,
    model: str | None,
    check: bool,
    compare: Path | None,
    at: datetime | None,
    as_json: bool,
) -> None:
    """List the rates that usage is priced with, check them, or compare them with another card."""
    from realtime_spend.core.price_list import differences, discounts_of, listed_rates
    from realtime_spend.rate_cards import load_book, read_card
    from realtime_spend.reports.prices import differences_json, prices_json, print_differences, print_prices

    if compare is not None:
        try:
            found = list(differences(load_book(), read_card(compare), at or datetime.now(UTC)))
        except ValueError as error:
            raise InputError(str(error)) from None
        print_json(differences_json(found)) if as_json else print_differences(console_of(), found)
        return
    book = book_of(configured().rate_cards)
    if check:
        _check(book, as_json=as_json)
        return
    rates = list(listed_rates(book, Provider(provider) if provider else None, model))
    if not rates:
        raise InputError(f"no card has a rate for {model!r}; run `realtime-spend prices` for all that there are")
    print_json(prices_json(rates)) if as_json else print_prices(console_of(), rates, list(discounts_of(book)))


def _check(book: RateBook, *, as_json: bool) -> None:
    cards = [
        {
            "card": card.name,
            "models": len({row.model for row in card.rows}),
            "rates": sum(len(row.rates) for row in card.rows),
            "days_old": (datetime.now(UTC).date() - date.fromisoformat(card.name.rpartition("@")[2])).days,
            "contested": sum(len(row.contests) for row in card.rows),
            "without_source": sum(not row.source for row in card.rows),
        }
        for card in book.cards
    ]
    if as_json:
        print_json(cards)
        return
    for card in cards:
        click.echo(
            "{card}: {rates} rates of {models} models, {days_old} days old, {contested} contested, "
            "{without_source} without a source".format(**card)
        )


if __name__ == "__main__":
    main()
