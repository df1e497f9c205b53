"""A LiveKit agent on an Azure OpenAI deployment: it greets, answers what it hears and reads, and is cut short.

python livekit_azure_agent.py http://127.0.0.1:4000
"""

from __future__ import annotations

import asyncio
import sys

from livekit import rtc
from livekit.agents import (
    Agent,
    AgentSession,
    AgentStateChangedEvent,
    ConversationItemAddedEvent,
    RunContext,
    function_tool,
)
from livekit.agents.metrics import RealtimeModelMetrics
from livekit.agents.voice import io
from livekit.plugins import openai
from openai.types.beta.realtime.session import InputAudioTranscription, TurnDetection

# Half a second of 24 kHz, 16-bit mono: as long an utterance as the service waits for.
SPEECH = rtc.AudioFrame(bytes(24_000), sample_rate=24_000, num_channels=1, samples_per_channel=12_000)


class Microphone(io.AudioInput):
    """What the user says, where there is no room to hear it from."""

    def __init__(self) -> None:
        super().__init__(label="microphone")
        self.frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    async def __anext__(self) -> rtc.AudioFrame:
        """Wait for the user."""
        return await self.frames.get()


class Concierge(Agent):
    """An agent with a tool."""

    def __init__(self) -> None:
        super().__init__(instructions="Answer in one short sentence.")

    @function_tool
    async def opening_hours(self, _context: RunContext, place: str) -> str:
        """Look up when a place is open."""
        return f"{place} is open from 9 to 5."


async def until_answer(items: asyncio.Queue[ConversationItemAddedEvent]) -> None:
    """Follow the conversation up to what the agent says."""
    role = None
    while role != "assistant":
        item = (await items.get()).item
        role = item.role
        # How much of it had been said when it was cut short is not for us to say.
        print(f"{role}: {'(interrupted)' if item.interrupted else item.text_content}")


async def converse(session: AgentSession, microphone: Microphone) -> None:
    """Have it greet, ask it something aloud and in writing, and interrupt what it says last."""
    items: asyncio.Queue[ConversationItemAddedEvent] = asyncio.Queue()
    speaks, cancelled = asyncio.Event(), asyncio.Event()

    def follow(event: AgentStateChangedEvent) -> None:
        if event.new_state == "speaking":
            speaks.set()

    def note(metrics: object) -> None:
        if isinstance(metrics, RealtimeModelMetrics) and metrics.cancelled:
            cancelled.set()

    session.on("conversation_item_added", items.put_nowait)
    session.on("agent_state_changed", follow)
    session.current_agent.realtime_llm_session.on("metrics_collected", note)
    session.generate_reply(instructions="Greet the user.")
    await until_answer(items)
    microphone.frames.put_nowait(SPEECH)
    await until_answer(items)
    session.generate_reply(user_input="When is the museum open?")
    await until_answer(items)
    speaks.clear()
    session.generate_reply(user_input="Tell me its whole history.")
    await speaks.wait()
    await session.interrupt()
    await until_answer(items)
    # The agent turns away from an answer before the service has said what it used.
    await cancelled.wait()


async def main(url: str) -> None:
    """Start the agent, and close it."""
    model = openai.realtime.RealtimeModel.with_azure(
        azure_deployment="voice",
        base_url=f"{url}/openai/v1",
        api_key="any",
        input_audio_transcription=InputAudioTranscription(model="ears"),
        turn_detection=TurnDetection(type="server_vad", create_response=True),
    )
    microphone = Microphone()
    async with asyncio.timeout(60), AgentSession(llm=model) as session:
        session.input.audio = microphone
        await session.start(agent=Concierge())
        await converse(session, microphone)
    await model.aclose()


asyncio.run(main(sys.argv[1]))
