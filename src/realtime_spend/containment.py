"""The host comes first: an error of ours is counted and logged once, and never reaches the program that we watch."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("realtime_spend")


class Containment:
    """Takes what went wrong. `reraise` is for our own test suite, where an error must not pass unseen."""

    reraise = False

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._said: set[str] = set()

    def failed(self, doing: str) -> None:
        """Account for the exception being handled. Neither its message nor any payload is logged, only where it was."""
        error = sys.exc_info()[1]
        if error is None or self.reraise:
            raise  # noqa: PLE0704 - only ever called from an except clause
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

    def say_once(self, key: str, sentence: str, *arguments: object) -> None:
        """Log a warning the first time for this key; a bounded number of keys, because names come from the wire."""
        if key in self._said or len(self._said) >= 1_000:  # noqa: PLR2004 - any bound will do
            return
        self._said.add(key)
        _log.warning(f"realtime-spend: {sentence}", *arguments)
