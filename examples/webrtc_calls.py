"""Sets up the WebRTC calls of browsers and meters each of them, by a socket beside it.

    pip install 'realtime-spend[attach]'
    OPENAI_API_KEY=... REALTIME_SPEND_LEDGER=./ledger python webrtc_calls.py

A browser sends its offer to /call and gets the answer of the service. It never sees a key, and what it uses is told to
this server, where it can neither hide it nor make it up.
"""

from __future__ import annotations

import asyncio
import os

from aiohttp import web
from openai import AsyncOpenAI, OpenAIError

from realtime_spend import RealtimeInstrumentor, attributed
from realtime_spend.sideband import Attachment, Service

MODEL = os.environ.get("MODEL", "gpt-realtime")
OPENAI = web.AppKey("OPENAI", AsyncOpenAI)
metered: set[asyncio.Task[object]] = set()


async def call(request: web.Request) -> web.Response:
    """Answer the offer of a browser, and listen to its call until that is over."""
    offer = await request.text()
    try:
        answer = await request.app[OPENAI].realtime.calls.create(
            sdp=offer, session={"type": "realtime", "model": MODEL}
        )
    except OpenAIError as error:
        raise web.HTTPBadGateway(text=f"the service takes no call: {type(error).__name__}\n") from None
    call_id = answer.response.headers["Location"].rpartition("/")[2]
    # Your own login has to say who this is; here a proxy in front of this server does.
    with attributed(user=request.headers.get("X-User", "nobody")):
        task = asyncio.create_task(Attachment(call_id, Service.of(os.environ)).follow())
    metered.add(task)
    task.add_done_callback(metered.discard)
    return web.Response(text=answer.text, status=201, content_type="application/sdp")


def main() -> None:
    """Serve until somebody stops it."""
    RealtimeInstrumentor().instrument()
    app = web.Application()
    app[OPENAI] = AsyncOpenAI()
    app.router.add_post("/call", call)
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8082")))


if __name__ == "__main__":
    main()
