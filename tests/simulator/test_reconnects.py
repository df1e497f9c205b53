"""Servers that close or cut: clients come back, and each time it is a new session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from openai import AsyncOpenAI
from openai.types.realtime import ResponseDoneEvent

if TYPE_CHECKING:
    from realtime_spend.simulator import Simulator


@pytest.mark.parametrize("code", [1001, 1006, 1012])
async def test_the_openai_client_reconnects_into_a_new_session(simulator: Simulator, code: int) -> None:
    sessions: list[str] = []
    responses: list[str] = []
    query: dict[str, object] = {"sim_close_after": "2", "sim_close_code": str(code)}
    reconnected: list[Any] = []
    async with (
        asyncio.timeout(30),
        AsyncOpenAI(api_key="any", websocket_base_url=f"ws://127.0.0.1:{simulator.port}/v1") as client,
        client.realtime.connect(
            model="gpt-realtime",
            extra_query=query,
            on_reconnecting=reconnected.append,
            initial_delay=0.01,
        ) as connection,
    ):
        async for event in connection:
            if event.type == "session.created":
                fields: Any = event.session.model_extra
                sessions.append(fields["id"])
            if isinstance(event, ResponseDoneEvent) and event.response.id:
                responses.append(event.response.id)
            if len(sessions) == 3:
                break
            if event.type in {"session.created", "rate_limits.updated"} and len(responses) < 2 * len(sessions):
                await connection.response.create()
    await simulator.wait_idle()
    assert len(reconnected) == 2
    assert len(set(sessions)) == 3
    truth = simulator.truth.as_json()
    assert [session["id"] for session in truth["sessions"]] == sessions
    assert {usage["id"] for usage in truth["usages"]} >= set(responses)
    assert [usage["session"] for usage in truth["usages"]][:4] == [sessions[0]] * 2 + [sessions[1]] * 2
    ended = {session["ended_by"] for session in truth["sessions"][:2]}
    assert ended == ({"dropped"} if code == 1006 else {"server"})


@pytest.mark.parametrize("code", [1005, 1006, 1015])
async def test_a_code_that_no_frame_can_carry_cuts_the_connection(
    simulator: Simulator, connect: Any, code: int
) -> None:
    async with connect(simulator, f"/v1/realtime?model=m&sim_close_after=1&sim_close_code={code}") as talk:
        await talk.send("response.create")
        closed = await talk.until_closed()
    assert closed.rcvd is None
    assert simulator.truth.as_json()["counts"]["reported"] == 1
