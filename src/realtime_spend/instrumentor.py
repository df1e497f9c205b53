"""Root 1, the live path: hooks to core to sinks. The OpenTelemetry entry point `openai_realtime`."""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # it opts out

from realtime_spend.configuration import Configuration, configure
from realtime_spend.containment import Containment
from realtime_spend.export_failures import say_failures_as_ever, say_failures_once
from realtime_spend.hooks.aiohttp import AiohttpHook
from realtime_spend.hooks.aiortc import AiortcHook
from realtime_spend.hooks.httpx_ws import HttpxWsHook
from realtime_spend.hooks.websocket_client import WebsocketClientHook
from realtime_spend.hooks.websockets import WebsocketsHook
from realtime_spend.hooks.websockets_legacy import LegacyWebsocketsHook
from realtime_spend.identity import Identity
from realtime_spend.metering import Metering
from realtime_spend.observing import RUNNING, Observing
from realtime_spend.rate_cards import load_book
from realtime_spend.sinks import metrics as names

if TYPE_CHECKING:
    from collections.abc import Collection

    from opentelemetry.metrics import MeterProvider

    from realtime_spend.core.rates import RateBook
    from realtime_spend.hooks import Observe
    from realtime_spend.hooks.attaching import Hook

_HOOKS: tuple[Hook, ...] = (
    WebsocketsHook(),
    LegacyWebsocketsHook(),
    AiohttpHook(),
    WebsocketClientHook(),
    HttpxWsHook(),
    AiortcHook(),
)


class RealtimeInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # its module opts out of type checking
    """Meters every Realtime session that this process opens from now on.

    `RealtimeInstrumentor().instrument(...)` takes `meter_provider`, and as keyword arguments the names of
    `realtime_spend.configuration`: `ledger`, `rate_cards`, `deployments`, `account`, `role`, `disabled_libraries`,
    `sniff`, `endpoints`, `baggage_keys`. Nothing here raises: with a wrong value the default holds,
    and a log line says so.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return nothing: this would demand *all* libraries; `instruments-any` in the distribution asks for any."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        try:
            self._start(kwargs.pop("meter_provider", None) or metrics.get_meter_provider(), kwargs)
        except Exception:  # noqa: BLE001 - an exception here would abort all auto-instrumentation of the host
            Containment(lambda _kind: None).failed("starting")

    def _uninstrument(self, **_kwargs: Any) -> None:
        try:
            self._stop()
        except Exception:  # noqa: BLE001 - the host is not to be harmed by our leaving either
            Containment(lambda _kind: None).failed("stopping")

    def _stop(self) -> None:
        # First the books, while the sockets still hold who watches them.
        if RUNNING:
            metering = RUNNING.pop().metering
            metering.abandon()
            atexit.unregister(metering.finish)
        say_failures_as_ever()
        for hook in _HOOKS:
            hook.remove()

    def _start(self, provider: MeterProvider, arguments: dict[str, Any]) -> None:
        configuration = configure(os.environ, arguments)
        meters = names.metrics_of(provider)
        containment = Containment(meters.count_error)
        for problem in configuration.problems:
            meters.count_error("configuration")
            containment.say_once(problem, "%s", problem)
        book = _book(configuration, containment, meters)
        metering = Metering.of(configuration, provider, book=book, meters=meters, containment=containment)
        observe = Observing(metering, configuration, containment, Identity(provider, containment).look)
        RUNNING.append(observe)
        say_failures_once(os.environ)
        # Registered after the SDK's own exit handler, so run before it: what is lost at the end is still exported.
        atexit.register(metering.finish)
        watching: Observe = observe
        for hook in _HOOKS:
            if hook.library not in configuration.disabled_libraries:
                hook.install(watching, containment)


def _book(configuration: Configuration, containment: Containment, meters: names.Metrics) -> RateBook:
    try:
        return load_book(configuration.rate_cards)
    except ValueError as error:
        meters.count_error("configuration")
        containment.say_once("cards", "REALTIME_SPEND_RATE_CARDS is set aside: %s", error)
        return load_book()
