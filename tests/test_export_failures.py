"""Which of an exporter's log records pass, and when a provider's last export is cut short."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader

from realtime_spend.export_failures import LastExport, SaidOnce, say_failures_as_ever, say_failures_once

if TYPE_CHECKING:
    from collections.abc import Iterator

HTTP = "opentelemetry.exporter.otlp.proto.http.metric_exporter"
GRPC = "opentelemetry.exporter.otlp.proto.grpc.exporter"
FAILED = "Failed to export metrics batch code: %s, reason: %s"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def record(message: str, *arguments: object, level: int = logging.ERROR, name: str = HTTP) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, message, arguments, None)


def test_a_failure_that_goes_on_is_said_once_with_its_reason(clock: Clock) -> None:
    once = SaidOnce(600, clock)
    first = record(FAILED, 401, "100% unauthorized")
    assert once.filter(first)
    assert first.getMessage().startswith(
        "Failed to export metrics batch code: 401, reason: 100% unauthorized (realtime"
    )
    for _ in range(20):
        clock.now += 599
        assert not once.filter(record(FAILED, 401, "Unauthorized"))
        assert once.has_failed_within(1)


def test_a_failure_after_a_time_without_any_is_a_new_one(clock: Clock) -> None:
    once = SaidOnce(600, clock)
    assert once.filter(record(FAILED, 503, "full"))
    clock.now += 601
    assert not once.has_failed_within(600)
    assert once.filter(record(FAILED, 503, "full"))


def test_another_kind_of_failure_is_said_though_the_first_goes_on(clock: Clock) -> None:
    once = SaidOnce(600, clock)
    refused, wrong_token = (FAILED, None, "Connection refused"), (FAILED, 401, "Unauthorized")
    transient = ("Transient error %s encountered while exporting metrics batch, retrying in %.2fs.", "Refused", 1.03)
    said = []
    for arguments in (transient, refused, wrong_token, transient, wrong_token, (FAILED, 404, "Not Found"), refused):
        said.append(once.filter(record(*arguments)))
        clock.now += 60
    assert said == [True, False, True, False, False, True, False]


def test_what_an_exporter_raises_is_said_in_a_line(clock: Clock) -> None:
    once, raised = SaidOnce(600, clock), ConnectionError("refused")
    for is_said in (True, False):
        exception = record("Exception while exporting metrics", name="opentelemetry.sdk.metrics._internal.export")
        exception.exc_info = (ConnectionError, raised, None)
        assert once.filter(exception) is is_said
        if is_said:
            assert vars(exception)["exc_info"] is None
            assert exception.getMessage().startswith("Exception while exporting metrics: refused (realtime-spend: said")


def test_what_is_not_about_metrics_passes_unchanged(clock: Clock) -> None:
    once = SaidOnce(600, clock)
    assert once.filter(record(FAILED, 503, "full"))
    for other in (
        record("Failed to export %s to %s", "traces", "collector", name=GRPC),
        record("Failed to export %s to %s", "traces", "otel-metrics.example.com:4317", name=GRPC),
        record("all is well with metrics", level=logging.INFO),
    ):
        said = other.getMessage()
        assert once.filter(other)
        assert other.getMessage() == said


def test_the_filter_is_on_the_loggers_of_the_exporters_while_we_are_there_and_put_on_once() -> None:
    before = {name: list(logging.getLogger(name).filters) for name in (HTTP, GRPC)}
    say_failures_once({"OTEL_METRIC_EXPORT_INTERVAL": "900000"})
    say_failures_once({})
    try:
        for name, filters in before.items():
            [added] = [one for one in logging.getLogger(name).filters if one not in filters]
            assert isinstance(added, SaidOnce)
            # A failure each quarter of an hour is one that goes on.
            assert added._quiet == 2700
    finally:
        say_failures_as_ever()
    assert {name: logging.getLogger(name).filters for name in (HTTP, GRPC)} == before


# --- The last export --------------------------------------------------------------------------------------------------


class Retrying(MetricExporter):
    """Tries until it is shut down, as an exporter does that nobody answers."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()
        self.was_cut_short = False

    def export(self, metrics_data: object, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:  # noqa: ARG002 - the SDK's own names
        # Longer than the patience of the test, shorter than for ever.
        self.was_cut_short = self.told.wait(60)
        return MetricExportResult.FAILURE

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ARG002 - the SDK's own names
        self.told.set()

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002 - the SDK's own names
        return True


@pytest.fixture
def exporter() -> Retrying:
    return Retrying()


@pytest.fixture
def provider(exporter: Retrying, monkeypatch: pytest.MonkeyPatch) -> Iterator[MeterProvider]:
    for name in ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    provider = MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)])
    provider.get_meter("host").create_counter("things").add(1)
    yield provider
    exporter.told.set()
    if provider._atexit_handler is not None:
        provider.shutdown()


def test_where_nobody_listens_the_last_export_ends_before_its_retries_do(
    provider: MeterProvider, exporter: Retrying
) -> None:
    LastExport(provider, is_ours=lambda: True, is_answered=lambda _environment: False).send()
    assert exporter.told.is_set()
    for thread in threading.enumerate():
        if thread.name == "OtelPeriodicExportingMetricReader":
            thread.join(30)
    assert exporter.was_cut_short
    assert provider._atexit_handler is None


def test_where_exports_have_failed_it_ends_early_too(provider: MeterProvider, exporter: Retrying) -> None:
    say_failures_once({})
    try:
        logging.getLogger(HTTP).error(FAILED, 503, "full")
        LastExport(provider, is_ours=lambda: True, is_answered=lambda _environment: True).send()
    finally:
        say_failures_as_ever()
    assert exporter.told.is_set()


@pytest.mark.parametrize("reason", ["nothing of ours", "answered", "a timeout of the user's"])
def test_otherwise_the_provider_is_left_to_the_sdk(
    provider: MeterProvider, exporter: Retrying, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason == "a timeout of the user's":
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "5")
    is_ours, answered = reason != "nothing of ours", reason == "answered"
    LastExport(provider, is_ours=lambda: is_ours, is_answered=lambda _environment: answered).send()
    assert not exporter.told.is_set()
    assert provider._atexit_handler is not None


def test_a_provider_that_the_program_ends_itself_is_not_ended_by_us(exporter: Retrying) -> None:
    provider = MeterProvider([PeriodicExportingMetricReader(exporter)], shutdown_on_exit=False)
    LastExport(provider, is_ours=lambda: True, is_answered=lambda _environment: False).send()
    assert not exporter.told.is_set()
    exporter.told.set()
    provider.shutdown()


def test_a_provider_that_raises_and_one_that_is_none_are_no_matter() -> None:
    class Broken:
        _atexit_handler = "there"

        def shutdown(self, **_kwargs: object) -> None:
            raise RuntimeError("mine")

    for odd in (Broken(), object()):
        LastExport(odd, is_ours=lambda: True, is_answered=lambda _environment: False).send()  # type: ignore[arg-type]
