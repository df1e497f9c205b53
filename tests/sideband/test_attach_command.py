"""The command `attach`: beside a program that counts the same calls, in another process, and as a webhook."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from click.testing import CliRunner
from openai import AsyncOpenAI
from tests.sideband.conftest import KEY, costs, has_begun, records, written_in

from realtime_spend.attach_command import attach
from realtime_spend.simulator.bill.writing import BillForm, bill_for
from realtime_spend.simulator.ringing import incoming, signature

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import Run, Seen
    from tests.sideband.conftest import Caller, Calling

    from realtime_spend.simulator import Simulator

_PROGRAM = "from realtime_spend.attach_command import attach; attach()"
_SECRET = "whsec_cGxhbnRlZCBzZWNyZXQgb2YgYSB3ZWJob29r"  # noqa: S105 - made up for these tests
_PATIENCE = 60.0
# Whether its question has been answered before the first response is none of what these tests are about.
_NAMED = ("--model", "gpt-realtime")


@contextlib.asynccontextmanager
async def running(*arguments: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command in a process of its own, and end it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _PROGRAM,
        *arguments,
        env={**os.environ, "OPENAI_API_KEY": KEY, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def answer_of(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(_PATIENCE):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def told(simulator: Simulator, ledger: Path, **others: str) -> dict[str, str]:
    """What the command is told by its environment: where the calls are, and where its records go."""
    return {"REALTIME_SPEND_LEDGER": str(ledger), "OPENAI_BASE_URL": f"{simulator.url}/v1", **others}


@contextlib.asynccontextmanager
async def webhook(simulator: Simulator, ledger: Path, *arguments: str, **others: str) -> AsyncIterator[Any]:
    """Run the command as a webhook, and yield its process and its URL."""
    environment = told(simulator, ledger, OPENAI_WEBHOOK_SECRET=_SECRET, **others)
    async with running("--webhook", "--port", "0", *arguments, **environment) as process:
        assert process.stdout is not None
        async with asyncio.timeout(_PATIENCE):
            url = (await process.stdout.readline()).decode().strip()
        yield process, url


def sidebands(simulator: Simulator) -> int:
    return sum(socket.sideband for session in simulator._sessions.values() for socket in session._sockets)


async def talked(calling: Calling, simulator: Simulator, path: str, sideband: int, *, turns: int = 3) -> None:
    """Hold a call in this process, beside so many sidebands of others."""
    async with calling(simulator, path, is_watched=True) as client:
        await has_begun(lambda: sidebands(simulator) == sideband)
        # They are listening when they have been answered what they asked.
        for _ in range(sideband):
            await client.until("session.updated")
        await client.turns(turns)


async def test_a_call_seen_by_three_processes_is_counted_once_in_the_report(
    simulator: Simulator, calling: Calling, ledger: Path, run: Run, tmp_path: Path
) -> None:
    shared = told(simulator, ledger)
    async with running("rtc_1", **shared) as one, running("rtc_1", "--json", **shared) as other:
        path = "/v1/realtime?model=gpt-realtime&sim_call_id=rtc_1"
        await talked(calling, simulator, path, 2)
        assert await answer_of(one) == (0, "rtc_1: the call is over\n", "rtc_1: listened to\n")
        status, out, err = await answer_of(other)
        assert (status, json.loads(out)) == (0, [{"call": "rtc_1", "end": "closed", "sockets": 1}])
        assert err == "rtc_1: listened to\n"
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    written = records(ledger)
    assert len(written) == 9
    assert {record["source"] for record in written} == {"openai.hook", "openai.sideband"}
    for source in ("openai.hook", "openai.sideband"):
        once = {record["id"]: record for record in written if record["source"] == source}
        assert costs(list(once.values())) == costs(truth["usages"])
    said = run("report", ledger, "--by", "model", "--json").json
    assert sum(Decimal(row["cost"]) for row in said["rows"]) == Decimal(truth["cost"])
    bill_for(truth["usages"], BillForm.OPENAI_COSTS, tmp_path / "bill")
    compared = run("reconcile", "--ledger", ledger, "--bill", tmp_path / "bill", "--json").json["totals"]
    assert Decimal(compared["estimated_cost"]) == Decimal(truth["cost"])
    assert Decimal(compared["unexplained_cost"]) == 0
    assert abs(Decimal(compared["drift_cost"])) < Decimal("1e-6")
    assert KEY not in written_in(ledger)


async def test_an_observer_writes_the_ledger_and_leaves_the_metrics_to_the_other_process(
    simulator: Simulator, calling: Calling, ledger: Path, seen: Seen, tmp_path: Path
) -> None:
    own = tmp_path / "observer"
    environment = told(simulator, own, REALTIME_SPEND_ROLE="observer", OTEL_METRICS_EXPORTER="console")
    async with running("rtc_1", **environment) as process:
        await talked(calling, simulator, "/v1/realtime?model=gpt-realtime&sim_call_id=rtc_1", 1)
        status, out, _ = await answer_of(process)
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert status == 0
    assert costs(records(own)) == costs(records(ledger)) == costs(truth["usages"])
    # Its console shows what it would have sent: nothing of the call.
    assert "realtime_spend.cost" not in out
    assert sum(value for _, value in seen.points("realtime_spend.cost")) == pytest.approx(float(truth["cost"]))


async def test_a_counter_of_its_own_sends_what_the_call_costs(
    simulator: Simulator, calling: Calling, tmp_path: Path
) -> None:
    environment = told(simulator, tmp_path / "own", OTEL_METRICS_EXPORTER="console")
    async with running("rtc_1", **environment) as process:
        await talked(calling, simulator, "/v1/realtime?model=gpt-realtime&sim_call_id=rtc_1", 1)
        _, out, _ = await answer_of(process)
    await simulator.wait_idle()
    assert last_cost(out) == pytest.approx(float(simulator.truth.as_json()["cost"]))


def last_cost(out: str) -> float:
    """Return the sum of the cost counter in the last thing that the console exporter printed."""
    decoder, at, documents = json.JSONDecoder(), out.index("{"), []
    while at >= 0:
        document, end = decoder.raw_decode(out, at)
        documents.append(document)
        at = out.find("{", end)
    metrics: list[dict[str, Any]] = [
        metric
        for resource in documents[-1]["resource_metrics"]
        for scope in resource["scope_metrics"]
        for metric in scope["metrics"]
        if metric["name"] == "realtime_spend.cost"
    ]
    return float(sum(point["value"] for metric in metrics for point in metric["data"]["data_points"]))


async def test_the_webhook_attaches_by_itself_until_it_is_asked_to_end(
    simulator: Simulator, calling: Calling, tmp_path: Path
) -> None:
    folder = tmp_path / "ledger"
    async with webhook(simulator, folder, "--header", "X-Tenant=tenant") as (process, url):
        call = await simulator.ring(url, secret=_SECRET, headers={"X-Tenant": "acme"})
        async with answered(simulator, calling, call, folder):
            pass
        process.send_signal(signal.SIGTERM)
        status, _, err = await answer_of(process)
    assert (status, err) == (0, f"{call}: listened to\n{call}: the call is over\n")
    await simulator.wait_idle()
    assert costs(records(folder)) == costs(simulator.truth.as_json()["usages"])
    assert records(folder)[0]["attributes"] == {"tenant": "acme"}


async def test_ctrl_c_ends_it_and_what_was_metered_is_kept(
    simulator: Simulator, calling: Calling, tmp_path: Path
) -> None:
    folder = tmp_path / "ledger"
    environment = told(simulator, folder)
    async with (
        running("rtc_1", "--json", **environment) as process,
        calling(simulator, "/v1/realtime?model=gpt-realtime&sim_call_id=rtc_1") as client,
    ):
        await has_begun(lambda: sidebands(simulator) == 1)
        await all_know_the_session(client)
        await client.turns()
        await has_begun(lambda: records(folder))
        process.send_signal(signal.SIGINT)
        status, out, err = await answer_of(process)
        assert (status, json.loads(out)) == (0, [{"call": "rtc_1", "end": None, "sockets": 1}])
        assert "nobody listens to them now" in err
    assert [record["usage"] for record in records(folder)] == ["reported"]


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        ([], {}, "name the calls"),
        (["rtc_1", "--webhook"], {}, "one of the two"),
        (["rtc_1", "--silent"], {}, "add --model"),
        (["rtc_1"], {"OPENAI_API_KEY": ""}, "OPENAI_API_KEY is not set"),
        (["rtc_1", "--url", "nowhere"], {}, "is no address"),
        (["rtc_1"], {}, "set REALTIME_SPEND_LEDGER"),
        (["rtc_1"], {"OTEL_METRICS_EXPORTER": "none"}, "set REALTIME_SPEND_LEDGER"),
        (["--webhook"], {}, "OPENAI_WEBHOOK_SECRET is not set"),
        (["--webhook"], {"OPENAI_WEBHOOK_SECRET": "whsec_?"}, "OPENAI_WEBHOOK_SECRET: it is no secret"),
        (["rtc_1", "--header", "X-Tenant=tenant"], {}, "--header goes with --webhook"),
        (["rtc_1", "--port", "8787"], {}, "--port goes with --webhook"),
        (["--webhook", "--header", "X-Tenant"], {"OPENAI_WEBHOOK_SECRET": _SECRET}, "SIP-HEADER=ATTRIBUTE"),
        (["--webhook", "--path", "webhook"], {"OPENAI_WEBHOOK_SECRET": _SECRET}, "such as /webhook"),
        (["--webhook", "--path", "/{id}"], {"OPENAI_WEBHOOK_SECRET": _SECRET}, "such as /webhook"),
        (["--webhook", "--path", "/healthz"], {"OPENAI_WEBHOOK_SECRET": _SECRET}, "such as /webhook"),
        ([""], {}, "is no id of a call"),
        (["https://api.openai.com/v1/realtime/calls/rtc_1"], {}, "behind the last slash"),
        (["rtc_1"], {"OPENAI_API_KEY": f"{KEY}\nand more"}, "OPENAI_API_KEY holds no key"),
        (["rtc_1"], {"OPENAI_API_KEY": f"{KEY}\u2026"}, "OPENAI_API_KEY holds no key"),
        (["rtc_1"], {"REALTIME_SPEND_LEDGER": __file__}, "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    arguments: list[str], environment: dict[str, str], sentence: str
) -> None:
    result = CliRunner().invoke(attach, arguments, env={"OPENAI_API_KEY": KEY, **environment})
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert KEY not in result.output


async def test_a_call_that_is_not_there_has_the_status_of_an_input_that_cannot_be_read(
    simulator: Simulator, calling: Calling, tmp_path: Path
) -> None:
    async with calling(simulator, "/v1/realtime?model=gpt-realtime&sim_call_id=rtc_over"):
        pass
    await simulator.wait_idle()
    environment = told(simulator, tmp_path)
    async with running("rtc_over", **environment) as process:
        assert await answer_of(process) == (2, "rtc_over: there is no such call at this service\n", "")


async def test_of_several_calls_one_that_was_not_heard_is_a_failure(
    simulator: Simulator, calling: Calling, tmp_path: Path
) -> None:
    async with calling(simulator, "/v1/realtime?model=gpt-realtime&sim_call_id=rtc_over"):
        pass
    await simulator.wait_idle()
    environment = told(simulator, tmp_path / "own")
    async with running("rtc_1", "rtc_over", **environment) as process:
        await talked(calling, simulator, "/v1/realtime?model=gpt-realtime&sim_call_id=rtc_1", 1, turns=1)
        said = "rtc_1: the call is over\nrtc_over: there is no such call at this service\n"
        assert await answer_of(process) == (2, said, "rtc_1: listened to\n")
    assert len(records(tmp_path / "own")) == 1


async def test_a_service_that_is_not_there_is_said_at_once_and_ctrl_c_ends_the_waiting(
    tmp_path: Path, port_of_nobody: int
) -> None:
    base_url = f"http://127.0.0.1:{port_of_nobody}/v1"
    environment = {"REALTIME_SPEND_LEDGER": str(tmp_path), "OPENAI_BASE_URL": base_url}
    async with running("rtc_1", **environment) as process:
        assert process.stderr is not None
        async with asyncio.timeout(_PATIENCE):
            line = (await process.stderr.readline()).decode()
        assert line == "127.0.0.1 cannot be reached; it is tried again for 120 seconds\n"
        process.send_signal(signal.SIGINT)
        status, out, err = await answer_of(process)
    assert (status, out) == (0, "")
    assert err == "realtime-spend: asked to end; the calls may go on, and nobody listens to them now\n"


async def test_asked_to_end_it_lets_calls_end_and_leaves_new_ones_to_another_process(
    simulator: Simulator, calling: Calling, tmp_path: Path
) -> None:
    folder = tmp_path / "ledger"
    async with webhook(simulator, folder, *_NAMED) as (process, url):
        call = await simulator.ring(url, secret=_SECRET)
        async with AsyncOpenAI(api_key="any", base_url=f"{simulator.url}/v1") as client:
            await client.realtime.calls.accept(call, type="realtime", model="gpt-realtime")
        async with calling(simulator, f"/v1/realtime?model=any&sim_call_id={call}") as telephone:
            await has_begun(lambda: sidebands(simulator) == 1)
            process.send_signal(signal.SIGTERM)
            await is_draining(url)
            body = incoming("rtc_new", {})
            signed = signature(body, _SECRET)
            async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=signed) as answer:
                assert answer.status == 503
            # What is used from now on is metered all the same.
            await telephone.turns(2)
        assert (await answer_of(process))[0] == 0
    await simulator.wait_idle()
    assert len(records(folder)) == 2
    assert costs(records(folder)) == costs(simulator.truth.as_json()["usages"])


async def test_a_second_signal_ends_it_though_a_call_goes_on(
    simulator: Simulator, calling: Calling, tmp_path: Path
) -> None:
    async with webhook(simulator, tmp_path, "--drain", "3600") as (process, url):
        call = await simulator.ring(url, secret=_SECRET)
        async with answered(simulator, calling, call, tmp_path):
            process.send_signal(signal.SIGTERM)
            await is_draining(url)
            process.send_signal(signal.SIGTERM)
            assert (await answer_of(process))[0] == 0
    assert [record["usage"] for record in records(tmp_path)] == ["reported"]


@contextlib.asynccontextmanager
async def answered(simulator: Simulator, calling: Calling, call: str, folder: Path) -> AsyncIterator[None]:
    """Accept a call that rings, speak in it, and have the answer written down; it goes on for as long as the block."""
    async with AsyncOpenAI(api_key="any", base_url=f"{simulator.url}/v1") as client:
        await client.realtime.calls.accept(call, type="realtime", model="gpt-realtime")
    async with calling(simulator, f"/v1/realtime?model=any&sim_call_id={call}") as telephone:
        await has_begun(lambda: sidebands(simulator) == 1)
        await all_know_the_session(telephone)
        await telephone.turns()
        await has_begun(lambda: records(folder))
        yield


async def all_know_the_session(caller: Caller) -> None:
    """Have every socket of the call told its session: the sideband may not have asked yet."""
    await caller.send("session.update", session={"type": "realtime"})
    await caller.until("session.updated")


async def is_draining(url: str) -> None:
    async with asyncio.timeout(_PATIENCE), aiohttp.ClientSession() as http:
        while True:
            async with http.get(url.replace("/webhook", "/healthz")) as answer:
                if (await answer.json())["status"] == "draining":
                    return
            await asyncio.sleep(0.01)


async def test_no_secret_is_in_anything_that_the_webhook_writes(
    simulator: Simulator, calling: Calling, tmp_path: Path
) -> None:
    folder = tmp_path / "ledger"
    planted = {"PYTHONASYNCIODEBUG": "1", "OTEL_METRICS_EXPORTER": "console"}
    async with webhook(simulator, folder, *_NAMED, "--header", "X-Tenant=tenant", **planted) as (process, url):
        async with aiohttp.ClientSession() as http:
            body = incoming("rtc_forged", {"X-Tenant": "forger"})
            for signed in (
                {},
                {"webhook-signature": f"v1,{KEY}\u00e9", "webhook-id": "wh_1", "webhook-timestamp": "1"},
            ):
                async with http.post(url, data=body, headers=signed) as answer:
                    assert answer.status == 400
            async with http.post(url, data=b"x" * 1_000_000) as answer:
                assert answer.status == 413
            for method, path, code in (("GET", "/webhook", 405), ("POST", "/", 404), ("POST", "/webhook/x", 404)):
                async with http.request(method, url.replace("/webhook", path)) as answer:
                    assert answer.status == code
        call = await simulator.ring(url, secret=_SECRET, headers={"X-Tenant": "acme"})
        async with answered(simulator, calling, call, folder):
            pass
        process.send_signal(signal.SIGTERM)
        status, out, err = await answer_of(process)
    assert status == 0
    assert last_cost(out) > 0
    written = out + err + written_in(folder)
    for secret in (KEY, _SECRET, _SECRET.removeprefix("whsec_"), "forger"):
        assert secret not in written
    assert "acme" in written_in(folder)
