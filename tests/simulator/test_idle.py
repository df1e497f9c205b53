"""A user who says nothing: the model speaks again, unasked, and it is billed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from openai import AsyncOpenAI
from openai.types.realtime import InputAudioBufferTimeoutTriggered, ResponseDoneEvent

if TYPE_CHECKING:
    from realtime_spend.simulator import Simulator


def _waiting(milliseconds: Any, kind: str = "server_vad") -> dict[str, Any]:
    detection = {"type": kind, "idle_timeout_ms": milliseconds}
    return {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}


async def test_silence_is_committed_and_answered_until_the_client_leaves(simulator: Simulator) -> None:
    triggered: list[InputAudioBufferTimeoutTriggered] = []
    done: list[Any] = []
    session: Any = _waiting(40)
    session["audio"]["input"]["transcription"] = {"model": "whisper-1"}
    async with (
        asyncio.timeout(20),
        AsyncOpenAI(api_key="any", websocket_base_url=f"ws://127.0.0.1:{simulator.port}/v1") as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        await connection.session.update(session=session)
        await connection.response.create()
        async for event in connection:
            if isinstance(event, InputAudioBufferTimeoutTriggered):
                triggered.append(event)
            if isinstance(event, ResponseDoneEvent):
                done.append(event.response)
            if len(done) == 3:
                break
    await simulator.wait_idle()
    assert len(triggered) >= 2
    first, second = triggered[:2]
    assert (first.audio_start_ms, first.audio_end_ms) == (0, 40)
    assert second.audio_start_ms == first.audio_end_ms
    usages = simulator.truth.as_json()["usages"]
    told = {usage["id"]: usage for usage in usages if usage["usage"] == "reported"}
    assert {response.id for response in done} <= set(told)
    # Silence is audio like any other, in the next input and for the transcription.
    audio = [response.usage.input_token_details.audio_tokens for response in done]
    assert audio[0] == 0
    assert audio[1] >= 1
    transcribed = [usage for usage in usages if usage["kind"] == "transcription"]
    assert {usage["id"] for usage in transcribed} >= {f"{first.item_id}#0", f"{second.item_id}#0"}


async def test_a_sound_makes_it_wait_anew_and_speech_ends_the_waiting(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        # All four pauses are longer than it waits, and each is so much shorter that a busy machine keeps them apart.
        await talk.send("session.update", session=_waiting(1000))
        await talk.respond()
        for _ in range(4):
            await asyncio.sleep(0.3)
            await talk.say(50)
        await talk.say(400)
        await talk.until("input_audio_buffer.committed")
    assert "input_audio_buffer.timeout_triggered" not in talk.types()
    stopped = talk.of("input_audio_buffer.speech_stopped")
    assert [event["audio_end_ms"] for event in stopped] == [600]


async def test_a_murmur_that_is_no_turn_is_committed_with_the_silence(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        await talk.send("session.update", session=_waiting(40))
        await talk.respond()
        await talk.say(200)
        triggered = await talk.until("input_audio_buffer.timeout_triggered")
        while triggered["audio_end_ms"] - triggered["audio_start_ms"] != 240:  # the murmur may come after a first one
            triggered = await talk.until("input_audio_buffer.timeout_triggered")
        item = (await talk.until("conversation.item.added"))["item"]
    assert item["id"] == triggered["item_id"]


@pytest.mark.parametrize("session", [_waiting(None), _waiting(0), _waiting("soon"), _waiting(30, "semantic_vad")])
async def test_without_a_time_nobody_waits(simulator: Simulator, connect: Any, session: dict[str, Any]) -> None:
    async with connect(simulator) as talk:
        await talk.send("session.update", session=session)
        await talk.respond()
        await asyncio.sleep(0.15)
        await talk.settled()
    assert "input_audio_buffer.timeout_triggered" not in talk.types()
