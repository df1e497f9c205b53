from __future__ import annotations

import ast
from pathlib import Path

import pytest

import realtime_spend.simulator

_MODULES = sorted(Path(realtime_spend.simulator.__file__).parent.glob("*.py"))


def _imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


@pytest.mark.parametrize("module", _MODULES, ids=lambda module: module.name)
def test_the_simulator_shares_nothing_with_what_it_proves(module: Path) -> None:
    ours = {name for name in _imported(ast.parse(module.read_text())) if name.startswith((".", "realtime_spend"))}
    assert all(name.startswith("realtime_spend.simulator") for name in ours)
