"""A relay whose ledger cannot be written: it is not ready until it can be, and what passes goes on."""

from __future__ import annotations

import json
import resource
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from tests.hooks.messages import CREATE
from tests.relay.peers import CREATED, PATH, client, upstream, used
from tests.relay.programs import relay_process

from realtime_spend.estimates.ledger import read_ledger
from realtime_spend.simulator import Simulator, SimulatorOptions

if TYPE_CHECKING:
    import asyncio

    from tests.relay.conftest import RelayTo

_UNWRITABLE = "ledger_unwritable"
_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
# Whom it asks is the kernel's choice: that it is forty times the same one of two happens to nobody.
_TIMES = 40


async def said(port: int, path: str = "/readyz") -> tuple[int, str]:
    async with client(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as asking:
        return asking.status, json.loads(await asking.to_the_end())["status"]


class Counting:
    """An upstream of which each session has used something of its own."""

    sessions = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        writer.write(CREATED + used(self.sessions, 5))
        await reader.read()


async def respond(connection: websockets.ClientConnection) -> str:
    """Have a response, and return its id."""
    await connection.send(CREATE)
    while True:
        event: dict[str, Any] = json.loads(await connection.recv())
        if event["type"] == "response.done":
            return str(event["response"]["id"])


def ids(ledger: Path) -> list[str | None]:
    reading = read_ledger(ledger)
    assert reading.repeated == 0
    return [entry.id for entry in reading.entries]


@pytest.mark.usefixtures("disk_can_be_mounted")
async def test_on_a_full_disk_it_is_not_ready_until_there_is_room_though_nobody_comes(tmp_path: Path) -> None:
    disk, copies = tmp_path / "disk", tmp_path / "copies"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=256k tmpfs "$1" && shift && exec "$@"'
    by = ("unshare", "--mount", "sh", "-c", script, "sh", str(disk))
    async with Simulator(SimulatorOptions(seed=6)) as simulator:
        with relay_process(disk / "ledger", "--openai", simulator.url, by=by) as running:
            place = Path(f"/proc/{running.process.pid}/root{disk}")
            url = f"ws://127.0.0.1:{running.port}{PATH}"
            async with websockets.connect(url, proxy=None) as connection:
                before = await respond(connection)
                assert await said(running.port) == (200, "ok")
                in_the_way = place / "in-the-way"
                with in_the_way.open("wb", buffering=0) as file, suppress(OSError):
                    while True:
                        file.write(bytes(512))
                # How much of it goes into the last block is the file system's affair.
                lost = []
                for _ in range(20):
                    lost.append(await respond(connection))
                    if (await said(running.port))[0] != 200:
                        break
                # It stays so, whatever passes, and does not keep who comes from being served.
                lost.append(await respond(connection))
                for _ in range(3):
                    assert await said(running.port) == (503, _UNWRITABLE)
                assert await said(running.port, "/healthz") == (200, "ok")
                async with client(running.port) as late:
                    assert late.status == 101
                in_the_way.unlink()
                assert await said(running.port) == (200, "ok")
                after = await respond(connection)
                assert await said(running.port) == (200, "ok")
            shutil.copytree(place / "ledger", copies)
    found = ids(copies)
    assert (found[0], found[-1]) == (before, after)
    assert lost[-1] not in found
    assert len(read_ledger(copies).unreadable) <= 1


async def test_told_to_end_it_says_so_rather_than_that(tmp_path: Path) -> None:
    async with Simulator(SimulatorOptions(seed=6)) as simulator:
        with relay_process(tmp_path / "ledger", "--openai", simulator.url, "--drain", "30") as running:
            url = f"ws://127.0.0.1:{running.port}{PATH}"
            async with websockets.connect(url, proxy=None) as connection:
                resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
                await respond(connection)
                assert await said(running.port) == (503, _UNWRITABLE)
                running.process.send_signal(signal.SIGTERM)
                for _ in range(500):
                    status = await said(running.port)
                    if status != (503, _UNWRITABLE):
                        break
                assert status == (503, "draining")


@pytest.mark.parametrize("is_asked", [True, False])
async def test_a_folder_that_went_away_and_comes_back(relay_to: RelayTo, *, is_asked: bool) -> None:
    async with upstream(Counting()) as server, relay_to(server.url) as running:
        folder, port = running.meter.folder, running.relay.port

        async def use() -> None:
            async with client(port) as peer:
                await peer.read(len(CREATED + used(1, 5)))

        folder.write_text("a file in its place", encoding="utf-8")
        for number in (1, 2):
            await use()
            assert await said(port) == (503, _UNWRITABLE)
            assert running.meter.errors() == {"ledger": number}
        folder.unlink()
        if is_asked:
            assert await said(port) == (200, "ok")
            assert ids(folder) == []
        await use()
        folder.rename(folder.with_name("elsewhere"))
        # Nothing could be written there now, but the newest record was.
        folder.write_text("a file in its place", encoding="utf-8")
        assert await said(port) == (200, "ok")
    assert ids(folder.with_name("elsewhere")) == ["resp_3"]
    assert running.meter.errors() == {"ledger": 2}


def one_worker_of(parent: int) -> int:
    return int(Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()[0])


async def test_of_two_workers_each_answers_for_itself(tmp_path: Path) -> None:
    async with Simulator(SimulatorOptions(seed=6, max_sessions=100)) as simulator:
        with relay_process(tmp_path / "ledger", "--openai", simulator.url, "--workers", "2") as running:
            assert await said(running.port) == (200, "ok")
            troubled = one_worker_of(running.process.pid)
            resource.prlimit(troubled, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            for _ in range(_TIMES):
                async with websockets.connect(f"ws://127.0.0.1:{running.port}{PATH}", proxy=None) as connection:
                    await respond(connection)
            assert {await said(running.port) for _ in range(_TIMES)} == {(200, "ok"), (503, _UNWRITABLE)}
            resource.prlimit(troubled, resource.RLIMIT_FSIZE, _UNLIMITED)
            assert {await said(running.port) for _ in range(_TIMES)} == {(200, "ok")}
