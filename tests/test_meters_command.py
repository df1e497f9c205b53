"""`realtime-spend meters` from the names of an Azure bill to what they charge for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from realtime_spend.meters_command import meters

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

_MINI = "gpt rt aud mn cd in gl 1215 1M Tokens"
_MINI_JSON: dict[str, Any] = {
    "meter": _MINI,
    "model": "gpt-realtime-mini",
    "version": "2025-12-15",
    "modality": "audio",
    "component": "cached_input",
    "scope": "global",
    "unit": "tokens",
    "problem": None,
}


def _run(*arguments: str, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(meters, list(arguments), input=given)


def test_each_name_is_one_object_in_order() -> None:
    result = _run(_MINI, "gpt-transcribe Gl Unit", "gpt rt aud mn in", "--json")
    assert result.exit_code == 0
    first, second, third = json.loads(result.stdout)
    assert first == _MINI_JSON
    assert (second["model"], second["modality"], second["component"], second["unit"]) == (
        "gpt-transcribe",
        "audio",
        "duration",
        "seconds",
    )
    assert (third["version"], third["scope"], third["problem"]) == (None, None, None)


@pytest.mark.parametrize("arguments", [["-"], [], ["--file", "-"], ["-", "--file", "-"]])
def test_names_come_from_standard_input(arguments: list[str]) -> None:
    result = _run(*arguments, "--json", given=f"\n{_MINI}\r\n\n")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == [_MINI_JSON]


def test_names_come_from_a_file_after_those_of_the_arguments(tmp_path: Path) -> None:
    file = tmp_path / "meters.txt"
    file.write_text(f"\ufeff{_MINI}\n", encoding="utf-8")
    result = _run("gpt rt aud mn in", "--file", str(file), "--json")
    assert [meter["meter"] for meter in json.loads(result.stdout)] == ["gpt rt aud mn in", _MINI]


def test_what_cannot_be_read_and_what_is_of_another_family_have_a_sentence() -> None:
    result = _run("gpt rt aud xyz in gl", "gpt aud mini txt Inp glbl", "Voice Live API Pro - LLM Audio Input", "--json")
    assert result.exit_code == 0
    unknown, other, voice_live = json.loads(result.stdout)
    assert (unknown["model"], unknown["unit"]) == (None, None)
    assert "'xyz'" in unknown["problem"]
    assert other["problem"].endswith("is a meter of gpt-audio, not of a Realtime model")
    assert "Voice Live" in voice_live["problem"]


def test_the_table_has_a_line_a_name_and_the_sentences_after_it() -> None:
    lines = _run(_MINI, "gpt rt aud xyz in gl").stdout.splitlines()
    assert lines[0].split() == ["meter", "model", "version", "modality", "component", "scope", "unit"]
    assert lines[1].split()[-6:] == ["gpt-realtime-mini", "2025-12-15", "audio", "cached_input", "global", "tokens"]
    assert lines[1].startswith(_MINI)
    assert lines[2].startswith("! 'gpt rt aud xyz in gl' cannot be read")


@pytest.mark.parametrize("given", ["", "\n \n", b"\xff\xfe\x00"])
def test_nothing_to_read_is_said_in_one_sentence(given: str | bytes) -> None:
    result = _run("-", given=given)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    result = _run("--file", str(tmp_path / "none.txt"))
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def test_without_any_name_that_can_be_read_there_are_sentences_alone() -> None:
    result = _run("gpt rt aud xyz in gl")
    assert result.exit_code == 0
    assert result.stdout.startswith("! 'gpt rt aud xyz in gl' cannot be read")
