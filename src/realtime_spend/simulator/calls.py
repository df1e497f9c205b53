"""Calls that are set up over HTTP, by a browser or a telephone: a sideband finds them by their id.

No sound flows: what a browser would get on its data channel, a WebSocket with `sim_call_id` and `webrtcfilter` gets.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from realtime_spend.simulator.address import RefusedError
from realtime_spend.simulator.dice import Dice
from realtime_spend.simulator.query import session_options

if TYPE_CHECKING:
    from realtime_spend.simulator.options import SessionOptions

_MOST_CALLS = 10_000
# No session has this number, so no id of theirs is like one of ours.
_NO_SESSION = -1
# What can be said of a connection that carries nothing.
_SDP_ANSWER = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that nobody has attached to yet."""

    options: SessionOptions
    model: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    """The session as whoever set the call up wants it."""


class Calls:
    """The calls of a server, by their ids; the oldest are forgotten."""

    def __init__(self, seed: int) -> None:
        self._dice = Dice(seed, _NO_SESSION)
        self._calls: dict[str, Call] = {}
        # Those that ring, and those that are over: nobody can attach to either. The order is that of their coming.
        self._absent: dict[str, None] = {}

    def add(self, call: Call, call_id: str | None = None) -> str:
        """Remember a call, and say under which id."""
        call_id = call_id or self._dice.new_id("rtc")
        self._calls[call_id] = call
        self.begun(call_id)
        if len(self._calls) > _MOST_CALLS:
            del self._calls[next(iter(self._calls))]
        return call_id

    def find(self, call_id: str | None) -> Call | None:
        """Find a call that was set up here."""
        return self._calls.get(call_id or "")

    def ring(self) -> str:
        """Take a call that nobody has accepted yet, and say under which id."""
        call_id = self._dice.new_id("rtc")
        self.ended(call_id)
        return call_id

    def begun(self, call_id: str) -> None:
        """Take that there is a call of this id."""
        self._absent.pop(call_id, None)

    def ended(self, call_id: str) -> None:
        """Take that there is no call of this id any more."""
        self._calls.pop(call_id, None)
        self._absent[call_id] = None
        if len(self._absent) > _MOST_CALLS:
            del self._absent[next(iter(self._absent))]

    def is_absent(self, call_id: str | None) -> bool:
        """Whether it is known that there is no such call: it rings, or it is over."""
        return call_id in self._absent


async def offered_call(request: web.Request, defaults: SessionOptions) -> Call:
    """Read the offer of a browser: SDP alone, or a form of SDP and session.

    Raises:
        RefusedError: there is no offer, or the session is no JSON object.
        ValueError: a simulator option cannot be read.
    """
    if request.content_type == "multipart/form-data":
        form = await request.post()
        offer, session = _text(form.get("sdp")), _text(form.get("session"))
    else:
        offer, session = await request.text(), ""
    if not offer.startswith("v=0"):
        raise RefusedError(400, "invalid_offer", "The body holds no SDP offer.")
    return _call(request, defaults, session or "{}")


async def accepted_call(request: web.Request, defaults: SessionOptions) -> Call:
    """Read how a telephone call is to be taken.

    Raises:
        RefusedError: the session is no JSON object.
        ValueError: a simulator option cannot be read.
    """
    return _call(request, defaults, await request.text() or "{}")


def answer_of(call_id: str, path: str) -> web.Response:
    """Answer an offer: the call's address is in `Location`."""
    headers = {"Location": f"{path}/{call_id}", "Content-Type": "application/sdp"}
    return web.Response(status=201, body=_SDP_ANSWER.encode(), headers=headers)


def _call(request: web.Request, defaults: SessionOptions, session: str) -> Call:
    try:
        config = json.loads(session)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise RefusedError(400, "invalid_session", "The session must be a JSON object.")
    model = config.get("model") or request.query.get("model")
    options = session_options(defaults, request.query)
    return Call(options=options, model=model if isinstance(model, str) else None, config=config)


def _text(part: object) -> str:
    """Read a part of a form, which is bytes where it says to be no text."""
    if isinstance(part, bytes | bytearray):
        return part.decode("utf-8", "replace")
    return part if isinstance(part, str) else ""
