"""A session of Azure Voice Live with its own SDK: an answer to speech, one to a typed question, and one cancelled.

python voicelive.py http://127.0.0.1:4000
"""

from __future__ import annotations

import asyncio
import base64
import sys

from azure.ai.voicelive.aio import VoiceLiveConnection, connect
from azure.ai.voicelive.models import (
    AudioInputTranscriptionOptions,
    InputTextContentPart,
    Modality,
    RequestSession,
    ServerEvent,
    ServerEventType,
    ServerVad,
    UserMessageItem,
)
from azure.core.credentials import AzureKeyCredential

# Half a second of 24 kHz, 16-bit mono: as long an utterance as the service waits for.
SPEECH = base64.b64encode(bytes(24_000)).decode()
SESSION = RequestSession(
    modalities=[Modality.TEXT, Modality.AUDIO],
    instructions="Answer in one short sentence.",
    voice="alloy",
    turn_detection=ServerVad(),
    input_audio_transcription=AudioInputTranscriptionOptions(model="gpt-4o-transcribe"),
)


async def until(connection: VoiceLiveConnection, kind: ServerEventType) -> ServerEvent:
    """Read events up to one of this kind."""
    async for event in connection:
        if event.type == ServerEventType.ERROR:
            raise RuntimeError(event.error.message)
        if event.type == kind:
            return event
    raise ConnectionError("the session ended")


async def until_answer(connection: VoiceLiveConnection) -> None:
    """Read events up to the end of an answer, and say how it ended."""
    response = (await until(connection, ServerEventType.RESPONSE_DONE)).response
    print(f"{response.id}: {response.status.value}")


async def converse(connection: VoiceLiveConnection) -> None:
    """Ask aloud, then in writing, and cancel the answer to a third question."""
    await connection.session.update(session=SESSION)
    await until(connection, ServerEventType.SESSION_UPDATED)
    await connection.input_audio_buffer.append(audio=SPEECH)
    heard = await until(connection, ServerEventType.CONVERSATION_ITEM_INPUT_AUDIO_TRANSCRIPTION_COMPLETED)
    print(heard.transcript)
    await until_answer(connection)
    question = UserMessageItem(content=[InputTextContentPart(text="And in Spanish?")])
    await connection.conversation.item.create(item=question)
    await connection.response.create()
    await until_answer(connection)
    await connection.response.create(additional_instructions="Tell a story.")
    await until(connection, ServerEventType.RESPONSE_AUDIO_DELTA)
    await connection.response.cancel()
    await until_answer(connection)


async def main(endpoint: str) -> None:
    """Open the session and hold the conversation."""
    async with (
        asyncio.timeout(30),
        connect(credential=AzureKeyCredential("any"), endpoint=endpoint, model="gpt-realtime") as connection,
    ):
        await converse(connection)


asyncio.run(main(sys.argv[1]))
