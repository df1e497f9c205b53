"""`obtain.sh`, with stand-ins for the programs and for Go: what it takes, what it builds, and what it says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent / "obtain.sh"
TOOLS = (
    "awk",
    "bash",
    "basename",
    "cat",
    "chmod",
    "cp",
    "cut",
    "dirname",
    "flock",
    "grep",
    "mkdir",
    "mktemp",
    "mv",
    "rm",
    "sed",
    "sha256sum",
    "shasum",
    "sleep",
    "tail",
    "tee",
    "uname",
)

# Makes what the real one would make, after long enough that two runs would overlap, and writes down that it was called.
GO = """\
#!/usr/bin/env bash
set -e
echo "$*" >>"$GO_CALLS"
sleep 0.3
case "$1 $3" in
  install*) printf '#!/usr/bin/env bash\\nmkdir dist\\n' >builder; chmod +x builder ;;
  'build dist') echo collector >bin/otelcol; chmod +x bin/otelcol ;;
  'build prometheus') for it in prometheus promtool; do echo "$it" >bin/$it; chmod +x bin/$it; done ;;
  'mod -json') printf '{\n\t"Path": "alertmanager",\n\t"Dir": "%s"\n}\n' "$GO_MODULES/alertmanager" ;;
  'build alertmanager')
    test -s alertmanager/ui/app/dist/index.html
    for it in alertmanager amtool; do echo "$it" >bin/$it; chmod +x bin/$it; done
    ;;
esac
"""

NAMES = {"otelcol", "prometheus", "promtool", "alertmanager", "amtool"}
# What Go is called for.
BUILDS = ["install builder", "collector", "prometheus", "alertmanager's module", "alertmanager"]

COMPONENTS = """\
receivers:
    - name: otlp
processors:
    - name: memory_limiter
exporters:
    - name: debug
    - name: file
    - name: otlp_http
extensions:
    - name: bearertokenauth
    - name: file_storage
    - name: health_check
providers:
    - scheme: env
    - scheme: file
    - scheme: yaml
"""


class Machine:
    """A PATH with the tools that every system has and nothing else, and a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "path"
        self.cache = folder / "cache"
        self.calls = folder / "calls"
        self.calls.touch()
        self.path.mkdir()
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self.path / tool).symlink_to(found)
        # As Go keeps a module: without the web pages, and not to be written to.
        modules = folder / "modules"
        (pages := modules / "alertmanager" / "ui" / "app").mkdir(parents=True)
        for place in (pages, *list(pages.parents)[:2]):
            place.chmod(0o555)
        self.environment = {
            "GO_MODULES": str(modules),
            "PATH": str(self.path),
            "REALTIME_SPEND_STACK": str(self.cache),
            "GO_CALLS": str(self.calls),
        }

    def install(self, name: str, script: str) -> Path:
        program = self.path / name
        program.write_text(script)
        program.chmod(0o755)
        return program

    def install_saying(self, name: str, text: str) -> Path:
        return self.install(name, f"#!/usr/bin/env bash\ncat <<'END'\n{text}\nEND\n")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.path / "bash", SCRIPT, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def obtain(self, *arguments: str) -> tuple[int, dict[str, str], str]:
        return finished(self.start(*arguments))


def finished(process: subprocess.Popen[str]) -> tuple[int, dict[str, str], str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, dict(line.split("=", 1) for line in out.splitlines()), err


def built_by(machine: Machine) -> list[str]:
    """The folders that Go was told to build."""
    calls = [call.split() for call in machine.calls.read_text().splitlines()]
    return [call[2] for call in calls if call[0] == "build"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_where_names_what_is_absent_and_builds_nothing(machine: Machine) -> None:
    machine.install("go", GO)
    assert machine.obtain("--where") == (0, dict.fromkeys(NAMES, ""), "")
    assert machine.calls.read_text() == ""
    assert not machine.cache.exists()


def test_without_go_it_says_in_one_sentence_what_to_install(machine: Machine) -> None:
    status, found, said = machine.obtain()
    assert (status, found) == (2, {})
    assert said.startswith("Install Go 1.26 or newer")
    assert said.count("\n") == 1


def test_an_unknown_argument_is_refused(machine: Machine) -> None:
    assert machine.obtain("--wher") == (2, {}, "usage: obtain.sh [--where]\n")


@pytest.mark.parametrize("version", ["2.42.0+ds", "", "unknown"])
def test_a_prometheus_older_than_3_or_of_unknown_version_is_not_taken(machine: Machine, version: str) -> None:
    machine.install_saying("prometheus", f"prometheus, version {version} (branch: , revision: unknown)")
    assert machine.obtain("--where")[1]["prometheus"] == ""


@pytest.mark.parametrize("name", ["prometheus", "promtool"])
def test_a_program_of_prometheus_3_on_path_is_taken(machine: Machine, name: str) -> None:
    program = machine.install_saying(name, f"{name}, version 3.14.0 (branch: HEAD, revision: 1a2b3c)")
    assert machine.obtain("--where")[1][name] == str(program)


@pytest.mark.parametrize("version", ["0.33.9", "0.9.0", "", "unknown"])
def test_an_alertmanager_that_is_older_or_of_unknown_version_is_not_taken(machine: Machine, version: str) -> None:
    machine.install_saying("alertmanager", f"alertmanager, version {version} (branch: , revision: unknown)")
    assert machine.obtain("--where")[1]["alertmanager"] == ""


@pytest.mark.parametrize("name", ["alertmanager", "amtool"])
@pytest.mark.parametrize("version", ["0.34.0", "0.40.2", "1.0.0"])
def test_a_program_of_alertmanager_on_path_is_taken(machine: Machine, name: str, version: str) -> None:
    program = machine.install_saying(name, f"{name}, version {version} (branch: HEAD, revision: 1a2b3c)")
    assert machine.obtain("--where")[1][name] == str(program)


@pytest.mark.parametrize("name", ["otelcol", "otelcol-contrib"])
def test_a_collector_on_path_that_has_every_component_is_taken(machine: Machine, name: str) -> None:
    program = machine.install_saying(name, COMPONENTS)
    assert machine.obtain("--where")[1]["otelcol"] == str(program)


@pytest.mark.parametrize("absent", [line for line in COMPONENTS.splitlines() if line.startswith(" ")])
def test_a_collector_that_lacks_a_component_is_not_taken(machine: Machine, absent: str) -> None:
    machine.install_saying("otelcol-contrib", COMPONENTS.replace(f"{absent}\n", ""))
    assert machine.obtain("--where")[1]["otelcol"] == ""


def test_what_was_built_is_found_again_and_not_built_again(machine: Machine) -> None:
    machine.install("go", GO)
    status, built, _ = machine.obtain()
    calls = machine.calls.read_text()
    assert status == 0
    assert {Path(path).name for path in built.values()} == NAMES
    assert all(Path(path).is_relative_to(machine.cache) for path in built.values())
    assert machine.obtain("--where") == (0, built, "")
    assert machine.obtain() == (0, built, "")
    assert machine.calls.read_text() == calls


def test_only_what_is_missing_is_built(machine: Machine) -> None:
    machine.install("go", GO)
    machine.install_saying("otelcol-contrib", COMPONENTS)
    status, _, _ = machine.obtain()
    assert (status, built_by(machine)) == (0, ["prometheus", "alertmanager"])


def test_who_has_built_the_rest_builds_only_alertmanager(machine: Machine) -> None:
    """It has a recipe of its own: another release of it makes nobody build the collector again."""
    machine.install("go", GO)
    before = machine.obtain()[1]
    shutil.rmtree(Path(before["alertmanager"]).parents[1])
    machine.calls.write_text("")
    assert machine.obtain()[:2] == (0, before)
    assert built_by(machine) == ["alertmanager"]


@pytest.mark.skipif(not shutil.which("flock"), reason="flock is not installed: two runs are safe, but both build")
def test_two_runs_at_once_build_once(machine: Machine) -> None:
    machine.install("go", GO)
    first, second = [finished(process) for process in (machine.start(), machine.start())]
    assert (first[0], second[0]) == (0, 0)
    assert first[1] == second[1]
    assert len(machine.calls.read_text().splitlines()) == len(BUILDS)


def test_what_a_killed_run_left_is_removed_and_never_taken(machine: Machine) -> None:
    machine.install("go", GO)
    folder = Path(machine.obtain()[1]["otelcol"]).parents[1]
    (folder / "bin" / "otelcol").unlink()
    left = folder / "building.killed" / "bin"
    left.mkdir(parents=True)
    (left / "otelcol").touch(0o755)
    # As the copy of a module is until it was made writable.
    left.chmod(0o555)
    assert machine.obtain("--where")[1]["otelcol"] == ""
    assert machine.obtain()[0] == 0
    assert not left.exists()


def test_a_failed_build_shows_the_end_of_its_log_and_leaves_nothing(machine: Machine) -> None:
    machine.install("go", "#!/usr/bin/env bash\necho the compiler is out of sorts >&2\nexit 1\n")
    status, found, said = machine.obtain()
    (log,) = machine.cache.glob("*/build_collector.log")
    assert (status, found) == (1, {})
    assert "the compiler is out of sorts" in said
    assert str(log) in said
    assert [path.name for path in log.parent.iterdir() if path.name not in {log.name, "lock"}] == []


def test_the_folder_follows_the_cache_directory_of_the_user(machine: Machine) -> None:
    machine.install("go", GO)
    machine.environment["XDG_CACHE_HOME"] = machine.environment.pop("REALTIME_SPEND_STACK")
    built = machine.obtain()[1]["promtool"]
    assert Path(built).is_relative_to(machine.cache / "realtime-spend" / "stack")
    assert os.access(built, os.X_OK)
