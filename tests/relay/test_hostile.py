"""Peers that mean harm, or behave as if they did: what they send, leave out, and hold on to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import ssl
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jwt
import pytest
import trustme
from tests.relay.conftest import QUICK
from tests.relay.peers import (
    BINARY,
    MASK,
    PATH,
    Client,
    Flood,
    accepted,
    client,
    closing,
    frame,
    key_of,
    request,
    silent,
    upstream,
)

from realtime_spend.core.line_items import Provider
from realtime_spend.relay.tokens import SharedSecret, TokenCheck

if TYPE_CHECKING:
    from tests.relay.conftest import RelayTo

_SECRET = "a secret that is as long as it must be, or longer"  # noqa: S105 - of this test alone
_KEYS = {Provider.OPENAI: "sk-of-the-relay"}
_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def _check() -> TokenCheck:
    return TokenCheck(SharedSecret(_SECRET), audience="voice", issuer=None, claims={"sub": "user"})


def _bearer(token: str | None = None) -> bytes:
    shown = token or jwt.encode({"sub": "alice", "aud": "voice", "exp": 4_000_000_000}, _SECRET, "HS256")
    return request(PATH, f"Authorization: Bearer {shown}")


# --- What a client may not get the relay to pass on -------------------------------------------------------------------


async def test_nothing_reaches_an_upstream_that_has_refused(relay_to: RelayTo) -> None:
    """A second request would be one that nobody has checked, on a connection that the relay has opened."""
    second = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Length: 0\r\n\r\n"
    heard = bytearray()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 8\r\n\r\nhalf")
        while data := await reader.read(65_536):
            heard.extend(data)

    async with (
        upstream(talk, accepts=False) as server,
        relay_to(server.url, tokens=_check(), keys=_KEYS) as running,
        client(running.relay.port, _bearer() + second) as peer,
    ):
        assert peer.status == 400
        assert await peer.read(4) == b"half"
        peer.say(second * 3)
        peer.writer.write_eof()
        await running.is_empty()
    assert heard == b""


# --- Speaking before one is spoken to ---------------------------------------------------------------------------------


async def test_an_upstream_that_says_much_at_once_is_held_back_as_any_other(relay_to: RelayTo) -> None:
    written = 0
    piece = frame(b"a" * 8_000, BINARY)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.transport.set_write_buffer_limits(0)
        head = accepted(key_of(await reader.readuntil(b"\r\n\r\n")))
        # In one piece with its answer, and more than the relay keeps for a client that does not read.
        writer.write(head + piece * 30)
        for _ in range(20_000):
            await writer.drain()
            writer.write(piece)
            written += 1

    async with (
        upstream(talk, accepts=False) as server,
        relay_to(server.url) as running,
    ):
        # As over a network: the kernel takes no more than a little of it.
        assert running.relay._server is not None
        running.relay._server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(0)
        with connection:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(connection, running.address)
            await loop.sock_sendall(connection, request())
            await _until(lambda: running.relay.register.sessions)
            so_far = -1
            while written != so_far:
                so_far = written
                await asyncio.sleep(1.0)
            assert written < 10_000
        await running.is_empty()


async def _until(holds: Any) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it has not come about")


# --- Going away at the wrong moment -----------------------------------------------------------------------------------


@pytest.fixture
def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return what a server shows, and what a client trusts."""
    authority = trustme.CA()
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(own)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return own, trusting


@pytest.mark.parametrize("is_tls", [True, False])
@pytest.mark.parametrize("is_abrupt", [True, False])
async def test_a_client_that_goes_before_its_upstream_has_answered_leaves_no_session_behind(
    is_tls: bool,  # noqa: FBT001 - a parameter of the test
    is_abrupt: bool,  # noqa: FBT001 - a parameter of the test
    certificates: tuple[ssl.SSLContext, ssl.SSLContext],
    relay_to: RelayTo,
) -> None:
    own, trusting = certificates
    asked, answer = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await answer.wait()
        writer.write(accepted(key_of(head)) + frame("hello"))
        await reader.read()

    async with (
        upstream(talk, accepts=False) as server,
        relay_to(server.url, tls=own if is_tls else None) as running,
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", running.relay.port, ssl=trusting if is_tls else None)
        writer.write(request())
        await asked.wait()
        if is_abrupt:
            reset = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            writer.transport.abort()
        else:
            writer.close()
        await asyncio.sleep(0.1)
        answer.set()
        await running.is_empty()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    assert running.meter.sum("realtime_spend.session.active") == 0


async def test_an_upstream_that_answers_and_is_gone_at_once_leaves_no_session_behind(
    certificates: tuple[ssl.SSLContext, ssl.SSLContext], relay_to: RelayTo
) -> None:
    own, trusting = certificates

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(accepted(key_of(await reader.readuntil(b"\r\n\r\n"))) + frame("hello") + closing(1000))
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=own)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with relay_to(url, trusted=trusting) as running:
            for _ in range(20):
                async with client(running.relay.port) as peer:
                    assert await peer.to_the_end() == frame("hello") + closing(1000)
            await running.is_empty()


# --- How a session is ended -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_tls", [True, False])
async def test_a_client_that_speaks_on_is_told_why_its_session_ends(
    is_tls: bool,  # noqa: FBT001 - a parameter of the test
    certificates: tuple[ssl.SSLContext, ssl.SSLContext],
    relay_to: RelayTo,
) -> None:
    """Whoever closes a connection on which something has come that it has not read resets it."""
    own, trusting = certificates

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if closing(1000, mask=data[-6:-2])[:2] == data[-8:-6]:
                writer.write(closing(1000))
                return

    async with (
        upstream(talk) as server,
        relay_to(server.url, limits=replace(QUICK, total=0.3, ending=5.0), tls=own if is_tls else None) as running,
    ):
        reader, writer = await asyncio.open_connection(*running.address, ssl=trusting if is_tls else None)
        peer = Client(reader, writer, b"")
        peer.say(request())
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(60):
            peer.say(frame("still speaking", mask=MASK))
            await asyncio.sleep(0.01)
        said = await peer.read(2)
        assert struct.unpack(">H", (await peer.read(said[1]))[:2])[0] == 4410
        peer.say(closing(4410, mask=MASK))
        assert await peer.to_the_end() == b""
        await running.is_empty()
        writer.close()
        await writer.wait_closed()


# --- Tokens that are traps --------------------------------------------------------------------------------------------


def _token_of(header: bytes, body: bytes = b"{}") -> str:
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (header, body, b"x"))


@pytest.mark.parametrize(
    "token",
    [
        _token_of(b"[" * 12_000),
        _token_of(b'{"alg":"HS256"}', b'{"a":' * 3_000),
        _token_of(b'{"alg":' + b"9" * 12_000 + b"}"),
        _token_of(b'{"alg":"HS256","kid":["a"]}'),
        _token_of(b'{"alg":["HS256"]}'),
        _token_of(b'{"alg":"none"}'),
        _token_of(b"null"),
        "." * 20_000,
        "a.b.c.d",
        "\xfc.\xfc.\xfc",
    ],
)
async def test_a_token_that_is_a_trap_is_refused_as_any_other(token: str, relay_to: RelayTo) -> None:
    head = _bearer("TOKEN").replace(b"TOKEN", token.encode("latin-1"))
    async with (
        upstream(silent) as server,
        relay_to(server.url, tokens=_check(), keys=_KEYS) as running,
        client(running.relay.port, head) as peer,
    ):
        assert peer.status == 401
        assert json.loads(await peer.to_the_end())["error"]["code"] == "token_invalid"
    assert running.meter.errors() == {"relay.token_invalid": 1}


# --- Taking up room ---------------------------------------------------------------------------------------------------


async def test_connections_that_say_nothing_keep_nobody_out(relay_to: RelayTo) -> None:
    async with (
        upstream(silent) as server,
        relay_to(server.url, limits=replace(QUICK, at_the_door=5)) as running,
    ):
        quiet = [await asyncio.open_connection(*running.address) for _ in range(5)]
        quiet[0][1].write(b"GET /v1/realtime HTTP/1.1\r\n")
        for _ in range(3):
            async with client(running.relay.port, _HEALTH) as peer:
                assert peer.status == 200
            async with client(running.relay.port) as peer:
                assert peer.status == 101
        # Who has waited longest had to go, and the others need not.
        assert await quiet[0][0].read() == b""
        assert running.meter.errors()["relay.crowded_out"] == 1
        for _, writer in quiet:
            writer.close()
            await writer.wait_closed()


async def test_who_is_refused_in_mid_sentence_still_gets_the_answer(relay_to: RelayTo) -> None:
    head = b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: x\r\n\r\n"
    async with (
        upstream(silent) as server,
        relay_to(server.url) as running,
    ):
        _, port = running.address
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        for _ in range(20):
            await asyncio.sleep(0.01)
            writer.write(b"a body that comes slowly")
            await writer.drain()
        writer.write_eof()
        assert (await reader.read()).startswith(b"HTTP/1.1 426 ")
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_comes_while_the_relay_stops_is_told_so(relay_to: RelayTo) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await answer.wait()
        writer.write(accepted(key_of(head)))
        await reader.read()

    async with (
        upstream(talk, accepts=False) as server,
        relay_to(server.url, limits=replace(QUICK, ending=3.0)) as running,
    ):
        coming = asyncio.create_task(_first_frame(running.relay.port))
        await asked.wait()
        stopping = asyncio.create_task(running.relay.stop())
        await asyncio.sleep(0.05)
        answer.set()
        said = await coming
        await stopping
    assert struct.unpack(">H", said[2:4])[0] == 1001


async def _first_frame(port: int) -> bytes:
    async with client(port) as peer:
        return await peer.read(4)


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "204 No Content"])
async def test_the_relays_key_opens_no_other_answer_than_a_session(status: str, relay_to: RelayTo) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 7\r\n\r\nprivate".encode())
        await reader.read()

    async with (
        upstream(talk, accepts=False) as server,
        relay_to(server.url, tokens=_check(), keys=_KEYS) as running,
        client(running.relay.port, _bearer()) as peer,
    ):
        assert peer.status == 502
        said = await peer.to_the_end()
    assert b"private" not in said
    assert json.loads(said)["error"]["code"] == "upstream_no_websocket"


async def test_a_client_that_never_finishes_its_tls_is_let_go(
    certificates: tuple[ssl.SSLContext, ssl.SSLContext], relay_to: RelayTo
) -> None:
    async with (
        upstream(silent) as server,
        relay_to(server.url, tls=certificates[0], limits=replace(QUICK, handshake=0.3)) as running,
    ):
        reader, writer = await asyncio.open_connection(*running.address)
        writer.write(b"\x16\x03\x01")
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        await writer.wait_closed()


async def test_a_client_with_tls_that_does_not_read_holds_back_its_upstream_and_is_let_go(
    certificates: tuple[ssl.SSLContext, ssl.SSLContext], relay_to: RelayTo
) -> None:
    own, trusting = certificates
    flood = Flood()
    async with (
        upstream(flood) as server,
        relay_to(server.url, tls=own, limits=replace(QUICK, unread=3.0)) as running,
    ):
        reader, writer = await asyncio.open_connection(*running.address, ssl=trusting)
        writer.write(request())
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        so_far = -1
        while flood.written != so_far:
            so_far = flood.written
            await asyncio.sleep(1.0)
        assert 0 < flood.written < 10_000
        await running.is_empty()
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    assert running.meter.errors() == {"relay.unread": 1}
