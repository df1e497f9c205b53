"""A simulated service in a process of its own, so that its work is not taken for the client's."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 10.0


@dataclass(frozen=True)
class Simulated:
    """A simulated service that runs."""

    url: str

    def truth(self) -> dict[str, Any]:
        """Return what it sent, and what that costs."""
        with urllib.request.urlopen(f"{self.url}/truth", timeout=_PATIENCE) as answer:  # noqa: S310 - on loopback
            found: dict[str, Any] = json.load(answer)
        return found


@contextmanager
def simulated(*, delta_bytes: int, deltas: int = 100) -> Iterator[Simulated]:
    """Run a simulator whose responses have so many audio deltas of that size, as fast as a client takes them."""
    command = Path(sys.executable).parent / "realtime-spend"
    options = ["--session", f"deltas={deltas}", "--session", f"delta_bytes={delta_bytes}"]
    process = subprocess.Popen([command, "simulate", *options], stdout=subprocess.PIPE, text=True)  # noqa: S603 - ourselves
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        url = process.stdout.readline().split()
        if not url:
            raise RuntimeError("the simulator does not start")
        yield Simulated(url[0])
    finally:
        process.terminate()
        try:
            process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
