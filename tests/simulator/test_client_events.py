from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from openai.types.realtime.realtime_server_event import ConversationItemRetrieved
from pydantic import TypeAdapter

if TYPE_CHECKING:
    from realtime_spend.simulator import Simulator


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("not json", "invalid_json"),
        ("[1]", "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ('{"type": "no.such.event"}', "invalid_value"),
        ('{"type": ["session.update"]}', "invalid_value"),
        ("{}", "invalid_value"),
        ('{"type": "session.update"}', "missing_required_parameter"),
        ('{"type": "conversation.item.create", "item": 1}', "missing_required_parameter"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter"),
        ('{"type": "response.create", "response": 1}', "missing_required_parameter"),
        ('{"type": "conversation.item.truncate", "item_id": "x"}', "missing_required_parameter"),
        (
            '{"type": "conversation.item.truncate", "item_id": "x", "audio_end_ms": 1}',
            "item_truncate_invalid_item_id",
        ),
        ('{"type": "conversation.item.delete", "item_id": "x"}', "item_delete_invalid_item_id"),
    ],
)
async def test_a_mistake_is_answered_with_an_error_event_and_the_session_goes_on(
    simulator: Simulator, connect: Any, frame: str, code: str
) -> None:
    async with connect(simulator) as talk:
        await talk.socket.send(frame)
        error = (await talk.until("error"))["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", code)
        assert (await talk.respond())["status"] == "completed"


_TOOL_CALL = {"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": '{"secret": 1}'}
_RETRIEVED: TypeAdapter[Any] = TypeAdapter(ConversationItemRetrieved)


@pytest.mark.parametrize(
    ("item", "kept"),
    [
        (
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "secret"}]},
            {"role": "user", "content": [{"type": "input_text"}]},
        ),
        (
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "secret"}]},
            {"role": "system", "content": [{"type": "input_text"}]},
        ),
        (
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "secret"}]},
            {"role": "assistant", "content": [{"type": "output_text"}]},
        ),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "secret"}]},
            {"role": "user", "content": [{"type": "input_image"}]},
        ),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "c2VjcmV0"}]},
            {"role": "user", "content": [{"type": "input_audio", "transcript": None}]},
        ),
        (_TOOL_CALL, {**_TOOL_CALL, "arguments": ""}),
        (
            {"type": "function_call_output", "call_id": "call_1", "output": "secret"},
            {"type": "function_call_output", "call_id": "call_1", "output": ""},
        ),
        ({"content": "secret"}, {"type": "message", "role": "user", "content": []}),
    ],
)
async def test_an_item_is_retrieved_as_what_it_is_without_what_it_says(
    simulator: Simulator, connect: Any, item: dict[str, Any], kept: dict[str, Any]
) -> None:
    async with connect(simulator) as talk:
        await talk.send("conversation.item.create", item={**item, "id": "item_1"})
        await talk.send("conversation.item.retrieve", item_id="item_1")
        event = await talk.until("conversation.item.retrieved")
    assert event["item"] == {
        "type": "message",
        "id": "item_1",
        "object": "realtime.item",
        "status": "completed",
        **kept,
    }
    _RETRIEVED.validate_python(event)


@pytest.mark.parametrize("modality", ["audio", "text"])
async def test_what_was_said_is_retrieved_as_the_speech_of_its_speaker(
    simulator: Simulator, connect: Any, modality: str
) -> None:
    # Too little for an utterance, which would be answered at once.
    sound = base64.b64encode(bytes(48 * 400)).decode()
    async with connect(simulator) as talk:
        await talk.send("input_audio_buffer.append", audio=sound)
        await talk.send("input_audio_buffer.commit")
        user = (await talk.until("conversation.item.done"))["item"]
        [assistant] = (await talk.respond(output_modalities=[modality]))["output"]
        found = []
        for said in (user, assistant):
            await talk.send("conversation.item.retrieve", item_id=said["id"])
            event = await talk.until("conversation.item.retrieved")
            _RETRIEVED.validate_python(event)
            found.append(event["item"])
    part = {"type": "output_audio", "transcript": None} if modality == "audio" else {"type": "output_text"}
    assert found == [user, {**assistant, "content": [part]}]


async def test_binary_frames_are_read_like_text(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        await talk.socket.send(json.dumps({"type": "response.create"}).encode())
        await talk.until("response.done")


async def test_items_are_confirmed_without_their_audio_and_counted_by_modality(
    simulator: Simulator, connect: Any
) -> None:
    parts = [
        {"type": "input_text", "text": "1234" * 5},
        {"type": "input_audio", "audio": base64.b64encode(bytes(48 * 1000)).decode()},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
    ]
    async with connect(simulator) as talk:
        await talk.send("conversation.item.create", item={"type": "message", "role": "user", "content": parts})
        added, done = await talk.until("conversation.item.added"), await talk.until("conversation.item.done")
        details = (await talk.respond())["usage"]["input_token_details"]
    assert added["item"] == done["item"]
    assert added["item"]["id"].startswith("item_")
    assert "audio" not in added["item"]["content"][1]
    assert (details["text_tokens"], details["audio_tokens"], details["image_tokens"]) == (140 + 5, 10, 194)
    quantities = simulator.truth.as_json()["usages"][0]["quantities"]
    assert quantities["image.input"] == 194


async def test_truncated_audio_and_deleted_items_leave_the_next_input(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        answer = await talk.respond()
        item_id = answer["output"][0]["id"]
        await talk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=500)
        await talk.until("conversation.item.truncated")
        second = await talk.respond()
        assert second["usage"]["input_token_details"]["audio_tokens"] == 10
        for item in (item_id, second["output"][0]["id"]):
            await talk.send("conversation.item.delete", item_id=item)
            await talk.until("conversation.item.deleted")
        assert (await talk.respond())["usage"]["input_tokens"] == 140


async def test_the_session_event_says_the_merged_configuration(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        created = await talk.until("session.created")
        await talk.send("session.update", session={"audio": {"input": {"transcription": {"model": "whisper-1"}}}})
        updated = await talk.until("session.updated")
    assert created["session"]["audio"]["input"]["transcription"] is None
    assert updated["session"]["audio"]["input"]["transcription"] == {"model": "whisper-1"}
    assert updated["session"]["id"] == created["session"]["id"]


@pytest.mark.parametrize(("order", "start"), [("type_first", '{"type":'), ("event_id_first", '{"event_id":"event_')])
async def test_frames_have_the_chosen_key_order(simulator: Simulator, connect: Any, order: str, start: str) -> None:
    async with connect(simulator, f"/v1/realtime?model=gpt-realtime&sim_key_order={order}") as talk:
        await talk.respond()
    assert all(frame.startswith(start) for frame in talk.frames)


async def test_a_tool_result_is_text_of_the_next_input(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        item = {"type": "function_call_output", "call_id": "call_1", "output": "1234" * 6}
        await talk.send("conversation.item.create", item=item)
        assert (await talk.respond())["usage"]["input_tokens"] == 140 + 6


async def test_half_a_surrogate_pair_is_given_back_as_it_came(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        await talk.send("session.update", session={"instructions": "\ud800"})
        assert (await talk.until("session.updated"))["session"]["instructions"] == "\ud800"


@pytest.mark.parametrize("depth", [900, 960, 985, 3000])
async def test_configuration_nested_beyond_reason_does_not_end_the_session(
    simulator: Simulator, connect: Any, depth: int
) -> None:
    deep = '{"tools":' * depth + "1" + "}" * depth
    async with connect(simulator) as talk:
        for _ in range(2):
            await talk.socket.send(f'{{"type":"session.update","session":{deep}}}')
        await talk.settled()
        await talk.respond()
