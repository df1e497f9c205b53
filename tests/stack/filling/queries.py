"""Every query of the dashboards and rules that are checked in, as Grafana and Prometheus send it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from grafana.names import label, series

from realtime_spend.sinks import metrics as names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REPOSITORY = Path(__file__).resolve().parents[3]
DASHBOARDS = sorted((REPOSITORY / "grafana" / "dashboards").glob("*.json"))
RULES = sorted((REPOSITORY / "prometheus" / "rules").glob("*.yml"))

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_IDENTIFIER = re.compile(r"[A-Za-z_:][\w:]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, kw_only=True)
class Query:
    """An expression, where it stands, and how it is asked: at one instant, or in steps."""

    where: str
    expr: str
    is_range: bool = False
    step: int | None = None

    def __str__(self) -> str:
        return self.where


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A variable of a dashboard whose values are asked of Prometheus: those of a label."""

    where: str
    selector: str
    label: str

    def __str__(self) -> str:
        return self.where


def panel_queries(*, range_seconds: int) -> list[Query]:
    """The queries of all panels, with every variable at "All", or else as the dashboard comes."""
    return [
        Query(
            where=f"{path.name}: {panel['title']} {target['refId']}",
            expr=substituted(target["expr"], board, range_seconds=range_seconds, interval=interval),
            is_range=bool(target.get("range")),
            step=int(interval[:-1]) * _SECONDS[interval[-1]] if interval else None,
        )
        for path, board in boards()
        for panel in panels_of(board)
        for target in panel.get("targets", ())
        for interval in [interval_of(target, panel)]
    ]


def variables() -> list[Variable]:
    """The variables that are asked for."""
    found = []
    for path, board in boards():
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                query = substituted(variable["query"]["query"], board, range_seconds=86_400)
                asked = re.fullmatch(r"label_values\((?P<selector>.+), *(?P<label>\w+)\)", query)
                assert asked, query
                where = f"{path.name}: variable {variable['name']}"
                found.append(Variable(where=where, selector=asked["selector"], label=asked["label"]))
    return found


def rules(kind: str) -> list[Query]:
    """The rules of a kind, `record` or `alert`."""
    return [
        Query(where=f"{path.name}: {rule[kind]}", expr=rule["expr"])
        for path in RULES
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if kind in rule
    ]


def recorded_names() -> list[str]:
    return [rule.where.partition(": ")[2] for rule in rules("record")]


def boards() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in DASHBOARDS:
        yield path, json.loads(path.read_text(encoding="utf-8"))


def interval_of(target: dict[str, Any], panel: dict[str, Any]) -> str | None:
    """The least step that is set for a query, or for its whole panel."""
    return target.get("interval") or panel.get("interval")


def panels_of(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


def substituted(text: str, board: dict[str, Any], *, range_seconds: int, interval: str | None = None) -> str:
    """What Grafana makes of the variables in a query, in steps of the least length that the panel sets."""
    values = {"__range": f"{range_seconds}s", "__rate_interval": "60s", "datasource": "prometheus"}
    values["__interval"] = interval or "15s"
    for variable in board["templating"]["list"]:
        current = variable.get("current", {}).get("value")
        is_all = variable["type"] == "query" and current in ("$__all", ["$__all"])
        if current is None and not isinstance(variable.get("query"), str):
            current = ""
        values[variable["name"]] = (variable.get("allValue") or ".*") if is_all else current or variable["query"]
    # The longest name first, since $by is the beginning of others.
    for name in sorted(values, key=len, reverse=True):
        value = str(values[name]).replace("\\", r"\\")
        text = re.sub(rf"\$\{{{name}(:\w+)?\}}|\${name}\b", value, text)
    assert "$" not in re.sub(r'"\$\d"', "", text), text
    return text


# --- Names ------------------------------------------------------------------------------------------------------------


def unknown_names(queries: Iterable[Query]) -> list[str]:
    """Where a query asks for a metric or a label of ours that nothing emits, with its name."""
    known = known_names()
    return [
        f"{query.where}: {name}"
        for query in queries
        for name in dict.fromkeys(_IDENTIFIER.findall(_STRING.sub('""', query.expr)))
        if name.startswith(("realtime_spend", "gen_ai")) and name not in known
    ]


def known_names() -> set[str]:
    """All that our metrics and attributes are called in Prometheus, and what rules record."""
    constants = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
    histograms = {f"{series(name)}_{part}" for name in names.HISTOGRAMS for part in ("bucket", "sum", "count")}
    counters = {series(name) for name in names.COUNTERS}
    gauges = {series(name) for name in names.GAUGES}
    others = constants - names.COUNTERS.keys() - names.HISTOGRAMS.keys() - names.GAUGES.keys()
    return counters | histograms | gauges | {label(name) for name in others} | set(recorded_names())


def all_queries() -> list[Query]:
    asked = [Query(where=one.where, expr=f"{one.selector}{one.label}") for one in variables()]
    return [*panel_queries(range_seconds=86_400), *asked, *rules("record"), *rules("alert")]
