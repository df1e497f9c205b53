"""A load of sessions from a seed: each goes as planned, and the truth is the same however many are open at once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from rich.console import Console

from realtime_spend.simulator import LoadOptions, Outcome, SessionOptions, Simulator, SimulatorOptions, drive
from realtime_spend.simulator.load import since
from realtime_spend.simulator.load_plan import plan_session
from realtime_spend.simulator.load_report import print_load
from realtime_spend.simulator.wire import Dialect

if TYPE_CHECKING:
    from realtime_spend.simulator import LoadResult

_SESSIONS = 120


async def _loaded(
    concurrency: int, *, load_seed: int = 5, pace: float = 0.0, sessions: int = _SESSIONS
) -> tuple[LoadResult, dict[str, Any]]:
    load = LoadOptions(sessions=sessions, concurrency=concurrency, seed=load_seed, pace=pace)
    async with Simulator(SimulatorOptions(seed=5)) as simulator:
        result = await drive(simulator.url, load)
        return result, simulator.truth.as_json()


def _numbers(truth: dict[str, Any]) -> Counter[str]:
    """What was used and how it ended, whatever ids it had."""
    parts = ("kind", "status", "usage", "outcome", "model", "quantities", "cost")
    return Counter(json.dumps([usage[part] for part in parts]) for usage in truth["usages"])


async def test_sessions_go_as_planned_and_the_truth_is_the_same_one_by_one_or_many_at_once() -> None:
    one, alone = await _loaded(1)
    many, together = await _loaded(40)
    assert one.ended == many.ended
    assert one.ended["failed"] == 0
    assert one.first_failure is None
    plans = [plan_session(5, number) for number in range(_SESSIONS)]
    assert one.ended["dropped"] == sum(plan.turns[-1].outcome is Outcome.DROPPED for plan in plans) > 0
    assert _numbers(alone) == _numbers(together)
    assert alone["totals"] == together["totals"]
    assert alone["cost"] == together["cost"]
    assert one.truth == many.truth == {key: alone[key] for key in ("totals", "cost", "counts")}
    planned = Counter(str(turn.outcome) for plan in plans if plan.model for turn in plan.turns)
    assert planned == Counter(usage["outcome"] for usage in alone["usages"] if usage["kind"] == "response")


async def test_the_totals_are_the_sum_of_the_single_usages() -> None:
    result, truth = await _loaded(20)
    costs = [Decimal(usage["cost"]) for usage in truth["usages"] if usage["cost"] is not None]
    assert Decimal(result.truth["cost"]) == sum(costs) > 0
    added: Counter[tuple[str, str]] = Counter()
    for usage in truth["usages"]:
        for part, quantity in usage["quantities"].items():
            added[f"{usage['model']} {usage['version']}", part] += Decimal(quantity)  # type: ignore[assignment]
    told = {
        (f"{row['model']} {row['version']}", f"{row['modality']}.{row['component']}"): Decimal(row["quantity"])
        for row in result.truth["totals"]
    }
    assert told == added


def test_the_plans_of_a_seed_hold_everything_a_session_can_be() -> None:
    plans = [plan_session(1, number) for number in range(600)]
    assert plans == [plan_session(1, number) for number in range(600)]
    assert plans != [plan_session(2, number) for number in range(600)]
    assert {plan.dialect for plan in plans} == set(Dialect)
    assert {plan.transcription is None for plan in plans} == {True, False}
    assert None in {plan.model for plan in plans}
    assert {len(plan.turns) for plan in plans} == {1, 2, 3, 4}
    assert {bool(turn.speech_ms) for plan in plans for turn in plan.turns} == {True, False}
    ends = {turn.outcome for plan in plans for turn in plan.turns}
    assert ends == set(Outcome) - {Outcome.NO_DETAILS}


async def test_a_server_that_has_served_before_is_not_charged_for_it(connect: Any) -> None:
    async with Simulator(SimulatorOptions(seed=5)) as simulator:
        async with connect(simulator, "/v1/realtime?model=gpt-realtime") as talk:
            await talk.respond()
            first = await drive(simulator.url, LoadOptions(sessions=30, concurrency=10, seed=5))
        second = await drive(simulator.url + "/", LoadOptions(sessions=30, concurrency=3, seed=5))
        usages = simulator.truth.as_json()["usages"]
    assert first.truth == second.truth
    assert first.truth["counts"]["sessions"] == 30
    assert len({usage["id"] for usage in usages}) == len(usages)


async def test_sessions_that_are_refused_have_failed_and_the_first_says_why() -> None:
    refusing = SimulatorOptions(max_sessions=1, session=SessionOptions(rate=200.0))
    advanced: list[int] = []
    async with Simulator(refusing) as simulator:
        result = await drive(simulator.url, LoadOptions(sessions=20, concurrency=10), advanced.append)
    assert sum(advanced) == 20
    assert 0 < result.ended["failed"] < 20
    assert result.first_failure is not None
    assert "429" in result.first_failure


async def test_a_server_that_answers_otherwise_than_planned_is_noticed() -> None:
    closing = SimulatorOptions(session=SessionOptions(close_after=1))
    async with Simulator(closing) as simulator:
        result = await drive(simulator.url, LoadOptions(sessions=12, concurrency=4, seed=5))
    several = [plan for plan in (plan_session(5, number) for number in range(12)) if plan.model and len(plan.turns) > 1]
    assert result.ended["failed"] == len(several)


async def test_what_is_no_simulator_is_refused() -> None:
    with pytest.raises(ValueError, match="http://HOST:PORT"):
        await drive("example", LoadOptions(sessions=1))
    with pytest.raises(aiohttp.ClientConnectorError):
        await drive("http://127.0.0.1:1", LoadOptions(sessions=1))
    async with Simulator() as simulator:
        with pytest.raises(aiohttp.ClientResponseError):
            await drive(f"{simulator.url}/elsewhere", LoadOptions(sessions=1))


async def test_paced_sessions_do_not_begin_before_their_time() -> None:
    started = datetime.now(UTC)
    result, truth = await _loaded(10, pace=5.0, sessions=6)
    assert result.ended["failed"] == 0
    opened = sorted(datetime.fromisoformat(session["opened_at"]) for session in truth["sessions"])
    assert len(opened) == 6
    assert all(at >= started + number * timedelta(seconds=0.2) for number, at in enumerate(opened))


async def test_nothing_is_left_running() -> None:
    before = asyncio.all_tasks()
    await _loaded(20, sessions=40)
    for _ in range(500):
        if asyncio.all_tasks() == before:
            return
        await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == before


def test_a_difference_of_totals_keeps_the_unknown_unknown() -> None:
    place = {"provider": "openai", "model": "m", "version": None, "modality": "audio"}
    before = {
        "totals": [
            {**place, "component": "input", "quantity": 2, "cost": None},
            {**place, "component": "duration", "quantity": "3", "cost": "0.3"},
            {**place, "component": "output", "quantity": 9, "cost": "0.1"},
        ],
        "cost": "0.4",
        "counts": {"sessions": 1},
    }
    after = {
        "totals": [
            {**place, "component": "input", "quantity": 5, "cost": None},
            {**place, "component": "duration", "quantity": "3.5", "cost": "0.35"},
            {**place, "component": "output", "quantity": 9, "cost": "0.1"},
            {**place, "component": "cached_input", "quantity": 1, "cost": "0.2"},
        ],
        "cost": "0.65",
        "counts": {"sessions": 3, "new": 1},
    }
    found = since(before, after)
    assert [(row["component"], row["quantity"], row["cost"]) for row in found["totals"]] == [
        ("input", 3, None),
        ("duration", "0.5", "0.05"),
        ("cached_input", 1, "0.2"),
    ]
    assert found["cost"] == "0.25"
    assert found["counts"] == {"sessions": 2, "new": 1}


async def test_the_table_holds_every_total_and_what_went_wrong() -> None:
    result, _ = await _loaded(10, sessions=15)
    result.first_failure = "session 3: it rained"
    console = Console(file=StringIO(), width=160, markup=False)
    held = result.as_json()
    held["totals"].append(
        {"model": "m", "version": None, "modality": "text", "component": "input", "quantity": 1, "cost": None}
    )
    print_load(console, held)
    assert isinstance(console.file, StringIO)
    printed = console.file.getvalue()
    assert held["cost"] in printed
    assert printed.count("\n") == len(held["totals"]) + 6
    assert "unknown" in printed
    assert "it rained" in printed
