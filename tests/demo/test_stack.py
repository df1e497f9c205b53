"""Where the demo looks for the real collector and Prometheus, and what it says when they are not to be had."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from realtime_spend.demo import stack
from realtime_spend.demo.stack import Stack, StackError, find_stack, running

if TYPE_CHECKING:
    from pathlib import Path


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


PROMETHEUS_3 = "echo 'prometheus, version 3.14.0 (branch: x)'"
ACCEPTS = 'test "$1" = validate'


def variables(tmp_path: Path) -> dict[str, str]:
    return {"PATH": str(tmp_path / "path"), "HOME": str(tmp_path)}


def built(tmp_path: Path, recipe: str) -> Path:
    return tmp_path / ".cache" / "realtime-spend" / "stack" / recipe / "bin"


def test_what_make_stack_built_is_found(tmp_path: Path) -> None:
    collector = program(built(tmp_path, "a") / "otelcol", ACCEPTS)
    prometheus = program(built(tmp_path, "a") / "prometheus", PROMETHEUS_3)
    found = find_stack(variables(tmp_path))
    assert (found.otelcol, found.prometheus) == (collector, prometheus)
    elsewhere = variables(tmp_path) | {"HOME": "/nowhere", "REALTIME_SPEND_STACK": str(built(tmp_path, "a").parents[1])}
    assert find_stack(elsewhere) == found


def test_a_program_on_path_comes_first_if_it_is_good_enough(tmp_path: Path) -> None:
    cached = program(built(tmp_path, "a") / "otelcol", ACCEPTS)
    program(built(tmp_path, "a") / "prometheus", PROMETHEUS_3)
    fine = program(tmp_path / "path" / "prometheus", PROMETHEUS_3)
    # It lacks a part of ours.
    program(tmp_path / "path" / "otelcol", "exit 1")
    found = find_stack(variables(tmp_path))
    assert (found.otelcol, found.prometheus) == (cached, fine)
    program(tmp_path / "path" / "prometheus", "echo 'prometheus, version 2.42.0+ds (branch: x)' >&2")
    assert find_stack(variables(tmp_path)).prometheus.parent == built(tmp_path, "a")


@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "echo 'prometheus, version 2.53.1 (x)'"])
def test_without_programs_that_serve_it_says_how_to_get_them(tmp_path: Path, script: str) -> None:
    with pytest.raises(StackError, match="run `make stack` in a clone"):
        find_stack(variables(tmp_path))
    program(built(tmp_path, "a") / "otelcol", ACCEPTS)
    program(built(tmp_path, "a") / "prometheus", script)
    with pytest.raises(StackError, match="run `make stack` in a clone"):
        find_stack(variables(tmp_path))


def test_an_installation_without_the_configurations_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "__file__", str(tmp_path / "a" / "b" / "c" / "stack.py"))
    with pytest.raises(StackError, match=re.escape("collector-config/single-host.yaml is not in this installation")):
        find_stack(variables(tmp_path))


def test_a_program_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    found = Stack(
        otelcol=program(tmp_path / "otelcol", ""),
        prometheus=program(tmp_path / "prometheus", "echo the disk is on fire; exit 3"),
        collector_config=tmp_path / "c.yaml",
        prometheus_config=program(tmp_path / "p.yml", ""),
    )
    with (
        pytest.raises(StackError, match="prometheus did not start; it said:\nthe disk is on fire"),
        running(found, tmp_path / "scratch"),
    ):
        pytest.fail("it did")


def test_the_demos_prometheus_reaches_nothing_else_on_the_machine(tmp_path: Path) -> None:
    """A rule of theirs would alert, and a target of theirs be scraped."""
    config = tmp_path / "p.yml"
    config.write_text(
        "# for whom\nglobal: {scrape_interval: 15s}\n\nstorage:\n  tsdb:\n    # why\n    out_of_order_time_window: 7d\n"
        "alerting:\n  alertmanagers:\n    - static_configs: [targets: [127.0.0.1:9093]]\nrule_files:\n  - rules/*.yml\n"
        "otlp:\n  promote_resource_attributes:\n    - service.name\nscrape_configs:\n  - job_name: otelcol\n",
        encoding="utf-8",
    )
    # It ends once it has shown what it was given.
    shows = program(tmp_path / "prometheus", 'cat "${1#--config.file=}"; exit 3')
    found = Stack(otelcol=shows, prometheus=shows, collector_config=config, prometheus_config=config)
    with pytest.raises(StackError) as raised, running(found, tmp_path / "scratch"):
        pytest.fail("it did start")
    said = str(raised.value)
    assert "out_of_order_time_window: 7d" in said
    assert "promote_resource_attributes:\n    - service.name" in said
    assert not re.search("alert|rule|scrape_configs|job_name", said)
