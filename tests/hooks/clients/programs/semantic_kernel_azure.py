"""A voice session of Semantic Kernel with Azure OpenAI: `AzureRealtimeWebsocket`, which dials TLS and nothing else.

A front with a certificate of its own, made for this run, takes the TLS off before the service.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import ipaddress
import os
import ssl
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from semantic_kernel.connectors.ai.open_ai import (
    AzureRealtimeExecutionSettings,
    AzureRealtimeWebsocket,
    ListenEvents,
    SendEvents,
    TurnDetection,
)
from semantic_kernel.contents import AudioContent, RealtimeAudioEvent, RealtimeEvent, RealtimeTextEvent, TextContent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from openai.types.realtime import RealtimeResponse

# Half a second of 24 kHz, 16-bit mono.
SPEECH = AudioContent(data=base64.b64encode(bytes(24_000)).decode(), data_format="base64")
# Makes the simulator's answers last a second: time enough to cut one short.
PACE = "sim_rate=25&sim_deltas=25"
SETTINGS = AzureRealtimeExecutionSettings(
    instructions="Answer in one short sentence.",
    voice="alloy",
    input_audio_transcription={"model": "ears"},
    turn_detection=TurnDetection(type="server_vad", create_response=False),
)


async def until(events: AsyncGenerator[RealtimeEvent, None], kind: ListenEvents) -> RealtimeEvent:
    """Take events up to one of this kind."""
    async for event in events:
        if event.service_type == ListenEvents.ERROR:
            raise RuntimeError(event.service_event)
        if event.service_type == kind:
            return event
    raise ConnectionError("the session ended")


async def converse(session: AzureRealtimeWebsocket) -> list[RealtimeResponse]:
    """Ask aloud, in writing, and for an answer that is cut short, and return the three answers."""
    events = session.receive()
    create = RealtimeEvent(service_type=SendEvents.RESPONSE_CREATE)
    await session.send(RealtimeAudioEvent(audio=SPEECH))
    await until(events, ListenEvents.INPUT_AUDIO_BUFFER_COMMITTED)
    await session.send(create)
    spoken = await until(events, ListenEvents.RESPONSE_DONE)
    await session.send(RealtimeTextEvent(text=TextContent(text="And in Spanish?")))
    await session.send(create)
    typed = await until(events, ListenEvents.RESPONSE_DONE)
    await session.send(create)
    await until(events, ListenEvents.RESPONSE_AUDIO_DELTA)
    await session.send(RealtimeEvent(service_type=SendEvents.RESPONSE_CANCEL))
    cut = await until(events, ListenEvents.RESPONSE_DONE)
    return [event.service_event.response for event in (spoken, typed, cut)]


def certified(folder: Path) -> ssl.SSLContext:
    """Make a certificate for 127.0.0.1 and have this process, and no other, trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    os.environ["SSL_CERT_FILE"] = str(folder / "certificate.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


@contextlib.asynccontextmanager
async def behind_tls(url: str) -> AsyncIterator[str]:
    """Give the service at this URL an `https` address for as long as the block lasts."""
    service = urlsplit(url)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection(service.hostname, service.port)
        await asyncio.gather(copy(reader, behind_writer), copy(behind_reader, writer))

    with tempfile.TemporaryDirectory() as folder:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certified(Path(folder)))
        async with server:
            yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def main(url: str) -> None:
    """Connect, converse and close, within half a minute."""
    async with asyncio.timeout(30), behind_tls(url) as endpoint:
        service = AzureRealtimeWebsocket(endpoint=endpoint, deployment_name=f"voice&{PACE}", api_key="any")
        async with service(settings=SETTINGS) as session:
            answers = await converse(session)
    for answer in answers:
        print(f"{answer.id}: {answer.status}")
    if [answer.status for answer in answers] != ["completed", "completed", "cancelled"]:
        raise RuntimeError("the answers ended in other ways than they were asked to")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
