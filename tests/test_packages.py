"""`packages.sh`, with stand-ins for Debian's programs: what it takes, what it installs, and what it says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent / "packages.sh"
BASH = shutil.which("bash") or "/bin/bash"
# Writes down how it was called, and installs what it was asked for.
APT_GET = """\
#!{bash}
echo "$@" >> "{folder}/asked"
for name in "$@"; do
  case $name in
    chromium | victoria-metrics) printf '#!{bash}\\n' > "{folder}/$name"; {chmod} +x "{folder}/$name" ;;
  esac
done
exit {status}
"""


def program(path: Path, text: str = f"#!{BASH}\n") -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The only folder on PATH."""
    # Whoever runs it, root or not: it is asked for to act as root, and passes on.
    program(tmp_path / "sudo", f'#!{BASH}\nshift\nexec "$@"\n')
    for tool in ("env", "true"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or f"/usr/bin/{tool}")
    return tmp_path


def apt_get(folder: Path, *, status: int = 0) -> None:
    text = APT_GET.format(bash=BASH, folder=folder, chmod=shutil.which("chmod"), status=status)
    program(folder / "apt-get", text)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BASH, SCRIPT, *arguments],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_what_is_there_is_taken_and_nothing_is_installed(folder: Path) -> None:
    apt_get(folder)
    program(folder / "google-chrome")
    program(folder / "victoria-metrics")
    ended = run(folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"chromium={folder}/google-chrome\nvictoria_metrics={folder}/victoria-metrics\n"
    assert not (folder / "asked").exists()


def test_what_is_absent_is_installed_and_nothing_else(folder: Path) -> None:
    apt_get(folder)
    program(folder / "chromium")
    ended = run(folder)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"chromium={folder}/chromium\nvictoria_metrics={folder}/victoria-metrics\n"
    assert "installing victoria-metrics from Debian" in ended.stderr
    assert (folder / "asked").read_text().splitlines() == [
        "update -qq",
        "install -qq -y --no-install-recommends victoria-metrics",
    ]


def test_where_installs_nothing_and_says_what_is_absent(folder: Path) -> None:
    apt_get(folder)
    ended = run(folder, "--where")
    assert (ended.returncode, ended.stdout) == (0, "chromium=\nvictoria_metrics=\n")
    assert not (folder / "asked").exists()


def test_without_a_packager_it_says_what_to_do(folder: Path) -> None:
    ended = run(folder)
    assert ended.returncode == 2
    assert ended.stderr.startswith("Put chromium victoria-metrics on PATH")


def test_an_installation_that_fails_is_not_taken_for_one_that_did_not(folder: Path) -> None:
    apt_get(folder, status=100)
    assert run(folder).returncode == 1


def test_a_wrong_argument_is_refused(folder: Path) -> None:
    ended = run(folder, "--now")
    assert (ended.returncode, ended.stderr) == (2, "usage: packages.sh [--where]\n")
