"""`httpx-ws`, asynchronous and blocking. Its sessions read in the background, through an object of `wsproto`."""

from __future__ import annotations

import inspect
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from realtime_spend.hooks.attaching import Hook, Place, port_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from realtime_spend.hooks import Observer


class HttpxWsHook(Hook):
    """Watches the sessions of `httpx-ws`."""

    library: ClassVar[str] = "httpx-ws"
    distribution: ClassVar[str] = "httpx-ws"
    module: ClassVar[str] = "httpx_ws._api"

    def patch(self, module: ModuleType) -> None:
        """Wrap both constructors, which are called when the handshake has succeeded."""
        for owner in (module.AsyncWebSocketSession, module.WebSocketSession):
            self.wrap(owner, "__init__", self._constructed)

    def _constructed(
        self, wrapped: Callable[..., None], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        wrapped(*args, **kwargs)
        # A session over a stream that the program opened itself has no response, and so no URL.
        if getattr(instance, "response", None) is None:
            return
        observer = self.begin(instance, lambda: _place_of(instance.response.request.url))
        if observer is not None:
            observer.opened()

    def attach(self, connection: Any, observer: Observer) -> None:
        """Watch the events of the protocol object, and the end."""
        from wsproto.events import BytesMessage, CloseConnection, TextMessage  # noqa: PLC0415 - the host has it

        protocol = connection.connection
        reference, events_of = weakref.ref(protocol), type(protocol).events
        see = _seeing(observer)

        def events() -> Iterator[Any]:
            for event in events_of(reference()):
                if isinstance(event, TextMessage | BytesMessage):
                    see(event)
                elif isinstance(event, CloseConnection):
                    observer.closed()
                yield event

        protocol.events = events
        _watch_close(connection, observer)

    def release(self, connection: Any) -> None:
        """Leave the methods of the classes."""
        vars(connection).pop("close", None)
        vars(connection.connection).pop("events", None)


def _seeing(observer: Observer) -> Callable[[Any], None]:
    """Return what takes message events, which may be parts of a message, even parts of a frame."""
    is_within = False

    def see(event: Any) -> None:
        nonlocal is_within
        data, is_final = event.data, event.message_finished
        if is_final and not is_within:
            observer.frame(data)
            return
        part = data.encode() if isinstance(data, str) else data
        observer.fragment(part, first=not is_within, final=is_final)
        is_within = not is_final

    return see


def _watch_close(connection: Any, observer: Observer) -> None:
    reference, close_of = weakref.ref(connection), type(connection).close

    def close(*args: Any, **kwargs: Any) -> Any:
        try:
            return close_of(reference(), *args, **kwargs)
        finally:
            observer.closed()

    async def closing(connection: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await close_of(connection, *args, **kwargs)
        finally:
            observer.closed()

    is_asynchronous = inspect.iscoroutinefunction(close_of)
    connection.close = (lambda *args, **kwargs: closing(reference(), *args, **kwargs)) if is_asynchronous else close


def _place_of(url: Any) -> Place:
    path, _, query = url.raw_path.decode("ascii").partition("?")
    return Place(url.host, port_of(url.scheme, url.port), path, query)
