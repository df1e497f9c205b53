"""Calls that browsers and telephones hold, listened to beside them: what is counted is what the service sent."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.instrumentation.utils import suppress_instrumentation
from tests.sideband.conftest import KEY, QUICK, costs, following, has_begun, listening, records, service, written_in

from realtime_spend import attributed
from realtime_spend.sideband import Attachment, End, Patience, Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import Seen
    from tests.sideband.conftest import Calling

    from realtime_spend.simulator import Simulator

_COST = "realtime_spend.cost"
# What even a filtered browser is told of the end of an answer.
_HEARD = "response.output_audio_transcript.done"
_OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
_TRANSCRIBED = {"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}


async def offered(simulator: Simulator, path: str, **session: Any) -> str:
    """Set up a WebRTC call as a browser does, and return its id."""
    with suppress_instrumentation():
        async with aiohttp.ClientSession(simulator.url) as http:
            form = {"sdp": _OFFER, "session": str(session).replace("'", '"')}
            body: Any = aiohttp.FormData(form, default_to_multipart=True) if session else _OFFER
            async with http.post(path, data=body) as answer:
                assert answer.status == 201
                return answer.headers["Location"].rpartition("/")[2]


def total(seen: Seen, name: str = _COST) -> float:
    return float(sum(value for _, value in seen.points(name)))


async def test_a_browser_that_is_told_nothing_is_metered_in_full(
    simulator: Simulator, calling: Calling, ledger: Path, seen: Seen
) -> None:
    call = await offered(simulator, "/v1/realtime/calls", type="realtime", model="gpt-realtime-mini")
    attachment, task = await listening(call, service(simulator))
    async with calling(simulator, f"/v1/realtime?model=any&sim_call_id={call}&webrtcfilter=on") as browser:
        await browser.send("session.update", session=_TRANSCRIBED)
        await browser.turns(3, heard=_HEARD)
        assert not browser.types() & {"session.created", "response.done"}
        await has_begun(lambda: len(records(ledger)) == 6)
    assert await task is End.CLOSED
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert len(truth["usages"]) == 6
    written = records(ledger)
    assert costs(written) == costs(truth["usages"])
    assert {record["source"] for record in written} == {"openai.sideband"}
    assert {record["model"] for record in written} == {"gpt-realtime-mini", "gpt-4o-transcribe"}
    assert {record["session"] for record in written} == {truth["sessions"][0]["id"]}
    assert total(seen) == pytest.approx(float(truth["cost"]))
    assert total(seen, "realtime_spend.session.active") == 0
    assert attachment.sockets == 1


async def test_a_call_of_azure_is_priced_by_the_model_that_its_session_says(
    simulator: Simulator, calling: Calling, ledger: Path
) -> None:
    call = await offered(simulator, "/openai/v1/realtime/calls?model=voice")
    _, task = await listening(call, service(simulator, "/openai/v1"))
    path = f"/openai/v1/realtime?model=voice&sim_call_id={call}&webrtcfilter=on"
    async with calling(simulator, path) as browser:
        await browser.turns(heard=_HEARD)
        await has_begun(lambda: records(ledger))
    assert await task is End.CLOSED
    await simulator.wait_idle()
    [written], [sent] = records(ledger), simulator.truth.as_json()["usages"]
    assert (written["provider"], written["model"]) == ("azure.ai.openai", sent["model"])
    assert written["quantities"] == sent["quantities"]
    assert written["cost"] == sent["cost"]


async def test_a_call_that_only_transcribes_is_asked_again_as_what_it_is(
    simulator: Simulator, calling: Calling, ledger: Path
) -> None:
    call = await offered(simulator, "/v1/realtime/calls", type="transcription", **_TRANSCRIBED)
    _, task = await listening(call, service(simulator))
    async with calling(simulator, f"/v1/realtime?intent=transcription&sim_call_id={call}") as browser:
        # The model of its transcriptions was said before it came: the sideband must have asked for it.
        await browser.say()
        await browser.until("conversation.item.input_audio_transcription.completed")
        await has_begun(lambda: records(ledger))
    assert await task is End.CLOSED
    await simulator.wait_idle()
    [written], [sent] = records(ledger), simulator.truth.as_json()["usages"]
    assert (written["kind"], written["model"]) == ("transcription", "gpt-4o-transcribe")
    assert (written["cost"], written["quantities"]) == (sent["cost"], sent["quantities"])
    assert written["cost"] is not None


async def test_three_sockets_of_one_call_in_one_process_count_it_once(
    simulator: Simulator, calling: Calling, ledger: Path, seen: Seen
) -> None:
    call = await offered(simulator, "/v1/realtime/calls", type="realtime", model="gpt-realtime")
    (one, first), (other, second) = (following(call, service(simulator)) for _ in range(2))
    await has_begun(lambda: one.sockets and other.sockets)
    async with calling(simulator, f"/v1/realtime?model=any&sim_call_id={call}", is_watched=True) as client:
        await client.turns(3)
        await has_begun(lambda: total(seen, "realtime_spend.duplicates") == 6)
    assert [await first, await second] == [End.CLOSED] * 2
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert costs(records(ledger)) == costs(truth["usages"])
    assert total(seen) == pytest.approx(float(truth["cost"]))


async def test_nothing_is_said_where_nothing_may_be_and_the_model_is_as_told(
    simulator: Simulator, calling: Calling, ledger: Path
) -> None:
    call = await offered(simulator, "/v1/realtime/calls", type="realtime", model="gpt-realtime-mini")
    _, task = await listening(call, service(simulator), asks=False, model="gpt-realtime-mini")
    async with calling(simulator, f"/v1/realtime?model=any&sim_call_id={call}") as client:
        await client.turns()
        await has_begun(lambda: records(ledger))
        assert "session.updated" not in client.types()
    assert await task is End.CLOSED
    await simulator.wait_idle()
    assert costs(records(ledger)) == costs(simulator.truth.as_json()["usages"])
    assert [record["session"] for record in records(ledger)] == [None]


async def test_a_sideband_whose_network_drops_comes_back_and_goes_on(
    simulator: Simulator, calling: Calling, ledger: Path, seen: Seen
) -> None:
    call = await offered(simulator, "/v1/realtime/calls", type="realtime", model="gpt-realtime")
    async with Cable(simulator.port).laid() as cable:
        attachment, task = await listening(call, service(simulator, port=cable.port))
        async with calling(simulator, f"/v1/realtime?model=any&sim_call_id={call}&webrtcfilter=on") as browser:
            for _ in range(3):
                await browser.turns(heard=_HEARD)
                await has_begun(lambda: len(records(ledger)) == attachment.sockets)
                # It is there again when it has been answered what it asked.
                cable.cut()
                await has_begun(lambda: cable.carried > len(records(ledger)))
        assert await task is End.CLOSED
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert costs(records(ledger)) == costs(truth["usages"])
    assert total(seen) == pytest.approx(float(truth["cost"]))
    assert {record["usage"] for record in records(ledger)} == {"reported"}
    assert attachment.sockets == 4


async def test_the_end_of_a_call_is_found_out_where_the_service_does_not_tell_it(
    simulator: Simulator, calling: Calling, ledger: Path
) -> None:
    call = await offered(simulator, "/v1/realtime/calls?sim_silent_end=1", type="realtime", model="gpt-realtime")
    patience = Patience(call=5, service=5, silence=0.4, whole=60, least=0.02, most=0.2)
    attachment, task = await listening(call, service(simulator), patience)
    async with calling(simulator, f"/v1/realtime?model=any&sim_call_id={call}") as client:
        # While the call lasts, silence is only a reason to look.
        await has_begun(lambda: attachment.sockets >= 3)
        await client.turns()
        await has_begun(lambda: records(ledger))
        assert not task.done()
    assert await task is End.GONE
    assert costs(records(ledger)) == costs(simulator.truth.as_json()["usages"])


async def test_a_response_that_is_never_finished_is_lost_once_the_call_is_over(
    simulator: Simulator, calling: Calling, ledger: Path
) -> None:
    path = "/v1/realtime/calls?sim_outcomes=never_finished"
    call = await offered(simulator, path, type="realtime", model="gpt-realtime")
    _, task = await listening(call, service(simulator))
    async with calling(simulator, f"/v1/realtime?model=any&sim_call_id={call}") as client:
        await client.send("response.create")
        await client.until("response.created")
    assert await task is End.CLOSED
    await simulator.wait_idle()
    assert [(record["usage"], record["cost"]) for record in records(ledger)] == [("lost", None)]


async def test_whose_call_it_is_is_on_what_it_costs(simulator: Simulator, calling: Calling, ledger: Path) -> None:
    call = await offered(simulator, "/v1/realtime/calls", type="realtime", model="gpt-realtime")
    with attributed(tenant="acme"):
        attachment, task = following(call, service(simulator))
    await has_begun(lambda: attachment.sockets)
    async with calling(simulator, f"/v1/realtime?model=any&sim_call_id={call}") as client:
        await client.turns()
        await has_begun(lambda: records(ledger))
    await task
    assert [record["attributes"] for record in records(ledger)] == [{"tenant": "acme"}]


@pytest.mark.parametrize(
    ("status", "end"), [(401, End.REFUSED), (403, End.REFUSED), (404, End.NOT_FOUND), (503, End.UNREACHABLE)]
)
@pytest.mark.usefixtures("ledger")
async def test_a_service_that_does_not_let_us_in_ends_it(
    status: int, end: End, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=status)

    caplog.set_level("DEBUG")
    async with serving(refuse) as url:
        patience = Patience(call=0.2, service=0.2, silence=5, whole=20, least=0.02, most=0.1)
        attachment = Attachment("rtc_1", Service(base_url=url, headers={"Authorization": KEY}), patience=patience)
        assert await attachment.follow() is end
    assert attachment.sockets == 0
    assert f"the service answers with {status}" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.usefixtures("ledger")
async def test_a_service_that_is_not_there_ends_it(port_of_nobody: int) -> None:
    url = f"http://127.0.0.1:{port_of_nobody}/v1"
    patience = Patience(call=0.2, service=0.2, silence=5, whole=20, least=0.02, most=0.1)
    assert await Attachment("rtc_1", Service(base_url=url, headers={}), patience=patience).follow() is End.UNREACHABLE


@pytest.mark.usefixtures("ledger")
async def test_a_call_that_never_ends_is_given_up(simulator: Simulator, calling: Calling) -> None:
    patience = Patience(call=5, service=5, silence=5, whole=0.3, least=0.02, most=0.1)
    async with calling(simulator, "/v1/realtime?model=gpt-realtime&sim_call_id=rtc_1"):
        assert await Attachment("rtc_1", service(simulator), patience=patience).follow() is End.TOO_LONG


async def test_without_an_instrumentation_nobody_would_count(simulator: Simulator) -> None:
    with pytest.raises(RuntimeError, match=r"instrument\(\)"):
        await Attachment("rtc_1", service(simulator), patience=QUICK).follow()


async def test_the_key_is_in_no_record(
    simulator: Simulator, calling: Calling, ledger: Path, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    call = await offered(simulator, "/v1/realtime/calls", type="realtime", model="gpt-realtime")
    where = service(simulator)
    _, task = await listening(call, where)
    async with calling(simulator, f"/v1/realtime?model=any&sim_call_id={call}") as client:
        await client.turns()
        await has_begun(lambda: records(ledger))
    await task
    assert KEY not in written_in(ledger)
    assert KEY not in "".join(str(metric.to_json()) for metric in seen.metrics().values())
    # aiohttp's own log is not ours.
    assert KEY not in "".join(record.getMessage() for record in caplog.records)
    assert KEY not in repr(where)


class Cable:
    """Carries connections to a port, until it is cut."""

    def __init__(self, to: int) -> None:
        self._to, self.port, self.carried = to, 0, 0
        self._writers: list[asyncio.StreamWriter] = []

    @contextlib.asynccontextmanager
    async def laid(self) -> AsyncIterator[Cable]:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        """Drop all connections without a word."""
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, far_writer]
        await asyncio.gather(
            self._one_way(reader, far_writer, is_answer=False), self._one_way(far_reader, writer, is_answer=True)
        )

    async def _one_way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        is_told = not is_answer
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
                if not is_told and b"session.updated" in data:
                    is_told, self.carried = True, self.carried + 1
        writer.close()


@contextlib.asynccontextmanager
async def serving(handler: Any) -> AsyncIterator[str]:
    """Run a server on this machine that answers everything in one way."""
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()
