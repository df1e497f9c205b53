"""Draws the dashboards of `grafana/dashboards/` into `docs/pictures/`, from a Prometheus that it fills itself.

`python -m grafana.pictures`, from the folder above, which also writes down the values that it drew. It needs the
collector and Prometheus that `make stack` obtains, and matplotlib.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from grafana.asking import chosen, filled_in, shown
from grafana.bill_said import say_bill
from grafana.drawing import Panels, drawn, pages, save
from grafana.drawn_values import written_down
from grafana.filling import Filled, filled

from realtime_spend.demo.stack import StackError, find_stack

_HERE = Path(__file__).resolve().parent
PICTURES = _HERE.parent / "docs" / "pictures"
RANGE_SECONDS = 6 * 3_600
_ROWS = 42
# The values behind the pictures, beside them.
VALUES = "values.json"


def board_of(name: str) -> Any:
    """A dashboard as it is checked in."""
    return json.loads((_HERE / "dashboards" / f"{name}.json").read_text(encoding="utf-8"))


def live_spend(source: Filled) -> Panels:
    """What the dashboard shows of the days that were filled."""
    return _panels(source, board_of("live-spend"), end=source.end, seconds=RANGE_SECONDS)


def pipeline_health(source: Filled) -> Panels:
    """What the dashboard shows of the minutes in which they were filled."""
    seconds = int(source.ended - source.began) + 1
    return _panels(source, board_of("pipeline-health"), end=source.ended, seconds=seconds)


def estimate_beside_bill(source: Filled) -> Panels:
    """What the dashboard shows of a bill that is said beside the sessions."""
    say_bill(source)
    return _panels(source, board_of("estimate-beside-bill"), end=time.time(), seconds=RANGE_SECONDS)


def _panels(source: Filled, board: Any, *, end: float, seconds: int) -> Panels:
    return [
        (panel, filled_in(panel["title"], titles), shown(source.url, board, panel, end=end, seconds=seconds))
        for titles in [chosen(board, by="model")]
        for panel in board["panels"]
    ]


def draw_all(source: Filled, folder: Path) -> list[Path]:
    """Draw the dashboards, and write down what they show of sessions; return the files."""
    boards = {"live-spend": live_spend(source), "pipeline-health": pipeline_health(source)}
    values = folder / VALUES
    values.write_text(written_down(boards, end=source.end), encoding="utf-8")
    files = [values]
    for name, panels in {**boards, "estimate-beside-bill": estimate_beside_bill(source)}.items():
        for number, page in enumerate(pages(panels, _ROWS), start=1):
            file = folder / f"{name}-{number}.png"
            save(drawn(page), file)
            files.append(file)
    return files


def main() -> int:
    """Fills, asks and draws; 1 where the programs are not to be had."""
    parser = argparse.ArgumentParser(description="Draws the Grafana dashboards.")
    parser.add_argument("--folder", type=Path, default=PICTURES, help="where the pictures go (docs/pictures)")
    folder = parser.parse_args().folder
    try:
        stack = find_stack(os.environ)
    except StackError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix="realtime-spend-pictures-") as work,
        filled(Path(work), otelcol=stack.otelcol, prometheus=stack.prometheus) as source,
    ):
        for file in draw_all(source, folder):
            print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
