"""Frames in, usages out: what one Realtime session used, as its sockets tell it.

A frame alone cannot be metered. `response.done` names no model; the transcription model is switched on after
`session.created` and may change while audio is waiting to be transcribed; a response that was begun may never be
finished. So something has to remember, and it is keyed by the *session*: SDKs reconnect inside one connection object, a
sideband socket joins a session that another socket opened, and both repeat the same events.

- `Sessions` is the book of one process: the sessions that are open, and the usages already counted.
- `Session` is what is known of one session, shared by its sockets.
- `Connection` is one socket: `receive` takes its messages, `close` its end; both return what was learned.

There is no clock in here: the caller says when, in nanoseconds since the epoch.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from realtime_spend.core import events
from realtime_spend.core.frames import DeltaFilter, Reassembly, names_audio
from realtime_spend.core.line_items import Word
from realtime_spend.core.naming import Named
from realtime_spend.core.usage import RANK, Kind, Reported, Usage, numbers_of, read_amounts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realtime_spend.core.endpoints import Endpoint

_MOST_USAGES_REMEMBERED = 16_384
_MOST_OPEN = 1_024
_NOTHING: tuple[()] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """A usage, with the names to price it by. `seconds` is the time from `response.created` on, where it was seen."""

    usage: Usage
    named: Named
    session: str | None
    at: int
    seconds: float | None = None


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


class Fault(Word):
    """Something that kept a message from being read."""

    TOO_LARGE = "message_too_large"
    FORGOTTEN = "too_many_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A message that could not be read, or state that had to be dropped to keep memory bounded."""

    fault: Fault


Learned = Metered | ModelNamed | FirstOutput | Repeated | Unread
_Key = tuple[str, str, Kind, str]


@dataclass(slots=True)
class Session:
    """What is known of one session.

    `open` maps responses begun to when they were; `transcribed` items to the transcription model in force when they
    were committed; `awaited` holds those of them whose transcription has not come.
    """

    id: str | None = None
    model: str | None = None
    transcription: str | None = None
    sockets: int = 0
    open: dict[str, int] = field(default_factory=dict)
    awaited: dict[str, str | None] = field(default_factory=dict)
    transcribed: dict[str, str | None] = field(default_factory=dict)

    def absorb(self, other: Session) -> None:
        """Take over what a socket had learned before it was known which session it belongs to."""
        self.open |= other.open
        self.awaited |= other.awaited
        self.transcribed |= other.transcribed
        self.model = self.model or other.model
        self.transcription = self.transcription or other.transcription
        other.open, other.awaited = {}, {}


class Sessions:
    """The sessions open in this process, and the usages counted; both bounded. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[_Key, int] = {}
        self._sessions: dict[tuple[str, str, str], Session] = {}

    def join(self, endpoint: Endpoint, session_id: str) -> Session:
        """Return the session of this id, new or as other sockets left it."""
        key = (endpoint.provider, endpoint.server, session_id)
        with self._lock:
            return self._sessions.setdefault(key, Session(id=session_id))

    def leave(self, endpoint: Endpoint, session: Session) -> None:
        """Forget a session that no socket holds any more."""
        with self._lock:
            self._sessions.pop((endpoint.provider, endpoint.server, session.id or ""), None)

    def accept(self, endpoint: Endpoint, usage: Usage) -> bool:
        """Whether `usage` says more than anything counted for its id before, and is so counted from now on."""
        if usage.id is None:
            return True
        key = (endpoint.provider, endpoint.server, usage.kind, usage.id)
        rank = RANK[usage.reported]
        with self._lock:
            if self._counted.get(key, -1) >= rank:
                return False
            self._counted[key] = rank
            if len(self._counted) > _MOST_USAGES_REMEMBERED:
                del self._counted[next(iter(self._counted))]
        return True

    def begin_anew(self) -> None:
        """In a forked child: a lock that another thread held at the fork would be held for ever."""
        self._lock = threading.Lock()


class Connection:
    """One socket of a session: messages in, what was learned out."""

    def __init__(self, endpoint: Endpoint, sessions: Sessions) -> None:
        self.endpoint = endpoint
        self._sessions = sessions
        self._session = Session(sockets=1)
        self._filter = DeltaFilter()
        self._fragments = Reassembly()
        self._created_at: int | None = None
        self._speech_ended_at: int | None = None
        self._awaits_chunk = self._awaits_audio = False
        self._closed = False

    @property
    def session_id(self) -> str | None:
        """The id of the session, once a session event gave it."""
        return self._session.id

    @property
    def named(self) -> Named:
        """The names of the session's own model."""
        return Named(requested=self.endpoint.requested_model, said=self._session.model)

    def receive(self, frame: str | bytes | bytearray, at: int) -> Sequence[Learned]:
        """Take one whole message that arrived `at` nanoseconds since the epoch. Any content is fine; none raises."""
        if self._filter.is_delta(frame):
            if self._awaits_chunk or self._awaits_audio:
                return self._first_output(frame, at)
            return _NOTHING
        try:
            event = json.loads(frame)
        except (ValueError, RecursionError):
            # Not ours to judge: the client above gets the same bytes and says what it thinks of them.
            return _NOTHING
        return self.receive_event(event, at)

    def receive_fragment(self, data: bytes | bytearray, at: int, *, first: bool, final: bool) -> Sequence[Learned]:
        """Take one frame of a message that comes in several."""
        if first:
            self._fragments.begin(data)
            return _NOTHING
        whole = self._fragments.proceed(data, final=final)
        if self._fragments.gave_up:
            return (Unread(fault=Fault.TOO_LARGE),)
        return _NOTHING if whole is None else self.receive(whole, at)

    def receive_event(self, event: object, at: int) -> Sequence[Learned]:
        """Take one server event as parsed JSON."""
        kind = event.get("type") if isinstance(event, dict) else None
        if not isinstance(event, dict) or not isinstance(kind, str):
            return _NOTHING
        handler = _HANDLERS.get(kind)
        return _NOTHING if handler is None else handler(self, event, at)

    def begin_anew(self) -> None:
        """In a forked child: what was begun before the fork is the parent's to account for."""
        self._session.open, self._session.awaited = {}, {}

    def close(self, at: int) -> Sequence[Learned]:
        """Take the end of the socket. What was begun and will not be finished is lost, and said so."""
        if self._closed:
            return _NOTHING
        self._closed = True
        return self._part(at)

    def _session_event(self, event: dict[str, Any], at: int) -> Sequence[Learned]:
        said = event.get("session")
        learned: list[Learned] = []
        session_id = events.name(events.child(said, "id"))
        if session_id is not None and session_id != self._session.id:
            learned += self._enter(session_id, at)
        session = self._session
        model = events.name(events.child(said, "model"))
        if model is not None:
            session.model = model
            learned.append(ModelNamed(named=self.named))
        speaks, transcription = events.transcription_model(said)
        if speaks:
            session.transcription = transcription
            if transcription is not None:
                learned.append(ModelNamed(named=_transcribing(transcription)))
        return learned

    def _enter(self, session_id: str, at: int) -> Sequence[Learned]:
        """Move this socket to the session of this id; another one it was in before has ended for it."""
        learned = self._part(at) if self._session.id is not None else _NOTHING
        before, self._session = self._session, self._sessions.join(self.endpoint, session_id)
        self._session.sockets += 1
        if before.id is None:
            self._session.absorb(before)
        return learned

    def _part(self, at: int) -> Sequence[Learned]:
        """Leave the session; its last socket accounts for what it leaves unfinished."""
        session = self._session
        session.sockets -= 1
        if session.sockets > 0:
            return _NOTHING
        self._sessions.leave(self.endpoint, session)
        learned: list[Learned] = []
        for response_id, begun in session.open.items():
            lost = Usage(kind=Kind.RESPONSE, id=response_id, status=None, reported=Reported.LOST)
            learned += self._count(lost, self.named, at, begun=begun)
        for item_id, model in session.awaited.items():
            missing = Usage(kind=Kind.TRANSCRIPTION, id=f"{item_id}#0", status=None, reported=Reported.MISSING)
            learned += self._count(missing, _transcribing(model), at)
        session.open, session.awaited = {}, {}
        return learned

    def _response_created(self, event: dict[str, Any], at: int) -> Sequence[Learned]:
        self._created_at = at
        self._awaits_chunk = self._awaits_audio = True
        response_id = events.name(events.child(event, "response", "id"))
        if response_id is None:
            return _NOTHING
        return self._remember(self._session.open, response_id, at)

    def _response_done(self, event: dict[str, Any], at: int) -> Sequence[Learned]:
        self._awaits_chunk = self._awaits_audio = False
        response = event.get("response")
        response_id = events.name(events.child(response, "id"))
        begun = self._session.open.pop(response_id or "", None)
        said = events.response_usage(event)
        amounts = read_amounts(said, text_output=False)
        usage = Usage(
            kind=Kind.RESPONSE,
            id=response_id or events.name(event.get("event_id")),
            status=events.name(events.child(response, "status")),
            reported=Reported.MISSING if amounts.is_missing else Reported.REPORTED,
            amounts=amounts,
            raw=numbers_of(said),
        )
        return self._count(usage, self.named, at, begun=begun)

    def _speech_stopped(self, _event: dict[str, Any], at: int) -> Sequence[Learned]:
        self._speech_ended_at = at
        return _NOTHING

    def _item_added(self, event: dict[str, Any], _at: int) -> Sequence[Learned]:
        """Audio that a client adds as a whole item is never committed: its transcription model is that of now."""
        item_id = events.name(events.child(event, "item", "id"))
        if item_id is None or events.child(event, "item", "role") != "user" or item_id in self._session.transcribed:
            return _NOTHING
        return self._remember(self._session.transcribed, item_id, self._session.transcription)

    def _transcription_failed(self, event: dict[str, Any], _at: int) -> Sequence[Learned]:
        self._session.awaited.pop(events.name(event.get("item_id")) or "", None)
        return _NOTHING

    def _audio_committed(self, event: dict[str, Any], at: int) -> Sequence[Learned]:
        if self._speech_ended_at is None:
            # Without voice detection the client's commit is the end of the speech.
            self._speech_ended_at = at
        item_id = events.name(event.get("item_id"))
        if item_id is None:
            return _NOTHING
        session = self._session
        learned = list(self._remember(session.transcribed, item_id, session.transcription))
        if session.transcription is not None:
            learned += self._remember(session.awaited, item_id, session.transcription)
        return learned

    def _transcription_completed(self, event: dict[str, Any], at: int) -> Sequence[Learned]:
        if event.get("status") == "in_progress":
            # Some services repeat the event while they transcribe; the one that counts says "completed" or nothing.
            return _NOTHING
        session = self._session
        item_id = events.name(event.get("item_id"))
        session.awaited.pop(item_id or "", None)
        index = event.get("content_index")
        part = index if isinstance(index, int) and not isinstance(index, bool) else 0
        model = session.transcribed.get(item_id or "") or session.transcription
        amounts = read_amounts(event.get("usage"), text_output=True)
        usage = Usage(
            kind=Kind.TRANSCRIPTION,
            id=f"{item_id}#{part}" if item_id else events.name(event.get("event_id")),
            status="completed",
            reported=Reported.MISSING if amounts.is_missing else Reported.REPORTED,
            amounts=amounts,
            raw=numbers_of(event.get("usage")),
        )
        return self._count(usage, _transcribing(model), at)

    def _count(self, usage: Usage, named: Named, at: int, begun: int | None = None) -> Sequence[Learned]:
        if not self._sessions.accept(self.endpoint, usage):
            # A loss that another socket made good is no repetition of anything.
            return _NOTHING if usage.reported is Reported.LOST else (Repeated(kind=usage.kind),)
        seconds = None if begun is None or usage.reported is Reported.LOST else _seconds(begun, at)
        return (Metered(usage=usage, named=named, session=self._session.id, at=at, seconds=seconds),)

    def _first_output(self, frame: str | bytes | bytearray, at: int) -> Sequence[Learned]:
        to_chunk = _seconds(self._created_at, at) if self._awaits_chunk else None
        self._awaits_chunk = False
        to_audio = None
        if self._awaits_audio and names_audio(frame):
            to_audio = _seconds(self._speech_ended_at, at)
            self._speech_ended_at = None
            self._awaits_audio = False
        if to_chunk is None and to_audio is None:
            return _NOTHING
        return (FirstOutput(named=self.named, to_chunk=to_chunk, to_audio=to_audio),)

    def _remember(self, kept: dict[str, Any], key: str, value: object) -> Sequence[Learned]:
        kept[key] = value
        if len(kept) <= _MOST_OPEN:
            return _NOTHING
        del kept[next(iter(kept))]
        # Dropping an old item's model is harmless; dropping an open response would hide that it may be lost.
        return () if kept is self._session.transcribed else (Unread(fault=Fault.FORGOTTEN),)


# What each event that matters does; all others change nothing.
_HANDLERS: dict[str, Callable[[Connection, dict[str, Any], int], Sequence[Learned]]] = {
    **dict.fromkeys(events.SESSION_EVENTS, Connection._session_event),  # noqa: SLF001 - a table of its own methods
    events.RESPONSE_CREATED: Connection._response_created,  # noqa: SLF001 - as above
    events.RESPONSE_DONE: Connection._response_done,  # noqa: SLF001 - as above
    events.SPEECH_STOPPED: Connection._speech_stopped,  # noqa: SLF001 - as above
    events.AUDIO_COMMITTED: Connection._audio_committed,  # noqa: SLF001 - as above
    events.TRANSCRIPTION_COMPLETED: Connection._transcription_completed,  # noqa: SLF001 - as above
    events.TRANSCRIPTION_FAILED: Connection._transcription_failed,  # noqa: SLF001 - as above
    **dict.fromkeys(events.ITEM_ADDED_EVENTS, Connection._item_added),  # noqa: SLF001 - as above
}


def _transcribing(model: str | None) -> Named:
    return Named(requested=model, said=model, transcription=True)


def _seconds(begun: int | None, at: int) -> float | None:
    """Return the seconds between two instants; None if the clock was set back meanwhile."""
    return None if begun is None or at < begun else (at - begun) / 1e9
