"""`watch` from within: what it says, what it tells, and what it does where its source or its receiver fails."""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from tests.reconciled import reconciliation, row

from realtime_spend.telemetry_pipe import Delivery, Pipe, exporter_of, instance_of, pipe_of
from realtime_spend.watching import Emission, Ended, Watch, ending_on_signals, said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_spend.core.reconciliation.drift import Reconciliation

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
SETTLED = date(2026, 11, 20)


class Opened:
    """Pipes into memory, all of them kept."""

    def __init__(self) -> None:
        self.readers: list[InMemoryMetricReader] = []

    def open(self) -> Pipe:
        reader = InMemoryMetricReader()
        self.readers.append(reader)
        return Pipe(provider=MeterProvider([reader], shutdown_on_exit=False), delivery=Delivery(arrived=True))

    def billed(self) -> list[float]:
        """What the pipe that was opened last says that the days were billed."""
        data = self.readers[-1].get_metrics_data()
        assert data is not None
        metrics = data.resource_metrics[0].scope_metrics[0].metrics
        (points,) = [metric.data.data_points for metric in metrics if metric.name == "realtime_spend.billed.cost"]
        return [point.value for point in points if hasattr(point, "value")]


class Source:
    """Answers with what it is given, in turn; what is an exception is raised."""

    def __init__(self, *answers: Reconciliation | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[datetime] = []

    def __call__(self, at: datetime) -> Reconciliation:
        self.asked.append(at)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def billed(amount: str, currency: str = "USD") -> Reconciliation:
    return reconciliation(row(SETTLED, estimated="1", billed=amount), currency=currency)


@pytest.fixture
def opened() -> Opened:
    return Opened()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def emission(opened: Opened) -> Iterator[Emission]:
    emission = Emission(opened.open)
    yield emission
    emission.end()


def watch_of(source: Source, emission: Emission, told: list[str], step: timedelta = timedelta(hours=1)) -> Watch:
    instants = iter(START + number * step for number in range(100))
    return Watch(ask=source, emission=emission, clock=lambda: next(instants), tell=told.append)


def test_each_look_replaces_what_was_said(opened: Opened, emission: Emission, told: list[str]) -> None:
    watching = watch_of(Source(billed("1"), billed("1.25")), emission, told)
    watching.look()
    assert opened.billed() == [1]
    watching.look()
    assert opened.billed() == [1.25]
    assert (told, len(opened.readers)) == ([], 1)


def test_a_source_that_fails_is_told_once_and_what_was_read_is_said_on(
    opened: Opened, emission: Emission, told: list[str]
) -> None:
    failures = [
        ValueError("there is no bill at ./bill; give a file"),
        ValueError("there is no bill at ./bill; give a file"),
    ]
    watching = watch_of(Source(billed("3"), *failures, billed("4")), emission, told)
    assert watching.look() is not None
    assert watching.look() is None
    assert watching.look() is None
    assert opened.billed() == [3]
    (sentence,) = told
    assert sentence.startswith("there is no bill at ./bill; give a file (what was read at 2026-11-22 10:00 UTC stays;")
    assert sentence.endswith("; tried again every 1h; said once)")
    watching.look()
    assert (opened.billed(), told[1:]) == ([4], ["the bill is read again"])


def test_failures_of_two_kinds_are_told_each_and_those_that_differ_in_a_number_are_one(
    emission: Emission, told: list[str]
) -> None:
    failures = [
        ValueError("row 17 is cut"),
        ValueError("row 18 is cut"),
        RuntimeError("no more memory"),
        OSError("gone"),
    ]
    watching = watch_of(Source(*failures), emission, told)
    for _ in failures:
        assert watching.look() is None
    assert [sentence.partition(" (")[0] for sentence in told] == [
        "row 17 is cut",
        "RuntimeError: no more memory",
        "gone",
    ]
    assert all("nothing was read yet" in sentence for sentence in told)


def test_a_failure_that_comes_back_is_told_again(emission: Emission, told: list[str]) -> None:
    watching = watch_of(Source(ValueError("gone"), billed("1"), ValueError("gone")), emission, told)
    for _ in range(3):
        watching.look()
    assert [sentence.partition(" (")[0] for sentence in told] == ["gone", "the bill is read again", "gone"]


def test_money_that_nobody_converts_is_told_once(emission: Emission, told: list[str]) -> None:
    watching = watch_of(Source(billed("1", "EUR"), billed("1", "EUR")), emission, told)
    watching.look()
    watching.look()
    assert len(told) == 1
    assert told[0].endswith("their money is left out; give --fx EUR=...")


def test_each_utc_day_has_a_pipe_of_its_own_since_the_sdk_forgets_no_series(
    opened: Opened, emission: Emission, told: list[str]
) -> None:
    watching = watch_of(Source(*[billed(str(number)) for number in range(4)]), emission, told, timedelta(hours=8))
    for _ in range(4):
        watching.look()
    # 10:00, 18:00, then 02:00 and 10:00 of the next day.
    assert len(opened.readers) == 2
    assert opened.billed() == [3]


def test_it_looks_until_it_is_stopped(emission: Emission, told: list[str]) -> None:
    stop = threading.Event()
    source = Source(billed("1"), billed("2"), billed("3"))

    def last(sentence: str) -> None:
        told.append(sentence)
        stop.set()

    watching = watch_of(source, emission, told)
    watching.every, watching.tell = timedelta(milliseconds=1), last
    source.answers.append(ValueError("no more"))
    watching.run(stop)
    assert len(source.asked) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_even_while_it_waits(number: signal.Signals) -> None:
    def wait() -> None:
        with ending_on_signals():
            os.kill(os.getpid(), number)
            threading.Event().wait(30)

    before = signal.getsignal(number)
    with pytest.raises(Ended):
        wait()
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(days=2), "2d"),
        (timedelta(hours=1), "1h"),
        (timedelta(minutes=90), "90m"),
        (timedelta(seconds=61), "61s"),
    ],
)
def test_a_duration_is_said_as_it_is_given(duration: timedelta, text: str) -> None:
    assert said(duration) == text


# --- The way out ------------------------------------------------------------------------------------------------------


def test_the_id_is_that_of_the_question_and_not_of_the_process() -> None:
    assert instance_of("ledger", None, "bill.csv") == instance_of("ledger", None, "bill.csv")
    assert instance_of("ledger", None, "bill.csv") != instance_of("ledger", None, "other.csv")


@pytest.fixture
def quiet_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    # Nobody listens there, and one attempt is enough to know.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "3600000")


def resource(environment: dict[str, str]) -> dict[str, Any]:
    pipe = pipe_of(environment, service="reconciler", instance="of-the-question")
    attributes = dict(pipe.provider._sdk_config.resource.attributes)
    pipe.provider.shutdown(1_000)
    return attributes


@pytest.mark.usefixtures("quiet_exports")
def test_the_resource_is_ours_unless_the_environment_names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    http = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    ours = resource(http)
    assert (ours["service.name"], ours["service.instance.id"]) == ("reconciler", "of-the-question")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod-7,service.name=mine")
    theirs = resource(http)
    assert (theirs["service.name"], theirs["service.instance.id"]) == ("mine", "pod-7")


@pytest.mark.usefixtures("quiet_exports")
def test_an_export_that_nobody_takes_in_has_not_arrived() -> None:
    emission = Emission(
        lambda: pipe_of({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, service="reconciler", instance="one")
    )
    emission.say(billed("1"), at=START, days=35, fx={"USD": Decimal(1)})
    assert emission.arrived is False
    emission.end()


@pytest.mark.parametrize(
    ("environment", "module"),
    [
        ({}, "grpc"),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, "grpc"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "http"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf"}, "http"),
        ({"OTEL_METRICS_EXPORTER": "otlp_proto_http"}, "http"),
    ],
)
def test_the_exporter_is_the_one_that_the_environment_names(environment: dict[str, str], module: str) -> None:
    exporter: Any = exporter_of(environment)
    assert exporter.__module__.startswith(f"opentelemetry.exporter.otlp.proto.{module}.")


def test_an_exporter_that_is_not_installed_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="OTEL_METRICS_EXPORTER=carrier_pigeon is no exporter that is installed"):
        exporter_of({"OTEL_METRICS_EXPORTER": "carrier_pigeon"})
    monkeypatch.setattr(sys.modules["realtime_spend.telemetry_pipe"].metadata, "entry_points", lambda **_of: ())
    with pytest.raises(ValueError, match=r"pip install 'realtime-spend\[otlp\]'"):
        exporter_of({})
