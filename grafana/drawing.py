"""Draws the panels of a dashboard on their places, from the values that Prometheus gave for them."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from itertools import pairwise
from pathlib import Path
from typing import Any

from grafana import drawing_rows
from grafana.asking import Shown
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

# One cell of Grafana's grid of 24 columns, in inches.
_CELL_WIDTH, _CELL_HEIGHT = 0.6, 0.42
_COLUMNS = 24
_DOTS_PER_INCH = 72
_MOST_IN_LEGEND = 8
_BEHIND = {"currencyUSD": " USD", "s": " s", "bytes": " bytes"}
_DAY_SECONDS, _HOUR_SECONDS = 86_400, 3_600

Panels = Sequence[tuple[Mapping[str, Any], str, Sequence[Shown]]]


def drawn(panels: Panels) -> Figure:
    """Draw panels, each with its title and what it shows."""
    top = min(panel["gridPos"]["y"] for panel, _, _ in panels)
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel, _, _ in panels) - top
    figure = Figure(figsize=(_COLUMNS * _CELL_WIDTH, rows * _CELL_HEIGHT), facecolor="white")
    for panel, title, shown in panels:
        place = panel["gridPos"]
        left, right = (place["x"] + 1.3) / _COLUMNS, (place["x"] + place["w"] - 0.4) / _COLUMNS
        upper, lower = place["y"] - top + 1.3, place["y"] - top + place["h"] - 1.1
        axes = figure.add_axes((left, 1 - lower / rows, right - left, (lower - upper) / rows))
        axes.set_title("\n".join(textwrap.wrap(title, place["w"] * 5)), fontsize=9, loc="left")
        axes.tick_params(labelsize=7)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        _KINDS[panel["type"]](axes, panel, shown)
    return figure


def save(figure: Figure, file: Path) -> None:
    """Write a PNG, without the version of the library, which would change the file and nothing in it."""
    figure.savefig(file, dpi=_DOTS_PER_INCH, metadata={"Software": None})


def _stat(axes: Axes, panel: Mapping[str, Any], shown: Sequence[Shown]) -> None:
    axes.axis("off")
    for number, one in enumerate(shown):
        height = 1 - (number + 0.5) / len(shown)
        size = 18 if len(shown) == 1 else max(8, 16 - 2 * len(shown))
        axes.text(0, height, _written(panel, _last(one)), fontsize=size, color="#1a7f37", va="center")
        axes.text(1, height, one.legend, fontsize=8, ha="right", va="center")


def _bargauge(axes: Axes, panel: Mapping[str, Any], shown: Sequence[Shown]) -> None:
    rows = list(reversed(shown))
    # By number: two series may have one name.
    axes.barh(range(len(rows)), [_last(one) for one in rows], color="#2f6fb5")
    names = [f"{one.legend}  {_written(panel, _last(one))}" for one in rows]
    axes.set_yticks(range(len(rows)), labels=[])
    axes.set_xticks([])
    for number, name in enumerate(names):
        axes.text(0, number, f" {name}", fontsize=7, va="center", bbox={"facecolor": "white", "alpha": 0.7, "lw": 0})


def _timeseries(axes: Axes, panel: Mapping[str, Any], shown: Sequence[Shown]) -> None:
    if panel["fieldConfig"]["defaults"].get("custom", {}).get("drawStyle") == "bars":
        _bars(axes, panel, shown)
    else:
        for one in shown:
            at, values = _with_gaps(one)
            axes.plot(at, values, label=one.legend, lw=1)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(_unit(panel).strip(), fontsize=7)
    locator = AutoDateLocator(maxticks=7, tz=UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    if shown:
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[:_MOST_IN_LEGEND], labels[:_MOST_IN_LEGEND], fontsize=6, loc="upper left", framealpha=0.6)


def _bars(axes: Axes, panel: Mapping[str, Any], shown: Sequence[Shown]) -> None:
    width = (_DAY_SECONDS if panel["interval"] == "1d" else _HOUR_SECONDS) / _DAY_SECONDS
    below: dict[float, float] = {}
    for one in shown:
        bottoms = [below.get(at, 0.0) for at in one.values]
        at = [_instant(at) for at in one.values]
        axes.bar(at, list(one.values.values()), width * 0.95, bottoms, align="edge", label=one.legend)
        below |= {at: below.get(at, 0.0) + value for at, value in one.values.items()}


_KINDS = {
    "stat": _stat,
    "bargauge": _bargauge,
    "timeseries": _timeseries,
    "barchart": drawing_rows.bars,
    "table": drawing_rows.table,
}


def _last(one: Shown) -> float:
    return list(one.values.values())[-1]


def _with_gaps(one: Shown) -> tuple[list[float], list[float]]:
    """The points of a line, with a break where there was nothing for longer than between the others."""
    at = list(one.values)
    step = min((after - before for before, after in pairwise(at)), default=0)
    points = []
    for before, instant in pairwise([at[0], *at]):
        if instant - before > 1.5 * step:
            points.append((before + step, math.nan))
        points.append((instant, one.values[instant]))
    return [_instant(instant) for instant, _ in points], [value for _, value in points]


def _instant(seconds: float) -> float:
    # Instants are days to matplotlib, since the same epoch.
    return seconds / _DAY_SECONDS


def _unit(panel: Mapping[str, Any]) -> str:
    unit = str(panel["fieldConfig"]["defaults"]["unit"])
    return _BEHIND.get(unit, unit.removeprefix("suffix:") if unit.startswith("suffix:") else "")


def _written(panel: Mapping[str, Any], value: float) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    for mapping in defaults.get("mappings") or ():
        if text := mapping["options"].get(f"{value:.0f}", {}).get("text"):
            return str(text)
    decimals = int(defaults.get("decimals") or 0)
    if defaults["unit"] == "percentunit":
        return f"{value:.{decimals}%}"
    return f"{value:,.{decimals}f}{_unit(panel)}"


def pages(panels: Panels, most: int) -> Iterable[Panels]:
    """Panels on pages of at most so many rows of the grid each, none cut."""
    page: list[tuple[Mapping[str, Any], str, Sequence[Shown]]] = []
    for panel in panels:
        place = panel[0]["gridPos"]
        if page and place["y"] + place["h"] - page[0][0]["gridPos"]["y"] > most:
            yield page
            page = []
        page.append(panel)
    if page:
        yield page
