"""Writes the Grafana dashboards in `grafana/dashboards/`, which are checked in: to use them nobody needs this program.

`python -m grafana.build`, from the folder above, writes them; with `--check` it writes nothing and fails where one
differs. It needs grafana-foundation-sdk==0.0.21: without the exact version pip takes an older release, for Grafana
10.1, whose number sorts higher.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from grafana.estimate_beside_bill import estimate_beside_bill
from grafana.live_spend import live_spend
from grafana.panels import TAG
from grafana.pipeline_health import pipeline_health
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

DASHBOARDS = Path(__file__).resolve().parent / "dashboards"
BOARDS = {
    "live-spend.json": live_spend,
    "pipeline-health.json": pipeline_health,
    "estimate-beside-bill.json": estimate_beside_bill,
}


def made(board: dashboard.Dashboard) -> str:
    """The JSON of a dashboard, with what all of ours have in common."""
    built = (
        board.tags([TAG])
        # Bills are by UTC day, so everything is shown in UTC.
        .timezone("utc")
        .refresh("30s")
        .time("now-6h", "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .build()
    )
    plain = _without_surplus(json.loads(JSONEncoder().encode(built)))
    return json.dumps(plain, sort_keys=True, indent=2) + "\n"


def _without_surplus(node: Any) -> Any:
    # The library puts every link into the menu of controls, where nobody looks for it. It gives every variable the
    # settings of one that is an interval, and every table a footer, which Grafana's schema does not know.
    if isinstance(node, list):
        return [_without_surplus(value) for value in node]
    if not isinstance(node, dict):
        return node
    surplus = {"auto", "auto_min", "auto_count"} | ({"placement"} if "asDropdown" in node else set())
    surplus |= {"footer"} if "cellHeight" in node else set()
    return {key: _without_surplus(value) for key, value in node.items() if key not in surplus}


def main() -> int:
    """Writes or checks every dashboard; 1 when one is not what this program makes."""
    parser = argparse.ArgumentParser(description="Writes the Grafana dashboards.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a dashboard differs")
    check = parser.parse_args().check
    stale = False
    for name, board in BOARDS.items():
        path, text = DASHBOARDS / name, made(board())
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{path} is not what grafana/build.py makes: run python -m grafana.build\n")
            stale = True
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
