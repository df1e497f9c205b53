"""What users set: REALTIME_SPEND_* variables, or the same names as arguments. A wrong value never stops a host.

| variable | argument | value |
| --- | --- | --- |
| REALTIME_SPEND_LEDGER | ledger | folder of the ledger; none is written without it |
| REALTIME_SPEND_RATE_CARDS | rate_cards | your own cards, files separated by commas; they win over ours |
| REALTIME_SPEND_DEPLOYMENTS | deployments | JSON, or a file of it: deployment to model, version, scope, region |
| REALTIME_SPEND_ACCOUNT | account | the account to record where a URL does not tell it |
| REALTIME_SPEND_ROLE | role | `observer`: write the ledger, leave the metrics to another process |
| REALTIME_SPEND_DISABLED_LIBRARIES | disabled_libraries | socket libraries to leave alone, separated by commas |
| REALTIME_SPEND_SNIFF | sniff | `true`: look into the first messages of every socket, for a gateway of unknown URL |
| REALTIME_SPEND_ENDPOINTS | endpoints | more hosts or paths that speak the protocol, separated by commas |
| REALTIME_SPEND_BAGGAGE_KEYS | baggage_keys | baggage entries to copy onto metrics and ledger, separated by commas |
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime_spend.core.endpoints import ExtraEndpoint, parse_extra_endpoint
from realtime_spend.core.line_items import Scope
from realtime_spend.core.naming import Deployment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PREFIX = "REALTIME_SPEND_"
# Arguments that OpenTelemetry's own instrumentors take too.
_OF_EVERY_INSTRUMENTOR = {"tracer_provider", "meter_provider", "logger_provider", "skip_dep_check"}
_OF_EVERY_INSTRUMENTOR |= {"raise_exception_on_conflict"}
# The socket libraries that there are hooks for.
LIBRARIES = frozenset({"websockets", "aiohttp", "websocket-client", "httpx-ws", "aiortc"})
_ON, _OFF = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
_DEPLOYMENT_KEYS = {"model", "version", "scope", "region"}


class Role(StrEnum):
    """Whether this process counts what it sees. Of two that see the same call, one is told not to."""

    COUNTER = "counter"
    OBSERVER = "observer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """All settings, checked. `problems` are sentences about values that were set aside for their defaults."""

    ledger: Path | None = None
    rate_cards: tuple[Path, ...] = ()
    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    account: str | None = None
    role: Role = Role.COUNTER
    disabled_libraries: frozenset[str] = frozenset()
    sniff: bool = False
    endpoints: tuple[ExtraEndpoint, ...] = ()
    baggage_keys: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def configure(environment: Mapping[str, str], arguments: Mapping[str, Any]) -> Configuration:
    """Read every setting from `arguments`, else from `environment`; what is wrong is set aside and said."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, parse in _PARSERS.items():
        variable = PREFIX + name.upper()
        given = arguments.get(name)
        value = environment.get(variable, "").strip() if given is None else given
        if value in ("", None):
            continue
        try:
            values[name] = parse(value)
        except (ValueError, OSError, RuntimeError) as error:
            # RuntimeError: a `~user` that does not exist.
            problems.append(f"{variable} is set aside: {_sentence(error)}")
    problems += [f"{name} is no argument of instrument()" for name in arguments if name not in _ACCEPTED]
    return Configuration(**values, problems=tuple(problems))


def parse_deployments(value: object) -> dict[str, Deployment]:
    """Read the deployment map from a dict, JSON text or the path of a JSON file; ValueError in one sentence."""
    if isinstance(value, str):
        text = value if value.lstrip().startswith(("{", "[")) else Path(value).expanduser().read_text(encoding="utf-8")
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ValueError(f"it is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError('it must be an object such as {"voice-prod": {"model": "gpt-realtime", "scope": "datazone"}}')
    return {str(name): _deployment(str(name), entry) for name, entry in value.items()}


def _deployment(name: str, entry: object) -> Deployment:
    if isinstance(entry, str):
        return Deployment(model=entry)
    if not isinstance(entry, dict) or not all(value is None or isinstance(value, str) for value in entry.values()):
        raise ValueError(f"the deployment {name!r} must be a model's name or an object of texts")
    if unknown := sorted(set(entry) - _DEPLOYMENT_KEYS):
        raise ValueError(f"the deployment {name!r} has no {unknown[0]!r}; it has model, version, scope, region")
    scope = entry.get("scope")
    if scope is not None and scope not in tuple(Scope):
        raise ValueError(f"the scope of {name!r} is {scope!r}; it must be one of {', '.join(Scope)}")
    return Deployment(
        model=entry.get("model"),
        version=entry.get("version"),
        scope=Scope(scope) if scope else None,
        region=entry.get("region"),
    )


def _listed(value: object) -> list[str]:
    entries: Iterable[object] = value.split(",") if isinstance(value, str) else _iterable(value)
    return [text for entry in entries if (text := str(entry).strip())]


def _iterable(value: object) -> Iterable[object]:
    if isinstance(value, Path):
        return [value]
    if isinstance(value, list | tuple | set | frozenset):
        return value
    raise ValueError("it must be text with commas, or a list")


def _sentence(error: Exception) -> str:
    return f"{error.filename} cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)


def _paths(value: object) -> tuple[Path, ...]:
    return tuple(Path(entry).expanduser() for entry in _listed(value))


def _folder(value: object) -> Path:
    # A program may change its working directory long before midnight asks for the next file.
    return Path(str(value)).expanduser().absolute()


def _libraries(value: object) -> frozenset[str]:
    named = frozenset(_listed(value))
    if strange := sorted(named - LIBRARIES):
        raise ValueError(f"{strange[0]!r} is no library that is watched; there is {', '.join(sorted(LIBRARIES))}")
    return named


def _role(value: object) -> Role:
    if value not in tuple(Role):
        raise ValueError(f"{value!r} is not a role; write {' or '.join(Role)}")
    return Role(str(value))


def _switch(value: object) -> bool:
    text = str(value).strip().lower()
    if text not in _ON | _OFF:
        raise ValueError(f"{value!r} is neither true nor false")
    return text in _ON


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "ledger": _folder,
    "rate_cards": _paths,
    "deployments": parse_deployments,
    "account": str,
    "role": _role,
    "disabled_libraries": _libraries,
    "sniff": _switch,
    "endpoints": lambda value: tuple(parse_extra_endpoint(entry) for entry in _listed(value)),
    "baggage_keys": lambda value: tuple(_listed(value)),
}
_ACCEPTED = {*_PARSERS, *_OF_EVERY_INSTRUMENTOR}
