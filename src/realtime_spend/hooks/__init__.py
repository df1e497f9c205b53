"""Frames in: one module a socket library, below every SDK that uses it.

A hook watches connections at the transport, so that each frame is seen exactly once whatever stands above it, and hands
what it sees to an observer. It returns the very objects that the library returned, and lets the library's own
exceptions pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Observer(Protocol):
    """What watches one socket. None of its methods raises."""

    def opened(self) -> None:
        """The handshake succeeded."""

    def frame(self, data: str | bytes | bytearray) -> None:
        """A whole message arrived from the server."""

    def taker(self) -> Callable[[str | bytes | bytearray], None]:
        """Return what does as `frame` does, for who is to call it with every message."""

    def fragment(self, data: bytes | bytearray, *, first: bool, final: bool) -> None:
        """One frame of a message in several frames arrived."""

    @property
    def wants_sent(self) -> bool:
        """Whether what the client sends is to be handed over too."""

    def sent(self, data: str | bytes | bytearray) -> None:
        """A whole message was sent to the server."""

    def closed(self) -> None:
        """The socket ended, in whatever way. May be called more than once."""

    def dropped(self) -> None:
        """The socket's object was freed, perhaps without an end. The garbage collector calls it, amid anything."""

    def abandon(self) -> None:
        """The hook watches this socket no further: whatever is still handed over is none of ours, its end included."""

    def can_leave_by(self, leave: Callable[[], None]) -> None:
        """Take what stops the watching: a socket of an unknown URL may turn out to be none of ours."""


class Observe(Protocol):
    """Asked once for each connection that a client of the library opens."""

    def __call__(self, *, library: str, host: str, port: int | None, path: str, query: str) -> Observer | None:
        """Return what shall watch this connection; None where its URL does not speak the protocol. Never raises."""
