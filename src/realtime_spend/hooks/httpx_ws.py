"""`httpx-ws`, asynchronous and blocking. Its sessions read in the background, through an object of `wsproto`."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from realtime_spend.hooks.attaching import Hook, Place, port_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import ModuleType

    from realtime_spend.hooks import Observer


class HttpxWsHook(Hook):
    """Watches the sessions of `httpx-ws`."""

    library: ClassVar[str] = "httpx-ws"
    distribution: ClassVar[str] = "httpx-ws"
    module: ClassVar[str] = "httpx_ws._api"

    def patch(self, module: ModuleType) -> None:
        """Wrap both constructors, which are called when the handshake has succeeded, and both ends."""
        for owner, closing in (
            (module.AsyncWebSocketSession, self._closing),
            (module.WebSocketSession, self._closing_in_threads),
        ):
            self.wrap(owner, "__init__", self._constructed)
            self.wrap(owner, "close", closing)

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

    def _closing(
        self, wrapped: Callable[..., Awaitable[None]], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Awaitable[None]:
        observer = self.observer_of(instance)
        ending = wrapped(*args, **kwargs)
        return ending if observer is None else self.until_ended(ending, observer)

    def _closing_in_threads(
        self, wrapped: Callable[..., None], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        observer = self.observer_of(instance)
        try:
            wrapped(*args, **kwargs)
        finally:
            if observer is not None:
                observer.closed()

    def attach(self, connection: Any, observer: Observer) -> None:
        """Watch the events of the protocol object."""
        from wsproto.events import BytesMessage, CloseConnection, TextMessage  # noqa: PLC0415 - the host has it

        protocol = connection.connection
        reference, events_of = weakref.ref(protocol), type(protocol).events
        see, messages = _seeing(observer), (TextMessage, BytesMessage)

        def events() -> Iterator[Any]:
            for event in events_of(reference()):
                # We may be told to leave while some of what has arrived is yet to be handed out.
                is_watched = vars(reference()).get("events") is events
                if is_watched and isinstance(event, messages):
                    see(event)
                elif isinstance(event, CloseConnection):
                    observer.closed()
                yield event

        protocol.events = events

    def release(self, connection: Any) -> None:
        """Leave the method of the class."""
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


def _place_of(url: Any) -> Place:
    path, _, query = url.raw_path.decode("ascii").partition("?")
    return Place(url.host, port_of(url.scheme, url.port), path, query)
