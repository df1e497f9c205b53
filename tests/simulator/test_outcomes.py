from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from realtime_spend.simulator.socket import Socket

if TYPE_CHECKING:
    from realtime_spend.simulator import Simulator

URL = "/v1/realtime?model=gpt-realtime"
BETA = {"additional_headers": {"OpenAI-Beta": "realtime=v1"}}


def _holds_together(usage: dict[str, Any]) -> None:
    heard, said = usage["input_token_details"], usage["output_token_details"]
    cached = heard["cached_tokens_details"]
    modalities = [key for key in cached if key.endswith("_tokens")]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens"] == sum(heard[modality] for modality in modalities)
    assert usage["output_tokens"] == said["text_tokens"] + said["audio_tokens"]
    assert heard["cached_tokens"] == sum(cached.values())
    assert all(cached[modality] <= heard[modality] for modality in modalities)
    assert all(count % 64 == 0 for count in cached.values())
    assert said.get("reasoning_tokens", 0) <= said["text_tokens"]


def _recorded(simulator: Simulator, **wanted: Any) -> list[dict[str, Any]]:
    usages = simulator.truth.as_json()["usages"]
    return [usage for usage in usages if all(usage[key] == value for key, value in wanted.items())]


@pytest.mark.parametrize("model", ["gpt-realtime", "gpt-realtime-2.1", "gpt-realtime-2025-08-28", "no-such-model"])
async def test_twenty_turns_keep_every_identity_and_the_truth_says_the_same(
    simulator: Simulator, connect: Any, model: str
) -> None:
    async with connect(simulator, f"/v1/realtime?model={model}") as talk:
        usages = []
        for _ in range(20):
            await talk.say()
            usages.append((await talk.until("response.done"))["response"]["usage"])
    for usage in usages:
        _holds_together(usage)
        assert ("reasoning_tokens" in usage["output_token_details"]) == (model == "gpt-realtime-2.1")
    inputs = [usage["input_tokens"] for usage in usages]
    assert inputs == sorted(set(inputs)), "the context grows with every turn"
    assert any(usage["input_token_details"]["cached_tokens_details"]["audio_tokens"] for usage in usages)
    totals = {(row["modality"], row["component"]): row for row in simulator.truth.as_json()["totals"]}
    seen_cached = sum(usage["input_token_details"]["cached_tokens_details"]["audio_tokens"] for usage in usages)
    seen_audio = sum(usage["input_token_details"]["audio_tokens"] for usage in usages)
    assert totals["audio", "cached_input"]["quantity"] == seen_cached
    assert totals["audio", "input"]["quantity"] == seen_audio - seen_cached
    price = None if model == "no-such-model" else Decimal("0.4") * seen_cached / 1_000_000
    said = totals["audio", "cached_input"]["cost"]
    assert (None if said is None else Decimal(said)) == price


async def test_what_was_said_in_one_turn_is_input_of_the_next(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        await talk.send("session.update", session={"instructions": "1234" * 25})
        first = (await talk.respond())["usage"]
        second = (await talk.respond())["usage"]
    assert first["input_token_details"]["text_tokens"] == 140 + 25
    said, heard = first["output_token_details"], second["input_token_details"]
    assert heard["audio_tokens"] == said["audio_tokens"]
    assert heard["text_tokens"] == 140 + 25 + said["text_tokens"]


@pytest.mark.parametrize(
    ("outcome", "reason"), [("cancelled", "turn_detected"), ("incomplete", "max_output_tokens"), ("completed", None)]
)
async def test_an_outcome_has_its_status_its_reason_and_its_usage(
    simulator: Simulator, connect: Any, outcome: str, reason: str | None
) -> None:
    async with connect(simulator, f"{URL}&sim_outcomes={outcome}&sim_deltas=8") as talk:
        response = await talk.respond()
    assert response["status"] == outcome
    assert (response["status_details"] or {}).get("reason") == reason
    _holds_together(response["usage"])
    deltas = {"cancelled": 4, "incomplete": 6, "completed": 8}
    assert len(talk.of("response.output_audio.delta")) == deltas[outcome]
    assert _recorded(simulator, id=response["id"], status=outcome, usage="reported", outcome=outcome)


async def test_a_failed_response_has_null_for_usage(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, f"{URL}&sim_outcomes=failed") as talk:
        response = await talk.respond()
    assert response["status"] == "failed"
    assert response["usage"] is None
    assert response["output"] == []
    recorded = _recorded(simulator, usage="missing", status="failed")
    assert [usage["quantities"] for usage in recorded] == [{}]


async def test_usage_can_be_left_out_altogether(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, f"{URL}&sim_outcomes=usage_missing") as talk:
        response = await talk.respond()
    assert response["status"] == "completed"
    assert "usage" not in response
    assert _recorded(simulator, usage="missing", status="completed")


async def test_a_cache_can_come_without_its_split_and_the_truth_knows_it(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, f"{URL}&sim_outcomes=completed,unsplit_cache") as talk:
        await talk.respond()
        details = (await talk.respond())["usage"]["input_token_details"]
    assert details["cached_tokens"] >= 64
    assert "cached_tokens_details" not in details
    quantities = _recorded(simulator, cached_split=False)[0]["quantities"]
    assert quantities["text.cached_input"] + quantities.get("audio.cached_input", 0) == details["cached_tokens"]


async def test_details_can_be_left_out(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, f"{URL}&sim_outcomes=no_details") as talk:
        usage = (await talk.respond())["usage"]
    assert set(usage) == {"total_tokens", "input_tokens", "output_tokens"}
    assert sum(_recorded(simulator, outcome="no_details")[0]["quantities"].values()) == usage["total_tokens"]


async def test_a_response_that_is_never_finished_is_lost_when_the_socket_ends(
    simulator: Simulator, connect: Any
) -> None:
    async with connect(simulator, f"{URL}&sim_outcomes=never_finished,completed&sim_deltas=4") as talk:
        await talk.send("response.create")
        lost = (await talk.until("response.created"))["response"]["id"]
        await talk.settled()
        assert not _recorded(simulator, usage="lost")
        finished = (await talk.respond())["id"]
    await simulator.wait_idle()
    assert [usage["id"] for usage in _recorded(simulator, usage="lost")] == [lost]
    assert [usage["id"] for usage in _recorded(simulator, usage="reported")] == [finished]


async def test_a_dropped_connection_loses_the_response(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, f"{URL}&sim_outcomes=dropped") as talk:
        await talk.send("response.create")
        closed = await talk.until_closed()
    assert closed.rcvd is None
    assert "response.created" in talk.types()
    assert "response.done" not in talk.types()
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert [(usage["usage"], usage["status"]) for usage in truth["usages"]] == [("lost", "in_progress")]
    assert truth["sessions"][0]["ended_by"] == "dropped"


@pytest.mark.parametrize("rate", ["0", "200"])
async def test_the_client_can_cancel_while_the_server_speaks(simulator: Simulator, connect: Any, rate: str) -> None:
    async with connect(simulator, f"{URL}&sim_deltas=20000&sim_delta_bytes=64&sim_rate={rate}") as talk:
        await talk.send("response.create")
        await talk.until("response.output_audio.delta")
        await talk.send("response.cancel")
        response = (await talk.until("response.done"))["response"]
        await talk.send("response.cancel", event_id="mine")
        error = (await talk.until("error"))["error"]
    assert (response["status"], response["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    assert response["usage"]["output_tokens"] > 0
    _holds_together(response["usage"])
    assert len(talk.of("response.output_audio.delta")) < 20000
    assert (error["code"], error["event_id"]) == ("response_cancel_not_active", "mine")


async def test_speech_interrupts_the_response_and_gets_one_of_its_own(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, f"{URL}&sim_rate=100&sim_deltas=5000") as talk:
        await talk.send("response.create")
        await talk.until("response.output_audio.delta")
        await talk.say()
        interrupted = (await talk.until("response.done"))["response"]
        created = (await talk.until("response.created"))["response"]
        await talk.send("response.cancel", response_id=created["id"])
        cancelled = (await talk.until("response.done"))["response"]
    assert interrupted["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert cancelled["id"] == created["id"]


async def test_deltas_come_at_the_chosen_number_size_and_rate(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, f"{URL}&sim_deltas=20&sim_delta_bytes=8192&sim_rate=200") as talk:
        began = time.monotonic()
        await talk.respond()
        took = time.monotonic() - began
    deltas = talk.of("response.output_audio.delta")
    assert [len(delta["delta"]) for delta in deltas] == [8192] * 20
    assert took >= 20 / 200


async def test_a_text_response_has_text_deltas_and_no_audio(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, f"{URL}&sim_deltas=30") as talk:
        response = await talk.respond(output_modalities=["text"])
    deltas = talk.of("response.output_text.delta")
    assert len(deltas) == 30
    assert response["output"][0]["content"] == [
        {"type": "output_text", "text": "".join(delta["delta"] for delta in deltas)}
    ]
    assert response["usage"]["output_token_details"]["audio_tokens"] == 0
    assert not talk.of("response.output_audio.delta")


async def test_the_beta_dialect_has_its_own_names_and_shapes(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, **BETA) as talk:
        response = await talk.respond()
    types = set(talk.types())
    assert {"response.audio.delta", "response.audio_transcript.delta", "conversation.item.created"} <= types
    assert not any("output_audio" in type_ or type_ == "conversation.item.added" for type_ in types)
    assert {"modalities", "voice", "output_audio_format", "temperature"} <= set(response)
    _holds_together(response["usage"])


async def test_out_of_band_responses_stay_out_of_the_conversation(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        request = {"conversation": "none", "metadata": {"topic": "guard"}, "output_modalities": ["text"]}
        aside = await talk.respond(**request, input=[{"type": "message", "content": [{"text": "1234" * 3}]}])
        answer = await talk.respond()
    assert aside["conversation_id"] is None
    assert aside["metadata"] == {"topic": "guard"}
    assert aside["usage"]["input_tokens"] == 140 + 3
    assert answer["metadata"] is None
    assert answer["usage"]["input_tokens"] == 140
    assert len(_recorded(simulator, kind="response")) == 2


async def test_a_conversation_has_one_response_at_a_time_and_asides_are_bounded(
    simulator: Simulator, connect: Any
) -> None:
    async with connect(simulator, f"{URL}&sim_rate=10&sim_deltas=1000") as talk:
        await talk.send("response.create")
        await talk.send("response.create", event_id="second")
        error = (await talk.until("error"))["error"]
        for number in range(9):
            await talk.send("response.create", event_id=f"{number}", response={"conversation": "none"})
        refused = (await talk.until("error"))["error"]
    assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", "second")
    assert refused["event_id"] == "8"


async def test_repeated_usage_events_are_counted_once(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, f"{URL}&sim_repeat=1") as talk:
        await talk.respond()
        await talk.until("rate_limits.updated")
    first, second = talk.of("response.done")
    assert first == second
    counts = simulator.truth.as_json()["counts"]
    assert (counts["responses"], counts["repeats"]) == (1, 1)


@pytest.mark.parametrize("code", [1000, 1011])
async def test_the_server_can_close_after_some_responses(simulator: Simulator, connect: Any, code: int) -> None:
    async with connect(simulator, f"{URL}&sim_close_after=2&sim_close_code={code}") as talk:
        await talk.respond()
        await talk.send("response.create")
        closed = await talk.until_closed()
    assert len(talk.of("response.done")) == 2
    assert closed.rcvd is not None
    assert closed.rcvd.code == code
    await simulator.wait_idle()
    assert simulator.truth.as_json()["sessions"][0]["ended_by"] == "server"


async def test_weights_choose_outcomes_by_the_seed(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, f"{URL}&sim_weights=completed:1,failed:1,incomplete:0") as talk:
        statuses = [(await talk.respond())["status"] for _ in range(30)]
    assert set(statuses) == {"completed", "failed"}


async def test_no_deltas_at_all_is_a_response_too(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, f"{URL}&sim_deltas=0") as talk:
        response = await talk.respond()
    assert response["status"] == "completed"
    assert response["usage"]["output_tokens"] > 0


async def test_a_client_that_goes_while_it_is_answered_loses_the_response(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, f"{URL}&sim_rate=50&sim_deltas=100000") as talk:
        await talk.send("response.create")
        await talk.until("response.output_audio.delta")
        talk.socket.transport.abort()
    await simulator.wait_idle()
    assert [usage["usage"] for usage in simulator.truth.as_json()["usages"]] == ["lost"]
    assert len(asyncio.all_tasks()) <= 3


async def test_what_is_written_to_a_socket_that_is_gone_is_not_recorded_as_reported(
    simulator: Simulator, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(simulator, f"{URL}&sim_rate=20&sim_deltas=2") as talk:
        update = {"audio": {"input": {"transcription": {"model": "whisper-1"}, "turn_detection": None}}}
        await talk.send("session.update", session=update)
        await talk.send("response.create")
        await talk.until("response.created")
        # The moment between the loss of a connection and its discovery by the reader.
        monkeypatch.setattr(Socket, "alive", property(lambda _socket: False))
        await talk.say()
        await talk.send("input_audio_buffer.commit")
        async with asyncio.timeout(30):
            while next(iter(simulator._sessions.values())).responses.busy:  # noqa: ASYNC110 - nothing tells us of it
                await asyncio.sleep(0.01)
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert [(usage["kind"], usage["usage"]) for usage in truth["usages"]] == [("response", "lost")]
    assert truth["counts"]["transcriptions_unsent"] == 1
