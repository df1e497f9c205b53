"""Days of voice sessions as the simulator's truth tells them, made up from a seed so that dozens of bills take no time.

Quantities, prices and the form are the simulator's own; only the sockets are left out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from realtime_spend.simulator.models import Provider, Scope, Sku
from realtime_spend.simulator.truth import Kind, Said, SentUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realtime_spend.simulator.prices import Quantity

Truth = list[dict[str, Any]]
FIRST = date(2026, 11, 9)
DAYS = tuple(FIRST + timedelta(days=number) for number in range(5))
_SESSIONS_A_DAY = 6
_RESPONSES, _UTTERANCES = 3, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A model that a company talks to, and the one that its users' speech is transcribed by."""

    provider: Provider
    model: str
    version: str | None
    transcription: str
    transcription_version: str | None = None
    by_seconds: bool = False


REALTIME = Service(
    provider=Provider.AZURE,
    model="gpt-realtime",
    version="2025-08-28",
    transcription="gpt-4o-mini-transcribe",
    transcription_version="2025-12-15",
)
MINI = Service(
    provider=Provider.AZURE,
    model="gpt-realtime-mini",
    version="2025-12-15",
    transcription="gpt-realtime-whisper",
    by_seconds=True,
)
AZURE = (REALTIME, MINI)
OPENAI = (
    Service(provider=Provider.OPENAI, model="gpt-realtime", version=None, transcription="gpt-4o-transcribe"),
    Service(
        provider=Provider.OPENAI,
        model="gpt-4o-mini-realtime-preview",
        version="2024-12-17",
        transcription="gpt-realtime-whisper",
        by_seconds=True,
    ),
)


def conversations(services: Sequence[Service] = AZURE, *, days: Sequence[date] = DAYS, seed: int = 7) -> Truth:
    """Return the usages of all sessions of these days."""
    rng = random.Random(seed)  # noqa: S311 - made to be predicted
    found: Truth = []
    for day in days:
        for service in services:
            for number in range(_SESSIONS_A_DAY):
                found += _session(service, f"sess_{service.model}_{day}_{number}", day, rng)
    return found


def _session(service: Service, session: str, day: date, rng: random.Random) -> Truth:
    sku = Sku(provider=service.provider, model=service.model, version=service.version, scope=Scope.GLOBAL)
    heard = Sku(
        provider=service.provider,
        model=service.transcription,
        version=service.transcription_version,
        scope=Scope.GLOBAL,
    )
    at = f"{day}T{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:00.000000Z"
    usages = [
        _sent(session, sku, Kind.RESPONSE, f"resp_{session}_{number}", _response(rng)) for number in range(_RESPONSES)
    ]
    for number in range(_UTTERANCES):
        used = _by_seconds(rng) if service.by_seconds else _by_tokens(rng)
        usages.append(_sent(session, heard, Kind.TRANSCRIPTION, f"item_{session}_{number}#0", used))
    return [usage.as_json(at) for usage in usages]


def _sent(session: str, sku: Sku, kind: Kind, id_: str, quantities: dict[str, Quantity]) -> SentUsage:
    return SentUsage(
        session=session,
        sku=sku,
        kind=kind,
        id=id_,
        status="completed",
        said=Said.REPORTED,
        outcome="completed",
        quantities=quantities,
    )


def _response(rng: random.Random) -> dict[str, Quantity]:
    """Even numbers: half of them is whole too."""
    return {
        "text.input": 2 * rng.randint(60, 400),
        "text.cached_input": 64 * rng.randint(4, 40),
        "text.output": 2 * rng.randint(20, 200),
        "audio.input": 2 * rng.randint(40, 600),
        "audio.cached_input": 64 * rng.randint(2, 30),
        "audio.output": 2 * rng.randint(80, 900),
    }


def _by_tokens(rng: random.Random) -> dict[str, Quantity]:
    return {"audio.input": 2 * rng.randint(20, 200), "text.output": 2 * rng.randint(5, 60)}


def _by_seconds(rng: random.Random) -> dict[str, Quantity]:
    return {"audio.duration": Decimal(2 * rng.randint(500, 9000)) / 1000}


def told(usages: Truth, said: Said, is_it: Callable[[dict[str, Any]], bool]) -> Truth:
    """Return the usages, those that `is_it` picks said in another way; what they used stays what it was."""
    return [{**usage, "usage": said.value} if is_it(usage) else usage for usage in usages]


def lost_responses(usages: Truth, *, model: str, days: Sequence[date]) -> Truth:
    """Lose the cheapest response of each session on these days: it is smaller than those that are known."""
    cheapest: dict[str, dict[str, Any]] = {}
    for usage in usages:
        if usage["kind"] == "response" and usage["model"] == model and usage["at"][:10] in set(map(str, days)):
            known = cheapest.setdefault(usage["session"], usage)
            if Decimal(usage["cost"]) < Decimal(known["cost"]):
                cheapest[usage["session"]] = usage
    lost = {usage["id"] for usage in cheapest.values()}
    return told(usages, Said.LOST, lambda usage: usage["id"] in lost)


def unobserved_transcription(usages: Truth, *, days: Sequence[date]) -> Truth:
    """Let the transcriptions that are billed by tokens say nothing of their usage on these days."""
    these = set(map(str, days))

    def is_it(usage: dict[str, Any]) -> bool:
        is_of_tokens = "audio.duration" not in usage["quantities"]
        return usage["kind"] == "transcription" and is_of_tokens and usage["at"][:10] in these

    return told(usages, Said.MISSING, is_it)
