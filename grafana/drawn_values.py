"""Writes down the values that the pictures of the dashboards show, so that a test can hold them against the truth.

Totals and bars are the same each time, as the sessions behind them are. Of what depends on how fast the machine was,
only the names are there.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from grafana.asking import Shown
from grafana.drawing import Panels

_HOUR_SECONDS = 3_600
# Pace and durations. The time that a machine took is in them.
_TIMED = re.compile(r"rate\(|_seconds|time\(\)")
# A difference of doubles may leave this much where nothing was spent.
_NOTHING = 1e-12


def written_down(boards: Mapping[str, Panels], *, end: float) -> str:
    """The JSON of what each panel of each dashboard shows; bars are named by the hours from their start to `end`."""
    values = {
        name: [{"panel": title, "shows": values_of(panel, shown, end=end)} for panel, title, shown in panels]
        for name, panels in boards.items()
    }
    return json.dumps(values, indent=1) + "\n"


def values_of(panel: Mapping[str, Any], shown: Sequence[Shown], *, end: float) -> Any:
    """The numbers that a panel shows, by their names in the legend, or the names alone."""
    is_timed = any(_TIMED.search(target["expr"]) for target in panel["targets"])
    has_bars = bool(panel.get("interval"))
    if is_timed or (panel["type"] == "timeseries" and not has_bars):
        return sorted({_anywhere(one.legend) for one in shown})
    if has_bars:
        return {one.legend: _bars(one, end) for one in shown}
    return {one.legend: _rounded(list(one.values.values())[-1]) for one in shown}


def _bars(one: Shown, end: float) -> dict[str, float]:
    return {
        f"{(at - end) / _HOUR_SECONDS:.0f} h": _rounded(value) for at, value in one.values.items() if value > _NOTHING
    }


def _rounded(value: float) -> float:
    # The last digits of a sum depend on the order in which Prometheus adds.
    return float(f"{value:.9g}")


def _anywhere(legend: str) -> str:
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", legend)
