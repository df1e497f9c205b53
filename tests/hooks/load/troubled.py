"""Holds one metered session while its ledger is in trouble, and says what the client saw, what was logged and counted.

Its argument is a JSON object: `client`, `url`, the folder of the `ledger`, and the name of the `trouble`.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import gc
import json
import logging
import os
import resource
import shutil
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from websockets.asyncio.client import connect
from websockets.sync.client import connect as connect_in_threads

from realtime_spend import RealtimeInstrumentor
from realtime_spend.sinks.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

PATIENCE = 20.0
TURNS_BEFORE, TURNS_IN_TROUBLE, TURNS_AFTER = 2, 3, 2
SOUND = base64.b64encode(bytes(48 * 600)).decode()


# --- Troubles --------------------------------------------------------------------------------------------------------


@contextmanager
def nothing(_folder: Path) -> Iterator[None]:
    yield


def room_for(more: int) -> Callable[[Path], AbstractContextManager[None]]:
    """Let no file become longer than the ledger's is now, but for `more` bytes: as on a disk that is full."""

    @contextmanager
    def trouble(folder: Path) -> Iterator[None]:
        longest = max((file.stat().st_size for file in folder.glob("*.jsonl")), default=0)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (longest + more, hard))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return trouble


@contextmanager
def a_full_device(folder: Path) -> Iterator[None]:
    [ledger] = [one for one in gc.get_objects() if isinstance(one, Ledger)]
    now = datetime.now(UTC)
    links = [
        folder / f"{day:%Y-%m-%d}-{ledger.writer}.jsonl"
        for day in (now, now + timedelta(days=1))  # it may become midnight
    ]
    folder.mkdir()
    for link in links:
        link.symlink_to("/dev/full")
    yield
    for link in links:
        link.unlink()


@contextmanager
def a_full_disk(folder: Path) -> Iterator[None]:
    filler = folder.parent / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    yield
    filler.unlink()


@contextmanager
def no_writing(folder: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o500)
    yield
    folder.chmod(0o700)


@contextmanager
def a_file_in_its_place(folder: Path) -> Iterator[None]:
    shutil.rmtree(folder)
    folder.write_text("in the way", encoding="utf-8")
    yield
    assert folder.read_text(encoding="utf-8") == "in the way"
    folder.unlink()


@contextmanager
def removed(folder: Path) -> Iterator[None]:
    shutil.rmtree(folder)
    yield


@contextmanager
def removed_for_good(folder: Path) -> Iterator[None]:
    shutil.rmtree(folder)
    folder.parent.chmod(0o500)
    yield
    folder.parent.chmod(0o700)


TROUBLES: dict[str, Callable[[Path], AbstractContextManager[None]]] = {
    "nothing": nothing,
    "no room": room_for(0),
    "no room for a whole line": room_for(100),
    "no room from the start": room_for(0),
    "a full device from the start": a_full_device,
    "a full disk": a_full_disk,
    "no writing from the start": no_writing,
    "a file in its place": a_file_in_its_place,
    "removed": removed,
    "removed for good": removed_for_good,
}


def give_up_privileges() -> None:
    """Be bound by the modes of folders, as every user but root is."""
    libc = ctypes.CDLL(None, use_errno=True)
    # The header and the two halves of the sets, as <linux/capability.h> has them; version 3, this process, no powers.
    header, nothing_at_all = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if os.geteuid() == 0 and libc.capset(header, nothing_at_all):
        raise OSError(ctypes.get_errno(), "capset")


def mount_a_small_disk(place: Path) -> None:
    """Mount a disk of 64 KiB that this process alone sees, and that goes with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_mounts, private = 0x20000, 1 << 18 | 1 << 14
    place.mkdir(exist_ok=True)
    if (
        libc.unshare(new_mounts)
        or libc.mount(b"none", b"/", None, ctypes.c_ulong(private), None)
        or libc.mount(b"tmpfs", bytes(place), b"tmpfs", ctypes.c_ulong(0), b"size=64k")
    ):
        raise OSError(ctypes.get_errno(), "a disk cannot be mounted")


# --- The session -----------------------------------------------------------------------------------------------------


def conversation(folder: Path, trouble: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Say what the client sends and which event it then waits for; meanwhile the trouble comes and goes."""
    heard = {"transcription": {"model": "gpt-4o-transcribe"}}
    yield {"type": "session.update", "session": {"type": "realtime", "audio": {"input": heard}}}, "session.updated"
    if not trouble.endswith("from the start"):
        yield from turns(TURNS_BEFORE)
    with TROUBLES[trouble](folder):
        yield from turns(TURNS_IN_TROUBLE)
    yield from turns(TURNS_AFTER + (TURNS_BEFORE if trouble.endswith("from the start") else 0))


def turns(number: int) -> Iterator[tuple[dict[str, Any], str]]:
    for _ in range(number):
        yield {"type": "input_audio_buffer.append", "audio": SOUND}, "response.done"
        yield {"type": "input_audio_buffer.clear"}, "input_audio_buffer.cleared"


async def talk(url: str, steps: Iterator[tuple[dict[str, Any], str]]) -> list[str]:
    seen: list[str] = []
    async with asyncio.timeout(PATIENCE), connect(url, proxy=None) as connection:
        for event, awaited in steps:
            await connection.send(json.dumps(event))
            while not seen or json.loads(seen[-1])["type"] != awaited:
                seen.append(str(await connection.recv()))
    return [*seen, f"closed with {connection.close_code}"]


def talk_in_threads(url: str, steps: Iterator[tuple[dict[str, Any], str]]) -> list[str]:
    seen: list[str] = []
    with connect_in_threads(url, proxy=None) as connection:
        for event, awaited in steps:
            connection.send(json.dumps(event))
            while not seen or json.loads(seen[-1])["type"] != awaited:
                seen.append(str(connection.recv(PATIENCE)))
    return [*seen, f"closed with {connection.close_code}"]


class Log(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}")


def main() -> None:
    order = json.loads(sys.argv[1])
    folder = Path(order["ledger"])
    if order["trouble"] == "a full disk":
        mount_a_small_disk(folder.parent)
    give_up_privileges()
    log = Log()
    logging.getLogger().addHandler(log)
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    RealtimeInstrumentor().instrument(meter_provider=provider, ledger=folder)
    steps = conversation(folder, order["trouble"])
    if order["client"] == "in threads":
        seen = talk_in_threads(order["url"], steps)
    else:
        seen = asyncio.run(talk(order["url"], steps))
    data: Any = reader.get_metrics_data()
    [scope] = json.loads(data.to_json())["resource_metrics"][0]["scope_metrics"]
    files = {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.jsonl")}
    said = {"seen": seen, "log": log.lines, "metrics": scope["metrics"], "files": files}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main()
