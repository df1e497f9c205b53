"""A voice session with Qwen Omni: `OmniRealtimeConversation` of the dashscope SDK, in callbacks."""

from __future__ import annotations

import base64
import queue
import sys
from typing import Any

from dashscope.audio.qwen_omni import MultiModality, OmniRealtimeCallback, OmniRealtimeConversation

# Three quarters of a second of 16 kHz, 16-bit mono.
SPEECH = base64.b64encode(bytes(24_000)).decode()
# Makes the simulator's answers last a second: time enough to cut one short.
PACE = "sim_rate=25&sim_deltas=25"


class Inbox(OmniRealtimeCallback):
    """Hands the service's events from the SDK's thread to ours."""

    def __init__(self) -> None:
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()

    def on_event(self, message: dict[str, Any]) -> None:
        """Take an event."""
        self.events.put(message)

    def on_close(self, close_status_code: int | None, close_msg: str | None) -> None:
        """Say that there will be no more."""
        self.events.put({"type": "closed", "code": close_status_code, "message": close_msg})

    def until(self, kind: str) -> dict[str, Any]:
        """Wait for an event of this kind, 20 seconds for each event."""
        while True:
            event = self.events.get(timeout=20)
            if event["type"] == kind:
                return event
            if event["type"] in {"error", "closed"}:
                raise RuntimeError(event)


def converse(conversation: OmniRealtimeConversation, inbox: Inbox) -> list[dict[str, Any]]:
    """Hold the conversation, and return its three answers."""
    conversation.update_session(
        output_modalities=[MultiModality.AUDIO, MultiModality.TEXT],
        voice="Cherry",
        input_audio_transcription_model="gummy-realtime-v1",
        enable_turn_detection=False,
    )
    inbox.until("session.updated")
    answers = []
    for modalities in ([MultiModality.AUDIO, MultiModality.TEXT], [MultiModality.TEXT]):
        conversation.append_audio(SPEECH)
        conversation.commit()
        conversation.create_response(output_modalities=modalities)
        answers.append(inbox.until("response.done"))
    conversation.create_response(instructions="Tell a long story.")
    inbox.until("response.audio.delta")
    conversation.cancel_response()
    answers.append(inbox.until("response.done"))
    conversation.end_session(timeout=20)
    return [event["response"] for event in answers]


def main(url: str) -> None:
    """Connect, converse and close."""
    inbox = Inbox()
    conversation = OmniRealtimeConversation(
        model=f"qwen3-omni-flash-realtime&{PACE}",
        callback=inbox,
        url=f"{url.replace('http', 'ws', 1)}/api-ws/v1/realtime",
        api_key="any",
    )
    conversation.connect()
    try:
        answers = converse(conversation, inbox)
    finally:
        conversation.close()
    for answer in answers:
        print(f"{answer['id']}: {answer['status']}")
    if [answer["status"] for answer in answers] != ["completed", "completed", "cancelled"]:
        raise RuntimeError("the answers ended in other ways than they were asked to")


if __name__ == "__main__":
    main(sys.argv[1])
