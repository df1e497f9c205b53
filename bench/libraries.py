"""A connection of each socket library that can be fed frames without a network, to time the method that is hooked.

Where a library can be had with no socket at all, it is; the others connect once, to a server on loopback that says
nothing, and are then fed from memory.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import httpx
import httpx_ws
import websocket
import wsproto.frame_protocol
from aiortc.rtcdatachannel import RTCDataChannel, RTCDataChannelParameters
from websockets.asyncio.server import ServerConnection, serve
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from bench.measuring import clock, per_call
from bench.session_events import URL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_PATIENCE = 10.0


class Library(Protocol):
    """A connection of one library."""

    def take(self, frame: bytes, times: int) -> float:
        """Have a frame arrive so many times; return the microseconds that the hooked method took for each."""

    def close(self) -> None:
        """Let go of the connection."""


class Websockets:
    """`ClientProtocol.events_received` of `websockets`, with the handshake over and one frame at a time."""

    def __init__(self) -> None:
        self._protocol: Any = ClientProtocol(parse_uri(URL))
        server = ServerProtocol()
        self._protocol.send_request(self._protocol.connect())
        server.receive_data(b"".join(self._protocol.data_to_send()))
        (request,) = server.events_received()
        assert isinstance(request, Request)  # noqa: S101 - it is the first thing that a client says
        server.send_response(server.accept(request))
        self._protocol.receive_data(b"".join(server.data_to_send()))
        self._protocol.events_received()

    def take(self, frame: bytes, times: int) -> float:
        """Have it parsed already, and ask for it."""
        protocol, arrived = self._protocol, Frame(Opcode.TEXT, frame)

        def receive() -> None:
            protocol.events = [arrived]
            protocol.events_received()

        return per_call(receive, times)

    def close(self) -> None:
        """End it as a connection that is cut does."""
        self._protocol.receive_eof()


class HttpxWs:
    """`events()` of the `wsproto` connection in a session of `httpx-ws`, which parses what it was given."""

    def __init__(self) -> None:
        response = httpx.Response(101, request=httpx.Request("GET", URL.replace("ws://", "http://")))
        without_a_socket: Any = None
        self._session = httpx_ws.WebSocketSession(without_a_socket, response=response)

    def take(self, frame: bytes, times: int) -> float:
        """Give it the bytes of the frames, untimed, and read its events."""
        peer = wsproto.frame_protocol.FrameProtocol(client=False, extensions=[])
        self._session.connection.receive_data(bytes(peer.send_data(frame.decode(), fin=True) * times))
        begun = clock()
        for _event in self._session.connection.events():
            pass
        return (clock() - begun) / times / 1000

    def close(self) -> None:
        """Nothing is open."""


class Aiortc:
    """`emit` of a data channel of `aiortc` to one listener."""

    def __init__(self) -> None:
        without_a_transport: Any = None
        parameters = RTCDataChannelParameters(label="oai-events")
        self._channel: Any = RTCDataChannel(without_a_transport, parameters, send_open=False)
        self._channel.on("message", lambda message: message)

    def take(self, frame: bytes, times: int) -> float:
        """Emit the frame as text, as it comes from the peer."""
        channel, text = self._channel, frame.decode()
        return per_call(lambda: channel.emit("message", text), times)

    def close(self) -> None:
        """Say that the channel is closed."""
        self._channel.emit("close")


class Aiohttp:
    """`ClientWebSocketResponse.receive` of `aiohttp`, through its reader."""

    def __init__(self, quiet: QuietServer) -> None:
        self._run = quiet.run
        self._session: Any = None
        self._socket: Any = self._run(self._connect(quiet.url))

    async def _connect(self, url: str) -> Any:
        self._session = aiohttp.ClientSession()
        return await self._session.ws_connect(url)

    def take(self, frame: bytes, times: int) -> float:
        """Put messages into the reader's queue, as the parser does, and receive them."""
        return float(self._run(self._take(frame.decode(), times)))

    async def _take(self, text: str, times: int) -> float:
        socket = self._socket
        reader = getattr(socket._reader, "watched_reader", socket._reader)  # noqa: SLF001 - where its parser puts them
        message = aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, text, None)
        for _ in range(times):
            reader.feed_data(message, len(text))
        begun = clock()
        for _ in range(times):
            await socket.receive()
        return (clock() - begun) / times / 1000

    def close(self) -> None:
        """Close the connection and what it was made with."""
        self._run(self._socket.close())
        self._run(self._session.close())


class LegacyWebsockets:
    """`read_message` of the legacy API of `websockets`, which parses frames from a stream."""

    def __init__(self, quiet: QuietServer) -> None:
        from websockets.legacy.client import WebSocketClientProtocol  # noqa: PLC0415 - it warns when it is imported

        class Unread(WebSocketClientProtocol):  # type: ignore[misc,unused-ignore]  # it is deprecated
            """A connection that starts no task to read from it."""

            def connection_open(self) -> None:
                self.state = OPEN

        self._run = quiet.run
        self._protocol: Any = self._run(self._connect(quiet.url, Unread))

    async def _connect(self, url: str, protocol: Callable[[], Any]) -> Any:
        from websockets.legacy.client import connect  # noqa: PLC0415 - as above

        opened = connect(url, create_protocol=protocol, ping_interval=None, compression=None, max_size=None)
        return await opened.__await_impl__()

    def take(self, frame: bytes, times: int) -> float:
        """Put the frames into the stream, and read messages."""
        return float(self._run(self._take(frame, times)))

    async def _take(self, frame: bytes, times: int) -> float:
        protocol = self._protocol
        protocol.reader.feed_data(Frame(Opcode.TEXT, frame).serialize(mask=False) * times)
        begun = clock()
        for _ in range(times):
            await protocol.read_message()
        return (clock() - begun) / times / 1000

    def close(self) -> None:
        """Cut the connection."""
        self._protocol.transport.abort()


class WebsocketClient:
    """`recv_frame` of `websocket-client`, which parses frames from its socket."""

    def __init__(self, quiet: QuietServer) -> None:
        # Its check of UTF-8 is written in Python and would drown everything else: 7 ms for 40 KB.
        self._socket: Any = websocket.WebSocket(skip_utf8_validation=True)
        quiet.run(asyncio.to_thread(self._socket.connect, quiet.url, timeout=_PATIENCE))

    def take(self, frame: bytes, times: int) -> float:
        """Let its buffer read from memory, and read frames."""
        stream = memoryview(Frame(Opcode.TEXT, frame).serialize(mask=False) * times)
        position = 0

        def read(size: int) -> bytes:
            nonlocal position
            first, position = position, position + size
            return bytes(stream[first:position])

        self._socket.frame_buffer.recv = read
        return per_call(self._socket.recv_frame, times)

    def close(self) -> None:
        """Cut the connection."""
        self._socket.shutdown()


class QuietServer:
    """A WebSocket server on loopback that says nothing, and the loop that its clients live in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._server = self.run(self._serve())
        port = self._server.sockets[0].getsockname()[1]
        self.url = URL.replace("127.0.0.1", f"127.0.0.1:{port}")

    async def _serve(self) -> Any:
        async def listen(connection: ServerConnection) -> None:
            await connection.wait_closed()

        return await serve(listen, "127.0.0.1", 0, compression=None)

    def run(self, work: Awaitable[Any]) -> Any:
        """Run the loop until this is done."""
        return self._loop.run_until_complete(asyncio.wait_for(work, _PATIENCE))

    def close(self) -> None:
        """End all connections and the loop."""
        self._server.close()
        self.run(self._server.wait_closed())
        self._loop.close()
