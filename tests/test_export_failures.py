"""Which of an exporter's log records pass."""

from __future__ import annotations

import logging

import pytest

from realtime_spend.export_failures import SaidOnce, say_failures_as_ever, say_failures_once

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


def test_a_failure_may_be_said_by_whoever_asks_and_by_no_record(clock: Clock) -> None:
    kept = SaidOnce(600, clock, note=None)
    transient = "Transient error %s encountered while exporting metrics batch, retrying in %.2fs."
    assert not kept.filter(record(transient, "Refused", 1.03))
    assert not kept.filter(record("Failed to export metrics batch due to timeout"))
    assert kept.why == "Transient error Refused encountered while exporting metrics batch"
    assert kept.filter(record("Failed to export %s to %s", "traces", "collector", name=GRPC))


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
