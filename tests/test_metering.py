from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from opentelemetry import baggage, context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.metrics import MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from tests.forked import forks, in_a_child
from tests.known_usage import mtok
from websockets.asyncio.server import ServerConnection, serve

from realtime_spend import RealtimeInstrumentor, attributed
from realtime_spend.containment import Containment
from realtime_spend.core.endpoints import recognise
from realtime_spend.core.naming import Naming
from realtime_spend.metering import Metering
from realtime_spend.observing import RUNNING
from realtime_spend.rate_cards import load_book
from realtime_spend.sinks.flusher import Flusher
from realtime_spend.sinks.metrics import metrics_of
from realtime_spend.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_OPENAI = "/v1/realtime?model=gpt-realtime"
_AZURE = "/openai/realtime?api-version=2025-04-01-preview&deployment=voice-prod"
_USAGES = "realtime_spend.usages"
_COST = "realtime_spend.cost"
_ACTIVE = "realtime_spend.session.active"
_ERRORS = "realtime_spend.errors"
_INPUT = "gen_ai.client.inference.usage.input_tokens"
_OUTPUT = "gen_ai.client.inference.usage.output_tokens"
_SAID = "gen_ai.response.model"


def _session(model: str = "gpt-realtime", transcription: str | None = None, session_id: str = "sess_1") -> Any:
    session: dict[str, Any] = {"id": session_id, "model": model}
    if transcription:
        session["audio"] = {"input": {"transcription": {"model": transcription}}}
    return {"type": "session.created", "session": session}


_TEXT: dict[str, Any] = {
    "total_tokens": 300,
    "input_tokens": 200,
    "output_tokens": 100,
    "input_token_details": {"text_tokens": 200},
    "output_token_details": {"audio_tokens": 100},
}
_TEXT_COST = mtok("4", 200) + mtok("64", 100)


def _created(number: int = 1) -> Any:
    return {"type": "response.created", "response": {"id": f"resp_{number}", "status": "in_progress"}}


def _done(number: int = 1, usage: Any = _TEXT, status: str = "completed") -> Any:
    return {"type": "response.done", "response": {"id": f"resp_{number}", "status": status, "usage": usage}}


def _transcribed(usage: Any, item: str = "item_1") -> Any:
    kind = "conversation.item.input_audio_transcription.completed"
    return {"type": kind, "item_id": item, "content_index": 0, "usage": usage}


class Service:
    """A Realtime server of few words: it sends each client the same script and waits wherever that holds an Event."""

    def __init__(self) -> None:
        self.script: list[Any] = []
        self.port = 0

    async def serve(self, socket: ServerConnection) -> None:
        for step in self.script:
            if isinstance(step, asyncio.Event):
                ends = [asyncio.ensure_future(step.wait()), asyncio.ensure_future(socket.wait_closed())]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for end in ends:
                    end.cancel()
            else:
                await socket.send(step if isinstance(step, str) else json.dumps(step))
        await socket.wait_closed()

    @asynccontextmanager
    async def connected(self, *script: Any, path: str = _OPENAI) -> AsyncIterator[websockets.ClientConnection]:
        self.script = list(script)
        async with websockets.connect(f"ws://127.0.0.1:{self.port}{path}", proxy=None) as socket:
            yield socket

    async def talk(self, *script: Any, path: str = _OPENAI) -> list[Any]:
        """Connect, receive the whole script and close; return what the client got."""
        async with self.connected(*script, path=path) as socket:
            return [await asyncio.wait_for(socket.recv(), 5) for _ in script]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    async with serve(service.serve, "127.0.0.1", 0) as server:
        service.port = next(iter(server.sockets)).getsockname()[1]
        yield service


@pytest.fixture
def instrument(provider: MeterProvider) -> Callable[..., None]:
    def start(**settings: Any) -> None:
        RealtimeInstrumentor().instrument(meter_provider=provider, **settings)

    return start


def _records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text().splitlines() if line]


def _ids_by_file(folder: Path) -> list[list[str]]:
    return sorted([json.loads(line)["id"] for line in path.read_text().splitlines()] for path in folder.iterdir())


async def _until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be so"
        await asyncio.sleep(0.005)


# What is emitted


_COMMON = {
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "realtime_spend.account",
    "realtime_spend.model",
    "realtime_spend.version",
    "realtime_spend.scope",
    "server.address",
    "server.port",
}
_MODALITY = {"gen_ai.token.modality"}
_OWN: dict[str, set[str]] = {
    _INPUT: _MODALITY,
    "gen_ai.client.inference.usage.cache_read.input_tokens": _MODALITY,
    _OUTPUT: _MODALITY,
    "gen_ai.client.inference.usage.reasoning.output_tokens": _MODALITY,
    _COST: _MODALITY | {"realtime_spend.component"},
    "realtime_spend.cost.uncertainty": set(),
    "realtime_spend.cache.savings": _MODALITY,
    "realtime_spend.billable.duration": set(),
    "realtime_spend.session.time": set(),
    _USAGES: {"realtime_spend.kind", "realtime_spend.status", "realtime_spend.usage"},
    "realtime_spend.unpriced": {"realtime_spend.reason"},
    "realtime_spend.duplicates": set(),
    _ERRORS: {"realtime_spend.kind"},
    "gen_ai.client.inference.operation.input_tokens": {"error.type"},
    "gen_ai.client.inference.operation.output_tokens": {"error.type"},
    "gen_ai.client.operation.duration": {"error.type"},
    "gen_ai.client.operation.time_to_first_chunk": {"error.type"},
    "realtime_spend.session.duration": set(),
    _ACTIVE: set(),
    "realtime_spend.time_to_first_audio": set(),
}
_RICH = {
    "total_tokens": 3_100,
    "input_tokens": 3_000,
    "output_tokens": 100,
    "input_token_details": {"text_tokens": 2_000, "audio_tokens": 1_000, "cached_tokens": 600},
    "output_token_details": {"text_tokens": 100, "reasoning_tokens": 60},
}


async def test_a_rich_session_emits_every_metric_of_the_contract_and_nothing_else(
    service: Service, instrument: Callable[..., None], seen: Any
) -> None:
    instrument(account="contoso")
    await service.talk(
        _session("gpt-realtime-2.1", "whisper-1"),
        {"type": "input_audio_buffer.speech_stopped", "item_id": "item_1"},
        {"type": "input_audio_buffer.committed", "item_id": "item_1"},
        _created(1),
        {"type": "response.output_audio.delta", "delta": "AAAA"},
        _done(1, _RICH),
        _done(1, _RICH),
        _transcribed({"type": "duration", "seconds": 9.3}),
        _created(2),
        _done(2, {"total_tokens": 5, "input_tokens": 5, "input_token_details": {"text_tokens": 5}}, "failed"),
        {"type": "session.updated", "session": {"model": "gpt-surprise"}},
        _done(3),
    )
    await _until(lambda: seen.points("realtime_spend.session.duration"))
    assert set(seen.metrics()) == set(_OWN)
    for name, own in _OWN.items():
        for attributes, _ in seen.points(name):
            assert set(attributes) <= _COMMON | own, name
            assert {type(value) for key, value in attributes.items() if key != "server.port"} == {str}
            assert type(attributes["server.port"]) is int
            assert attributes["server.address"] == "127.0.0.1"
            assert attributes["realtime_spend.account"] == "contoso"


async def test_a_session_is_counted_to_the_last_token_and_dollar(
    service: Service, instrument: Callable[..., None], seen: Any
) -> None:
    instrument()
    script = [_session("gpt-realtime-2025-08-28"), _created(), _done()]
    assert await service.talk(*script) == [json.dumps(event) for event in script]
    common = {
        "gen_ai.operation.name": "realtime_inference",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-realtime",
        "gen_ai.response.model": "gpt-realtime-2025-08-28",
        "realtime_spend.model": "gpt-realtime",
        "realtime_spend.version": "2025-08-28",
        "realtime_spend.scope": "global",
        "server.address": "127.0.0.1",
        "server.port": service.port,
    }
    counted = [point for point in seen.points(_COST) if point[1]]
    assert counted == [
        (
            {**common, "gen_ai.token.modality": "text", "realtime_spend.component": "input"},
            float(mtok("4", 200)),
        ),
        (
            {**common, "gen_ai.token.modality": "audio", "realtime_spend.component": "output"},
            float(mtok("64", 100)),
        ),
    ]
    assert seen.value(_INPUT, {"gen_ai.token.modality": "text"}) == 200
    assert seen.value(_OUTPUT, {"gen_ai.token.modality": "audio"}) == 100
    assert seen.points("gen_ai.client.inference.operation.input_tokens") == [(common, 200)]
    assert seen.points("gen_ai.client.inference.operation.output_tokens") == [(common, 100)]


async def test_a_transcription_is_counted_at_its_own_model(
    service: Service, instrument: Callable[..., None], seen: Any
) -> None:
    instrument()
    await service.talk(_session(transcription="whisper-1"), _transcribed({"type": "duration", "seconds": 9.3}))
    speech = {"gen_ai.operation.name": "speech_to_text", "realtime_spend.model": "whisper-1"}
    assert seen.value("realtime_spend.billable.duration", speech) == 9.3
    assert seen.value(_COST, speech) == float(Decimal("0.006") * Decimal("9.3") / 60)
    assert seen.value(_USAGES, {**speech, "realtime_spend.kind": "transcription"}) == 1


async def test_a_models_series_appear_with_zero_as_soon_as_a_session_event_names_it(
    service: Service, instrument: Callable[..., None], seen: Any
) -> None:
    instrument()
    async with service.connected(_session(transcription="whisper-1")) as socket:
        await socket.recv()
        assert seen.value(_COST, {"gen_ai.token.modality": "audio", "realtime_spend.component": "output"}) == 0.0
        assert seen.value(_COST, {"realtime_spend.model": "whisper-1"}) == 0.0
        assert seen.value(_INPUT, {"gen_ai.token.modality": "image"}) == 0
        assert {value for _, value in seen.points(_USAGES)} == {0}


async def test_an_open_session_is_counted_and_moves_to_the_model_that_it_is_told(
    service: Service, instrument: Callable[..., None], seen: Any
) -> None:
    instrument()
    named, renamed = asyncio.Event(), asyncio.Event()
    update = {"type": "session.updated", "session": {"model": "gpt-realtime-mini"}}
    async with service.connected(named, _session(), renamed, update) as socket:
        assert [(attributes.get(_SAID), value) for attributes, value in seen.points(_ACTIVE)] == [(None, 1)]
        named.set()
        await socket.recv()
        assert {attributes.get(_SAID): value for attributes, value in seen.points(_ACTIVE)} == {
            None: 0,
            "gpt-realtime": 1,
        }
        renamed.set()
        await socket.recv()
        assert seen.value(_ACTIVE, {_SAID: "gpt-realtime-mini"}) == 1
        async with service.connected(_session(session_id="sess_2")) as second:
            await second.recv()
            assert seen.value(_ACTIVE, {_SAID: "gpt-realtime"}) == 1
    await _until(lambda: {value for _, value in seen.points(_ACTIVE)} == {0})


async def test_a_failed_response_bears_its_error_on_the_histograms(
    service: Service, instrument: Callable[..., None], seen: Any
) -> None:
    instrument()
    await service.talk(_session(), _created(), _done(status="failed"))
    for name in ("operation.duration", "inference.operation.input_tokens", "inference.operation.output_tokens"):
        [(attributes, _)] = seen.points(f"gen_ai.client.{name}")
        assert attributes["error.type"] == "failed"
    assert seen.value(_USAGES, {"realtime_spend.status": "failed"}) == 1


async def test_a_response_that_was_cancelled_is_no_error(
    service: Service, instrument: Callable[..., None], seen: Any
) -> None:
    instrument()
    await service.talk(_session(), _created(), _done(status="cancelled"))
    [(attributes, _)] = seen.points("gen_ai.client.operation.duration")
    assert "error.type" not in attributes


async def test_a_response_without_usage_has_a_duration_and_no_tokens(
    service: Service, instrument: Callable[..., None], seen: Any
) -> None:
    instrument()
    await service.talk(_session(), _created(), _done(usage=None))
    assert seen.value(_USAGES, {"realtime_spend.usage": "missing"}) == 1
    assert seen.points("gen_ai.client.inference.operation.input_tokens") == []
    assert len(seen.points("gen_ai.client.operation.duration")) == 1


async def test_a_response_begun_and_never_finished_is_lost_when_the_socket_closes(
    service: Service, instrument: Callable[..., None], seen: Any, tmp_path: Path
) -> None:
    instrument(ledger=tmp_path)
    await service.talk(_session(), _created(7))
    await _until(lambda: _records(tmp_path))
    assert seen.value(_USAGES, {"realtime_spend.usage": "lost"}) == 1
    [record] = _records(tmp_path)
    assert (record["id"], record["usage"], record["quantities"], record["cost"]) == ("resp_7", "lost", {}, None)
    assert seen.points("gen_ai.client.operation.duration") == []


async def test_an_event_that_comes_twice_is_counted_once_on_one_socket_and_on_two(
    service: Service, instrument: Callable[..., None], seen: Any, tmp_path: Path
) -> None:
    instrument(ledger=tmp_path)
    await service.talk(_session(), _done(), _done())
    await service.talk(_session(), _done())
    assert seen.value(_USAGES, {"realtime_spend.usage": "reported"}) == 1
    assert seen.value("realtime_spend.duplicates") == 2
    assert len(_records(tmp_path)) == 1


async def test_a_repeated_transcription_is_a_duplicate_of_the_model_that_transcribed(
    service: Service, instrument: Callable[..., None], seen: Any
) -> None:
    instrument()
    speech = _transcribed({"type": "duration", "seconds": 9.3})
    await service.talk(_session(transcription="whisper-1"), speech, speech)
    [(attributes, value)] = [point for point in seen.points("realtime_spend.duplicates") if point[1]]
    assert value == 1
    assert attributes["gen_ai.operation.name"] == "speech_to_text"


async def test_times_are_measured_from_the_events_that_begin_them(
    service: Service, instrument: Callable[..., None], seen: Any
) -> None:
    instrument()
    await service.talk(
        _session(),
        {"type": "input_audio_buffer.speech_stopped"},
        _created(),
        {"type": "response.output_audio.delta", "delta": "AAAA"},
        {"type": "response.output_audio.delta", "delta": "AAAA"},
        _done(),
    )
    await _until(lambda: seen.points("realtime_spend.session.duration"))
    for name in (
        "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.client.operation.duration",
        "realtime_spend.time_to_first_audio",
        "realtime_spend.session.duration",
    ):
        [point] = seen.metrics()[name].data.data_points
        assert point.count == 1
        assert 0 <= point.sum < 5
        assert point.attributes[_SAID] == "gpt-realtime"
    [(_, seconds)] = seen.points("realtime_spend.session.time")
    assert seconds == pytest.approx(point.sum, abs=1e-9)


# Names and prices


async def test_an_unlisted_model_is_counted_without_a_cost_and_said_once(
    service: Service, instrument: Callable[..., None], seen: Any, caplog: pytest.LogCaptureFixture
) -> None:
    instrument()
    for number in (1, 2):
        await service.talk(_session("gpt-surprise", session_id=f"sess_{number}"), _done(number))
    assert seen.value(_INPUT, {"realtime_spend.model": "gpt-surprise", "gen_ai.token.modality": "text"}) == 200 * 2
    assert seen.points(_COST) == []
    assert seen.value("realtime_spend.unpriced", {"realtime_spend.reason": "model_not_listed"}) == 2
    [record] = [record for record in caplog.records if record.name == "realtime_spend"]
    assert "'gpt-surprise'" in record.getMessage()
    assert "REALTIME_SPEND_RATE_CARDS" in record.getMessage()


async def test_an_unknown_deployment_is_counted_without_a_cost_and_the_log_says_what_to_set(
    service: Service, instrument: Callable[..., None], seen: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    instrument(ledger=tmp_path)
    await service.talk(_session("voice-prod"), _done(1), _done(2), path=_AZURE)
    azure = {"gen_ai.provider.name": "azure.ai.openai", "realtime_spend.model": "voice-prod"}
    assert seen.value(_INPUT, {**azure, "gen_ai.token.modality": "text"}) == 200 * 2
    assert seen.points(_COST) == []
    assert seen.value("realtime_spend.unpriced", azure) == 2
    [record] = [record for record in caplog.records if record.name == "realtime_spend"]
    assert 'REALTIME_SPEND_DEPLOYMENTS=\'{"voice-prod": {"model": "gpt-realtime", ' in record.getMessage()
    assert {record["cost"] for record in _records(tmp_path)} == {None}


async def test_a_deployment_that_is_said_is_priced_at_its_scope(
    service: Service, instrument: Callable[..., None], seen: Any
) -> None:
    instrument(deployments={"voice-prod": {"model": "gpt-realtime", "version": "2025-08-28", "scope": "datazone"}})
    await service.talk(_session("voice-prod"), _done(), path=_AZURE)
    found = {"realtime_spend.scope": "datazone", "realtime_spend.model": "gpt-realtime"}
    assert seen.value(_COST, {**found, "gen_ai.token.modality": "audio", "realtime_spend.component": "output"}) == (
        float(mtok("70.4", 100))
    )
    assert seen.points(_ERRORS) == []


async def test_a_scope_that_nobody_said_is_priced_as_global_and_counted_as_assumed(
    service: Service, instrument: Callable[..., None], seen: Any, tmp_path: Path
) -> None:
    instrument(ledger=tmp_path)
    await service.talk(_session("gpt-realtime-2025-08-28"), _done(), path=_AZURE)
    assert seen.value(_ERRORS, {"realtime_spend.kind": "scope_assumed"}) == 1
    assert all("realtime_spend.scope" not in attributes for attributes, _ in seen.points(_COST))
    [record] = _records(tmp_path)
    assert (Decimal(record["cost"]), record["scope"]) == (_TEXT_COST, None)


# Settings


async def test_an_observer_writes_the_ledger_and_counts_nothing(
    service: Service, instrument: Callable[..., None], seen: Any, tmp_path: Path
) -> None:
    instrument(role="observer", ledger=tmp_path)
    await service.talk(_session(), _created(), {"type": "response.output_audio.delta", "delta": "A"}, _done(), _done())
    assert [Decimal(record["cost"]) for record in _records(tmp_path)] == [_TEXT_COST]
    assert seen.metrics() == {}


async def test_attributes_come_from_the_allowed_baggage_and_from_the_block(
    service: Service, instrument: Callable[..., None], seen: Any, tmp_path: Path
) -> None:
    instrument(baggage_keys="tenant", ledger=tmp_path)
    token = context.attach(baggage.set_baggage("tenant", "acme", baggage.set_baggage("secret", "x")))
    with attributed(team="voice"):
        await service.talk(_session(), _done())
    context.detach(token)
    for name in (_COST, _USAGES, "gen_ai.client.inference.operation.input_tokens", _ACTIVE):
        for attributes, _ in seen.points(name):
            assert (attributes["tenant"], attributes["team"], "secret" in attributes) == ("acme", "voice", False)
    assert [record["attributes"] for record in _records(tmp_path)] == [{"tenant": "acme", "team": "voice"}]


async def test_beyond_two_hundred_values_the_metrics_say_other_and_the_ledger_the_truth(
    service: Service, instrument: Callable[..., None], seen: Any, tmp_path: Path, provider: MeterProvider
) -> None:
    for number in range(200):
        metrics_of(provider).bounded("tenant", f"tenant-{number}")
    instrument(ledger=tmp_path)
    tenants = ["tenant-7", "tenant-200", "tenant-201"]
    for tenant in tenants:
        with attributed(tenant=tenant):
            await service.talk(_session(session_id=tenant), _done(tenants.index(tenant)))
    assert {attributes["tenant"] for attributes, _ in seen.points(_INPUT)} == {"tenant-7", "other"}
    assert [record["attributes"]["tenant"] for record in _records(tmp_path)] == tenants


async def test_a_library_that_is_disabled_is_left_alone(
    service: Service, instrument: Callable[..., None], seen: Any
) -> None:
    instrument(disabled_libraries="websockets")
    await service.talk(_session(), _done())
    assert seen.metrics() == {}


async def test_only_urls_that_speak_the_protocol_are_watched_and_more_can_be_named(
    service: Service, instrument: Callable[..., None], seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    instrument()
    await service.talk(_session(), _done(), path="/speech")
    assert seen.metrics() == {}
    RealtimeInstrumentor().uninstrument()
    monkeypatch.setenv("REALTIME_SPEND_ENDPOINTS", "127.0.0.1/speech=azure.ai.openai")
    instrument()
    await service.talk(_session(), _done(), path="/speech")
    assert seen.value(_USAGES, {"gen_ai.provider.name": "azure.ai.openai", "realtime_spend.usage": "reported"}) == 1


async def test_what_is_suppressed_is_not_watched(service: Service, instrument: Callable[..., None], seen: Any) -> None:
    instrument()
    with suppress_instrumentation():
        await service.talk(_session(), _done())
    assert seen.metrics() == {}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REALTIME_SPEND_ROLE", "watcher"),
        ("REALTIME_SPEND_DEPLOYMENTS", "{"),
        ("REALTIME_SPEND_ENDPOINTS", "a=b"),
        ("REALTIME_SPEND_RATE_CARDS", "/nowhere/own.toml"),
        pytest.param(
            "REALTIME_SPEND_LEDGER",
            "~nobody-of-this-name/ledger",
        ),
    ],
)
async def test_a_wrong_setting_is_logged_and_counted_and_the_session_is_counted_all_the_same(
    *,
    variable: str,
    value: str,
    service: Service,
    instrument: Callable[..., None],
    seen: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(variable, value)
    instrument()
    await service.talk(_session(), _done())
    assert seen.value(_ERRORS, {"realtime_spend.kind": "configuration"}) == 1
    assert seen.value(_USAGES, {"realtime_spend.usage": "reported"}) == 1
    [record] = [record for record in caplog.records if record.name == "realtime_spend"]
    assert record.getMessage().startswith(f"realtime-spend: {variable} is set aside: ")


async def test_a_ledger_that_cannot_be_written_is_counted_each_time_and_said_once(
    service: Service, instrument: Callable[..., None], seen: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("")
    instrument(ledger=tmp_path / "taken")
    await service.talk(_session(), _done(1), _done(2))
    assert seen.value(_ERRORS, {"realtime_spend.kind": "ledger"}) == 2
    assert seen.value(_USAGES, {"realtime_spend.usage": "reported"}) == 2
    [record] = [record for record in caplog.records if record.name == "realtime_spend"]
    assert "cannot be written (File exists)" in record.getMessage()


# On and off


async def test_to_instrument_twice_counts_once(service: Service, instrument: Callable[..., None], seen: Any) -> None:
    instrument()
    instrument()
    await service.talk(_session(), _done())
    assert seen.value(_USAGES, {"realtime_spend.usage": "reported"}) == 1


async def test_instrumented_again_it_goes_on_from_its_totals(
    service: Service, instrument: Callable[..., None], seen: Any
) -> None:
    instrument()
    await service.talk(_session(), _done(1))
    RealtimeInstrumentor().uninstrument()
    await service.talk(_session(), _done(2))
    assert seen.value(_USAGES, {"realtime_spend.usage": "reported"}) == 1
    instrument()
    await service.talk(_session(), _done(3))
    assert seen.value(_USAGES, {"realtime_spend.usage": "reported"}) == 2


async def test_a_session_that_is_open_when_we_leave_goes_on_and_is_neither_open_nor_lost_in_our_books(
    service: Service, instrument: Callable[..., None], seen: Any
) -> None:
    instrument()
    left = asyncio.Event()
    async with service.connected(_session(), _created(), left, _done()) as socket:
        await socket.recv()
        await socket.recv()
        RealtimeInstrumentor().uninstrument()
        assert {value for _, value in seen.points(_ACTIVE)} == {0}
        left.set()
        assert json.loads(await socket.recv()) == _done()
    assert [point for point in seen.points(_USAGES) if point[1]] == []


def test_a_provider_that_is_none_at_all_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Containment, "reraise", False)
    RealtimeInstrumentor().instrument(meter_provider=object())
    assert "an error of ours while starting" in caplog.text


def test_it_demands_no_library() -> None:
    assert RealtimeInstrumentor().instrumentation_dependencies() == ()


def _held_open_in(folder: Path) -> list[Path]:
    links = Path("/proc/self/fd").iterdir()
    return [link.resolve() for link in links if link.exists() and link.resolve().parent == folder]


@pytest.mark.skipif(sys.platform != "linux", reason="what is open can be read from /proc alone")
async def test_the_file_of_the_ledger_is_closed_when_we_leave(
    service: Service, instrument: Callable[..., None], tmp_path: Path
) -> None:
    instrument(ledger=tmp_path)
    await service.talk(_session(), _done())
    RealtimeInstrumentor().uninstrument()
    assert _held_open_in(tmp_path) == []


async def test_what_was_counted_is_sent_when_the_last_session_closes(
    service: Service,
    instrument: Callable[..., None],
    provider: MeterProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flushes: list[float] = []
    monkeypatch.setattr("realtime_spend.sinks.flusher._SETTLE_SECONDS", 0.02)
    monkeypatch.setattr(provider, "force_flush", flushes.append)
    instrument()
    async with service.connected(_session()):
        await service.talk(_session(session_id="sess_2"))
        await asyncio.sleep(0.1)
        assert flushes == []
    await _until(lambda: flushes)


_PROXY = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from realtime_spend import RealtimeInstrumentor
from realtime_spend.sinks.metrics import metrics_of

RealtimeInstrumentor().instrument()
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
RealtimeInstrumentor().uninstrument()
RealtimeInstrumentor().instrument()
ours = metrics_of(metrics.get_meter_provider())
series = ours.series({})
with ours.lock:
    series.add("realtime_spend.duplicates", (), 1)
print("reported" if reader.get_metrics_data() else "silent")
"""


def test_instrumented_before_there_is_a_provider_and_again_after_it_goes_on_reporting() -> None:
    done = subprocess.run([sys.executable, "-c", _PROXY], capture_output=True, check=True, timeout=60)
    assert done.stdout.split() == [b"reported"]


# Errors of ours


async def test_an_error_of_ours_does_not_reach_the_host_and_is_counted_and_said_once_without_payload(
    service: Service,
    instrument: Callable[..., None],
    seen: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_arguments: object) -> None:
        raise ValueError("payload: secret")

    monkeypatch.setattr(Containment, "reraise", False)
    monkeypatch.setattr("realtime_spend.metering.price", fail)
    instrument()
    script = [_session(), _done(1), _done(2)]
    assert await service.talk(*script) == [json.dumps(event) for event in script]
    assert seen.value(_ERRORS, {"realtime_spend.kind": "internal.reading_a_message"}) == 2
    [record] = [record for record in caplog.records if record.name == "realtime_spend"]
    assert record.levelno == logging.WARNING
    assert "secret" not in caplog.text
    assert "resp_1" not in caplog.text


async def test_an_error_while_connecting_leaves_the_connection_alone_and_unwatched(
    service: Service, instrument: Callable[..., None], seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise LookupError

    monkeypatch.setattr(Containment, "reraise", False)
    instrument()
    monkeypatch.setattr("realtime_spend.observing.recognise", fail)
    assert len(await service.talk(_session(), _done())) == 2
    assert {attributes["realtime_spend.kind"] for attributes, _ in seen.points(_ERRORS)} == {
        "internal.watching_a_connection"
    }


# Without sockets


@pytest.fixture
def metering(provider: MeterProvider) -> Metering:
    book = load_book()
    metrics = metrics_of(provider)

    def count(kind: str) -> None:
        series = metrics.series({})
        with metrics.lock:
            series.add(_ERRORS, (("realtime_spend.kind", kind),), 1)

    return Metering(
        book=book,
        naming=Naming(book),
        metrics=metrics,
        ledger=None,
        flusher=Flusher(provider),
        containment=Containment(count),
    )


@pytest.fixture
def watcher(metering: Metering) -> Watcher:
    endpoint = recognise("api.openai.com", 443, "/v1/realtime", "model=gpt-realtime")
    assert endpoint is not None
    return Watcher(metering, endpoint, {})


def _see(watcher: Watcher, *events: Any) -> None:
    for event in events:
        watcher.frame(json.dumps(event))


def test_a_socket_that_never_opened_is_no_session(watcher: Watcher, seen: Any) -> None:
    watcher.closed()
    assert seen.metrics() == {}


def test_a_socket_opens_and_closes_once_however_often_it_is_said(watcher: Watcher, seen: Any) -> None:
    watcher.opened()
    watcher.opened()
    assert seen.value(_ACTIVE) == 1
    watcher.closed()
    watcher.closed()
    assert seen.value(_ACTIVE) == 0
    assert seen.metrics()["realtime_spend.session.duration"].data.data_points[0].count == 1


def test_a_clock_that_was_set_back_gives_no_negative_duration(
    watcher: Watcher, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher.opened()
    monkeypatch.setattr("time.time_ns", lambda: 0)
    watcher.closed()
    assert seen.value(_ACTIVE) == 0
    assert seen.points("realtime_spend.session.duration") == []


def test_a_message_in_fragments_is_counted_and_one_that_is_too_large_is_said(watcher: Watcher, seen: Any) -> None:
    whole = json.dumps(_done()).encode()
    watcher.opened()
    _see(watcher, _session())
    watcher.fragment(whole[:40], first=True, final=False)
    watcher.fragment(whole[40:], first=False, final=True)
    assert seen.value(_USAGES, {"realtime_spend.usage": "reported"}) == 1
    watcher.fragment(b"[" * 1024, first=True, final=False)
    watcher.fragment(bytes(17 * 1024 * 1024), first=False, final=True)
    assert seen.value(_ERRORS, {"realtime_spend.kind": "message_too_large"}) == 1


def test_at_the_end_of_the_process_what_is_open_is_lost_and_nothing_is_flushed_any_more(
    metering: Metering, watcher: Watcher, seen: Any
) -> None:
    watcher.opened()
    _see(watcher, _session(), _created())
    metering.finish()
    assert seen.value(_USAGES, {"realtime_spend.usage": "lost"}) == 1
    assert {value for _, value in seen.points(_ACTIVE)} == {0}
    watcher.closed()
    assert seen.value(_USAGES, {"realtime_spend.usage": "lost"}) == 1


def test_a_socket_that_is_dropped_without_being_closed_is_closed_in_our_books(metering: Metering, seen: Any) -> None:
    # As at the end of a program that runs an event loop and leaves without closing its connection.
    endpoint = recognise("api.openai.com", 443, "/v1/realtime", "model=gpt-realtime")
    assert endpoint is not None
    watcher = Watcher(metering, endpoint, {})
    watcher.opened()
    _see(watcher, _session(), _created())
    watcher.dropped()
    del watcher
    gc.collect()
    metering.finish()
    assert seen.value(_USAGES, {"realtime_spend.usage": "lost"}) == 1
    assert {value for _, value in seen.points(_ACTIVE)} == {0}


@pytest.mark.parametrize(
    ("method", "call", "kind"),
    [
        ("begin", lambda watcher: watcher.opened(), "opening_a_session"),
        ("take", lambda watcher: watcher.frame(json.dumps(_done())), "reading_a_message"),
        (
            "take",
            lambda watcher: (
                watcher.fragment(b"{", first=True, final=False),
                watcher.fragment(json.dumps(_done()).encode()[1:], first=False, final=True),
            ),
            "reading_a_fragment",
        ),
        ("end", lambda watcher: (watcher.opened(), watcher.closed()), "closing_a_session"),
    ],
)
def test_no_method_of_a_watcher_raises(
    *,
    method: str,
    call: Callable[[Watcher], object],
    kind: str,
    watcher: Watcher,
    seen: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_arguments: object) -> None:
        raise LookupError

    monkeypatch.setattr(Metering, method, fail)
    monkeypatch.setattr(Containment, "reraise", False)
    call(watcher)
    assert seen.value(_ERRORS, {"realtime_spend.kind": f"internal.{kind}"}) == 1


# Forks


@forks
async def test_a_forked_child_counts_from_zero_into_a_file_of_its_own(
    service: Service, instrument: Callable[..., None], seen: Any, tmp_path: Path
) -> None:
    instrument(ledger=tmp_path)
    async with service.connected(_session(), _done(1)) as socket:
        await socket.recv()
        await socket.recv()

        def work() -> Any:
            before = [name for name, metric in seen.metrics().items() if "duration" not in name and _counts(metric)]
            events = socket.protocol
            _feed(events, _done(2))
            return [before, seen.value(_USAGES, {"realtime_spend.usage": "reported"}), _active(seen)]

        before, counted, active = in_a_child(work)
        assert (before, counted, active) == ([], 1, 0)
        assert seen.value(_USAGES, {"realtime_spend.usage": "reported"}) == 1
        assert seen.value(_ACTIVE, {_SAID: "gpt-realtime"}) == 1
    assert _ids_by_file(tmp_path) == [["resp_1"], ["resp_2"]]


def _counts(metric: Any) -> bool:
    return any(getattr(point, "value", 0) for point in metric.data.data_points)


def _active(seen: Any) -> int:
    return sum(value for _, value in seen.points(_ACTIVE))


def _feed(protocol: Any, event: Any) -> None:
    """Give the client's protocol a frame as if it had come from its socket."""
    text = json.dumps(event).encode()
    protocol.receive_data(bytes([0x81, 126]) + len(text).to_bytes(2, "big") + text)
    protocol.events_received()


@forks
def test_a_child_that_is_forked_after_we_left_does_not_repeat_its_parents_totals(
    provider: MeterProvider, seen: Any
) -> None:
    RealtimeInstrumentor().instrument(meter_provider=provider)
    metrics = metrics_of(provider)
    series = metrics.series({})
    with metrics.lock:
        series.add(_USAGES, (), 100)
    RealtimeInstrumentor().uninstrument()
    gc.collect()
    assert in_a_child(lambda: seen.value(_USAGES)) is None


@forks
def test_a_child_that_reports_deltas_reports_what_it_counted_itself(metering: Metering) -> None:
    reader = InMemoryMetricReader(preferred_temporality={ObservableCounter: AggregationTemporality.DELTA})
    provider = MeterProvider([reader], shutdown_on_exit=False)
    metrics = metrics_of(provider)
    book = load_book()
    kept = Metering(
        book=book,
        naming=Naming(book),
        metrics=metrics,
        ledger=None,
        flusher=Flusher(provider),
        containment=metering.containment,
    )

    def add(amount: int) -> list[Any]:
        series = metrics.series({})
        with metrics.lock:
            series.add(_USAGES, (), amount)
        data = reader.get_metrics_data()
        assert data is not None
        [metric] = data.resource_metrics[0].scope_metrics[0].metrics
        return [getattr(point, "value", None) for point in metric.data.data_points]

    assert add(100) == [100]
    assert in_a_child(lambda: add(10)) == [10]
    assert kept is not metering


def _asked() -> Watcher:
    """Ask as a hook does."""
    watcher = RUNNING[-1](library="x", host="api.openai.com", port=443, path="/v1/realtime", query="model=gpt-realtime")
    assert isinstance(watcher, Watcher)
    return watcher


def test_what_a_socket_that_was_let_go_of_left_unfinished_is_lost_though_we_leave(
    instrument: Callable[..., None], tmp_path: Path
) -> None:
    instrument(ledger=tmp_path)
    watcher = _asked()
    watcher.opened()
    watcher.frame(json.dumps(_session()))
    watcher.frame(json.dumps(_created()))
    watcher.dropped()
    RealtimeInstrumentor().uninstrument()
    assert [record["usage"] for record in _records(tmp_path)] == ["lost"]


def test_a_socket_does_not_open_again_after_its_end(instrument: Callable[..., None], seen: Any) -> None:
    instrument()
    watcher = _asked()
    watcher.opened()
    watcher.closed()
    watcher.opened()
    watcher.frame(json.dumps(_session()))
    assert seen.value("realtime_spend.session.active") == 0


def test_a_session_that_names_model_after_model_is_kept_small(instrument: Callable[..., None]) -> None:
    instrument()
    watcher = _asked()
    watcher.opened()
    for number in range(500):
        watcher.frame(json.dumps(_session(f"model-{number}")))
    assert len(watcher._rated) <= 64
