"""A voice session of Semantic Kernel with OpenAI: `OpenAIRealtimeWebsocket`."""

from __future__ import annotations

import asyncio
import base64
import sys
from typing import TYPE_CHECKING

from openai import AsyncOpenAI
from semantic_kernel.connectors.ai.open_ai import (
    ListenEvents,
    OpenAIRealtimeExecutionSettings,
    OpenAIRealtimeWebsocket,
    SendEvents,
    TurnDetection,
)
from semantic_kernel.contents import AudioContent, RealtimeAudioEvent, RealtimeEvent, RealtimeTextEvent, TextContent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from openai.types.realtime import RealtimeResponse

# Half a second of 24 kHz, 16-bit mono.
SPEECH = AudioContent(data=base64.b64encode(bytes(24_000)).decode(), data_format="base64")
# Makes the simulator's answers last a second: time enough to cut one short.
PACE = "sim_rate=25&sim_deltas=25"
SETTINGS = OpenAIRealtimeExecutionSettings(
    instructions="Answer in one short sentence.",
    voice="alloy",
    input_audio_transcription={"model": "gpt-4o-transcribe"},
    turn_detection=TurnDetection(type="server_vad", create_response=False),
)


async def until(events: AsyncGenerator[RealtimeEvent, None], kind: ListenEvents) -> RealtimeEvent:
    """Take events up to one of this kind."""
    async for event in events:
        if event.service_type == ListenEvents.ERROR:
            raise RuntimeError(event.service_event)
        if event.service_type == kind:
            return event
    raise ConnectionError("the session ended")


async def converse(session: OpenAIRealtimeWebsocket) -> list[RealtimeResponse]:
    """Ask aloud, in writing, and for an answer that is cut short, and return the three answers."""
    events = session.receive()
    create = RealtimeEvent(service_type=SendEvents.RESPONSE_CREATE)
    await session.send(RealtimeAudioEvent(audio=SPEECH))
    await until(events, ListenEvents.INPUT_AUDIO_BUFFER_COMMITTED)
    await session.send(create)
    spoken = await until(events, ListenEvents.RESPONSE_DONE)
    await session.send(RealtimeTextEvent(text=TextContent(text="And in Spanish?")))
    await session.send(create)
    typed = await until(events, ListenEvents.RESPONSE_DONE)
    await session.send(create)
    await until(events, ListenEvents.RESPONSE_AUDIO_DELTA)
    await session.send(RealtimeEvent(service_type=SendEvents.RESPONSE_CANCEL))
    cut = await until(events, ListenEvents.RESPONSE_DONE)
    return [event.service_event.response for event in (spoken, typed, cut)]


async def main(url: str) -> None:
    """Connect, converse and close, within half a minute."""
    address = f"{url.replace('http', 'ws', 1)}/v1?{PACE}"
    client = AsyncOpenAI(api_key="any", websocket_base_url=address)
    service = OpenAIRealtimeWebsocket(ai_model_id="gpt-realtime", client=client)
    async with asyncio.timeout(30), client, service(settings=SETTINGS) as session:
        answers = await converse(session)
    for answer in answers:
        print(f"{answer.id}: {answer.status}")
    if [answer.status for answer in answers] != ["completed", "completed", "cancelled"]:
        raise RuntimeError("the answers ended in other ways than they were asked to")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
