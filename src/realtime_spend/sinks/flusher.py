"""Sends metrics soon after the last session of the process has closed, without the host ever waiting for it."""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.metrics import get_meter_provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.metrics import MeterProvider

_log = logging.getLogger(__name__)
# A program that closes its session and ends is flushed by the SDK as it exits. A flush of ours that had just begun
# would then hold the exporter: where no collector answers, the program would wait for two exports instead of one.
_SETTLE_SECONDS = 0.5
_TIMEOUT_MILLIS = 10_000
_ANSWER_SECONDS = 1.0
_GRPC_PORT, _HTTP_PORT = 4317, 4318
_PORT_OF_SCHEME = {"http": 80, "https": 443}


class Flusher:
    """Flushes one meter provider from a daemon thread that lives only while there is something to flush."""

    def __init__(self, provider: MeterProvider) -> None:
        self._provider = provider
        self.begin_anew()

    def begin_anew(self) -> None:
        """In a forked child: threads and held locks stay with the parent."""
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._wanted = self._stopped = False
        self._stop = threading.Event()

    def request(self) -> None:
        """Ask for a flush; returns at once."""
        with self._lock:
            if self._stopped:
                return
            self._wanted = True
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="realtime-spend-flush", daemon=True)
                thread.start()
                self._thread = thread

    def stop(self) -> None:
        """At the end of the process: begin no flush any more. One that has begun is left to itself."""
        with self._lock:
            self._stopped = True
            self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(_SETTLE_SECONDS):
            with self._lock:
                if not self._wanted:
                    self._thread = None
                    return
                self._wanted = False
            try:
                self._flush()
            except Exception:  # noqa: BLE001 - a foreign exporter may raise anything; the SDK exports again by itself
                _log.debug("a flush of metrics failed; they are exported again in time", exc_info=True)

    def _flush(self) -> None:
        # A program may set its provider after we were started: then ours is a proxy, which cannot flush.
        flush = getattr(self._provider, "force_flush", None) or getattr(get_meter_provider(), "force_flush", None)
        if flush is not None and is_answered(os.environ):
            with suppress_instrumentation():
                flush(_TIMEOUT_MILLIS)


def is_answered(environment: Mapping[str, str]) -> bool:
    """Whether anybody listens where OTLP is configured to go; True where the environment does not say.

    An exporter without a collector tries again and again, for seconds, and the SDK's last export at the end of the
    process waits behind it. What is not flushed now is exported in time.
    """
    address = _otlp_address(environment)
    if address is None:
        return True
    try:
        with suppress_instrumentation():
            socket.create_connection(address, _ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


def _otlp_address(environment: Mapping[str, str]) -> tuple[str, int] | None:
    """Return host and port of the OTLP endpoint as the OpenTelemetry variables give it, None where they do not."""
    endpoint = environment.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    is_otlp = endpoint or "otlp" in environment.get("OTEL_METRICS_EXPORTER", "")
    # Behind a proxy the collector need not be reachable from here at all.
    if not is_otlp or any(name.lower() in ("http_proxy", "https_proxy") for name in environment):
        return None
    protocol = environment.get("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    default = _HTTP_PORT if (protocol or "grpc").startswith("http") else _GRPC_PORT
    try:
        url = urlsplit(endpoint if endpoint and "://" in endpoint else f"//{endpoint or 'localhost'}")
        return (url.hostname, url.port or _PORT_OF_SCHEME.get(url.scheme, default)) if url.hostname else None
    except ValueError:
        return None
