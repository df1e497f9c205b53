"""A sideband that is dropped, wherever that happens: what is used is counted once, and what nobody heard is lost."""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from tests.sideband.conftest import QUICK, costs, following, has_begun, records, service
from tests.sideband.test_attachment import Cable, offered, serving, total

from realtime_spend.sideband import End, Patience
from realtime_spend.simulator import Simulator, SimulatorOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import Seen
    from tests.sideband.conftest import Caller, Calling

# A response of three seconds: time enough to drop a socket in the middle of it, and to come back.
_SLOW = "sim_deltas=30&sim_rate=10"


class Line(Cable):
    """A cable that can also be down, swallow what is said after the handshake, or lead somewhere else."""

    def __init__(self, to: int) -> None:
        super().__init__(to)
        self.is_down = self.is_mute = False
        self.answers = b""
        self.may_connect = asyncio.Event()
        self.may_connect.set()
        self.waiting = 0

    def lead_to(self, port: int) -> None:
        self._to = port

    def drop(self) -> None:
        """Cut it, and let nothing through until it is up again."""
        self.is_down = True
        self.cut()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.waiting += 1
        await self.may_connect.wait()
        self.waiting -= 1
        if self.is_down:
            writer.transport.abort()
        else:
            with contextlib.suppress(OSError):
                await super()._carry(reader, writer)

    async def _one_way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        if is_answer:
            reader = _Heard(reader, self)  # type: ignore[assignment]  # of which nothing but `read` is asked
        await super()._one_way(reader, writer, is_answer=is_answer)


class _Heard:
    """Reads for a line, which keeps what it has carried."""

    def __init__(self, reader: asyncio.StreamReader, line: Line) -> None:
        self._reader, self._line, self._is_open = reader, line, False

    async def read(self, size: int) -> bytes:
        while True:
            data = await self._reader.read(size)
            if not self._is_open or not data or not self._line.is_mute:
                self._is_open = True
                self._line.answers += data
                return data


@contextlib.asynccontextmanager
async def call_over_a_line(
    simulator: Simulator, calling: Calling, *, options: str = "", patience: Patience = QUICK, is_mute: bool = False
) -> AsyncIterator[tuple[Line, Any, asyncio.Task[Any], Caller]]:
    """Hold a call that is listened to by way of a line; the sideband has learned the model, unless it is mute."""
    call = await offered(simulator, f"/v1/realtime/calls?{options}", type="realtime", model="gpt-realtime")
    line = Line(simulator.port)
    line.is_mute = is_mute
    async with line.laid():
        attachment, task = following(call, service(simulator, port=line.port), patience)
        await has_begun(lambda: attachment.sockets if is_mute else line.carried)
        try:
            async with calling(simulator, f"/v1/realtime?model=any&sim_call_id={call}") as client:
                yield line, attachment, task, client
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def turn(client: Caller) -> str:
    await client.say()
    done = await client.until("response.done")
    return str(done["response"]["id"])


async def test_before_it_has_heard_anything(simulator: Simulator, calling: Calling, ledger: Path, seen: Seen) -> None:
    async with call_over_a_line(simulator, calling, is_mute=True) as (line, attachment, task, client):
        line.is_mute = False
        line.cut()
        await has_begun(lambda: line.carried == 1)
        for _ in range(2):
            await turn(client)
        await has_begun(lambda: len(records(ledger)) == 2)
        await client.socket.close()
        assert await task is End.CLOSED
        assert attachment.sockets == 2
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert costs(records(ledger)) == costs(truth["usages"])
    assert total(seen) == pytest.approx(float(truth["cost"]))


async def test_in_the_middle_of_a_response(simulator: Simulator, calling: Calling, ledger: Path, seen: Seen) -> None:
    async with call_over_a_line(simulator, calling, options=_SLOW) as (line, attachment, task, client):
        await client.say()
        await has_begun(lambda: b'"response.created"' in line.answers)
        line.cut()
        await has_begun(lambda: line.carried == 2)
        await client.until("response.done")
        await has_begun(lambda: records(ledger))
        await client.socket.close()
        assert await task is End.CLOSED
        assert attachment.sockets == 2
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert [record["usage"] for record in records(ledger)] == ["reported"]
    assert costs(records(ledger)) == costs(truth["usages"])
    assert total(seen) == pytest.approx(float(truth["cost"]))


async def test_a_response_whose_end_nobody_heard_is_lost_and_the_next_one_is_counted(
    simulator: Simulator, calling: Calling, ledger: Path, seen: Seen
) -> None:
    async with call_over_a_line(simulator, calling, options=_SLOW) as (line, _, task, client):
        await client.say()
        created = await client.until("response.created")
        await has_begun(lambda: b'"response.created"' in line.answers)
        line.drop()
        await client.until("response.done")
        line.is_down = False
        await has_begun(lambda: line.carried == 2)
        second = await turn(client)
        await has_begun(lambda: records(ledger))
        await client.socket.close()
        assert await task is End.CLOSED
    await simulator.wait_idle()
    first = created["response"]["id"]
    sent = costs(simulator.truth.as_json()["usages"])
    assert [(record["id"], record["usage"]) for record in records(ledger)] == [(second, "reported"), (first, "lost")]
    assert costs(records(ledger)) == {("response", second): sent["response", second], ("response", first): None}
    assert total(seen) == pytest.approx(float(sent["response", second] or 0))


async def test_what_comes_while_a_silent_socket_is_replaced_is_heard_on_the_old_one(
    simulator: Simulator, calling: Calling, ledger: Path, seen: Seen
) -> None:
    patience = Patience(call=5, service=5, silence=0.3, whole=60, least=0.02, most=0.2)
    async with call_over_a_line(simulator, calling, patience=patience) as (line, attachment, task, client):
        before = attachment.sockets
        line.may_connect.clear()
        await has_begun(lambda: line.waiting)
        # Nobody has said anything for long, the next socket is on its way, and just now somebody speaks.
        await turn(client)
        line.may_connect.set()
        await has_begun(lambda: attachment.sockets > before)
        await has_begun(lambda: records(ledger))
        await client.socket.close()
        assert await task in {End.CLOSED, End.GONE}
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert len(truth["usages"]) == 1
    assert costs(records(ledger)) == costs(truth["usages"])
    assert total(seen) == pytest.approx(float(truth["cost"]))


async def test_right_at_the_end_of_the_call(simulator: Simulator, calling: Calling, ledger: Path, seen: Seen) -> None:
    async with call_over_a_line(simulator, calling) as (line, _, task, client):
        await turn(client)
        await has_begun(lambda: records(ledger))
        line.drop()
        await client.socket.close()
        await simulator.wait_idle()
        line.is_down = False
        assert await task is End.GONE
    truth = simulator.truth.as_json()
    assert costs(records(ledger)) == costs(truth["usages"])
    assert total(seen) == pytest.approx(float(truth["cost"]))


async def test_for_good_it_is_given_up_and_what_was_heard_is_kept(
    simulator: Simulator, calling: Calling, ledger: Path, seen: Seen
) -> None:
    patience = Patience(call=5, service=0.3, silence=30, whole=60, least=0.02, most=0.1)
    async with call_over_a_line(simulator, calling, patience=patience) as (line, _, task, client):
        first = await turn(client)
        await has_begun(lambda: records(ledger))
        line.drop()
        assert await task is End.UNREACHABLE
        await turn(client)
    await simulator.wait_idle()
    sent = costs(simulator.truth.as_json()["usages"])
    assert costs(records(ledger)) == {("response", first): sent["response", first]}
    assert total(seen) == pytest.approx(float(sent["response", first] or 0))
    assert total(seen, "realtime_spend.session.active") == 0


@pytest.mark.parametrize(
    ("status", "end"), [(401, End.REFUSED), (403, End.REFUSED), (404, End.GONE), (410, End.GONE), (400, End.GONE)]
)
async def test_a_service_that_lets_it_in_no_more_ends_it(
    simulator: Simulator, calling: Calling, ledger: Path, *, status: int, end: End
) -> None:
    async def refusing(_request: web.Request) -> web.Response:
        return web.Response(status=status)

    async with (
        serving(refusing) as url,
        call_over_a_line(simulator, calling) as (line, _, task, client),
    ):
        first = await turn(client)
        await has_begun(lambda: records(ledger))
        line.lead_to(urlsplit(url).port or 0)
        line.cut()
        assert await task is end
    assert [(record["id"], record["usage"]) for record in records(ledger)] == [(first, "reported")]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_service_that_is_busy_is_asked_until_it_lets_it_in(
    simulator: Simulator, calling: Calling, ledger: Path, seen: Seen, *, status: int
) -> None:
    asked = 0

    async def refusing(_request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=status)

    async with (
        serving(refusing) as url,
        call_over_a_line(simulator, calling) as (line, _, task, client),
    ):
        await turn(client)
        await has_begun(lambda: records(ledger))
        line.lead_to(urlsplit(url).port or 0)
        line.cut()
        await has_begun(lambda: asked >= 3)
        line.lead_to(simulator.port)
        # A connection that is kept would lead to where it did.
        line.cut()
        await has_begun(lambda: line.carried == 2)
        await turn(client)
        await has_begun(lambda: len(records(ledger)) == 2)
        await client.socket.close()
        assert await task is End.CLOSED
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert costs(records(ledger)) == costs(truth["usages"])
    assert total(seen) == pytest.approx(float(truth["cost"]))


async def test_a_service_that_starts_anew_does_not_know_the_call_any_more(
    calling: Calling, ledger: Path, seen: Seen
) -> None:
    async with (
        serving(_not_found) as url,
        Simulator(SimulatorOptions(seed=11)) as simulator,
        call_over_a_line(simulator, calling, options="sim_outcomes=completed,never_finished") as parts,
    ):
        line, _, task, client = parts
        first = await turn(client)
        await client.say()
        second = (await client.until("response.created"))["response"]["id"]
        await has_begun(lambda: second.encode() in line.answers)
        # It tells its sockets that it goes away, is not there for a while, and is another one then.
        line.is_down = True
        await simulator.stop()
        line.lead_to(urlsplit(url).port or 0)
        line.is_down = False
        assert await task is End.GONE
    assert [(record["id"], record["usage"]) for record in records(ledger)] == [(first, "reported"), (second, "lost")]
    [known] = [record for record in records(ledger) if record["usage"] == "reported"]
    assert total(seen) == pytest.approx(float(Decimal(known["cost"])))


async def _not_found(_request: web.Request) -> web.Response:
    raise web.HTTPNotFound
