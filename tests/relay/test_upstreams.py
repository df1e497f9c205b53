"""Upstreams that fail, hang or refuse, and those that are reached by TLS."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from tests.relay.conftest import QUICK
from tests.relay.peers import (
    CREATED,
    MASK,
    Client,
    accepted,
    client,
    closing,
    error_of,
    frame,
    key_of,
    request,
    silent,
    upstream,
    used,
)

if TYPE_CHECKING:
    from tests.relay.conftest import RelayTo


async def test_an_upstream_that_nobody_answers_at_is_said(
    relay_to: RelayTo, unused_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with relay_to(f"http://127.0.0.1:{unused_tcp_port}") as running:
        for _ in range(3):
            async with client(running.relay.port) as peer:
                assert peer.status == 502
                assert await error_of(peer) == "upstream_unreachable"
        assert not len(running.relay.register)
        assert running.meter.errors() == {"relay.upstream_unreachable": 3}
    # Once a minute, and with more than the client is told.
    [line] = caplog.messages
    assert f"127.0.0.1:{unused_tcp_port}" in line
    assert "(upstream_unreachable)" in line


async def test_an_upstream_that_hangs_is_given_up(relay_to: RelayTo) -> None:
    async with (
        upstream(silent, accepts=False) as server,
        relay_to(server.url, limits=replace(QUICK, handshake=0.3)) as running,
        client(running.relay.port) as peer,
    ):
        assert peer.status == 504
        assert await error_of(peer) == "upstream_silent"
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
        assert await error_of(peer) == "upstream_broken"


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
        await running.is_empty()
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
            writer.write(accepted(key_of(await reader.readuntil(b"\r\n\r\n"))) + CREATED + used(1, 5))
            await reader.read(65_536)
            writer.write(used(2, 7) + closing(1000))
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
        begin = CREATED + used(1, 5)
        assert await peer.read(len(begin)) == begin
        peer.say(frame("more", mask=MASK))
        assert await peer.to_the_end() == used(2, 7) + closing(1000)
        writer.close()
        await writer.wait_closed()
        await running.is_empty()
    assert [record["id"] for record in running.meter.records()] == ["resp_1", "resp_2"]


async def test_a_look_at_the_health_by_tls_leaves_no_line_in_the_log(
    tls_upstream: Any, relay_to: RelayTo, caplog: pytest.LogCaptureFixture
) -> None:
    place, trusting, own = tls_upstream
    async with relay_to(f"https://{place}", trusted=trusting, tls=own) as running:
        for path in ("/healthz", "/readyz"):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.relay.port, ssl=trusting)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert b" 200 " in await reader.readline()
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()
    assert caplog.messages == []


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
