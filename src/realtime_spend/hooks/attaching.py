"""What all hooks share: waiting for the library, patching one method of a class, watching single connections of it."""

from __future__ import annotations

import sys
import threading
import weakref
from abc import ABC, abstractmethod
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import wrapt

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from realtime_spend.containment import Containment
    from realtime_spend.hooks import Observe, Observer

_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}


class Place(NamedTuple):
    """Where a connection goes: host and port as dialled, path and query as on the wire."""

    host: str
    port: int | None
    path: str
    query: str


def port_of(scheme: str, port: int | None) -> int | None:
    """Return the port that a URL means: its own, else that of its scheme."""
    return port or _PORTS.get(scheme)


class Hook(ABC):
    """Watches every client connection of one library that is opened while it is installed.

    A class of the library is patched in one place; all else is set on the single instance whose URL matches, so that
    the other sockets of the process pay nothing per frame.
    """

    library: ClassVar[str]
    distribution: ClassVar[str]
    module: ClassVar[str]

    def __init__(self) -> None:
        self._observe: Observe | None = None
        self._containment: Containment | None = None
        self._waits_for_import = False
        self._patched: list[tuple[Any, str, Any]] = []
        self._live: WeakKeyDictionary[Any, tuple[Observer, weakref.finalize[..., Any]]] = WeakKeyDictionary()
        self._lock = threading.RLock()

    @abstractmethod
    def patch(self, module: ModuleType) -> None:
        """Wrap what the library calls for each connection; an AttributeError or KeyError if it is not there."""

    @abstractmethod
    def attach(self, connection: Any, observer: Observer) -> None:
        """Set the watching methods on this one connection. They hold it weakly: a cycle would delay its end."""

    @abstractmethod
    def release(self, connection: Any) -> None:
        """Take the watching methods off again."""

    def install(self, observe: Observe, containment: Containment) -> None:
        """Start watching connections that are opened from now on, once the program imports the library."""
        self._observe, self._containment = observe, containment
        if not self._waits_for_import:
            # Called at once if the module is there already, else as it is imported. It cannot be taken back, which is
            # why everything below asks whether the hook is installed.
            wrapt.register_post_import_hook(self._imported, self.module)
            self._waits_for_import = True
        elif not self._patched and self.module in sys.modules:
            self._imported(sys.modules[self.module])

    def remove(self) -> None:
        """Stop watching, open connections included, and leave the library as it was found."""
        self._observe = None
        with self._lock:
            live = list(self._live)
        for connection in live:
            self.let_go(connection)
        kept = []
        for owner, name, wrapper in self._patched:
            # Somebody may have wrapped us meanwhile: then our wrapper stays where it is and passes everything through.
            if vars(owner).get(name) is wrapper:
                setattr(owner, name, wrapper.__wrapped__)
            else:
                kept.append((owner, name, wrapper))
        self._patched = kept

    def wrap(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        """Wrap a method that `owner` itself defines."""
        wrapped = wrapt.FunctionWrapper(vars(owner)[name], wrapper)
        setattr(owner, name, wrapped)
        self._patched.append((owner, name, wrapped))

    def begin(self, connection: Any, place_of: Callable[[], Place]) -> Observer | None:
        """Watch a connection if its URL is one to watch; return who does."""
        if self._observe is None or self._containment is None:
            return None
        try:
            place = place_of()
            observer = self._observe(library=self.library, **place._asdict())
            if observer is None:
                return None
            self.attach(connection, observer)
            # A program may let go of a connection without closing it, and then nothing else tells its end.
            finalizer = weakref.finalize(connection, observer.dropped)
            finalizer.atexit = False
            with self._lock:
                self._live[connection] = observer, finalizer
            reference = weakref.ref(connection)
            observer.can_leave_by(lambda: self._leave(reference))
        except Exception:  # noqa: BLE001 - the connection is the host's; ours is only the watching
            self._containment.failed("attaching_to_a_connection")
            return None
        return observer

    def let_go(self, connection: Any) -> Observer | None:
        """Watch this connection no further; return who did."""
        with self._lock:
            observer, finalizer = self._live.pop(connection, (None, None))
        if finalizer is not None:
            finalizer.detach()
            self.release(connection)
        return observer

    def _leave(self, reference: weakref.ref[Any]) -> None:
        self.let_go(reference())

    def _imported(self, module: ModuleType) -> None:
        if self._observe is None or self._containment is None:
            return
        try:
            self.patch(module)
        except Exception as error:  # noqa: BLE001 - a changed library must not break the host; it is said aloud
            self._containment.cannot_watch(self.library, _installed(self.distribution), error)


def _installed(distribution: str) -> str:
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return distribution
