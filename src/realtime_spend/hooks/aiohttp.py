"""aiohttp's client WebSockets: LiveKit, Azure Voice Live, and servers that relay a browser to Azure.

`ClientWebSocketResponse` takes every message from its reader, in `receive` (which all other ways of reading call) and
in `close`, which reads on and throws away what the program never asked for: a usage in there is billed all the same.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from realtime_spend.core.endpoints import port_of
from realtime_spend.hooks.attaching import Hook, Place, inner, override, restore
from realtime_spend.hooks.sending import Sending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

    from realtime_spend.hooks import Observer

_SENDING = ("send_str", "send_bytes")
_UNFINISHED = (asyncio.CancelledError, TimeoutError)


class AiohttpHook(Hook):
    """Watches the client WebSockets of aiohttp."""

    library: ClassVar[str] = "aiohttp"
    distribution: ClassVar[str] = "aiohttp"
    module: ClassVar[str] = "aiohttp.client_ws"

    def patch(self, module: ModuleType) -> None:
        """Wrap the constructor and the end, which subclasses of a program's own call too.

        The end is wrapped in the class: a program may keep a connection by its bound method alone, as exit stacks do.
        """
        owner = module.ClientWebSocketResponse
        for method in ("receive", "close"):
            getattr(owner, method)
        self.wrap(owner, "__init__", self._constructed)
        self.wrap(owner, "close", self._closing)

    def _constructed(
        self, wrapped: Callable[..., None], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        wrapped(*args, **kwargs)
        observer = self.begin(instance, lambda: _place_of(args[3] if len(args) > 3 else kwargs["response"]))  # noqa: PLR2004 - reader, writer, protocol, response
        if observer is not None:
            # It is constructed when the handshake has succeeded.
            observer.opened()

    def _closing(
        self, wrapped: Callable[..., Awaitable[bool]], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Awaitable[bool]:
        observer = self.observer_of(instance)
        ending = wrapped(*args, **kwargs)
        return ending if observer is None else self.until_ended(ending, observer)

    def attach(self, connection: Any, observer: Observer) -> None:
        """Watch what is read."""
        from aiohttp import WSMsgType  # noqa: PLC0415 - only where the host has imported the library

        if observer.wants_sent:
            for name in _SENDING:
                _watch_sending(connection, name, observer)
        kinds, ends = (WSMsgType.TEXT, WSMsgType.BINARY), (WSMsgType.CLOSE, WSMsgType.ERROR)
        try:
            connection._reader = WatchedReader(connection._reader, kinds, ends, observer)  # noqa: SLF001 - see above
        except AttributeError:
            # A release of aiohttp that keeps its reader elsewhere. What is thrown away unread is then not seen.
            _watch_receive(connection, kinds, observer)

    def release(self, connection: Any) -> None:
        """Give the connection its own reader back, and its method."""
        restore(connection, "receive", *_SENDING)
        reader = getattr(connection, "_reader", None)
        if type(reader) is WatchedReader:
            connection._reader = reader.watched_reader  # noqa: SLF001 - as above


class WatchedReader:
    """Stands before a connection's reader, and is it in all but `read`.

    No `wrapt.ObjectProxy`: what a program reads most would take twice as long to look up and to call.
    """

    __slots__ = ("__weakref__", "read", "watched_reader")

    def __init__(self, reader: Any, kinds: tuple[Any, Any], ends: tuple[Any, ...], observer: Observer) -> None:
        set_own = object.__setattr__
        set_own(self, "watched_reader", reader)
        read_on, whole, closed, (text, binary) = reader.read, observer.taker(), observer.closed, kinds

        async def read() -> Any:
            try:
                message = await read_on()
            except _UNFINISHED:
                # The program gave up waiting. The connection goes on.
                raise
            except Exception:
                closed()
                raise
            kind = message.type
            if kind is text or kind is binary:
                whole(message.data)
            elif kind in ends:
                # Nothing comes after it, and a program that closes by itself may not do so.
                closed()
            return message

        set_own(self, "read", read)

    @property  # type: ignore[misc]  # which `isinstance` asks for
    def __class__(self) -> Any:
        """The class of the reader."""
        return type(self.watched_reader)

    def __getattr__(self, name: str) -> Any:
        """Ask the reader."""
        return getattr(self.watched_reader, name)

    def __setattr__(self, name: str, value: object) -> None:
        """Tell the reader."""
        setattr(self.watched_reader, name, value)

    def __delattr__(self, name: str) -> None:
        """Tell the reader."""
        delattr(self.watched_reader, name)


def _watch_receive(connection: Any, kinds: tuple[Any, ...], observer: Observer) -> None:
    reference, receive_of = weakref.ref(connection), inner(connection, "receive")

    async def receiving(connection: Any, *args: Any, **kwargs: Any) -> Any:
        message = await receive_of(connection, *args, **kwargs)
        if message.type in kinds:
            observer.frame(message.data)
        return message

    override(connection, "receive", lambda *args, **kwargs: receiving(reference(), *args, **kwargs))


def _watch_sending(connection: Any, name: str, observer: Observer) -> None:
    reference, send_of, sent = weakref.ref(connection), inner(connection, name), Sending(observer)

    async def sending(connection: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
        result = await send_of(connection, data, *args, **kwargs)
        sent.frame(data, first=True, final=True)
        return result

    override(connection, name, lambda *args, **kwargs: sending(reference(), *args, **kwargs))


def _place_of(response: Any) -> Place:
    url = response.url
    return Place(url.host or "", port_of(url.scheme, url.port), url.raw_path, url.raw_query_string)
