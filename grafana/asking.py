"""Asks a Prometheus what a panel shows, with the variables filled in as Grafana does."""

import json
import math
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PATIENCE_SECONDS = 30
# What a panel is wide, where it does not say at how many points Grafana may ask, and how often the services export
# (provisioning/datasources).
_MOST_POINTS = 360
_EXPORT_SECONDS = 60
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
# The steps that Grafana takes, in seconds, each for all that is shorter than what stands before it. Grafana's own list
# goes on below a second.
_STEPS = {
    1.5: 1, 3.5: 2, 7.5: 5, 12.5: 10, 17.5: 15, 25: 20, 45: 30, 90: 60, 210: 120, 450: 300, 750: 600, 1_050: 900,
    1_500: 1_200, 2_700: 1_800, 5_400: 3_600, 9_000: 7_200, 16_200: 10_800, 32_400: 21_600, 86_400: 43_200,
    604_800: 86_400, 1_814_400: 604_800, 3_628_800: 2_592_000, math.inf: 31_536_000,
}  # fmt: skip


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
    return re.sub(r"\$(?:(\w+)|\{(\w+)(?::raw)?\})", lambda match: values[match[1] or match[2]], text)


def step_of(panel: Mapping[str, Any], seconds: float) -> int:
    """How far apart Grafana asks in a panel, in seconds, over a range so long."""
    wide = seconds / (panel.get("maxDataPoints") or _MOST_POINTS)
    least = _in_seconds(panel["interval"]) if panel.get("interval") else 1
    return max(least, next(step for below, step in _STEPS.items() if wide < below))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A query of a panel as Grafana sends it: which of Prometheus' two, with what, and how its answer is called."""

    path: str
    parameters: Mapping[str, str | float]
    legend: str


def asked(
    board: Mapping[str, Any],
    panel: Mapping[str, Any],
    *,
    end: float,
    seconds: int,
    absolute: bool = False,
    **choices: str,
) -> list[Asked]:
    """What Grafana asks for in a panel over the `seconds` before `end`.

    A range that is said to end now (`absolute` is false) gives way to a panel's own.
    """
    values = chosen(board, **choices)
    if panel.get("timeFrom") and not absolute:
        seconds = _in_seconds(panel["timeFrom"])
    step = step_of(panel, seconds)
    values["__range"] = f"{seconds}s"
    values["__interval"] = f"{step}s"
    values["__rate_interval"] = f"{max(step + _EXPORT_SECONDS, 4 * _EXPORT_SECONDS)}s"
    # At whole multiples of the step, which for hours and days are those of UTC.
    steps = {"start": (end - seconds) // step * step, "end": end // step * step, "step": step}
    return [
        Asked(
            path="query_range" if target.get("range") else "query",
            parameters={
                "query": filled_in(target["expr"], values),
                **(steps if target.get("range") else {"time": end}),
            },
            legend=filled_in(target["legendFormat"], values),
        )
        for target in panel["targets"]
    ]


def shown(
    url: str,
    board: Mapping[str, Any],
    panel: Mapping[str, Any],
    *,
    end: float,
    seconds: int,
    absolute: bool = False,
    **choices: str,
) -> list[Shown]:
    """What a panel shows of the Prometheus at `url`; the range is that of `asked`."""
    found = []
    for query in asked(board, panel, end=end, seconds=seconds, absolute=absolute, **choices):
        for one in ask(url, query.path, **query.parameters)["result"]:
            values = {at: float(value) for at, value in one.get("values") or [one["value"]]}
            found.append(Shown(legend=_named(query.legend, one["metric"]), labels=one["metric"], values=values))
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
