"""The legacy API of `websockets`: `websockets.connect` up to version 13, deprecated but still there today.

Its protocol reads whole messages in a task of its own, through `read_message`, whether or not the program asks for
them.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from realtime_spend.hooks.attaching import Hook, Place, inner, override, restore
from realtime_spend.hooks.sending import Sending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

    from realtime_spend.hooks import Observer

_WATCHED = ("connection_open", "read_message", "connection_lost")
# All ways of sending end in it, `broadcast` too. A release that lacks it has its translations `missing`.
_SENDING = "write_frame_sync"
# The opcodes of RFC 6455, section 5.2.
_CONTINUATION, _TEXT, _BINARY = 0x0, 0x1, 0x2


class LegacyWebsocketsHook(Hook):
    """Watches the connections of the legacy API of `websockets`."""

    library: ClassVar[str] = "websockets"
    distribution: ClassVar[str] = "websockets"
    module: ClassVar[str] = "websockets.legacy.client"

    def patch(self, module: ModuleType) -> None:
        """Wrap the handshake, which is told the URL."""
        owner = module.WebSocketClientProtocol
        for method in _WATCHED:
            getattr(owner, method)
        self.wrap(owner, "handshake", self._shaking_hands)

    async def _shaking_hands(
        self, wrapped: Callable[..., Awaitable[None]], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        uri = args[0] if args else kwargs.get("wsuri")
        self.begin(instance, lambda: _place_of(uri))
        try:
            await wrapped(*args, **kwargs)
        except BaseException:
            # It was not opened, so that there is no session.
            self.let_go(instance)
            raise

    def attach(self, connection: Any, observer: Observer) -> None:
        """Watch the beginning, messages and the end, and what is sent."""
        reference = weakref.ref(connection)
        connection_open_of, read_message_of, connection_lost_of = (inner(connection, method) for method in _WATCHED)
        whole = observer.taker()

        def connection_open() -> None:
            # The task that reads is made in there, and an event loop may let it begin at once.
            observer.opened()
            connection_open_of(reference())

        async def read_message() -> Any:
            message = await read_message_of(reference())
            if message is not None:
                whole(message)
            return message

        def connection_lost(exc: Exception | None) -> None:
            try:
                connection_lost_of(reference(), exc)
            finally:
                observer.closed()

        if observer.wants_sent and hasattr(connection, _SENDING):
            _watch_sending(connection, observer)
        override(connection, "connection_open", connection_open)
        override(connection, "read_message", read_message)
        override(connection, "connection_lost", connection_lost)

    def release(self, connection: Any) -> None:
        """Leave the methods that were there."""
        restore(connection, *_WATCHED, _SENDING)


def _watch_sending(connection: Any, observer: Observer) -> None:
    reference, write_frame_of, sending = weakref.ref(connection), inner(connection, _SENDING), Sending(observer)

    def write_frame_sync(fin: bool, opcode: int, data: Any) -> None:  # noqa: FBT001 - as the library calls it
        write_frame_of(reference(), fin, opcode, data)
        if opcode in (_CONTINUATION, _TEXT, _BINARY):
            sending.frame(data, first=opcode != _CONTINUATION, final=fin)

    override(connection, _SENDING, write_frame_sync)


def _place_of(uri: Any) -> Place:
    path, _, query = uri.resource_name.partition("?")
    return Place(uri.host, uri.port, path, query)
