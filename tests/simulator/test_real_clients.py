from __future__ import annotations

import asyncio
import base64
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from agents.realtime import (
    RealtimeAgent,
    RealtimeModelItemUpdatedEvent,
    RealtimeModelSendRawMessage,
    RealtimeRunner,
)
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI
from openai.types.realtime import (
    ConversationItemInputAudioTranscriptionCompletedEvent,
    RealtimeServerEvent,
    ResponseDoneEvent,
)
from pydantic import TypeAdapter

from realtime_spend.simulator import Deployment, Simulator, SimulatorOptions, run_in_thread

_SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
_SOUND = base64.b64encode(bytes(48 * 700)).decode()

# Written down once more, so that the sum here owes nothing to the simulator: USD per million tokens.
_GPT_REALTIME = {
    "text.input": "4",
    "text.cached_input": "0.4",
    "text.output": "16",
    "audio.input": "32",
    "audio.cached_input": "0.4",
    "audio.output": "64",
}


class Seen:
    """What a client adds up from the events it got."""

    def __init__(self) -> None:
        self.quantities: Counter[str] = Counter()
        self.seconds = 0

    def response(self, usage: Any) -> None:
        heard, said, cached = (
            usage.input_token_details,
            usage.output_token_details,
            usage.input_token_details.cached_tokens_details,
        )
        for modality in ("text", "audio"):
            of_cache = _tokens(cached, modality)
            self.quantities[f"{modality}.cached_input"] += of_cache
            self.quantities[f"{modality}.input"] += _tokens(heard, modality) - of_cache
            self.quantities[f"{modality}.output"] += _tokens(said, modality)

    def cost(self) -> Decimal:
        tokens = sum((Decimal(_GPT_REALTIME[key]) * count for key, count in self.quantities.items()), Decimal(0))
        return tokens / 1_000_000 + Decimal("0.006") * self.seconds / 60

    def agrees_with(self, truth: dict[str, Any]) -> None:
        recorded: Counter[str] = Counter()
        for usage in truth["usages"]:
            recorded.update({key: int(value) for key, value in usage["quantities"].items()})
        seen = +self.quantities
        if self.seconds:
            seen["audio.duration"] = self.seconds
        assert recorded == seen
        assert recorded == Counter(
            {f"{row['modality']}.{row['component']}": int(row["quantity"]) for row in truth["totals"]}
        )
        assert Decimal(truth["cost"]) == self.cost()


def _tokens(details: Any, modality: str) -> int:
    # Beta types lack the split of the cache: there it is a plain dictionary.
    key = f"{modality}_tokens"
    return int(details[key] if isinstance(details, dict) else getattr(details, key))


async def test_the_openai_client_gets_events_of_its_own_types_and_the_truth_is_their_sum(simulator: Simulator) -> None:
    seen = Seen()
    async with (
        asyncio.timeout(20),
        AsyncOpenAI(api_key="any", base_url=f"{simulator.url}/v1", websocket_base_url=_ws(simulator, "/v1")) as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        transcription: Any = {"input": {"transcription": {"model": "whisper-1"}}}
        await connection.session.update(session={"type": "realtime", "audio": transcription})
        for _ in range(6):
            await connection.input_audio_buffer.append(audio=_SOUND)
            async for event in connection:
                _SERVER_EVENT.validate_python(event.model_dump(exclude_unset=True))
                if isinstance(event, ConversationItemInputAudioTranscriptionCompletedEvent):
                    assert event.usage.type == "duration"
                    seen.seconds += int(event.usage.seconds)
                if isinstance(event, ResponseDoneEvent):
                    seen.response(event.response.usage)
                    break
    await simulator.wait_idle()
    assert seen.seconds == 6
    seen.agrees_with(simulator.truth.as_json())


@pytest.mark.parametrize("outcome", ["completed", "cancelled", "incomplete", "failed", "usage_missing", "no_details"])
async def test_every_outcome_is_an_event_the_openai_client_can_read(simulator: Simulator, outcome: str) -> None:
    async with (
        asyncio.timeout(20),
        AsyncOpenAI(api_key="any", websocket_base_url=_ws(simulator, "/v1")) as client,
        client.realtime.connect(model="gpt-realtime-2", extra_query={"sim_outcomes": outcome}) as connection,
    ):
        item: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}
        await connection.conversation.item.create(item=item)
        await connection.response.create()
        async for event in connection:
            _SERVER_EVENT.validate_python(event.model_dump(exclude_unset=True))
            if event.type == "response.done":
                break
    assert simulator.truth.as_json()["usages"][0]["outcome"] == outcome


async def test_the_openai_beta_client_completes_a_session(simulator: Simulator) -> None:
    seen = Seen()
    async with (
        asyncio.timeout(20),
        AsyncOpenAI(api_key="any", websocket_base_url=_ws(simulator, "/v1")) as client,
        client.beta.realtime.connect(model="gpt-realtime") as connection,
    ):
        for _ in range(3):
            await connection.input_audio_buffer.append(audio=_SOUND)
            async for event in connection:
                assert event.type != "error"
                if event.type == "session.created":
                    assert event.session.model == "gpt-realtime-2025-08-28"
                if event.type == "response.done":
                    seen.response(event.response.usage)
                    break
    await simulator.wait_idle()
    seen.agrees_with(simulator.truth.as_json())


def test_the_synchronous_azure_client_completes_a_preview_session() -> None:
    seen = Seen()
    deployments = {"voice": Deployment(model="gpt-realtime", version="2025-08-28")}
    with (
        run_in_thread(SimulatorOptions(deployments=deployments)) as simulator,
        AzureOpenAI(
            api_key="any",
            api_version="2025-04-01-preview",
            azure_endpoint=simulator.url,
            websocket_base_url=f"ws://127.0.0.1:{simulator.port}/openai",
        ) as client,
    ):
        with client.beta.realtime.connect(model="voice") as connection:
            connection.input_audio_buffer.append(audio=_SOUND)
            for event in connection:
                if event.type == "session.created":
                    assert event.session.model == "gpt-realtime-2025-08-28"
                if event.type == "response.done":
                    seen.response(event.response.usage)
                    break
        simulator.wait_idle()
        truth = simulator.truth.as_json()
    seen.agrees_with(truth)
    assert truth["usages"][0]["provider"] == "azure.ai.openai"
    assert truth["usages"][0]["version"] == "2025-08-28"


async def test_the_asynchronous_azure_client_completes_a_session_on_the_ga_path() -> None:
    deployments = {"voice": Deployment(model="gpt-realtime", version="2025-08-28")}
    async with Simulator(SimulatorOptions(deployments=deployments)) as simulator:
        async with (
            asyncio.timeout(20),
            AsyncOpenAI(api_key="any", websocket_base_url=_ws(simulator, "/openai/v1")) as client,
            client.realtime.connect(model="voice") as connection,
        ):
            await connection.response.create()
            types = []
            async for event in connection:
                types.append(event.type)
                if event.type == "response.done":
                    break
        await simulator.wait_idle()
        assert "response.output_audio.delta" in types
        assert simulator.truth.as_json()["sessions"][0]["session_model"] == "gpt-realtime"
        async with (
            asyncio.timeout(20),
            AsyncAzureOpenAI(
                api_key="any",
                api_version="2025-04-01-preview",
                azure_endpoint=simulator.url,
                websocket_base_url=_ws(simulator, "/openai"),
            ) as azure,
            azure.beta.realtime.connect(model="voice") as beta,
        ):
            assert (await beta.recv()).type == "session.created"


async def test_the_openai_client_can_attach_to_a_call(simulator: Simulator) -> None:
    async with (
        asyncio.timeout(20),
        AsyncOpenAI(api_key="any", websocket_base_url=_ws(simulator, "/v1")) as client,
        client.realtime.connect(call_id="rtc_1") as connection,
    ):
        await connection.session.update(session={"type": "realtime", "model": "gpt-realtime-mini"})
        first = await connection.recv()
    assert first.type == "session.updated"


async def test_an_agent_of_the_agents_library_talks_with_it(simulator: Simulator) -> None:
    runner = RealtimeRunner(RealtimeAgent(name="Agent", instructions="Be brief."))
    url = _ws(simulator, "/v1/realtime?model=gpt-realtime")
    responses = 0
    async with (
        asyncio.timeout(20),
        await runner.run(model_config={"api_key": "any", "url": url}) as session,
    ):
        await session.send_message("Hello")
        async for event in session:
            assert event.type != "error", event
            if event.type == "agent_end":
                responses += 1
                if responses == 2:
                    break
                await session.send_audio(bytes(48 * 700))
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert truth["counts"]["responses"] == 2
    assert truth["usages"][-1]["quantities"]["audio.output"] > 0


async def test_an_agent_reads_the_items_that_it_asks_for_again(simulator: Simulator) -> None:
    runner = RealtimeRunner(RealtimeAgent(name="Agent", instructions="Be brief."))
    url = _ws(simulator, "/v1/realtime?model=gpt-realtime")
    heard: dict[str, None] = {}
    read: list[tuple[str, list[str]]] = []
    async with (
        asyncio.timeout(20),
        await runner.run(model_config={"api_key": "any", "url": url}) as session,
    ):
        await session.send_audio(bytes(48 * 700))
        has_asked = False
        async for event in session:
            assert event.type != "error", event
            if event.type == "agent_end":
                has_asked = True
                for item_id in heard:
                    message: Any = {"type": "conversation.item.retrieve", "other_data": {"item_id": item_id}}
                    await session.model.send_event(RealtimeModelSendRawMessage(message=message))
            elif event.type == "raw_model_event" and isinstance(event.data, RealtimeModelItemUpdatedEvent):
                item: Any = event.data.item
                heard[item.item_id] = None
                if has_asked:
                    read.append((item.role, [part.type for part in item.content]))
                if len(read) == 2:
                    break
    assert read == [("user", ["input_audio"]), ("assistant", ["audio"])]


def _ws(simulator: Simulator, path: str) -> str:
    return f"ws://127.0.0.1:{simulator.port}{path}"
