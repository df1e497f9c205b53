"""A server between a browser and Azure OpenAI, aiohttp on both sides, as voice applications on Azure are often built.

The browser speaks to our `/realtime` and never sees the key; the server adds the instructions and passes events on. The
browser is played by a process of its own, this same file with `--browser`, and knows nothing of the service behind.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

import aiohttp
from aiohttp import web

DEPLOYMENT = "voice"
ENDPOINT = web.AppKey("endpoint", str)
SESSION = {
    "instructions": "Answer from the knowledge base only.",
    "input_audio_transcription": {"model": "ears"},
}
# Half a second of 24 kHz, 16-bit mono: as long an utterance as the service waits for.
SPEECH = base64.b64encode(bytes(24_000)).decode()
# Makes the simulator's answers last a second: time enough to cut one short.
PACE = {"sim_rate": "25", "sim_deltas": "25"}


async def serve_browser(request: web.Request) -> web.WebSocketResponse:
    """Open a session for this browser, and pass on what either side says."""
    browser = web.WebSocketResponse()
    await browser.prepare(request)
    query = {"api-version": "2024-10-01-preview", "deployment": DEPLOYMENT, **PACE}
    async with (
        aiohttp.ClientSession(base_url=request.app[ENDPOINT]) as session,
        session.ws_connect("/openai/realtime", headers={"api-key": "any"}, params=query) as azure,
    ):
        answers = asyncio.create_task(to_browser(azure, browser))
        await to_azure(browser, azure)
        await azure.close()
        await answers
    return browser


async def to_azure(browser: web.WebSocketResponse, azure: aiohttp.ClientWebSocketResponse) -> None:
    """Pass on what the browser says; the session's settings are ours to make."""
    async for message in browser:
        event = message.json()
        if event["type"] == "session.update":
            event["session"] = {**event["session"], **SESSION}
        await azure.send_json(event)


async def to_browser(azure: aiohttp.ClientWebSocketResponse, browser: web.WebSocketResponse) -> None:
    """Pass on what the service says, but not the instructions."""
    async for message in azure:
        event = message.json()
        if event["type"] == "session.created":
            event["session"]["instructions"] = ""
        if not browser.closed:
            await browser.send_str(json.dumps(event))


async def browse(url: str) -> None:
    """Be the browser: talk three times, and talk over the third answer."""
    async with asyncio.timeout(30), aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await socket.send_json({"type": "session.update", "session": {"turn_detection": {"type": "server_vad"}}})
        speak = {"type": "input_audio_buffer.append", "audio": SPEECH}
        await socket.send_json(speak)
        answers: list[str] = []
        talked_over = False
        async for message in socket:
            event: dict[str, Any] = message.json()
            if event["type"] == "error":
                raise RuntimeError(event["error"]["message"])
            if event["type"] == "response.audio.delta" and len(answers) == 2 and not talked_over:
                talked_over = True
                await socket.send_json(speak)
            if event["type"] == "response.done":
                answers.append(event["response"]["status"])
                print(f"{event['response']['id']}: {answers[-1]}")
                if len(answers) < 3:
                    await socket.send_json(speak)
                elif len(answers) == 4:
                    break
    if answers != ["completed", "completed", "cancelled", "completed"]:
        raise RuntimeError(f"the answers ended {answers}")


async def main(endpoint: str) -> None:
    """Serve until one browser has come and gone."""
    app = web.Application()
    app[ENDPOINT] = endpoint
    app.router.add_get("/realtime", serve_browser)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--browser", f"http://127.0.0.1:{port}/realtime"
        )
        status = await process.wait()
    finally:
        await runner.cleanup()
    if status:
        raise RuntimeError(f"the browser ended with {status}")


if __name__ == "__main__":
    if sys.argv[1] == "--browser":
        asyncio.run(browse(sys.argv[2]))
    else:
        asyncio.run(main(sys.argv[1]))
