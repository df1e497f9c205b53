from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
import websockets

from realtime_spend.simulator import Deployment, Scope, SessionOptions, Simulator, SimulatorOptions

DEPLOYMENTS = {
    "voice": Deployment(model="gpt-realtime-mini", version="2025-12-15", scope=Scope.DATAZONE),
    "odd": Deployment(model="gpt-realtime-2"),
}
PREVIEW = "/openai/realtime?api-version=2025-04-01-preview&deployment="
BETA = {"OpenAI-Beta": "realtime=v1"}


@pytest.mark.parametrize(
    ("path", "headers", "said", "billed"),
    [
        ("/v1/realtime?model=gpt-realtime", {}, "gpt-realtime", ("gpt-realtime", None, "global")),
        (
            "/v1/realtime?model=gpt-realtime-2025-08-28",
            {},
            "gpt-realtime-2025-08-28",
            ("gpt-realtime", "2025-08-28", "global"),
        ),
        (
            "/v1/realtime?model=gpt-4o-realtime-preview",
            BETA,
            "gpt-4o-realtime-preview-2024-12-17",
            ("gpt-4o-realtime-preview", "2024-12-17", "global"),
        ),
        ("/v1/realtime?model=brand-new", {}, "brand-new", ("brand-new", None, "global")),
        (
            f"{PREVIEW}voice",
            {},
            "gpt-realtime-mini-2025-12-15",
            ("gpt-realtime-mini", "2025-12-15", "datazone"),
        ),
        (
            "/openai/v1/realtime?model=voice",
            {},
            "gpt-realtime-mini",
            ("gpt-realtime-mini", "2025-12-15", "datazone"),
        ),
        (f"{PREVIEW}odd", {}, "gpt-realtime-2", ("gpt-realtime-2", None, "global")),
    ],
)
async def test_each_service_says_its_model_in_its_own_way(
    connect: Any, path: str, headers: dict[str, str], said: str, billed: tuple[str, str | None, str]
) -> None:
    async with Simulator(SimulatorOptions(deployments=DEPLOYMENTS)) as simulator:
        async with connect(simulator, path, additional_headers=headers) as talk:
            created = await talk.until("session.created")
            await talk.respond()
        assert created["session"]["model"] == said
        usage = simulator.truth.as_json()["usages"][0]
        assert (usage["model"], usage["version"], usage["scope"]) == billed
        assert usage["provider"] == ("azure.ai.openai" if path.startswith("/openai/") else "openai")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/openai/v1/realtime?model=nobody", 404, "DeploymentNotFound"),
        (f"{PREVIEW}nobody", 404, "DeploymentNotFound"),
        ("/openai/realtime?deployment=voice", 400, "MissingApiVersionParameter"),
        ("/v1/realtime", 400, "missing_model"),
        ("/v1/realtime?model=gpt-realtime&sim_delta=1", 400, "invalid_simulator_option"),
    ],
)
async def test_what_a_service_would_refuse_is_refused_with_a_json_error(path: str, status: int, code: str) -> None:
    async with Simulator(SimulatorOptions(deployments=DEPLOYMENTS)) as simulator:
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(f"ws://127.0.0.1:{simulator.port}{path}", proxy=None)
        assert refused.value.response.status_code == status
        assert json.loads(refused.value.response.body)["error"]["code"] == code
        assert simulator.truth.as_json()["counts"]["sessions"] == 0


async def test_any_deployment_can_be_accepted_as_the_name_of_a_model(connect: Any) -> None:
    async with Simulator(SimulatorOptions(accept_any_deployment=True)) as simulator:
        async with connect(simulator, f"{PREVIEW}gpt-realtime-2025-08-28") as talk:
            created = await talk.until("session.created")
        assert created["session"]["model"] == "gpt-realtime-2025-08-28"


async def test_more_sessions_than_allowed_are_refused(connect: Any) -> None:
    async with Simulator(SimulatorOptions(max_sessions=1)) as simulator, connect(simulator) as talk:
        await talk.until("session.created")
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(f"ws://127.0.0.1:{simulator.port}/v1/realtime?model=m", proxy=None)
        assert refused.value.response.status_code == 429


async def test_the_truth_and_the_health_can_be_read_over_http(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk, aiohttp.ClientSession(simulator.url) as http:
        await talk.respond()
        async with http.get("/healthz") as answer:
            assert await answer.json() == {"status": "ok", "sessions": 1}
        async with http.get("/truth") as answer:
            assert await answer.json() == simulator.truth.as_json()
        async with http.get("/v1/realtime?model=gpt-realtime") as answer:
            assert answer.status == 426


async def test_a_sideband_sees_all_but_the_audio_and_is_not_greeted(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, "/v1/realtime?model=gpt-realtime&sim_call_id=rtc_1") as talk:
        await talk.until("session.created")
        async with connect(simulator, "/v1/realtime?call_id=rtc_1") as side:
            await side.send("session.update", session={"instructions": "Be kind."})
            updated = await side.until("session.updated")
            done = await talk.respond()
            seen = (await side.until("response.done"))["response"]
        await talk.respond()
    assert side.types()[0] == "session.updated"
    assert updated["session"]["model"] == "gpt-realtime"
    assert seen == done
    assert "response.output_audio_transcript.delta" in side.types()
    assert "response.output_audio.delta" not in side.types()
    assert "response.output_audio.delta" in talk.types()
    assert simulator.truth.as_json()["counts"]["sessions"] == 1
    assert simulator.truth.as_json()["counts"]["responses"] == 2


async def test_a_sideband_ends_with_its_call(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        session_id = (await talk.until("session.created"))["session"]["id"]
        async with connect(simulator, f"/v1/realtime?call_id={session_id}") as side:
            await talk.socket.close()
            closed = await side.until_closed()
    assert closed.rcvd is not None
    await simulator.wait_idle()


async def test_a_sideband_to_a_call_from_elsewhere_leads_it(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, "/v1/realtime?call_id=rtc_elsewhere") as side:
        await side.send("session.update", session={"model": "gpt-realtime-mini"})
        updated = await side.until("session.updated")
        await side.respond()
    assert side.types()[0] == "session.updated"
    assert updated["session"]["model"] == "gpt-realtime-mini"
    truth = simulator.truth.as_json()
    assert truth["usages"][0]["model"] == truth["sessions"][0]["model"] == "gpt-realtime-mini"


async def test_a_sideband_cannot_name_what_is_not_deployed(connect: Any) -> None:
    deployments = {"gpt-realtime": Deployment(model="gpt-realtime")}
    async with (
        Simulator(SimulatorOptions(deployments=deployments)) as simulator,
        connect(simulator, "/openai/v1/realtime?call_id=rtc_1") as side,
    ):
        await side.send("session.update", session={"model": "nobody"})
        assert (await side.until("session.updated"))["session"]["model"] == "gpt-realtime"


async def test_a_server_that_stops_takes_no_new_session(simulator: Simulator) -> None:
    simulator._stopping = True
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(f"ws://127.0.0.1:{simulator.port}/v1/realtime?model=m", proxy=None)
    assert refused.value.response.status_code == 503


async def test_stopping_closes_every_socket_and_completes_the_truth(connect: Any) -> None:
    simulator = Simulator()
    await simulator.start()
    async with connect(simulator, "/v1/realtime?model=gpt-realtime&sim_outcomes=never_finished") as talk:
        await talk.send("response.create")
        await talk.until("response.created")
        await simulator.stop()
        closed = await talk.until_closed()
    assert closed.rcvd is not None
    assert closed.rcvd.code == 1001
    truth = simulator.truth.as_json()
    assert truth["counts"]["lost"] == 1
    assert truth["sessions"][0]["ended_by"] == "shutdown"
    await simulator.stop()


async def test_a_simulator_starts_once_and_has_no_port_before() -> None:
    simulator = Simulator()
    with pytest.raises(RuntimeError):
        _ = simulator.url
    async with simulator:
        with pytest.raises(RuntimeError):
            await simulator.start()
        with pytest.raises(OSError, match="address"):
            await Simulator(SimulatorOptions(port=simulator.port)).start()


async def test_waiting_for_sessions_to_end_has_an_end(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        await talk.until("session.created")
        with pytest.raises(TimeoutError):
            await simulator.wait_idle(0.01)


@pytest.mark.parametrize("fragments", [1, 4])
async def test_a_client_that_does_not_read_cannot_hold_up_the_stop(connect: Any, fragments: int) -> None:
    options = SessionOptions(deltas=20_000, delta_bytes=65_536, fragments=fragments)
    simulator = Simulator(SimulatorOptions(session=options))
    await simulator.start()
    async with connect(simulator, max_queue=1) as talk:
        await talk.send("response.create")
        await talk.until("response.created")
        talk.socket.transport.pause_reading()
        await asyncio.sleep(0.2)  # until the buffers of both ends are full
        async with asyncio.timeout(30):
            await simulator.stop()
        talk.socket.transport.abort()
    assert simulator.truth.as_json()["counts"]["lost"] == 1
