"""The kinds of panel on our dashboards, and what every one of them has."""

from collections.abc import Iterable
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

# Never a fixed uid: the dashboard must work with whatever name a Prometheus has in the reader's Grafana.
DATASOURCE = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")

CALM = models.Threshold(color="green")

Panel = TypeVar("Panel", timeseries.Panel, stat.Panel, bargauge.Panel)
AnyPanel = timeseries.Panel | stat.Panel | bargauge.Panel


def framed(
    panel: Panel,
    *,
    title: str,
    unit: str,
    width: int,
    height: int,
    description: str,
    warn_from: float | None = None,
    runbooks: Iterable[str] = (),
) -> Panel:
    """Gives a panel what every panel must have; the description says what to do when the panel looks wrong."""
    steps = [CALM] if warn_from is None else [CALM, models.Threshold(color="orange", value=warn_from)]
    return (
        panel.title(title)
        .unit(unit)
        .span(width)
        .height(height)
        .description(" ".join(description.split()))
        .datasource(DATASOURCE)
        .links([runbook(alert) for alert in runbooks])
        # Said explicitly, because Grafana's own default turns everything above 80 red.
        .thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    )


def runbook(alert: str) -> dashboard.DashboardLink:
    """A link to what to do when this alert fires."""
    return link(f"Runbook: {alert}", f"${{runbooks}}/{alert}.md").target_blank(target_blank=True)


def link(title: str, url: str) -> dashboard.DashboardLink:
    """A link that keeps the time range."""
    built = dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url)
    return built.icon("external link").keep_time(keep_time=True)


def at_the_end(expr: str, legend: str) -> prometheus.Dataquery:
    """One value a series, at the end of the dashboard's range."""
    return prometheus.Dataquery().expr(expr).legend_format(legend).datasource(DATASOURCE).instant()


def over_time(expr: str, legend: str) -> prometheus.Dataquery:
    """A line a series over the dashboard's range."""
    return prometheus.Dataquery().expr(expr).legend_format(legend).datasource(DATASOURCE).range()


def numbered(panel: Panel, targets: Iterable[prometheus.Dataquery]) -> Panel:
    """Gives a panel its queries, called A, B, C."""
    for letter, target in zip("ABCDEFGH", targets, strict=False):
        panel.with_target(target.ref_id(letter))
    return panel


def values(*targets: prometheus.Dataquery, decimals: int) -> stat.Panel:
    """A panel of single values."""
    panel = stat.Panel().reduce_options(_last_value()).graph_mode(common_models.BigValueGraphMode.NONE)
    return numbered(panel.decimals(decimals), targets)


def gauges(*targets: prometheus.Dataquery, decimals: int) -> bargauge.Panel:
    """A panel of horizontal bars, one a series."""
    panel = (
        bargauge.Panel()
        .reduce_options(_last_value())
        .orientation(common_models.VizOrientation.HORIZONTAL)
        .display_mode(common_models.BarGaugeDisplayMode.BASIC)
        .min(0)
        .decimals(decimals)
    )
    return numbered(panel, targets)


def lines(*targets: prometheus.Dataquery) -> timeseries.Panel:
    """A panel of lines over time."""
    return numbered(timeseries.Panel().min(0), targets)


def bars(*targets: prometheus.Dataquery, window: str, back: str) -> timeseries.Panel:
    """Stacked bars over the last days whatever the dashboard's range, one a `window`, each from its start on."""
    panel = (
        timeseries.Panel()
        .draw_style(common_models.GraphDrawStyle.BARS)
        .bar_alignment(common_models.BarAlignment.AFTER)
        .fill_opacity(80)
        .stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
        # With a longer step bars would be left out, and what they hold with them.
        .interval(window)
        .max_data_points(1_000)
        .time_from(back)
        .min(0)
    )
    return numbered(panel, targets)


def _last_value() -> common.ReduceDataOptions:
    # What a panel of single values shows of a query that was asked for one value.
    return common.ReduceDataOptions().values(values=False).calcs(["lastNotNull"])
