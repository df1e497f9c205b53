"""A collector whose disk is full: the program goes on, and what waits arrives once when there is room again."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from grafana.names import COST
from tests.stack.conftest import free_port, free_ports, running
from tests.stack.filling.totals import growth
from tests.stack.ordinary_program import (
    PROGRAM,
    STATUS,
    ended,
    is_as_without_us,
    is_said_once,
    run_to_the_end,
    started,
)

from realtime_spend.simulator import SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.stack.conftest import Programs, StartPrometheus

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("disk_can_be_mounted")]


@contextmanager
def on_a_small_disk(
    programs: Programs, single_host: Path, folder: Path, prometheus_url: str
) -> Iterator[tuple[str, Path]]:
    """Run the collector with its queue on a disk of its own, which goes with it; give its endpoint and the disk."""
    disk = folder / "disk"
    disk.mkdir()
    grpc, http, health, metrics = free_ports(4)
    environment = {
        "COLLECTOR_OTLP_GRPC_ENDPOINT": f"127.0.0.1:{grpc}",
        "COLLECTOR_OTLP_HTTP_ENDPOINT": f"127.0.0.1:{http}",
        "COLLECTOR_HEALTH_ENDPOINT": f"127.0.0.1:{health}",
        "COLLECTOR_METRICS_PORT": str(metrics),
        "COLLECTOR_QUEUE_DIRECTORY": str(disk / "queue"),
        "PROMETHEUS_OTLP_METRICS_URL": prometheus_url,
    }
    script = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" --config="$3"'
    argv: list[str | Path] = ["unshare", "--mount", "sh", "-c", script, "sh", disk, programs.otelcol, single_host]
    with running(argv, log=folder / "collector.log", ready=(health, "/"), environment=environment) as process:
        yield f"http://127.0.0.1:{http}", Path(f"/proc/{process.pid}/root{disk}")


def fill(disk: Path) -> None:
    """Write until not one more byte fits."""
    with (disk / "in-the-way").open("wb", buffering=0) as file:
        for size in (65536, 512, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def test_a_collector_whose_disk_is_full_leaves_the_program_alone(
    programs: Programs, single_host: Path, tmp_path: Path
) -> None:
    run = partial(run_to_the_end, tmp_path / "ledger")
    with on_a_small_disk(programs, single_host, tmp_path, f"http://127.0.0.1:{free_port()}/nobody") as (url, place):
        assert f"tmpfs {tmp_path / 'disk'}" in Path(place.parts[0], *place.parts[1:3], "mounts").read_text()
        fill(place)
        told = run(endpoint=url)
    is_said_once(told, "Service Unavailable")
    is_as_without_us(run, told)


def test_what_waits_on_a_disk_that_was_full_arrives_once_when_there_is_room_again(  # noqa: PLR0917 - fixtures
    programs: Programs,
    single_host: Path,
    start_prometheus: StartPrometheus,
    unused_port: Callable[[], int],
    eventually: Callable[..., object],
    tmp_path: Path,
) -> None:
    """One program ends while Prometheus is down; the disk fills; Prometheus comes back; another program lives on."""
    begin, port, ledger = time.time(), unused_port(), tmp_path / "ledger"
    stays = PROGRAM.replace("time.sleep(2)", "print('talked', flush=True); sys.stdin.read()")
    url = f"http://127.0.0.1:{port}/api/v1/otlp/v1/metrics"
    with (
        run_in_thread(SimulatorOptions(seed=41)) as simulator,
        on_a_small_disk(programs, single_host, tmp_path, url) as (endpoint, place),
    ):
        before = ended(started(PROGRAM, ledger, simulator, endpoint=endpoint), ledger, simulator)
        fill(place)
        process = started(stays, ledger, simulator, endpoint=endpoint)
        assert process.stdout is not None
        assert process.stderr is not None
        assert "talked\n" in iter(process.stdout.readline, "")
        first = process.stderr.readline()
        prometheus = start_prometheus(tmp_path, port=port)
        (place / "in-the-way").unlink()
        told = ended(process, ledger, simulator)

        def spent() -> float:
            return growth(prometheus, COST, begin=begin, end=time.time() + 1)

        eventually(lambda: spent() >= float(told.truth) * (1 - 1e-9) or None, what="the money of both programs")
        assert spent() == pytest.approx(float(told.truth), rel=1e-9)
        assert set(prometheus.query(f"resets({COST}[1h])").values()) == {0}
    assert (before.status, before.err) == (STATUS, "")
    assert 0 < before.truth < told.truth == told.ledger
    is_said_once(replace(told, err=first + told.err), "Service Unavailable")
