"""A pipecat pipeline around an Azure OpenAI deployment: turns by hand, one in writing, one aloud, one cut short.

python pipecat_azure.py http://127.0.0.1:4000
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
    LLMMessagesAppendFrame,
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
from pipecat.services.azure.realtime.llm import AzureRealtimeLLMService
from pipecat.services.openai.realtime.events import (
    AudioConfiguration,
    AudioInput,
    InputAudioTranscription,
    SessionProperties,
)
from pipecat.workers.runner import WorkerRunner

# Half a second of 24 kHz, 16-bit mono: as long an utterance as the service waits for.
SPEECH = bytes(24_000)
SESSION = SessionProperties(
    audio=AudioConfiguration(
        input=AudioInput(transcription=InputAudioTranscription(model="ears"), turn_detection=False)
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


def user_message(text: str) -> LLMMessagesAppendFrame:
    """Type something to be answered."""
    return LLMMessagesAppendFrame(messages=[{"role": "user", "content": text}], run_llm=True)


async def converse(worker: PipelineWorker, loudspeaker: Loudspeaker) -> None:
    """Ask in writing and aloud, and stop the answer to a third question."""
    speech = InputAudioRawFrame(audio=SPEECH, sample_rate=24_000, num_channels=1)
    await worker.queue_frame(user_message("When is the museum open?"))
    print((await loudspeaker.usages.get()).total_tokens, "tokens")
    await worker.queue_frames([speech, UserStoppedSpeakingFrame()])
    print((await loudspeaker.usages.get()).total_tokens, "tokens")
    loudspeaker.speaks.clear()
    await worker.queue_frames([speech, UserStoppedSpeakingFrame()])
    await loudspeaker.speaks.wait()
    await worker.queue_frame(InterruptionFrame())
    await loudspeaker.usages.get()
    await worker.queue_frame(EndFrame())


async def main(url: str) -> None:
    """Build the pipeline and run it."""
    model = AzureRealtimeLLMService(
        api_key="any",
        base_url=f"{url.replace('http', 'ws', 1)}/openai/v1/realtime",
        settings=AzureRealtimeLLMService.Settings(
            model="voice", system_instruction="Answer in one short sentence.", session_properties=SESSION
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
