"""Thousands of sessions at a server: a client that holds them as planned, and the truth of what they came to."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import aiohttp

from realtime_spend.simulator.load_plan import SessionPlan, Turn, plan_session
from realtime_spend.simulator.options import Outcome
from realtime_spend.simulator.prices import add, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCHEMA = "realtime-spend/load/1"

_PATIENCE_SECONDS = 60.0
_IDLE_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 0.05
_BYTES_PER_MS = 8
_TRANSCRIBED = "conversation.item.input_audio_transcription."


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How much is asked of a server."""

    sessions: int
    concurrency: int = 50
    """Sessions open at the same time, at most."""
    pace: float = 0.0
    """Sessions begun a second; 0 is as fast as they end."""
    seed: int = 0
    """Same seed, same plans. What the server makes up follows from its own seed."""


@dataclass(slots=True, kw_only=True)
class LoadResult:
    """What became of the sessions, and what the server says they used."""

    ended: Counter[str] = field(default_factory=Counter)
    first_failure: str | None = None
    seconds: float = 0.0
    truth: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Print the result: how the sessions ended for the client, and the truth's totals."""
        ended = {name: self.ended[name] for name in ("held", "dropped", "failed")}
        told = {key: self.truth[key] for key in ("totals", "cost", "counts")}
        seconds = round(self.seconds, 3)
        return {
            "schema": SCHEMA,
            "sessions": self.ended.total(),
            "ended": ended,
            "first_failure": self.first_failure,
            "seconds": seconds,
            **told,
        }


class _FailedError(Exception):
    """A session that did not go as planned."""


async def drive(url: str, options: LoadOptions, advance: Callable[[int], None] = lambda _step: None) -> LoadResult:
    """Hold the sessions at the server of this URL, and say what came of it. `advance` is told of each one that ended.

    Raises:
        ValueError: it is no URL of a server.
        aiohttp.ClientError: there is no simulator at the URL.
    """
    url = url.rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no URL of a server; write http://HOST:PORT")
    result = LoadResult()
    numbers = iter(range(options.sessions))
    # An unlimited connector: how many are open at once is our own to say.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        open_before, before = await _get(http, f"{url}/healthz"), await _get(http, f"{url}/truth/totals")
        started = time.monotonic()
        workers = min(options.concurrency, options.sessions)
        await asyncio.gather(*(_work(http, url, options, numbers, result, advance) for _ in range(workers)))
        result.seconds = time.monotonic() - started
        await _settled(http, url, open_before["sessions"])
        result.truth = since(before, await _get(http, f"{url}/truth/totals"))
    return result


async def _work(  # noqa: PLR0917 - what all workers share
    http: aiohttp.ClientSession,
    url: str,
    options: LoadOptions,
    numbers: Iterator[int],
    result: LoadResult,
    advance: Callable[[int], None],
) -> None:
    started = time.monotonic()
    for number in numbers:
        if options.pace:
            await asyncio.sleep(max(0.0, started + number / options.pace - time.monotonic()))
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                ended = await _hold(http, url, plan_session(options.seed, number))
        except (_FailedError, aiohttp.ClientError, OSError, TimeoutError) as error:
            ended = "failed"
            result.first_failure = result.first_failure or f"session {number}: {str(error) or type(error).__name__}"
        result.ended[ended] += 1
        advance(1)


async def _hold(http: aiohttp.ClientSession, url: str, plan: SessionPlan) -> str:
    """Hold one session and say how it ended; whether it did so as planned is looked at on the way."""
    async with http.ws_connect(f"{url}{plan.path}", headers=plan.headers, max_msg_size=0) as socket:
        await _until(socket, "session.created", "transcription_session.created")
        await socket.send_json(plan.update())
        await _until(socket, "session.updated", "transcription_session.updated")
        for turn in plan.turns:
            await _ask(socket, turn)
            if plan.model is None:
                await _until(socket, f"{_TRANSCRIBED}completed", f"{_TRANSCRIBED}failed")
            elif turn.outcome is Outcome.DROPPED:
                await _until_cut(socket)
                return "dropped"
            elif turn.outcome is Outcome.NEVER_FINISHED:
                await _until(socket, "response.created")
            else:
                await _until(socket, "response.done")
    return "held"


async def _ask(socket: aiohttp.ClientWebSocketResponse, turn: Turn) -> None:
    if turn.speech_ms:
        # Silence in base64: what it sounds like is nothing to a server that counts.
        audio = "A" * (4 * -(-turn.speech_ms * _BYTES_PER_MS // 3))
        await socket.send_json({"type": "input_audio_buffer.append", "audio": audio})
        return
    content = [{"type": "input_text", "text": "Where is my order?"}]
    item = {"type": "message", "role": "user", "content": content}
    await socket.send_json({"type": "conversation.item.create", "item": item})
    await socket.send_json({"type": "response.create"})


async def _until(socket: aiohttp.ClientWebSocketResponse, *types: str) -> None:
    while True:
        message = await socket.receive()
        if message.type not in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
            raise _FailedError(f"the connection ended ({socket.close_code}) before {types[0]}")
        event = message.json()
        if event["type"] in types:
            return
        if event["type"] == "error":
            raise _FailedError(f"the server said: {event['error']['message']}")


async def _until_cut(socket: aiohttp.ClientWebSocketResponse) -> None:
    while (message := await socket.receive()).type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
        if message.json()["type"] == "response.done":
            raise _FailedError("a response that was to be cut off is done")


async def _get(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with http.get(url) as answer:
        answer.raise_for_status()
        got: dict[str, Any] = await answer.json()
        return got


async def _settled(http: aiohttp.ClientSession, url: str, open_before: int) -> None:
    """Wait until the server has seen our sessions end too."""
    give_up = time.monotonic() + _IDLE_SECONDS
    while (await _get(http, f"{url}/healthz"))["sessions"] > open_before and time.monotonic() < give_up:  # noqa: ASYNC110 - it is another server
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


def since(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Take from the totals of a truth what was in it before."""
    earlier = {_row(row): row for row in before["totals"]}
    rows = [
        {
            **row,
            "quantity": _less(row["quantity"], earlier.get(_row(row), {}).get("quantity")),
            "cost": _less(row["cost"], earlier.get(_row(row), {}).get("cost")),
        }
        for row in after["totals"]
    ]
    return {
        "totals": [row for row in rows if row["quantity"] not in {0, "0"}],
        "cost": _less(after["cost"], before["cost"]),
        "counts": {name: count - before["counts"].get(name, 0) for name, count in after["counts"].items()},
    }


def _row(row: dict[str, Any]) -> tuple[str | None, ...]:
    return tuple(row[key] for key in ("provider", "model", "version", "modality", "component"))


def _less(now: int | str | None, earlier: int | str | None) -> int | str | None:
    """Subtract a count from a count, or a decimal from a decimal, as JSON has them; unknown stays unknown."""
    if now is None or earlier is None:
        return now
    if isinstance(now, int) and isinstance(earlier, int):
        return now - earlier
    return plain(add(Decimal(now), -Decimal(earlier)))
