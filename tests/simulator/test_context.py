"""What a response hears: pictures, lists of its own, a conversation that is cut; and what that does to the cache."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI
from openai.types.realtime import ResponseDoneEvent

from realtime_spend.simulator import Simulator, SimulatorOptions
from realtime_spend.simulator.tokens import IMAGE_TOKENS

_GA = "/v1/realtime?model=gpt-realtime"
_BETA = {"OpenAI-Beta": "realtime=v1"}
_PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}


def _text(words: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": words}]}


def _cached(usage: dict[str, Any]) -> dict[str, int]:
    details: dict[str, int] = usage["input_token_details"]["cached_tokens_details"]
    return details


async def test_a_picture_is_input_of_its_own_kind_and_cached_when_it_is_heard_again(simulator: Simulator) -> None:
    url = f"ws://127.0.0.1:{simulator.port}/v1"
    cached = 0
    item: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What?"}, _PICTURE]}
    async with (
        asyncio.timeout(20),
        AsyncOpenAI(api_key="any", websocket_base_url=url) as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        await connection.conversation.item.create(item=item)
        for _ in range(6):
            await connection.response.create()
            async for event in connection:
                if isinstance(event, ResponseDoneEvent):
                    usage: Any = event.response.usage
                    assert usage.input_token_details.image_tokens == IMAGE_TOKENS
                    cached += usage.input_token_details.cached_tokens_details.image_tokens
                    break
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    told = {row["component"]: row for row in truth["totals"] if row["modality"] == "image"}
    assert told["cached_input"]["quantity"] == cached > 0
    assert told["input"]["quantity"] == 6 * IMAGE_TOKENS - cached
    assert cached % 64 == 0
    # 5 and 0.5 USD a million tokens.
    assert told["input"]["cost"] == f"{told['input']['quantity'] * 5 / 1_000_000:.6f}".rstrip("0")


@pytest.mark.parametrize("headers", [{}, _BETA])
async def test_a_picture_is_counted_in_either_dialect(
    simulator: Simulator, connect: Any, headers: dict[str, str]
) -> None:
    async with connect(simulator, _GA, additional_headers=headers) as talk:
        await talk.send("conversation.item.create", item={"type": "message", "role": "user", "content": [_PICTURE] * 2})
        usage = (await talk.respond())["usage"]
    assert usage["input_token_details"]["image_tokens"] == 2 * IMAGE_TOKENS


_HOSTILE: list[dict[str, Any]] = [
    {"type": "response.audio.delta"},
    {"type": "response.output_audio.delta", "usage": "none"},
    {"usage": '{"total_tokens": 1}', "id": "resp_other", "status": "failed", '","type":"response.done': "x"},
    {"delta": "\ud800", "event_id": "event_1", "response": "response.done"},
]


@pytest.mark.parametrize("order", ["type_first", "event_id_first", "type_last", "alphabetical"])
async def test_the_metadata_of_a_response_comes_back_whatever_it_says(simulator: Simulator, order: str) -> None:
    url = f"ws://127.0.0.1:{simulator.port}{_GA}&sim_key_order={order}&sim_deltas=1"
    async with asyncio.timeout(20), aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
        seen: list[dict[str, Any]] = []
        for metadata in _HOSTILE:
            request = {"conversation": "none", "metadata": metadata, "input": [_text("Is it rude?")]}
            await socket.send_str(json.dumps({"type": "response.create", "response": request}))
            while not seen or seen[-1]["type"] != "rate_limits.updated":
                seen.append((await socket.receive()).json())
            seen.append({"type": "next"})
    done = [event["response"] for event in seen if event["type"] == "response.done"]
    assert [response["metadata"] for response in done] == _HOSTILE
    assert [response["conversation_id"] for response in done] == [None] * 4
    await simulator.wait_idle()
    usages = simulator.truth.as_json()["usages"]
    assert [usage["id"] for usage in usages] == [response["id"] for response in done]
    assert [sum(usage["quantities"].values()) for usage in usages] == [
        response["usage"]["total_tokens"] for response in done
    ]


async def test_a_response_out_of_band_hears_its_own_list_and_leaves_no_trace(simulator: Simulator) -> None:
    url = f"ws://127.0.0.1:{simulator.port}/v1"
    first: Any = {**_text("four" * 25), "id": "item_long"}
    inputs: list[Any] = [[], [_text("four" * 10)], [{"type": "item_reference", "id": "item_long"}, _text("four")]]
    heard = []
    async with (
        asyncio.timeout(20),
        AsyncOpenAI(api_key="any", websocket_base_url=url) as client,
        client.realtime.connect(model="gpt-realtime", extra_query={"sim_base_text_tokens": "0"}) as connection,
    ):
        await connection.conversation.item.create(item=first)
        for listed in inputs:
            await connection.response.create(response={"conversation": "none", "input": listed})
            async for event in connection:
                if isinstance(event, ResponseDoneEvent):
                    usage: Any = event.response.usage
                    heard.append(usage.input_tokens)
                    break
        await connection.response.create()
        async for event in connection:
            if isinstance(event, ResponseDoneEvent):
                usage = event.response.usage
                break
    assert heard == [0, 10, 26]
    assert usage.input_tokens == 25


async def test_a_reference_to_nothing_is_refused(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        request = {"conversation": "none", "input": [{"type": "item_reference", "id": "item_none"}]}
        await talk.send("response.create", response=request, event_id="mine")
        refused = (await talk.until("error"))["error"]
        await talk.respond()
    assert (refused["code"], refused["event_id"]) == ("item_not_found", "mine")
    assert simulator.truth.as_json()["counts"]["responses"] == 1


_WHOLE_CACHE = f"{_GA}&sim_outcomes=unsplit_cache&sim_base_text_tokens=0"


async def _prompts(simulator: Simulator) -> list[tuple[int, int]]:
    """What each response heard, and how much of it was cached."""
    found = []
    for usage in simulator.truth.as_json()["usages"]:
        cached = sum(count for part, count in usage["quantities"].items() if part.endswith("cached_input"))
        found.append((cached + sum(n for part, n in usage["quantities"].items() if part.endswith(".input")), cached))
    return found


async def _talk_of(talk: Any, *ids: str) -> None:
    for item_id in ids:
        await talk.send("conversation.item.create", item={**_text("four" * 256), "id": item_id})


async def test_what_is_cut_or_deleted_breaks_the_cache_from_there_on(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, _WHOLE_CACHE) as talk:
        await _talk_of(talk, "a", "b", "c")
        await talk.respond()
        await talk.respond()
        await talk.send("conversation.item.truncate", item_id="b", content_index=0, audio_end_ms=0)
        await talk.respond()
        await talk.send("conversation.item.delete", item_id="a")
        await talk.respond()
    (first, _), (second, cached), (third, cached_then), (_, cached_last) = await _prompts(simulator)
    assert first == 768
    assert cached == 768
    assert third < second
    assert cached_then == 256, "what stands before the item is still what it was"
    assert cached_last == 0


async def test_truncating_the_newest_answer_leaves_the_cache_alone(simulator: Simulator, connect: Any) -> None:
    """As SDKs do when the user interrupts: the answer was in no prompt yet."""
    async with connect(simulator, _WHOLE_CACHE) as talk:
        await _talk_of(talk, "a", "b")
        answer = (await talk.respond())["output"][0]["id"]
        await talk.send("conversation.item.truncate", item_id=answer, content_index=0, audio_end_ms=200)
        assert (await talk.until("conversation.item.truncated"))["audio_end_ms"] == 200
        await talk.respond()
    (first, _), (second, cached) = await _prompts(simulator)
    assert (first, second, cached) == (512, 512 + 4, 512)


@pytest.mark.parametrize(("event", "left"), [("conversation.item.truncate", 4), ("conversation.item.delete", 0)])
async def test_an_answer_can_be_cut_or_deleted_while_it_is_being_given(
    simulator: Simulator, connect: Any, event: str, left: int
) -> None:
    async with connect(simulator, f"{_WHOLE_CACHE}&sim_rate=20") as talk:
        await talk.send("response.create")
        item_id = (await talk.until("response.output_item.added"))["item"]["id"]
        await talk.send(event, item_id=item_id, content_index=0, audio_end_ms=200)
        await talk.until(f"{event}d")
        await talk.until("response.done")
        await talk.respond()
    assert [heard for heard, _ in await _prompts(simulator)] == [0, left]


@pytest.mark.parametrize("update", [{"instructions": "Be rude."}, {"tools": [{"type": "function", "name": "f"}]}])
async def test_other_instructions_or_tools_break_the_whole_cache(
    simulator: Simulator, connect: Any, update: dict[str, Any]
) -> None:
    async with connect(simulator, _WHOLE_CACHE) as talk:
        await _talk_of(talk, "a")
        await talk.respond()
        await talk.send("session.update", session={"output_modalities": ["text"]})
        await talk.respond()
        await talk.send("session.update", session=update)
        await talk.respond()
        await talk.respond()
    cached = [cached for _, cached in await _prompts(simulator)]
    assert cached[1] >= 256
    assert cached[2] == 0
    assert cached[3] >= 256


@pytest.mark.parametrize(
    ("truncation", "kept"),
    [
        ("auto", None),
        ({"type": "retention_ratio", "retention_ratio": 0.6}, 512),
        ({"type": "retention_ratio", "retention_ratio": 1.0, "token_limits": {"post_instructions": 600}}, 512),
        ({"type": "retention_ratio", "retention_ratio": 0.5, "token_limits": {"post_instructions": 600}}, 256),
        ({"type": "retention_ratio", "retention_ratio": 0.0}, 256),
        ({"type": "retention_ratio", "retention_ratio": "half"}, None),
    ],
)
async def test_a_conversation_that_has_grown_too_long_loses_its_beginning_and_the_cache(
    connect: Any, truncation: Any, kept: int | None
) -> None:
    """Of five messages of 256 tokens and an answer after the second, the newest stay."""
    async with Simulator(SimulatorOptions(seed=7)) as simulator:
        async with connect(simulator, f"{_WHOLE_CACHE}&sim_context_tokens=1000") as talk:
            await talk.send("session.update", session={"truncation": truncation})
            await _talk_of(talk, "a", "b")
            answer = (await talk.respond(output_modalities=["text"]))["usage"]["output_tokens"]
            await _talk_of(talk, "c", "d", "e")
            await talk.respond(output_modalities=["text"])
            await talk.send("conversation.item.retrieve", item_id="a", event_id="mine")
            assert (await talk.until("error"))["error"]["code"] == "item_retrieve_invalid_item_id"
        (first, _), (second, cached) = await _prompts(simulator)
    limit = truncation["token_limits"]["post_instructions"] if "token_limits" in truncation else 1000
    assert first == 512
    assert second == (kept or answer + 3 * 256)
    assert second <= limit
    assert cached == 0


async def test_a_session_that_may_not_be_cut_is_told_that_it_is_too_long(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, f"{_GA}&sim_context_tokens=500") as talk:
        await talk.send("session.update", session={"truncation": "disabled"})
        await _talk_of(talk, "a")
        await talk.respond()
        await _talk_of(talk, "b")
        await talk.send("response.create")
        assert (await talk.until("error"))["error"]["code"] == "input_tokens_exceeded"
        await talk.send("conversation.item.delete", item_id="a")
        await talk.respond()
    assert simulator.truth.as_json()["counts"]["responses"] == 2
