from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import struct
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from tests.relay.peers import (
    BINARY,
    CLOSE,
    PATH,
    PING,
    TEXT,
    Client,
    accepted,
    client,
    closing,
    frame,
    key_of,
    request,
    upstream,
)

from realtime_spend.core.line_items import Provider
from realtime_spend.relay.frame_walk import header_at
from realtime_spend.relay.settings import Limits

if TYPE_CHECKING:
    from tests.relay.conftest import RelayTo, Running

_QUICK = Limits(ending=1.0)
_MASK = b"\x09\x08\x07\x06"
_CREATED = frame('{"type":"session.created","session":{"id":"sess_1","model":"gpt-realtime"}}')


def _done(number: int, text: int) -> bytes:
    details = f'"input_token_details":{{"text_tokens":{text}}},"output_token_details":{{}}'
    usage = f'{{"total_tokens":{text},"input_tokens":{text},"output_tokens":0,{details}}}'
    return frame(f'{{"type":"response.done","response":{{"id":"resp_{number}","status":"completed","usage":{usage}}}}}')


def _close_of(data: bytes) -> tuple[int, str]:
    """Return code and reason of the close frame that `data` ends with."""
    begin = data.rindex(bytes((0x80 | CLOSE,)))
    payload = data[begin + 2 :]
    return struct.unpack(">H", payload[:2])[0], payload[2:].decode()


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def _gone(running: Running) -> None:
    for _ in range(1000):
        if not len(running.relay.register):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the session has not ended")


class _Heard:
    """An upstream that keeps what it is told, and may say something first."""

    def __init__(self, *says: bytes) -> None:
        self._says = says
        self.heard = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for said in self._says:
            writer.write(said)
        while data := await reader.read(65_536):
            self.heard += data
            if data[:1] == bytes((0x80 | CLOSE,)):
                writer.write(closing(1000))
                return


async def test_an_oversized_frame_of_a_client_does_not_reach_the_upstream(relay_to: RelayTo) -> None:
    server_side = _Heard()
    limits = replace(_QUICK, frame_bytes=1_000)
    fits, large = frame("x" * 1_000, mask=_MASK), frame("y" * 1_001, mask=_MASK)
    async with (
        upstream(server_side) as server,
        relay_to(server.url, limits=limits) as running,
        client(running.relay.port) as peer,
    ):
        peer.say(fits + large * 50)
        code, reason = _close_of(await peer.to_the_end())
        await _gone(running)
    assert (code, reason) == (1009, "the frame is larger than this relay lets through")
    assert server_side.heard.startswith(fits)
    rest = server_side.heard[len(fits) :]
    assert rest[:1] == bytes((0x80 | CLOSE,)), "after it there is a close frame and nothing else"
    assert len(rest) == 8
    assert running.meter.errors() == {"relay.too_large": 1}


@pytest.mark.parametrize("length", [b"\x7f" + struct.pack(">Q", 1 << 40), b"\x7f" + b"\xff" * 8])
async def test_an_oversized_frame_of_an_upstream_does_not_reach_the_client(length: bytes, relay_to: RelayTo) -> None:
    async with (
        upstream(_Heard(_CREATED, b"\x81" + length, b"z" * 100_000)) as server,
        relay_to(server.url, limits=_QUICK) as running,
        client(running.relay.port) as peer,
    ):
        said = await peer.to_the_end()
        await _gone(running)
    assert said.startswith(_CREATED)
    assert _close_of(said)[0] == 1009
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
        relay_to(server.url, limits=replace(_QUICK, total=0.2, ending=2.0)) as running,
        client(running.relay.port) as peer,
    ):
        said = await peer.to_the_end()
    assert said[: len(long)] == long
    assert _close_of(said[len(long) :]) == (4410, "the session has reached its longest time")


async def test_a_session_that_only_pings_is_idle(relay_to: RelayTo) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_CREATED)
        for _ in range(200):
            writer.write(frame(b"p", PING))
            await asyncio.sleep(0.02)
        await reader.read()

    async with (
        upstream(talk) as server,
        relay_to(server.url, limits=replace(_QUICK, idle=0.5)) as running,
        client(running.relay.port) as peer,
    ):
        assert _close_of(await peer.to_the_end()) == (4408, "nothing has happened in this session for too long")
        await _gone(running)
    assert running.meter.errors() == {"relay.idle": 1}


async def test_a_session_ends_at_its_spend_ceiling_and_what_it_cost_is_in_the_ledger(relay_to: RelayTo) -> None:
    # 4 USD a million text tokens: 10,000 cost 0.04.
    says = [_CREATED, _done(1, 10_000), frame('{"type":"x"}'), _done(2, 10_000), frame('{"type":"y"}')]
    server_side = _Heard(*says[:2])

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for said in says:
            writer.write(said)
            await writer.drain()
            await asyncio.sleep(0.1)
        await server_side(reader, writer)

    limits = replace(_QUICK, spend=Decimal("0.08"))
    async with (
        upstream(talk) as server,
        relay_to(server.url, limits=limits) as running,
        client(running.relay.port) as peer,
    ):
        said = await peer.to_the_end()
        await _gone(running)
    before = b"".join(says[:4])
    assert said[: len(before)] == before
    assert _close_of(said[len(before) :]) == (4402, "the session has reached its spend ceiling")
    assert [record["cost"] for record in running.meter.records()] == ["0.04", "0.04"]
    assert running.meter.errors() == {"relay.spent": 1}


async def test_a_ceiling_is_reached_by_a_usage_in_pieces(relay_to: RelayTo) -> None:
    whole = _done(1, 10_000)
    found = header_at(whole, 0)
    assert found is not None
    text = whole[found[2] :]
    pieces = [frame(text[:40], TEXT, final=False), frame(b"", PING), frame(text[40:90], 0, final=False)]
    pieces += [frame(text[90:], 0), frame("never seen")]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_CREATED)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
        await reader.read()

    async with (
        upstream(talk) as server,
        relay_to(server.url, limits=replace(_QUICK, spend=Decimal("0.04"))) as running,
        client(running.relay.port) as peer,
    ):
        said = await peer.to_the_end()
        await _gone(running)
    before = _CREATED + b"".join(pieces[:4])
    assert said[: len(before)] == before
    assert _close_of(said[len(before) :])[0] == 4402
    assert [record["cost"] for record in running.meter.records()] == ["0.04"]


async def test_an_oversized_frame_that_comes_with_the_request_does_not_reach_the_upstream(relay_to: RelayTo) -> None:
    server_side = _Heard()
    large = frame("y" * 1_001, mask=_MASK)
    async with (
        upstream(server_side) as server,
        relay_to(server.url, limits=replace(_QUICK, frame_bytes=1_000)) as running,
        client(running.relay.port, request() + large) as peer,
    ):
        assert peer.status == 101
        assert _close_of(await peer.to_the_end())[0] == 1009
        await _gone(running)
    assert server_side.heard[:1] == bytes((0x80 | CLOSE,))
    assert len(server_side.heard) == 8


async def test_who_says_no_more_may_still_listen(relay_to: RelayTo) -> None:
    """A connection without TLS can be closed in one direction, from either end."""
    heard = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(7) == frame("1", mask=_MASK):
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
            peer.say(frame("1", mask=_MASK))
            assert await peer.to_the_end() == frame("last word of the server")
            peer.say(frame("and the client's", mask=_MASK))
            peer.writer.write_eof()
            assert await heard == frame("and the client's", mask=_MASK)
            await _gone(running)
        heard = asyncio.get_running_loop().create_future()
        async with client(running.relay.port) as peer:
            peer.say(frame("2", mask=_MASK))
            peer.writer.write_eof()
            assert await heard == b""
            assert await peer.to_the_end() == b"".join(frame(f"still here {number}") for number in range(5))
            await _gone(running)


async def test_a_client_that_does_not_read_holds_back_its_upstream_and_is_let_go(relay_to: RelayTo) -> None:
    written = 0

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.transport.set_write_buffer_limits(0)
        for _ in range(20_000):
            writer.write(frame(b"a" * 8_000, BINARY))
            await writer.drain()
            written += 1

    async with (
        upstream(talk) as server,
        relay_to(server.url, limits=replace(_QUICK, unread=2.0)) as running,
        client(running.relay.port) as peer,
    ):
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(100):
            so_far = written
            await asyncio.sleep(0.05)
            if written == so_far:
                break
        # What the kernel holds for both connections, and not all that was to be sent.
        assert 0 < written < 10_000
        await _gone(running)
    assert running.meter.errors() == {"relay.unread": 1}


async def test_a_client_that_reads_slowly_gets_everything_in_the_end(relay_to: RelayTo) -> None:
    count, size = 600, 8_004

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(count):
            writer.write(frame(number.to_bytes(4, "big") * 2_000, BINARY))
        await writer.drain()

    async with (
        upstream(talk) as server,
        relay_to(server.url, limits=replace(_QUICK, unread=3.0)) as running,
        client(running.relay.port) as peer,
    ):
        for number in range(count):
            assert await peer.read(size) == frame(number.to_bytes(4, "big") * 2_000, BINARY)
            await asyncio.sleep(0.002)
        assert await peer.to_the_end() == b""
        peer.leave()
        await _gone(running)
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
    says = [_CREATED, _done(1, 100), _done(2, 100), _done(3, 100), closing(1000, "that was all")]

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for said in says:
            writer.write(said)
            await writer.drain()
            await asyncio.sleep(0.05)

    async with upstream(talk) as server, relay_to(server.url) as running, client(running.relay.port) as peer:
        assert await peer.to_the_end() == b"".join(says)
        peer.leave()
        await _gone(running)
    assert running.meter.errors() == {"relay.lost_track": 1}
    assert [record["id"] for record in running.meter.records()] == ["resp_1"]


async def test_an_upstream_that_does_not_read_holds_back_its_client(relay_to: RelayTo) -> None:
    go_on = asyncio.Event()
    sent = frame(b"a" * 8_000, BINARY, mask=_MASK)
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
        for _ in range(500):
            if arrived >= said * len(sent):
                break
            await asyncio.sleep(0.01)
    assert arrived == said * len(sent)


async def test_a_subject_over_its_limit_is_refused_until_a_session_of_its_ends(relay_to: RelayTo) -> None:
    mine, yours = (request(PATH, f"Authorization: Bearer sk-{who}") for who in ("mine", "yours"))
    limits = replace(_QUICK, sessions_of_subject=2, sessions=3)
    async with (
        upstream(_silent) as server,
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
    async with upstream(_Heard(_CREATED)) as server, relay_to(server.url) as running:
        peers: list[Any] = []
        for _ in range(500):
            context = client(running.relay.port)
            peers.append((context, await context.__aenter__()))
        assert {peer.status for _, peer in peers} == {101}
        assert len(running.relay.register) == 500
        assert running.meter.sum("realtime_spend.session.active") == 500
        for _, peer in peers:
            assert await peer.read(len(_CREATED)) == _CREATED
        for context, _ in peers:
            await context.__aexit__(None, None, None)
        await _gone(running)
        assert running.meter.sum("realtime_spend.session.active") == 0


# --- Upstreams that fail ----------------------------------------------------------------------------------------------


async def _error(peer: Client) -> str:
    code: str = json.loads(await peer.to_the_end())["error"]["code"]
    return code


async def test_an_upstream_that_nobody_answers_at_is_said(relay_to: RelayTo, unused_tcp_port: int) -> None:
    async with (
        relay_to(f"http://127.0.0.1:{unused_tcp_port}") as running,
        client(running.relay.port) as peer,
    ):
        assert peer.status == 502
        assert await _error(peer) == "upstream_unreachable"
        assert not len(running.relay.register)


async def test_an_upstream_that_hangs_is_given_up(relay_to: RelayTo) -> None:
    async with (
        upstream(_silent, accepts=False) as server,
        relay_to(server.url, limits=replace(_QUICK, handshake=0.3)) as running,
        client(running.relay.port) as peer,
    ):
        assert peer.status == 504
        assert await _error(peer) == "upstream_silent"
        assert not len(running.relay.register)


@pytest.mark.parametrize("nonsense", [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 101 Swi", b"\x00" * 100, b"h" * 100_000])
async def test_an_upstream_that_is_none_is_said(nonsense: bytes, relay_to: RelayTo) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(nonsense)
        await writer.drain()

    async with (
        upstream(talk, accepts=False) as server,
        relay_to(server.url) as running,
        client(running.relay.port) as peer,
    ):
        assert peer.status == 502
        assert await _error(peer) == "upstream_broken"


async def test_what_an_upstream_says_when_it_refuses_comes_through(relay_to: RelayTo) -> None:
    body = b'{"error":{"message":"slow down"}}' * 5_000
    head = f"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + body)
        await reader.read()

    async with (
        upstream(talk, accepts=False) as server,
        relay_to(server.url) as running,
        client(running.relay.port) as peer,
    ):
        assert peer.answer + await peer.to_the_end() == head + body
        await _gone(running)
    assert running.meter.records() == []
    assert running.meter.sum("realtime_spend.session.active") == 0


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def tls_upstream() -> Any:
    """Serve with TLS, by a certificate for 127.0.0.1 of an authority of the test's own."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(accepted(key_of(await reader.readuntil(b"\r\n\r\n"))) + _CREATED + _done(1, 5))
            await reader.read(65_536)
            writer.write(_done(2, 7) + closing(1000))
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", trusting, context
    server.close()


async def test_tls_is_spoken_on_both_sides_and_passes_everything(tls_upstream: Any, relay_to: RelayTo) -> None:
    place, trusting, own = tls_upstream
    async with relay_to(f"https://{place}", trusted=trusting, tls=own) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.relay.port, ssl=trusting)
        peer = Client(reader, writer, b"")
        peer.say(request())
        await reader.readuntil(b"\r\n\r\n")
        begin = _CREATED + _done(1, 5)
        assert await peer.read(len(begin)) == begin
        peer.say(frame("more", mask=_MASK))
        assert await peer.to_the_end() == _done(2, 7) + closing(1000)
        writer.close()
        await writer.wait_closed()
        await _gone(running)
    assert [record["id"] for record in running.meter.records()] == ["resp_1", "resp_2"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_upstream_whose_certificate_does_not_hold_is_not_talked_to(
    host: str, tls_upstream: Any, relay_to: RelayTo
) -> None:
    """Of nobody's authority that is trusted, or of another name."""
    place, trusting, _ = tls_upstream
    port = place.partition(":")[2]
    trusted = trusting if host == "localhost" else None
    async with (
        relay_to(f"https://{host}:{port}", trusted=trusted) as running,
        client(running.relay.port) as peer,
    ):
        assert peer.status == 502
        assert "certificate" in json.loads(await peer.to_the_end())["error"]["message"]


# --- Requests that are refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (request("/v1/chat/completions"), 404, "unknown_path"),
        (request("/v1/realtime/../chat"), 400, "bad_handshake"),
        (request("/v1/realtime/%2e%2e/chat"), 400, "bad_handshake"),
        (request("/v1/realtime/%252E%252e/chat"), 400, "bad_handshake"),
        (request("/v1/realtime/..;x=1/chat"), 400, "bad_handshake"),
        (request("//evil.example/v1/realtime"), 400, "bad_handshake"),
        (request("http://evil.example/v1/realtime"), 400, "bad_handshake"),
        (request(PATH, "Content-Length: 5"), 400, "bad_handshake"),
        (request(PATH, "Transfer-Encoding: chunked"), 400, "bad_handshake"),
        (request(PATH, "Host: other.example"), 400, "bad_handshake"),
        (request(PATH, "Bad Name: x"), 400, "bad_handshake"),
        (request(PATH, " folded: x"), 400, "bad_handshake"),
        (request(PATH, "X: a\nAuthorization: b"), 400, "bad_handshake"),
        (request(PATH, "Sec-WebSocket-Key: second"), 400, "bad_handshake"),
        (request(PATH, "X: " + "a" * 40_000), 400, "bad_handshake"),
        (b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\n\r\n", 426, "websocket_only"),
        (request().replace(b"GET", b"POST"), 426, "websocket_only"),
        (b"GET /v1/realtime HTTP/2.0\r\nHost: x\r\n\r\n", 400, "bad_handshake"),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "bad_handshake"),
    ],
)
async def test_a_request_that_is_no_plain_handshake_is_refused(
    head: bytes, status: int, code: str, relay_to: RelayTo
) -> None:
    asked = []

    async def talk(*_: object) -> None:
        asked.append(1)

    async with (
        upstream(talk, accepts=False) as server,
        relay_to(server.url) as running,
        client(running.relay.port, head) as peer,
    ):
        assert peer.status == status
        assert await _error(peer) == code
    assert not asked
    assert running.meter.errors() == {f"relay.{code}": 1}


@pytest.mark.parametrize(
    ("upstreams", "path", "sentence"),
    [
        ({Provider.OPENAI: "https://api.openai.com"}, "/realtime?model=x", "must end with /v1"),
        ({Provider.OPENAI: "https://api.openai.com"}, "/live/sessions", "must end with /v1"),
        ({Provider.OPENAI: "https://api.openai.com"}, "/openai/v1/realtime?model=x", "without --azure"),
        ({Provider.OPENAI: "https://api.openai.com"}, "/voice-live/realtime", "without --azure"),
        ({Provider.AZURE: "https://x.openai.azure.com"}, "/v1/realtime?model=x", "Azure only"),
        ({Provider.OPENAI: "https://api.openai.com"}, "/v1/responses", "base URL"),
    ],
)
async def test_a_path_that_leads_nowhere_is_answered_with_what_to_do(
    upstreams: dict[Provider, str], path: str, sentence: str, relay_to: RelayTo
) -> None:
    async with (
        relay_to(upstreams=upstreams) as running,
        client(running.relay.port, request(path)) as peer,
    ):
        assert peer.status == 404
        assert sentence in json.loads(await peer.to_the_end())["error"]["message"]


async def test_what_a_client_names_as_between_neighbours_leaves_what_the_relay_says(relay_to: RelayTo) -> None:
    """By `Connection` a client has fields taken out; the relay's own are not its to take."""
    head = request(PATH, "X-Mine: 1").replace(b"Connection: Upgrade", b"Connection: Upgrade, Host, Connection, X-Mine")
    async with (
        upstream(_silent) as server,
        relay_to(server.url) as running,
        client(running.relay.port, head) as peer,
    ):
        assert peer.status == 101
        lines = server.requests[0].decode().split("\r\n")
    assert f"Host: {server.url.removeprefix('http://')}" in lines
    assert "Connection: Upgrade" in lines
    assert not [line for line in lines if line.startswith("X-Mine")]


async def test_a_request_that_does_not_come_is_not_waited_for(relay_to: RelayTo) -> None:
    async with (
        upstream(_silent) as server,
        relay_to(server.url, limits=replace(_QUICK, handshake=0.2)) as running,
        client(running.relay.port, b"GET /v1/realtime HTTP/1.1\r\nHost:") as peer,
    ):
        assert peer.status == 408
    assert running.meter.errors() == {"relay.slow_handshake": 1}


async def test_health_and_draining(relay_to: RelayTo) -> None:
    async def get(path: str) -> tuple[int, dict[str, Any]]:
        async with client(running.relay.port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as asking:
            return asking.status, json.loads(await asking.to_the_end())

    async with (
        upstream(_Heard(_CREATED)) as server,
        relay_to(server.url, limits=_QUICK) as running,
        client(running.relay.port) as peer,
    ):
        assert await get("/healthz") == (200, {"status": "ok", "sessions": 1})
        assert await get("/readyz") == (200, {"status": "ok", "sessions": 1})
        draining = asyncio.create_task(running.relay.drain(0.5))
        await asyncio.sleep(0.05)
        assert await get("/readyz") == (503, {"status": "draining", "sessions": 1})
        assert (await get("/healthz"))[0] == 200
        async with client(running.relay.port) as late:
            assert late.status == 503
        await draining
        stopping = asyncio.create_task(running.relay.stop())
        assert _close_of(await peer.to_the_end()) == (1001, "the relay is shutting down; connect again")
        peer.leave()
        await stopping
        assert not len(running.relay.register)
