"""Sessions of GPT-Live, held by the real SDK and by a browser, with totals that are worked out by hand."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import pytest
from aiohttp import web
from openai import AsyncOpenAI
from opentelemetry.instrumentation.utils import suppress_instrumentation
from tests.sideband.conftest import costs, following, has_begun, listening, records, service
from tests.sideband.test_attach_command import answer_of, running
from tests.sideband.test_attachment import serving

from realtime_spend import RealtimeInstrumentor
from realtime_spend.demo.receiver import receiving
from realtime_spend.sideband import End, Service
from realtime_spend.simulator.bill.writing import BillForm, bill_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from opentelemetry.sdk.metrics import MeterProvider
    from tests.conftest import Run, Seen
    from tests.sideband.conftest import Calling

    from realtime_spend.simulator import Simulator

_MINUTE = Decimal("0.05")  # of gpt-live-1
_SECONDS = "realtime_spend.billable.duration"


def audio(milliseconds: int) -> str:
    return base64.b64encode(bytes(48 * milliseconds)).decode()


@contextlib.asynccontextmanager
async def client_of(simulator: Simulator) -> AsyncIterator[AsyncOpenAI]:
    address = f"127.0.0.1:{simulator.port}/v1"
    async with (
        asyncio.timeout(100),
        AsyncOpenAI(api_key="any", base_url=f"http://{address}", websocket_base_url=f"ws://{address}") as client,
    ):
        yield client


async def talked(client: AsyncOpenAI, *milliseconds: int, **session: Any) -> None:
    """Hold a session of the SDK's, to its last event."""
    async with client.live.connect() as connection:
        await connection.session.start(session=cast("Any", {"model": "gpt-live-1", **session}))
        for length in milliseconds:
            await connection.session.input_audio.append(audio=audio(length))
        await connection.session.close()
        async for event in connection:
            if event.type == "session.closed":
                break


def total(seen: Seen, name: str, **match: str) -> Decimal:
    points = [value for attributes, value in seen.points(name) if match.items() <= attributes.items()]
    return sum((Decimal(str(value)) for value in points), Decimal(0))


async def test_two_sessions_of_the_sdk_cost_their_last_totals(
    simulator: Simulator, ledger: Path, seen: Seen, run: Run, tmp_path: Path
) -> None:
    async with client_of(simulator) as client:
        await talked(client, 600, 1400, 10_000)
        await talked(client, 250)
    # 0.6, 2 and 12 seconds are totals of one session; 0.25 is another.
    seconds = Decimal(12) + Decimal("0.25")
    cost = seconds * _MINUTE / 60
    assert [record["quantities"]["audio.duration"] for record in records(ledger)] == ["0.6", "2", "12", "0.25"]
    assert total(seen, _SECONDS) == seconds
    assert float(total(seen, "realtime_spend.cost")) == pytest.approx(float(cost))
    assert total(seen, "realtime_spend.usages", **{"realtime_spend.kind": "live"}) == 2
    assert float(simulator.truth.as_json()["cost"]) == pytest.approx(float(cost))
    [row] = run("report", ledger, "--by", "model", "--json").json["rows"]
    assert row["model"] == "gpt-live-1"
    assert Decimal(row["cost"]) == pytest.approx(cost, abs=Decimal("1e-11"))
    bill_for(simulator.truth.as_json()["usages"], BillForm.OPENAI_COSTS, tmp_path / "bill")
    found = run("reconcile", "--ledger", ledger, "--bill", tmp_path / "bill", "--json").json
    assert {(row["model"], row["billed_quantity"], row["estimated_quantity"]) for row in found["rows"]} == {
        ("gpt-live-1", "12.25", "12.25")
    }
    assert abs(Decimal(found["totals"]["drift_cost"])) < Decimal("1e-9")


async def test_models_that_it_delegates_to_are_counted_as_their_own_and_priced_by_a_card_of_the_user(
    simulator: Simulator, provider: MeterProvider, seen: Seen, tmp_path: Path
) -> None:
    card = tmp_path / "card.toml"
    card.write_text(
        'format = 1\nname = "mine"\nprovider = "openai"\ncurrency = "USD"\ndate = 2026-11-22\n\n'
        '[[model]]\nmodel = "gpt-5.4-mini"\nkind = "chat"\nnames = { "gpt-5.4-mini" = "" }\n\n'
        '[[rate]]\nmodel = "gpt-5.4-mini"\ntext = { input = "1", cached_input = "0.1", output = "8" }\n'
        'source = "a made-up list"\nchecked = 2026-11-22\n',
        encoding="utf-8",
    )
    folder = tmp_path / "ledger"
    RealtimeInstrumentor().instrument(meter_provider=provider, ledger=folder, rate_cards=[card])
    async with client_of(simulator) as client:
        await talked(client, 500, 500, delegation={"type": "responses"})
        await talked(client, 1000, delegation={"type": "decisions"})
    written = records(folder)
    sent = {usage["id"]: usage for usage in simulator.truth.as_json()["usages"] if usage["kind"] == "response"}
    told = {record["id"]: record for record in written if record["kind"] == "response"}
    assert {id_: record["quantities"] for id_, record in told.items()} == {
        id_: usage["quantities"] for id_, usage in sent.items()
    }
    assert sorted(record["model"] for record in told.values()) == ["gpt-5.4-mini", "gpt-5.4-mini", "gpt-5.4-nano"]
    rates = {"text.input": Decimal(1), "text.cached_input": Decimal("0.1"), "text.output": Decimal(8)}
    for record in told.values():
        by_hand = sum(rates[part] * many for part, many in record["quantities"].items()) / 1_000_000
        assert record["cost"] == (None if record["model"] == "gpt-5.4-nano" else f"{by_hand.normalize():f}")
    assert total(seen, "realtime_spend.unpriced", **{"realtime_spend.model": "gpt-5.4-nano"}) == 1
    assert total(seen, _SECONDS) == 2


async def test_a_browsers_session_is_metered_beside_it_and_15_seconds_are_charged_at_once(
    simulator: Simulator, calling: Calling, ledger: Path, seen: Seen, *, run: Run, tmp_path: Path
) -> None:
    with suppress_instrumentation():
        async with aiohttp.ClientSession(simulator.url) as http:
            offer = {"session": {"model": "gpt-live-1"}, "transport": {"type": "webrtc", "sdp": "v=0\r\n"}}
            ids = []
            for _ in range(2):
                async with http.post("/v1/live/sessions", json=offer) as answer:
                    ids.append((await answer.json())["session"]["id"])
            (one, first), (other, second) = (following(id_, service(simulator), is_webrtc=True) for id_ in ids)
            await has_begun(lambda: one.sockets and other.sockets and len(records(ledger)) == 2)
            # The first is abandoned before a word is said, the second talks for 18 seconds.
            await http.post(f"/v1/live/sessions/{ids[0]}/hangup")
            async with calling(simulator, f"/v1/live/sessions?sim_session={ids[1]}") as browser:
                for _ in range(3):
                    await browser.send("session.input_audio.append", audio=audio(6000))
                await browser.send("session.close")
                await browser.until("session.closed")
    assert [await first, await second] == [End.CLOSED] * 2
    seconds = Decimal(15) + Decimal(18)
    assert total(seen, _SECONDS) == seconds
    told = simulator.truth.as_json()["usages"]
    assert sorted(usage["quantities"]["audio.duration"] for usage in told) == ["15", "18"]
    newest = {record["id"]: record for record in records(ledger)}
    assert costs(list(newest.values())) == costs(told)
    cost = seconds * _MINUTE / 60
    assert float(total(seen, "realtime_spend.cost")) == pytest.approx(float(cost))
    rows = run("report", ledger, "--by", "session", "--json").json["rows"]
    assert {row["session"]: Decimal(row["cost"]) for row in rows} == {
        ids[0]: 15 * _MINUTE / 60,
        ids[1]: 18 * _MINUTE / 60,
    }
    bill_for(told, BillForm.OPENAI_COSTS, tmp_path / "bill")
    found = run("reconcile", "--ledger", ledger, "--bill", tmp_path / "bill", "--json").json
    assert [(row["billed_quantity"], row["estimated_quantity"]) for row in found["rows"]] == [("33", "33")]
    assert abs(Decimal(found["totals"]["drift_cost"])) < Decimal("1e-9")


async def test_killed_and_started_again_it_counts_the_seconds_of_a_session_once(
    simulator: Simulator, run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "ledger"
    with receiving() as (endpoint, received):
        told = exporting(endpoint, f"{simulator.url}/v1", folder)
        async with client_of(simulator) as client, client.live.connect() as own:
            await own.session.start(session={"model": "gpt-live-1"})
            started = await own.recv()
            assert started.type == "session.started"
            async with running(started.session.id, **told) as first:
                await heard(own, "session.updated")
                await own.session.input_audio.append(audio=audio(3000))
                await has_begun(lambda: received.total(_SECONDS, {}) == 3)
                first.kill()
                await first.wait()
            # Nobody listens to this; the next total has it all the same.
            await own.session.input_audio.append(audio=audio(2000))
            async with running(started.session.id, **told) as second:
                await heard(own, "session.updated")
                await own.session.input_audio.append(audio=audio(4000))
                await own.session.close()
                await heard(own, "session.closed")
                assert (await answer_of(second))[0] == 0
    sent = simulator.truth.as_json()
    assert len({instance for instance, name, _ in received.series if name == _SECONDS}) == 2
    assert received.total(_SECONDS, {}) == 9
    assert received.total("realtime_spend.cost", {}) == pytest.approx(float(sent["cost"]))
    assert received.total("realtime_spend.usages", {"realtime_spend.kind": "live"}) == 1
    writers = {record["writer"]: record["quantities"]["audio.duration"] for record in records(folder)}
    assert sorted(writers.values()) == ["3", "9"]
    [row] = run("report", folder, "--by", "session", "--json").json["rows"]
    assert Decimal(row["cost"]) == 9 * _MINUTE / 60
    bill_for(sent["usages"], BillForm.OPENAI_COSTS, tmp_path / "bill")
    found = run("reconcile", "--ledger", folder, "--bill", tmp_path / "bill", "--json").json
    assert [(row["billed_quantity"], row["estimated_quantity"]) for row in found["rows"]] == [("9", "9")]


def exporting(endpoint: str, url: str, ledger: Path) -> dict[str, str]:
    """The variables of a process that sends its metrics often, so that little is lost when it is killed."""
    return {
        "REALTIME_SPEND_LEDGER": str(ledger),
        "OPENAI_BASE_URL": url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRIC_EXPORT_INTERVAL": "50",
    }


def delegated(number: int, tokens: int) -> dict[str, Any]:
    """The end of a response of a model that was delegated to."""
    done = {
        "id": f"resp_{number}",
        "model": "gpt-5.4-mini",
        "usage": {"input_tokens": tokens, "output_tokens": 0, "total_tokens": tokens},
    }
    return {"type": "response.event", "event": {"type": "response.completed", "response": done}}


def said(total: float, type_: str = "session.usage.updated") -> dict[str, Any]:
    return {"type": type_, "session": {"id": "sess_1", "model": "gpt-live-1"}, "usage": {"seconds": total}}


async def test_what_a_killed_process_had_counted_is_told_again_and_counted_once(tmp_path: Path) -> None:
    sockets = 0
    says = [
        [delegated(1, 700), said(3)],
        [delegated(1, 700), said(3), delegated(2, 50), said(9), said(9.5, "session.closed")],
    ]

    async def session(request: web.Request) -> web.WebSocketResponse:
        nonlocal sockets
        sockets += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for event in says[sockets - 1]:
            await socket.send_json(event)
        if sockets == 1:
            await socket.receive()
        return socket

    folder = tmp_path / "ledger"
    with receiving() as (endpoint, received):
        async with serving(session) as url:
            told = exporting(endpoint, url, folder)
            async with running("sess_1", "--silent", "--model", "gpt-live-1", **told) as first:
                await has_begun(lambda: received.total(_SECONDS, {}) == 3)
                first.kill()
                await first.wait()
            others_write(folder)
            async with running("sess_1", "--silent", "--model", "gpt-live-1", **told) as second:
                assert (await answer_of(second))[0] == 0
    assert received.total(_SECONDS, {}) == 9.5
    assert received.total("realtime_spend.cost", {}) == pytest.approx(float(Decimal("9.5") * _MINUTE / 60))
    assert received.total("gen_ai.client.inference.usage.input_tokens", {}) == 700 + 50
    assert received.total("realtime_spend.usages", {"realtime_spend.kind": "response"}) == 2
    assert received.total("realtime_spend.usages", {"realtime_spend.kind": "live"}) == 1
    assert received.total("realtime_spend.duplicates", {}) == 1
    assert received.total("realtime_spend.errors", {}) == 0


def others_write(folder: Path) -> None:
    """Put into a ledger what the second process is not to go on from, and what nobody can read."""
    [file] = folder.iterdir()
    [total] = [line for line in records(folder) if line["kind"] == "live"]
    more = {"audio.duration": "60"}
    others: list[dict[str, Any]] = [
        {"server": "api.openai.com", "quantities": more},
        {"provider": "azure.ai.openai", "quantities": more},
        {"session": "sess_12", "id": "sess_12", "quantities": more},
        # A program that holds the session counts for itself.
        {"source": "openai.hook", "quantities": more},
        # Written down before anybody had said the model, and not counted.
        {"model": None, "cost": None, "quantities": more},
        # As where a service was silent to the end.
        {"usage": "missing", "quantities": {}, "costs": {}},
    ]
    lines = [json.dumps(total | other) for other in others]
    lines += ['{"v":1,"session":"sess_1"', json.dumps({"v": 1, "session": "sess_1", "kind": 7, "quantities": "many"})]
    lines += ['"sess_1"', ""]
    file.with_name(f"{file.name[:10]}-another.jsonl").write_text("\n".join(lines), encoding="utf-8")
    file.with_name(f"{file.name[:10]}-folder.jsonl").mkdir()
    # Cut off, as by a full disk.
    with file.open("ab") as end:
        end.write(b'{"v":1,"at":"2026-11-18T10:00:00.000000Z","session":"sess_1","quan\xff')


@pytest.mark.parametrize("folder", ["none", "a file"])
async def test_without_anything_to_go_on_from_a_session_is_counted_whole(
    folder: str, simulator: Simulator, provider: MeterProvider, seen: Seen, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    if folder == "a file":
        ledger.write_text("no folder", encoding="utf-8")
    RealtimeInstrumentor().instrument(meter_provider=provider, ledger=ledger)
    with suppress_instrumentation():
        async with client_of(simulator) as client, client.live.connect() as own:
            await own.session.start(session={"model": "gpt-live-1"})
            started = await own.recv()
            assert started.type == "session.started"
            attachment, task = following(started.session.id, service(simulator))
            await has_begun(lambda: attachment.sockets)
            await own.session.input_audio.append(audio=audio(3000))
            await own.session.close()
            await heard(own, "session.closed")
            assert await task is End.CLOSED
    assert total(seen, _SECONDS) == 3


async def heard(connection: Any, type_: str) -> None:
    async for event in connection:
        if event.type == type_:
            return


async def test_three_sockets_of_one_session_count_its_seconds_once(
    simulator: Simulator, ledger: Path, seen: Seen, run: Run
) -> None:
    async with client_of(simulator) as client, client.live.connect() as own:
        await own.session.start(session={"model": "gpt-live-1"})
        started = await own.recv()
        assert started.type == "session.started"
        call = started.session.id
        (one, first), (other, second) = (following(call, service(simulator)) for _ in range(2))
        await has_begun(lambda: one.sockets and other.sockets)
        for _ in range(4):
            await own.session.input_audio.append(audio=audio(1500))
        await own.session.close()
        async for event in own:
            if event.type == "session.closed":
                break
        assert [await first, await second] == [End.CLOSED] * 2
    assert total(seen, _SECONDS) == Decimal(6)
    [row] = run("report", ledger, "--by", "session", "--json").json["rows"]
    assert Decimal(row["cost"]) == 6 * _MINUTE / 60


async def test_what_is_known_of_a_session_without_a_model_is_in_the_ledger_before_its_end(
    simulator: Simulator, ledger: Path, seen: Seen, run: Run
) -> None:
    with suppress_instrumentation():
        async with client_of(simulator) as client, client.live.connect() as own:
            await own.session.start(session={"model": "gpt-live-1"})
            started = await own.recv()
            assert started.type == "session.started"
            _, task = await listening(started.session.id, service(simulator), asks=False)
            for _ in range(3):
                await own.session.input_audio.append(audio=audio(8000))
            await has_begun(lambda: records(ledger))
            [noted] = records(ledger)
            assert (noted["quantities"], noted["cost"], noted["model"]) == ({"audio.duration": "24"}, None, None)
            assert total(seen, _SECONDS) == 0
            await own.session.close()
            await heard(own, "session.closed")
            assert await task is End.CLOSED
    assert total(seen, _SECONDS) == Decimal(24)
    assert float(total(seen, "realtime_spend.cost")) == pytest.approx(float(24 * _MINUTE / 60))
    [row] = run("report", ledger, "--by", "model", "--json").json["rows"]
    assert (row["model"], Decimal(row["cost"])) == ("gpt-live-1", 24 * _MINUTE / 60)


@pytest.mark.parametrize("code", [1000, 1006])
async def test_it_ends_when_the_session_says_so_however_the_socket_is_left(ledger: Path, code: int) -> None:
    asked = 0

    async def session(request: web.Request) -> web.WebSocketResponse:
        nonlocal asked
        asked += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        told: dict[str, Any] = {"session": {"id": "sess_1", "model": "gpt-live-1"}, "usage": {"seconds": 3.5}}
        await socket.send_json({"type": "session.closed", "reason": "expired", **told})
        if code == 1006:
            assert request.transport is not None
            await asyncio.sleep(0.05)
            request.transport.abort()
        return socket

    async with serving(session) as url:
        attachment, task = following("sess_1", Service(base_url=url, headers={}))
        assert await task is End.CLOSED
    assert (asked, attachment.sockets) == (1, 1)
    [record] = records(ledger)
    assert (record["id"], record["status"], record["quantities"]) == ("sess_1", "completed", {"audio.duration": "3.5"})
