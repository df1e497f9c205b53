"""Where the demo's metrics go to, and how what has arrived there is read and waited for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_spend.demo.comparison import Line, Metered

# A collector hands on what it has accepted within a moment; a machine that is busy elsewhere takes longer.
_PATIENCE_SECONDS = 30
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """An OTLP endpoint. `read` returns what has arrived there, `heading` heads it; both None at a user's collector."""

    endpoint: str
    heading: str | None = None
    read: Callable[[], Metered] | None = None
    is_users: bool = False
    more: str = ""

    def settled(self, compare: Callable[[Metered | None], list[Line]]) -> list[Line]:
        """Return the comparison with what has arrived, once all agrees or waiting is of no more use."""
        if self.read is None:
            return compare(None)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            lines = compare(self.read())
            # What is in the ledger and was not sent will not come to agree by waiting.
            is_hopeless = any(line.sent != line.ledger for line in lines)
            if is_hopeless or all(line.agrees for line in lines) or time.monotonic() > deadline:
                return lines
            time.sleep(_PAUSE_SECONDS)
