"""`websockets` clients, asyncio, threading and trio, below whatever SDK uses them.

Each of them keeps its protocol in a `ClientProtocol`, whose documented method `events_received` gives each parsed frame
once, however the program then reads (`recv`, iteration, `recv_streaming`) and whether it reads at all: a usage that was
sent is billed.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from realtime_spend.hooks.attaching import Hook, Place, inner, override, restore
from realtime_spend.hooks.sending import Sending

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from realtime_spend.hooks import Observer

_WATCHED = ("events_received", "receive_eof")
_SENDING = ("send_text", "send_binary", "send_continuation")
_SWITCHING_PROTOCOLS = 101


class WebsocketsHook(Hook):
    """Watches the connections of `websockets`, all but those of its legacy API."""

    library: ClassVar[str] = "websockets"
    distribution: ClassVar[str] = "websockets"
    module: ClassVar[str] = "websockets.client"

    def patch(self, module: ModuleType) -> None:
        """Wrap the constructor; before version 11 the class had the name that a connection has now."""
        owner = getattr(module, "ClientProtocol", None) or module.ClientConnection
        for method in _WATCHED:
            getattr(owner, method)
        self.wrap(owner, "__init__", self._constructed)

    def _constructed(
        self, wrapped: Callable[..., None], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        wrapped(*args, **kwargs)
        self.begin(instance, lambda: _place_of(instance))

    def attach(self, connection: Any, observer: Observer) -> None:
        """Watch frames, the answer that opens the connection, and its end."""
        from websockets.frames import Opcode  # noqa: PLC0415 - only where the host has imported the library

        text, binary, continuation = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
        reference = weakref.ref(connection)
        events_received_of, receive_eof_of = (inner(connection, method) for method in _WATCHED)
        whole, fragment = observer.taker(), observer.fragment

        def events_received() -> Any:
            events = events_received_of(reference())
            for event in events:
                # Only the answer to the handshake has none. This try holds nothing else, so that no fault hides in it.
                try:
                    opcode = event.opcode
                except AttributeError:
                    if _is_opening(event, reference()):
                        observer.opened()
                    continue
                if opcode is text or opcode is binary:
                    if event.fin:
                        whole(event.data)
                    else:
                        fragment(event.data, first=True, final=False)
                elif opcode is continuation:
                    fragment(event.data, first=False, final=event.fin)
            return events

        def receive_eof() -> None:
            try:
                receive_eof_of(reference())
            finally:
                observer.closed()

        _watch_sending(connection, observer)
        override(connection, "events_received", events_received)
        override(connection, "receive_eof", receive_eof)

    def release(self, connection: Any) -> None:
        """Leave the methods that were there."""
        restore(connection, *_WATCHED, *_SENDING)


def _watch_sending(connection: Any, observer: Observer) -> None:
    if not observer.wants_sent:
        return
    sending, reference = Sending(observer), weakref.ref(connection)
    for name in _SENDING:
        override(connection, name, _watched_sending(inner(connection, name), reference, sending, name))


def _watched_sending(
    send_of: Callable[..., None], reference: weakref.ref[Any], sending: Sending, name: str
) -> Callable[..., None]:
    is_first = name != "send_continuation"

    def send(data: Any, *args: Any, **kwargs: Any) -> None:
        send_of(reference(), data, *args, **kwargs)
        sending.frame(data, first=is_first, final=bool(args[0] if args else kwargs.get("fin", True)))

    return send


def _place_of(protocol: Any) -> Place:
    # `uri` in newer versions, `wsuri` in older ones.
    uri = getattr(protocol, "uri", None) or protocol.wsuri
    return Place(uri.host, uri.port, uri.path, uri.query)


def _is_opening(event: Any, protocol: Any) -> bool:
    """Whether an event is the response that opens the connection; one that the client refuses opens nothing."""
    is_switching = getattr(event, "status_code", None) == _SWITCHING_PROTOCOLS
    return is_switching and getattr(protocol, "handshake_exc", None) is None
