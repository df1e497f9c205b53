"""Services that speak the same protocol in their own way, and whose models no list of OpenAI's or Azure's prices."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import websockets
from openai import AsyncOpenAI

if TYPE_CHECKING:
    from realtime_spend.simulator import Simulator

VOICE_LIVE = "/voice-live/realtime?api-version=2026-04-10&model=gpt-realtime"
VOICE_AGENT = "/voice-agent/projects/shop/agents/orders?api-version=2026-04-10"
QWEN = "/api-ws/v1/realtime?model=qwen3-omni-flash-realtime"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (VOICE_LIVE, "gpt-realtime-global-standard"),
        (VOICE_AGENT, "gpt-realtime-mini-global-standard"),
        ("/voice-live/realtime?agent-name=a", "gpt-realtime-mini-global-standard"),
        (QWEN, "qwen3-omni-flash-realtime"),
        ("/api-ws/v1/realtime?model=gpt-realtime", "gpt-realtime"),
    ],
)
async def test_its_tokens_are_known_and_their_cost_is_not(
    simulator: Simulator, connect: Any, path: str, said: str
) -> None:
    async with connect(simulator, f"{path}&sim_model=gpt-realtime-mini") as talk:
        assert (await talk.until("session.created"))["session"]["model"] == said
        await talk.say()
        done = (await talk.until("response.done"))["response"]
    await simulator.wait_idle()
    assert "response.audio.delta" in talk.types()
    assert "rate_limits.updated" not in talk.types()
    truth = simulator.truth.as_json()
    [usage] = [usage for usage in truth["usages"] if usage["kind"] == "response"]
    assert usage["provider"] == ("azure.ai.openai" if path.startswith("/voice-") else "openai")
    assert (usage["model"], usage["cost"]) == (said, None)
    assert set(usage["costs"].values()) == {None}
    assert sum(usage["quantities"].values()) == done["usage"]["total_tokens"]
    assert truth["cost"] == "0"
    assert truth["counts"]["unpriced"] == 1


async def test_voice_live_always_tells_its_reasoning_tokens(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, VOICE_LIVE) as talk:
        usage = (await talk.respond())["usage"]
    assert usage["output_token_details"]["reasoning_tokens"] == 0
    assert usage["input_token_details"]["cached_tokens"] == sum(
        usage["input_token_details"]["cached_tokens_details"].values()
    )


async def test_qwen_writes_its_details_in_the_plural_and_has_no_cache(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, QWEN) as talk:
        for _ in range(4):
            usage = (await talk.respond())["usage"]
            assert usage["input_tokens"] == sum(usage["input_tokens_details"].values())
            assert usage["output_tokens"] == sum(usage["output_tokens_details"].values())
            assert "input_token_details" not in usage
    parts = {part for usage in simulator.truth.as_json()["usages"] for part in usage["quantities"]}
    assert parts == {"text.input", "audio.input", "text.output", "audio.output"}


async def test_qwen_transcribes_without_being_asked_and_says_no_usage(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, QWEN) as talk:
        await talk.say(900)
        transcribed = await talk.until("conversation.item.input_audio_transcription.completed")
        await talk.until("response.done")
    assert "usage" not in transcribed
    [usage] = [usage for usage in simulator.truth.as_json()["usages"] if usage["kind"] == "transcription"]
    assert (usage["model"], usage["usage"], usage["quantities"]) == ("qwen3-asr-flash-realtime", "missing", {})
    # 16 000 samples a second: what would be 900 ms at 24 000 is half as long again.
    assert talk.of("input_audio_buffer.speech_stopped")[0]["audio_end_ms"] == 1350


@pytest.mark.parametrize(("rate", "milliseconds"), [(8_000, 1800), (16_000, 900), (24_000, 600), (7, 600)])
async def test_voice_live_takes_audio_of_other_rates(
    simulator: Simulator, connect: Any, rate: int, milliseconds: int
) -> None:
    async with connect(simulator, VOICE_LIVE) as talk:
        await talk.send("session.update", session={"input_audio_sampling_rate": rate})
        await talk.say(600)
        stopped = await talk.until("input_audio_buffer.speech_stopped")
    assert stopped["audio_end_ms"] == milliseconds


async def test_a_transcription_of_voice_live_has_no_price_even_if_it_tells_its_tokens(
    simulator: Simulator, connect: Any
) -> None:
    async with connect(simulator, f"{VOICE_LIVE}&sim_transcription_usage=tokens") as talk:
        await talk.send("session.update", session={"input_audio_transcription": {"model": "gpt-4o-transcribe"}})
        await talk.say()
        await talk.until("response.done")
    [usage] = [usage for usage in simulator.truth.as_json()["usages"] if usage["kind"] == "transcription"]
    assert usage["quantities"]["audio.input"] > 0
    assert usage["cost"] is None


async def test_pictures_of_a_camera_are_input_of_the_turn_they_came_with(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, f"{QWEN}&sim_utterance_seconds=2") as talk:
        await talk.say(300)
        await talk.send("input_image_buffer.append", image="AAAA")
        await talk.send("input_image_buffer.append", image="AAAA")
        await talk.say(1200)
        usage = (await talk.until("response.done"))["response"]["usage"]
        await talk.respond()
    assert usage["input_tokens_details"]["image_tokens"] == 2 * 194
    assert simulator.truth.as_json()["usages"][-1]["quantities"]["image.input"] == 2 * 194


async def test_a_client_that_says_it_has_finished_is_answered_and_let_go(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, QWEN) as talk:
        await talk.respond()
        await talk.send("session.finish")
        await talk.until("session.finished")
        closed = await talk.until_closed()
    assert closed.rcvd.code == 1000
    await simulator.wait_idle()


async def test_what_clients_send_beside_the_point_is_answered_as_services_do(
    simulator: Simulator, connect: Any
) -> None:
    async with connect(simulator, VOICE_LIVE) as talk:
        await talk.send("output_audio_buffer.clear")
        await talk.until("output_audio_buffer.cleared")
        item = {"id": "item_1", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
        await talk.send("conversation.item.create", item=item)
        await talk.send("conversation.item.retrieve", item_id="item_1")
        assert (await talk.until("conversation.item.retrieved"))["item"]["id"] == "item_1"
        await talk.send("conversation.item.retrieve", item_id="item_2", event_id="mine")
        assert (await talk.until("error"))["error"]["event_id"] == "mine"
        for unknown in ("session.avatar.connect", "input_audio.turn.start", "mcp_approval_response", "input_text.done"):
            await talk.send(unknown, event_id=unknown)
            assert (await talk.until("error"))["error"]["event_id"] == unknown
        await talk.respond()


async def test_the_services_stand_side_by_side_in_one_server(simulator: Simulator) -> None:
    """The old names and the new ones, at the same time, each to the client that asked for them."""
    headers = [{}, {"OpenAI-Beta": "realtime=v1"}, {}, {}]
    paths = ["/v1/realtime?model=gpt-realtime", "/v1/realtime?model=gpt-realtime", VOICE_LIVE, QWEN]

    async def types(path: str, header: dict[str, str]) -> set[str]:
        url = f"ws://127.0.0.1:{simulator.port}{path}"
        async with websockets.connect(url, proxy=None, additional_headers=header, max_queue=None) as socket:
            await socket.send(json.dumps({"type": "response.create"}))
            seen: list[str] = []
            while not seen or seen[-1] != "response.done":
                seen.append(json.loads(await socket.recv())["type"])
            return set(seen)

    async with asyncio.timeout(20):
        new, *old = await asyncio.gather(*map(types, paths, headers))
    assert "response.output_audio.delta" in new
    assert "response.audio.delta" not in new
    for names in old:
        assert "response.audio.delta" in names
        assert not any(name.startswith("response.output_audio") for name in names)
    await simulator.wait_idle()
    assert [session["dialect"] for session in simulator.truth.as_json()["sessions"]].count("beta") == 3


async def test_an_openai_client_and_aiohttp_talk_with_them(simulator: Simulator) -> None:
    base = f"ws://127.0.0.1:{simulator.port}"
    async with (
        asyncio.timeout(20),
        AsyncOpenAI(api_key="any", websocket_base_url=f"{base}/api-ws/v1") as client,
        client.beta.realtime.connect(model="qwen3-omni-flash-realtime") as connection,
    ):
        await connection.response.create()
        async for event in connection:
            assert event.type != "error"
            if event.type == "response.done":
                break
    async with asyncio.timeout(20), aiohttp.ClientSession() as http, http.ws_connect(f"{base}{VOICE_LIVE}") as socket:
        await socket.send_json({"type": "response.create"})
        async for message in socket:
            if message.json()["type"] == "response.done":
                break
    await simulator.wait_idle()
    assert simulator.truth.as_json()["counts"]["reported"] == 2
