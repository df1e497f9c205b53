"""Requests that are refused, those that do not come, and those that ask how it goes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.relay.conftest import QUICK
from tests.relay.peers import (
    CREATED,
    PATH,
    Heard,
    client,
    close_of,
    error_of,
    request,
    silent,
    upstream,
)

from realtime_spend.core.line_items import Provider

if TYPE_CHECKING:
    from tests.relay.conftest import RelayTo


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
        assert await error_of(peer) == code
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
        upstream(silent) as server,
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
        upstream(silent) as server,
        relay_to(server.url, limits=replace(QUICK, handshake=0.2)) as running,
        client(running.relay.port, b"GET /v1/realtime HTTP/1.1\r\nHost:") as peer,
    ):
        assert peer.status == 408
    assert running.meter.errors() == {"relay.slow_handshake": 1}


async def test_health_and_draining(relay_to: RelayTo) -> None:
    async def get(path: str) -> tuple[int, dict[str, Any]]:
        async with client(running.relay.port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as asking:
            return asking.status, json.loads(await asking.to_the_end())

    async with (
        upstream(Heard(CREATED)) as server,
        relay_to(server.url, limits=QUICK) as running,
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
        assert close_of(await peer.to_the_end()) == (1001, "the relay is shutting down; connect again")
        peer.leave()
        await stopping
        assert not len(running.relay.register)
