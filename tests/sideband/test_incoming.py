"""The webhook of a telephone call: only what the provider has signed is believed, and the call is metered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from openai import AsyncOpenAI
from opentelemetry.instrumentation.utils import suppress_instrumentation
from tests.sideband.conftest import QUICK, costs, has_begun, records, service

from realtime_spend.sideband import Attachment, End, Incoming, Told
from realtime_spend.simulator.ringing import incoming as message_of
from realtime_spend.simulator.ringing import signature

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.sideband.conftest import Calling

    from realtime_spend.simulator import Simulator

_SECRET = "whsec_cGxhbnRlZCBzZWNyZXQgb2YgYSB3ZWJob29r"  # noqa: S105 - made up for these tests
_OTHER_SECRET = "whsec_YW5vdGhlciBzZWNyZXQ="  # noqa: S105 - as above


class Followed:
    """Stands where a call would be listened to, and says which were."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.told: list[Told] = []
        self.over = asyncio.Event()

    async def follow(self, told: Told) -> End:
        self.calls.append(told.call)
        self.told.append(told)
        await self.over.wait()
        return End.CLOSED


@contextlib.asynccontextmanager
async def listening(incoming: Incoming) -> AsyncIterator[str]:
    runner = web.AppRunner(incoming.application("/webhook"))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def posted(url: str, body: bytes, headers: dict[str, str]) -> int:
    async with aiohttp.ClientSession() as http, http.post(f"{url}/webhook", data=body, headers=headers) as answer:
        return answer.status


async def test_a_telephone_call_is_metered_from_its_first_ring_for_whom_its_headers_name(
    simulator: Simulator, calling: Calling, ledger: Path
) -> None:
    attachments: list[Attachment] = []

    async def follow(told: Told) -> End:
        attachments.append(Attachment(told.call, service(simulator), patience=QUICK))
        return await attachments[-1].follow()

    incoming = Incoming(secret=_SECRET, follow=follow, headers={"X-Tenant": "tenant"})
    async with listening(incoming) as url:
        told = {"x-tenant": "acme", "X-Other": "nobody asked for it"}
        call = await simulator.ring(f"{url}/webhook", secret=_SECRET, headers=told)
        await has_begun(lambda: attachments)
        # It rings: nobody can listen to it yet, and nobody gives up.
        assert incoming.calls == (call,)
        async with AsyncOpenAI(api_key="any", base_url=f"{simulator.url}/v1") as client:
            await client.realtime.calls.accept(call, type="realtime", model="gpt-realtime-1.5")
        await has_begun(lambda: attachments[0].sockets)
        async with calling(simulator, f"/v1/realtime?model=any&sim_call_id={call}") as telephone:
            await telephone.turns(2)
            await has_begun(lambda: len(records(ledger)) == 2)
            with suppress_instrumentation():
                async with AsyncOpenAI(api_key="any", base_url=f"{simulator.url}/v1") as client:
                    await client.realtime.calls.hangup(call)
        await has_begun(lambda: not incoming.calls)
    await simulator.wait_idle()
    written = records(ledger)
    assert costs(written) == costs(simulator.truth.as_json()["usages"])
    assert [(record["model"], record["attributes"]) for record in written] == [
        ("gpt-realtime-1.5", {"tenant": "acme"})
    ] * 2


async def test_what_is_not_signed_as_it_must_be_is_refused_and_nothing_is_listened_to() -> None:
    followed, body, now = Followed(), message_of("rtc_1", {}), int(time.time())
    async with listening(Incoming(secret=_SECRET, follow=followed.follow)) as url:
        good = signature(body, _SECRET)
        assert await posted(url, body, {}) == 400
        assert await posted(url, body, signature(body, _OTHER_SECRET)) == 400
        assert await posted(url, message_of("rtc_2", {}), good) == 400
        assert await posted(url, body, signature(body, _SECRET, now - 3600)) == 400
        assert await posted(url, body, signature(body, _SECRET, now + 3600)) == 400
        for name in good:
            assert await posted(url, body, {key: value for key, value in good.items() if key != name}) == 400
        for odd in ("soon", "nan", "1e400", "9" * 6000, "\u0661\u0662"):
            assert await posted(url, body, {**good, "webhook-timestamp": odd}) == 400
        for odd in ("", "v1", "v1,", "v1,\u00e9", "v2,x v1,\u00e9", "\u00e9"):
            assert await posted(url, body, {**good, "webhook-signature": odd}) == 400
        assert await posted(url, b"\xff\xfe", signature(b"\xff\xfe", _SECRET)) == 400
        assert await posted(url, b" " * 300_000, {}) == 413
        assert followed.calls == []


async def test_a_call_is_listened_to_once_however_often_it_is_told_of() -> None:
    followed, body = Followed(), message_of("rtc_1", {})
    incoming = Incoming(secret=_SECRET, follow=followed.follow)
    async with listening(incoming) as url:
        for _ in range(3):
            assert await posted(url, body, signature(body, _SECRET)) == 200
        assert followed.calls == ["rtc_1"]
        async with aiohttp.ClientSession() as http, http.get(f"{url}/healthz") as answer:
            assert await answer.json() == {"status": "ok", "calls": 1}
        followed.over.set()
        await has_begun(lambda: not incoming.calls)


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"response.completed","data":{"id":"resp_1"}}',
        b'{"type":"realtime.call.incoming","data":{}}',
        b'{"type":"realtime.call.incoming","data":{"call_id":7}}',
        b'{"type":"realtime.call.incoming"}',
        b'{"type":["realtime.call.incoming"],"data":{"call_id":"rtc_1"}}',
        b"[]",
        b"",
        b"{",
    ],
)
async def test_what_tells_of_no_call_is_taken_and_left(body: bytes) -> None:
    followed = Followed()
    async with listening(Incoming(secret=_SECRET, follow=followed.follow)) as url:
        assert await posted(url, body, signature(body, _SECRET)) == 200
        assert followed.calls == []


@pytest.mark.parametrize(
    ("kind", "transport", "is_webrtc"),
    [
        ("live.transport.incoming", "sip", False),
        ("live.call.incoming", None, False),
        # A browser's session: it is there already, and has cost its first seconds.
        ("live.transport.connected", "webrtc", True),
    ],
)
async def test_a_call_of_gpt_live_is_told_of_by_the_id_of_its_session(
    kind: str, transport: str | None, *, is_webrtc: bool
) -> None:
    followed = Followed()
    data = {"type": transport, "session_id": "any_1", "sip_headers": [7, {}]}
    body = json.dumps({"type": kind, "data": data}).encode()
    incoming = Incoming(secret=_SECRET, follow=followed.follow, headers={"X-Tenant": "tenant"})
    async with listening(incoming) as url:
        assert await posted(url, body, signature(body, _SECRET)) == 200
        assert followed.told == [Told(call="any_1", is_live=True, is_webrtc=is_webrtc)]


async def test_many_calls_at_once_are_each_listened_to_once() -> None:
    followed = Followed()
    bodies = [message_of(f"rtc_{number}", {}) for number in range(100)]
    incoming = Incoming(secret=_SECRET, follow=followed.follow)
    async with listening(incoming) as url:
        # Each is told twice, as a provider does that has waited too long for an answer.
        told = await asyncio.gather(*(posted(url, body, signature(body, _SECRET)) for body in [*bodies, *bodies]))
        assert told == [200] * 200
        assert sorted(followed.calls) == sorted(f"rtc_{number}" for number in range(100))
        followed.over.set()
        await has_begun(lambda: not incoming.calls)


async def test_more_calls_than_can_be_listened_to_are_to_be_told_again_later() -> None:
    followed = Followed()
    incoming = Incoming(secret=_SECRET, follow=followed.follow, most=2)
    async with listening(incoming) as url:
        bodies = [message_of(f"rtc_{number}", {}) for number in range(3)]
        assert [await posted(url, body, signature(body, _SECRET)) for body in bodies] == [200, 200, 503]
        followed.over.set()
        await has_begun(lambda: not incoming.calls)
        assert await posted(url, bodies[2], signature(bodies[2], _SECRET)) == 200
        await has_begun(lambda: followed.calls == ["rtc_0", "rtc_1", "rtc_2"])


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!"])
async def test_a_secret_that_is_none_is_refused_at_once(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        Incoming(secret=secret, follow=Followed().follow)


async def test_one_call_that_fails_is_said_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    followed = Followed()

    async def follow(told: Told) -> End:
        if told.call == "rtc_0":
            raise RuntimeError("nothing is instrumented")
        return await followed.follow(told)

    incoming = Incoming(secret=_SECRET, follow=follow)
    async with listening(incoming) as url:
        for call in ("rtc_0", "rtc_1"):
            body = message_of(call, {})
            assert await posted(url, body, signature(body, _SECRET)) == 200
        await has_begun(lambda: incoming.calls == ("rtc_1",))
    assert "listening to the call rtc_0 failed" in caplog.text
    assert incoming.calls == ()
