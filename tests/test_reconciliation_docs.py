"""docs/reconciliation.md: its commands and what it imports are there, and no cause is left out."""

from __future__ import annotations

import ast
import json
import re
import shlex
from importlib import import_module
from pathlib import Path

import click
import pytest

from realtime_spend.cli import main
from realtime_spend.core.reconciliation.drift import Cause

_TEXT = (Path(__file__).resolve().parents[1] / "docs" / "reconciliation.md").read_text(encoding="utf-8")
_BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", _TEXT, re.DOTALL | re.MULTILINE)
_COMMANDS = [
    line
    for language, block in _BLOCKS
    if language == "sh"
    for line in block.splitlines()
    if line.startswith("realtime-spend ")
]


def test_the_page_has_commands() -> None:
    assert {line.split()[1] for line in _COMMANDS} == {"reconcile", "meters"}


@pytest.mark.parametrize("line", _COMMANDS)
def test_every_command_is_one_that_there_is(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    context = click.Context(main)
    command = main.get_command(context, name)
    assert command is not None
    command.make_context(name, arguments, parent=context)


def test_every_cause_has_a_row() -> None:
    table = _TEXT.partition("## The causes")[2].partition("\n## ")[0]
    named = {word for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for word in re.findall(r"`(\w+)`", row)}
    assert named == set(Cause)


def test_what_the_program_imports_is_there() -> None:
    (program,) = [block for language, block in _BLOCKS if language == "python"]
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            module = import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), node.module


def test_the_definition_of_the_export_is_json() -> None:
    (definition,) = re.findall(r"<<'JSON'\n(.*?)^JSON$", _TEXT, re.DOTALL | re.MULTILINE)
    assert json.loads(definition)["properties"]["definition"]["type"] == "FocusCost"


def test_every_link_inside_the_page_has_its_heading() -> None:
    headings = {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", _TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", _TEXT)) <= headings
