"""Keys, tokens and what people say are planted wherever they can be put, and looked for everywhere."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from tests.relay.peers import PATH, client, closing, frame, request, upstream

from realtime_spend.containment import Containment
from realtime_spend.core.line_items import Provider
from realtime_spend.relay.settings import Limits
from realtime_spend.relay.tokens import SharedSecret, TokenCheck

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hooks.conftest import Meter
    from tests.relay.conftest import RelayTo

_SECRET = "planted-secret-that-signs-tokens-000"  # noqa: S105 - of this test alone
_OWN = {Provider.OPENAI: "sk-planted-of-the-relay", Provider.AZURE: "planted-of-the-relay-for-azure"}
_CLIENTS = "sk-planted-of-the-client"
_SAID = "planted words of a conversation"


def _token() -> str:
    claims = {"sub": "alice", "aud": "voice", "exp": 4_000_000_000, "internal": "planted-claim"}
    return jwt.encode(claims, _SECRET, "HS256")


_EVENTS = (
    '{"type":"session.created","session":{"id":"sess_1","model":"gpt-realtime","instructions":"' + _SAID + '",'
    '"client_secret":{"value":"ek_planted"}}}',
    '{"type":"response.output_audio_transcript.delta","response_id":"resp_1","delta":"' + _SAID + '"}',
    '{"type":"error","error":{"message":"Incorrect API key provided: ' + _CLIENTS + '"}}',
    '{"type":"response.done","response":{"id":"resp_1","status":"completed","metadata":{"key":"' + _SAID + '"},'
    '"output":[{"content":[{"transcript":"' + _SAID + '"}]}],'
    '"usage":{"total_tokens":3,"input_tokens":2,"output_tokens":1,"planted_key":"' + _SAID + '"}}}',
    '{"type":"' + _SAID + '","broken',
)


async def _talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for said in _EVENTS:
        writer.write(frame(said))
    # What a service must not send, and what cannot be read.
    writer.write(b"\xc1" + frame(_SAID)[1:] + frame(_SAID.encode(), 2) + closing(4000, "planted reason"))
    await writer.drain()


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    body = b'{"error":{"message":"Incorrect API key provided: sk-planted-of-the-relay"}}'
    writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def _requests() -> list[bytes]:
    shown = (_CLIENTS, _token(), _token()[:-3] + "xyz", "planted." + _token())
    heads = [request(PATH, f"Authorization: Bearer {key}", "Cookie: session=planted-cookie") for key in shown]
    heads += [request(PATH, f"Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{key}") for key in shown]
    heads += [request(f"/openai/v1/realtime?model=gpt-realtime&api-key={key}") for key in shown]
    heads += [request(f"/v1/planted-path?key={_CLIENTS}", f"Authorization: Bearer {_CLIENTS}")]
    return [*heads, b"planted nonsense\r\n\r\n", request(PATH, "Broken planted-header")]


@pytest.fixture
def everything_told(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[[Meter], str]:
    caplog.set_level(logging.DEBUG)
    return lambda meter: _told(meter, caplog, capfd)


def _told(meter: Meter, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> str:
    reader: Any = meter.reader
    told = [meter.folder.name, *(file.read_text("utf-8") for file in meter.folder.glob("*"))]
    data = reader.get_metrics_data()
    told += [data.to_json() if data else ""]
    told += [
        f"{record.getMessage()} {record.exc_text} {record.exc_info} {record.__dict__}" for record in caplog.records
    ]
    return "\n".join([*told, *capfd.readouterr()])


@pytest.mark.parametrize("behaviour", [_talk, _refuse])
@pytest.mark.parametrize("is_keeper", [True, False])
async def test_no_secret_reaches_log_metric_or_ledger(
    behaviour: Any,
    is_keeper: bool,  # noqa: FBT001 - a parameter of the test
    relay_to: RelayTo,
    everything_told: Callable[[Meter], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asyncio.get_running_loop().set_debug(True)
    # Faults of ours must not tell either.
    monkeypatch.setattr(Containment, "reraise", False)
    check = TokenCheck(SharedSecret(_SECRET), audience="voice", issuer=None, claims={"sub": "user"})
    tokens, keys = (check, _OWN) if is_keeper else (None, None)
    statuses, answers = [], b""
    async with (
        upstream(behaviour, accepts=behaviour is _talk) as server,
        relay_to(server.url, tokens=tokens, keys=keys, limits=Limits(ending=1, handshake=5)) as running,
    ):
        for head in _requests():
            async with client(running.relay.port, head) as peer:
                statuses.append(peer.status)
                answers += peer.answer + await peer.to_the_end()
        told = everything_told(running.meter)
    taken = 101 if behaviour is _talk else (502 if is_keeper else 401)
    assert statuses.count(taken) == (3 if is_keeper else 12)
    if behaviour is _talk:
        assert running.meter.records(), "what was searched is not empty"
        assert running.meter.errors()["relay.unreadable_frame"]
    assert _SECRET not in told
    assert _token() not in told
    assert _token().split(".")[1] not in told
    assert "planted" not in told
    if is_keeper:
        assert b"sk-planted-of-the-relay" not in answers
        assert _SECRET.encode() not in answers


async def test_a_fault_of_ours_while_a_client_comes_in_is_contained_and_tells_no_secret(
    relay_to: RelayTo, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Containment, "reraise", False)

    class Broken(TokenCheck):
        async def known(self, token: str | None) -> Any:
            raise RuntimeError(f"cannot work with {token}")

    check = Broken(SharedSecret(_SECRET), audience="voice", issuer=None, claims={})
    async with upstream(_talk) as server, relay_to(server.url, tokens=check, keys=_OWN) as running:
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.relay.port)
            writer.write(request(PATH, f"Authorization: Bearer {_token()}"))
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(1), 5)
            writer.close()
        assert running.meter.errors() == {"internal.relaying_a_handshake": 2}
    [record] = [record for record in caplog.records if record.name == "realtime_spend"]
    assert "RuntimeError" in record.getMessage()
    assert _token() not in json.dumps(record.__dict__, default=str)
