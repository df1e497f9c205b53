"""Why the relay ends a session by itself, each with a close code that a client can tell from the provider's."""

from __future__ import annotations

from enum import Enum


class Ending(Enum):
    """The close code and its reason. From 4000 on they are for applications; the last digits are HTTP's."""

    DRAINED = (1001, "the relay is shutting down; connect again")
    TOO_LARGE = (1009, "the frame is larger than this relay lets through")
    SPENT = (4402, "the session has reached its spend ceiling")
    IDLE = (4408, "nothing has happened in this session for too long")
    TOO_LONG = (4410, "the session has reached its longest time")
    UNREAD = (4429, "what is sent is not being read")

    @property
    def code(self) -> int:
        """The close code."""
        return self.value[0]

    @property
    def reason(self) -> str:
        """The reason, in one sentence."""
        return self.value[1]
