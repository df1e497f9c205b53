"""Keeps exports that fail out of the program's log: it is said once, where exporters say it of each attempt.

Without us the program might not export at all, so the noise would be ours. How long the last export is tried at the end
of the process is left to the SDK: some eight seconds where nobody listens, less if OTEL_EXPORTER_OTLP_TIMEOUT says so.
To cut it short we would have to end a meter provider that is the program's, and its own metrics with it. A collector
that is just being replaced is back within these seconds, and gets what nobody could send it later.
"""

from __future__ import annotations

import logging
import math
import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
_SAID_ONCE = "said once, until no export has failed for a while"
_ALL = "All attempts: set the level of the logger %s to DEBUG"
NOT_AFFECTED = (
    f"(realtime-spend: {_SAID_ONCE}; this program is not affected. REALTIME_SPEND_LEDGER keeps what metrics lose. "
    f"{_ALL})"
)
SAID_AGAIN = f"(realtime-spend: {_SAID_ONCE}; what was read last is sent again with every export. {_ALL})"
_RETRYING = re.compile(r", retrying in [0-9.]+ ?s\b")


class SaidOnce(logging.Filter):
    """Lets the first record of failing exports of metrics through, with a note, and those of its kind that follow not.

    Nobody says when an export succeeds. So the failure is over when none was logged for some export intervals.
    `note` is a template with the logger's name; with None no record passes, and who asks is told by `why`.
    """

    def __init__(
        self, quiet_seconds: float, clock: Callable[[], float] = time.monotonic, note: str | None = NOT_AFFECTED
    ) -> None:
        super().__init__()
        self._quiet, self._clock, self._note = quiet_seconds, clock, note
        self._last: dict[str, float] = {}
        # What the last failure was, as the exporter says it.
        self.why: str | None = None

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
        if record.exc_info and record.exc_info[1] is not None:
            # A hundred lines of how the socket library got there say no more than its last one.
            said, record.exc_info = f"{said}: {record.exc_info[1]}", None
        if is_new:
            # The first one has the reason; the last one may say no more than that the time is up.
            self.why = _RETRYING.sub("", said).strip().rstrip(".")
            record.msg, record.args = f"{said} {self._note % record.name}" if self._note else said, None
        return is_new and self._note is not None

    def has_failed_within(self, seconds: float) -> bool:
        """Whether an export failed lately, as far as the log tells."""
        return self._clock() - max(self._last.values(), default=-math.inf) < seconds


def _is_about_metrics(record: logging.LogRecord) -> bool:
    # Not by the whole text: an endpoint that traces go to may have the word in its name.
    return "metrics" in str(record.msg) or (isinstance(record.args, tuple) and "metrics" in record.args)


_INSTALLED: list[SaidOnce] = []


def say_failures_once(environment: Mapping[str, str], note: str | None = NOT_AFFECTED) -> SaidOnce:
    """Put the filter on the loggers of the exporters that carry metrics, and on no other; return it."""
    if _INSTALLED:
        return _INSTALLED[0]
    filter_ = SaidOnce(max(_QUIET_SECONDS, 3 * _export_interval(environment)), note=note)
    _INSTALLED.append(filter_)
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(filter_)
    return filter_


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
