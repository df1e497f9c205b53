"""What Prometheus calls our metrics and attributes once its OTLP receiver has taken them in, and the collector's."""

import re

from realtime_spend.sinks import metrics

# The units that the receiver writes out. What stands in braces, such as {token}, it drops; others it keeps as they are.
_WRITTEN_OUT = {"s": "seconds"}


def label(attribute: str) -> str:
    """The label of an attribute."""
    return re.sub(r"\W", "_", attribute)


def counter(name: str) -> str:
    """The series of a counter."""
    return f"{_with_unit(name, metrics.COUNTERS[name][0])}_total"


def histogram(name: str, part: str) -> str:
    """The series of a part (`bucket`, `sum` or `count`) of a histogram."""
    return f"{_with_unit(name, metrics.HISTOGRAMS[name][0])}_{part}"


def gauge(name: str) -> str:
    """The series of a gauge. A ratio is written out as one, unless the name says it already."""
    unit = metrics.GAUGES[name][0]
    return label(name) if unit == "1" and name.endswith(".ratio") else _with_unit(name, unit)


def series(name: str) -> str:
    """The series of any metric of ours; of a histogram without its part."""
    if name in metrics.COUNTERS:
        return counter(name)
    if name in metrics.GAUGES:
        return gauge(name)
    return _with_unit(name, metrics.HISTOGRAMS[name][0] if name in metrics.HISTOGRAMS else "")


def _with_unit(name: str, unit: str) -> str:
    written = "" if unit.startswith("{") else _WRITTEN_OUT.get(unit, unit)
    return "_".join(part for part in (label(name), written) if part)


def all_series() -> set[str]:
    """Every name under which something of ours can be in Prometheus."""
    histograms = {histogram(name, part) for name in metrics.HISTOGRAMS for part in ("bucket", "sum", "count")}
    gauges = {gauge(name) for name in metrics.GAUGES}
    return {counter(name) for name in metrics.COUNTERS} | histograms | gauges | {label(metrics.SESSION_ACTIVE)}


def all_labels() -> set[str]:
    """Every label that our own attributes become; those that a reader adds from baggage are not among them."""
    attributes = {
        value
        for name, value in vars(metrics).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str)
    }
    attributes = attributes.difference(metrics.COUNTERS, metrics.HISTOGRAMS, metrics.GAUGES)
    return {label(attribute) for attribute in attributes}


COST = counter(metrics.COST)
COST_UNCERTAINTY = counter(metrics.COST_UNCERTAINTY)
CACHE_SAVINGS = counter(metrics.CACHE_SAVINGS)
INPUT_TOKENS = counter(metrics.INPUT_TOKENS)
CACHED_TOKENS = counter(metrics.CACHE_READ_TOKENS)
OUTPUT_TOKENS = counter(metrics.OUTPUT_TOKENS)
USAGES = counter(metrics.USAGES)
UNPRICED = counter(metrics.UNPRICED)
DUPLICATES = counter(metrics.DUPLICATES)
ERRORS = counter(metrics.ERRORS)
ACTIVE_SESSIONS = label(metrics.SESSION_ACTIVE)
ESTIMATED_COST = gauge(metrics.ESTIMATED_COST)
BILLED_COST = gauge(metrics.BILLED_COST)
BILL_STATE = gauge(metrics.BILL_STATE)
DRIFT_COST = gauge(metrics.DRIFT_COST)
DRIFT_RATIO = gauge(metrics.DRIFT_RATIO)
LAST_SETTLED = gauge(metrics.BILL_LAST_SETTLED)
LAST_SUCCESS = gauge(metrics.BILL_LAST_SUCCESS)
SESSION_SECONDS = counter(metrics.SESSION_TIME)
FIRST_AUDIO = histogram(metrics.TIME_TO_FIRST_AUDIO, "bucket")

ACCOUNT = label(metrics.ACCOUNT)
CAUSE = label(metrics.CAUSE)
COMPONENT = label(metrics.COMPONENT)
DAY = label(metrics.DAY)
KIND = label(metrics.KIND)
MODALITY = label(metrics.MODALITY)
MODEL = label(metrics.MODEL)
OPERATION = label(metrics.OPERATION_NAME)
PROVIDER = label(metrics.PROVIDER_NAME)
REASON = label(metrics.REASON)
REQUEST_MODEL = label(metrics.REQUEST_MODEL)
SCOPE = label(metrics.SCOPE)
USAGE = label(metrics.USAGE)
VERSION = label(metrics.VERSION)
# Not ours, but an attribute of the process that prometheus.yml makes a label.
ENVIRONMENT = label("deployment.environment.name")

# What the collector says about itself. The failures are absent until they first happen.
QUEUE_SIZE = "otelcol_exporter_queue_size"
QUEUE_CAPACITY = "otelcol_exporter_queue_capacity"
ACCEPTED = "otelcol_receiver_accepted_metric_points"
SENT = "otelcol_exporter_sent_metric_points"
RECEIVER_REFUSED = "otelcol_receiver_refused_metric_points"
MEMORY_LIMITER_REFUSED = "otelcol_processor_memory_limiter_refused_metric_points"
ENQUEUE_FAILED = "otelcol_exporter_enqueue_failed_metric_points"
SEND_FAILED = "otelcol_exporter_send_failed_metric_points"
COLLECTOR_MEMORY = "otelcol_process_memory_rss"
COLLECTOR_FAILURES = frozenset({MEMORY_LIMITER_REFUSED, ENQUEUE_FAILED, SEND_FAILED})
COLLECTOR_SERIES = COLLECTOR_FAILURES | {QUEUE_SIZE, QUEUE_CAPACITY, ACCEPTED, SENT, RECEIVER_REFUSED, COLLECTOR_MEMORY}
