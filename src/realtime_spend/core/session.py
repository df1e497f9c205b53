"""What is known of a Realtime session, and of all sessions of a process: enough to meter what their sockets tell.

A frame alone cannot be metered. `response.done` names no model; the transcription model is switched on after
`session.created` and may change while audio is waiting to be transcribed; a response that was begun may never be
finished. So something has to remember, and it is keyed by the *session*: SDKs reconnect inside one connection object, a
sideband socket joins a session that another socket opened, and both repeat the same events.

- `Sessions` is the book of one process: the sessions that are open, and the usages already counted.
- `Session` is what is known of one session, shared by its sockets.
- `Learned` is what a socket (`realtime_spend.core.connection`) told.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.line_items import Word
from realtime_spend.core.usage import RANK, Kind, Usage

if TYPE_CHECKING:
    from decimal import Decimal

    from realtime_spend.core.endpoints import Endpoint
    from realtime_spend.core.naming import Named

_MOST_USAGES_REMEMBERED = 16_384


# Not frozen, and made by position, for the time that takes: one is made for each usage while a phone call waits.
@dataclass(slots=True)
class Metered:
    """A usage, with the names to price it by. `seconds` is the time from `response.created` on, where it was seen.

    `increase` is how much more a running total is than any before; None where the usage is no running total.
    """

    usage: Usage
    named: Named
    session: str | None
    at: int
    seconds: float | None = None
    increase: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNamed:
    """A session event said which model is in force, of the session or of its transcription."""

    named: Named


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstOutput:
    """The first delta of a response arrived. `to_audio`: seconds from the end of the user's speech to first audio."""

    named: Named
    to_chunk: float | None
    to_audio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """An event that was counted before, on this socket or on another of the session."""

    kind: Kind
    named: Named


class Fault(Word):
    """Something that kept a message from being read."""

    TOO_LARGE = "message_too_large"
    FORGOTTEN = "too_many_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A message that could not be read, or state that had to be dropped to keep memory bounded."""

    fault: Fault


Learned = Metered | ModelNamed | FirstOutput | Repeated | Unread
_Place = tuple[str, str, int | None]
_Key = tuple[_Place, Kind, str]


@dataclass(slots=True)
class Session:
    """What is known of one session.

    `open` maps responses begun to when they were, and `delegated` those that another model works at to that model.
    `added` and `committed` map items of audio to the transcription model in force when they were; `awaited` holds those
    committed whose transcription has not come. `total` is the running total of a session of GPT-Live, or of a
    translation of so many bytes of audio `appended`; `noted` is what of it was written down before its model was known.
    """

    id: str | None = None
    model: str | None = None
    transcription: str | None = None
    sockets: int = 0
    open: dict[str, int] = field(default_factory=dict)
    delegated: dict[str, str | None] = field(default_factory=dict)
    awaited: dict[str, str | None] = field(default_factory=dict)
    added: dict[str, str | None] = field(default_factory=dict)
    committed: dict[str, str | None] = field(default_factory=dict)
    is_live: bool = False
    total: Usage | None = None
    appended: int = 0
    noted: Decimal | None = None

    def absorb(self, other: Session) -> None:
        """Take over what a socket had learned before it was known which session it belongs to."""
        # What the session knows goes before, and of two instants the earlier: the newcomer may only lag behind.
        for response, begun in other.open.items():
            self.open[response] = min(begun, self.open.get(response, begun))
        self.delegated = {**other.delegated, **self.delegated}
        self.awaited = {**other.awaited, **self.awaited}
        self.added = {**other.added, **self.added}
        self.committed = {**other.committed, **self.committed}
        self.model = self.model or other.model
        self.transcription = self.transcription or other.transcription
        self.is_live = self.is_live or other.is_live
        self.total = self.total or other.total
        self.appended += other.appended
        other.open, other.delegated, other.awaited = {}, {}, {}


class Sessions:
    """The sessions open in this process, and the usages counted; both bounded. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # Ordered: of an ordinary dictionary the oldest key takes the longer to find the more were removed before it.
        self._counted: OrderedDict[_Key, int] = OrderedDict()
        self._sessions: dict[tuple[_Place, str], Session] = {}
        self._totals: OrderedDict[tuple[_Place, str], Decimal] = OrderedDict()

    def join(self, endpoint: Endpoint, session_id: str) -> Session:
        """Return the session of this id, new or as other sockets have it, with one socket more."""
        key = (endpoint.place, session_id)
        with self._lock:
            session = self._sessions.setdefault(key, Session(id=session_id))
            session.sockets += 1
        return session

    def leave(self, endpoint: Endpoint, session: Session) -> bool:
        """Take a socket off a session; return whether it was the last, with which the session is forgotten."""
        with self._lock:
            session.sockets -= 1
            if session.sockets > 0:
                return False
            self._sessions.pop((endpoint.place, session.id or ""), None)
        return True

    def holding(self, endpoint: Endpoint, response_or_item: str) -> str | None:
        """Return the id of the session that began this response or committed this item, None if none has yet."""
        place = endpoint.place
        with self._lock:
            for (at, session_id), session in self._sessions.items():
                if at == place and (response_or_item in session.open or response_or_item in session.committed):
                    return session_id
        return None

    def accept(self, endpoint: Endpoint, usage: Usage) -> bool:
        """Whether `usage` says more than anything counted for its id before, and is so counted from now on."""
        if usage.id is None:
            return True
        key = (endpoint.place, usage.kind, usage.id)
        rank = RANK[usage.reported]
        with self._lock:
            if self._counted.get(key, -1) >= rank:
                return False
            self._counted[key] = rank
            if len(self._counted) > _MOST_USAGES_REMEMBERED:
                self._counted.popitem(last=False)
        return True

    def increase(self, endpoint: Endpoint, session_id: str, total: Decimal) -> tuple[Decimal, bool]:
        """Take a running total; return how much more it is than any before, and whether it is the first."""
        key = (endpoint.place, session_id)
        with self._lock:
            before = self._totals.get(key)
            if before is None or total > before:
                self._totals[key] = total
                # What is forgotten is what has been silent for longest: a session that goes on would be counted anew.
                self._totals.move_to_end(key)
            if len(self._totals) > _MOST_USAGES_REMEMBERED:
                self._totals.popitem(last=False)
        if before is None:
            return total, True
        return max(money.subtract(total, before), money.ZERO), False

    def is_measured(self, endpoint: Endpoint, session_id: str) -> bool:
        """Whether a running total of this session has been taken."""
        with self._lock:
            return (endpoint.place, session_id) in self._totals

    def begin_anew(self) -> None:
        """In a forked child: a lock that another thread held at the fork would be held for ever."""
        self._lock = threading.RLock()
