"""A pipecat pipeline around Azure Voice Live: it speaks first, is interrupted, and answers twice.

python pipecat_voice_live.py http://127.0.0.1:4000
"""

from __future__ import annotations

import asyncio
import sys

from pipecat.frames.frames import (
    BotStoppedSpeakingFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMRunFrame,
    MetricsFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.metrics.metrics import LLMTokenUsage, LLMUsageMetricsData
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.azure.voice_live.events import InputAudioTranscription, SessionProperties
from pipecat.services.azure.voice_live.llm import AzureVoiceLiveLLMService
from pipecat.workers.runner import WorkerRunner

# Half a second of 24 kHz, 16-bit mono: as long an utterance as the service waits for.
SPEECH = bytes(24_000)
SESSION = SessionProperties(
    modalities=["text", "audio"],
    turn_detection=False,
    input_audio_transcription=InputAudioTranscription(model="azure-speech"),
)


class Loudspeaker(FrameProcessor):
    """Says when the bot begins and ends to be heard, as a transport does, and learns what each answer used."""

    def __init__(self) -> None:
        super().__init__()
        self.speaks = asyncio.Event()
        self.usages: asyncio.Queue[LLMTokenUsage] = asyncio.Queue()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Note what passes, and let it."""
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSStartedFrame):
            self.speaks.set()
        elif isinstance(frame, TTSStoppedFrame):
            await self.push_frame(BotStoppedSpeakingFrame(), FrameDirection.UPSTREAM)
        elif isinstance(frame, MetricsFrame):
            for metrics in frame.data:
                if isinstance(metrics, LLMUsageMetricsData):
                    self.usages.put_nowait(metrics.value)
        await self.push_frame(frame, direction)


async def converse(worker: PipelineWorker, loudspeaker: Loudspeaker) -> None:
    """Let it begin, stop it, and ask twice aloud."""
    await worker.queue_frame(LLMRunFrame())
    await loudspeaker.speaks.wait()
    await worker.queue_frame(InterruptionFrame())
    await loudspeaker.usages.get()
    speech = InputAudioRawFrame(audio=SPEECH, sample_rate=24_000, num_channels=1)
    for _question in range(2):
        await worker.queue_frames([speech, UserStoppedSpeakingFrame()])
        print((await loudspeaker.usages.get()).completion_tokens, "tokens")
    await worker.queue_frame(EndFrame())


async def main(url: str) -> None:
    """Build the pipeline and run it."""
    model = AzureVoiceLiveLLMService(
        api_key="any",
        endpoint=url,
        settings=AzureVoiceLiveLLMService.Settings(
            model="gpt-realtime", system_instruction="Answer in one short sentence.", session_properties=SESSION
        ),
    )
    # It asks for TLS whatever the endpoint says, and a service on this machine has none.
    model.base_url = model.base_url.replace("wss", "ws", 1)
    context = LLMContext()
    aggregators = LLMContextAggregatorPair(context)
    loudspeaker = Loudspeaker()
    worker = PipelineWorker(
        Pipeline([aggregators.user(), model, loudspeaker, aggregators.assistant()]),
        params=PipelineParams(enable_metrics=True, enable_usage_metrics=True),
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run())
        tasks.create_task(converse(worker, loudspeaker))
    print(" ".join(message["content"] for message in context.get_messages() if message["role"] == "user"))


asyncio.run(main(sys.argv[1]))
