"""The rules that make the folder listing true."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import realtime_spend

_PACKAGE = Path(realtime_spend.__file__).parent
_EDGES = {"hooks", "sinks", "estimates", "billing", "reports", "rate_cards", "simulator"}
# What joins the edges. Everything else at the top level may import core, and itself.
_ROOTS = {"instrumentor", "metering", "watcher", "rated", "observing", "reporting", "demo", "cli"}
_ROOTS |= {"relay", "relay_command"}
_ROOTS |= {"repricing", "command_settings", "ledger_commands", "simulator_commands"}
_ROOTS |= {"reconciler", "reconcile_command", "bill_sources", "meters_command", "watching", "watch_command"}
_ROOTS |= {"sideband", "attach_command"}
_NOT_PURE = {"asyncio", "socket", "os", "time", "logging", "pathlib", "io", "subprocess", "tempfile", "random"}
_VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}


def _modules() -> list[Path]:
    return sorted(path for path in _PACKAGE.rglob("*.py") if "examples" not in path.parts)


def _name(path: Path) -> str:
    return ".".join(path.relative_to(_PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path) -> set[str]:
    """Every module that a file imports, inside functions and for type checking too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _rooms(imports: set[str]) -> set[str]:
    return {name.split(".")[1] for name in imports if name.startswith("realtime_spend.")}


@pytest.mark.parametrize("path", _modules(), ids=_name)
def test_every_module_imports_only_what_its_place_allows(path: Path) -> None:
    room = _name(path).partition(".")[0]
    imports = _imports(path)
    if room == "core":
        foreign = {name.split(".")[0] for name in imports} - sys.stdlib_module_names - {"realtime_spend", "__future__"}
        assert not foreign, "core imports the standard library and itself only"
        assert not {name.split(".")[0] for name in imports} & _NOT_PURE, "core has no clock, no files, no log"
        assert _rooms(imports) <= {"core"}
    elif room == "simulator":
        assert _rooms(imports) <= {"simulator"}
    elif room in _EDGES:
        assert not _rooms(imports) & (_EDGES - {room}), "edges do not import each other"
        assert not _rooms(imports) & (_ROOTS - {room}), "edges do not know who joins them"
    elif room not in _ROOTS:
        assert not _rooms(imports) & _EDGES or room == "__init__", f"{room} is not among those who join edges"


@pytest.mark.parametrize("path", _modules(), ids=_name)
def test_every_module_says_in_its_first_line_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{path} has no docstring"
    assert docstring.splitlines()[0].endswith((".", ":", "…")), "its first line is a sentence"


def test_no_module_has_a_vague_name() -> None:
    assert not {part for path in _modules() for part in path.relative_to(_PACKAGE).with_suffix("").parts} & _VAGUE


def _loaded_after(code: str) -> set[str]:
    program = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(output.stdout))


def test_importing_the_package_imports_no_socket_library_no_sdk_and_no_command_line() -> None:
    loaded = _loaded_after("import realtime_spend")
    assert not loaded & {"websockets", "aiohttp", "websocket", "opentelemetry.sdk", "click", "rich", "asyncio"}


def test_instrumenting_imports_no_socket_library_and_no_sdk() -> None:
    loaded = _loaded_after("from realtime_spend import RealtimeInstrumentor\nRealtimeInstrumentor().instrument()")
    assert "realtime_spend.metering" in loaded
    assert not loaded & {
        "websockets",
        "websockets.client",
        "aiohttp",
        "websocket",
        "opentelemetry.sdk",
        "click",
        "rich",
    }


def test_unknown_public_names_are_refused_as_by_any_module() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        realtime_spend.nothing  # noqa: B018 - asking for it is the test
