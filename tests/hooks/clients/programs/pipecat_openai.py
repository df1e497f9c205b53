"""A pipecat pipeline around OpenAI's realtime service: it speaks first, answers, and is talked over.

python pipecat_openai.py http://127.0.0.1:4000
"""

from __future__ import annotations

import asyncio
import sys

from pipecat.frames.frames import (
    BotStoppedSpeakingFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    LLMRunFrame,
    MetricsFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.metrics.metrics import LLMTokenUsage, LLMUsageMetricsData
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.realtime.events import (
    AudioConfiguration,
    AudioInput,
    InputAudioTranscription,
    SessionProperties,
    TurnDetection,
)
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner

# Half a second of 24 kHz, 16-bit mono: as long an utterance as the service waits for.
SPEECH = bytes(24_000)
SESSION = SessionProperties(
    audio=AudioConfiguration(
        input=AudioInput(
            transcription=InputAudioTranscription(model="gpt-4o-mini-transcribe"), turn_detection=TurnDetection()
        )
    )
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
    """Let it begin, answer it, and talk over its next answer, which makes it give another."""
    speech = InputAudioRawFrame(audio=SPEECH, sample_rate=24_000, num_channels=1)
    await worker.queue_frame(LLMRunFrame())
    print((await loudspeaker.usages.get()).total_tokens, "tokens")
    loudspeaker.speaks.clear()
    await worker.queue_frame(speech)
    await loudspeaker.speaks.wait()
    await worker.queue_frame(speech)
    for _answer in ("cut short", "whole"):
        await loudspeaker.usages.get()
    await worker.queue_frame(EndFrame())


async def main(url: str) -> None:
    """Build the pipeline and run it."""
    model = OpenAIRealtimeLLMService(
        api_key="any",
        base_url=f"{url.replace('http', 'ws', 1)}/v1/realtime",
        settings=OpenAIRealtimeLLMService.Settings(
            model="gpt-realtime", system_instruction="Answer in one short sentence.", session_properties=SESSION
        ),
    )
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
