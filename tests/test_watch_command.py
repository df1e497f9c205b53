"""`realtime-spend watch` on a ledger and saved bills, as a program that exports to a receiver of this machine."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from tests.counted_and_billed import DAY, TOKENS, watching, write_bill, write_ledger

from realtime_spend.demo.receiver import taking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from tests.conftest import Run

T = TypeVar("T")
PATIENCE_SECONDS = 60.0


@dataclass(slots=True)
class Received:
    """What has arrived: of each export the values of all gauges, by metric and day."""

    exports: list[dict[str, dict[str, float]]] = field(default_factory=list)
    resources: set[tuple[str, str]] = field(default_factory=set)

    def take(self, request: ExportMetricsServiceRequest) -> None:
        values: dict[str, dict[str, float]] = {}
        for of_resource in request.resource_metrics:
            attributes = {pair.key: pair.value.string_value for pair in of_resource.resource.attributes}
            self.resources.add((attributes["service.name"], attributes["service.instance.id"]))
            for of_scope in of_resource.scope_metrics:
                for metric in of_scope.metrics:
                    for point in metric.gauge.data_points:
                        day = {pair.key: pair.value.string_value for pair in point.attributes}.get(
                            "realtime_spend.day", ""
                        )
                        values.setdefault(metric.name, {})[day] = point.as_double
        self.exports.append(values)

    def newest(self, metric: str) -> dict[str, float]:
        return self.exports[-1].get(metric, {}) if self.exports else {}


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    received = Received()
    with taking(received.take) as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
        yield received


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return write_ledger(tmp_path / "ledger")


# --- Once -------------------------------------------------------------------------------------------------------------


def test_once_says_what_it_found_and_has_the_status_of_the_answer(
    run: Run, receiver: Received, ledger: Path, tmp_path: Path
) -> None:
    clean = write_bill(tmp_path / "clean.json", TOKENS)
    answer = run("watch", "--ledger", ledger, "--bill", clean, "--once")
    assert (answer.status, answer.out) == (0, "")
    assert "billed 64.00 USD, drift 0.00 USD" in answer.err
    assert receiver.newest("realtime_spend.billed.cost") == {f"{DAY}": 64}
    assert receiver.newest("realtime_spend.estimated.cost") == {f"{DAY}": 64}
    assert receiver.newest("realtime_spend.drift.ratio") == {"": 0}
    assert {service for service, _ in receiver.resources} == {"realtime-spend-reconciler"}


def test_once_beyond_the_tolerance_is_status_1(run: Run, receiver: Received, ledger: Path, tmp_path: Path) -> None:
    drifting = write_bill(tmp_path / "drifting.json", TOKENS * 12 // 10)
    answer = run("watch", "--ledger", ledger, "--bill", drifting, "--once")
    assert answer.status == 1
    # Of the 76.80 that were billed.
    assert receiver.newest("realtime_spend.drift.ratio") == {"": pytest.approx(12.8 / 76.8)}
    assert run("watch", "--ledger", ledger, "--bill", drifting, "--once", "--tolerance", "20%").status == 0


def test_once_takes_days_that_are_not_said_any_more_for_nothing(
    run: Run, receiver: Received, ledger: Path, tmp_path: Path
) -> None:
    drifting = write_bill(tmp_path / "drifting.json", TOKENS * 2)
    answer = run("watch", "--ledger", ledger, "--bill", drifting, "--once", "--days", 3)
    assert (answer.status, receiver.exports) == (0, [])
    assert "no day of the last 3 is on the bill" in answer.err


def test_once_without_a_bill_is_status_2_and_says_what_to_do(
    run: Run, receiver: Received, ledger: Path, tmp_path: Path
) -> None:
    answer = run("watch", "--ledger", ledger, "--bill", tmp_path / "absent", "--once")
    assert (answer.status, receiver.exports) == (2, [])
    assert "there is no bill at" in answer.err


@pytest.mark.usefixtures("receiver")
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_once_with_nobody_to_tell_is_status_2_and_one_sentence(
    run: Run, ledger: Path, tmp_path: Path, protocol: str
) -> None:
    bill = write_bill(tmp_path / "bill.json", TOKENS)
    answer = run(
        *("watch", "--ledger", ledger, "--bill", bill, "--once"),
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        # Long enough for a second try: only with one to come is the reason of the first logged.
        OTEL_EXPORTER_OTLP_TIMEOUT="3",
    )
    assert answer.status == 2
    found, sentence = answer.err.splitlines()
    assert "billed 64.00 USD" in found
    assert sentence.startswith("Error: nobody took the gauges (")
    assert "Connection refused" in sentence or "UNAVAILABLE" in sentence
    assert sentence.endswith("; start a collector, or set OTEL_EXPORTER_OTLP_ENDPOINT to where it is")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--every", "soon"], "is no time span; write 90s, 15m, 1h or 1d"),
        (["--every", "0s"], "is no time span"),
        (["--prometheus", "http://127.0.0.1:9"], "--ledger and --prometheus are both given"),
        (["--days", "2"], "--days"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(
    run: Run, ledger: Path, tmp_path: Path, options: list[str], complaint: str
) -> None:
    answer = run("watch", "--ledger", ledger, "--bill", tmp_path, "--once", *options)
    assert (answer.status, answer.out) == (2, "")
    assert complaint in " ".join(answer.err.split())


def test_without_an_estimate_it_is_refused(run: Run, tmp_path: Path) -> None:
    answer = run("watch", "--bill", tmp_path, "--once")
    assert (answer.status, "either --ledger DIR or --prometheus URL" in answer.err) == (2, True)


# --- For ever ---------------------------------------------------------------------------------------------------------


def wait_for(probe: Callable[[], T | None], *, what: str) -> T:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (answer := probe()) is None:
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE_SECONDS:.0f} s in vain for {what}")
        time.sleep(0.05)
    return answer


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_survives_a_bill_that_is_away_says_restated_days_anew_and_ends_well(
    receiver: Received, ledger: Path, tmp_path: Path, number: signal.Signals
) -> None:
    bill, log = tmp_path / "bill.json", tmp_path / "log"

    def is_billed(amount: float) -> Callable[[], Any]:
        return lambda: receiver.newest("realtime_spend.billed.cost").get(f"{DAY}") == pytest.approx(amount) or None

    with watching("--ledger", ledger, "--bill", bill, "--every", "1s", log=log) as process:
        wait_for(lambda: "there is no bill at" in log.read_text() or None, what="the missing bill to be told")
        write_bill(bill, TOKENS)
        wait_for(is_billed(64), what="the bill to be read")
        write_bill(bill, TOKENS * 12 // 10)
        wait_for(is_billed(76.8), what="the restated bill to be read")
        bill.unlink()
        told = wait_for(
            lambda: found[0] if (found := said_on(log.read_text())) else None, what="the bill that is gone to be told"
        )
        exports = len(receiver.exports)
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert "UTC stays; tried again every 1s" in told
    assert log.read_text().count("nothing was read yet") == 1
    # The last word, once more.
    assert len(receiver.exports) == exports + 1
    assert is_billed(76.8)()
    # One question, one identity, however often it is asked.
    assert len(receiver.resources) == 1


def said_on(log: str) -> list[str]:
    return [line for line in log.splitlines() if "UTC stays" in line]
