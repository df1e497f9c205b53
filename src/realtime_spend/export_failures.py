"""Keeps exports that fail away from the program: the log says it once, and the exit does not wait for the retries.

OpenTelemetry's exporters log each attempt of each export, and at the end of the process try again for as long as their
timeout: without us the program might not export at all, so the noise and the wait would be ours.
"""

from __future__ import annotations

import logging
import math
import os
import re
import time
from typing import TYPE_CHECKING

from opentelemetry.metrics import get_meter_provider

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.metrics import MeterProvider

_log = logging.getLogger(__name__)
# The second one serves traces and logs as well: of its records only those about metrics are looked at. The third one
# logs what an exporter raises, as the older ones do where nobody listens.
_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.sdk.metrics._internal.export",
)
_QUIET_SECONDS = 600.0
_DEFAULT_INTERVAL_SECONDS = 60.0
# What a collector that answers has against us: other kinds than that it does not answer, and said although it did not.
_KINDS = {
    "credentials": re.compile(r"\b40[137]\b|Unauthorized|Forbidden|UNAUTHENTICATED|PERMISSION_DENIED").search,
    "address": re.compile(r"\b404\b|Not Found|UNIMPLEMENTED").search,
}
_NOTE = (
    "(realtime-spend: said once, until no export has failed for a while; this program is not affected. "
    "REALTIME_SPEND_LEDGER keeps what metrics lose. All attempts: set the level of the logger %s to DEBUG)"
)
_LAST_EXPORT_MILLIS = 2_000
_TIMEOUTS = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT")


class SaidOnce(logging.Filter):
    """Lets the first record of failing exports of metrics through, with a note, and those of its kind that follow not.

    Nobody says when an export succeeds. So the failure is over when none was logged for some export intervals.
    """

    def __init__(self, quiet_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._quiet, self._clock = quiet_seconds, clock
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide on one record; whoever set the logger to DEBUG wants to see them all."""
        if record.levelno < logging.WARNING or logging.getLogger(record.name).level == logging.DEBUG:
            return True
        said = record.getMessage()
        if not _is_about_metrics(record):
            return not (self.has_failed_within(self._quiet) and said.startswith("Shutdown in progress"))
        kind = next((kind for kind, is_of in _KINDS.items() if is_of(said)), "delivery")
        is_new = self._clock() - self._last.get(kind, -math.inf) >= self._quiet
        self._last[kind] = self._clock()
        if is_new:
            if record.exc_info and record.exc_info[1] is not None:
                # A hundred lines of how the socket library got there say no more than its last one.
                said, record.exc_info = f"{said}: {record.exc_info[1]}", None
            record.msg, record.args = f"{said} {_NOTE % record.name}", None
        return is_new

    def has_failed_within(self, seconds: float) -> bool:
        """Whether an export failed lately, as far as the log tells."""
        return self._clock() - max(self._last.values(), default=-math.inf) < seconds


def _is_about_metrics(record: logging.LogRecord) -> bool:
    # Not by the whole text: an endpoint that traces go to may have the word in its name.
    return "metrics" in str(record.msg) or (isinstance(record.args, tuple) and "metrics" in record.args)


_INSTALLED: list[SaidOnce] = []


def say_failures_once(environment: Mapping[str, str]) -> None:
    """Put the filter on the loggers of the exporters that carry metrics, and on no other."""
    if _INSTALLED:
        return
    filter_ = SaidOnce(max(_QUIET_SECONDS, 3 * _export_interval(environment)))
    _INSTALLED.append(filter_)
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(filter_)


def _export_interval(environment: Mapping[str, str]) -> float:
    try:
        return float(environment.get("OTEL_METRIC_EXPORT_INTERVAL", "")) / 1000
    except ValueError:
        return _DEFAULT_INTERVAL_SECONDS


def say_failures_as_ever() -> None:
    """Take the filter off again."""
    while _INSTALLED:
        filter_ = _INSTALLED.pop()
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(filter_)


class LastExport:
    """At the end of the process: lets a provider send what it has, but not retry for long where that is in vain.

    The SDK would do the same next, and wait for as long as its exporters try: some seven seconds, up to ten. Where
    there is nothing of ours to send (`is_ours`), where the user said how long it may take, or ends the provider
    himself, it is left alone.
    """

    def __init__(
        self,
        provider: MeterProvider,
        *,
        is_ours: Callable[[], bool],
        is_answered: Callable[[Mapping[str, str]], bool],
    ) -> None:
        self._provider, self._is_ours, self._is_answered = provider, is_ours, is_answered

    def send(self) -> None:
        """Shut the provider down within two seconds if exports fail or nobody listens, and the SDK would do it next."""
        try:
            if not self._is_ours() or any(os.environ.get(name) for name in _TIMEOUTS):
                return
            provider = self._provider if hasattr(self._provider, "shutdown") else get_meter_provider()
            # What the SDK is going to call as the process ends, None if it was called: it has no public name.
            is_next = getattr(provider, "_atexit_handler", None) is not None
            # One that failed before that was made good by those after it.
            lately = 2 * _export_interval(os.environ)
            is_failing = any(filter_.has_failed_within(lately) for filter_ in _INSTALLED)
            if is_next and (is_failing or not self._is_answered(os.environ)):
                provider.shutdown(timeout_millis=_LAST_EXPORT_MILLIS)  # type: ignore[attr-defined]  # the SDK's has it
        except Exception:  # noqa: BLE001 - a foreign exporter may raise anything, and the process ends
            _log.debug("the last export failed", exc_info=True)
