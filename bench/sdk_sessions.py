"""Holds voice sessions with a client, and says what CPU each event took: instrumented by us, by another, or not at all.

    python -m bench.sdk_sessions --client openai --url http://127.0.0.1:4000 --instrument traceloop

Every line on standard input is one session; the answer to `told` is what was counted. It runs in environments of its
own, so it needs nothing but the client and what instruments it.

In a session one question is spoken, which is transcribed, and the others are typed: who speaks into an answer that
would still be heard interrupts it.

CPU is that of the thread in which the session lives, from when the session is set up to when its last response is
done. What exporters do in threads of their own is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import logging
import sys
import time
from collections import defaultdict
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

TURNS = 4
# Half a second of 24 kHz, 16-bit mono: as long an utterance as the simulator waits for.
_SPEECH = bytes(24_000)
_QUESTION = "And in Spanish?"
_TYPED: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": _QUESTION}]}
_PATIENCE = 60.0
_LISTENING = {"type": "server_vad", "create_response": True}
_NUMBERS = ("token", "cost", "duration", "usage")


# --- Sessions ---------------------------------------------------------------------------------------------------------


class Stopwatch:
    """Counts the events of a session, and the CPU of its thread."""

    def __init__(self) -> None:
        self.events = 0
        self._begun = time.thread_time_ns()

    def per_event(self) -> float:
        """Return the microseconds that each event took."""
        return (time.thread_time_ns() - self._begun) / 1000 / self.events


async def through_openai(url: str) -> float:
    """Hold a session with the openai SDK as it stands."""
    from openai import AsyncOpenAI  # noqa: PLC0415 - an environment may hold another client

    heard = {"transcription": {"model": "gpt-4o-transcribe"}, "turn_detection": _LISTENING}
    session = {"type": "realtime", "audio": {"input": heard}}
    async with AsyncOpenAI(api_key="any", base_url=f"{url}/v1") as client:
        return await _converse(client.realtime.connect(model="gpt-realtime"), session)


async def through_openai_beta(url: str) -> float:
    """Hold a session with the beta API of the openai SDK."""
    from openai import AsyncOpenAI  # noqa: PLC0415 - as above

    session = {"input_audio_transcription": {"model": "gpt-4o-transcribe"}, "turn_detection": _LISTENING}
    # Its beta API would take http:// for https://, and so wss://.
    address = f"{url.replace('http://', 'ws://')}/v1"
    async with AsyncOpenAI(api_key="any", websocket_base_url=address) as client:
        return await _converse(client.beta.realtime.connect(model="gpt-4o-realtime-preview"), session)


async def _converse(connecting: Any, session: Mapping[str, Any]) -> float:
    speech = base64.b64encode(_SPEECH).decode()
    async with connecting as connection:
        await connection.session.update(session=session)
        async for event in connection:
            if event.type == "session.updated":
                break
        watch = Stopwatch()
        for turn in range(TURNS):
            if turn == 0:
                await connection.input_audio_buffer.append(audio=speech)
            else:
                await connection.conversation.item.create(item=_TYPED)
                await connection.response.create()
            async for event in connection:
                watch.events += 1
                if event.type == "response.done":
                    break
        return watch.per_event()


async def through_agents(url: str) -> float:
    """Hold a session with openai-agents."""
    from agents.realtime import RealtimeAgent, RealtimeRunner  # noqa: PLC0415 - as above

    # It is unhappy with some of the events that it could do without, and says so for each.
    logging.getLogger("openai.agents").setLevel(logging.CRITICAL)
    heard: Any = {"transcription": {"model": "gpt-4o-transcribe"}, "turn_detection": _LISTENING}
    settings: Any = {"model_name": "gpt-realtime", "audio": {"input": heard}}
    runner = RealtimeRunner(RealtimeAgent(name="bench"))
    address = url.replace("http://", "ws://") + "/v1/realtime?model=gpt-realtime"
    config: Any = {"api_key": "any", "url": address, "initial_model_settings": settings}
    async with await runner.run(model_config=config) as session:
        watch = Stopwatch()
        for turn in range(TURNS):
            await (session.send_message(_QUESTION) if turn else session.send_audio(_SPEECH))
            async for event in session:
                if event.type != "raw_model_event" or event.data.type != "raw_server_event":
                    continue
                watch.events += 1
                if event.data.data["type"] == "response.done":
                    break
        return watch.per_event()


async def through_websockets(url: str) -> float:
    """Hold a session with nothing but `websockets`, as a program does that parses every event itself."""
    from websockets.asyncio.client import connect  # noqa: PLC0415 - as above

    heard = {"transcription": {"model": "gpt-4o-transcribe"}, "turn_detection": _LISTENING}
    session = {"type": "realtime", "audio": {"input": heard}}
    spoken = {"type": "input_audio_buffer.append", "audio": base64.b64encode(_SPEECH).decode()}
    typed = [{"type": "conversation.item.create", "item": _TYPED}, {"type": "response.create"}]
    address = url.replace("http://", "ws://") + "/v1/realtime?model=gpt-realtime"
    async with connect(address, proxy=None, max_size=None) as connection:
        await connection.send(json.dumps({"type": "session.update", "session": session}))
        while json.loads(await connection.recv())["type"] != "session.updated":
            pass
        watch = Stopwatch()
        for turn in range(TURNS):
            for event in typed if turn else [spoken]:
                await connection.send(json.dumps(event))
            kind = ""
            while kind != "response.done":
                kind = json.loads(await connection.recv())["type"]
                watch.events += 1
        return watch.per_event()


CLIENTS = {
    "openai": through_openai,
    "openai-beta": through_openai_beta,
    "agents": through_agents,
    "websockets": through_websockets,
}


# --- What instruments them --------------------------------------------------------------------------------------------

Told = dict[str, float]


def _nothing() -> Callable[[], Told]:
    return dict


def _ours() -> Callable[[], Told]:
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - as above
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415 - as above

    from realtime_spend import RealtimeInstrumentor  # noqa: PLC0415 - as above

    reader = InMemoryMetricReader()
    RealtimeInstrumentor().instrument(meter_provider=MeterProvider([reader], shutdown_on_exit=False))
    return lambda: _of_metrics(reader)


def _traceloop() -> Callable[[], Told]:
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - as above

    return _with_opentelemetry(OpenAIInstrumentor().instrument)


def _openinference() -> Callable[[], Told]:
    from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - as above

    return _with_opentelemetry(OpenAIAgentsInstrumentor().instrument)


def _ddtrace() -> Callable[[], Told]:
    from ddtrace.llmobs import LLMObs  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - as above
    from ddtrace.trace import TraceFilter, tracer  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - as above

    spans: list[Any] = []

    class Keep(TraceFilter):  # type: ignore[misc,unused-ignore]  # untyped where it is not installed
        def process_trace(self, trace: list[Any]) -> list[Any]:
            spans.extend(trace)
            return trace

    tracer.configure(trace_processors=[Keep()])
    LLMObs.enable(ml_app="bench", agentless_enabled=False)
    return lambda: _of_spans([*(span.get_metrics() for span in spans), *map(_llm_metrics, spans)])


def _llm_metrics(span: Any) -> Told:
    """Return what a span of ddtrace carries for its product about language models, beside its own metrics."""
    carried = (getattr(span, "_get_struct_tag", None) or (lambda _name: None))("_llmobs") or {}
    return {f"llmobs.{key}": value for key, value in (carried.get("metrics") or {}).items()}


def _of_spans(attributes: Iterable[Mapping[str, Any]]) -> Told:
    """Return the sums of all numbers that say what was used."""
    found: Told = defaultdict(float)
    for of_one in attributes:
        for key, value in of_one.items():
            if isinstance(value, int | float) and any(part in key.lower() for part in _NUMBERS):
                found[key] += value
    return dict(found)


def _with_opentelemetry(instrument: Callable[..., Any]) -> Callable[[], Told]:
    """Instrument with traces and metrics that are kept in memory."""
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - as above
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: PLC0415 - as above

    exporter, reader, tracers = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(exporter))
    instrument(tracer_provider=tracers, meter_provider=MeterProvider([reader], shutdown_on_exit=False))

    def told() -> Told:
        tracers.force_flush()
        spans = exporter.get_finished_spans()
        return _of_spans(span.attributes or {} for span in spans) | _of_metrics(reader)

    return told


def _of_metrics(reader: Any) -> Told:
    """Return every sum of a metric: over all, and by each of what a usage is told apart by."""
    found: Told = defaultdict(float)
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            for point in metric.data.data_points:
                said = point.attributes or {}
                parts = [(said.get("realtime_spend.model"), ""), (said.get("gen_ai.token.modality"), "")]
                for model, modality in product(*parts):
                    name = " ".join(filter(None, (metric.name, model, modality)))
                    found[name] += point.value if hasattr(point, "value") else point.sum
    return dict(found)


INSTRUMENTS = {
    "none": _nothing,
    "realtime-spend": _ours,
    "traceloop": _traceloop,
    "openinference": _openinference,
    "ddtrace": _ddtrace,
}


def main() -> None:
    """Do what is asked on standard input, until it ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--client", choices=CLIENTS, required=True)
    parser.add_argument("--instrument", choices=INSTRUMENTS, required=True)
    parser.add_argument("--url", required=True)
    arguments = parser.parse_args()
    told, hold = INSTRUMENTS[arguments.instrument](), CLIENTS[arguments.client]
    for line in sys.stdin:
        if line.strip() == "told":
            print(json.dumps(told()), flush=True)
        else:
            print(asyncio.run(asyncio.wait_for(hold(arguments.url), _PATIENCE)), flush=True)


if __name__ == "__main__":
    main()
