"""Asks a Prometheus what a panel shows, with the variables filled in as Grafana does."""

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PATIENCE_SECONDS = 30
# What Grafana asks for at most in a panel, and how often the services export (provisioning/datasources).
_MOST_POINTS = 360
_EXPORT_SECONDS = 60
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A line, bar or number of a panel: its name in the legend, and its values by their instants."""

    legend: str
    labels: Mapping[str, str]
    values: Mapping[float, float]


def chosen(board: Mapping[str, Any], **choices: str) -> dict[str, str]:
    """What each variable of a dashboard is replaced by: what it opens with, unless something else is chosen."""
    values = {}
    for variable in board["templating"]["list"]:
        value = variable.get("current", {}).get("value", "")
        values[variable["name"]] = variable["allValue"] if value == "$__all" else value
    return values | choices


def filled_in(text: str, values: Mapping[str, str]) -> str:
    """A query or title with its variables replaced.

    Raises:
        KeyError: it uses a variable that there is not.
    """
    return re.sub(r"\$(\w+)", lambda match: values[match[1]], text)


def shown(
    url: str, board: Mapping[str, Any], panel: Mapping[str, Any], *, end: float, seconds: int, **choices: str
) -> list[Shown]:
    """What a panel shows of the Prometheus at `url` over the `seconds` before `end`."""
    values = chosen(board, **choices)
    seconds = _in_seconds(panel["timeFrom"]) if panel.get("timeFrom") else seconds
    step = max(seconds / _MOST_POINTS, _in_seconds(panel["interval"]) if panel.get("interval") else 1)
    values["__range"] = f"{seconds}s"
    values["__rate_interval"] = f"{max(step + _EXPORT_SECONDS, 4 * _EXPORT_SECONDS):.0f}s"
    found = []
    for target in panel["targets"]:
        asked: dict[str, str | float] = {"query": filled_in(target["expr"], values)}
        if target.get("range"):
            # At whole multiples of the step, which for hours and days are those of UTC.
            asked |= {"start": (end - seconds) // step * step, "end": end // step * step, "step": step}
            result = ask(url, "query_range", **asked)["result"]
        else:
            result = ask(url, "query", **asked, time=end)["result"]
        for one in result:
            pairs = one.get("values") or [one["value"]]
            legend = _named(filled_in(target["legendFormat"], values), one["metric"])
            found.append(Shown(legend=legend, labels=one["metric"], values={at: float(value) for at, value in pairs}))
    return found


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), legend)


def ask(url: str, path: str, **parameters: str | float) -> Any:
    """What the HTTP API of the Prometheus at `url` answers."""
    return json.loads(fetched(f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))["data"]


def fetched(url: str) -> str:
    """What a server on this machine says, whatever proxy the rest of the world is behind."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=_PATIENCE_SECONDS) as answer:
        return str(answer.read(), "utf-8")


def _in_seconds(duration: str) -> int:
    return int(duration[:-1]) * _SECONDS[duration[-1]]
