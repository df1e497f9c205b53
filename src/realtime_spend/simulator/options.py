"""Everything a simulator can be told, for the server and for one session."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realtime_spend.simulator.models import Deployment


class Outcome(StrEnum):
    """How a response ends."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"
    FAILED = "failed"  # usage is null
    USAGE_MISSING = "usage_missing"  # completed, without the key `usage`
    NEVER_FINISHED = "never_finished"  # created, a few deltas, then nothing more of it
    DROPPED = "dropped"  # the connection is aborted between created and done
    UNSPLIT_CACHE = "unsplit_cache"  # cached_tokens without cached_tokens_details
    NO_DETAILS = "no_details"  # totals only


class TranscriptionUsage(StrEnum):
    """What a transcription says about its usage."""

    BY_MODEL = "model"  # tokens or duration, as the model is billed
    TOKENS = "tokens"
    DURATION = "duration"
    MISSING = "missing"  # no key `usage`
    NULL = "null"
    FAILED = "failed"  # a `.failed` event in place of `.completed`


class KeyOrder(StrEnum):
    """Where `type` and `event_id` stand in a frame."""

    TYPE_FIRST = "type_first"  # as OpenAI sends
    EVENT_ID_FIRST = "event_id_first"  # as its documentation prints
    TYPE_LAST = "type_last"  # behind everything else
    ALPHABETICAL = "alphabetical"  # every object sorted by its keys, as a dump of the SDK's classes has it


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How the simulator behaves in a session; each field can be set for one session by `sim_<field>` in its URL."""

    outcomes: tuple[Outcome, ...] = (Outcome.COMPLETED,)
    """The ends of the session's responses, in order, over and over."""
    weights: tuple[tuple[Outcome, float], ...] = ()
    """Draw each end by these weights instead; in a URL `completed:8,failed:1`."""
    deltas: int = 5
    """Audio deltas a response (text deltas, where it answers in text)."""
    delta_bytes: int = 1024
    """Length of the base64 text in an audio delta."""
    rate: float = 0.0
    """Deltas a second; 0 is as fast as the socket takes them."""
    base_text_tokens: int = 140
    """Text input of every response beside instructions and items: what a service's own prompt and tools come to."""
    context_tokens: int = 28_672
    """The most input a response can have; older items are dropped then, as the session's `truncation` says."""
    utterance_seconds: float = 0.5
    """How much appended audio voice activity detection takes for one utterance."""
    transcription_usage: tuple[TranscriptionUsage, ...] = (TranscriptionUsage.BY_MODEL,)
    """What the session's transcriptions say of their usage, in order, over and over."""
    transcription_late: bool = False
    """Hold each transcription back until the next response is done."""
    repeat: bool = False
    """Send each event that carries usage twice."""
    close_after: int = 0
    """Close the socket after so many responses are done; 0 is never."""
    close_code: int = 1000
    """The code of that close; 1005, 1006 and 1015, which no frame can carry, cut the connection."""
    number: int | None = None
    """Draw the numbers that the session of this number has; without it sessions are numbered as they come."""
    key_order: KeyOrder = KeyOrder.TYPE_FIRST
    """Where `type` and `event_id` stand in a frame: type_first, event_id_first, type_last or alphabetical."""
    spaced: bool = False
    """Write a blank after each comma and colon."""
    binary: bool = False
    """Send each event as a binary message."""
    deflate: bool = False
    """Compress messages (permessage-deflate) for a client that offers to take them so."""
    fragments: int = 1
    """Cut each message into so many WebSocket frames."""
    empty_first: bool = False
    """Begin each message with a frame that holds nothing."""
    pings: bool = False
    """Send a ping before each message, and one between any two frames of it."""
    call_id: str | None = None
    """The name under which a sideband finds this session; its session id always works."""
    silent_end: bool = False
    """Tell no sideband that the call is over: its socket stays open, and nothing comes any more."""
    model: str = "gpt-realtime"
    """The model where the URL names none: of a call not known here (`?call_id=`), or of a Voice Live agent."""


def _nothing_deployed() -> Mapping[str, Deployment]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """How the server behaves."""

    seed: int = 0
    """Same seed, same client: the same ids, numbers, transcripts and outcomes."""
    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = 0
    """The port to listen on; 0 is any free one."""
    deployments: Mapping[str, Deployment] = field(default_factory=_nothing_deployed)
    """What is deployed on the simulated Azure resource, by deployment name; transcription models too."""
    accept_any_deployment: bool = False
    """Take an Azure deployment name that is not listed for the name of a model, in global scope."""
    session: SessionOptions = field(default_factory=SessionOptions)
    """How sessions behave unless their URL says otherwise."""
    max_sessions: int = 1000
    """Sessions open at once; one more is refused with HTTP 429."""
    truth_limit: int = 200_000
    """Usages and sessions kept one by one in the truth; totals go on beyond it."""
