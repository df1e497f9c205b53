"""Measures everything, prints the tables, and writes them into the document when asked to.

    python -m bench [--write] [--quick] [--only frames,usages,...]

Each program runs in a process of its own, since instrumenting and importing change the process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from bench.machine import described
from bench.tables import Table, between_marks, console, progress

PROGRAMS = ("frames", "usages", "end_to_end", "collection", "imports", "memory", "bills", "relay", "peers")
_ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = _ROOT / "docs" / "performance.md"


def main() -> int:
    """Run what was asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write the tables into {DOCUMENT.relative_to(_ROOT)}")
    parser.add_argument("--quick", action="store_true", help="a few rounds, to see that it works")
    parser.add_argument("--only", default=",".join(PROGRAMS), help="some of them, separated by commas")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := set(names) - set(PROGRAMS):
        parser.error(f"not a program of the bench: {', '.join(sorted(unknown))}")
    if arguments.write and (arguments.quick or set(names) != set(PROGRAMS)):
        parser.error("a document gets the whole bench: --write goes with neither --quick nor --only")
    out, tables = console(), []
    for name in names:
        for table in _run(name, quick=arguments.quick):
            table.show(out)
            tables.append(table)
    about = described()
    for sentence in about:
        out.print(sentence, markup=False, highlight=False)
    if arguments.write:
        text = "\n".join([*about, "", *(table.markdown() for table in tables)])
        DOCUMENT.write_text(between_marks(DOCUMENT.read_text(encoding="utf-8"), text), encoding="utf-8")
        progress(f"written to {DOCUMENT.relative_to(_ROOT)}")
    return 0


def _run(name: str, *, quick: bool) -> list[Table]:
    command = [sys.executable, "-m", f"bench.{name}", "--json", *(["--quick"] if quick else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT, check=True)  # noqa: S603 - ourselves
    return [Table(**said) for said in json.loads(done.stdout)]


if __name__ == "__main__":
    sys.exit(main())
