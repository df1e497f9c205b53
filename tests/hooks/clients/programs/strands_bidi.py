"""A voice agent of strands-agents on the OpenAI Realtime model, typed to and talked to."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from strands.bidi import BidiAgent
from strands.bidi.models.openai import realtime
from strands.bidi.types.events import BidiAudioDeltaEvent, BidiBargeInEvent, BidiResponseStopEvent, BidiUsageEvent
from strands.bidi.types.media import AudioDelta

# Half a second of 24 kHz, 16-bit mono: as long an utterance as the service waits for.
SPEECH = AudioDelta(format="pcm", source={"bytes": bytes(24_000)})
# Makes the simulator's answers last a second: time enough to cut one short.
PACE = "sim_rate=25&sim_deltas=25"


async def until(agent: BidiAgent, kind: type) -> Any:
    """Take the agent's events up to one of this kind."""
    async for event in agent.receive():
        if isinstance(event, kind):
            return event
    raise ConnectionError("the agent stopped")


async def converse(agent: BidiAgent) -> None:
    """Type a question, ask one aloud, and talk over the answer to a third; what was said then is answered as well."""
    for question in ("What is the capital of France?", SPEECH):
        await agent.send(question)
        usage = await until(agent, BidiUsageEvent)
        answer = await until(agent, BidiResponseStopEvent)
        print(f"{answer.response_id}: {usage.total_tokens} tokens")
    await agent.send("Tell me a long story.")
    await until(agent, BidiAudioDeltaEvent)
    await agent.send(SPEECH)
    await until(agent, BidiBargeInEvent)
    for _answer in ("what was cut short", "what was said over it"):
        answer = await until(agent, BidiResponseStopEvent)
        print(answer.response_id)
    # Python 3.11 loses the agent's stop where it meets an event on its way, and the last one follows at once.
    await asyncio.sleep(0.5)


async def main(url: str) -> None:
    """Start the agent, converse and stop it, within half a minute."""
    # The model takes no other address.
    realtime.OPENAI_REALTIME_URL = f"{url.replace('http', 'ws', 1)}/v1/realtime"
    model = realtime.OpenAIRealtimeModel(
        model_id=f"gpt-realtime-mini&{PACE}",
        transcription_model_id="gpt-4o-mini-transcribe",
        api_key="any",
    )
    async with asyncio.timeout(30), BidiAgent(model, system_prompt="Answer in one short sentence.") as agent:
        await converse(agent)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
