"""Runs a relay in this process from its settings to its last export; several of them on one port are `workers`."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry import metrics

from realtime_spend.containment import Containment
from realtime_spend.export_failures import say_failures_once
from realtime_spend.identity import Identity
from realtime_spend.metering import Metering
from realtime_spend.rate_cards import load_book
from realtime_spend.relay.open_files import Shortage
from realtime_spend.relay.server import Relay
from realtime_spend.relay.workers import URGENT
from realtime_spend.sinks import metrics as names
from realtime_spend.telemetry_pipe import is_wanted, pipe_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from opentelemetry.metrics import MeterProvider

    from realtime_spend.configuration import Configuration
    from realtime_spend.relay.settings import RelaySettings
    from realtime_spend.relay.tokens import TokenCheck

SERVICE_NAME = "realtime-spend-relay"
_LAST_EXPORT_MILLIS = 15_000
_PARENT_SECONDS = 1.0
_END = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """A metering, and what it counts beside usage."""

    metering: Metering
    meters: names.Metrics
    look: Callable[[], None]


def metered(configuration: Configuration, provider: MeterProvider) -> Metered:
    """Return the metering of this process: that of the hooks, without the hooks."""
    meters = names.metrics_of(provider)
    containment = Containment(meters.count_error)
    book = load_book(configuration.rate_cards)
    metering = Metering.of(configuration, provider, book=book, meters=meters, containment=containment)
    return Metered(metering=metering, meters=meters, look=Identity(provider, containment).look)


def sends_metrics(environment: Mapping[str, str]) -> bool:
    """Whether anything says where metrics are to go."""
    return is_wanted(environment) or _is_sdk(metrics.get_meter_provider())


def provider_of(environment: Mapping[str, str]) -> MeterProvider:
    """Return the process's own meter provider if it has one, else one as the variables say, else one that does nothing.

    Raises:
        ValueError: no such exporter is installed.
    """
    already = metrics.get_meter_provider()
    if _is_sdk(already) or not sends_metrics(environment):
        return already
    # Each worker is one of its own: counters of two under one id run into each other.
    return pipe_of(environment, service=SERVICE_NAME, instance=str(uuid.uuid4())).provider


def run(
    settings: RelaySettings,
    configuration: Configuration,
    *,
    tokens: TokenCheck | None,
    listening: socket.socket,
    announce: Callable[[int], None],
    parent: int | None = None,
) -> None:
    """Relay until SIGTERM or SIGINT, or until the `parent` of a worker is gone; then let sessions end, and send all."""
    say_failures_once(os.environ)
    provider = provider_of(os.environ)
    parts = metered(configuration, provider)
    try:
        asyncio.run(
            _relay(
                Relay(
                    settings,
                    parts.metering,
                    tokens=tokens,
                    endpoints=configuration.endpoints,
                    baggage_keys=configuration.baggage_keys,
                    count=parts.meters.count_error,
                    on_session=parts.look,
                ),
                settings.drain_seconds,
                listening,
                announce,
                parent=parent,
                shortage=Shortage(
                    parts.meters.count_error,
                    lambda sentence: parts.metering.containment.say_once("files", sentence),
                ),
            )
        )
    finally:
        parts.metering.finish()
        parts.metering.count_all()
        shutdown = getattr(provider, "shutdown", None)
        if shutdown is not None:
            # It raises where nobody takes it; the exporter has logged why.
            with suppress(Exception):
                shutdown(_LAST_EXPORT_MILLIS)


async def _relay(
    relay: Relay,
    drain_seconds: float,
    listening: socket.socket,
    announce: Callable[[int], None],
    *,
    parent: int | None,
    shortage: Shortage,
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(shortage)
    asked, urged = asyncio.Event(), asyncio.Event()

    def end() -> None:
        # The second time somebody does not want to wait; a worker may get the same signal from several.
        (urged if asked.is_set() and parent is None else asked).set()

    def hurry() -> None:
        asked.set()
        urged.set()

    if parent is None:
        for number in _END:
            loop.add_signal_handler(number, end)
    else:
        answering = (loop, end, hurry)
        threading.Thread(target=_answer_signals, args=answering, name="realtime-spend-signals", daemon=True).start()
    await relay.start(listening)
    announce(relay.port)
    watching = None if parent is None else asyncio.create_task(_end_with_parent(parent, end))
    await asked.wait()
    draining = asyncio.create_task(relay.drain(drain_seconds))
    urging = asyncio.create_task(urged.wait())
    await asyncio.wait((draining, urging), return_when=asyncio.FIRST_COMPLETED)
    for task in (draining, urging, *([watching] if watching else [])):
        task.cancel()
    await relay.stop()


def _answer_signals(loop: asyncio.AbstractEventLoop, end: Callable[[], None], hurry: Callable[[], None]) -> None:
    """Take the signals of a worker, all of whose threads leave them blocked, as it was begun with them.

    One that comes late, to whichever thread, must not keep the last metrics from being sent.
    """
    # The loop is closed when everything has ended but these.
    with suppress(RuntimeError):
        while True:
            loop.call_soon_threadsafe(hurry if signal.sigwait((*_END, URGENT)) == URGENT else end)


async def _end_with_parent(parent: int, end: Callable[[], None]) -> None:
    """A worker whose parent was killed would hold the port for ever."""
    while os.getppid() == parent:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(_PARENT_SECONDS)
    end()


def _is_sdk(provider: object) -> bool:
    return hasattr(provider, "force_flush")
