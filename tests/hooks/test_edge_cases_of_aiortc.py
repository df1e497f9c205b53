"""WebRTC sessions that Python itself holds: two real peers, and on `oai-events` what a service says."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from aiortc import RTCDataChannel, RTCPeerConnection
from opentelemetry.instrumentation.utils import suppress_instrumentation
from websockets.sync.client import connect

from realtime_spend import RealtimeInstrumentor, instrumentor
from realtime_spend.simulator import SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.hooks.conftest import Meter, MeterWith

PATIENCE = 30.0


@pytest.fixture(scope="module")
def recorded() -> tuple[list[str], dict[str, Any]]:
    """Return what a session's events were and what they come to, with nothing instrumented."""
    outcomes = "completed,cancelled,failed,unsplit_cache,usage_missing,never_finished"
    frames: list[str] = []
    with run_in_thread(SimulatorOptions(seed=51)) as simulator:
        url = f"ws://127.0.0.1:{simulator.port}/v1/realtime?model=gpt-realtime&sim_outcomes={outcomes}&sim_deltas=2"
        with connect(url, proxy=None) as connection:
            for last in ["rate_limits.updated"] * 5 + ["response.created"]:
                connection.send('{"type": "response.create"}')
                frames.append(str(connection.recv(20)))
                while json.loads(frames[-1])["type"] != last:
                    frames.append(str(connection.recv(20)))
        simulator.wait_idle()
        truth = simulator.truth.as_json()
    return frames, truth


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call between a program and what stands for the service, with the channel of each."""

    ours: RTCDataChannel
    theirs: RTCDataChannel
    peer: RTCPeerConnection


@contextlib.asynccontextmanager
async def calling(label: str = "oai-events", *, opened_by: str = "program") -> AsyncIterator[Call]:
    """Set up a call; the channel is opened by the program, as with OpenAI, or by the service."""
    program, service = RTCPeerConnection(), RTCPeerConnection()
    opener, other = (program, service) if opened_by == "program" else (service, program)
    answered: asyncio.Future[RTCDataChannel] = asyncio.get_running_loop().create_future()
    # The service's side of the channel is not ours to watch.
    with suppress_instrumentation() if opener is service else contextlib.nullcontext():
        first = opener.createDataChannel(label)
    opened = asyncio.Event()
    first.on("open", opened.set)
    other.on("datachannel", answered.set_result)
    try:
        await opener.setLocalDescription(await opener.createOffer())
        await other.setRemoteDescription(opener.localDescription)
        await other.setLocalDescription(await other.createAnswer())
        await opener.setRemoteDescription(other.localDescription)
        async with asyncio.timeout(PATIENCE):
            await opened.wait()
            second = await answered
        ours, theirs = (first, second) if opener is program else (second, first)
        yield Call(ours=ours, theirs=theirs, peer=program)
    finally:
        await asyncio.gather(program.close(), service.close())


async def listen(call: Call, frames: list[str]) -> list[Any]:
    """Have the service say all this, and return what the program's listener was given."""
    heard: list[Any] = []
    all_heard = asyncio.Event()

    def on_message(message: Any) -> None:
        heard.append(message)
        if len(heard) == len(frames):
            all_heard.set()

    call.ours.on("message", on_message)
    for frame in frames:
        call.theirs.send(frame)
    async with asyncio.timeout(PATIENCE):
        await all_heard.wait()
    return heard


@pytest.mark.parametrize("opened_by", ["program", "service"])
async def test_a_call_is_counted_as_the_truth_has_it_and_the_program_hears_the_same(
    recorded: tuple[list[str], dict[str, Any]], meter_with: MeterWith, opened_by: str
) -> None:
    frames, truth = recorded
    async with calling(opened_by=opened_by) as call:
        assert await listen(call, frames) == frames
    with meter_with() as meter:
        async with calling(opened_by=opened_by) as call:
            assert await listen(call, frames) == frames
            # The other peer's channel heard nothing, so that it is a session without anything in it.
            assert meter.sum("realtime_spend.usages", usage="lost") == 0
        assert truth["counts"]["lost"] == 1
        assert meter.sum("realtime_spend.session.active") == 0
        # Both channels are in this process, where the service's would be in another.
        meter.agrees_with(truth, sessions=meter.sessions())
        assert {record["server"] for record in meter.records()} == {"oai-events"}


async def test_bytes_are_counted_as_text_is(recorded: tuple[list[str], dict[str, Any]], meter: Meter) -> None:
    frames, truth = recorded
    async with calling() as call:
        heard = await listen(call, [frame.encode() for frame in frames])  # type: ignore[misc]
        assert heard == [frame.encode() for frame in frames]
    meter.agrees_with(truth, sessions=meter.sessions())


async def test_who_talks_to_azure_this_way_says_so(
    recorded: tuple[list[str], dict[str, Any]], meter_with: MeterWith
) -> None:
    with meter_with(endpoints="oai-events=azure.ai.openai") as meter:
        async with calling() as call:
            await listen(call, recorded[0])
        assert {record["provider"] for record in meter.records()} == {"azure.ai.openai"}


async def test_a_channel_of_another_name_is_left_alone(
    recorded: tuple[list[str], dict[str, Any]], meter_with: MeterWith
) -> None:
    async with calling("chat") as call:
        alone = set(vars(call.ours))
    with meter_with(sniff=True) as meter:
        async with calling("chat") as call:
            assert await listen(call, recorded[0]) == recorded[0]
            assert set(vars(call.ours)) == alone
        assert meter.records() == []
        assert meter.sessions() == 0


async def test_listeners_are_counted_and_named_as_before(meter_with: MeterWith) -> None:
    async def seen() -> Any:
        async with calling() as call:

            def on_message(_message: str) -> None:
                pass

            before = call.ours.listeners("message"), sorted(call.ours.event_names())
            call.ours.on("message", on_message)
            during = call.ours.listeners("message") == [on_message], sorted(call.ours.event_names())
            told = call.ours.emit("message", "{}"), call.ours.emit("nobody listens")
            call.ours.remove_listener("message", on_message)
            return before, during, told, call.ours.readyState, call.ours.label

    alone = await seen()
    with meter_with():
        assert await seen() == alone


async def test_what_a_listener_raises_comes_to_the_program_as_before(meter_with: MeterWith) -> None:
    class OwnError(Exception):
        pass

    def failing(_message: str) -> None:
        raise OwnError("mine")

    async def raised() -> str:
        async with calling() as call:
            call.ours.on("message", failing)
            with pytest.raises(OwnError) as caught:
                call.ours.emit("message", "{}")
            return str(caught.value)

    alone = await raised()
    with meter_with():
        assert await raised() == alone


@pytest.mark.parametrize("ends", ["the channel", "the peer", "the service"])
async def test_however_a_call_ends_what_was_begun_is_lost(
    recorded: tuple[list[str], dict[str, Any]], meter: Meter, ends: str
) -> None:
    frames, truth = recorded
    async with calling() as call:
        closed = asyncio.Event()
        call.ours.on("close", closed.set)
        await listen(call, frames)
        if ends == "the channel":
            call.ours.close()
        elif ends == "the service":
            call.theirs.close()
        else:
            await call.peer.close()
        async with asyncio.timeout(PATIENCE):
            await closed.wait()
        assert meter.sum("realtime_spend.usages", usage="lost") == 1
    meter.agrees_with(truth, sessions=meter.sessions())


async def test_leaving_in_the_middle_of_a_call_leaves_the_channel_its_own_method(
    recorded: tuple[list[str], dict[str, Any]], meter_with: MeterWith
) -> None:
    frames, _ = recorded
    async with calling() as call:
        alone = set(vars(call.ours))
    before = dict(vars(RTCDataChannel))
    with meter_with() as meter:
        async with calling() as call:
            assert "emit" in vars(call.ours)
            assert await listen(call, frames[:1]) == frames[:1]
            RealtimeInstrumentor().uninstrument()
            assert set(vars(call.ours)) == alone
            assert await listen(call, frames[1:]) == frames[1:]
        assert meter.records() == []
        assert meter.sum("realtime_spend.session.active") == 0
    assert all(vars(RTCDataChannel)[name] is value for name, value in before.items())


async def test_a_suppressed_call_is_left_alone(recorded: tuple[list[str], dict[str, Any]], meter: Meter) -> None:
    with suppress_instrumentation():
        async with calling() as call:
            assert await listen(call, recorded[0]) == recorded[0]
            assert "emit" not in vars(call.ours)
    assert meter.records() == []


async def test_a_channel_dies_as_early_as_without_us(meter_with: MeterWith) -> None:
    async def alive() -> bool:
        async with calling() as call:
            left = weakref.ref(call.ours)
            await listen(call, ["{}"])
        del call
        gc.collect()
        gc.disable()
        try:
            await asyncio.sleep(0)
            return left() is not None
        finally:
            gc.enable()

    alone = await alive()
    with meter_with():
        assert await alive() == alone
        gc.collect()
        assert not any(hook._live for hook in instrumentor._HOOKS)


@pytest.mark.parametrize(
    "fault",
    [
        "realtime_spend.hooks.aiortc.AiortcHook.attach",
        "realtime_spend.observing.recognise",
        "realtime_spend.metering.Metering.begin",
        "realtime_spend.metering.Metering.take",
        "realtime_spend.watcher.Connection.close",
    ],
)
async def test_no_fault_of_ours_reaches_the_program(
    recorded: tuple[list[str], dict[str, Any]], meter: Meter, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("with a secret in it")

    monkeypatch.setattr("realtime_spend.containment.Containment.reraise", False)
    monkeypatch.setattr(fault, fail)
    async with calling() as call:
        assert await listen(call, recorded[0]) == recorded[0]
    assert any(kind.startswith("internal.") for kind in meter.errors())
