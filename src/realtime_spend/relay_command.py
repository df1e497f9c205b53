"""The command `relay`: reads what an operator sets, and relays until it is told to end."""

# ruff: noqa: PLC0415 - a command imports what it needs, so that --help stays quick and no extra is needed for another's

from __future__ import annotations

import os
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from realtime_spend.command_settings import book_of, check_writable, configured
from realtime_spend.core.line_items import Provider
from realtime_spend.terminal import InputError

if TYPE_CHECKING:
    import socket
    import ssl

    from realtime_spend.relay.settings import Limits, RelaySettings, Upstream
    from realtime_spend.relay.tokens import TokenCheck

_SECRET = "REALTIME_SPEND_RELAY_TOKEN_SECRET"  # noqa: S105 - the variable's name, not its value
_KEY_OF = {Provider.OPENAI: "OPENAI_API_KEY", Provider.AZURE: "AZURE_OPENAI_API_KEY"}
_OPENAI = "https://api.openai.com"
_HERE = ("localhost", "127.0.0.1", "::1")
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_LONGEST = 10 * 365 * 86_400


class _Seconds(click.FloatRange):
    """So many seconds; `nan` and `inf` are none."""

    def __init__(self) -> None:
        super().__init__(0, _LONGEST)

    def convert(self, value: Any, parameter: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a number."""
        seconds = super().convert(value, parameter, ctx)
        if not seconds <= _LONGEST:
            self.fail(f"{value!r} is no number of seconds", parameter, ctx)
        return seconds


def _money(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> Decimal | None:
    if value is None:
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise click.BadParameter(f"{value!r} is no amount of USD; write 2.50")
    return amount


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8090, show_default=True, help="The port to listen on.")
@click.option("--openai", help=f"OpenAI's base URL; {_OPENAI}, unless --azure is given alone.")
@click.option(
    "--azure", help="Azure's base URL, https://NAME.openai.azure.com, for paths under /openai and /voice-live."
)
@click.option("--upstream-ca", type=_FILE, help="Certificates to trust for the upstream, instead of the system's.")
@click.option("--jwks", help="Let in who has a token signed RS256 with a key of this JWKS URL.")
@click.option("--audience", help="The audience that tokens must be for.")
@click.option("--issuer", help="The issuer that tokens must be from.")
@click.option("--claim", multiple=True, help="A claim to copy onto metrics and ledger: CLAIM or CLAIM=ATTRIBUTE.")
@click.option("--tls-cert", type=_FILE, help="Listen with TLS: the certificate and its chain.")
@click.option("--tls-key", type=_FILE, help="The key of --tls-cert.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes on this port.")
@click.option("--max-sessions", type=click.IntRange(1), default=1000, show_default=True, help="Sessions a process.")
@click.option("--max-sessions-per-subject", type=click.IntRange(1), help="Of them, sessions of one subject or key.")
@click.option("--max-frame", type=click.IntRange(1024), default=16 * 1024 * 1024, show_default=True, help="Bytes.")
@click.option("--max-spend", callback=_money, metavar="USD", help="End a session that has cost so much.")
@click.option(
    "--max-idle", type=_Seconds(), default=900, show_default=True, help="Seconds without a message; 0 is any."
)
@click.option("--max-time", type=_Seconds(), default=7200, show_default=True, help="Seconds of a session; 0 is any.")
@click.option("--drain", type=_Seconds(), default=30, show_default=True, help="Seconds that sessions have on SIGTERM.")
def relay(*, host: str, port: int, workers: int, **options: Any) -> None:
    """Pass WebSockets of any client on to OpenAI or Azure, and meter them; until Ctrl-C or SIGTERM.

    Point the client's base URL at it: http://127.0.0.1:8090/v1. Its key is passed on. With --jwks or the variable
    REALTIME_SPEND_RELAY_TOKEN_SECRET (HS256) clients show a signed token instead, and the relay uses the key in
    OPENAI_API_KEY or AZURE_OPENAI_API_KEY. /healthz and /readyz answer on the same port.
    """
    from realtime_spend.relay.open_files import as_many_as_there_are, room
    from realtime_spend.relay.settings import Limits

    configuration = configured()
    book_of(configuration.rate_cards)
    files = as_many_as_there_are()
    sessions, at_the_door = room(files, options["max_sessions"], Limits().at_the_door)
    if sessions < options["max_sessions"]:
        _tell(f"{files} open files are enough for {sessions} sessions, and no more are taken: raise `ulimit -n`")
    limits = Limits(
        frame_bytes=options["max_frame"],
        sessions=sessions,
        at_the_door=at_the_door,
        sessions_of_subject=options["max_sessions_per_subject"],
        idle=options["max_idle"] or None,
        total=options["max_time"] or None,
        spend=options["max_spend"],
    )
    tokens = _tokens(options["jwks"], options["audience"], options["issuer"], options["claim"])
    settings = _settings(host, port, limits, options, is_keeper=tokens is not None)
    if any(upstream.port == port and upstream.host in {host, *_HERE} for upstream in settings.upstreams.values()):
        raise InputError(f"the upstream is this relay itself, {host}:{port}; give one of them another port")
    from realtime_spend.relay.running import run, sends_metrics
    from realtime_spend.relay.workers import bound, run_workers

    if configuration.ledger is None and not sends_metrics(os.environ):
        _tell("nothing is kept: set REALTIME_SPEND_LEDGER to a folder, or OTEL_EXPORTER_OTLP_ENDPOINT to a collector")
    if configuration.ledger is not None:
        check_writable(configuration.ledger)
    try:
        sockets = bound(host, port, workers)
    except OSError as error:
        raise InputError(f"{host}:{port}: {error.strerror or error}; choose another") from None
    scheme = "http" if settings.tls is None else "https"
    shown = f"[{host}]" if ":" in host else host

    # Asked before there are any workers: one that begins late would take whoever adopts it for its parent.
    parent = os.getpid() if workers > 1 else None

    def work(listening: socket.socket) -> None:
        run(
            settings,
            configuration,
            tokens=tokens,
            listening=listening,
            announce=lambda at: click.echo(f"{scheme}://{shown}:{at}") if workers == 1 else None,
            parent=parent,
        )

    try:
        if workers == 1:
            work(sockets[0])
        else:
            click.echo(f"{scheme}://{shown}:{sockets[0].getsockname()[1]}")
            raise SystemExit(run_workers(sockets, work))
    except ValueError as error:
        raise InputError(str(error)) from None


def _settings(host: str, port: int, limits: Limits, options: dict[str, Any], *, is_keeper: bool) -> RelaySettings:
    from realtime_spend.relay.settings import RelaySettings

    try:
        return RelaySettings(
            upstreams=_upstreams(options["openai"], options["azure"], is_keeper=is_keeper),
            host=host,
            port=port,
            limits=limits,
            drain_seconds=options["drain"],
            tls=_own_tls(options["tls_cert"], options["tls_key"]),
            upstream_tls=_upstream_tls(options["upstream_ca"]),
        )
    except ValueError as error:
        raise InputError(str(error)) from None


def _upstreams(openai: str | None, azure: str | None, *, is_keeper: bool) -> dict[Provider, Upstream]:
    """Return where it goes. Whoever lets clients in by tokens needs a key for each."""
    from realtime_spend.relay.settings import upstream_of

    found = {}
    wanted = {Provider.OPENAI: openai or (None if azure else _OPENAI), Provider.AZURE: azure}
    for provider, url in wanted.items():
        if url is None:
            continue
        key = os.environ.get(_KEY_OF[provider], "").strip() if is_keeper else None
        if is_keeper and not key:
            raise InputError(f"clients show tokens, so the relay needs a key: set {_KEY_OF[provider]}")
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise InputError(f"{_KEY_OF[provider]} holds characters that no key has")
        found[provider] = upstream_of(provider, url, key)
    return found


def _tokens(jwks: str | None, audience: str | None, issuer: str | None, claims: tuple[str, ...]) -> TokenCheck | None:
    secret = os.environ.get(_SECRET, "")
    if not secret and jwks is None:
        if audience or issuer or claims:
            raise InputError(f"tokens need a key to check them with: give --jwks URL, or set {_SECRET}")
        return None
    if secret and jwks is not None:
        raise InputError(f"--jwks and {_SECRET} are both given; leave one of them out")
    if not audience:
        raise InputError("tokens for other services must not open this one: give --audience")
    try:
        from realtime_spend.relay.tokens import KeySet, SharedSecret, TokenCheck
    except ImportError as error:
        raise InputError(f"tokens need {error.name}: pip install 'realtime-spend[relay]'") from None
    named = {}
    for text in claims:
        claim, equals, name = text.partition("=")
        if not claim or (equals and not name):
            raise InputError(f"--claim {text!r} names nothing; write CLAIM or CLAIM=ATTRIBUTE")
        named[claim] = name or claim
    try:
        keys = SharedSecret(secret) if jwks is None else KeySet(jwks)
        return TokenCheck(keys, audience=audience, issuer=issuer, claims=named)
    except ValueError as error:
        raise InputError(str(error)) from None


def _own_tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    import ssl

    if certificate is None:
        if key is not None:
            raise InputError("--tls-key goes with --tls-cert")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Else OpenSSL would ask a terminal, and wait for it.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{certificate} and its key cannot be used ({error.strerror or error})") from None
    return context


def _upstream_tls(authorities: Path | None) -> ssl.SSLContext:
    import ssl

    try:
        return ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{authorities} holds no certificates ({error.strerror or error})") from None


def _tell(sentence: str) -> None:
    click.echo(f"realtime-spend: {sentence}", err=True)
