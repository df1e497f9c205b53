"""A process that cannot be told from another in the metrics says so once, and what to do; the others say nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from realtime_spend import RealtimeInstrumentor
from realtime_spend.containment import Containment
from realtime_spend.identity import Identity
from realtime_spend.observing import RUNNING
from realtime_spend.simulator import SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Environment

PATIENCE = 60.0
MISSING = "have no service.instance.id"
SHARED = "have the service.instance.id of the process that forked it"
OLDEST_WITH_WEBSOCKETS = "websockets==15.0.1"
PROMETHEUS = "opentelemetry-exporter-prometheus==0.59b0"
# 1.38 gives no process an id, 1.43 gives a forked child that of its parent, 1.44 renews it.
SDKS = {
    "1.38": ("opentelemetry-sdk==1.38.0", "opentelemetry-instrumentation==0.59b0"),
    "1.43": ("opentelemetry-sdk==1.43.0", "opentelemetry-instrumentation==0.64b0"),
    "1.44": ("opentelemetry-sdk==1.44.0", "opentelemetry-instrumentation==0.65b0"),
}
# Sessions in this process, then in a forked child of it, which hands over what it logged.
PROGRAM = """\
import json, logging, os, sys

from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from websockets.sync.client import connect

from realtime_spend import RealtimeInstrumentor, observe_server_event

url, provider_comes, parent_talks, by, readers = sys.argv[1:]
logged = []


class Kept(logging.Handler):
    def emit(self, record):
        logged.append(record.getMessage())


logging.getLogger("realtime_spend").addHandler(Kept())


def talk():
    for number in range(2):
        if by == "forwarding":
            observe_server_event({"type": "session.created"}, session=f"call-{number}", url=url)
            continue
        with connect(url, proxy=None) as connection:
            connection.recv(10)


def reader(kind):
    if kind == "scraped":
        from opentelemetry.exporter.prometheus import PrometheusMetricReader

        return PrometheusMetricReader()
    return InMemoryMetricReader()


def provide():
    set_meter_provider(MeterProvider([reader(kind) for kind in readers.split("+")], shutdown_on_exit=False))


if provider_comes == "first":
    provide()
RealtimeInstrumentor().instrument()
if provider_comes == "later":
    provide()
if parent_talks == "yes":
    talk()
by_parent = list(logged)
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    logged.clear()
    talk()
    os.write(writing, json.dumps(logged).encode())
    os._exit(0)
os.close(writing)
with os.fdopen(reading, "rb") as told:
    by_child = json.loads(told.read())
assert os.waitpid(child, 0)[1] == 0
print(json.dumps({"parent": by_parent, "child": by_child}))
"""


@dataclass(frozen=True, kw_only=True)
class Logged:
    parent: list[str]
    child: list[str]


@pytest.fixture
def run() -> Callable[..., Logged]:
    def go(
        python: Path,
        *,
        provider: str = "first",
        parent_talks: bool = True,
        by: str = "socket",
        readers: str = "pushed",
        **variables: str,
    ) -> Logged:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "REALTIME_"))}
        with run_in_thread(SimulatorOptions(seed=5)) as simulator:
            url = f"ws://127.0.0.1:{simulator.port}/v1/realtime?model=gpt-realtime"
            ran = subprocess.run(
                [python, "-c", PROGRAM, url, provider, "yes" if parent_talks else "no", by, readers],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
                env={**kept, **variables},
            )
        assert ran.returncode == 0, ran.stderr
        return Logged(**json.loads(ran.stdout))

    return go


@pytest.mark.timeout(900)
@pytest.mark.parametrize("provider", ["first", "later"])
def test_an_sdk_that_gives_no_id_is_told_of_once(
    environment: Environment, run: Callable[..., Logged], provider: str
) -> None:
    python = environment(*SDKS["1.38"], OLDEST_WITH_WEBSOCKETS)
    logged = run(python, provider=provider)
    [said] = logged.parent
    assert MISSING in said
    assert "OTEL_RESOURCE_ATTRIBUTES=service.instance.id=" in said
    # What the parent has said need not be said by each of its children.
    assert logged.child == []


@pytest.mark.timeout(900)
def test_a_session_whose_events_are_forwarded_is_one(environment: Environment, run: Callable[..., Logged]) -> None:
    [said] = run(environment(*SDKS["1.38"], OLDEST_WITH_WEBSOCKETS), by="forwarding").parent
    assert MISSING in said
    [said] = run(environment(*SDKS["1.43"], OLDEST_WITH_WEBSOCKETS), by="forwarding", parent_talks=False).child
    assert SHARED in said


@pytest.mark.timeout(900)
@pytest.mark.parametrize("provider", ["first", "later"])
def test_a_process_whose_metrics_are_scraped_needs_no_id(
    environment: Environment, run: Callable[..., Logged], provider: str
) -> None:
    """Prometheus tells such processes apart by the address that it asks; but what is pushed as well has need of one."""
    python = environment(*SDKS["1.38"], OLDEST_WITH_WEBSOCKETS, PROMETHEUS)
    assert run(python, provider=provider, readers="scraped") == Logged(parent=[], child=[])
    [said] = run(python, provider=provider, readers="scraped+pushed").parent
    assert MISSING in said


@pytest.mark.timeout(900)
@pytest.mark.parametrize("provider", ["first", "later"])
@pytest.mark.parametrize("parent_talks", [True, False])
def test_a_forked_child_with_its_parents_id_is_told_of_once(
    environment: Environment, run: Callable[..., Logged], provider: str, *, parent_talks: bool
) -> None:
    python = environment(*SDKS["1.43"], OLDEST_WITH_WEBSOCKETS)
    logged = run(python, provider=provider, parent_talks=parent_talks)
    assert logged.parent == []
    [said] = logged.child
    assert SHARED in said
    assert "opentelemetry-sdk 1.44 or newer" in said


@pytest.mark.timeout(900)
def test_an_sdk_that_renews_the_id_leaves_nothing_to_say(environment: Environment, run: Callable[..., Logged]) -> None:
    for python in (environment(*SDKS["1.44"], OLDEST_WITH_WEBSOCKETS), Path(sys.executable)):
        assert run(python) == Logged(parent=[], child=[])


@pytest.mark.timeout(900)
def test_an_id_from_the_environment_is_one_and_a_child_shares_it(
    environment: Environment, run: Callable[..., Logged]
) -> None:
    python = environment(*SDKS["1.38"], OLDEST_WITH_WEBSOCKETS)
    logged = run(python, OTEL_RESOURCE_ATTRIBUTES="service.instance.id=pod-7")
    assert logged.parent == []
    [said] = logged.child
    assert SHARED in said


# --- Providers of all kinds -------------------------------------------------------------------------------------------


@pytest.fixture
def without_id() -> Iterator[MeterProvider]:
    provider = MeterProvider([InMemoryMetricReader()], resource=Resource({}), shutdown_on_exit=False)
    yield provider
    provider.shutdown()


def look(provider: Any, caplog: pytest.LogCaptureFixture) -> list[str]:
    Identity(provider, Containment(lambda _kind: None)).check()
    return [record.getMessage() for record in caplog.records]


def test_an_empty_id_is_none(caplog: pytest.LogCaptureFixture) -> None:
    resource = Resource({"service.instance.id": ""})
    provider = MeterProvider([InMemoryMetricReader()], resource=resource, shutdown_on_exit=False)
    [said] = look(provider, caplog)
    assert MISSING in said
    provider.shutdown()


def test_a_provider_that_exports_nothing_needs_no_id(caplog: pytest.LogCaptureFixture) -> None:
    assert look(MeterProvider(resource=Resource({}), shutdown_on_exit=False), caplog) == []


@pytest.mark.parametrize("provider", [object(), SimpleNamespace(resource=None), SimpleNamespace(_sdk_config=7)])
def test_a_provider_that_does_not_tell_is_left_in_peace(provider: object, caplog: pytest.LogCaptureFixture) -> None:
    assert look(provider, caplog) == []


def test_a_provider_that_raises_costs_the_program_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        @property
        def resource(self) -> object:
            raise RuntimeError("mine")

    monkeypatch.setattr(Containment, "reraise", False)
    [said] = look(Broken(), caplog)
    assert "an error of ours while looking at the instance id" in said
    assert "mine" not in said


def test_only_a_session_makes_it_look(without_id: MeterProvider, caplog: pytest.LogCaptureFixture) -> None:
    RealtimeInstrumentor().instrument(meter_provider=without_id)
    try:
        [observing] = RUNNING

        def found(path: str) -> bool:
            return observing(library="websockets", host="example.com", port=None, path=path, query="") is not None

        assert not found("/")
        assert caplog.records == []
        assert found("/v1/realtime")
        [said] = [record.getMessage() for record in caplog.records]
        assert MISSING in said
    finally:
        RealtimeInstrumentor().uninstrument()
