"""What a session has used so far, of those that are billed by time: said by the service, or measured by us.

Of the sockets of a session each may tell the same total, so that only what it has grown by is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realtime_spend.core import live, money, translation
from realtime_spend.core.raw_numbers import numbers_text
from realtime_spend.core.session import Metered
from realtime_spend.core.usage import Amounts, Kind, Reported, Usage

if TYPE_CHECKING:
    from realtime_spend.core.endpoints import Endpoint
    from realtime_spend.core.naming import Named
    from realtime_spend.core.session import Session, Sessions


def take_live(endpoint: Endpoint, session: Session, event: dict[str, Any]) -> None:
    """Take what an event of a session of GPT-Live says of its seconds."""
    said, reported = live.seconds_of(event), Reported.REPORTED
    session.is_live = True
    if endpoint.is_webrtc:
        reported = Reported.ESTIMATED if said is None else reported
        said = max(live.WEBRTC_START, said or live.WEBRTC_START)
    if said is not None and (session.total is None or said >= (session.total.amounts.seconds or 0)):
        status = "completed" if event["type"] == live.CLOSED else "in_progress"
        raw = numbers_text(event.get("usage"))
        session.total = Usage(Kind.LIVE, session.id, status, reported, Amounts(seconds=said), raw)


def is_enough(session: Session) -> bool:
    """Whether the client of a translation has sent so much more than was told that it is to be told."""
    told = None if session.total is None else session.total.amounts.seconds
    return translation.seconds_of(session.appended) - (told or 0) >= translation.TOLD_EVERY


def take_translated(session: Session) -> None:
    """Make what was sent until now the running total."""
    if session.appended:
        amounts = Amounts(seconds=translation.seconds_of(session.appended))
        session.total = Usage(Kind.TRANSLATION, session.id, None, Reported.ESTIMATED, amounts)


def noted(session: Session, named: Named, at: int) -> tuple[Metered, ...]:
    """Return a total whose model nobody has said yet, now and then: whoever is killed meanwhile loses little of it.

    It is counted when it is known whose it is; until then it is written down, and adds nothing.
    """
    total = session.total
    seconds = None if total is None else total.amounts.seconds
    if total is None or seconds is None:
        return ()
    if session.noted is None:
        # As a rule the model is said in a moment.
        session.noted = seconds
    if seconds - session.noted < translation.TOLD_EVERY:
        return ()
    session.noted = seconds
    usage = Usage(total.kind, session.id, total.status, total.reported, total.amounts, total.raw, goes_on=True)
    return (Metered(usage, named, session.id, at, increase=money.ZERO),)


def grown(sessions: Sessions, endpoint: Endpoint, session: Session, named: Named, at: int) -> tuple[Metered, ...]:
    """Return how much a running total has grown."""
    total = session.total
    seconds = None if total is None else total.amounts.seconds
    if total is None or seconds is None:
        return ()
    increase, is_first = seconds, True
    if session.id is not None:
        increase, is_first = sessions.increase(endpoint, session.id, seconds)
    if not increase:
        return ()
    usage = Usage(total.kind, session.id, total.status, total.reported, total.amounts, total.raw, goes_on=not is_first)
    return (Metered(usage, named, session.id, at, increase=increase),)
