"""The kinds of panel whose rows are labels, such as UTC days, and not instants."""

from collections.abc import Mapping

from grafana.panels import DATASOURCE, numbered
from grafana_foundation_sdk.builders import barchart, prometheus, table
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

# Below the tolerance of `reconcile` on either side all is well, from a tenth on nothing is.
DRIFT_STEPS = [
    models.Threshold(color="red"),
    models.Threshold(color="orange", value=-0.1),
    models.Threshold(color="green", value=-0.02),
    models.Threshold(color="orange", value=0.02),
    models.Threshold(color="red", value=0.1),
]
STATES = {"0": ("open", "yellow"), "1": ("settled", "blue"), "2": ("final", "green")}


def rows(expr: str, column: str) -> prometheus.Dataquery:
    """One row a series, with its labels as columns and its value in the one that is called `column`."""
    query = prometheus.Dataquery().expr(expr).datasource(DATASOURCE).instant()
    return query.format(PromQueryFormat.TABLE).legend_format(column)


def bars_by(label: str, heading: str, columns: Mapping[str, str], *, lying: bool = False) -> barchart.Panel:
    """Bars side by side for each value of a label, one a column; `columns` are the queries by their names."""
    panel = (
        barchart.Panel()
        .x_field(heading)
        .orientation(common.VizOrientation.HORIZONTAL if lying else common.VizOrientation.VERTICAL)
        .show_value(common.VisibilityMode.NEVER)
        .group_width(0.8)
        .bar_width(0.9)
        .fill_opacity(80)
        .x_tick_label_spacing(0 if lying else 100)
    )
    for step in joined({label: heading}, columns, sort=None if lying else heading):
        panel.with_transformation(step)
    return numbered(panel, [rows(expr, column) for column, expr in columns.items()])


def table_of(labels: Mapping[str, str], columns: Mapping[str, str], *, newest: str) -> table.Panel:
    """A table with a row for each set of labels, and a column for each query, the last values of `newest` first."""
    panel = table.Panel().filterable(filterable=True).cell_height(common.TableCellHeight.SM)
    for step in joined(labels, columns, sort=newest, descending=True):
        panel.with_transformation(step)
    return numbered(panel, [rows(expr, column) for column, expr in columns.items()])


def joined(
    labels: Mapping[str, str], columns: Mapping[str, str], *, sort: str | None, descending: bool = False
) -> list[models.DataTransformerConfig]:
    """The steps that make one table of the answers to all queries, a row a set of labels."""
    named = {**labels, **_values(columns)}
    steps = [
        models.DataTransformerConfig(id_val="merge", options={}),
        models.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: place for place, name in enumerate(named)},
                "renameByName": named,
            },
        ),
    ]
    if sort is not None:
        by = [{"field": sort, "desc": descending}]
        steps.append(models.DataTransformerConfig(id_val="sortBy", options={"fields": {}, "sort": by}))
    return steps


def _values(columns: Mapping[str, str]) -> dict[str, str]:
    named = {f"Value #{letter}": column for letter, column in zip("ABCDEFGH", columns, strict=False)}
    # Grafana calls the values of each query after its letter, those of a single one without it.
    return named if len(columns) > 1 else named | dict.fromkeys(["Value"], next(iter(columns)))
