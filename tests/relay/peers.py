"""Peers that say exactly what a test wants, byte for byte: an upstream, and a client."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

END = b"\r\n\r\n"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PATH = "/v1/realtime?model=gpt-realtime"
PATIENCE = 30.0
MASK = b"\x09\x08\x07\x06"


def frame(payload: str | bytes, opcode: int = TEXT, *, final: bool = True, mask: bytes | None = None) -> bytes:
    data = payload.encode() if isinstance(payload, str) else payload
    masked = 0x80 if mask else 0
    if len(data) < 126:
        length = bytes((masked | len(data),))
    elif len(data) < 65_536:
        length = bytes((masked | 126,)) + struct.pack(">H", len(data))
    else:
        length = bytes((masked | 127,)) + struct.pack(">Q", len(data))
    body = data if mask is None else mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
    return bytes(((0x80 if final else 0) | opcode,)) + length + body


def closing(code: int, reason: str = "", mask: bytes | None = None) -> bytes:
    return frame(struct.pack(">H", code) + reason.encode(), CLOSE, mask=mask)


def accepted(key: bytes, *more: str) -> bytes:
    accept = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()  # noqa: S324 - the protocol's own
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", *more, "", ""]).encode()


def key_of(request: bytes) -> bytes:
    [key] = [
        line.split(b":", 1)[1].strip()
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    ]
    return key


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


@dataclass
class Upstream:
    """A server whose requests are kept."""

    url: str
    requests: list[bytes]


@contextlib.asynccontextmanager
async def upstream(talk: Talk, *fields: str, accepts: bool = True) -> AsyncIterator[Upstream]:
    """Serve `talk` to whoever connects, after the handshake if it `accepts`."""
    tasks: set[asyncio.Task[Any]] = set()
    requests: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            if accepts:
                head = await reader.readuntil(END)
                requests.append(head)
                writer.write(accepted(key_of(head), *fields))
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield Upstream(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests)
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Client:
    """A connection that speaks no more than it is told to."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    answer: bytes

    @property
    def status(self) -> int:
        return int(self.answer.split(b" ", 2)[1])

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def read(self, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(count)

    async def to_the_end(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    def leave(self) -> None:
        self.writer.transport.abort()


def request(path: str = PATH, *fields: str, host: str = "relay.example") -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket"]
    lines += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
    return "\r\n".join([*lines, *fields, "", ""]).encode()


@contextlib.asynccontextmanager
async def client(port: int, head: bytes | None = None) -> AsyncIterator[Client]:
    """Connect to a port of this machine, send a request, and read the head of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request() if head is None else head)
        async with asyncio.timeout(PATIENCE):
            answer = await reader.readuntil(END)
        yield Client(reader, writer, answer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


# --- What a service says ----------------------------------------------------------------------------------------------

CREATED = frame('{"type":"session.created","session":{"id":"sess_1","model":"gpt-realtime"}}')


def used(number: int, text: int) -> bytes:
    """Return the end of a response that has used so many tokens of text."""
    details = f'"input_token_details":{{"text_tokens":{text}}},"output_token_details":{{}}'
    usage = f'{{"total_tokens":{text},"input_tokens":{text},"output_tokens":0,{details}}}'
    return frame(f'{{"type":"response.done","response":{{"id":"resp_{number}","status":"completed","usage":{usage}}}}}')


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing, as long as anybody is there."""
    await reader.read()


class Flood:
    """An upstream that sends more than anybody takes, each frame as soon as there is room for it."""

    written = 0

    async def __call__(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(0)
        for _ in range(20_000):
            writer.write(frame(b"a" * 8_000, BINARY))
            await writer.drain()
            self.written += 1


class Heard:
    """An upstream that keeps what it is told, and may say something first."""

    def __init__(self, *says: bytes) -> None:
        self._says = says
        self.heard = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for said in self._says:
            writer.write(said)
        while data := await reader.read(65_536):
            self.heard += data
            if data[:1] == bytes((0x80 | CLOSE,)):
                writer.write(closing(1000))
                return


# --- What a client is told --------------------------------------------------------------------------------------------


def close_of(data: bytes) -> tuple[int, str]:
    """Return code and reason of the close frame that `data` ends with."""
    begin = data.rindex(bytes((0x80 | CLOSE,)))
    payload = data[begin + 2 :]
    return struct.unpack(">H", payload[:2])[0], payload[2:].decode()


async def error_of(peer: Client) -> str:
    """Return the code of an answer that refuses."""
    code: str = json.loads(await peer.to_the_end())["error"]["code"]
    return code
