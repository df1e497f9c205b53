"""Draws the panels whose rows are labels: bars by day, model or cause, and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from grafana.asking import Shown
from matplotlib.axes import Axes

_COLOURS = ("#2f6fb5", "#e08a1e", "#7a4fa3")
_PAPER = {"red": "#f3a6a0", "orange": "#f8d29a", "green": "#bfe3bf", "yellow": "#f6ecaa", "blue": "#b9d3ee"}
_MOST_ROWS = 30
_WIDTH = 0.8


def bars(axes: Axes, panel: Mapping[str, Any], shown: Sequence[Shown]) -> None:
    """Bars side by side for each value of the label that the panel is by, one a query."""
    label = label_of(panel)
    columns = list(dict.fromkeys(one.legend for one in shown))
    values = {(one.labels.get(label, ""), one.legend): _value(one) for one in shown}
    lying = panel["options"]["orientation"] == "horizontal"
    keys = list(dict.fromkeys(key for key, _ in values))
    keys = keys[::-1] if lying else sorted(keys)
    thickness = _WIDTH / len(columns)
    for number, column in enumerate(columns):
        places = [place + (number - (len(columns) - 1) / 2) * thickness for place in range(len(keys))]
        heights = [values.get((key, column), 0.0) for key in keys]
        colour = _COLOURS[number] if len(columns) > 1 else _by_threshold(heights)
        if lying:
            axes.barh(places, heights, thickness, label=column, color=colour)
        else:
            axes.bar(places, heights, thickness, label=column, color=colour)
    if lying:
        axes.set_yticks(range(len(keys)), labels=keys)
        axes.axvline(0, color="black", lw=0.5)
        axes.margins(x=0.05)
        # Names are long, and the left edge of a panel is near.
        axes.tick_params(axis="y", direction="in", pad=-4)
        for text in axes.get_yticklabels():
            text.set_horizontalalignment("left")
            text.set_bbox({"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 1})
    else:
        # A date takes the room of some three bars.
        every = max(1, -(-len(keys) // 6))
        axes.set_xticks(range(0, len(keys), every), labels=keys[::every])
        axes.axhline(0, color="black", lw=0.5)
    if len(columns) > 1:
        axes.legend(fontsize=6, framealpha=0.6)


def _by_threshold(heights: Sequence[float]) -> list[str]:
    return ["#c4463a" if height < 0 else _COLOURS[0] for height in heights]


def table(axes: Axes, panel: Mapping[str, Any], shown: Sequence[Shown]) -> None:
    """The first rows of the table as Grafana joins it, with the colours of its cells."""
    axes.axis("off")
    named = _renamed(panel)
    queries = list(dict.fromkeys(one.legend for one in shown))
    headings = list(dict.fromkeys(named.values()))
    labels = {label: heading for label, heading in named.items() if heading not in queries}
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for one in shown:
        rows.setdefault(tuple(one.labels.get(label, "") for label in labels), {})[one.legend] = _value(one)
    newest = sorted(sorted(rows), key=lambda row: row[0], reverse=True)[:_MOST_ROWS]
    cells = [[*row, *(_written(panel, column, rows[row].get(column)) for column in queries)] for row in newest]
    papers = [
        ["white"] * len(labels) + [_paper(panel, column, rows[row].get(column)) for column in queries] for row in newest
    ]
    drawn = axes.table(cells, cellColours=papers, colLabels=headings, loc="upper center", cellLoc="left")
    drawn.auto_set_font_size(value=False)
    drawn.set_fontsize(7)
    drawn.auto_set_column_width(list(range(len(headings))))


def label_of(panel: Mapping[str, Any]) -> str:
    """The label by which a panel has its rows."""
    heading = panel["options"]["xField"]
    return next(label for label, name in _renamed(panel).items() if name == heading)


def _renamed(panel: Mapping[str, Any]) -> Mapping[str, str]:
    (organized,) = (step["options"] for step in panel["transformations"] if step["id"] == "organize")
    named: Mapping[str, str] = organized["renameByName"]
    return {name: named[name] for name in sorted(named, key=organized["indexByName"].__getitem__)}


def _override(panel: Mapping[str, Any], column: str) -> dict[str, Any]:
    """What a column has of its own."""
    return {
        each["id"]: each["value"]
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"] == {"id": "byName", "options": column}
        for each in override["properties"]
    }


def _written(panel: Mapping[str, Any], column: str, value: float | None) -> str:
    if value is None:
        return ""
    own = _override(panel, column)
    for mapping in own.get("mappings", ()):
        return str(mapping["options"][f"{value:.0f}"]["text"])
    if own.get("unit") == "percentunit":
        return f"{value:.{own['decimals']}%}"
    return f"{value:,.{panel['fieldConfig']['defaults']['decimals']}f} USD"


def _paper(panel: Mapping[str, Any], column: str, value: float | None) -> str:
    own = _override(panel, column)
    if value is None or "custom.cellOptions" not in own:
        return "white"
    for mapping in own.get("mappings", ()):
        return _PAPER[mapping["options"][f"{value:.0f}"]["color"]]
    reached = [step for step in own["thresholds"]["steps"] if step.get("value") is None or value >= step["value"]]
    return _PAPER[reached[-1]["color"]]


def _value(one: Shown) -> float:
    return list(one.values.values())[-1]
