"""Decides which sockets are watched, and for whom; and takes the events of those that no hook can see."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from realtime_spend.attribution import attributes_now
from realtime_spend.core.endpoints import port_of, recognise
from realtime_spend.watcher import Sniffer, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_spend.configuration import Configuration
    from realtime_spend.containment import Containment
    from realtime_spend.core.endpoints import Endpoint
    from realtime_spend.metering import Metering

# Sessions whose events are forwarded have no socket whose end could be seen: the one longest silent is ended.
_MOST_FORWARDED = 10_000


class Observing:
    """Decides at connect time, in the context of whoever connects, whether and for whom a socket is watched."""

    def __init__(
        self,
        metering: Metering,
        configuration: Configuration,
        containment: Containment,
        on_session: Callable[[], None],
    ) -> None:
        self.metering = metering
        self._configuration, self._containment = configuration, containment
        # To be called for each session that is found, on a socket or forwarded.
        self._on_session = on_session
        self._forwarded: OrderedDict[tuple[str, str], Watcher] = OrderedDict()
        self._lock = threading.RLock()

    def __call__(
        self,
        *,
        library: str,  # noqa: ARG002 - the hook says who asks
        host: str,
        port: int | None,
        path: str,
        query: str,
    ) -> Watcher | Sniffer | None:
        """Return what shall watch a connection to this URL, None where it is not to be watched."""
        try:
            if not is_instrumentation_enabled():
                return None
            endpoint = recognise(host, port, path, query, self._configuration.endpoints)
            is_told = endpoint is not None
            if endpoint is None and self._configuration.sniff:
                endpoint = recognise(host, port, path, query, any_path=True)
            if endpoint is None:
                return None
            watcher = Watcher(self.metering, endpoint, attributes_now(self._configuration.baggage_keys))
            self._on_session()
            return watcher if is_told else Sniffer(watcher, self._containment)
        except Exception:  # noqa: BLE001 - the boundary: nothing of ours reaches the host
            self._containment.failed("watching_a_connection")
            return None

    def watch(self, url: str, *, origin: str, model: str | None = None, is_webrtc: bool = False) -> Watcher:
        """Return what shall watch a connection to this URL, whoever opens it: `origin` is the ledger's word for that.

        `model` is what it was requested with, where the URL does not say it; `is_webrtc`: whether a browser holds it.
        """
        endpoint = replace(self._endpoint(url), is_webrtc=is_webrtc)
        if model is not None:
            endpoint = replace(endpoint, requested_model=model)
        watcher = Watcher(self.metering, endpoint, attributes_now(self._configuration.baggage_keys), origin=origin)
        self._on_session()
        return watcher

    def forward(self, event: str | bytes | bytearray | Mapping[str, object], session: str, url: str) -> None:
        """Take an event of a session that is not on a socket of ours."""
        try:
            watcher = self._forwarding(session, url)
            if isinstance(event, str | bytes | bytearray):
                watcher.frame(event)
            else:
                watcher.event(event if type(event) is dict else _plain(event))
        except Exception:  # noqa: BLE001 - as above
            self._containment.failed("taking_a_forwarded_event")

    def end_forwarding(self, session: str, url: str) -> None:
        """Take the end of such a session."""
        try:
            with self._lock:
                watcher = self._forwarded.pop((session, url), None)
            if watcher is not None:
                watcher.closed()
        except Exception:  # noqa: BLE001 - as above
            self._containment.failed("ending_what_is_forwarded")

    def begin_anew(self) -> None:
        """In a forked child: a lock that another thread held at the fork would be held for ever."""
        self._lock = threading.RLock()

    def _forwarding(self, session: str, url: str) -> Watcher:
        with self._lock:
            known = self._forwarded.get((session, url))
            if known is not None:
                self._forwarded.move_to_end((session, url))
                return known
            endpoint = self._endpoint(url)
            attributes = attributes_now(self._configuration.baggage_keys)
            watcher = self._forwarded[session, url] = Watcher(self.metering, endpoint, attributes, origin="forwarded")
            silent = self._forwarded.popitem(last=False)[1] if len(self._forwarded) > _MOST_FORWARDED else None
            # Before anybody can end it.
            watcher.opened()
        self._on_session()
        if silent is not None:
            silent.closed()
        return watcher

    def _endpoint(self, url: str) -> Endpoint:
        parts = urlsplit(url)
        endpoint = recognise(
            parts.hostname or "",
            port_of(parts.scheme, parts.port),
            parts.path,
            parts.query,
            self._configuration.endpoints,
            any_path=True,
        )
        assert endpoint is not None  # noqa: S101 - any path was asked for
        return endpoint


# BaseInstrumentor is a singleton whose __init__ runs again at each construction, so what must last is kept out of it.
RUNNING: list[Observing] = []
_OPENAI = "wss://api.openai.com/v1/realtime"


def observe_server_event(
    event: str | bytes | bytearray | Mapping[str, object], *, session: str, url: str = _OPENAI
) -> bool:
    """Meter one server event of a session whose socket no hook can see: picows, a browser that forwards its events.

    Hand over *every* event but the deltas, in their order: `session.created` names the model, `response.created` tells
    what is lost. `session` is any name of yours for the connection, `url` where it goes, with its query: it tells
    provider, account and requested model. Attributes are those of the context of the first call. What a browser sends
    can be made up: do not charge anybody by it.

    Returns False where nothing is instrumented. Never raises; takes microseconds.
    """
    # Another thread may be switching us off.
    running = RUNNING[-1:]
    for observing in running:
        observing.forward(event, session, url)
    return bool(running)


def observe_session_end(*, session: str, url: str = _OPENAI) -> None:
    """Say that such a session has ended: what it left unfinished is accounted for as lost."""
    for observing in RUNNING[-1:]:
        observing.end_forwarding(session, url)


def _plain(value: object) -> object:
    """Return what JSON would have been read as: events may come in mappings of another kind, one in the other."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _after_fork_in_child() -> None:
    for observing in RUNNING:
        observing.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
