"""What all hooks share: waiting for the library, patching one method of a class, watching single connections of it."""

from __future__ import annotations

import sys
import weakref
from abc import ABC, abstractmethod
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import wrapt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

    from realtime_spend.containment import Containment
    from realtime_spend.hooks import Observe, Observer

# Stands for a method that a connection did not have of its own.
_OF_THE_CLASS = object()


class Place(NamedTuple):
    """Where a connection goes: host and port as dialled, path and query as on the wire."""

    host: str
    port: int | None
    path: str
    query: str


def inner(target: Any, name: str) -> Callable[..., Any]:
    """Return the method that is there now as a function of the object: its own if it has one, else its class's."""
    own = _own(target, name)
    if own is _OF_THE_CLASS:
        found: Callable[..., Any] = getattr(type(target), name)
        return found
    return lambda _target, *args, **kwargs: own(*args, **kwargs)


def override(target: Any, name: str, method: Any) -> None:
    """Set a method on this one object, and remember in it what it takes the place of."""
    method.in_place_of = _own(target, name)
    setattr(target, name, method)


def restore(target: Any, *names: str) -> None:
    """Put back what `override` took the place of. What somebody has set over it since stays, and so passes through."""
    for name in names:
        before = getattr(getattr(target, name, None), "in_place_of", None)
        if before is _OF_THE_CLASS:
            delattr(target, name)
        elif before is not None:
            setattr(target, name, before)


def _own(target: Any, name: str) -> Any:
    """Return the method that this one object was given, `_OF_THE_CLASS` if it was given none.

    Its `__dict__` is not asked: the interpreter would make one from then on, and all its attributes would be slower.
    """
    found = getattr(target, name)
    return _OF_THE_CLASS if getattr(found, "__self__", None) is target else found


class Watched(NamedTuple):
    """A connection that is watched, by whom, and what tells that its object was freed."""

    reference: weakref.ref[Any]
    observer: Observer
    finalizer: weakref.finalize[..., Any]


class Hook(ABC):
    """Watches every client connection of one library that is opened while it is installed.

    A class of the library is patched where connections begin (and, of some, where they end); all else is set on the
    single instance whose URL matches, so that the other sockets of the process pay nothing per frame.
    """

    library: ClassVar[str]
    distribution: ClassVar[str]
    module: ClassVar[str]

    def __init__(self) -> None:
        self._observe: Observe | None = None
        self._containment: Containment | None = None
        self._waits_for_import = False
        self._patched: list[tuple[Any, str, Any]] = []
        # By identity: a class of the program's own may compare its connections as it likes. Each step on it is one of
        # the interpreter's own, so that it needs no lock, which a fork could leave held for ever.
        self._live: dict[int, Watched] = {}
        self._endings: dict[Observer, int] = {}

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
        elif self.module in sys.modules:
            self._imported(sys.modules[self.module])

    def remove(self) -> None:
        """Stop watching, open connections included, and leave the library as it was found."""
        self._observe = None
        for watched in self._live.copy().values():
            self.let_go(watched.reference())
        self._unwrap()

    def _unwrap(self) -> None:
        kept = []
        for owner, name, wrapper in self._patched:
            # Somebody may have wrapped us meanwhile: then our wrapper stays where it is and passes everything through.
            if vars(owner).get(name) is wrapper:
                setattr(owner, name, wrapper.__wrapped__)
            else:
                kept.append((owner, name, wrapper))
        self._patched = kept

    def wrap(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        """Wrap a method that `owner` itself defines, unless our wrapper had to stay there when we were last removed."""
        if any(kept is owner and method == name for kept, method, _ in self._patched):
            return
        wrapped = wrapt.FunctionWrapper(vars(owner)[name], wrapper)
        setattr(owner, name, wrapped)
        self._patched.append((owner, name, wrapped))

    def begin(self, connection: Any, place_of: Callable[[], Place]) -> Observer | None:
        """Watch a connection if its URL is one to watch; return who does."""
        observe, containment = self._observe, self._containment
        if observe is None or containment is None:
            return None
        try:
            observer = observe(library=self.library, **place_of()._asdict())
            if observer is None:
                return None
            self._watch(connection, observer)
        except Exception:  # noqa: BLE001 - the connection is the host's; ours is only the watching
            containment.failed("attaching_to_a_connection")
            return None
        if self._observe is not observe:
            # Removed meanwhile by another thread, which may not have seen this connection.
            self.let_go(connection)
            return None
        return observer

    def observer_of(self, connection: Any) -> Observer | None:
        """Return who watches this connection."""
        watched = self._live.get(id(connection))
        return None if watched is None else watched.observer

    def let_go(self, connection: Any) -> None:
        """Watch this connection no further."""
        watched = self._live.pop(id(connection), None)
        if watched is None:
            return
        watched.finalizer.detach()
        # A read that is waiting just now will still hand over what it gets.
        watched.observer.abandon()
        self.release(connection)

    async def until_ended(self, ending: Awaitable[Any], observer: Observer) -> Any:
        """Await what ends a connection. Of several tasks that do, the last to return tells: it may still be reading."""
        self._endings[observer] = self._endings.get(observer, 0) + 1
        try:
            return await ending
        finally:
            self._endings[observer] -= 1
            if not self._endings[observer]:
                del self._endings[observer]
                observer.closed()

    def _watch(self, connection: Any, observer: Observer) -> None:
        try:
            self.attach(connection, observer)
            # A program may let go of a connection without closing it, and then nothing else tells its end.
            finalizer = weakref.finalize(connection, self._freed, id(connection), observer)
            finalizer.atexit = False
        except Exception:
            # What was attached before the fault would stay for good.
            self.release(connection)
            raise
        reference = weakref.ref(connection)
        self._live[id(connection)] = Watched(reference, observer, finalizer)
        observer.can_leave_by(lambda: self._leave(reference))

    def _freed(self, identity: int, observer: Observer) -> None:
        self._live.pop(identity, None)
        observer.dropped()

    def _leave(self, reference: weakref.ref[Any]) -> None:
        if (connection := reference()) is not None:
            self.let_go(connection)

    def _imported(self, module: ModuleType) -> None:
        if self._observe is None or self._containment is None:
            return
        try:
            self.patch(module)
        except Exception as error:  # noqa: BLE001 - a changed library must not break the host; it is said aloud
            # Half of it would be watched otherwise.
            self._unwrap()
            self._containment.cannot_watch(self.library, _installed(self.distribution), error)


def _installed(distribution: str) -> str:
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return distribution
