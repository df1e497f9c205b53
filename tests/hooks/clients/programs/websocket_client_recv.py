"""A voice session that blocks: `create_connection` and `recv` of the library `websocket-client`."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from websocket import WebSocket, create_connection

# Half a second of 24 kHz, 16-bit mono.
SPEECH = base64.b64encode(bytes(24_000)).decode()
# Makes the simulator's answers last a second: time enough to cut one short.
PACE = "sim_rate=25&sim_deltas=25"
SESSION = {
    "type": "realtime",
    "audio": {"input": {"transcription": {"model": "whisper-1"}, "turn_detection": None}},
}
QUESTION = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And in Spanish?"}]}


def send(socket: WebSocket, kind: str, **fields: Any) -> None:
    """Send one event."""
    socket.send(json.dumps({"type": kind, **fields}))


def until(socket: WebSocket, kind: str) -> dict[str, Any]:
    """Read events up to one of this kind; the socket's time-out bounds each wait."""
    while True:
        event: dict[str, Any] = json.loads(socket.recv())
        if event["type"] == "error":
            raise RuntimeError(event["error"]["message"])
        if event["type"] == kind:
            return event


def converse(socket: WebSocket) -> list[dict[str, Any]]:
    """Hold the conversation, and return its three answers."""
    send(socket, "session.update", session=SESSION)
    until(socket, "session.updated")
    send(socket, "input_audio_buffer.append", audio=SPEECH)
    send(socket, "input_audio_buffer.commit")
    send(socket, "response.create")
    spoken = until(socket, "response.done")
    send(socket, "conversation.item.create", item=QUESTION)
    send(socket, "response.create", response={"output_modalities": ["text"]})
    typed = until(socket, "response.done")
    send(socket, "response.create")
    until(socket, "response.output_audio.delta")
    send(socket, "response.cancel")
    cut = until(socket, "response.done")
    # What the service says after the last answer is read as well, before the socket closes.
    until(socket, "rate_limits.updated")
    return [event["response"] for event in (spoken, typed, cut)]


def main(url: str) -> None:
    """Connect, converse and close."""
    address = f"{url.replace('http', 'ws', 1)}/v1/realtime?model=gpt-realtime&{PACE}"
    socket = create_connection(address, timeout=20, header=["Authorization: Bearer any"])
    try:
        answers = converse(socket)
    finally:
        socket.close()
    for answer in answers:
        print(f"{answer['id']}: {answer['status']}")
    if [answer["status"] for answer in answers] != ["completed", "completed", "cancelled"]:
        raise RuntimeError("the answers ended in other ways than they were asked to")


if __name__ == "__main__":
    main(sys.argv[1])
