"""The legacy API of `websockets`: `websockets.connect` up to version 13, deprecated but still there today.

Its protocol reads whole messages in a task of its own, through `read_message`, whether or not the program asks for
them.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from realtime_spend.hooks.attaching import Hook, Place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

    from realtime_spend.hooks import Observer

_WATCHED = ("read_message", "connection_lost")


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
        await wrapped(*args, **kwargs)
        # The task that reads was made in there and cannot run before this coroutine gives way: no message is missed.
        uri = args[0] if args else kwargs.get("wsuri")
        observer = self.begin(instance, lambda: _place_of(uri))
        if observer is not None:
            observer.opened()

    def attach(self, connection: Any, observer: Observer) -> None:
        """Watch messages and the end."""
        reference = weakref.ref(connection)
        read_message_of, connection_lost_of = type(connection).read_message, type(connection).connection_lost
        whole = observer.frame

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

        connection.read_message = read_message
        connection.connection_lost = connection_lost

    def release(self, connection: Any) -> None:
        """Leave the methods of the class."""
        for method in _WATCHED:
            vars(connection).pop(method, None)


def _place_of(uri: Any) -> Place:
    path, _, query = uri.resource_name.partition("?")
    return Place(uri.host, uri.port, path, query)
