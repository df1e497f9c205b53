"""aiortc's data channels: a WebRTC session that Python itself holds has its events on one called `oai-events`.

A data channel has no URL. It is asked about as the host `oai-events`, so that whoever talks to Azure this way
can say so (`REALTIME_SPEND_ENDPOINTS=oai-events=azure.ai.openai`).
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from realtime_spend.core.endpoints import DATA_CHANNEL
from realtime_spend.hooks.attaching import Hook, Place, inner, override, restore

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from realtime_spend.hooks import Observer

_PLACE = Place(DATA_CHANNEL, None, "/realtime", "")


class AiortcHook(Hook):
    """Watches the data channels of aiortc that carry Realtime events."""

    library: ClassVar[str] = "aiortc"
    distribution: ClassVar[str] = "aiortc"
    module: ClassVar[str] = "aiortc.rtcdatachannel"

    def patch(self, module: ModuleType) -> None:
        """Wrap the constructor, which is told the label."""
        owner = module.RTCDataChannel
        for name in ("emit", "label"):
            getattr(owner, name)
        self.wrap(owner, "__init__", self._constructed)

    def _constructed(
        self, wrapped: Callable[..., None], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        wrapped(*args, **kwargs)
        if instance.label == DATA_CHANNEL:
            self.begin(instance, lambda: _PLACE)

    def attach(self, connection: Any, observer: Observer) -> None:
        """Watch what the channel emits, rather than listen: a program may count its listeners."""
        reference, emit_of, whole = weakref.ref(connection), inner(connection, "emit"), observer.taker()
        if is_open := connection.readyState == "open":
            observer.opened()

        def emit(event: str, *args: Any, **kwargs: Any) -> Any:
            if event == "message" and is_open and len(args) == 1 and not kwargs:
                # All but the first of them, and quicker than the general way below.
                whole(args[0])
                return emit_of(reference(), event, args[0])
            told(event, args)
            return emit_of(reference(), event, *args, **kwargs)

        def told(event: str, args: tuple[Any, ...]) -> None:
            nonlocal is_open
            if event == "message" and args:
                if not is_open:
                    # A channel that the other side opened is open from the beginning, and says so to nobody.
                    is_open = True
                    observer.opened()
                whole(args[0])
            elif event == "open":
                is_open = True
                observer.opened()
            elif event == "close":
                observer.closed()

        override(connection, "emit", emit)

    def release(self, connection: Any) -> None:
        """Leave the method that was there."""
        restore(connection, "emit")
