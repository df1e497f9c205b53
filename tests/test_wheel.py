"""What users install: the wheel, in an empty environment, without extras."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from tests.lacking import lacking

_ROOT = Path(__file__).resolve().parent.parent
_USAGE = {"input_tokens": 10, "output_tokens": 0, "input_token_details": {"audio_tokens": 10}}


def _run(*command: str | Path, cwd: Path | None = None, input_: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        cwd=cwd,
        input=input_,
        env=environment,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    built = _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, _ROOT)
    assert built.returncode == 0, built.stdout + built.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="session")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    installed = _run(
        folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--constraint", _ROOT / "constraints.txt", wheel
    )
    if installed.returncode:
        lacking(f"the wheel's dependencies cannot be had: {installed.stderr.strip()[-200:]}")
    return folder


def test_the_wheel_holds_cards_programs_and_type_marker_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "realtime_spend/rate_cards/openai.toml",
        "realtime_spend/rate_cards/azure.toml",
        "realtime_spend/examples/openai_sdk.py",
        "realtime_spend/py.typed",
    } <= names
    assert not [name for name in names if name.startswith(("tests", "bench"))]


@pytest.mark.timeout(400)
def test_installed_without_extras_the_command_explains(environment: Path, tmp_path: Path) -> None:
    command = environment / "bin" / "realtime-spend"
    assert _run(command, "--help").returncode == 0
    explained = _run(
        command, "explain", "-", "--model", "gpt-realtime", "--json", cwd=tmp_path, input_=json.dumps(_USAGE)
    )
    assert explained.returncode == 0, explained.stderr
    assert json.loads(explained.stdout)["total"] == "0.00032"
    assert _run(command, "prices", "--check", cwd=tmp_path).returncode == 0


@pytest.mark.timeout(400)
def test_installed_without_extras_a_command_that_needs_one_names_it(environment: Path, tmp_path: Path) -> None:
    for name, extra in (("simulate", "simulator"), ("demo", "demo")):
        said = _run(environment / "bin" / "realtime-spend", name, cwd=tmp_path)
        assert said.returncode == 2
        assert f"pip install 'realtime-spend[{extra}]'" in said.stderr


@pytest.mark.timeout(400)
def test_installed_without_any_socket_library_instrumenting_changes_nothing(environment: Path, tmp_path: Path) -> None:
    program = "from realtime_spend import RealtimeInstrumentor; RealtimeInstrumentor().instrument(); print('fine')"
    said = _run(environment / "bin" / "python", "-W", "error", "-c", program, cwd=tmp_path)
    assert (said.returncode, said.stdout, said.stderr) == (0, "fine\n", "")
