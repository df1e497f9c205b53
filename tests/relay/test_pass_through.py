"""What passes the relay, byte for byte: every client, every framing, every end; and what is counted of it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import websockets
from openai import AsyncAzureOpenAI, AsyncOpenAI
from tests.hooks.messages import CREATE, done
from tests.relay.peers import BINARY, PATH, PING, TEXT, Client, client, closing, frame, request, upstream
from tests.relay.wires import Recorded, Wire

from realtime_spend.simulator import Deployment, Simulator, SimulatorOptions

if TYPE_CHECKING:
    from tests.relay.conftest import RelayTo

_AZURE = {"voice": Deployment(model="gpt-realtime-mini", version="2025-12-15")}
_MASK = b"\x01\xa0\x33\x7f"


async def _settled(before: Wire, behind: Wire) -> tuple[Recorded, Recorded]:
    """Wait until nothing is under way any more, and return what passed on both sides of the relay."""
    [theirs], [ours] = before.connections, behind.connections
    for _ in range(500):
        if before.is_over and behind.is_over:
            return theirs, ours
        await asyncio.sleep(0.01)
    raise AssertionError("a connection is still open")


def _nothing_was_changed(theirs: Recorded, ours: Recorded) -> None:
    assert ours.frames_to_server == theirs.frames_to_server
    assert ours.frames_to_client == theirs.frames_to_client
    assert ours.answer == theirs.answer
    assert ours.frames_to_client


def _ws(url: str) -> str:
    return url.replace("http", "ws", 1)


async def _sdk(url: str) -> None:
    sdk = AsyncOpenAI(api_key="sk-test", base_url=f"{url}/v1")
    async with sdk.realtime.connect(model="gpt-realtime") as connection:
        await _three_responses(connection)
    await sdk.close()


async def _sdk_beta(url: str) -> None:
    sdk = AsyncOpenAI(api_key="sk-test", websocket_base_url=f"{_ws(url)}/v1")
    async with sdk.beta.realtime.connect(model="gpt-4o-realtime-preview") as connection:
        await _three_responses(connection)
    await sdk.close()


async def _sdk_azure(url: str) -> None:
    sdk = AsyncAzureOpenAI(
        api_key="key",
        azure_endpoint=url,
        api_version="2025-04-01-preview",
        websocket_base_url=f"{_ws(url)}/openai",
    )
    async with sdk.beta.realtime.connect(model="voice") as connection:
        await _three_responses(connection)
    await sdk.close()


async def _three_responses(connection: Any) -> None:
    for _ in range(3):
        await connection.response.create()
        async for event in connection:
            if event.type == "response.done":
                break


async def _aiohttp(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}{PATH}", compress=15) as connection:
        await connection.send_str(CREATE)
        async for message in connection:
            if json.loads(message.data)["type"] == "response.done":
                break


@pytest.mark.parametrize("use", [_sdk, _sdk_beta, _sdk_azure, _aiohttp])
async def test_clients_and_service_see_the_same_bytes_and_the_count_is_the_truth(use: Any, relay_to: RelayTo) -> None:
    async with (
        Simulator(SimulatorOptions(seed=5, deployments=_AZURE)) as simulator,
        Wire("127.0.0.1", simulator.port) as behind,
        relay_to(behind.url, deployments={"voice": {"model": "gpt-realtime-mini", "version": "2025-12-15"}}) as running,
        Wire(*running.address) as before,
    ):
        await use(before.url)
        await simulator.wait_idle()
        _nothing_was_changed(*await _settled(before, behind))
        running.meter.agrees_with(simulator.truth.as_json())


@pytest.mark.parametrize(
    "options",
    [
        "sim_deltas=30&sim_delta_bytes=40000",
        "sim_deltas=3&sim_delta_bytes=700000",
        "sim_fragments=4&sim_empty_first=true&sim_pings=true",
        "sim_binary=true",
        "sim_binary=true&sim_fragments=3&sim_delta_bytes=9000",
        "sim_key_order=type_last",
        "sim_key_order=alphabetical&sim_delta_bytes=70000",
        "sim_key_order=event_id_first&sim_spaced=true",
        "sim_repeat=true",
        "sim_outcomes=cancelled,failed,incomplete,usage_missing,unsplit_cache,no_details",
        "sim_outcomes=never_finished,completed",
        "sim_outcomes=completed,dropped",
        "sim_close_after=2&sim_close_code=4321",
        "sim_close_after=2&sim_close_code=1006",
        "sim_deflate=true",
    ],
)
async def test_every_framing_and_every_end_passes_unchanged(options: str, relay_to: RelayTo) -> None:
    async with (
        Simulator(SimulatorOptions(seed=11)) as simulator,
        Wire("127.0.0.1", simulator.port) as behind,
        relay_to(behind.url) as running,
        Wire(*running.address) as before,
    ):
        said = await _closing_of(f"{before.url}{PATH}&{options}", responses=4)
        await simulator.wait_idle()
        theirs, ours = await _settled(before, behind)
        _nothing_was_changed(theirs, ours)
        running.meter.agrees_with(simulator.truth.as_json())
        directly = await _closing_of(f"{simulator.url}{PATH}&{options}", responses=4)
    assert said == directly


async def _closing_of(url: str, responses: int) -> tuple[int | None, str | None]:
    """Ask for some responses, one after another, and return how the connection ended."""
    # With a bounded queue, what it leaves unread may keep the other side's farewell from it, or just not.
    connection = await websockets.connect(_ws(url), proxy=None, max_size=None, max_queue=None)
    try:
        for number in range(responses):
            await connection.send(CREATE)
            async for text in connection:
                kind = json.loads(text)["type"]
                if kind == "response.done" or (kind == "response.created" and "never" in url and number % 2 == 0):
                    break
        await connection.close()
    except websockets.ConnectionClosed:
        pass
    return connection.close_code, connection.close_reason


async def test_large_fragmented_and_binary_frames_of_a_client_arrive_as_they_were_sent(relay_to: RelayTo) -> None:
    parts = [os.urandom(size) for size in (0, 1, 125, 126, 65_535, 65_536, 3_000_000)]
    sent = frame(b"begin", BINARY, final=False, mask=_MASK)
    sent += b"".join(frame(part, 0, final=False, mask=_MASK) + frame(b"!", PING, mask=_MASK) for part in parts)
    sent += frame(b"end", 0, mask=_MASK) + frame("x" * 200_000, mask=_MASK)
    arrived = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set_result(await reader.readexactly(len(sent)))
        writer.write(frame("thanks"))
        await writer.drain()
        await reader.read()

    async with upstream(talk) as server, relay_to(server.url) as running, client(running.relay.port) as peer:
        # In pieces that cut headers and payloads anywhere.
        for begin in range(0, len(sent), 70_001):
            peer.say(sent[begin : begin + 70_001])
            await asyncio.sleep(0)
        assert await peer.read(len(frame("thanks"))) == frame("thanks")
        assert await arrived == sent


async def test_every_byte_alone_is_passed_on_and_metered(relay_to: RelayTo) -> None:
    said = [
        '{"type":"session.created","session":{"id":"sess_1","model":"gpt-realtime"}}',
        '{"type":"response.created","response":{"id":"resp_1"}}',
        '{"type":"response.output_audio.delta","response_id":"resp_1","delta":"' + "A" * 300 + '"}',
        done("resp_1", text=1),
    ]
    stream = b"".join(map(frame, said)) + closing(1000)

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for place in range(len(stream)):
            writer.write(stream[place : place + 1])
            await writer.drain()
            await asyncio.sleep(0)

    async with upstream(talk) as server, relay_to(server.url) as running, client(running.relay.port) as peer:
        assert await peer.to_the_end() == stream
    [record] = running.meter.records()
    assert record["id"] == "resp_1"
    assert record["quantities"] == {"text.input": 2, "text.output": 1}
    assert record["source"] == "openai.relay"
    assert running.meter.sum("gen_ai.client.inference.usage.input_tokens") == 2
    assert running.meter.errors() == {}


async def _everything(peer: Client) -> bytes:
    try:
        return await peer.to_the_end()
    except ConnectionResetError:
        return b"reset"


@pytest.mark.parametrize("cut", [b"\x81\x7e", frame("x" * 1000)[:500], frame(b"", TEXT, final=False), b"\x81"])
async def test_an_upstream_that_goes_in_mid_frame_leaves_the_client_with_what_came(
    cut: bytes, relay_to: RelayTo
) -> None:
    whole = frame('{"type":"response.created","response":{"id":"resp_1"}}')

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(whole + cut)
        await writer.drain()

    async with upstream(talk) as server, relay_to(server.url) as running, client(running.relay.port) as peer:
        assert await peer.to_the_end() == whole + cut
        peer.leave()
        await running.is_empty()
    assert running.meter.sum("realtime_spend.usages", usage="lost") == 1


async def test_an_upstream_that_resets_resets_the_client(relay_to: RelayTo) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame("hello"))
        await writer.drain()
        await asyncio.sleep(0.1)
        _reset(writer)

    async with upstream(talk) as server, relay_to(server.url) as running, client(running.relay.port) as peer:
        assert await peer.read(7) == frame("hello")
        assert await _everything(peer) == b"reset"
        await running.is_empty()


async def test_what_the_service_had_sent_is_metered_although_the_client_is_gone(relay_to: RelayTo) -> None:
    left = asyncio.Event()
    usage = '{"total_tokens":3,"input_tokens":2,"output_tokens":1}'

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame('{"type":"session.created","session":{"id":"sess_1","model":"gpt-realtime"}}'))
        await reader.read(1)
        left.set()
        writer.write(frame('{"type":"response.done","response":{"id":"resp_1","usage":' + usage + "}}"))
        await writer.drain()

    async with upstream(talk) as server, relay_to(server.url) as running, client(running.relay.port) as peer:
        await peer.read(10)
        peer.leave()
        await asyncio.wait_for(left.wait(), 5)
        await running.is_empty()
    assert [record["id"] for record in running.meter.records()] == ["resp_1"]


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_headers_path_query_and_subprotocols_are_passed_and_the_choice_comes_back(relay_to: RelayTo) -> None:
    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    fields = (
        "Origin: https://app.example",
        "Authorization: Bearer sk-mine",
        "sec-websocket-protocol: realtime, openai-insecure-api-key.sk-mine, openai-beta.realtime-v1",
        "X-Odd:  two  blanks ",
        "OpenAI-Beta: realtime=v1",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "Keep-Alive: timeout=5",
    )
    path = "/v1/realtime?model=gpt-realtime&a=%2F%20&a=b%C3%A4&&empty="
    async with (
        upstream(talk, "Sec-WebSocket-Protocol: realtime", "X-Request-Id: req_1") as server,
        relay_to(server.url) as running,
        client(running.relay.port, request(path, *fields)) as peer,
    ):
        [head] = server.requests
    lines = head.decode().split("\r\n")
    assert lines[0] == f"GET {path} HTTP/1.1"
    assert f"Host: {server.url.removeprefix('http://')}" in lines
    for line in (*fields[:3], "X-Odd: two  blanks", *fields[4:5]):
        assert line in lines
    assert not [line for line in lines if line.startswith(("Sec-WebSocket-Extensions", "Keep-Alive"))]
    assert b"Sec-WebSocket-Protocol: realtime\r\nX-Request-Id: req_1" in peer.answer


async def test_what_comes_with_the_handshakes_is_not_lost(relay_to: RelayTo) -> None:
    """Both sides may speak before they know that the other is there."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame("hello"))
        assert await reader.readexactly(len(early)) == early
        writer.write(frame("got it"))
        await reader.read()

    early = frame("early", mask=_MASK)
    async with (
        upstream(talk) as server,
        relay_to(server.url) as running,
        client(running.relay.port, request() + early) as peer,
    ):
        expected = frame("hello") + frame("got it")
        assert await peer.read(len(expected)) == expected
