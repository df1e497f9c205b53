"""The relay as an operator runs it, in a process of its own, and programs in other languages that go through it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lacking import lacking

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PROJECT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-c", "from realtime_spend.cli import main; main()")
_PATIENCE = 60.0


@dataclass
class Process:
    """A relay that runs somewhere else."""

    process: subprocess.Popen[str]
    url: str
    ledger: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def end(self, number: int) -> tuple[int, str, str]:
        """Send a signal, and return how it ended and what it said."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=_PATIENCE)
        return self.process.returncode, out, err


@contextlib.contextmanager
def relay_process(
    ledger: Path, *arguments: str, environment: Mapping[str, str] | None = None, by: Sequence[str] = ()
) -> Iterator[Process]:
    """Run `realtime-spend relay` on any free port, `by` a command that becomes it."""
    process = subprocess.Popen(
        [*by, *COMMAND, "relay", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "REALTIME_SPEND_LEDGER": str(ledger), **(environment or {})},
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, process.stderr.read() if process.stderr else ""
        yield Process(process, url, ledger)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def node_with(*packages: str) -> tuple[str, Path]:
    """Return Node, and a folder with these packages, made once for all runs."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        lacking("node and npm are not here: install Node.js, which comes with both")
    mark = hashlib.sha256(json.dumps(packages).encode()).hexdigest()[:16]
    said = os.environ.get("REALTIME_SPEND_TEST_ENVS")
    home = (Path(said) if said else Path.home() / ".cache" / "realtime-spend" / "test-envs") / f"node-{mark}"
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
        command = [str(npm), "install", "--no-audit", "--no-fund", "--silent", *packages]
        try:
            subprocess.run(command, check=True, cwd=making, capture_output=True, text=True, timeout=100)
            making.rename(home)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            lacking(f"the packages cannot be had: {error.stderr!r} ({error})")
        except OSError:
            # Somebody else was quicker; theirs is as good.
            if not home.exists():
                raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return node, home
