"""A voice session on an Azure OpenAI deployment with the openai SDK (blocking).

    AZURE_OPENAI_ENDPOINT=https://RESOURCE.openai.azure.com AZURE_OPENAI_API_KEY=... \
    AZURE_OPENAI_DEPLOYMENT=voice-prod python examples/azure_sdk.py

Nothing in here knows of realtime-spend.
"""

import base64
import os

from openai import AzureOpenAI

DEPLOYMENT = os.environ["AZURE_OPENAI_DEPLOYMENT"]
TRANSCRIPTION_DEPLOYMENT = os.environ.get("AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT", "whisper")
ANSWERS = 3
# Half a second of 24 kHz, 16-bit mono. A real program would send what the microphone hears.
SPEECH = base64.b64encode(bytes(24_000)).decode()


def main() -> None:
    """Hold the conversation."""
    client = AzureOpenAI(
        api_version=os.environ.get("OPENAI_API_VERSION", "2025-04-01-preview"),
        # Only where the server is not behind TLS, as a test server is; the SDK works it out for itself otherwise.
        websocket_base_url=os.environ.get("AZURE_OPENAI_WEBSOCKET_URL"),
    )
    with client.beta.realtime.connect(model=DEPLOYMENT) as connection:
        connection.session.update(
            session={
                "instructions": "Answer in one short sentence.",
                "input_audio_transcription": {"model": TRANSCRIPTION_DEPLOYMENT},
            }
        )
        answers = 0
        connection.input_audio_buffer.append(audio=SPEECH)
        # Voice activity detection ends the user's turn and asks for the response by itself.
        for event in connection:
            if event.type == "response.done":
                print(f"{event.response.id}: {event.response.status}")
                answers += 1
                if answers == ANSWERS:
                    return
                connection.input_audio_buffer.append(audio=SPEECH)
            elif event.type == "error":
                raise RuntimeError(event.error.message)


if __name__ == "__main__":
    main()
