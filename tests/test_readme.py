"""The README is run: its commands print what it says they print, and its names are ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from realtime_spend import cli
from realtime_spend.configuration import _PARSERS, PREFIX
from realtime_spend.sinks import metrics

_ROOT = Path(__file__).resolve().parent.parent
_README = (_ROOT / "README.md").read_text(encoding="utf-8")
_METRICS = (_ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
_BIN = Path(sys.executable).parent


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", _README, re.DOTALL | re.MULTILINE)


def _run(command: list[str], cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "REALTIME_"))}
    environment["PATH"] = f"{_BIN}{os.pathsep}{environment['PATH']}"
    # What is shown is what a newcomer sees, who has no collector and no Prometheus yet.
    environment["XDG_CACHE_HOME"] = str(cwd / "nothing-is-built")
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _lines(text: str) -> list[str]:
    """What was printed, without what differs from run to run: ports, the temporary folder, the day, trailing blanks."""
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    text = re.sub(r"\d{4}-\d\d-\d\d", "DAY", text)
    text = re.sub(r"\S*realtime-spend-demo[\w-]*", "FOLDER", text)
    return [line.rstrip() for line in text.strip().splitlines()]


@pytest.mark.timeout(420)
def test_the_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    # What is wrong with the bill stands where the README speaks of bills.
    accounts, bill = _blocks("text")
    shown = f"{accounts}\n{bill}"
    printed = _run([str(_BIN / "realtime-spend"), "demo"], tmp_path)
    assert "truth, ledger and OTLP agree" in printed
    assert _lines(printed) == _lines(shown)


def test_explain_prints_what_the_readme_shows() -> None:
    block = next(block for block in _blocks("console") if "explain" in block)
    command = "realtime-spend explain examples/usage.json --model gpt-4o-mini-realtime-preview"
    usage, explained = block.split(f"$ {command}\n")
    assert usage == "$ cat examples/usage.json\n" + (_ROOT / "examples" / "usage.json").read_text(encoding="utf-8")
    program, *arguments = command.split()
    assert _lines(_run([str(_BIN / program), *arguments], _ROOT)) == _lines(explained)


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    programs = _blocks("python")
    assert len(programs) == 2
    for program in programs:
        _run([sys.executable, "-W", "error", "-c", program], tmp_path)


def test_make_knows_every_target_that_the_readme_names() -> None:
    makefile = (_ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"make ([a-z]+)`?", _README))
    assert {"demo", "test", "check", "stack", "bench", "help"} <= targets
    assert not {target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)}


@pytest.mark.parametrize("variable", [PREFIX + name.upper() for name in _PARSERS])
def test_the_readme_explains_every_variable(variable: str) -> None:
    assert f"| `{variable}` |" in _README


def test_the_readme_names_no_variable_that_is_not_read() -> None:
    assert set(re.findall(r"REALTIME_SPEND_[A-Z_]+", _README)) <= {PREFIX + name.upper() for name in _PARSERS}


def test_every_command_is_in_the_readme_and_has_help() -> None:
    for name, command in cli.main.commands.items():
        assert f"| `realtime-spend {name}" in _README
        assert command.help
        assert all(option.help for option in command.params if isinstance(option, click.Option))


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", _README):
        assert target.startswith("https://") or (_ROOT / target).exists(), target


def test_the_page_of_metrics_describes_exactly_what_is_emitted() -> None:
    described = dict(re.findall(r"^\| `([\w.]+)` \| [\w-]+(?: [\w-]+)?, `([^`]+)`", _METRICS, re.MULTILINE))
    emitted = {name: unit for name, (unit, *_) in {**metrics.COUNTERS, **metrics.HISTOGRAMS, **metrics.GAUGES}.items()}
    assert described == {**emitted, metrics.SESSION_ACTIVE: "{session}"}


def test_every_dotted_name_in_the_documents_is_one_of_ours() -> None:
    ours = {value for name, value in vars(metrics).items() if name.isupper() and isinstance(value, str)}
    ours |= {*metrics.COUNTERS, *metrics.HISTOGRAMS, *metrics.GAUGES, metrics.SCOPE_NAME}
    for document in (_README, _METRICS):
        named = set(re.findall(r"`((?:realtime_spend|gen_ai)\.[\w.]*\w)`", document))
        assert named <= ours, named - ours
