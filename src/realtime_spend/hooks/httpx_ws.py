"""`httpx-ws`, asynchronous and blocking. Its sessions read in the background, through an object of `wsproto`."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from realtime_spend.core.endpoints import port_of
from realtime_spend.hooks.attaching import Hook, Place, inner, override, restore
from realtime_spend.hooks.sending import Sending

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
        # A session over a stream that the program opened itself has no response, and so no URL. Before release 0.6
        # none has even the attribute, and then the fault of not finding it says so.
        if getattr(instance, "response", wrapped) is None:
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
        """Watch the events of the protocol object, and what is sent through it."""
        from wsproto.events import BytesMessage, CloseConnection, TextMessage  # noqa: PLC0415 - the host has it

        protocol = connection.connection
        reference, events_of = weakref.ref(protocol), inner(protocol, "events")
        whole, part, messages = observer.taker(), _joining(observer), (TextMessage, BytesMessage)
        is_within = False

        def events() -> Iterator[Any]:
            nonlocal is_within
            for event in events_of(reference()):
                if isinstance(event, messages):
                    # It may be part of a message, even part of a frame.
                    if event.message_finished and not is_within:
                        whole(event.data)
                    else:
                        part(event, first=not is_within)
                        is_within = not event.message_finished
                elif isinstance(event, CloseConnection):
                    observer.closed()
                yield event

        if observer.wants_sent:
            _watch_sending(protocol, observer)
        override(protocol, "events", events)

    def release(self, connection: Any) -> None:
        """Leave the methods that were there."""
        restore(connection.connection, "events", "send")


def _joining(observer: Observer) -> Callable[..., None]:
    def part(event: Any, *, first: bool) -> None:
        data = event.data.encode() if isinstance(event.data, str) else event.data
        observer.fragment(data, first=first, final=event.message_finished)

    return part


def _watch_sending(protocol: Any, observer: Observer) -> None:
    from wsproto.events import Message  # noqa: PLC0415 - as above

    reference, send_of, sending = weakref.ref(protocol), inner(protocol, "send"), Sending(observer)
    is_within = False

    def send(event: Any) -> Any:
        nonlocal is_within
        frame = send_of(reference(), event)
        if isinstance(event, Message):
            # As the protocol does: whoever sends next goes on with the message that somebody has begun.
            is_first, is_within = not is_within, not event.message_finished
            sending.frame(event.data, first=is_first, final=event.message_finished)
        return frame

    override(protocol, "send", send)


def _place_of(url: Any) -> Place:
    path, _, query = url.raw_path.decode("ascii").partition("?")
    return Place(url.host, port_of(url.scheme, url.port), path, query)
