"""The oldest and the newest version of every library that is watched, each in an environment of its own.

All of them talk to the same simulator in all the ways that the version has, and what is counted is the truth. The
environments are kept outside the tree, so that only the first run builds them.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from realtime_spend.simulator import SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Environment
    from tests.hooks.conftest import MeterOf

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(900)]
BUILD_PATIENCE = 600.0
PROGRAM_PATIENCE = 120.0

# `talk` is what each way of using a library defines: how to hold one session with `url` and read what `LASTS` asks for.
AROUND = """
import asyncio, importlib.metadata, json, sys, warnings
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from realtime_spend import RealtimeInstrumentor

url, ledger, expected = sys.argv[1:4]
for name, version in json.loads(expected).items():
    assert importlib.metadata.version(name) == version, (name, importlib.metadata.version(name))
reader = InMemoryMetricReader()
RealtimeInstrumentor().instrument(meter_provider=MeterProvider(metric_readers=[reader]), ledger=ledger)
# What the legacy API says of itself as it is imported, and old releases of the newer standard library.
warnings.simplefilter("ignore", DeprecationWarning)

CREATE = '{"type": "response.create"}'
LASTS = ["rate_limits.updated"] * 3 + ["response.created"]

{program}

data = json.loads(reader.get_metrics_data().to_json())
print(json.dumps([metric for scope in data["resource_metrics"][0]["scope_metrics"] for metric in scope["metrics"]]))
"""

WEBSOCKETS = """
from websockets.{module} import connect

async def main():
    async with connect(url) as connection:
        for last in LASTS:
            await connection.send(CREATE)
            kind = ""
            while kind != last:
                kind = json.loads(await asyncio.wait_for(connection.recv(), 20))["type"]

asyncio.run(main())
"""
WEBSOCKETS_IN_THREADS = """
from websockets.sync.client import connect

with connect(url) as connection:
    for last in LASTS:
        connection.send(CREATE)
        kind = ""
        while kind != last:
            kind = json.loads(connection.recv(20))["type"]
"""
WEBSOCKETS_DEFAULT = """
import websockets

async def main():
    async with websockets.connect(url) as connection:
        for last in LASTS:
            await connection.send(CREATE)
            async for message in connection:
                if json.loads(message)["type"] == last:
                    break

asyncio.run(main())
"""
AIOHTTP = """
import aiohttp

async def main(way):
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url) as connection:
            for last in LASTS:
                await connection.send_str(CREATE)
                kind = ""
                while kind != last:
                    if way == "receive":
                        kind = json.loads((await connection.receive(timeout=20)).data)["type"]
                    elif way == "iteration":
                        kind = json.loads((await connection.__anext__()).data)["type"]
                    else:
                        kind = (await connection.receive_json(timeout=20))["type"]

for way in ("receive", "iteration", "json"):
    asyncio.run(main(way))

async def leave():
    # What nobody reads is thrown away in `close`, and billed all the same.
    async with aiohttp.ClientSession() as session:
        connection = await session.ws_connect(url)
        for last in LASTS[:-1]:
            await connection.send_str(CREATE)
            while (await connection.receive_json())["type"] != last:
                pass
        await connection.send_str(CREATE)
        while (await connection.receive_json())["type"] != "response.created":
            pass
        await connection.close()
        assert connection.closed

asyncio.run(leave())
"""
WEBSOCKET_CLIENT = """
import threading
import websocket

def read(receive, send):
    for last in LASTS:
        send(CREATE)
        while json.loads(receive())["type"] != last:
            pass

connection = websocket.create_connection(url, timeout=20)
read(connection.recv, connection.send)
connection.close()
connection.connect(url)
read(lambda: next(connection), connection.send)
connection.close()

kinds = []
def on_message(app, message):
    kinds.append(json.loads(message)["type"])
    if kinds[-1] == "rate_limits.updated":
        app.send(CREATE)
    if kinds.count("response.created") == 4:
        app.close()

app = websocket.WebSocketApp(url, on_open=lambda app: app.send(CREATE), on_message=on_message)
app.run_forever()
assert kinds.count("rate_limits.updated") == 3, kinds
"""
HTTPX_WS = """
import httpx_ws

async def main():
    async with httpx_ws.aconnect_ws(url) as connection:
        for last in LASTS:
            await connection.send_text(CREATE)
            while (await asyncio.wait_for(connection.receive_json(), 20))["type"] != last:
                pass

asyncio.run(main())
with httpx_ws.connect_ws(url) as connection:
    for last in LASTS:
        connection.send_text(CREATE)
        while connection.receive_json(20)["type"] != last:
            pass
"""
AIORTC = """
from aiortc import RTCPeerConnection

frames = json.load(open(sys.argv[4]))

async def main():
    program, service = RTCPeerConnection(), RTCPeerConnection()
    heard, all_heard = [], asyncio.Event()
    ours = program.createDataChannel("oai-events")

    @service.on("datachannel")
    def on_datachannel(channel):
        for frame in frames:
            channel.send(frame)

    @ours.on("message")
    def on_message(message):
        heard.append(message)
        if len(heard) == len(frames):
            all_heard.set()

    await program.setLocalDescription(await program.createOffer())
    await service.setRemoteDescription(program.localDescription)
    await service.setLocalDescription(await service.createAnswer())
    await program.setRemoteDescription(service.localDescription)
    await asyncio.wait_for(all_heard.wait(), 30)
    assert heard == frames
    await program.close()
    await service.close()

asyncio.run(main())
"""
OPENAI = """
import openai

query = {"sim_outcomes": "completed,completed,completed,never_finished", "sim_deltas": 2}
base = url.partition("/realtime")[0]

async def asynchronous():
    async with openai.AsyncOpenAI(api_key="any", websocket_base_url=base) as client:
        async with client.realtime.connect(model="gpt-realtime", extra_query=query) as connection:
            for last in LASTS:
                await connection.response.create()
                async for event in connection:
                    if event.type == last:
                        break

def in_threads():
    with openai.OpenAI(api_key="any", websocket_base_url=base) as client:
        with client.realtime.connect(model="gpt-realtime", extra_query=query) as connection:
            for last in LASTS:
                connection.response.create()
                for event in connection:
                    if event.type == last:
                        break

asyncio.run(asynchronous())
in_threads()
"""
TRANSLATION_BY_WEBSOCKETS = """
from websockets.legacy.client import connect

append = json.dumps({"type": "session.input_audio_buffer.append", "audio": "A" * 44_800})

async def main():
    async with connect(url) as connection:
        await connection.send(append)
        await connection.send(append.encode())
        await connection.send([append[:20], append[20:]])
        await connection.send('{"type": "session.close"}')
        async for _ in connection:
            pass

asyncio.run(main())
"""
TRANSLATION_BY_HTTPX_WS = """
import anyio, httpx_ws
from wsproto.events import BytesMessage, TextMessage

append = json.dumps({"type": "session.input_audio_buffer.append", "audio": "A" * 44_800})
PARTS = [TextMessage(append), BytesMessage(append.encode()), TextMessage(append[:20], message_finished=False)]
PARTS += [TextMessage(append[20:]), TextMessage('{"type": "session.close"}')]

async def main():
    async with httpx_ws.aconnect_ws(url) as connection:
        for part in PARTS:
            await connection.send(part)
        try:
            while True:
                await asyncio.wait_for(connection.receive(), 20)
        except (httpx_ws.WebSocketDisconnect, anyio.EndOfStream):
            pass

asyncio.run(main())
with httpx_ws.connect_ws(url) as connection:
    for part in PARTS:
        connection.send(part)
    try:
        while True:
            connection.receive(20)
    except httpx_ws.WebSocketDisconnect:
        pass
"""
LEGACY = WEBSOCKETS.replace("{module}", "legacy.client")
ASYNCIO = WEBSOCKETS.replace("{module}", "asyncio.client")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Versions to install, what to run with them, and how many sessions of four responses that makes."""

    versions: dict[str, str]
    program: str
    sessions: int
    complains: str = ""

    @property
    def name(self) -> str:
        return "-".join(f"{name}-{version}" for name, version in self.versions.items())


def websockets(version: str, *programs: str) -> Case:
    return Case(versions={"websockets": version}, program="".join(programs), sessions=len(programs))


CASES = [
    websockets("10.4", LEGACY, WEBSOCKETS_DEFAULT),
    # Its blocking client now and then hangs by itself where the first message comes with the handshake.
    websockets("12.0", LEGACY, WEBSOCKETS_DEFAULT),
    websockets("13.1", LEGACY, WEBSOCKETS_DEFAULT, ASYNCIO, WEBSOCKETS_IN_THREADS),
    websockets("14.2", LEGACY, WEBSOCKETS_DEFAULT, ASYNCIO, WEBSOCKETS_IN_THREADS),
    websockets("15.0.1", LEGACY, WEBSOCKETS_DEFAULT, ASYNCIO, WEBSOCKETS_IN_THREADS),
    websockets("16.0", LEGACY, WEBSOCKETS_DEFAULT, ASYNCIO, WEBSOCKETS_IN_THREADS),
    websockets("17.4", LEGACY, WEBSOCKETS_DEFAULT, ASYNCIO, WEBSOCKETS_IN_THREADS),
    *[
        Case(versions={"aiohttp": version}, program=AIOHTTP, sessions=4)
        for version in ("3.8.6", "3.9.5", "3.10.11", "3.14.5")
    ],
    *[
        Case(versions={"websocket-client": version}, program=WEBSOCKET_CLIENT, sessions=3)
        for version in ("0.59.0", "1.8.0", "1.9.2")
    ],
    *[Case(versions={"httpx-ws": version}, program=HTTPX_WS, sessions=2) for version in ("0.6.0", "0.9.0")],
    *[
        Case(
            versions={"wrapt": version, "websockets": "15.0.1", "aiohttp": "3.14.5", "websocket-client": "1.9.2"},
            program=LEGACY + ASYNCIO + WEBSOCKETS_IN_THREADS + AIOHTTP + WEBSOCKET_CLIENT,
            sessions=10,
        )
        for version in ("1.17.3", "2.5.2")
    ],
    Case(versions={"openai": "3.54.0", "websockets": "13.1"}, program=OPENAI, sessions=2),
]


def run(python: Path, case: Case, folder: Path, url: str, *arguments: object) -> str:
    """Run a case's program to its end and return the metrics that it printed."""
    file = folder / "client.py"
    file.write_text(AROUND.replace("{program}", case.program), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON", "REALTIME_"))}
    ran = subprocess.run(
        [python, file, url, folder / "ledger", json.dumps(case.versions), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PROGRAM_PATIENCE,
        check=False,
        env=kept | {"no_proxy": "127.0.0.1"},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("\n") == bool(case.complains)
    assert case.complains in ran.stderr
    return ran.stdout


def requirements(case: Case) -> list[str]:
    return [f"{name}=={version}" for name, version in case.versions.items()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_version_is_counted_exactly(
    environment: Environment, meter_of: MeterOf, tmp_path: Path, case: Case
) -> None:
    python = environment(*requirements(case), patience=BUILD_PATIENCE)
    with run_in_thread(SimulatorOptions(seed=9)) as simulator:
        outcomes = "completed,completed,completed,never_finished"
        url = f"ws://127.0.0.1:{simulator.port}/v1/realtime?model=gpt-realtime&sim_outcomes={outcomes}&sim_deltas=2"
        printed = run(python, case, tmp_path, url)
        simulator.wait_idle()
        truth = simulator.truth.as_json()
    assert truth["counts"]["sessions"] == case.sessions
    assert truth["counts"]["responses"] == 4 * case.sessions
    assert truth["counts"]["lost"] == case.sessions
    meter_of(printed, tmp_path / "ledger").agrees_with(truth)


@pytest.mark.parametrize(
    "case",
    [
        *[
            Case(versions={"websockets": version}, program=TRANSLATION_BY_WEBSOCKETS, sessions=1)
            for version in ("10.4", "17.4")
        ],
        *[
            Case(versions={"httpx-ws": version}, program=TRANSLATION_BY_HTTPX_WS, sessions=2)
            for version in ("0.6.0", "0.9.0")
        ],
    ],
    ids=lambda case: case.name,
)
def test_each_version_has_its_translations_measured(
    environment: Environment, meter_of: MeterOf, tmp_path: Path, case: Case
) -> None:
    python = environment(*requirements(case), patience=BUILD_PATIENCE)
    with run_in_thread(SimulatorOptions(seed=9)) as simulator:
        url = f"ws://127.0.0.1:{simulator.port}/v1/realtime/translations?model=gpt-realtime-translate"
        printed = run(python, case, tmp_path, url)
        simulator.wait_idle()
        truth = simulator.truth.as_json()
    # Three chunks of 700 milliseconds.
    assert [usage["quantities"] for usage in truth["usages"]] == [{"audio.duration": "2.1"}] * case.sessions
    meter = meter_of(printed, tmp_path / "ledger")
    told = ("id", "quantities", "costs", "cost")
    assert [{key: record[key] for key in (*told, "usage")} for record in meter.records()] == [
        {key: usage[key] for key in told} | {"usage": "estimated"} for usage in truth["usages"]
    ]
    assert set(meter.errors()) <= {"scope_assumed"}


@pytest.mark.parametrize("version", ["1.9.0", "1.16.0"])
def test_each_version_of_aiortc_is_counted_exactly(
    environment: Environment, meter_of: MeterOf, tmp_path: Path, version: str
) -> None:
    case = Case(versions={"aiortc": version}, program=AIORTC, sessions=1)
    python = environment(*requirements(case), patience=BUILD_PATIENCE)
    frames: list[str] = []
    with run_in_thread(SimulatorOptions(seed=9)) as simulator:
        url = f"ws://127.0.0.1:{simulator.port}/v1/realtime?model=gpt-realtime&sim_deltas=2"
        with connect(f"{url}&sim_outcomes=completed,cancelled,never_finished", proxy=None) as connection:
            for last in ["rate_limits.updated"] * 2 + ["response.created"]:
                connection.send('{"type": "response.create"}')
                frames.append(str(connection.recv(20)))
                while json.loads(frames[-1])["type"] != last:
                    frames.append(str(connection.recv(20)))
        simulator.wait_idle()
        truth = simulator.truth.as_json()
    recorded = tmp_path / "frames.json"
    recorded.write_text(json.dumps(frames), encoding="utf-8")
    printed = run(python, case, tmp_path, url, recorded)
    # Both peers are in one process, so that the service's channel is one of ours as well: a session with nothing in it.
    meter_of(printed, tmp_path / "ledger").agrees_with(truth, sessions=2)


def test_a_release_of_httpx_ws_that_does_not_say_where_its_sessions_go_is_not_counted_and_that_is_said(
    environment: Environment, meter_of: MeterOf, tmp_path: Path
) -> None:
    case = Case(versions={"httpx-ws": "0.5.2"}, program=HTTPX_WS, sessions=2, complains="some usage may not be counted")
    python = environment(*requirements(case), patience=BUILD_PATIENCE)
    with run_in_thread(SimulatorOptions(seed=9)) as simulator:
        outcomes = "completed,completed,completed,never_finished"
        url = f"ws://127.0.0.1:{simulator.port}/v1/realtime?model=gpt-realtime&sim_outcomes={outcomes}&sim_deltas=2"
        printed = run(python, case, tmp_path, url)
        simulator.wait_idle()
        assert simulator.truth.as_json()["counts"]["sessions"] == 2
    meter = meter_of(printed, tmp_path / "ledger")
    assert meter.errors() == {"internal.attaching_to_a_connection": 2}
    assert meter.records() == []
