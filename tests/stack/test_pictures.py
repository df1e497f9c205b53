"""The pictures of the dashboards show what the sessions behind them cost."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from grafana import filling, names
from grafana.asking import ask, asked, shown, step_of
from grafana.drawing import drawn
from grafana.drawn_values import written_down
from grafana.pictures import PICTURES, RANGE_SECONDS, VALUES, board_of, draw_all, live_spend, pipeline_health
from matplotlib.patches import Rectangle
from tests.stack.filling.truth import Evaluator, Row, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from pathlib import Path

    from grafana.asking import Shown
    from grafana.drawing import Panels
    from tests.stack.conftest import Programs

    from realtime_spend.estimates.ledger import Entry

Part = tuple[str, str, str]

BOARD: dict[str, Any] = board_of("live-spend")
PANELS = {panel["title"]: panel for panel in BOARD["panels"]}
NANO = 10**9
# A difference of doubles; the smallest cost of a response is far above.
NOTHING = 1e-12


def is_total(panel: Any) -> bool:
    """Whether usages alone tell what the panel shows."""
    return all("last_over_time" in one["expr"] and "_seconds" not in one["expr"] for one in panel["targets"])


TOTALS = [title for title, panel in PANELS.items() if is_total(panel)]


@pytest.fixture(scope="module")
def source(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[filling.Filled]:
    folder = tmp_path_factory.mktemp("pictures")
    with filling.filled(folder, otelcol=programs.otelcol, prometheus=programs.prometheus) as source:
        yield source


@pytest.fixture(scope="module")
def live(source: filling.Filled) -> Panels:
    return live_spend(source)


@pytest.fixture(scope="module")
def rows(source: filling.Filled) -> list[Row]:
    """What each usage of each program adds to each metric, by the ledgers and at the instants of the days shown."""
    return [
        replace(row, at=one.moved(round(entry.at.timestamp() * NANO)) / NANO)
        for one in source.replayed
        for entry in one.recorded.entries
        for row in (*rows_of(entry, one.recorded.service), *assumptions(entry, one.recorded.service))
    ]


def assumptions(entry: Entry, service: str) -> Iterator[Row]:
    """That an Azure deployment was taken for a global one, because nobody said which it is."""
    if entry.provider == "azure.ai.openai" and entry.scope is None and entry.cost is not None:
        usage = next(row for row in rows_of(entry, service) if row.metric == names.USAGES)
        yield replace(usage, metric=names.ERRORS, labels={**usage.labels, names.KIND: "scope_assumed"})


def shown_on(panels: Panels, title: str) -> list[Shown]:
    (found,) = (shown for _, of, shown in panels if of == title)
    return list(found)


def numbers(node: Any, *above: str) -> dict[tuple[str, ...], Any]:
    """The leaves of what was written down, by where they are; of names that they are there."""
    if isinstance(node, dict):
        node = node.items()
    elif isinstance(node, list) and node and isinstance(node[0], dict):
        node = [(f"{number} {one['panel']}", one["shows"]) for number, one in enumerate(node, start=1)]
    elif isinstance(node, list):
        node = [(name, None) for name in node]
    else:
        return {above: node}
    return {place: value for key, below in node for place, value in numbers(below, *above, key).items()}


def truth(source: filling.Filled, by: Callable[[int, Part], Hashable], *, since: float = 0) -> dict[Hashable, Decimal]:
    """What the ledgers say that the sessions cost which began at or after an instant."""
    costs: defaultdict[Hashable, Decimal] = defaultdict(Decimal)
    for replayed in source.replayed:
        if replayed.begin >= since:
            for part, cost in replayed.recorded.costs.items():
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
    (total,) = shown_on(live, "Total cost in the range")
    cost = truth(source, lambda _begin, _part: "all", since=source.end - RANGE_SECONDS)["all"]
    assert list(total.values.values()) == [pytest.approx(float(cost), rel=1e-9)]


@pytest.mark.stack
def test_the_parts_are_what_the_ledgers_say(source: filling.Filled, live: Panels) -> None:
    parts = {
        (one.labels[names.MODALITY], one.labels[names.COMPONENT]): value
        for one in shown_on(live, "Cost in the range by modality and component")
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
        for one in shown_on(live, title)
        for at, value in one.values.items()
        if value > NOTHING
    }
    first = (source.end - days * 86_400) // seconds * seconds
    assert bars == nearly(truth(source, lambda begin, part: (begin // seconds * seconds, part[0]), since=first))
    assert len({at for at, _ in bars}) > 4


@pytest.mark.stack
@pytest.mark.parametrize("title", TOTALS)
def test_every_total_is_what_the_ledgers_say(source: filling.Filled, rows: list[Row], title: str) -> None:
    panel = PANELS[title]
    for query in asked(BOARD, panel, end=source.end, seconds=RANGE_SECONDS):
        node = ask(source.url, "parse_query", query=query.parameters["query"])
        found: dict[Any, float] = {}
        told: dict[Any, float] = {}
        for one in ask(source.url, query.path, **query.parameters)["result"]:
            for at, value in one.get("values") or [one["value"]]:
                found[frozenset(one["metric"].items()), at] = float(value)
        for at in {at for _, at in found}:
            answer = Evaluator(rows=rows, at=at).vector(node) if knows(rows, node) else {}
            assert isinstance(answer, dict)
            told |= {(labels, at): value for labels, value in answer.items()}
        assert found
        assert without_nothing(found) == pytest.approx(without_nothing(told), rel=1e-9)


def knows(rows: list[Row], node: Any) -> bool:
    """Whether any usage adds to a metric that is asked for: no ledger tells of repeated events, and here are none."""
    return any(f"'{row.metric}'" in str(node) for row in rows)


def without_nothing(values: dict[Any, float]) -> dict[Any, float]:
    return {key: value for key, value in values.items() if abs(value) > NOTHING}


def test_most_panels_are_totals_that_are_held_against_the_ledgers() -> None:
    assert len(TOTALS) >= 14


@pytest.mark.stack
@pytest.mark.parametrize("title", ["Cost by hour and $by", "Lost, missing and unpriced usage by hour"])
@pytest.mark.parametrize(("days", "step"), [(7, 3_600), (70, 7_200), (120, 10_800), (1_100, 86_400)])
def test_bars_add_up_to_the_whole_whatever_step_grafana_takes(
    source: filling.Filled, rows: list[Row], title: str, days: int, step: int
) -> None:
    panel, seconds = PANELS[title], days * 86_400
    assert step_of(panel, seconds) == step
    bars = shown(source.url, BOARD, panel, end=source.end, seconds=seconds, absolute=True)
    metrics = {names.COST} if "Cost" in title else {names.UNPRICED, names.USAGES}
    told = sum(row.amount for row in rows if row.metric in metrics and row.labels.get(names.USAGE) != "reported")
    assert sum(sum(one.values.values()) for one in bars) == pytest.approx(float(told), rel=1e-9)
    assert len({at for one in bars for at, value in one.values.items() if value > NOTHING}) > 4


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
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files if file.name != VALUES)
    boards = ("live-spend", "pipeline-health", "estimate-beside-bill", VALUES)
    assert {file.name for file in files} == {file.name for file in PICTURES.iterdir() if file.name.startswith(boards)}


@pytest.mark.stack
def test_the_values_that_are_checked_in_are_those_that_are_drawn(source: filling.Filled, live: Panels) -> None:
    boards = {"live-spend": live, "pipeline-health": pipeline_health(source)}
    now = numbers(json.loads(written_down(boards, end=source.end)))
    then = numbers(json.loads((PICTURES / VALUES).read_text(encoding="utf-8")))
    assert set(now) == set(then)
    told = {place: value for place, value in then.items() if value is not None}
    assert len(told) > 100
    assert {place: now[place] for place in told} == pytest.approx(told, rel=1e-8)


def test_every_picture_is_in_the_documentation() -> None:
    text = (PICTURES.parent / "dashboards.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(pictures/([^)]+)\)", text)) == {file.name for file in PICTURES.iterdir()}
