"""One socket of a session: messages in, what was learned out. Sans-I/O: whoever holds the socket feeds it.

There is no clock in here: the caller says when, in nanoseconds since the epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realtime_spend.core import events, live, running_total, translation, usage_events
from realtime_spend.core.endpoints import Service
from realtime_spend.core.frames import DeltaFilter, Reassembly, delta_type, response_of
from realtime_spend.core.messages import parsed
from realtime_spend.core.naming import Named
from realtime_spend.core.session import Fault, FirstOutput, Metered, ModelNamed, Repeated, Session, Unread
from realtime_spend.core.timing import Timing, seconds_between
from realtime_spend.core.unfinished import transcribing, unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realtime_spend.core.endpoints import Endpoint
    from realtime_spend.core.session import Learned, Sessions
    from realtime_spend.core.usage import Usage

_MOST_OPEN = 1_024
_NOTHING: tuple[()] = ()


class Connection:
    """One socket of a session: messages in, what was learned out."""

    def __init__(self, endpoint: Endpoint, sessions: Sessions) -> None:
        self.endpoint = endpoint
        self._sessions = sessions
        self._session = Session(sockets=1)
        self._fragments = Reassembly()
        self._timing = Timing()
        self.is_closed = False
        self._named = Named(requested=endpoint.requested_model, said=None)
        # Whether a message can be skipped, unless the first output of a response that has `begun` is awaited.
        known = DeltaFilter()
        self.is_delta, self.learned = known.is_delta, known.learned
        self.begun = self._timing.begun

    @property
    def named(self) -> Named:
        """The names of the session's own model."""
        # Another socket of the session may have been told another model meanwhile.
        if self._named.said != self._session.model:
            self._named = Named(requested=self.endpoint.requested_model, said=self._session.model)
        return self._named

    def receive(self, frame: str | bytes | bytearray, at: int) -> Sequence[Learned]:
        """Take one whole message that arrived `at` nanoseconds since the epoch. Any content is fine; none raises."""
        return self.delta(frame, at) if self.is_delta(frame) else self.message(frame, at)

    def delta(self, frame: str | bytes | bytearray, at: int) -> Sequence[Learned]:
        """Take a message that `is_delta`."""
        if self.begun and not self.is_closed and self._timing.awaits(frame):
            return self._first_output(frame, at)
        return _NOTHING

    def message(self, frame: str | bytes | bytearray, at: int) -> Sequence[Learned]:
        """Take a message that is no delta."""
        return self.receive_event(parsed(frame), at)

    def receive_fragment(self, data: bytes | bytearray, at: int, *, first: bool, final: bool) -> Sequence[Learned]:
        """Take one frame of a message that comes in several."""
        if self.is_closed:
            return _NOTHING
        if first and final:
            return self.receive(data, at)
        whole = None
        if not first:
            whole = self._fragments.proceed(data, final=final)
        elif self._fragments.begin(data) and self._timing.begun:
            return self._first_output(data, at)
        if self._fragments.gave_up:
            return (Unread(fault=Fault.TOO_LARGE),)
        return _NOTHING if whole is None else self.receive(whole, at)

    def sent(self, message: str | bytes | bytearray, at: int) -> Sequence[Learned]:
        """Take a whole message of the client's: nothing but the audio in it tells what a translation used."""
        if self.is_closed or self.endpoint.service is not Service.TRANSLATION:
            return _NOTHING
        appended = translation.appended(message)
        # Several threads may send, while another one is told the session's id. From the session to its new sum nothing
        # is called, so that none of them comes between and is lost.
        self._session.appended += appended
        if not running_total.is_enough(self._session):
            return _NOTHING
        running_total.take_translated(self._session)
        return self._grown(at)

    def receive_event(self, event: object, at: int) -> Sequence[Learned]:
        """Take one server event as parsed JSON."""
        kind = event.get("type") if isinstance(event, dict) else None
        if not isinstance(event, dict) or not isinstance(kind, str) or self.is_closed:
            return _NOTHING
        handler = _HANDLERS.get(kind)
        if handler is None:
            return _NOTHING
        if self._session.id is None:
            if self.endpoint.session is not None:
                self._enter(self.endpoint.session, at)
            elif kind not in events.SESSION_EVENTS:
                self._join_by(event, at)
        return handler(self, event, at)

    def _join_by(self, event: dict[str, Any], at: int) -> None:
        """Find the session of a socket that no session event names: a sideband shares the responses of another."""
        told = events.name(events.child(event, "response", "id")) or events.name(event.get("item_id"))
        session_id = None if told is None else self._sessions.holding(self.endpoint, told)
        if session_id is not None:
            self._enter(session_id, at)

    def begin_anew(self) -> None:
        """In a forked child: what was begun before the fork is the parent's to account for."""
        self._session.open, self._session.delegated, self._session.awaited = {}, {}, {}

    def abandon(self) -> None:
        """Take nothing any more, not even the end."""
        self.is_closed = True

    def close(self, at: int) -> Sequence[Learned]:
        """Take the end of the socket. What was begun and will not be finished is lost, and said so."""
        if self.is_closed:
            return _NOTHING
        self.is_closed = True
        if self._session.id is None and self.endpoint.session is not None:
            # Nothing was ever told on it, and yet the session was there.
            self._enter(self.endpoint.session, at)
            running_total.take_live(self.endpoint, self._session, {"type": live.STARTED})
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
                learned.append(ModelNamed(named=transcribing(transcription)))
        if session.is_live or self.endpoint.service is Service.LIVE:
            # A running total may have waited for the model.
            learned += self._measured(event, at)
        return learned

    def _enter(self, session_id: str, at: int) -> Sequence[Learned]:
        """Move this socket to the session of this id; another one it was in before has ended for it."""
        learned = self._part(at) if self._session.id is not None else _NOTHING
        before, self._session = self._session, self._sessions.join(self.endpoint, session_id)
        if before.id is None:
            self._session.absorb(before)
        else:
            self._timing.begin_anew()
        return learned

    def _part(self, at: int) -> Sequence[Learned]:
        """Leave the session; its last socket accounts for what it leaves unfinished."""
        session = self._session
        if not self._sessions.leave(self.endpoint, session):
            return _NOTHING
        learned: list[Learned] = []
        running_total.take_translated(session)
        learned += self._grown(at, waits=False)
        is_measured = session.id is not None and self._sessions.is_measured(self.endpoint, session.id)
        for usage, named in unfinished(session, self.endpoint.service, self.named, is_measured=is_measured):
            # What another socket has made good is neither lost nor, since no event told it here, a repetition.
            if self._sessions.accept(self.endpoint, usage):
                learned.append(Metered(usage=usage, named=named, session=session.id, at=at))
        session.open, session.delegated, session.awaited = {}, {}, {}
        return learned

    def _live_event(self, event: dict[str, Any], at: int) -> Sequence[Learned]:
        """Take the begin of a session of GPT-Live, its running total, or its end. A translation's end tells nothing."""
        session = self._session
        session.is_live = session.is_live or event["type"] != live.CLOSED or live.seconds_of(event) is not None
        if not session.is_live:
            return _NOTHING
        return self._session_event(event, at) if "session" in event else self._measured(event, at)

    def _measured(self, event: dict[str, Any], at: int) -> Sequence[Learned]:
        running_total.take_live(self.endpoint, self._session, event)
        return self._grown(at)

    def _grown(self, at: int, *, waits: bool = True) -> Sequence[Learned]:
        """Return how much a running total has grown, as soon as somebody has said whose it is."""
        session = self._session
        model = session.model or self.endpoint.requested_model
        if waits and (session.id is None or model is None):
            return _NOTHING if session.id is None else running_total.noted(session, self.named, at)
        return running_total.grown(self._sessions, self.endpoint, session, self.named, at)

    def _delegated(self, event: dict[str, Any], at: int) -> Sequence[Learned]:
        session, done = self._session, live.delegated(event)
        if done is None:
            begun = live.delegated_to(event)
            return _NOTHING if begun is None else self._remember(session.delegated, *begun)
        session.delegated.pop(done.id or "", None)
        return self._count(usage_events.of_delegated(done, event), Named(requested=None, said=done.model), at)

    def _response_created(self, event: dict[str, Any], at: int) -> Sequence[Learned]:
        response_id = events.name(events.child(event, "response", "id"))
        if response_id is None:
            return _NOTHING
        self._timing.begin(response_id, at, speaks=events.speaks(event))
        # Another socket of the session may have told it already, and earlier.
        return self._remember(self._session.open, response_id, min(at, self._session.open.get(response_id, at)))

    def _response_done(self, event: dict[str, Any], at: int) -> Sequence[Learned]:
        response_id = events.name(events.child(event, "response", "id"))
        self.begun.pop(response_id or "", None)
        begun = self._session.open.pop(response_id or "", None)
        return self._count(usage_events.of_response(event), self.named, at, begun=begun)

    def _speech_stopped(self, _event: dict[str, Any], at: int) -> Sequence[Learned]:
        self._timing.speech_stopped(at)
        return _NOTHING

    def _item_added(self, event: dict[str, Any], _at: int) -> Sequence[Learned]:
        """Audio that a client adds as a whole item is never committed: its transcription model is that of now."""
        item_id = events.name(events.child(event, "item", "id"))
        if item_id is None or events.child(event, "item", "role") != "user" or item_id in self._session.added:
            return _NOTHING
        return self._remember(self._session.added, item_id, self._session.transcription)

    def _transcription_failed(self, event: dict[str, Any], _at: int) -> Sequence[Learned]:
        self._session.awaited.pop(events.name(event.get("item_id")) or "", None)
        return _NOTHING

    def _audio_committed(self, event: dict[str, Any], at: int) -> Sequence[Learned]:
        self._timing.committed(at)
        item_id = events.name(event.get("item_id"))
        session = self._session
        # The first commit counts; another socket of the session may repeat it when the model has changed.
        if item_id is None or item_id in session.committed:
            return _NOTHING
        learned = list(self._remember(session.committed, item_id, session.transcription))
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
        model = session.committed.get(item_id or "") or session.added.get(item_id or "") or session.transcription
        return self._count(usage_events.of_transcription(event), transcribing(model), at)

    def _count(self, usage: Usage, named: Named, at: int, begun: int | None = None) -> Sequence[Learned]:
        if not self._sessions.accept(self.endpoint, usage):
            return (Repeated(kind=usage.kind, named=named),)
        seconds = None if begun is None else seconds_between(begun, at)
        return (Metered(usage, named, self._session.id, at, seconds),)

    def _first_output(self, frame: str | bytes | bytearray, at: int) -> Sequence[Learned]:
        kind = delta_type(frame) or ""
        if not kind.startswith("response."):
            # The transcript of what the user said runs beside the response and is no output of it.
            return _NOTHING
        to_chunk, to_audio = self._timing.output(response_of(frame), at, is_audio=kind.endswith("audio.delta"))
        if to_chunk is None and to_audio is None:
            return _NOTHING
        return (FirstOutput(named=self.named, to_chunk=to_chunk, to_audio=to_audio),)

    def _remember(self, kept: dict[str, Any], key: str, value: object) -> Sequence[Learned]:
        kept[key] = value
        if len(kept) <= _MOST_OPEN:
            return _NOTHING
        del kept[next(iter(kept))]
        # Dropping an old item's model is harmless; dropping an open response would hide that it may be lost.
        is_harmless = kept is self._session.added or kept is self._session.committed
        return () if is_harmless else (Unread(fault=Fault.FORGOTTEN),)


# What each event that matters does; all others change nothing.
_HANDLERS: dict[str, Callable[[Connection, dict[str, Any], int], Sequence[Learned]]] = {
    **dict.fromkeys(events.SESSION_EVENTS, Connection._session_event),  # noqa: SLF001 - a table of its own methods
    **dict.fromkeys((live.STARTED, live.USAGE_UPDATED, live.CLOSED), Connection._live_event),  # noqa: SLF001 - as above
    **dict.fromkeys((live.RESPONSE_EVENT, live.DECISION_EVENT), Connection._delegated),  # noqa: SLF001 - as above
    events.RESPONSE_CREATED: Connection._response_created,  # noqa: SLF001 - as above
    events.RESPONSE_DONE: Connection._response_done,  # noqa: SLF001 - as above
    events.SPEECH_STOPPED: Connection._speech_stopped,  # noqa: SLF001 - as above
    events.AUDIO_COMMITTED: Connection._audio_committed,  # noqa: SLF001 - as above
    events.TRANSCRIPTION_COMPLETED: Connection._transcription_completed,  # noqa: SLF001 - as above
    events.TRANSCRIPTION_FAILED: Connection._transcription_failed,  # noqa: SLF001 - as above
    **dict.fromkeys(events.ITEM_ADDED_EVENTS, Connection._item_added),  # noqa: SLF001 - as above
}
