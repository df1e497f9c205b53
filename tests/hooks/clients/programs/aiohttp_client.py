"""A voice session on a bare aiohttp socket: a spoken question, a typed one, and an answer that is cut short."""

from __future__ import annotations

import asyncio
import base64
import sys
from typing import Any

import aiohttp

# Half a second of 24 kHz, 16-bit mono.
SPEECH = base64.b64encode(bytes(24_000)).decode()
# Makes the simulator's answers last a second: time enough to cut one short.
PACE = {"sim_rate": "25", "sim_deltas": "25"}
SESSION = {
    "type": "realtime",
    "instructions": "Answer in one short sentence.",
    "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}, "turn_detection": None}},
}
QUESTION = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And in Spanish?"}]}


async def until(socket: aiohttp.ClientWebSocketResponse, *kinds: str) -> dict[str, Any]:
    """Read events up to one of these kinds."""
    async for message in socket:
        event: dict[str, Any] = message.json()
        if event["type"] == "error":
            raise RuntimeError(event["error"]["message"])
        if event["type"] in kinds:
            return event
    raise ConnectionError(f"closed with {socket.close_code}")


async def converse(socket: aiohttp.ClientWebSocketResponse) -> list[dict[str, Any]]:
    """Hold the conversation, and return its three answers."""
    await socket.send_json({"type": "session.update", "session": SESSION})
    await until(socket, "session.updated")
    await socket.send_json({"type": "input_audio_buffer.append", "audio": SPEECH})
    await socket.send_json({"type": "input_audio_buffer.commit"})
    await socket.send_json({"type": "response.create"})
    spoken = await until(socket, "response.done")
    await socket.send_json({"type": "conversation.item.create", "item": QUESTION})
    await socket.send_json({"type": "response.create", "response": {"output_modalities": ["text"]}})
    typed = await until(socket, "response.done")
    await socket.send_json({"type": "response.create"})
    await until(socket, "response.output_audio.delta")
    await socket.send_json({"type": "response.cancel"})
    cut = await until(socket, "response.done")
    return [event["response"] for event in (spoken, typed, cut)]


async def main(url: str) -> None:
    """Connect, converse and close, within half a minute."""
    query = {"model": "gpt-realtime", **PACE}
    headers = {"Authorization": "Bearer any"}
    async with (
        asyncio.timeout(30),
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(f"{url}/v1/realtime", params=query) as socket,
    ):
        answers = await converse(socket)
    for answer in answers:
        print(f"{answer['id']}: {answer['status']}")
    if [answer["status"] for answer in answers] != ["completed", "completed", "cancelled"]:
        raise RuntimeError("the answers ended in other ways than they were asked to")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
