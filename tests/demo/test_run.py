"""The demo, run inside the test: real processes, real sockets, and what it says when something is amiss."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from realtime_spend.demo import programs, run, stack
from realtime_spend.demo.programs import Program, examples_folder
from realtime_spend.demo.receiver import receiving
from realtime_spend.demo.run import DemoError, run_demo
from realtime_spend.estimates.ledger import read_ledger


class Printed:
    """A console, and what was printed on it."""

    def __init__(self) -> None:
        self._file = io.StringIO()
        self.console = Console(file=self._file, width=160, highlight=False, markup=False)

    @property
    def text(self) -> str:
        return self._file.getvalue()


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Printed:
    """Print as on a machine where nobody has run `make stack`."""
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(stack, "_PATH_NAMES", {"otelcol": (), "prometheus": ()})
    return Printed()


def test_truth_ledger_and_otlp_agree_for_other_seeds_too(printed: Printed, tmp_path: Path) -> None:
    assert run_demo(printed.console, seed=11, ledger=tmp_path / "ledger")
    assert "truth, ledger and OTLP agree for all" in printed.text
    assert "every dollar that was injected is under its cause" in printed.text
    assert "DIFFERS" not in printed.text
    assert printed.text.count("run `make stack`") == 1
    models = {entry.model for entry in read_ledger(tmp_path / "ledger").entries}
    assert {"gpt-realtime", "gpt-realtime-mini", "gpt-4o-transcribe", "gpt-realtime-whisper"} <= models


def test_with_a_collector_of_ones_own_the_ledger_is_compared_and_the_metrics_are_left_to_it(
    printed: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as (endpoint, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        assert run_demo(printed.console, seed=0, ledger=tmp_path / "ledger")
        assert received.requests >= 3
    assert "truth and ledger agree" in printed.text
    assert f"metrics went to the collector at {endpoint}" in printed.text


def test_a_usage_that_the_ledger_lacks_is_a_disagreement(
    printed: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_the_first(folder: Path) -> object:
        reading = read_ledger(folder)
        del reading.entries[0]
        return reading

    monkeypatch.setattr(run, "read_ledger", without_the_first)
    assert not run_demo(printed.console, seed=0, ledger=tmp_path / "ledger")
    assert "truth, ledger and OTLP do not agree" in printed.text
    assert "DIFFERS" in printed.text


def test_a_demo_that_needs_what_is_not_installed_leaves_nothing_behind(
    printed: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(run, "find_spec", lambda name: None if name == "openai" else True)
    with pytest.raises(DemoError, match=re.escape("the demo needs openai: pip install 'realtime-spend[demo]'")):
        run_demo(printed.console, seed=0, ledger=None)
    assert list(tmp_path.iterdir()) == []


def test_a_demo_without_a_folder_says_where_its_ledger_is_and_stays(
    printed: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run_demo(printed.console, seed=0, ledger=None)
    [folder] = tmp_path.glob("realtime-spend-demo-*")
    assert f"ledger: {folder}, yours to keep or remove" in printed.text
    assert len(read_ledger(folder).entries) == 19


def test_a_demo_that_fails_before_anything_is_recorded_leaves_no_folder(
    printed: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_program: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(DemoError, match=failing_program):
        run_demo(printed.console, seed=0, ledger=None)
    assert list(tmp_path.glob("realtime-spend-demo-*")) == []


def test_a_folder_that_holds_a_ledger_already_is_refused(printed: Printed, tmp_path: Path) -> None:
    (tmp_path / "2026-11-18-w.jsonl").write_text("")
    with pytest.raises(DemoError, match="name an empty or a new folder"):
        run_demo(printed.console, seed=0, ledger=tmp_path)


@pytest.fixture
def failing_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "examples"
    folder.mkdir()
    (folder / "openai_sdk.py").write_text("raise SystemExit('the microphone is on fire')")
    monkeypatch.setattr(programs, "examples_folder", lambda: folder)
    monkeypatch.setattr(run, "examples_folder", lambda: folder)
    monkeypatch.setattr(run, "programs", lambda *_urls: [Program(file="openai_sdk.py", shows="a failure")])
    return "the microphone is on fire"


def test_a_program_that_fails_ends_the_demo_with_what_it_said(
    printed: Printed, tmp_path: Path, failing_program: str
) -> None:
    with pytest.raises(DemoError, match=failing_program):
        run_demo(printed.console, seed=0, ledger=tmp_path / "ledger")


def test_the_examples_are_found_in_a_checkout() -> None:
    assert {path.name for path in examples_folder().glob("*.py")} >= {"openai_sdk.py", "azure_sdk.py"}


def test_examples_that_are_nowhere_are_missed_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda _path: False)
    with pytest.raises(FileNotFoundError, match="install realtime-spend anew"):
        examples_folder()
