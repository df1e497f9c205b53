"""`websocket-client` (`import websocket`): `create_connection`, `WebSocketApp`, and what is built on them.

All of them read frames with `WebSocket.recv_frame`, and so does `close`, which throws away what the program never asked
for. Nothing is read in the background: what the program leaves in the socket nobody ever sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from realtime_spend.core.endpoints import port_of
from realtime_spend.hooks.attaching import Hook, Place, inner, override, restore
from realtime_spend.hooks.sending import Sending

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from realtime_spend.hooks import Observer

_WATCHED = ("recv_frame", "shutdown")
# The opcodes of RFC 6455, section 5.2.
_CONTINUATION, _TEXT, _BINARY, _CLOSE = 0x0, 0x1, 0x2, 0x8


class WebsocketClientHook(Hook):
    """Watches the connections of `websocket-client`."""

    library: ClassVar[str] = "websocket-client"
    distribution: ClassVar[str] = "websocket-client"
    module: ClassVar[str] = "websocket._core"

    def patch(self, module: ModuleType) -> None:
        """Wrap `connect`, which one object may be asked to do again and again."""
        owner = module.WebSocket
        for method in _WATCHED:
            getattr(owner, method)
        self.wrap(owner, "connect", self._connecting)

    def _connecting(
        self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        # What it was connected to before has ended, whether or not anybody said so.
        if (before := self.observer_of(instance)) is not None:
            before.closed()
            self.let_go(instance)
        result = wrapped(*args, **kwargs)
        url = args[0] if args else kwargs.get("url")
        observer = self.begin(instance, lambda: _place_of(url))
        if observer is not None:
            observer.opened()
        return result

    def attach(self, connection: Any, observer: Observer) -> None:
        """Watch frames and the end.

        The methods hold the connection, as its own do that it gave to the buffer of its frames.
        """
        recv_frame_of, shutdown_of = (inner(connection, method) for method in _WATCHED)
        whole, fragment = observer.taker(), observer.fragment

        def recv_frame() -> Any:
            try:
                frame = recv_frame_of(connection)
            except BaseException:
                # A time-out leaves it connected; the end of the socket does not.
                if not getattr(connection, "connected", True):
                    observer.closed()
                raise
            opcode = frame.opcode
            if opcode in (_TEXT, _BINARY):
                if frame.fin:
                    whole(frame.data)
                else:
                    fragment(frame.data, first=True, final=False)
            elif opcode == _CONTINUATION:
                fragment(frame.data, first=False, final=bool(frame.fin))
            elif opcode == _CLOSE:
                observer.closed()
            return frame

        def shutdown() -> None:
            try:
                shutdown_of(connection)
            finally:
                observer.closed()

        if observer.wants_sent:
            _watch_sending(connection, observer)
        override(connection, "recv_frame", recv_frame)
        override(connection, "shutdown", shutdown)

    def release(self, connection: Any) -> None:
        """Leave the methods that were there."""
        restore(connection, *_WATCHED, "send_frame")


def _watch_sending(connection: Any, observer: Observer) -> None:
    send_frame_of, sending = inner(connection, "send_frame"), Sending(observer)

    def send_frame(frame: Any) -> Any:
        result = send_frame_of(connection, frame)
        if frame.opcode in (_CONTINUATION, _TEXT, _BINARY):
            sending.frame(frame.data, first=frame.opcode != _CONTINUATION, final=bool(frame.fin))
        return result

    override(connection, "send_frame", send_frame)


def _place_of(url: Any) -> Place:
    parts = urlsplit(url)
    return Place(parts.hostname or "", port_of(parts.scheme, parts.port), parts.path, parts.query)
