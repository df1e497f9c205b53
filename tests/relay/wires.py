"""A wire that records: everything that passes a TCP connection, byte for byte, in both directions."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Self

END = b"\r\n\r\n"


@dataclass
class Recorded:
    """What passed one connection. `reset` names the sides that ended abruptly."""

    to_server: bytearray = field(default_factory=bytearray)
    to_client: bytearray = field(default_factory=bytearray)
    reset: list[str] = field(default_factory=list)

    @property
    def request(self) -> bytes:
        return bytes(self.to_server).partition(END)[0]

    @property
    def answer(self) -> bytes:
        return bytes(self.to_client).partition(END)[0]

    @property
    def frames_to_server(self) -> bytes:
        return bytes(self.to_server).partition(END)[2]

    @property
    def frames_to_client(self) -> bytes:
        return bytes(self.to_client).partition(END)[2]


class Wire:
    """Listens, and connects each client with the server behind it."""

    def __init__(self, host: str, port: int) -> None:
        self._behind = (host, port)
        self.connections: list[Recorded] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_over(self) -> bool:
        return all(task.done() for task in self._tasks)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        recorded = Recorded()
        self.connections.append(recorded)
        ends = [writer]
        try:
            behind_reader, behind_writer = await asyncio.open_connection(*self._behind)
            ends.append(behind_writer)
            await asyncio.gather(
                _carry(reader, behind_writer, recorded.to_server, recorded, "client"),
                _carry(behind_reader, writer, recorded.to_client, recorded, "server"),
            )
        except (OSError, asyncio.CancelledError):
            # Whoever stops the wire cancels this; the loop would complain of it.
            pass
        finally:
            for end in ends:
                end.close()
            for end in ends:
                with contextlib.suppress(OSError):
                    await end.wait_closed()


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, into: bytearray, recorded: Recorded, who: str
) -> None:
    try:
        while data := await reader.read(65_536):
            into += data
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        recorded.reset.append(who)
        writer.transport.abort()
