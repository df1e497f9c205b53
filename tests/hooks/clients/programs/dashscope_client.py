"""A voice session with Qwen Omni: `Client.audio.realtime` of the dashscope SDK, which blocks."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from dashscope import Client

if TYPE_CHECKING:
    from dashscope.v2.resources.audio.realtime import RealtimeSession

# Three quarters of a second of 16 kHz, 16-bit mono.
SPEECH = bytes(24_000)
# Makes the simulator's answers last a second: time enough to cut one short.
PACE = "sim_rate=25&sim_deltas=25"


def until(session: RealtimeSession, kind: str) -> dict[str, Any]:
    """Read events up to one of this kind; the client's time-out bounds each wait, and an `error` event raises."""
    event: dict[str, Any]
    for event in session.events():
        if event["type"] == kind:
            return event
    raise ConnectionError("the session ended")


def converse(session: RealtimeSession) -> list[dict[str, Any]]:
    """Hold the conversation, and return its three answers."""
    session.update_session(
        ["text", "audio"],
        voice="Cherry",
        input_audio_transcription_model="qwen3-asr-flash-realtime",
        enable_turn_detection=False,
    )
    until(session, "session.updated")
    answers = []
    for modalities in (["text", "audio"], ["text"]):
        session.append_audio(SPEECH)
        session.commit()
        session.create_response(modalities)
        answers.append(until(session, "response.done"))
    session.create_response(instructions="Tell a long story.")
    until(session, "response.audio.delta")
    session.cancel_response()
    answers.append(until(session, "response.done"))
    session.end_session()
    until(session, "session.finished")
    return [event["response"] for event in answers]


def main(url: str) -> None:
    """Connect, converse and close."""
    # The SDK calls this part of itself a preview.
    warnings.filterwarnings("ignore", category=FutureWarning, message="dashscope 2.0 audio API is a preview")
    address = f"{url.replace('http', 'ws', 1)}/api-ws/v1/realtime?{PACE}"
    with (
        Client(api_key="any", workspace="any", timeout=20) as client,
        client.audio.realtime.connect(model="qwen3-omni-flash-realtime", ws_url=address) as session,
    ):
        answers = converse(session)
    for answer in answers:
        print(f"{answer['id']}: {answer['status']}")
    if [answer["status"] for answer in answers] != ["completed", "completed", "cancelled"]:
        raise RuntimeError("the answers ended in other ways than they were asked to")


if __name__ == "__main__":
    main(sys.argv[1])
