"""The command `realtime-spend`: each command parses its arguments, calls what does the work, and prints.

Exit status: 0 fine, 1 the accounts of the demo disagree or a session of `--load` failed, 2 the input cannot be read
(one sentence on standard error says what to do). Standard output holds the answer and nothing else, so that `--json`
can be piped.
"""

from __future__ import annotations

import errno
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from realtime_spend.command_settings import book_of, configured
from realtime_spend.core.line_items import Provider, Scope
from realtime_spend.ledger_commands import prune, report, reprice
from realtime_spend.terminal import InputError, Instant, console_of, name_of, print_json, progress, read_text
from realtime_spend.version import __version__

if TYPE_CHECKING:
    from realtime_spend.core.rates import RateBook
    from realtime_spend.simulator import LoadOptions, SimulatorOptions

# As shells count a program that Ctrl-C ended.
_INTERRUPTED = 130
# Their values: click would take the names of an enum's members.
_PROVIDERS = click.Choice([provider.value for provider in Provider])
_SCOPES = click.Choice([scope.value for scope in Scope])


class _Command(click.Group):
    """All commands; an answer that cannot be written is said like any other thing that is wrong."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Whoever read it has read enough.
            raise
        except OSError as error:
            raise InputError(f"the output cannot be written: {error.strerror or error}") from None


@click.group(cls=_Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="realtime-spend")
def main() -> None:
    """What Realtime voice sessions cost, exactly, and why the bill says otherwise."""


for _command in (report, reprice, prune):
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


@main.command()
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
) -> None:
    """Run a Realtime server for your own tests, OpenAI's and Azure's URLs both, until it is interrupted.

    It prints its URL. GET /truth says what was sent and what it costs; --truth writes the same at the end. For example:

    --session outcomes=completed,cancelled --deployment voice-prod=gpt-realtime-mini@2025-12-15:datazone

    With --load it is a client too: --load 5000 --concurrency 100 --seed 7 holds 5000 sessions that the seed makes up.
    """
    import asyncio

    try:
        from realtime_spend.simulator import (
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
    if url is not None and (truth is not None or session or deployment or accept_any_deployment):
        raise InputError("the simulator at --url has its own truth, sessions and deployments; leave those options out")
    try:
        options = SimulatorOptions(
            host=host,
            port=port,
            seed=seed,
            deployments=dict(map(parse_deployment, deployment)),
            accept_any_deployment=accept_any_deployment,
            session=session_options(SessionOptions(), dict(map(_option, session))),
        )
        if load is not None:
            loaded = LoadOptions(sessions=load, concurrency=concurrency, pace=pace or 0.0, seed=seed)
            sys.exit(_load(options, loaded, url=url, truth=truth, as_json=as_json))
        asyncio.run(serve(options, truth_file=truth, announce=click.echo))
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(_INTERRUPTED)
    except ValueError as error:
        raise InputError(str(error)) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            # No address and no port is full: what cannot be written is the answer.
            raise
        raise InputError(f"{error.filename or f'{host}:{port}'}: {error.strerror}; choose another") from None


def _list_session_options() -> None:
    from realtime_spend.simulator import described_options

    for name, text in described_options().items():
        click.echo(f"{name:20} {text}")


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
            raise InputError(f"{url}: {error}; start a simulator there, or leave --url out") from None
    held = result.as_json()
    print_json(held) if as_json else print_load(console_of(), held)
    return 1 if held["ended"]["failed"] else 0


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--session {text} has no value; write --session {name}=VALUE")
    return f"sim_{name}", value


@main.command()
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same sessions.")
@click.option("--ledger", type=click.Path(path_type=Path), help="Keep the ledger in this folder.")
def demo(*, seed: int, ledger: Path | None) -> None:
    """Run three unmodified programs against simulated services and compare what was counted with the truth.

    OTLP goes to OTEL_EXPORTER_OTLP_ENDPOINT if it is set, else to a small receiver inside the demo.
    """
    try:
        from realtime_spend.demo.run import DemoError, run_demo
    except ImportError as error:
        raise InputError(f"the demo needs {error.name}: pip install 'realtime-spend[demo]'") from None
    try:
        agree = run_demo(console_of(), seed=seed, ledger=ledger)
    except DemoError as error:
        raise InputError(str(error)) from None
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    sys.exit(0 if agree else 1)


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
