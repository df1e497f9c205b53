"""The kinds of panel on our dashboards, and what every one of them has."""

from collections.abc import Iterable
from typing import TypeVar

from grafana_foundation_sdk.builders import barchart, bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

# Never a fixed uid: the dashboard must work with whatever name a Prometheus has in the reader's Grafana.
DATASOURCE = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")

# By it dashboards find each other.
TAG = "realtime-spend"

CALM = models.Threshold(color="green")

Panel = TypeVar("Panel", timeseries.Panel, stat.Panel, bargauge.Panel, barchart.Panel, table.Panel)
AnyPanel = timeseries.Panel | stat.Panel | bargauge.Panel | barchart.Panel | table.Panel


def framed(
    panel: Panel,
    *,
    title: str,
    unit: str,
    width: int,
    height: int,
    description: str,
    warn_from: float | None = None,
    alerts: Iterable[str] = (),
) -> Panel:
    """Gives a panel what every panel must have; the description says what to do when the panel looks wrong.

    It leads to the alerts that watch what it shows, and to what to do when they fire.
    """
    steps = [CALM] if warn_from is None else [CALM, models.Threshold(color="orange", value=warn_from)]
    return (
        panel.title(title)
        .unit(unit)
        .span(width)
        .height(height)
        .description(" ".join(description.split()))
        .datasource(DATASOURCE)
        .links([link for alert in alerts for link in (rule(alert), runbook(alert))])
        # Said explicitly, because Grafana's own default turns everything above 80 red.
        .thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    )


def rule(alert: str) -> dashboard.DashboardLink:
    """A link to the alert itself, in Prometheus, which evaluates it: whether it fires, for what, and since when."""
    return _elsewhere(f"Alert: {alert}", f"${{prometheus_url:raw}}/alerts?search={alert}")


def runbook(alert: str) -> dashboard.DashboardLink:
    """A link to what to do when this alert fires."""
    return _elsewhere(f"Runbook: {alert}", f"${{runbooks:raw}}/{alert}.md")


def _elsewhere(title: str, url: str) -> dashboard.DashboardLink:
    # As it is: the address of another program takes neither our time range nor our variables.
    built = dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url)
    return built.icon("external link").target_blank(target_blank=True)


def other_dashboards() -> dashboard.DashboardLink:
    """Links to all our dashboards, for the same time."""
    built = dashboard.DashboardLink("Other dashboards").type(models.DashboardLinkType.DASHBOARDS)
    return built.tags([TAG]).keep_time(keep_time=True)


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


def bars(*targets: prometheus.Dataquery, least: str, back: str) -> timeseries.Panel:
    """Stacked bars of what falls in each step, each from the start of its step on; no step is shorter than `least`.

    Grafana takes a longer step where there would be too many bars, so the queries ask for what falls in a step, however
    long it is: then no hour is left out. A range that ends now reaches `back`, an absolute one is taken as it is.
    """
    panel = (
        timeseries.Panel()
        .draw_style(common_models.GraphDrawStyle.BARS)
        .bar_alignment(common_models.BarAlignment.AFTER)
        .fill_opacity(80)
        .stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
        .interval(least)
        .max_data_points(1_000)
        .time_from(back)
        .min(0)
    )
    return numbered(panel, targets)


def _last_value() -> common.ReduceDataOptions:
    # What a panel of single values shows of a query that was asked for one value.
    return common.ReduceDataOptions().values(values=False).calcs(["lastNotNull"])
