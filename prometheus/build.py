"""Writes `prometheus/kubernetes/prometheusrule.yaml`, the rules as the Prometheus Operator takes them.

The rules in `prometheus/rules/` are the only source. `python prometheus/build.py` writes the manifest, which is checked
in; `python prometheus/build.py --check` writes nothing and fails where the manifest is not what it would write.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["pyyaml>=6"]
# ///

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent
MANIFEST = FOLDER / "kubernetes" / "prometheusrule.yaml"
# The budget first, because it is what a reader comes to edit, then what the alerts compare; all others follow.
FIRST = ("budget.yml", "totals.yml", "alerts.yml")

HEADER = """\
# The rules of prometheus/rules/ for the Prometheus Operator, 0.78 or newer. Made by prometheus/build.py: edit those.
#
#   kubectl apply --namespace monitoring --filename prometheus/kubernetes/prometheusrule.yaml
#
# The Prometheus resource must say what prometheus/prometheus.yml says (the OTLP receiver and its labels, the window for
# samples that are late), and the collector's own metrics must be scraped under the job name otelcol. Where it has a
# ruleSelector, the labels below must fit it. Links in alerts begin with its externalLabels `grafana` and `runbooks`:
# set both, since without the second they lead to Prometheus itself, which has no folder of runbooks to serve here.
"""


class Text(str):
    """A text that is written as a block, as it stands in the source, and not as one quoted line."""

    __slots__ = ()


class Writer(yaml.SafeDumper):
    """Writes blocks for texts, and sequences as far to the right as what they belong to is not."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002 - PyYAML's
        """Indent the entries of a sequence, which PyYAML by itself does not do."""
        del indentless
        super().increase_indent(flow, indentless=False)


def write_text(writer: yaml.SafeDumper, text: Text) -> yaml.ScalarNode:
    """Write a query with its own lines."""
    return writer.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")


Writer.add_representer(Text, write_text)


def groups_of(path: Path) -> list[dict[str, Any]]:
    """Return the groups of a rule file, their queries marked as texts."""
    groups: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for group in groups:
        for rule in group["rules"]:
            if "\n" in rule["expr"]:
                rule["expr"] = Text(rule["expr"])
    return groups


def sources(rules: Path) -> list[Path]:
    """Return the rule files of this folder, in the order of the manifest."""
    others = sorted(path.name for path in rules.glob("*.yml") if path.name not in FIRST)
    return [rules / name for name in (*FIRST, *others)]


def manifest(rules: Path) -> str:
    """Return the manifest of all rules in this folder."""
    written = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "realtime-spend", "labels": {"app.kubernetes.io/name": "realtime-spend"}},
        "spec": {"groups": [group for path in sources(rules) for group in groups_of(path)]},
    }
    # Wide enough that no annotation is broken.
    body = yaml.dump(written, Dumper=Writer, sort_keys=False, width=1_000, allow_unicode=True)
    return f"{HEADER}\n{body}"


def main() -> int:
    """Write or check the manifest; 1 when it is not what this program makes."""
    parser = argparse.ArgumentParser(description="Writes the rules as a PrometheusRule manifest.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail where the manifest differs")
    check = parser.parse_args().check
    made = manifest(FOLDER / "rules")
    if not check:
        MANIFEST.write_text(made, encoding="utf-8")
    elif not MANIFEST.is_file() or MANIFEST.read_text(encoding="utf-8") != made:
        sys.stderr.write(f"{MANIFEST} is not what prometheus/build.py makes: run python prometheus/build.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
