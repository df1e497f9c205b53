"""How much the relay lets through, for how long and for how much money, each with its own end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from tests.relay.conftest import QUICK
from tests.relay.peers import (
    BINARY,
    CLOSE,
    CREATED,
    MASK,
    PATH,
    PING,
    TEXT,
    Flood,
    Heard,
    client,
    close_of,
    closing,
    frame,
    request,
    silent,
    upstream,
    used,
)

from realtime_spend.relay.frame_walk import header_at

if TYPE_CHECKING:
    from tests.relay.conftest import RelayTo


async def test_an_oversized_frame_of_a_client_does_not_reach_the_upstream(relay_to: RelayTo) -> None:
    server_side = Heard()
    limits = replace(QUICK, frame_bytes=1_000)
    fits, large = frame("x" * 1_000, mask=MASK), frame("y" * 1_001, mask=MASK)
    async with (
        upstream(server_side) as server,
        relay_to(server.url, limits=limits) as running,
        client(running.relay.port) as peer,
    ):
        peer.say(fits + large * 50)
        code, reason = close_of(await peer.to_the_end())
        await running.is_empty()
    assert (code, reason) == (1009, "the frame is larger than this relay lets through")
    assert server_side.heard.startswith(fits)
    rest = server_side.heard[len(fits) :]
    assert rest[:1] == bytes((0x80 | CLOSE,)), "after it there is a close frame and nothing else"
    assert len(rest) == 8
    assert running.meter.errors() == {"relay.too_large": 1}


@pytest.mark.parametrize("length", [b"\x7f" + struct.pack(">Q", 1 << 40), b"\x7f" + b"\xff" * 8])
async def test_an_oversized_frame_of_an_upstream_does_not_reach_the_client(length: bytes, relay_to: RelayTo) -> None:
    async with (
        upstream(Heard(CREATED, b"\x81" + length, b"z" * 100_000)) as server,
        relay_to(server.url, limits=QUICK) as running,
        client(running.relay.port) as peer,
    ):
        said = await peer.to_the_end()
        await running.is_empty()
    assert said.startswith(CREATED)
    assert close_of(said)[0] == 1009
    assert b"zzz" not in said


async def test_a_close_is_put_in_behind_a_frame_and_never_into_one(relay_to: RelayTo) -> None:
    long = frame(b"a" * 50_000, BINARY)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(long[:20_000])
        await asyncio.sleep(0.6)
        writer.write(long[20_000:] + frame("never seen"))
        await reader.read()

    async with (
        upstream(talk) as server,
        relay_to(server.url, limits=replace(QUICK, total=0.2, ending=2.0)) as running,
        client(running.relay.port) as peer,
    ):
        said = await peer.to_the_end()
    assert said[: len(long)] == long
    assert close_of(said[len(long) :]) == (4410, "the session has reached its longest time")


async def test_a_session_that_only_pings_is_idle(relay_to: RelayTo) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CREATED)
        for _ in range(200):
            writer.write(frame(b"p", PING))
            await asyncio.sleep(0.02)
        await reader.read()

    async with (
        upstream(talk) as server,
        relay_to(server.url, limits=replace(QUICK, idle=0.5)) as running,
        client(running.relay.port) as peer,
    ):
        assert close_of(await peer.to_the_end()) == (4408, "nothing has happened in this session for too long")
        await running.is_empty()
    assert running.meter.errors() == {"relay.idle": 1}


async def test_a_session_ends_at_its_spend_ceiling_and_what_it_cost_is_in_the_ledger(relay_to: RelayTo) -> None:
    # 4 USD a million text tokens: 10,000 cost 0.04.
    says = [CREATED, used(1, 10_000), frame('{"type":"x"}'), used(2, 10_000), frame('{"type":"y"}')]
    server_side = Heard(*says[:2])

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for said in says:
            writer.write(said)
            await writer.drain()
            await asyncio.sleep(0.1)
        await server_side(reader, writer)

    limits = replace(QUICK, spend=Decimal("0.08"))
    async with (
        upstream(talk) as server,
        relay_to(server.url, limits=limits) as running,
        client(running.relay.port) as peer,
    ):
        said = await peer.to_the_end()
        await running.is_empty()
    before = b"".join(says[:4])
    assert said[: len(before)] == before
    assert close_of(said[len(before) :]) == (4402, "the session has reached its spend ceiling")
    assert [record["cost"] for record in running.meter.records()] == ["0.04", "0.04"]
    assert running.meter.errors() == {"relay.spent": 1}


async def test_a_ceiling_is_reached_by_a_usage_in_pieces(relay_to: RelayTo) -> None:
    whole = used(1, 10_000)
    found = header_at(whole, 0)
    assert found is not None
    text = whole[found[2] :]
    pieces = [frame(text[:40], TEXT, final=False), frame(b"", PING), frame(text[40:90], 0, final=False)]
    pieces += [frame(text[90:], 0), frame("never seen")]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CREATED)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
        await reader.read()

    async with (
        upstream(talk) as server,
        relay_to(server.url, limits=replace(QUICK, spend=Decimal("0.04"))) as running,
        client(running.relay.port) as peer,
    ):
        said = await peer.to_the_end()
        await running.is_empty()
    before = CREATED + b"".join(pieces[:4])
    assert said[: len(before)] == before
    assert close_of(said[len(before) :])[0] == 4402
    assert [record["cost"] for record in running.meter.records()] == ["0.04"]


async def test_an_oversized_frame_that_comes_with_the_request_does_not_reach_the_upstream(relay_to: RelayTo) -> None:
    server_side = Heard()
    large = frame("y" * 1_001, mask=MASK)
    async with (
        upstream(server_side) as server,
        relay_to(server.url, limits=replace(QUICK, frame_bytes=1_000)) as running,
        client(running.relay.port, request() + large) as peer,
    ):
        assert peer.status == 101
        assert close_of(await peer.to_the_end())[0] == 1009
        await running.is_empty()
    assert server_side.heard[:1] == bytes((0x80 | CLOSE,))
    assert len(server_side.heard) == 8


async def test_who_says_no_more_may_still_listen(relay_to: RelayTo) -> None:
    """A connection without TLS can be closed in one direction, from either end."""
    heard = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(7) == frame("1", mask=MASK):
            writer.write(frame("last word of the server"))
            writer.write_eof()
            heard.set_result(await reader.read())
        else:
            heard.set_result(await reader.read())
            for number in range(5):
                writer.write(frame(f"still here {number}"))
                await asyncio.sleep(0.02)

    async with upstream(talk) as server, relay_to(server.url) as running:
        async with client(running.relay.port) as peer:
            peer.say(frame("1", mask=MASK))
            assert await peer.to_the_end() == frame("last word of the server")
            peer.say(frame("and the client's", mask=MASK))
            peer.writer.write_eof()
            assert await heard == frame("and the client's", mask=MASK)
            await running.is_empty()
        heard = asyncio.get_running_loop().create_future()
        async with client(running.relay.port) as peer:
            peer.say(frame("2", mask=MASK))
            peer.writer.write_eof()
            assert await heard == b""
            assert await peer.to_the_end() == b"".join(frame(f"still here {number}") for number in range(5))
            await running.is_empty()


async def test_a_client_that_does_not_read_holds_back_its_upstream_and_is_let_go(relay_to: RelayTo) -> None:
    flood = Flood()
    async with (
        upstream(flood) as server,
        relay_to(server.url, limits=replace(QUICK, unread=2.0)) as running,
        client(running.relay.port) as peer,
    ):
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(100):
            so_far = flood.written
            await asyncio.sleep(0.05)
            if flood.written == so_far:
                break
        # What the kernel holds for both connections, and not all that was to be sent.
        assert 0 < flood.written < 10_000
        await running.is_empty()
    assert running.meter.errors() == {"relay.unread": 1}


async def test_a_client_that_reads_slowly_gets_everything_in_the_end(relay_to: RelayTo) -> None:
    count, size = 600, 8_004

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(count):
            writer.write(frame(number.to_bytes(4, "big") * 2_000, BINARY))
        await writer.drain()

    async with (
        upstream(talk) as server,
        relay_to(server.url, limits=replace(QUICK, unread=3.0)) as running,
        client(running.relay.port) as peer,
    ):
        for number in range(count):
            assert await peer.read(size) == frame(number.to_bytes(4, "big") * 2_000, BINARY)
            await asyncio.sleep(0.002)
        assert await peer.to_the_end() == b""
        peer.leave()
        await running.is_empty()
    assert running.meter.errors() == {}


async def test_a_fault_of_ours_in_reading_along_stops_no_session(
    relay_to: RelayTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def failing(data: bytes, position: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("a fault of ours")
        return header_at(data, position)

    monkeypatch.setattr("realtime_spend.relay.tap.header_at", failing)
    says = [CREATED, used(1, 100), used(2, 100), used(3, 100), closing(1000, "that was all")]

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for said in says:
            writer.write(said)
            await writer.drain()
            await asyncio.sleep(0.05)

    async with upstream(talk) as server, relay_to(server.url) as running, client(running.relay.port) as peer:
        assert await peer.to_the_end() == b"".join(says)
        peer.leave()
        await running.is_empty()
    assert running.meter.errors() == {"relay.lost_track": 1}
    assert [record["id"] for record in running.meter.records()] == ["resp_1"]


async def test_an_upstream_that_does_not_read_holds_back_its_client(relay_to: RelayTo) -> None:
    go_on = asyncio.Event()
    sent = frame(b"a" * 8_000, BINARY, mask=MASK)
    count = 4_000
    arrived = 0

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal arrived
        await go_on.wait()
        while data := await reader.read(65_536):
            arrived += len(data)

    async with upstream(talk) as server, relay_to(server.url) as running, client(running.relay.port) as peer:
        peer.writer.transport.set_write_buffer_limits(0)
        said = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while said < count:
                    peer.say(sent)
                    said += 1
                    await peer.writer.drain()
        assert 0 < said < count
        go_on.set()
        await peer.writer.drain()
        peer.writer.write_eof()
        for _ in range(2000):
            if arrived >= said * len(sent):
                break
            await asyncio.sleep(0.01)
    assert arrived == said * len(sent)


async def test_a_subject_over_its_limit_is_refused_until_a_session_of_its_ends(relay_to: RelayTo) -> None:
    mine, yours = (request(PATH, f"Authorization: Bearer sk-{who}") for who in ("mine", "yours"))
    limits = replace(QUICK, sessions_of_subject=2, sessions=3)
    async with (
        upstream(silent) as server,
        relay_to(server.url, limits=limits) as running,
        client(running.relay.port, mine) as first,
        client(running.relay.port, mine) as second,
    ):
        assert first.status == second.status == 101
        async with client(running.relay.port, mine) as third:
            assert third.status == 429
            assert b"Retry-After: " in third.answer
            assert json.loads(await third.to_the_end())["error"]["code"] == "too_many_sessions"
        async with client(running.relay.port, yours) as other:
            assert other.status == 101
            async with client(running.relay.port, request()) as beyond:
                assert beyond.status == 503
                assert json.loads(await beyond.to_the_end())["error"]["code"] == "full"
        first.leave()
        for _ in range(500):
            if len(running.relay.register) == 1:
                break
            await asyncio.sleep(0.01)
        async with client(running.relay.port, mine) as again:
            assert again.status == 101


async def test_five_hundred_idle_sessions_are_held_and_end(relay_to: RelayTo) -> None:
    async with upstream(Heard(CREATED)) as server, relay_to(server.url) as running:
        peers: list[Any] = []
        for _ in range(500):
            context = client(running.relay.port)
            peers.append((context, await context.__aenter__()))
        assert {peer.status for _, peer in peers} == {101}
        assert len(running.relay.register) == 500
        assert running.meter.sum("realtime_spend.session.active") == 500
        for _, peer in peers:
            assert await peer.read(len(CREATED)) == CREATED
        for context, _ in peers:
            await context.__aexit__(None, None, None)
        await running.is_empty()
        assert running.meter.sum("realtime_spend.session.active") == 0
