"""How many sessions a process can hold: each takes two of the files that the system lets it have open."""

from __future__ import annotations

import errno
import resource
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

# The ledger, the exporter, names that are looked up, what the libraries keep.
_OWN_FILES = 48
_FEWEST_AT_THE_DOOR = 4
_NONE_LEFT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_SECONDS_BETWEEN = 1.0


def as_many_as_there_are() -> int:
    """Ask for as many open files as this process may have; return how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Some systems say that there is no limit, and have one.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft


def room(files: int, sessions: int, at_the_door: int) -> tuple[int, int]:
    """Return how many sessions, and how many who have yet to say what they want, so many open files are enough for."""
    if files < 0 or files >= _OWN_FILES + at_the_door + 2 * sessions:
        return sessions, at_the_door
    door = max(_FEWEST_AT_THE_DOOR, min(at_the_door, files // 8))
    return max(1, min(sessions, (files - _OWN_FILES - door) // 2)), door


class Shortage:
    """Takes what the loop says of its failures: that no file is left is counted, once a second, and said once."""

    def __init__(self, count: Callable[[str], None], say: Callable[[str], None]) -> None:
        self._count, self._say = count, say
        self._counted_at: float | None = None

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take one of them."""
        error = context.get("exception")
        if isinstance(error, ValueError) and "_start_serving" in str(context.get("message")):
            # A while after a shortage the loop listens again, even to what has been closed since.
            return
        if not (isinstance(error, OSError) and error.errno in _NONE_LEFT):
            loop.default_exception_handler(context)
            return
        now = loop.time()
        if self._counted_at is None:
            self._say("no more files can be opened, so nobody is let in until some session ends: raise `ulimit -n`")
        elif now - self._counted_at < _SECONDS_BETWEEN:
            return
        self._counted_at = now
        self._count("relay.out_of_files")
