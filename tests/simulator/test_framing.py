"""However a message is framed, compressed or printed, a client reads the same events and the truth is the same."""

from __future__ import annotations

import asyncio
import json
import re
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
import websockets
from openai import AsyncOpenAI
from openai.types.realtime import ResponseDoneEvent

from realtime_spend.simulator import Simulator, SimulatorOptions

_PATH = "/v1/realtime?model=gpt-realtime&sim_deltas=3&sim_delta_bytes="
_FRAMINGS = [
    "sim_fragments=3",
    "sim_fragments=1000",
    "sim_fragments=2&sim_pings=1",
    "sim_empty_first=1",
    "sim_empty_first=1&sim_fragments=4&sim_pings=1",
    "sim_binary=1",
    "sim_binary=1&sim_fragments=2&sim_empty_first=1",
    "sim_deflate=1",
    "sim_deflate=1&sim_binary=1",
    "sim_deflate=1&sim_fragments=3",
    "sim_deflate=1&sim_fragments=3&sim_pings=1&sim_empty_first=1&sim_binary=1",
    "sim_pings=1",
    "sim_spaced=1&sim_key_order=alphabetical",
]
# A frame's length is written in one, three or nine bytes.
_SIZES = [16, 400, 90_000]
_INSTANTS = re.compile(r'"(?:expires_at|at|opened_at|closed_at)":\s*(?:\d+|"[^"]*"|null),?\s*')


async def _converse_with_websockets(url: str) -> list[str | bytes]:
    seen = []
    async with websockets.connect(url, proxy=None, max_queue=None) as socket:
        await socket.send(json.dumps({"type": "response.create"}))
        async for message in socket:
            seen.append(message)
            if json.loads(message)["type"] == "response.done":
                return seen
    raise AssertionError("it closed")


async def _converse_with_aiohttp(url: str) -> list[str | bytes]:
    seen = []
    async with aiohttp.ClientSession() as http, http.ws_connect(url, compress=15, max_msg_size=0) as socket:
        await socket.send_json({"type": "response.create"})
        async for message in socket:
            assert message.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}
            seen.append(message.data)
            if json.loads(message.data)["type"] == "response.done":
                return seen
    raise AssertionError("it closed")


async def _seen(framing: str, size: int, converse: Any) -> tuple[list[str | bytes], Any]:
    async with asyncio.timeout(20), Simulator(SimulatorOptions(seed=7)) as simulator:
        messages = await converse(f"ws://127.0.0.1:{simulator.port}{_PATH}{size}&{framing}")
        await simulator.wait_idle()
        return messages, simulator.truth.as_json()


def _events(messages: list[str | bytes]) -> list[Any]:
    texts = [message if isinstance(message, str) else message.decode() for message in messages]
    return [json.loads(_INSTANTS.sub("", text)) for text in texts]


@pytest.mark.parametrize("converse", [_converse_with_websockets, _converse_with_aiohttp])
@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("framing", _FRAMINGS)
async def test_a_client_reads_the_same_events_however_they_are_framed(framing: str, size: int, converse: Any) -> None:
    plain, sent = await _seen("", size, converse)
    framed, sent_framed = await _seen(framing, size, converse)
    assert _events(framed) == _events(plain)
    assert all(isinstance(message, bytes if "binary" in framing else str) for message in framed)
    assert sent_framed["totals"] == sent["totals"]
    assert sent_framed["cost"] == sent["cost"]


async def _raw_frames(simulator: Simulator, query: str, extensions: str = "") -> list[tuple[int, bytes]]:
    """Read the first frames a server sends, as a client that looks at every byte does: head and payload."""
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    offer = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
    writer.write(
        f"GET {_PATH}16&{query} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\n{offer}Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    frames: list[tuple[int, bytes]] = []
    while not frames or not frames[-1][0] & 0x80 or frames[-1][0] & 0x0F == 0x9:
        head, length = await reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await reader.readexactly(2))
        frames.append((head, await reader.readexactly(length)))
    writer.close()
    await writer.wait_closed()
    return frames


async def test_a_message_is_cut_up_with_an_empty_frame_first_and_pings_between(simulator: Simulator) -> None:
    frames = await _raw_frames(simulator, "sim_fragments=3&sim_empty_first=1&sim_pings=1")
    assert [head for head, _ in frames] == [0x89, 0x01, 0x89, 0x00, 0x89, 0x00, 0x89, 0x80]
    assert frames[1][1] == b""
    assert json.loads(b"".join(data for head, data in frames if head != 0x89))["type"] == "session.created"


async def test_compression_is_marked_on_the_first_frame_alone_and_only_if_it_was_offered(simulator: Simulator) -> None:
    query = "sim_fragments=2&sim_deflate=1&sim_binary=1"
    assert [head for head, _ in await _raw_frames(simulator, query, "permessage-deflate")] == [0x42, 0x80]
    assert [head for head, _ in await _raw_frames(simulator, query)] == [0x02, 0x80]


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; client_no_context_takeover; server_max_window_bits=12",
    ],
)
async def test_what_the_client_asks_of_the_compression_is_kept_to(simulator: Simulator, offer: str) -> None:
    words = dict(word.strip().partition("=")[::2] for word in offer.split(";"))
    factory = websockets.extensions.permessage_deflate.ClientPerMessageDeflateFactory(
        server_no_context_takeover="server_no_context_takeover" in words,
        server_max_window_bits=int(words["server_max_window_bits"]) if "server_max_window_bits" in words else None,
        client_no_context_takeover="client_no_context_takeover" in words,
    )
    url = f"ws://127.0.0.1:{simulator.port}{_PATH}400&sim_deflate=1&sim_fragments=3"
    async with asyncio.timeout(20), websockets.connect(url, proxy=None, extensions=[factory]) as socket:
        assert [extension.name for extension in socket.protocol.extensions] == ["permessage-deflate"]
        await socket.send(json.dumps({"type": "response.create"}))
        types: list[str] = []
        while not types or types[-1] != "response.done":
            types.append(json.loads(await socket.recv())["type"])
    assert types[0] == "session.created"


async def test_the_openai_client_reads_fragments_with_pings_between_them(simulator: Simulator) -> None:
    query = {"sim_fragments": "5", "sim_pings": "1", "sim_empty_first": "1", "sim_key_order": "alphabetical"}
    async with (
        asyncio.timeout(20),
        AsyncOpenAI(api_key="any", websocket_base_url=f"ws://127.0.0.1:{simulator.port}/v1") as client,
        client.realtime.connect(model="gpt-realtime", extra_query=query) as connection,
    ):
        await connection.response.create()
        async for event in connection:
            if isinstance(event, ResponseDoneEvent):
                [usage] = simulator.truth.as_json()["usages"]
                assert event.response.id == usage["id"]
            if event.type == "rate_limits.updated":  # the last: nothing is left unread
                break


async def test_messages_of_two_responses_never_come_between_the_frames_of_one(simulator: Simulator) -> None:
    url = f"ws://127.0.0.1:{simulator.port}{_PATH}60000&sim_fragments=40&sim_pings=1"
    async with asyncio.timeout(20), websockets.connect(url, proxy=None, max_queue=None) as socket:
        for _ in range(4):
            await socket.send(json.dumps({"type": "response.create", "response": {"conversation": "none"}}))
        done = 0
        while done < 4:
            done += json.loads(await socket.recv())["type"] == "response.done"


@pytest.mark.parametrize("framing", ["sim_key_order=alphabetical", "sim_key_order=alphabetical&sim_spaced=1"])
async def test_alphabetical_means_every_object(simulator: Simulator, connect: Any, framing: str) -> None:
    async with connect(simulator, f"{_PATH}16&{framing}") as talk:
        await talk.respond()

    def in_order(pairs: list[tuple[str, Any]]) -> None:
        assert all(one[0] < other[0] for one, other in pairwise(pairs))

    for frame in talk.frames:
        json.loads(frame, object_pairs_hook=in_order)
        assert ('": ' in frame) == ("spaced" in framing)
