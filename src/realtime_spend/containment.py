"""The host comes first: an error of ours is counted and logged once, and never reaches the program that we watch."""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("realtime_spend")
_MOST_NAMES = 200


class Containment:
    """Takes what went wrong. `reraise` is for our own test suite, where an error must not pass unseen."""

    reraise = False

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._said: set[str] = set()
        self._names: set[str] = set()

    def failed(self, doing: str) -> None:
        """Account for the exception being handled. Neither its message nor any payload is logged, only where it was."""
        error = sys.exc_info()[1]
        if error is None or self.reraise:
            raise  # noqa: PLE0704 - only ever called from an except clause
        # Counting may be what failed; there is nobody left to tell.
        with suppress(Exception):
            self._account_for(doing, error)

    def _account_for(self, doing: str, error: BaseException) -> None:
        self._count(f"internal.{doing}")
        if doing in self._said:
            return
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown place"
        self.say_once(
            doing,
            "an error of ours while %s (%s at %s): this program is not affected, but some usage may not be counted",
            doing.replace("_", " "),
            type(error).__name__,
            where,
        )

    def cannot_watch(self, library: str, installed: str, error: Exception) -> None:
        """Account for a socket library that is not as its hook knows it: everything that it carries goes unseen."""
        if self.reraise:
            raise error
        with suppress(Exception):
            self._count("internal.attaching")
            self.say_once(
                f"attaching to {library}",
                "the sessions that %s carries are NOT metered: it is not as this version knows it (%s: %s). Look for "
                "a newer realtime-spend; REALTIME_SPEND_DISABLED_LIBRARIES=%s says that this is meant",
                installed,
                type(error).__name__,
                error,
                library,
            )

    def say_of_name_once(self, name: str, sentence: str, *arguments: object) -> None:
        """Log a warning about a name from the wire, of which there may be any number; a bounded number is told."""
        if name in self._names or len(self._names) < _MOST_NAMES:
            self._names.add(name)
            self.say_once(f"name {name}", sentence, *arguments)

    def say_once(self, key: str, sentence: str, *arguments: object) -> None:
        """Log a warning the first time for this key."""
        if key not in self._said:
            self._said.add(key)
            # A log handler of the host's may raise, and what we were about to count must be counted all the same.
            with suppress(Exception):
                _log.warning(f"realtime-spend: {sentence}", *arguments)
