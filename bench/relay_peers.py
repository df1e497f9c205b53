"""The two ends that relays are measured between, and the plainest relay there is: each a program of its own.

    python -m bench.relay_peers source
    python -m bench.relay_peers aiohttp --upstream URL

The source takes any handshake. A message of a client asks for frames: `frames SIZE COUNT` for a stream of them, with
one usage among a hundred deltas, `session` for what a session begins with. It prints its URL.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import struct
from typing import Any

import aiohttp
from aiohttp import web

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_DELTAS_A_USAGE = 100
_END = b"\r\n\r\n"
_MASKED, _LENGTH, _TWO_BYTES, _FEW, _MANY = 0x80, 0x7F, 126, 126, 65_536
_CREATED = {"type": "session.created", "event_id": "event_0", "session": {"id": "sess_1", "model": "gpt-realtime"}}


def framed(text: str) -> bytes:
    """Return a text frame as a server sends it."""
    data = text.encode()
    if len(data) < _FEW:
        return bytes((0x81, len(data))) + data
    if len(data) < _MANY:
        return b"\x81\x7e" + struct.pack(">H", len(data)) + data
    return b"\x81\x7f" + struct.pack(">Q", len(data)) + data


def delta(size: int) -> bytes:
    """Return an audio delta of about that size."""
    head = {"type": "response.output_audio.delta", "event_id": "event_1", "response_id": "resp_1", "item_id": "item_1"}
    return framed(
        json.dumps({**head, "output_index": 0, "content_index": 0, "delta": "A" * size}, separators=(",", ":"))
    )


def usage(number: int) -> bytes:
    """Return the end of a response, which has used something."""
    details = {"text_tokens": 50, "audio_tokens": 50}
    told = {"total_tokens": 300, "input_tokens": 200, "output_tokens": 100}
    inputs = {"text_tokens": 120, "audio_tokens": 80, "cached_tokens": 64}
    split = {**inputs, "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0}}
    told |= {"input_token_details": split, "output_token_details": details}  # type: ignore[dict-item]
    response = {"id": f"resp_{number}", "object": "realtime.response", "status": "completed", "usage": told}
    return framed(json.dumps({"type": "response.done", "response": response}))


class Source(asyncio.Protocol):
    """Sends what it is asked for, as fast as it is taken."""

    transport: asyncio.Transport
    _usages = 0

    def __init__(self) -> None:
        self._came = b""
        self._is_open = False
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._sending: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP
        self.transport = transport

    def pause_writing(self) -> None:
        """Wait."""
        self._can_write.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._can_write.set()

    def data_received(self, data: bytes) -> None:
        """Shake hands, then take messages."""
        self._came += data
        if not self._is_open:
            head, end, rest = self._came.partition(_END)
            if not end:
                return
            self._came, self._is_open = rest, True
            lines = [line.partition(b":") for line in head.split(b"\r\n")]
            key = next((value.strip() for name, _, value in lines if name.lower() == b"sec-websocket-key"), None)
            if key is None:
                # A gateway may ask for something else too.
                self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                self.transport.close()
                return
            accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324 - the protocol's own
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + _END + framed(json.dumps(_CREATED))
            )
        while (message := self._message()) is not None:
            self._answer(message)

    def _message(self) -> bytes | None:
        """Take the next short message off what came, None if it is not all there."""
        came = self._came
        if len(came) < 6:  # noqa: PLR2004 - header and mask
            return None
        length, body = came[1] & _LENGTH, 2
        if length == _TWO_BYTES:
            length, body = struct.unpack_from(">H", came, 2)[0], 4
        mask = came[body : body + 4]
        payload = came[body + 4 : body + 4 + length]
        if len(payload) < length:
            return None
        self._came = came[body + 4 + length :]
        return bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload)) if came[0] & 0x0F == 1 else b""

    def _answer(self, message: bytes) -> None:
        # A gateway may wrap what it passes on; the words are looked for wherever they are.
        words = message.decode().replace('"', " ").split()
        if "frames" not in words:
            return
        at = words.index("frames")
        size, count = int(words[at + 1]), int(words[at + 2])
        if count == 1:
            self.transport.write(delta(size))
            return
        task = asyncio.create_task(self._send(size, count))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, size: int, count: int) -> None:
        one = delta(size)
        for number in range(1, count + 1):
            await self._can_write.wait()
            if number % _DELTAS_A_USAGE:
                self.transport.write(one)
            else:
                Source._usages += 1
                self.transport.write(usage(Source._usages))


async def source() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Source, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


async def pass_through(upstream: str) -> None:
    """Relay with aiohttp on both sides: a message in, a message out, nothing decoded, nothing compressed."""
    client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def relay(request: web.Request) -> web.WebSocketResponse:
        near = web.WebSocketResponse(compress=False, max_msg_size=0, decode_text=False)
        await near.prepare(request)
        url = upstream + request.path_qs
        async with client.ws_connect(url, compress=0, max_msg_size=0, decode_text=False) as far:
            ends = [asyncio.create_task(_carry(near, far)), asyncio.create_task(_carry(far, near))]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
        return near

    app = web.Application()
    app.router.add_get("/v1/realtime", relay)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


async def _carry(source: Any, sink: Any) -> None:
    async for message in source:
        await sink.send_frame(message.data, message.type)


def main() -> None:
    """Be one of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("source", "aiohttp"))
    parser.add_argument("--upstream", default="")
    arguments = parser.parse_args()
    asyncio.run(source() if arguments.what == "source" else pass_through(arguments.upstream))


if __name__ == "__main__":
    main()
