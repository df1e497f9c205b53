"""The sessions of this process, and how many there may be: of all, and of each subject."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING

from realtime_spend.relay.refusals import RefusedError

if TYPE_CHECKING:
    from realtime_spend.relay.session import RelayedSession
    from realtime_spend.relay.settings import Limits


class Place:
    """A place that a session takes from before its upstream is asked until it has ended."""

    __slots__ = ("_register", "session", "subject")

    def __init__(self, register: Register, subject: str | None) -> None:
        self._register, self.subject = register, subject
        self.session: RelayedSession | None = None

    def leave(self) -> None:
        """Make room for another one."""
        self._register.leave(self)


class Register:
    """All sessions of this process, those whose upstream has yet to answer included."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places: set[Place] = set()
        self._of_subject: Counter[str] = Counter()
        self.is_draining = False

    def __len__(self) -> int:
        return len(self._places)

    @property
    def sessions(self) -> list[RelayedSession]:
        """The sessions that are joined."""
        return [place.session for place in self._places if place.session is not None]

    def enter(self, subject: str | None) -> Place:
        """Take a place; RefusedError where there is none."""
        again = "Retry-After: 5"
        if self.is_draining:
            sentence = "this relay is shutting down; connect again"
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "draining", sentence, again)
        if len(self._places) >= self._limits.sessions:
            sentence = "this relay holds as many sessions as it may"
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "full", sentence, again)
        most = self._limits.sessions_of_subject
        if subject is not None and most is not None and self._of_subject[subject] >= most:
            sentence = f"as many sessions as one may have are open: {most}"
            raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, "too_many_sessions", sentence, again)
        place = Place(self, subject)
        self._places.add(place)
        if subject is not None:
            self._of_subject[subject] += 1
        return place

    def leave(self, place: Place) -> None:
        """Take a session out; twice is as good as once."""
        if place not in self._places:
            return
        self._places.remove(place)
        if place.subject is not None:
            self._of_subject[place.subject] -= 1
            if not self._of_subject[place.subject]:
                del self._of_subject[place.subject]
