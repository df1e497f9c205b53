"""A live agent of ag2 on the OpenAI Realtime model, talked to; the third answer is talked over."""

from __future__ import annotations

import asyncio
import sys

from ag2.events import ModelResponse, RecordedAudioEvent, SynthesizedAudioEvent, TranscriptionCompletedEvent
from ag2.live import LiveAgent
from ag2.live.openai import InputConfig, RealTimeConfig
from openai import AsyncOpenAI

# Half a second of 24 kHz, 16-bit mono: as long an utterance as the service waits for.
SPEECH = bytes(24_000)
# Makes the simulator's answers last a second: time enough to cut one short.
PACE = "sim_rate=25&sim_deltas=25"


class Listener:
    """What the agent lets hear."""

    def __init__(self) -> None:
        self.speaks = asyncio.Event()
        self.heard: list[str] = []
        self.answers: asyncio.Queue[ModelResponse] = asyncio.Queue()

    async def begin(self, _event: SynthesizedAudioEvent) -> None:
        """Note that an answer is being given."""
        self.speaks.set()

    async def note(self, event: TranscriptionCompletedEvent) -> None:
        """Keep what the user said."""
        self.heard.append(event.content)

    async def keep(self, event: ModelResponse) -> None:
        """Keep an answer that has ended."""
        self.answers.put_nowait(event)


async def converse(agent: LiveAgent) -> None:
    """Talk four times: the fourth time while the third answer is still being given."""
    listener = Listener()
    async with agent.run() as context:
        context.stream.where(SynthesizedAudioEvent).subscribe(listener.begin)
        context.stream.where(TranscriptionCompletedEvent).subscribe(listener.note)
        context.stream.where(ModelResponse).subscribe(listener.keep)
        for _question in range(2):
            await context.send(RecordedAudioEvent(SPEECH))
            answer = await listener.answers.get()
            print(f"{answer.message.content}: {answer.usage.total_tokens:.0f} tokens")
        listener.speaks.clear()
        await context.send(RecordedAudioEvent(SPEECH))
        await listener.speaks.wait()
        await context.send(RecordedAudioEvent(SPEECH))
        for _answer in ("what was cut short", "what was said over it"):
            await listener.answers.get()
    print(listener.heard)


async def main(url: str) -> None:
    """Configure the agent and let it run, for half a minute at most."""
    client = AsyncOpenAI(api_key="any", websocket_base_url=f"{url.replace('http', 'ws', 1)}/v1?{PACE}")
    config = RealTimeConfig(
        "gpt-realtime-mini", client=client, input=InputConfig(transcription={"model": "gpt-4o-mini-transcribe"})
    )
    async with asyncio.timeout(30), client:
        await converse(LiveAgent("guide", "Answer in one short sentence.", config=config))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
