"""The pictures of the dashboards show what the sessions behind them cost."""

from __future__ import annotations

import re
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from grafana import filling, names
from grafana.drawing import drawn
from grafana.pictures import PICTURES, RANGE_SECONDS, draw_all, live_spend, pipeline_health
from matplotlib.patches import Rectangle

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from pathlib import Path

    from grafana.asking import Shown
    from grafana.drawing import Panels
    from tests.stack.conftest import Programs

Part = tuple[str, str, str]


@pytest.fixture(scope="module")
def source(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[filling.Filled]:
    folder = tmp_path_factory.mktemp("pictures")
    with filling.filled(folder, otelcol=programs.otelcol, prometheus=programs.prometheus) as source:
        yield source


@pytest.fixture(scope="module")
def live(source: filling.Filled) -> Panels:
    return live_spend(source)


def shown(panels: Panels, title: str) -> list[Shown]:
    (found,) = (shown for _, of, shown in panels if of == title)
    return list(found)


def truth(source: filling.Filled, by: Callable[[int, Part], Hashable], *, since: float = 0) -> dict[Hashable, Decimal]:
    """What the ledgers say that the sessions cost which began at or after an instant."""
    costs: defaultdict[Hashable, Decimal] = defaultdict(Decimal)
    for replayed in source.replayed:
        if replayed.begin >= since:
            for part, cost in replayed.costs.items():
                costs[by(replayed.begin, part)] += cost
    return {key: cost for key, cost in costs.items() if cost}


def nearly(costs: dict[Any, Decimal]) -> dict[Any, Any]:
    return {key: pytest.approx(float(cost), rel=1e-9) for key, cost in costs.items()}


@pytest.mark.stack
def test_every_panel_shows_something(source: filling.Filled, live: Panels) -> None:
    for _, title, found in (*live, *pipeline_health(source)):
        assert found, title
        assert all(one.values for one in found), title


@pytest.mark.stack
def test_the_total_is_what_the_ledgers_say(source: filling.Filled, live: Panels) -> None:
    (total,) = shown(live, "Total cost in the range")
    cost = truth(source, lambda _begin, _part: "all", since=source.end - RANGE_SECONDS)["all"]
    assert list(total.values.values()) == [pytest.approx(float(cost), rel=1e-9)]


@pytest.mark.stack
def test_the_parts_are_what_the_ledgers_say(source: filling.Filled, live: Panels) -> None:
    parts = {
        (one.labels[names.MODALITY], one.labels[names.COMPONENT]): value
        for one in shown(live, "Cost in the range by modality and component")
        for value in one.values.values()
        if value
    }
    assert parts == nearly(truth(source, lambda _begin, part: part[1:], since=source.end - RANGE_SECONDS))


@pytest.mark.stack
@pytest.mark.parametrize(
    ("title", "seconds", "days"), [("Cost by hour and model", 3_600, 2), ("Cost by day and model", 86_400, 31)]
)
def test_each_bar_is_what_the_ledgers_say_of_its_hour_or_day(
    source: filling.Filled, live: Panels, title: str, seconds: int, days: int
) -> None:
    bars = {
        (at, one.labels[names.MODEL]): value
        for one in shown(live, title)
        for at, value in one.values.items()
        # A difference of doubles; the smallest cost of a response is far above.
        if value > 1e-12
    }
    first = (source.end - days * 86_400) // seconds * seconds
    assert bars == nearly(truth(source, lambda begin, part: (begin // seconds * seconds, part[0]), since=first))
    assert len({at for at, _ in bars}) > 4


@pytest.mark.stack
def test_what_is_drawn_is_as_high_as_what_it_shows(live: Panels) -> None:
    panels = [panel for panel in live if panel[1] == "Cost by day and model"]
    (axes,) = drawn(panels).axes
    heights = [patch.get_height() for patch in axes.patches if isinstance(patch, Rectangle)]
    values = [value for one in panels[0][2] for value in one.values.values()]
    assert sum(heights) == pytest.approx(sum(values), rel=1e-9)
    assert len(heights) == len(values)


@pytest.mark.stack
def test_the_pictures_that_are_checked_in_are_those_that_are_drawn(source: filling.Filled, tmp_path: Path) -> None:
    files = draw_all(source, tmp_path)
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    assert {file.name for file in files} == {file.name for file in PICTURES.iterdir()}


def test_every_picture_is_in_the_documentation() -> None:
    text = (PICTURES.parent / "dashboards.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(pictures/([^)]+)\)", text)) == {file.name for file in PICTURES.iterdir()}
