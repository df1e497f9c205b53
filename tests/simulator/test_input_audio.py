from __future__ import annotations

from typing import Any

import pytest

from realtime_spend.simulator import Deployment, Scope, Simulator, SimulatorOptions

URL = "/v1/realtime?model=gpt-realtime"
COMPLETED = "conversation.item.input_audio_transcription.completed"
FAILED = "conversation.item.input_audio_transcription.failed"


def _transcribe(model: str | None, **rest: Any) -> dict[str, Any]:
    return {"session": {"audio": {"input": {"transcription": {"model": model, **rest} if model else None}}}}


async def test_enough_audio_is_a_turn_with_an_answer(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        await talk.say(300)
        await talk.settled()
        assert not talk.of("input_audio_buffer.speech_started")
        await talk.say(300)
        await talk.until("response.done")
    types = talk.types()
    order = [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert [types.index(type_) for type_ in order] == sorted(types.index(type_) for type_ in order)
    assert talk.of("input_audio_buffer.speech_stopped")[0]["audio_end_ms"] == 600
    assert talk.of("response.done")[0]["response"]["usage"]["input_token_details"]["audio_tokens"] == 6


async def test_turn_detection_may_hear_turns_without_answering(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        heard = {"turn_detection": {"create_response": False}}
        await talk.send("session.update", session={"audio": {"input": heard}})
        await talk.say()
        await talk.settled()
    assert talk.of("input_audio_buffer.committed")
    assert not talk.of("response.created")


async def test_without_turn_detection_the_client_commits(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        await talk.send("session.update", session={"audio": {"input": {"turn_detection": None}}})
        await talk.say(5000)
        await talk.send("input_audio_buffer.clear")
        await talk.send("input_audio_buffer.commit")
        assert (await talk.until("error"))["error"]["code"] == "input_audio_buffer_commit_empty"
        await talk.say(2650)
        await talk.send("input_audio_buffer.commit")
        await talk.until("conversation.item.done")
        usage = (await talk.respond())["usage"]
    assert usage["input_token_details"]["audio_tokens"] == 27
    assert not talk.of("input_audio_buffer.speech_started")


@pytest.mark.parametrize("model", ["whisper-1", "gpt-realtime-whisper", "gpt-transcribe"])
async def test_some_models_report_whole_seconds(simulator: Simulator, connect: Any, model: str) -> None:
    async with connect(simulator) as talk:
        await talk.send("session.update", **_transcribe(model))
        await talk.say(2650)
        usage = (await talk.until(COMPLETED))["usage"]
    assert usage == {"type": "duration", "seconds": 3}
    assert isinstance(usage["seconds"], int)
    assert simulator.truth.as_json()["usages"][0]["quantities"] == {"audio.duration": "3"}


async def test_other_models_report_tokens_and_the_prompt_counts(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        await talk.send("session.update", **_transcribe("gpt-4o-mini-transcribe-2025-12-15", prompt="1234" * 4))
        await talk.say(2650)
        event = await talk.until(COMPLETED)
    usage = event["usage"]
    assert usage["input_token_details"] == {"text_tokens": 4, "audio_tokens": 27}
    assert usage["total_tokens"] == 4 + 27 + usage["output_tokens"]
    recorded = simulator.truth.as_json()["usages"][0]
    assert recorded["id"] == f"{event['item_id']}#0"
    assert (recorded["model"], recorded["version"]) == ("gpt-4o-mini-transcribe", "2025-12-15")
    assert recorded["quantities"] == {"audio.input": 27, "text.input": 4, "text.output": usage["output_tokens"]}
    deltas = talk.of("conversation.item.input_audio_transcription.delta")
    assert "".join(delta["delta"] for delta in deltas).strip() == event["transcript"]


async def test_usage_can_be_left_out_null_forced_or_never_come(simulator: Simulator, connect: Any) -> None:
    kinds = "missing,null,duration,tokens,failed"
    async with connect(simulator, f"{URL}&sim_transcription_usage={kinds}") as talk:
        await talk.send("session.update", **_transcribe("whisper-1"))
        for _ in kinds.split(","):
            await talk.say()
            await talk.until("response.done")
    missing, null, duration, tokens = talk.of(COMPLETED)
    assert "usage" not in missing
    assert null["usage"] is None
    assert duration["usage"]["type"] == "duration"
    assert tokens["usage"]["type"] == "tokens"
    assert talk.of(FAILED)[0]["error"]["code"] == "audio_unintelligible"
    truth = simulator.truth.as_json()
    said = [usage["usage"] for usage in truth["usages"] if usage["kind"] == "transcription"]
    assert said == ["missing", "missing", "reported", "reported"]
    assert truth["counts"]["transcriptions_failed"] == 1
    assert truth["counts"]["unpriced"] == 1, "whisper-1 has no price by tokens"


async def test_a_late_transcription_comes_after_the_next_response_at_the_price_of_its_commit(
    simulator: Simulator, connect: Any
) -> None:
    async with connect(simulator, f"{URL}&sim_transcription_late=1") as talk:
        await talk.send("session.update", **_transcribe("whisper-1"))
        await talk.send("session.update", session={"audio": {"input": {"turn_detection": None}}})
        await talk.say()
        await talk.send("input_audio_buffer.commit")
        await talk.until("input_audio_buffer.committed")
        await talk.send("session.update", **_transcribe("gpt-transcribe"))
        await talk.send("response.create")
        await talk.until(COMPLETED)
        await talk.say()
        await talk.send("input_audio_buffer.commit")
        await talk.until("input_audio_buffer.committed")
    assert talk.types().index(COMPLETED) > talk.types().index("response.done")
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert [usage["model"] for usage in truth["usages"]] == ["gpt-realtime", "whisper-1"]
    assert truth["counts"]["transcriptions_unsent"] == 1


async def test_transcription_can_be_switched_over_and_off(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator) as talk:
        for model in ("whisper-1", "gpt-4o-transcribe", None):
            await talk.send("session.update", **_transcribe(model))
            await talk.say()
            await talk.until("response.done")
    usages = simulator.truth.as_json()["usages"]
    models = [usage["model"] for usage in usages if usage["kind"] == "transcription"]
    assert models == ["whisper-1", "gpt-4o-transcribe"]


async def test_a_transcription_session_transcribes_and_never_responds(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, "/v1/realtime?intent=transcription") as talk:
        created = await talk.until("session.created")
        await talk.send("session.update", **_transcribe("gpt-4o-transcribe"))
        await talk.say()
        await talk.until(COMPLETED)
        await talk.send("response.create")
        await talk.until("error")
    assert created["session"]["type"] == "transcription"
    assert "response.created" not in talk.types()
    session = simulator.truth.as_json()["sessions"][0]
    assert (session["kind"], session["model"]) == ("transcription", None)


async def test_the_beta_transcription_session_has_its_own_event_names(simulator: Simulator, connect: Any) -> None:
    headers = {"OpenAI-Beta": "realtime=v1"}
    async with connect(simulator, "/v1/realtime?intent=transcription", additional_headers=headers) as talk:
        await talk.until("transcription_session.created")
        update = {"input_audio_transcription": {"model": "whisper-1"}}
        await talk.send("transcription_session.update", session=update)
        await talk.until("transcription_session.updated")
        await talk.say()
        await talk.until(COMPLETED)


async def test_on_azure_a_transcription_model_is_a_deployment(connect: Any) -> None:
    deployments = {
        "voice": Deployment(model="gpt-realtime", version="2025-08-28"),
        "ears": Deployment(model="whisper-1", scope=Scope.DATAZONE),
    }
    async with Simulator(SimulatorOptions(deployments=deployments)) as simulator:
        async with connect(simulator, "/openai/v1/realtime?model=voice") as talk:
            await talk.send("session.update", **_transcribe("ears"))
            await talk.say()
            await talk.until("response.done")
            await talk.send("session.update", **_transcribe("whisper-1"))
            await talk.say()
            failed = await talk.until(FAILED)
        assert failed["error"]["code"] == "DeploymentNotFound"
        assert not talk.of("rate_limits.updated")
        usages = simulator.truth.as_json()["usages"]
        ears = [(usage["model"], usage["scope"]) for usage in usages if usage["kind"] == "transcription"]
        assert ears == [("whisper", "datazone")]


async def test_speech_can_be_told_not_to_interrupt(simulator: Simulator, connect: Any) -> None:
    async with connect(simulator, f"{URL}&sim_rate=100&sim_deltas=10") as talk:
        heard = {"turn_detection": {"interrupt_response": False}}
        await talk.send("session.update", session={"audio": {"input": heard}})
        await talk.send("response.create")
        await talk.until("response.output_audio.delta")
        await talk.say()
        response = (await talk.until("response.done"))["response"]
    assert response["status"] == "completed"
    assert talk.of("input_audio_buffer.committed")
    assert len(talk.of("response.created")) == 1
