"""A voice session with the openai SDK (async): two spoken questions and a typed one, the input transcribed.

    OPENAI_API_KEY=... python examples/openai_sdk.py

Set OPENAI_BASE_URL to point it at another server. Nothing in here knows of realtime-spend.
"""

import asyncio
import base64
import os

from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

MODEL = os.environ.get("REALTIME_MODEL", "gpt-realtime")
# Half a second of 24 kHz, 16-bit mono. A real program would send what the microphone hears.
SPEECH = base64.b64encode(bytes(24_000)).decode()


async def answer(connection: AsyncRealtimeConnection) -> None:
    """Wait for the response to end."""
    async for event in connection:
        if event.type == "response.done":
            print(f"{event.response.id}: {event.response.status}")
            return
        if event.type == "error":
            raise RuntimeError(event.error.message)


async def main() -> None:
    """Hold the conversation."""
    client = AsyncOpenAI()
    async with client.realtime.connect(model=MODEL) as connection:
        await connection.session.update(
            session={
                "type": "realtime",
                "instructions": "Answer in one short sentence.",
                "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}, "turn_detection": None}},
            }
        )
        for _ in range(2):
            await connection.input_audio_buffer.append(audio=SPEECH)
            await connection.input_audio_buffer.commit()
            await connection.response.create()
            await answer(connection)
        await connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And in Spanish?"}]}
        )
        await connection.response.create()
        await answer(connection)


if __name__ == "__main__":
    asyncio.run(main())
