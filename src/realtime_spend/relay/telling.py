"""What operators are told: every refusal and every ended session is counted, and of each kind one is logged a minute.

A log line each would be a log that clients write.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN = 60.0
# Whoever asked for the end knows of it.
_EXPECTED = frozenset(("draining",))


class Telling:
    """Counts `relay.<code>` each time, and now and then says the sentence; neither may hold what a client has sent."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._said_at: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def __call__(self, code: str, sentence: str) -> None:
        """Take one of them."""
        self._count(f"relay.{code}")
        if code in _EXPECTED:
            return
        now, said_at = time.monotonic(), self._said_at.get(code)
        if said_at is not None and now - said_at < _SECONDS_BETWEEN:
            self._unsaid[code] = self._unsaid.get(code, 0) + 1
            return
        self._said_at[code] = now
        unsaid = self._unsaid.pop(code, 0)
        more = f", and {unsaid} times more since it was said last" if unsaid else ""
        # A handler of the log may raise, and the client is to be answered all the same.
        with suppress(Exception):
            _log.warning("realtime-spend: %s (%s%s)", sentence, code, more)
