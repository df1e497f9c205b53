"""A voice service on bare WebSockets: holds the sessions of its plan at once.

    python voice.py '[{"url": "ws://...", "answers": 3, "pause": 0.5, "tenant": "acme"}]' [--fork]

A session with `"until": "a path"` ends before its last answer once that file is there; one with `"silence": 3` waits
no longer than three seconds for an answer. With `--fork` it then forks, as a preloading server does, and parent and
child each hold all of them once more. Of realtime-spend it knows only to say whose a session is.
"""

import asyncio
import base64
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from realtime_spend import attributed

# Half a second of 24 kHz, 16-bit mono: one utterance.
SPEECH = json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(24_000)).decode()})
# How long an answer is waited for, unless the plan knows that one never ends: longer than any machine needs for it.
SILENCE_SECONDS = 60.0


def session(plan: dict[str, Any]) -> dict[str, Any]:
    """Says what the session is to be."""
    if "transcription" not in plan:
        return {"type": "realtime"}
    transcription = {"model": plan["transcription"]}
    if "deployment=" in plan["url"]:
        # Azure's preview interface still speaks as the beta did.
        return {"input_audio_transcription": transcription}
    return {"type": "realtime", "audio": {"input": {"transcription": transcription}}}


def is_enough(plan: dict[str, Any]) -> bool:
    """Whether somebody has said so in the meantime."""
    return "until" in plan and Path(plan["until"]).exists()


async def converse(plan: dict[str, Any]) -> None:
    """Speaks, hears the answer, and pauses before it speaks again, until there were as many answers as planned."""
    answered = set()
    with suppress(ConnectionClosed, TimeoutError), attributed(tenant=plan.get("tenant")):
        async with connect(plan["url"], proxy=None, open_timeout=SILENCE_SECONDS) as websocket:
            await websocket.send(json.dumps({"type": "session.update", "session": session(plan)}))
            for _ in range(plan["answers"]):
                if is_enough(plan):
                    break
                await websocket.send(SPEECH)
                async with asyncio.timeout(plan.get("silence", SILENCE_SECONDS)):
                    async for message in websocket:
                        event = json.loads(message)
                        # A service may say it twice.
                        if event["type"] == "response.done" and event["response"]["id"] not in answered:
                            answered.add(event["response"]["id"])
                            break
                await asyncio.sleep(plan.get("pause", 0))


async def converse_at_once() -> None:
    """Holds all sessions of the plan."""
    await asyncio.gather(*map(converse, json.loads(sys.argv[1])))


if __name__ == "__main__":
    asyncio.run(converse_at_once())
    if "--fork" in sys.argv:
        child = os.fork()
        asyncio.run(converse_at_once())
        if child and os.waitpid(child, 0)[1]:
            sys.exit("the child did not end well")
