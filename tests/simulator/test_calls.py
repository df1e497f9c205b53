"""Calls: a browser's channel that hides what is billed, the sideband that sees it, and calls set up over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI
from openai.types.realtime import ResponseDoneEvent

from realtime_spend.simulator import Deployment, Simulator, SimulatorOptions

_OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
_BROWSER = "/v1/realtime?model=gpt-realtime&sim_call_id=rtc_1&webrtcfilter=on"
_SIDEBAND = "/v1/realtime?call_id=rtc_1"
_SOUND = "response.output_audio.delta"


async def test_the_filter_hides_all_that_is_billed_but_the_transcription(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, _BROWSER) as browser, connect(simulator, _SIDEBAND) as side:
        update = {"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}
        await browser.send("session.update", session=update)
        await side.until("session.updated")
        await browser.say()
        done = (await side.until("response.done"))["response"]
        await browser.until("response.output_audio_transcript.done")
    assert set(browser.types()) == {
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "conversation.item.input_audio_transcription.completed",
        "conversation.item.added",
        "response.output_audio_transcript.delta",
        "response.output_audio_transcript.done",
    }
    assert {"response.created", "conversation.item.input_audio_transcription.completed"} < set(side.types())
    truth = simulator.truth.as_json()
    told = {usage["kind"]: (usage["id"], usage["usage"]) for usage in truth["usages"]}
    assert told["response"] == (done["id"], "reported")
    assert told["transcription"][1] == "reported"
    assert truth["counts"]["hidden"] == 0


async def test_what_nobody_is_told_is_billed_all_the_same(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, _BROWSER) as browser:
        await browser.send("response.create")
        await browser.until("response.output_audio_transcript.done")
        async with connect(simulator, _SIDEBAND) as side:
            await side.respond()
    assert "response.done" not in browser.types()
    truth = simulator.truth.as_json()
    assert [usage["usage"] for usage in truth["usages"]] == ["hidden", "reported"]
    assert truth["counts"]["hidden"] == truth["counts"]["reported"] == 1
    hidden = truth["usages"][0]
    assert hidden["cost"] is not None
    in_total = {f"{row['modality']}.{row['component']}": row["quantity"] for row in truth["totals"]}
    assert all(in_total[part] > count for part, count in hidden["quantities"].items())


async def test_every_socket_of_a_call_gets_the_same_events_and_each_usage_is_counted_once(
    simulator: Simulator, connect: Any
) -> None:
    main_path = "/v1/realtime?model=gpt-realtime&sim_call_id=rtc_1"
    async with (
        connect(simulator, main_path) as main,
        connect(simulator, _SIDEBAND) as one,
        connect(simulator, f"{_SIDEBAND}&sim_fragments=3&sim_binary=0") as other,
    ):
        await main.until("session.created")
        for _ in range(3):
            await main.say()
            await main.until("response.done")
            await one.until("response.done")
            await other.until("response.done")
    without_sound = [frame for frame in main.frames[1:] if _SOUND not in frame]
    assert one.frames == other.frames
    assert [frame for frame in without_sound if frame in one.frames] == one.frames
    done = [event["response"]["id"] for event in one.of("response.done")]
    assert done == [event["response"]["id"] for event in main.of("response.done")]
    truth = simulator.truth.as_json()
    assert [usage["id"] for usage in truth["usages"]] == done
    assert truth["counts"]["sessions"] == 1


async def test_a_call_set_up_over_http_is_found_by_the_id_in_its_location(simulator: Simulator) -> None:
    async with (
        asyncio.timeout(20),
        AsyncOpenAI(
            api_key="any",
            base_url=f"{simulator.url}/v1",
            websocket_base_url=f"ws://127.0.0.1:{simulator.port}/v1",
        ) as client,
    ):
        answer = await client.realtime.calls.create(
            sdp=_OFFER, session={"type": "realtime", "model": "gpt-realtime-mini", "instructions": "Be brief."}
        )
        call_id = answer.response.headers["Location"].rpartition("/")[2]
        assert answer.response.status_code == 201
        assert (await answer.aread()).startswith(b"v=0")
        assert call_id.startswith("rtc_")
        async with client.realtime.connect(call_id=call_id) as sideband:
            await sideband.session.update(session={"type": "realtime"})
            first = await sideband.recv()
            await sideband.response.create()
            async for event in sideband:
                if isinstance(event, ResponseDoneEvent):
                    break
            assert first.type == "session.updated"
            assert first.session.type == "realtime"
            assert first.session.instructions == "Be brief."
            await client.realtime.calls.hangup(call_id)
            async for _ in sideband:  # until it is closed
                pass
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert truth["sessions"][0]["call_id"] == call_id
    assert [usage["model"] for usage in truth["usages"]] == ["gpt-realtime-mini"]


async def test_a_telephone_call_is_taken_and_then_found(simulator: Simulator, connect: Any) -> None:
    async with AsyncOpenAI(api_key="any", base_url=f"{simulator.url}/v1") as client:
        await client.realtime.calls.accept("rtc_phone", type="realtime", model="gpt-realtime-1.5")
    async with connect(simulator, "/v1/realtime?call_id=rtc_phone") as side:
        await side.respond()
    assert simulator.truth.as_json()["usages"][0]["model"] == "gpt-realtime-1.5"


async def test_a_call_of_azure_is_of_a_deployment_and_keeps_its_options(connect: Any) -> None:
    deployments = {"voice": Deployment(model="gpt-realtime-mini", version="2025-12-15")}
    async with Simulator(SimulatorOptions(deployments=deployments)) as simulator:
        async with (
            aiohttp.ClientSession(simulator.url) as http,
            http.post(
                "/openai/v1/realtime/calls?webrtcfilter=on&model=voice&sim_outcomes=cancelled",
                data=_OFFER,
                headers={"Content-Type": "application/sdp"},
            ) as answer,
        ):
            assert answer.status == 201
            location = answer.headers["Location"]
        assert location.startswith("/openai/v1/realtime/calls/rtc_")
        call_id = location.rpartition("/")[2]
        async with connect(simulator, f"/openai/v1/realtime?call_id={call_id}") as side:
            assert (await side.respond())["status"] == "cancelled"
        assert simulator.truth.as_json()["usages"][0]["version"] == "2025-12-15"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/realtime/calls", "no offer", 400),
        ("/v1/realtime/calls?sim_deltas=many", _OFFER, 400),
        ("/v1/realtime/calls/rtc_1/accept", "[]", 400),
        ("/v1/realtime/calls/rtc_1/accept", "{", 400),
        ("/v1/realtime/calls/rtc_1/accept?sim_deltas=many", "{}", 400),
        ("/v1/realtime/calls/rtc_1/hangup", "", 404),
    ],
)
async def test_a_call_that_cannot_be_set_up_is_refused(simulator: Simulator, path: str, body: str, status: int) -> None:
    async with aiohttp.ClientSession(simulator.url) as http, http.post(path, data=body) as answer:
        assert answer.status == status
        assert "message" in (await answer.json())["error"]


async def test_a_sideband_that_was_first_is_not_told_of_the_session(simulator: Simulator, connect: Any) -> None:
    async with (
        connect(simulator, "/v1/realtime?model=gpt-realtime&sim_call_id=rtc_1&sim_key_order=type_last") as main,
        connect(simulator, _SIDEBAND) as side,
    ):
        await main.until("session.created")
        await side.respond()
    assert "session.created" not in side.types()


async def test_only_so_many_calls_are_remembered(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime_spend.simulator.calls._MOST_CALLS", 2)
    async with aiohttp.ClientSession(simulator.url) as http:
        for number in range(5):
            async with http.post(f"/v1/realtime/calls/rtc_{number}/accept", json={"model": "m"}) as answer:
                assert answer.status == 200
    assert [simulator._calls.find(f"rtc_{number}") is not None for number in range(5)] == [False] * 3 + [True] * 2
