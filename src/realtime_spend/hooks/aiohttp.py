"""aiohttp's client WebSockets: LiveKit, Azure Voice Live, and servers that relay a browser to Azure.

`ClientWebSocketResponse` takes every message from its reader, in `receive` (which all other ways of reading call) and
in `close`, which reads on and throws away what the program never asked for: a usage in there is billed all the same.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from realtime_spend.hooks.attaching import Hook, Place, port_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from realtime_spend.hooks import Observer

_UNFINISHED = (asyncio.CancelledError, TimeoutError)


class AiohttpHook(Hook):
    """Watches the client WebSockets of aiohttp."""

    library: ClassVar[str] = "aiohttp"
    distribution: ClassVar[str] = "aiohttp"
    module: ClassVar[str] = "aiohttp.client_ws"

    def patch(self, module: ModuleType) -> None:
        """Wrap the constructor, which subclasses of a program's own call too."""
        owner = module.ClientWebSocketResponse
        for method in ("receive", "close"):
            getattr(owner, method)
        self.wrap(owner, "__init__", self._constructed)

    def _constructed(
        self, wrapped: Callable[..., None], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        wrapped(*args, **kwargs)
        observer = self.begin(instance, lambda: _place_of(args[3] if len(args) > 3 else kwargs["response"]))  # noqa: PLR2004 - reader, writer, protocol, response
        if observer is not None:
            # It is constructed when the handshake has succeeded.
            observer.opened()

    def attach(self, connection: Any, observer: Observer) -> None:
        """Watch what is read, and the end."""
        from aiohttp import WSMsgType  # noqa: PLC0415 - only where the host has imported the library

        see = _seeing(observer, WSMsgType)
        try:
            connection._reader = WatchedReader(connection._reader, see, observer.closed)  # noqa: SLF001 - see above
        except AttributeError:
            # A release of aiohttp that keeps its reader elsewhere. What is thrown away unread is then not seen.
            _watch_receive(connection, see)
        _watch_close(connection, observer)

    def release(self, connection: Any) -> None:
        """Give the connection its own reader back, and its methods."""
        for method in ("receive", "close"):
            vars(connection).pop(method, None)
        reader = getattr(connection, "_reader", None)
        if isinstance(reader, WatchedReader):
            connection._reader = reader.reader  # noqa: SLF001 - as above


class WatchedReader:
    """Stands before a connection's reader, and is it in all but `read`."""

    __slots__ = ("_closed", "_read", "_see", "reader")

    def __init__(self, reader: Any, see: Callable[[Any], None], closed: Callable[[], None]) -> None:
        self.reader = reader
        self._read, self._see, self._closed = reader.read, see, closed

    async def read(self) -> Any:
        """Read the next message, which the observer sees before the program."""
        try:
            message = await self._read()
        except _UNFINISHED:
            # The program gave up waiting. The connection goes on.
            raise
        except Exception:
            self._closed()
            raise
        self._see(message)
        return message

    def __getattr__(self, name: str) -> Any:
        return getattr(self.reader, name)


def _seeing(observer: Observer, types: Any) -> Callable[[Any], None]:
    text, binary = types.TEXT, types.BINARY
    whole = observer.frame

    def see(message: Any) -> None:
        kind = message.type
        if kind is text or kind is binary:
            whole(message.data)

    return see


def _watch_receive(connection: Any, see: Callable[[Any], None]) -> None:
    reference, receive_of = weakref.ref(connection), type(connection).receive

    async def receiving(connection: Any, *args: Any, **kwargs: Any) -> Any:
        message = await receive_of(connection, *args, **kwargs)
        see(message)
        return message

    connection.receive = lambda *args, **kwargs: receiving(reference(), *args, **kwargs)


def _watch_close(connection: Any, observer: Observer) -> None:
    reference, close_of = weakref.ref(connection), type(connection).close

    async def closing(connection: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await close_of(connection, *args, **kwargs)
        finally:
            observer.closed()

    # The coroutine holds the connection from the first, as a bound method's does: a program may let go of it meanwhile.
    connection.close = lambda *args, **kwargs: closing(reference(), *args, **kwargs)


def _place_of(response: Any) -> Place:
    url = response.url
    return Place(url.host or "", port_of(url.scheme, url.port), url.raw_path, url.raw_query_string)
