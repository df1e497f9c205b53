"""The dashboards are what Grafana's own published types allow, for the release that `compose.yaml` runs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.lacking import lacking

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA = REPOSITORY / "grafana" / "schema"
BOARDS = {path.stem: path.read_text(encoding="utf-8") for path in (REPOSITORY / "grafana/dashboards").glob("*.json")}

# What Grafana would take in silence and then not show, or not as it was meant.
FAULTS = [
    pytest.param('"schemaVersion"', '"schemaVersions"', id="a key of the dashboard"),
    pytest.param('"legendFormat"', '"legend"', id="a key of a query"),
    pytest.param('"drawStyle": "bars"', '"drawStyle": "bar"', id="a word that is none of the choices"),
    pytest.param('"barAlignment": 1', '"barAlignment": 4', id="a number that is none of the choices"),
    pytest.param('"graphMode"', '"grafMode"', id="an option of a panel"),
    pytest.param('"type": "stat"', '"type": "statistic"', id="a panel that there is none of"),
    pytest.param('"decimals": 6', '"decimals": "6"', id="a number as text"),
    pytest.param('"includeAll": true', '"includeAll": 1', id="a truth as a number"),
]


def cache() -> Path:
    kept = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("REALTIME_SPEND_STACK") or Path(kept) / "realtime-spend" / "stack")


def installed() -> Path:
    """A folder with the types and the compiler in the very versions of the lock file, filled once and then kept."""
    lock = SCHEMA / "package-lock.json"
    folder = cache() / f"schema-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    npm = shutil.which("npm")
    if not npm:
        lacking("npm not found: install Node.js, which comes with it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="schema.", dir=folder.parent))
    try:
        for file in (SCHEMA / "package.json", lock):
            shutil.copy(file, work)
        argv = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
        done = subprocess.run(argv, cwd=work, check=False, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        # One rename: another run sees all of it or nothing, and whoever comes second finds it there.
        with suppress(OSError):
            work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[dict[str, str]], tuple[int, str]]:
    """Holds dashboards against the types; gives the compiler's exit status and what it says."""

    def run(boards: dict[str, str]) -> tuple[int, str]:
        modules = installed() / "node_modules"
        (tmp_path / "boards").mkdir()
        (tmp_path / "node_modules").symlink_to(modules)
        for file in ("dashboard.ts", "tsconfig.json"):
            shutil.copy(SCHEMA / file, tmp_path)
        for name, board in boards.items():
            module = f"import type {{ Dashboard }} from '../dashboard';\nexport const board: Dashboard = {board};\n"
            (tmp_path / "boards" / f"{name}.ts").write_text(module, encoding="utf-8")
        argv: list[str | Path] = ["node", modules / "typescript" / "bin" / "tsc", "--project", tmp_path]
        done = subprocess.run(argv, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=100)
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_dashboards_are_what_the_schema_allows(compiled: Callable[[dict[str, str]], tuple[int, str]]) -> None:
    assert set(BOARDS) == {"live-spend", "pipeline-health", "estimate-beside-bill"}
    assert compiled(BOARDS) == (0, "")


def test_every_fault_in_a_dashboard_is_found(compiled: Callable[[dict[str, str]], tuple[int, str]]) -> None:
    faults: dict[str, Any] = {str(fault.id).replace(" ", "-"): fault.values for fault in FAULTS}
    spoilt = {name: BOARDS["live-spend"].replace(str(right), str(wrong), 1) for name, (right, wrong) in faults.items()}
    assert all(board != BOARDS["live-spend"] for board in spoilt.values())
    _, said = compiled(spoilt)
    assert set(re.findall(r"^boards/([^.]+)\.ts", said, re.MULTILINE)) == set(faults)


def test_the_schema_is_that_of_the_grafana_that_compose_runs() -> None:
    compose = (REPOSITORY / "compose.yaml").read_text(encoding="utf-8")
    (image,) = re.findall(r"grafana/grafana:(\d+\.\d+)\.\d+", compose)
    wanted = json.loads((SCHEMA / "package.json").read_text(encoding="utf-8"))["devDependencies"]["@grafana/schema"]
    assert re.fullmatch(rf"{re.escape(image)}\.\d+", wanted)
