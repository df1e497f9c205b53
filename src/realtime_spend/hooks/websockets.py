"""The hook for `websockets` 13 and newer, its asyncio and its threaded clients alike.

Both keep their protocol in a `ClientProtocol`, whose documented method `events_received` gives each parsed frame once,
however the program then reads (`recv`, iteration, `recv_streaming`) and whether it reads at all: a usage that was sent
is billed. The class is patched in one place, its constructor; everything else is set on the single instance whose URL
matches, so that all other sockets of the process pay nothing per frame.
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from realtime_spend.containment import Containment
    from realtime_spend.hooks import Observe, Observer

LIBRARY = "websockets"
_MODULE = "websockets.client"
_WATCHED = ("events_received", "receive_eof")
_SWITCHING_PROTOCOLS = 101


class WebsocketsHook:
    """Watches every `websockets` client connection that is opened while it is installed."""

    def __init__(self) -> None:
        self._observe: Observe | None = None
        self._containment: Containment | None = None
        self._waits_for_import = False
        self._patched: tuple[Any, Any] | None = None
        self._live: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.RLock()

    def install(self, observe: Observe, containment: Containment) -> None:
        """Start watching connections that are opened from now on, once the program imports the library."""
        self._observe, self._containment = observe, containment
        if not self._waits_for_import:
            # Called at once if the module is there already, else as it is imported. It cannot be taken back, which is
            # why everything below asks whether the hook is installed.
            wrapt.register_post_import_hook(self._imported, _MODULE)
            self._waits_for_import = True
        elif self._patched is None:
            self._patch_if_imported()

    def remove(self) -> None:
        """Stop watching, open connections included, and leave the library as it was found."""
        self._observe = None
        with self._lock:
            live = list(self._live)
            self._live.clear()
        for protocol in live:
            for method in _WATCHED:
                vars(protocol).pop(method, None)
        if self._patched is not None:
            owner, wrapper = self._patched
            # Somebody may have wrapped us meanwhile: then our wrapper stays where it is and passes everything through.
            if vars(owner).get("__init__") is wrapper:
                setattr(owner, "__init__", wrapper.__wrapped__)  # noqa: B010 - mypy refuses the plain assignment
                self._patched = None

    def _patch_if_imported(self) -> None:
        if _MODULE in sys.modules:
            self._imported(sys.modules[_MODULE])

    def _imported(self, module: ModuleType) -> None:
        if self._observe is None or self._containment is None:
            return
        try:
            owner = module.ClientProtocol
            for method in _WATCHED:
                getattr(owner, method)
            wrapper = wrapt.FunctionWrapper(vars(owner)["__init__"], self._constructed)
            setattr(owner, "__init__", wrapper)  # noqa: B010 - mypy refuses the plain assignment
            self._patched = (owner, wrapper)
        except Exception:  # noqa: BLE001 - a changed library must not break the host; it is said aloud
            self._containment.failed("attaching_to_websockets")

    def _constructed(
        self, wrapped: Callable[..., None], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        wrapped(*args, **kwargs)
        if self._observe is None or self._containment is None:
            return
        try:
            # `uri` in newer versions, `wsuri` in older ones.
            uri = getattr(instance, "uri", None) or instance.wsuri
            observer = self._observe(library=LIBRARY, host=uri.host, port=uri.port, path=uri.path, query=uri.query)
            if observer is not None:
                _watch(instance, observer)
                with self._lock:
                    self._live.add(instance)
        except Exception:  # noqa: BLE001 - the connection is the host's; ours is only the watching
            self._containment.failed("attaching_to_a_connection")


def _watch(protocol: Any, observer: Observer) -> None:
    """Set the watching methods on this one instance. They hold it weakly: a cycle would keep it until the next gc."""
    from websockets.frames import Opcode  # noqa: PLC0415 - only where the host has imported the library

    text, binary, continuation = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
    reference = weakref.ref(protocol)
    events_received_of, receive_eof_of = type(protocol).events_received, type(protocol).receive_eof
    whole, fragment = observer.frame, observer.fragment

    def events_received() -> Any:
        events = events_received_of(reference())
        for event in events:
            opcode = getattr(event, "opcode", None)
            if opcode is text or opcode is binary:
                if event.fin:
                    whole(event.data)
                else:
                    fragment(event.data, first=True, final=False)
            elif opcode is continuation:
                fragment(event.data, first=False, final=event.fin)
            elif opcode is None and _is_opening(event, reference()):
                observer.opened()
        return events

    def receive_eof() -> None:
        try:
            receive_eof_of(reference())
        finally:
            observer.closed()

    # asyncio never reports the end of a connection that a program lets go of without closing it.
    weakref.finalize(protocol, observer.dropped).atexit = False
    protocol.events_received = events_received
    protocol.receive_eof = receive_eof


def _is_opening(event: Any, protocol: Any) -> bool:
    """Whether an event is the response that opens the connection; one that the client refuses opens nothing."""
    is_switching = getattr(event, "status_code", None) == _SWITCHING_PROTOCOLS
    return is_switching and getattr(protocol, "handshake_exc", None) is None
