"""Environments for what is compared with us: made once, kept outside the tree, each under a name of its own.

`REALTIME_SPEND_BENCH_ENVS` says where, in place of `~/.cache/realtime-spend/bench-envs`. Removing that folder is how
to get newer versions.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[1]
_PATIENCE = 300.0


class UnavailableError(Exception):
    """An environment cannot be made, mostly because no package registry can be reached."""


def interpreter_with(*requirements: str, ours: bool = False) -> Path:
    """Return the interpreter of an environment with these requirements, and with this project as it stands.

    Raises:
        UnavailableError: it cannot be made.
    """
    mark = hashlib.sha256(json.dumps([requirements, ours, sys.version, str(_PROJECT)]).encode()).hexdigest()[:16]
    home = _home() / mark
    if not home.exists():
        try:
            _make(home, requirements, ours=ours)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            said = error.stderr or str(error)
            last = (said if isinstance(said, str) else said.decode()).strip().splitlines()[-1:]
            raise UnavailableError(*last) from error
    return home / "bin" / "python"


def _home() -> Path:
    said = os.environ.get("REALTIME_SPEND_BENCH_ENVS")
    return Path(said) if said else Path.home() / ".cache" / "realtime-spend" / "bench-envs"


def _make(home: Path, requirements: tuple[str, ...], *, ours: bool) -> None:
    """Make it beside `home` and move it there when it is whole, so that half of one is never taken for it."""
    home.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
    install = (sys.executable, "-m", "pip", "--python", making / "bin" / "python", "install", "-q")
    try:
        # It may be moved because nothing in it is started but the link to the interpreter.
        _run(sys.executable, "-m", "venv", "--without-pip", making)
        _run(*install, "--disable-pip-version-check", *requirements)
        if ours:
            _run(*install, "--disable-pip-version-check", "--editable", _PROJECT)
        making.rename(home)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _run(*command: str | Path) -> None:
    subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, timeout=_PATIENCE, cwd=_PROJECT)  # noqa: S603 - ours
