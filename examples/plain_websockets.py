"""A voice session on a bare WebSocket, with the library `websockets` and nothing else.

    OPENAI_API_KEY=... python examples/plain_websockets.py

Set REALTIME_URL to point it at another server. Nothing in here knows of realtime-spend.
"""

import asyncio
import base64
import json
import os

from websockets.asyncio.client import connect

URL = os.environ.get("REALTIME_URL", "wss://api.openai.com/v1/realtime?model=gpt-realtime-mini")
# Half a second of 24 kHz, 16-bit mono. A real program would send what the microphone hears.
SPEECH = base64.b64encode(bytes(24_000)).decode()
QUESTIONS = 4


async def main() -> None:
    """Ask a few questions; the service hears when each has ended."""
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    async with connect(URL, additional_headers=headers) as websocket:
        transcription = {"model": "gpt-realtime-whisper"}
        session = {"type": "realtime", "audio": {"input": {"transcription": transcription}}}
        await websocket.send(json.dumps({"type": "session.update", "session": session}))
        await websocket.send(json.dumps({"type": "input_audio_buffer.append", "audio": SPEECH}))
        answers = 0
        async for message in websocket:
            event = json.loads(message)
            if event["type"] == "error":
                raise RuntimeError(event["error"]["message"])
            if event["type"] == "response.done":
                print(f"{event['response']['id']}: {event['response']['status']}")
                answers += 1
                if answers == QUESTIONS:
                    return
                await websocket.send(json.dumps({"type": "input_audio_buffer.append", "audio": SPEECH}))


if __name__ == "__main__":
    asyncio.run(main())
