"""What a session leaves unfinished: begun and never done, awaited and never come, used and never told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_spend.core.endpoints import Service
from realtime_spend.core.naming import Named
from realtime_spend.core.usage import Kind, Reported, Usage

if TYPE_CHECKING:
    from realtime_spend.core.session import Session


def unfinished(session: Session, service: Service, named: Named, *, is_measured: bool) -> list[tuple[Usage, Named]]:
    """Return each usage that nobody will tell any more, and the model it was of; `named` is the session's own.

    `is_measured`: another socket of the session has heard its running total.
    """
    found = [] if is_measured else _untold(session, service, named)
    found += [(_lost(response_id), named) for response_id in session.open]
    found += [
        (_lost(response_id), Named(requested=None, said=model)) for response_id, model in session.delegated.items()
    ]
    return found + [
        (_missing(Kind.TRANSCRIPTION, f"{item_id}#0"), transcribing(model))
        for item_id, model in session.awaited.items()
    ]


def transcribing(model: str | None) -> Named:
    """Return the names of a transcription model."""
    return Named(requested=model, said=model, transcription=True)


def _untold(session: Session, service: Service, named: Named) -> list[tuple[Usage, Named]]:
    """Return what a session used of which no event ever tells: a translation as a whole."""
    kind = Kind.TRANSLATION if service is Service.TRANSLATION else Kind.LIVE
    if session.id is None or session.total is not None or not (session.is_live or service is Service.TRANSLATION):
        return []
    return [(_missing(kind, session.id), named)]


def _lost(response_id: str) -> Usage:
    return Usage(kind=Kind.RESPONSE, id=response_id, status=None, reported=Reported.LOST)


def _missing(kind: Kind, told: str) -> Usage:
    return Usage(kind=kind, id=told, status=None, reported=Reported.MISSING)
