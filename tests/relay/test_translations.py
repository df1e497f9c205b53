"""Translations through the relay: no event tells what they used, so that the client's audio is measured on its way."""

from __future__ import annotations

import asyncio
import base64
import json
from decimal import Decimal
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI
from opentelemetry.metrics import NoOpMeterProvider
from tests.relay.peers import BINARY, CLOSE, PING, TEXT, client, closing, frame, request, upstream

from realtime_spend.configuration import configure
from realtime_spend.core.endpoints import recognise
from realtime_spend.relay.running import metered
from realtime_spend.relay.sent_tap import SentTap
from realtime_spend.simulator import Simulator, SimulatorOptions
from realtime_spend.watcher import Watcher

if TYPE_CHECKING:
    from tests.relay.conftest import RelayTo, Running

_LARGEST = 100_000
_MASK = b"\x01\xa0\x33\x7f"
_PATH = "/v1/realtime/translations?model=gpt-realtime-translate"
_MINUTE = Decimal("0.034")


def _append(milliseconds: int) -> str:
    audio = base64.b64encode(bytes(48 * milliseconds)).decode()
    return json.dumps({"type": "session.input_audio_buffer.append", "audio": audio})


async def _measured(running: Running) -> list[tuple[str, str, str]]:
    await running.is_empty()
    return [
        (record["usage"], record["quantities"].get("audio.duration"), record["cost"])
        for record in running.meter.records()
    ]


async def test_a_translation_of_the_sdk_is_measured_by_its_audio(relay_to: RelayTo) -> None:
    async with Simulator(SimulatorOptions(seed=5)) as simulator, asyncio.timeout(30):
        async with relay_to(f"http://127.0.0.1:{simulator.port}") as running:
            sdk = AsyncOpenAI(api_key="any", base_url=f"{running.url}/v1", websocket_base_url=f"ws{running.url[4:]}/v1")
            async with sdk, sdk.realtime.translations.connect(model="gpt-realtime-translate") as connection:
                for _ in range(10):
                    audio = base64.b64encode(bytes(48 * 1200)).decode()
                    await connection.session.input_audio_buffer.append(audio=audio)
                await connection.session.close()
                async for event in connection:
                    if event.type == "session.closed":
                        break
            told = await _measured(running)
        [usage] = simulator.truth.as_json()["usages"]
    assert usage["quantities"] == {"audio.duration": "12"}
    assert Decimal(usage["cost"]) == 12 * _MINUTE / 60
    # The ledger has the running total: of each record what is new is counted.
    assert [(kind, seconds) for kind, seconds, _ in told] == [("estimated", "10.8"), ("estimated", "12")]
    assert Decimal(told[-1][2]) == Decimal(usage["cost"])


async def test_what_a_client_had_sent_when_it_vanished_is_measured(relay_to: RelayTo) -> None:
    async with Simulator(SimulatorOptions(seed=5)) as simulator:
        async with relay_to(f"http://127.0.0.1:{simulator.port}") as running:
            async with client(running.relay.port, request(_PATH)) as raw:
                await raw.read(20)
                whole = frame(_append(700), mask=_MASK)
                raw.say(whole + frame(_append(500), mask=_MASK)[:-9])
                async with asyncio.timeout(10):
                    # Its answer says that the service has it.
                    while b"output_audio" not in await raw.reader.read(4096):
                        pass
            told = await _measured(running)
        [usage] = simulator.truth.as_json()["usages"]
    assert usage["quantities"] == {"audio.duration": "0.7"}
    assert [(kind, seconds) for kind, seconds, _ in told] == [("estimated", "0.7")]


async def test_what_other_sessions_say_is_not_looked_into(relay_to: RelayTo) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        created = {"type": "session.created", "session": {"id": "sess_1", "model": "gpt-realtime"}}
        writer.write(frame(json.dumps(created)))
        await reader.readexactly(len(frame(_append(700), mask=_MASK)))
        writer.write(closing(1000))

    with patch.object(Watcher, "sent") as sent:
        async with upstream(talk) as service, relay_to(service.url) as running, client(running.relay.port) as raw:
            raw.say(frame(_append(700), mask=_MASK))
            assert b"sess_1" in await raw.to_the_end()
    sent.assert_not_called()


# --- The tap against what was sent, cut anywhere ----------------------------------------------------------------------


class _Kept(Watcher):
    """A watcher that keeps what it is handed."""

    __slots__ = ("heard",)

    def __init__(self) -> None:
        endpoint = recognise("127.0.0.1", 1, "/v1/realtime/translations", "")
        assert endpoint is not None
        super().__init__(metered(configure({}, {}), NoOpMeterProvider()).metering, endpoint, {})
        self.heard: list[bytes] = []
        assert self.wants_sent

    def sent(self, data: str | bytes | bytearray) -> None:
        assert isinstance(data, bytes)
        self.heard.append(data)


@st.composite
def _sent(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Make what a client sends, and the messages in it."""
    stream, messages = b"", []
    for _ in range(draw(st.integers(1, 8))):
        message = draw(st.binary(max_size=300)) * draw(st.sampled_from([1, 1, 230]))
        messages.append(message)
        opcode, mask = draw(st.sampled_from([TEXT, BINARY])), draw(st.binary(min_size=4, max_size=4))
        cuts = sorted(draw(st.lists(st.integers(0, len(message)), max_size=3)))
        pieces = [message[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(message)], strict=True)]
        for place, piece in enumerate(pieces):
            stream += frame(piece, opcode if place == 0 else 0, final=place == len(pieces) - 1, mask=mask)
            stream += frame(b"between", PING, mask=mask) if draw(st.booleans()) else b""
    return stream, messages


def _fed(tap: SentTap, stream: bytes, cuts: list[int]) -> bytes:
    """Feed a stream as a leg does; return what may pass."""
    passed, held = b"", b""
    places = sorted({place for place in cuts if place < len(stream)})
    for begin, end in zip([0, *places], [*places, len(stream)], strict=True):
        data = held + stream[begin:end]
        passing = tap.feed(data)
        passed, held = passed + data[:passing], data[passing:]
        if tap.is_too_large:
            return passed
        assert len(held) < 14, "no more than a header waits"
    assert not held
    return passed


@given(_sent(), st.lists(st.integers(1, 100_000), max_size=30))
def test_every_message_is_heard_however_the_stream_is_cut(made: tuple[bytes, list[bytes]], cuts: list[int]) -> None:
    stream, messages = made
    watcher = _Kept()
    tap = SentTap(watcher, _LARGEST)
    assert _fed(tap, stream, cuts) == stream
    assert watcher.heard == messages
    assert (tap.left, tap.moved, tap.is_closed, tap.is_too_large) == (0, True, False, False)


def test_a_ping_is_no_sign_of_life_and_a_close_is_seen() -> None:
    tap = SentTap(_Kept(), _LARGEST)
    tap.feed(frame(b"", PING, mask=_MASK))
    assert not tap.moved
    tap.feed(frame(b"\x03\xe8", CLOSE, mask=_MASK))
    assert (tap.moved, tap.is_closed) == (False, True)


def test_a_frame_that_is_too_large_does_not_begin_to_pass() -> None:
    watcher = _Kept()
    tap = SentTap(watcher, _LARGEST)
    fits = frame(b"a" * 10, mask=_MASK)
    assert _fed(tap, fits + frame(b"b" * (_LARGEST + 1), mask=_MASK), [3, 40]) == fits
    assert (tap.is_too_large, watcher.heard) == (True, [b"a" * 10])


def test_a_message_that_never_ends_is_not_kept() -> None:
    watcher = _Kept()
    tap = SentTap(watcher, _LARGEST)
    piece = b"a" * (_LARGEST // 2)
    stream = frame(piece, final=False, mask=_MASK) + frame(piece, 0, final=False, mask=_MASK) * 3
    stream += frame(b"the end", 0, mask=_MASK)
    assert _fed(tap, stream + frame(b"another", mask=_MASK), []) == stream + frame(b"another", mask=_MASK)
    assert watcher.heard == [b"another"]


@pytest.mark.parametrize("first", [0x81, 0xC1])
def test_what_is_compressed_or_not_masked_harms_nothing(first: int) -> None:
    watcher = _Kept()
    tap = SentTap(watcher, _LARGEST)
    assert tap.feed(bytes((first, 3)) + b"abc") == 5
    assert watcher.heard == ([b"abc"] if first == 0x81 else [])
