"""A session of LiveKit's OpenAI realtime model: an answer to speech, one to a prompt, and one that is interrupted.

python livekit_openai.py http://127.0.0.1:4000
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from livekit import rtc
from livekit.agents.metrics import RealtimeModelMetrics
from livekit.plugins.openai.realtime import RealtimeModel, RealtimeSession
from openai.types.beta.realtime.session import InputAudioTranscription, TurnDetection

if TYPE_CHECKING:
    from livekit.agents.llm import GenerationCreatedEvent, InputTranscriptionCompleted

# Half a second of 24 kHz, 16-bit mono: as long an utterance as the service waits for.
SPEECH = rtc.AudioFrame(bytes(24_000), sample_rate=24_000, num_channels=1, samples_per_channel=12_000)


class Conversation:
    """A session, and what it tells."""

    def __init__(self, session: RealtimeSession) -> None:
        self.session = session
        self.generations: asyncio.Queue[GenerationCreatedEvent] = asyncio.Queue()
        self.answers: asyncio.Queue[RealtimeModelMetrics] = asyncio.Queue()
        self.heard: list[str] = []
        session.on("generation_created", self.generations.put_nowait)
        session.on("metrics_collected", self.note)
        session.on("input_audio_transcription_completed", self.hear)

    def note(self, metrics: object) -> None:
        """Keep the metrics of responses; those of transcriptions name no request."""
        if isinstance(metrics, RealtimeModelMetrics) and metrics.request_id:
            self.answers.put_nowait(metrics)

    def hear(self, transcription: InputTranscriptionCompleted) -> None:
        """Keep what the user said."""
        if transcription.is_final:
            self.heard.append(transcription.transcript)

    async def play(self, generation: GenerationCreatedEvent, *, interrupt: bool = False) -> None:
        """Take in an answer as a room would play it, or stop it at its first frame."""
        frames = 0
        async for message in generation.message_stream:
            async for _frame in message.audio_stream:
                frames += 1
                if interrupt and frames == 1:
                    self.session.interrupt()
        answer = await self.answers.get()
        print(f"{answer.request_id}: {'cancelled' if answer.cancelled else f'{answer.total_tokens} tokens'}")


async def converse(session: RealtimeSession) -> None:
    """Ask aloud, then prompt twice, the second time for an answer nobody lets finish."""
    conversation = Conversation(session)
    await session.update_instructions("Answer in one short sentence.")
    session.push_audio(SPEECH)
    await conversation.play(await conversation.generations.get())
    await conversation.play(await session.generate_reply(instructions="Say it in Spanish."))
    await conversation.play(await session.generate_reply(instructions="Tell a story."), interrupt=True)
    print(conversation.heard)


async def main(url: str) -> None:
    """Hold the conversation, and close what was opened."""
    model = RealtimeModel(
        model="gpt-realtime",
        base_url=f"{url}/v1",
        api_key="any",
        input_audio_transcription=InputAudioTranscription(model="gpt-4o-mini-transcribe"),
        turn_detection=TurnDetection(type="server_vad", create_response=True),
    )
    session = model.session()
    try:
        async with asyncio.timeout(60):
            await converse(session)
    finally:
        await session.aclose()
        await model.aclose()


asyncio.run(main(sys.argv[1]))
