"""A voice session in callbacks: `WebSocketApp` and `run_forever` of the library `websocket-client`.

Voice activity detection ends the user's turns here and asks for the answers; the third answer is talked over.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
from typing import Any

import websocket

# Half a second of 24 kHz, 16-bit mono: as long an utterance as the service waits for.
SPEECH = base64.b64encode(bytes(24_000)).decode()
# Makes the simulator's answers last a second: time enough to cut one short.
PACE = "sim_rate=25&sim_deltas=25"
SESSION = {
    "type": "realtime",
    "audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}},
}


class Conversation:
    """What has been said so far."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.fault: object = None
        self._talked_over = False

    def on_open(self, app: websocket.WebSocketApp) -> None:
        """Configure the session and ask the first question."""
        self._send(app, "session.update", session=SESSION)
        self._speak(app)

    def on_message(self, app: websocket.WebSocketApp, message: str) -> None:
        """Act on one event of the service."""
        event = json.loads(message)
        match event["type"]:
            case "response.done":
                self.answers.append(event["response"]["status"])
                print(f"{event['response']['id']}: {self.answers[-1]}")
                if len(self.answers) < 3:
                    self._speak(app)
                elif len(self.answers) == 4:
                    app.close()
            case "response.output_audio.delta" if len(self.answers) == 2 and not self._talked_over:
                self._talked_over = True
                self._speak(app)
            case "error":
                self.on_error(app, event["error"]["message"])
                app.close()

    def on_error(self, _app: websocket.WebSocketApp, error: object) -> None:
        """Keep what went wrong; `run_forever` returns after it."""
        self.fault = error

    def _speak(self, app: websocket.WebSocketApp) -> None:
        self._send(app, "input_audio_buffer.append", audio=SPEECH)

    def _send(self, app: websocket.WebSocketApp, kind: str, **fields: Any) -> None:
        app.send(json.dumps({"type": kind, **fields}))


def main(url: str) -> None:
    """Run until the conversation is over, or half a minute has passed."""
    conversation = Conversation()
    app = websocket.WebSocketApp(
        f"{url.replace('http', 'ws', 1)}/v1/realtime?model=gpt-realtime&{PACE}",
        header=["Authorization: Bearer any"],
        on_open=conversation.on_open,
        on_message=conversation.on_message,
        on_error=conversation.on_error,
    )
    patience = threading.Timer(30, app.close)
    patience.start()
    app.run_forever()
    patience.cancel()
    if conversation.fault or conversation.answers != ["completed", "completed", "cancelled", "completed"]:
        raise RuntimeError(f"the answers ended {conversation.answers}: {conversation.fault}")


if __name__ == "__main__":
    main(sys.argv[1])
