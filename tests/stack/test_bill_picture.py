"""The picture of the dashboard about the bill shows the comparison that is behind it."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from grafana import filling, names
from grafana.asking import shown
from grafana.bill_said import DAYS, Said, say_bill
from grafana.drawing import drawn
from grafana.drawing_rows import label_of
from grafana.pictures import RANGE_SECONDS, board_of
from matplotlib.patches import Rectangle

from realtime_spend.core.reconciliation.drift import Cause, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grafana.drawing import Panels
    from tests.stack.conftest import Programs

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def source(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[filling.Filled]:
    folder = tmp_path_factory.mktemp("pictures")
    with filling.filled(folder, otelcol=programs.otelcol, prometheus=programs.prometheus) as source:
        yield source


@pytest.fixture(scope="module")
def said(source: filling.Filled) -> Said:
    return say_bill(source)


@pytest.fixture(scope="module")
def panels(source: filling.Filled, said: Said) -> Panels:
    assert said.reconciliation.rows
    board = board_of("estimate-beside-bill")
    end = time.time()
    return [
        (panel, panel["title"], shown(source.url, board, panel, end=end, seconds=RANGE_SECONDS))
        for panel in board["panels"]
    ]


def panel_of(panels: Panels, title: str) -> Any:
    (found,) = (one for one in panels if one[1] == title)
    return found


def values(panels: Panels, title: str) -> dict[tuple[str, str], float]:
    """What bars stand for, by the label that they are by and what they are called."""
    panel, _, found = panel_of(panels, title)
    label = label_of(panel)
    return {(one.labels.get(label, ""), one.legend): value for one in found for value in one.values.values()}


def summed(amounts: list[tuple[str, Any]]) -> dict[str, Any]:
    totals: Counter[str] = Counter()
    for key, amount in amounts:
        totals[key] += amount
    return {key: pytest.approx(float(amount), rel=1e-9, abs=1e-9) for key, amount in totals.items()}


def test_every_panel_shows_something(panels: Panels) -> None:
    assert [title for _, title, found in panels if not found] == []


def test_the_days_are_those_of_the_comparison(said: Said, panels: Panels) -> None:
    rows = said.reconciliation.rows
    bars = values(panels, "Billed and estimated by UTC day")
    for column in ("billed", "estimated"):
        drawn_ = {day: value for (day, legend), value in bars.items() if legend == column}
        assert drawn_ == summed([(row.day.isoformat(), getattr(row, f"{column}_cost") or 0) for row in rows])
        assert len(drawn_) == DAYS


def test_the_causes_are_those_of_the_comparison_and_all_that_were_injected_are_among_them(
    said: Said, panels: Panels
) -> None:
    shares = [share for share in said.reconciliation.shares if share.row.state is not State.OPEN]
    bars = {cause: value for (cause, _), value in values(panels, "Where each dollar of drift went, by cause").items()}
    assert bars == summed([(str(share.cause), share.cost) for share in shares])
    assert {Cause.PRICE, Cause.UNOBSERVED_TRAFFIC, Cause.UNMAPPED_METER} <= bars.keys()


def test_the_table_has_a_row_for_each_of_the_comparison(said: Said, panels: Panels) -> None:
    _, _, found = panel_of(panels, "Every day and meter")
    billed = [one for one in found if one.legend == "billed"]
    assert len(billed) == len(said.reconciliation.rows)
    settled = {row.day.isoformat() for row in said.reconciliation.rows if row.state is not State.OPEN}
    # An open day has no share, which would be red.
    assert {one.labels[names.DAY] for one in found if one.legend == "share"} <= settled


def test_what_is_drawn_is_as_long_as_what_it_shows(panels: Panels) -> None:
    title = "Billed, estimated and drift over the settled days, by model"
    (axes,) = drawn([panel_of(panels, title)]).axes
    lengths = [patch.get_width() for patch in axes.patches if isinstance(patch, Rectangle)]
    assert sum(lengths) == pytest.approx(sum(values(panels, title).values()), rel=1e-9)


def test_the_table_is_drawn_with_the_colours_that_its_cells_have(panels: Panels) -> None:
    (axes,) = drawn([panel_of(panels, "Every day and meter")]).axes
    (table,) = axes.tables
    headings = [table[0, column].get_text().get_text() for column in range(13)]
    assert headings[:2] == ["day", "provider"]
    assert headings[-5:] == ["billed", "estimated", "drift", "share", "state"]
    states = {table[line, 12].get_text().get_text(): table[line, 12].get_facecolor() for line in range(1, 31)}
    assert "open" in states
    assert len(set(states.values())) == len(states)
