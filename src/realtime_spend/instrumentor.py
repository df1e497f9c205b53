"""Root 1, the live path: hooks to core to sinks. The OpenTelemetry entry point `openai_realtime`."""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # it opts out
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from realtime_spend.attribution import attributes_now
from realtime_spend.configuration import Configuration, Role, configure
from realtime_spend.containment import Containment
from realtime_spend.core.endpoints import recognise
from realtime_spend.core.naming import Naming
from realtime_spend.hooks.websockets import LIBRARY as WEBSOCKETS
from realtime_spend.hooks.websockets import WebsocketsHook
from realtime_spend.metering import Metering
from realtime_spend.rate_cards import load_book
from realtime_spend.sinks import metrics as names
from realtime_spend.sinks.flusher import Flusher
from realtime_spend.sinks.ledger import Ledger
from realtime_spend.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Collection

    from opentelemetry.metrics import MeterProvider

    from realtime_spend.core.rates import RateBook

_HOOKS = {WEBSOCKETS: WebsocketsHook()}
# BaseInstrumentor is a singleton whose __init__ runs again at each construction, so what must last is kept out of it.
RUNNING: list[Metering] = []


class RealtimeInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # its module opts out of type checking
    """Meters every Realtime session that this process opens from now on.

    `RealtimeInstrumentor().instrument(...)` takes `meter_provider`, and as keyword arguments the names of
    `realtime_spend.configuration`: `ledger`, `rate_cards`, `deployments`, `account`, `role`, `disabled_libraries`,
    `endpoints`, `baggage_keys`. Nothing here raises: with a wrong value the default holds, and a log line says so.
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
            metering = RUNNING.pop()
            metering.abandon()
            atexit.unregister(metering.finish)
        for hook in _HOOKS.values():
            hook.remove()

    def _start(self, provider: MeterProvider, arguments: dict[str, Any]) -> None:
        configuration = configure(os.environ, arguments)
        meters = names.metrics_of(provider)
        containment = Containment(meters.count_error)
        for problem in configuration.problems:
            meters.count_error("configuration")
            containment.say_once(problem, "%s", problem)
        book = _book(configuration, containment, meters)
        metering = Metering(
            book=book,
            naming=Naming(book, configuration.deployments),
            metrics=meters,
            ledger=None if configuration.ledger is None else Ledger(configuration.ledger),
            flusher=Flusher(provider),
            containment=containment,
            counts=configuration.role is Role.COUNTER,
            account=configuration.account,
        )
        RUNNING.append(metering)
        # Registered after the SDK's own exit handler, so run before it: what is lost at the end is still exported.
        atexit.register(metering.finish)
        observe = _Observing(metering, configuration, containment)
        for library, hook in _HOOKS.items():
            if library not in configuration.disabled_libraries:
                hook.install(observe, containment)


class _Observing:
    """Decides at connect time, in the context of whoever connects, whether and for whom a socket is watched."""

    def __init__(self, metering: Metering, configuration: Configuration, containment: Containment) -> None:
        self._metering, self._configuration, self._containment = metering, configuration, containment

    def __call__(self, *, library: str, host: str, port: int | None, path: str, query: str) -> Watcher | None:  # noqa: ARG002 - the hook says who asks
        try:
            endpoint = recognise(host, port, path, query, self._configuration.endpoints)
            if endpoint is None or not is_instrumentation_enabled():
                return None
            return Watcher(self._metering, endpoint, attributes_now(self._configuration.baggage_keys))
        except Exception:  # noqa: BLE001 - the boundary: nothing of ours reaches the host
            self._containment.failed("watching_a_connection")
            return None


def _book(configuration: Configuration, containment: Containment, meters: names.Metrics) -> RateBook:
    try:
        return load_book(configuration.rate_cards)
    except ValueError as error:
        meters.count_error("configuration")
        containment.say_once("cards", "REALTIME_SPEND_RATE_CARDS is set aside: %s", error)
        return load_book()
