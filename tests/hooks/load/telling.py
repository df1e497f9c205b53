"""Holds metered sessions until it is killed, and tells the id of each usage as soon as a client has read it.

Its arguments are the URL of a service, the folder of the ledger, and after how many turns the sessions fall silent.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys

from opentelemetry.sdk.metrics import MeterProvider
from websockets.asyncio.client import connect

from realtime_spend import RealtimeInstrumentor

AT_ONCE = 10
SOUND = base64.b64encode(bytes(48 * 600)).decode()
HEARD = {"transcription": {"model": "gpt-4o-transcribe"}}
UPDATE = {"type": "session.update", "session": {"type": "realtime", "audio": {"input": HEARD}}}
APPEND = {"type": "input_audio_buffer.append", "audio": SOUND}


async def talk(url: str, turns: int) -> None:
    """Speak again whenever there is an answer, until it is enough; then go on listening."""
    async with connect(url, proxy=None) as connection:
        for event in (UPDATE, APPEND):
            await connection.send(json.dumps(event))
        async for frame in connection:
            event = json.loads(frame)
            if event["type"] == "response.done":
                tell(event["response"]["id"])
            elif event["type"] == "conversation.item.input_audio_transcription.completed":
                tell(f"{event['item_id']}#0")
            elif event["type"] == "rate_limits.updated" and (turns := turns - 1):
                await connection.send(json.dumps(APPEND))


def tell(usage: str) -> None:
    """Print without a buffer, which would die with the process."""
    os.write(1, f"{usage}\n".encode())


async def main() -> None:
    """Hold the sessions."""
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(talk(sys.argv[1], int(sys.argv[3])))


if __name__ == "__main__":
    RealtimeInstrumentor().instrument(meter_provider=MeterProvider(), ledger=sys.argv[2])
    asyncio.run(main())
