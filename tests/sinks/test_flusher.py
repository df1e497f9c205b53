from __future__ import annotations

import logging
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.metrics import NoOpMeterProvider

from realtime_spend.sinks import flusher as module
from realtime_spend.sinks.flusher import Flusher

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def settles_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SETTLE_SECONDS", 0.05)


class Provider(NoOpMeterProvider):
    """Counts its flushes, and does in them what a test says."""

    def __init__(self, during: Callable[[], object] = lambda: None) -> None:
        self.flushes = 0
        self.timeouts: list[float] = []
        self._during = during

    def force_flush(self, timeout_millis: float = 0) -> bool:
        self.flushes += 1
        self.timeouts.append(timeout_millis)
        self._during()
        return True


@pytest.fixture
def settles_never(monkeypatch: pytest.MonkeyPatch, settles_quickly: None) -> None:  # noqa: ARG001 - instead of it
    """Whatever a test does, it does before a flush begins."""
    monkeypatch.setattr(module, "_SETTLE_SECONDS", 3_600)


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "realtime-spend-flush"]


def _wait_until_idle() -> None:
    deadline = time.monotonic() + 30
    while _threads():
        assert time.monotonic() < deadline, "the flushing thread does not end"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def no_thread_of_an_earlier_test_is_counted() -> None:
    _wait_until_idle()


def test_requests_that_come_together_make_one_flush() -> None:
    provider = Provider()
    flusher = Flusher(provider)
    # However slow this thread is: until all have come, the other one cannot serve the first.
    with flusher._lock:
        for _ in range(50):
            flusher.request()
        assert len(_threads()) == 1
        assert _threads()[0].daemon
    _wait_until_idle()
    assert provider.flushes == 1
    assert provider.timeouts[0] > 0


def test_a_request_during_a_flush_is_served_by_another_one() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(30)

    provider = Provider(wait)
    flusher = Flusher(provider)
    flusher.request()
    assert begun.wait(30)
    flusher.request()
    go_on.set()
    _wait_until_idle()
    assert provider.flushes == 2


def test_a_request_never_waits_for_a_flush_that_hangs() -> None:
    begun, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go_on.wait(30)
        over.set()

    flusher = Flusher(Provider(hang))
    flusher.request()
    assert begun.wait(30)
    for _ in range(100):
        flusher.request()
    assert not over.is_set()
    go_on.set()
    _wait_until_idle()


def test_after_the_thread_has_ended_a_request_starts_another() -> None:
    provider = Provider()
    flusher = Flusher(provider)
    for expected in (1, 2):
        flusher.request()
        _wait_until_idle()
        assert provider.flushes == expected


def test_a_provider_that_cannot_flush_is_left_alone() -> None:
    provider = NoOpMeterProvider()
    assert not hasattr(provider, "force_flush")
    Flusher(provider).request()
    _wait_until_idle()


def test_a_flush_that_fails_harms_nobody_and_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise OSError("no route to the collector")

    provider = Provider(fail)
    flusher = Flusher(provider)
    with caplog.at_level(logging.DEBUG, "realtime_spend"):
        flusher.request()
        _wait_until_idle()
        flusher.request()
        _wait_until_idle()
    assert provider.flushes == 2
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


def test_what_the_exporter_does_in_a_flush_is_not_instrumented() -> None:
    enabled: list[bool] = []
    provider = Provider(lambda: enabled.append(is_instrumentation_enabled()))
    Flusher(provider).request()
    _wait_until_idle()
    assert enabled == [False]
    assert is_instrumentation_enabled()


@pytest.mark.usefixtures("settles_never")
def test_a_stopped_flusher_begins_no_flush_any_more() -> None:
    provider = Provider()
    flusher = Flusher(provider)
    flusher.request()
    flusher.stop()
    _wait_until_idle()
    flusher.request()
    assert _threads() == []
    assert provider.flushes == 0


@pytest.mark.usefixtures("settles_never")
def test_a_forked_child_flushes_again_although_its_parent_had_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider()
    flusher = Flusher(provider)
    flusher.request()
    flusher.stop()
    _wait_until_idle()
    monkeypatch.setattr(module, "_SETTLE_SECONDS", 0.05)
    flusher.begin_anew()
    flusher.request()
    _wait_until_idle()
    assert provider.flushes == 1


def test_when_no_thread_can_be_started_a_later_request_is_served_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider()
    flusher = Flusher(provider)

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            flusher.request()
    flusher.request()
    _wait_until_idle()
    assert provider.flushes == 1


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, None),
        ({"OTEL_METRICS_EXPORTER": "console"}, None),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, ("localhost", 4317)),
        ({"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, ("localhost", 4318)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, ("collector", 4318)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector/otlp"}, ("collector", 443)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, ("collector", 4317)),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1",
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://b:2/v1/metrics",
            },
            ("b", 2),
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "https_proxy": "http://proxy:3128"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:notaport"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http:///v1"}, None),
    ],
)
def test_where_otlp_goes_is_read_as_the_exporters_read_it(
    environment: dict[str, str], address: tuple[str, int] | None
) -> None:
    assert module._otlp_address(environment) == address


def test_a_flush_is_begun_only_where_somebody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert module.is_answered({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"})
    assert not module.is_answered({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"})
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    provider = Provider()
    Flusher(provider).request()
    _wait_until_idle()
    assert provider.flushes == 0


def test_an_endpoint_that_cannot_even_be_looked_up_does_not_end_the_thread_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector..svc:4318")
    provider = Provider()
    flushes = Flusher(provider)
    flushes.request()
    _wait_until_idle()
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    flushes.request()
    _wait_until_idle()
    assert provider.flushes == 1
