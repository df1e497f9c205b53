"""What compose.yaml says, by service: releases, command lines, and which files of the repository are mounted where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
COMPOSE_FILE = REPOSITORY / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# Service, what it is given, where it finds that, and how.
MOUNTS: list[tuple[str, ...]] = [
    (name, *mount.split(":")) for name, service in SERVICES.items() for mount in service.get("volumes", [])
]


def load(path: str) -> Any:
    return yaml.safe_load((REPOSITORY / path).read_text(encoding="utf-8"))


def release(name: str) -> str:
    return str(SERVICES[name]["image"]).rpartition(":")[2].removeprefix("v")


def flag(name: str, option: str) -> str:
    """What the command line of a service says for an option."""
    said = [one.partition("=")[2] for one in SERVICES[name]["command"] if one.partition("=")[0] == option]
    assert len(said) == 1, f"{option} of {name}: {said}"
    return str(said[0])


def on_this_side(name: str, inside: str) -> Path:
    """The file of the repository that a container of the service finds under a path of its own."""
    for service, source, target, *_ in MOUNTS:
        if service == name and inside.startswith(target + "/") and source.startswith("./"):
            return REPOSITORY / source / inside.removeprefix(target + "/")
    message = f"{name} is given no {inside}"
    raise AssertionError(message)


# Where a service finds its configuration, and where it keeps what must survive.
_CONFIGURATIONS = {"--config", "--config.file"}
_FOLDERS = {"--storage.tsdb.path", "--storage.path"}


def command_line(name: str, folder: Path, *, config: Path | None = None) -> list[str]:
    """The command line of a service on this side: with a folder for what it keeps, and perhaps our configuration."""
    translated = []
    for argument in SERVICES[name]["command"]:
        option, _, value = argument.partition("=")
        if option in _CONFIGURATIONS:
            value = str(config or on_this_side(name, value))
        elif option in _FOLDERS:
            value = str(folder / name)
        translated.append(f"{option}={value}" if "=" in argument else option)
    return translated
