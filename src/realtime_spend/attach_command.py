"""The command `attach`: meters calls that browsers and telephones hold, on a socket beside each of them."""

# ruff: noqa: PLC0415 - a command imports what it needs, so that --help stays quick and no extra is needed for another's

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import click

from realtime_spend.command_settings import check_writable, configured
from realtime_spend.terminal import InputError, print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from opentelemetry.metrics import MeterProvider

    from realtime_spend.sideband import Attachment, End, Incoming, Told

_T = TypeVar("_T")
SERVICE_NAME = "realtime-spend-attach"
_FAILED = 2
_OF_THE_WEBHOOK = ("host", "port", "path", "header", "drain")
_SECRET = "OPENAI_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
# A telephone may ring for long before it is answered.
_RINGING_SECONDS = 180.0


@click.command()
@click.argument("calls", metavar="[CALL_ID]...", nargs=-1)
@click.option("--webhook", is_flag=True, help="Take the provider's webhook of incoming calls, and attach to each.")
@click.option("--host", default="127.0.0.1", show_default=True, help="With --webhook: the address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8787,
    show_default=True,
    help="With --webhook: the port to listen on; 0 is any free one.",
)
@click.option("--path", default="/webhook", show_default=True, help="With --webhook: where it is to be sent.")
@click.option("--header", multiple=True, help="With --webhook: SIP-HEADER=ATTRIBUTE, copied onto what the call costs.")
@click.option(
    "--drain",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="With --webhook: seconds that calls have to end on SIGTERM; a second signal ends at once.",
)
@click.option("--url", help="The service: https://RESOURCE.openai.azure.com/openai/v1; else as the OpenAI SDK is told.")
@click.option("--model", help="The model, or on Azure the deployment, for as long as the service has not said it.")
@click.option("--silent", is_flag=True, help="Say nothing on the socket; the model is then to be given with --model.")
@click.option("--live", is_flag=True, help="They are sessions of GPT-Live, whatever their ids begin with.")
@click.option("--webrtc", is_flag=True, help="Browsers hold them: a GPT-Live session is charged with 15 s at once.")
@click.option("--json", "as_json", is_flag=True, help="Print how each call ended as JSON.")
@click.pass_context
def attach(
    ctx: click.Context,
    *,
    calls: tuple[str, ...],
    webhook: bool,
    host: str,
    port: int,
    path: str,
    header: tuple[str, ...],
    drain: float,
    url: str | None,
    model: str | None,
    silent: bool,
    live: bool,
    webrtc: bool,
    as_json: bool,
) -> None:
    """Meter calls that others hold: WebRTC and SIP calls by their rtc_... ids, GPT-Live sessions by theirs.

    It listens beside the call until the call is over. Usage goes to the folder of REALTIME_SPEND_LEDGER and, as
    OTEL_EXPORTER_OTLP_ENDPOINT says, to a collector. The key is in OPENAI_API_KEY or AZURE_OPENAI_API_KEY.

    Where another process counts the same calls, let one of the two say REALTIME_SPEND_ROLE=observer: the ledgers of
    both are counted once, their metrics are not.
    """
    _check(calls, webhook=webhook, path=path)
    _check_needs_webhook(ctx, webhook=webhook)
    if silent and not model:
        raise InputError("--silent leaves the model unknown; add --model M")
    try:
        from realtime_spend.sideband import Attachment, Incoming, Patience, Service
    except ImportError as error:
        raise InputError(f"attach needs {error.name}: pip install 'realtime-spend[attach]'") from None
    try:
        service = Service.of(os.environ, url)
    except ValueError as error:
        raise InputError(str(error)) from None
    if not webhook:
        how: dict[str, Any] = {"model": model, "asks": not silent, "is_live": live or None, "is_webrtc": webrtc}
        attachments = [Attachment(call, service, tell=_teller(call), **how) for call in dict.fromkeys(calls)]
        with _instrumented():
            ends = asyncio.run(_until_signalled(_followed(attachments)))
        if ends is None:
            click.echo("realtime-spend: asked to end; the calls may go on, and nobody listens to them now", err=True)
        _say_ends(attachments, ends, as_json=as_json)
        # Of any other something was not heard, or may not have been.
        ctx.exit(0 if all(end in _HEARD for end in ends or ()) else _FAILED)

    async def follow(told: Told) -> End:
        patience, tell = Patience(call=_RINGING_SECONDS), _teller(told.call)
        how: dict[str, Any] = {"is_live": told.is_live, "is_webrtc": told.is_webrtc, "patience": patience}
        end = await Attachment(told.call, service, model=model, asks=not silent, tell=tell, **how).follow()
        tell(_SENTENCES[end])
        return end

    secret = os.environ.get(_SECRET, "").strip()
    if not secret:
        raise InputError(f"{_SECRET} is not set; copy it from the provider's page of the webhook")
    try:
        incoming = Incoming(secret=secret, follow=follow, headers=dict(map(_mapped, header)))
    except ValueError as error:
        raise InputError(f"{_SECRET}: {error}") from None
    except ImportError as error:
        raise InputError(f"--webhook needs {error.name}: pip install 'realtime-spend[attach]'") from None
    with _instrumented():
        asyncio.run(_serve(incoming, host, port, path, drain))


def _check(calls: tuple[str, ...], *, webhook: bool, path: str) -> None:
    if bool(calls) == webhook:
        raise InputError("name the calls to listen to, or say --webhook to be told of them; one of the two")
    for call in calls:
        if not call.strip() or "/" in call or " " in call.strip():
            raise InputError(f"{call!r} is no id of a call; of a Location it is what stands behind the last slash")
    if not path.startswith("/") or path == "/healthz" or not path.isprintable() or {*"{}?#"} & {*path}:
        raise InputError(f"--path {path}: write a path such as /webhook")


def _check_needs_webhook(ctx: click.Context, *, webhook: bool) -> None:
    for name in () if webhook else _OF_THE_WEBHOOK:
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise InputError(f"--{name} goes with --webhook")


async def _followed(attachments: Sequence[Attachment]) -> list[End]:
    return await asyncio.gather(*(attachment.follow() for attachment in attachments))


def _teller(call: str) -> Callable[[str], None]:
    return lambda sentence: click.echo(f"{call}: {sentence}", err=True)


async def _serve(incoming: Incoming, host: str, port: int, path: str, drain: float) -> None:
    from aiohttp import web

    runner = web.AppRunner(incoming.application(path), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise InputError(f"{host}:{port}: {why}; choose another") from None
        asked, urged = asyncio.Event(), asyncio.Event()

        def ask() -> None:
            (urged if asked.is_set() else asked).set()

        _on_signals(ask)
        click.echo(f"http://{host}:{runner.addresses[0][1]}{path}")
        await asked.wait()
        tasks = [asyncio.create_task(incoming.drain(drain)), asyncio.create_task(urged.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
    finally:
        await runner.cleanup()


async def _until_signalled(work: Coroutine[object, object, _T]) -> _T | None:
    """Do something until it is done or SIGINT or SIGTERM asks for the end, which is no failure."""
    task = asyncio.ensure_future(work)
    _on_signals(task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return None


def _on_signals(act: Callable[[], object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        # Not in another thread than the main one, nor on Windows.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(number, act)


@contextmanager
def _instrumented() -> Iterator[None]:
    """Instrument this process; at the end, send what was counted."""
    from realtime_spend.instrumentor import RealtimeInstrumentor
    from realtime_spend.telemetry_pipe import is_wanted

    is_exporting = is_wanted(os.environ)
    ledger = configured().ledger
    if not is_exporting and ledger is None:
        raise InputError(
            "nobody is told what is metered; set REALTIME_SPEND_LEDGER to a folder, or OTEL_EXPORTER_OTLP_ENDPOINT"
        )
    if ledger is not None:
        check_writable(ledger)
    with ExitStack() as stack:
        provider = stack.enter_context(_exporting()) if is_exporting else _nowhere()
        instrumentor = RealtimeInstrumentor()
        instrumentor.instrument(meter_provider=provider)
        stack.callback(instrumentor.uninstrument)
        yield


@contextmanager
def _exporting() -> Iterator[MeterProvider]:
    from realtime_spend.telemetry_pipe import pipe_of

    try:
        pipe = pipe_of(os.environ, service=SERVICE_NAME, instance=str(uuid.uuid4()))
    except ValueError as error:
        raise InputError(str(error)) from None
    try:
        yield pipe.provider
    finally:
        pipe.provider.shutdown()
        if pipe.delivery.arrived is False:
            click.echo("realtime-spend: nobody took the metrics in; is OTEL_EXPORTER_OTLP_ENDPOINT right?", err=True)


def _nowhere() -> MeterProvider:
    from opentelemetry.metrics import NoOpMeterProvider

    return NoOpMeterProvider()


def _mapped(text: str) -> tuple[str, str]:
    name, _, attribute = (piece.strip() for piece in text.partition("="))
    if not name or not attribute:
        raise InputError(f"--header {text}: write SIP-HEADER=ATTRIBUTE, such as X-Tenant=tenant")
    return name, attribute


_HEARD = ("closed", "gone")
_SENTENCES = {
    "closed": "the call is over",
    "gone": "the call is over; its end was not told",
    "not_found": "there is no such call at this service",
    "refused": "the service lets nobody listen with this key",
    "unreachable": "the service cannot be reached",
    "too_long": "given up: no call lasts as long",
}


def _say_ends(attachments: Sequence[Attachment], ends: Sequence[End] | None, *, as_json: bool) -> None:
    """Say how each call ended; of those that were left nobody knows it."""
    known: Sequence[End | None] = ends or [None] * len(attachments)
    pairs = list(zip(attachments, known, strict=True))
    if as_json:
        print_json([{"call": one.call, "end": end, "sockets": one.sockets} for one, end in pairs])
        return
    for one, end in pairs:
        if end is not None:
            click.echo(f"{one.call}: {_SENTENCES[end]}")
