"""What the sessions of a load test do, made up from a seed: the same seed and number, the same session."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from realtime_spend.simulator.options import Outcome
from realtime_spend.simulator.wire import Dialect

_GA_MODELS = ("gpt-realtime", "gpt-realtime-2025-08-28", "gpt-realtime-mini", "gpt-realtime-1.5", "gpt-realtime-2.1")
_BETA_MODELS = ("gpt-4o-realtime-preview", "gpt-4o-mini-realtime-preview", "gpt-realtime")
_TRANSCRIPTION_MODELS = ("gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1", "gpt-realtime-whisper")
_ENDS = {
    Outcome.COMPLETED: 78,
    Outcome.CANCELLED: 10,
    Outcome.INCOMPLETE: 4,
    Outcome.FAILED: 3,
    Outcome.USAGE_MISSING: 2,
    Outcome.UNSPLIT_CACHE: 3,
}
# What only the last response of a session can be, because the session does not outlive it.
_LAST_ENDS = {None: 92, Outcome.DROPPED: 5, Outcome.NEVER_FINISHED: 3}
_MOST_TURNS = 4
_SHORTEST_MS, _LONGEST_MS = 600, 2400


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What the user says, and how the answer ends."""

    speech_ms: int
    """Nothing is said where it is 0: the turn is a text."""
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlan:
    """One session from its URL to its last turn."""

    number: int
    dialect: Dialect
    model: str | None
    """`None` for a session that only transcribes."""
    transcription: str | None
    turns: tuple[Turn, ...]

    @property
    def path(self) -> str:
        """The path to connect to. The server is told the ends, and which session of its seed to be."""
        asked = {"model": self.model} if self.model else {"intent": "transcription"}
        ends = ",".join(turn.outcome for turn in self.turns)
        return f"/v1/realtime?{urlencode({**asked, 'sim_number': self.number, 'sim_outcomes': ends})}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the connection."""
        return {"OpenAI-Beta": "realtime=v1"} if self.dialect is Dialect.BETA else {}

    def update(self) -> dict[str, Any]:
        """Shape the client's `session.update`: telephone audio, which is small, and the transcription."""
        chosen = {"model": self.transcription} if self.transcription else None
        if self.dialect is Dialect.BETA:
            session: dict[str, Any] = {"input_audio_format": "g711_ulaw", "input_audio_transcription": chosen}
        else:
            kind = "realtime" if self.model else "transcription"
            session = {"type": kind, "audio": {"input": {"format": {"type": "audio/pcmu"}, "transcription": chosen}}}
        return {"type": "session.update", "session": session}


def plan_session(seed: int, number: int) -> SessionPlan:
    """Make up the session of this number."""
    rng = random.Random(f"load:{seed}:{number}")  # noqa: S311 - made to be predicted
    only_transcribes = rng.random() < 0.05  # noqa: PLR2004 - one in twenty
    dialect = Dialect.BETA if not only_transcribes and rng.random() < 0.25 else Dialect.GA  # noqa: PLR2004 - one in four
    model = None if only_transcribes else rng.choice(_BETA_MODELS if dialect is Dialect.BETA else _GA_MODELS)
    transcription = rng.choice(_TRANSCRIPTION_MODELS) if only_transcribes or rng.random() < 0.5 else None  # noqa: PLR2004
    turns = [_turn(rng, speaks=only_transcribes) for _ in range(rng.randint(1, _MOST_TURNS))]
    last = rng.choices(list(_LAST_ENDS), list(_LAST_ENDS.values()))[0]
    if last is not None and not only_transcribes:
        turns[-1] = Turn(speech_ms=turns[-1].speech_ms, outcome=last)
    return SessionPlan(number=number, dialect=dialect, model=model, transcription=transcription, turns=tuple(turns))


def _turn(rng: random.Random, *, speaks: bool) -> Turn:
    outcome = rng.choices(list(_ENDS), list(_ENDS.values()))[0]
    spoken = rng.randint(_SHORTEST_MS, _LONGEST_MS)
    return Turn(speech_ms=spoken if speaks or rng.random() < 0.8 else 0, outcome=outcome)  # noqa: PLR2004 - four of five
