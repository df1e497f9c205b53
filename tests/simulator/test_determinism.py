from __future__ import annotations

from typing import Any

from realtime_spend.simulator import Outcome, SessionOptions, Simulator, SimulatorOptions

_INSTANTS = {"at", "opened_at", "closed_at"}
_WEIGHTS = tuple(
    (outcome, 1.0) for outcome in Outcome if outcome not in {Outcome.DROPPED, Outcome.NEVER_FINISHED}
)  # fmt: skip


def _without_instants(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_instants(one) for key, one in value.items() if key not in _INSTANTS}
    return [_without_instants(one) for one in value] if isinstance(value, list) else value


async def _converse(seed: int, connect: Any) -> tuple[list[list[str]], Any]:
    heard = []
    async with Simulator(SimulatorOptions(seed=seed, session=SessionOptions(weights=_WEIGHTS))) as simulator:
        for _ in range(2):
            async with connect(simulator) as talk:
                update = {"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}
                await talk.send("session.update", session=update)
                for _ in range(8):
                    await talk.say()
                    await talk.until("response.done")
                    await talk.settled()
            heard.append([frame for frame in talk.frames if '"expires_at"' not in frame])
        await simulator.wait_idle()
        return heard, _without_instants(simulator.truth.as_json())


async def test_the_same_seed_gives_the_same_session_frame_by_frame(connect: Any) -> None:
    assert await _converse(3, connect) == await _converse(3, connect)


async def test_another_seed_gives_other_ids_and_other_numbers(connect: Any) -> None:
    (_, one), (_, other) = await _converse(3, connect), await _converse(4, connect)
    ids = [{usage["id"] for usage in truth["usages"]} for truth in (one, other)]
    assert not ids[0] & ids[1]
    assert len(ids[0]) == len(one["usages"])
    assert one["totals"] != other["totals"]
    first, second = one["sessions"]
    assert first["id"] != second["id"]
