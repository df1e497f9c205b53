"""The dashboard that says whether what the processes counted reaches Prometheus whole."""

from grafana import names
from grafana.panels import AnyPanel, at_the_end, framed, lines, other_dashboards, over_time, values
from grafana.variables import addresses, datasource
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

_COLLECTOR = 'job="otelcol"'
# In the order of the path.
_REFUSED = {
    names.RECEIVER_REFUSED: "refused by the receiver",
    names.MEMORY_LIMITER_REFUSED: "refused by the memory limiter",
}
_FAILED = {
    names.ENQUEUE_FAILED: "not taken into the queue",
    names.SEND_FAILED: "refused by Prometheus for good",
}


def _of(metric: str) -> str:
    return f"{metric}{{{_COLLECTOR}}}"


def _or_zero(expr: str) -> str:
    # Zero only where a collector was scraped at all: otherwise there is nothing to say.
    return f"{expr} or sum({_of('up')}) * 0"


def _counted(counters: dict[str, str]) -> list[tuple[str, str]]:
    return [(_or_zero(f"sum({_of(counter)})"), legend) for counter, legend in counters.items()]


def collector_up() -> AnyPanel:
    """Whether the collector is there."""
    words = {"0": ("down", "red"), "1": ("up", "green")}
    return framed(
        values(at_the_end(f"min({_of('up')})", "collector"), decimals=0)
        .mappings(
            [models.ValueMap({key: models.ValueMappingResult(text, color) for key, (text, color) in words.items()})]
        )
        .no_value("not scraped"),
        title="Collector",
        unit="short",
        width=4,
        height=6,
        alerts=("RealtimeSpendCollectorDown",),
        description="""
            Whether Prometheus could scrape the collector last; with several, whether it could scrape all. When it looks
            wrong: down with the processes alive means that what they count waits in them, cumulative, and is not lost
            while they live; start the collector. "Not scraped" means that prometheus.yml has no job otelcol, or that
            it points elsewhere.
        """,
    )


def points_lost() -> AnyPanel:
    """What was dropped on the way."""
    return framed(
        values(*(at_the_end(expr, legend) for expr, legend in _counted(_FAILED)), decimals=0),
        title="Points lost since the collector started",
        unit="short",
        width=8,
        height=6,
        warn_from=1,
        alerts=("RealtimeSpendTelemetryLost",),
        description="""
            Points that the collector gave up on; it retries for ever, so these are refusals for good. When it looks
            wrong: read the collector's log for Prometheus' answer. Too old: raise out_of_order_time_window. A process
            that goes on repeats its totals with the next export, so only one that has ended is money lost; its ledger
            still has it. Counts begin anew when the collector does.
        """,
    )


def points_refused() -> AnyPanel:
    """What was sent back to the processes."""
    return framed(
        values(*(at_the_end(expr, legend) for expr, legend in _counted(_REFUSED)), decimals=0),
        title="Points refused since the collector started",
        unit="short",
        width=8,
        height=6,
        warn_from=1,
        alerts=("RealtimeSpendTelemetryLost",),
        description="""
            Points that the collector sent back to whoever sent them, who tries again for a while. When it looks wrong:
            the memory limiter refuses when the collector is near its memory limit, so give it more or find out who
            sends so much; the receiver refuses when the queue is full. A process that ends meanwhile loses its last
            export, and the ledger has it.
        """,
    )


def queue_in_use() -> AnyPanel:
    """How much of the room for waiting exports is taken."""
    return framed(
        values(at_the_end(f"max({_of(names.QUEUE_SIZE)} / {_of(names.QUEUE_CAPACITY)})", "in use"), decimals=1),
        title="Queue in use",
        unit="percentunit",
        width=4,
        height=6,
        warn_from=0.1,
        alerts=("RealtimeSpendTelemetryDelayed",),
        description="""
            The part of the collector's queue that is taken; with several collectors, of the fullest. When it looks
            wrong: Prometheus does not answer, or not fast enough. At 100 % senders are made to wait, and processes
            that end then lose their last export.
        """,
    )


def queue() -> AnyPanel:
    """How much waits for Prometheus."""
    return framed(
        lines(over_time(f"sum by (exporter) ({_of(names.QUEUE_SIZE)})", "{{exporter}}")).decimals(0),
        title="Exports that wait in the collector",
        unit="suffix: requests",
        width=12,
        height=9,
        alerts=("RealtimeSpendTelemetryDelayed",),
        description="""
            Exports that wait on the collector's disk for Prometheus. When it looks wrong: a line that climbs means that
            Prometheus does not answer or is slower than what arrives; nothing is lost while there is room and disk, and
            after an outage the line falls back by itself.
        """,
    )


def points_per_minute() -> AnyPanel:
    """Whether as much leaves the collector as enters it."""
    return framed(
        lines(
            over_time(f"sum(rate({_of(names.ACCEPTED)}[$__rate_interval])) * 60", "accepted"),
            over_time(f"sum by (exporter) (rate({_of(names.SENT)}[$__rate_interval])) * 60", "sent by {{exporter}}"),
        ),
        title="Points accepted and sent per minute",
        unit="suffix: points/min",
        width=12,
        height=9,
        alerts=("RealtimeSpendTelemetryDelayed",),
        description="""
            What enters the collector and what Prometheus takes of it, a live trend by rate(). When it looks wrong: sent
            below accepted is a growing queue; both at 0 with sessions open means that the processes export elsewhere,
            so check OTEL_EXPORTER_OTLP_ENDPOINT.
        """,
    )


def failures_per_minute() -> AnyPanel:
    """When points were refused or lost."""
    return framed(
        lines(
            *(
                over_time(_or_zero(f"sum(rate({_of(counter)}[$__rate_interval])) * 60"), legend)
                for counter, legend in (_REFUSED | _FAILED).items()
            )
        ),
        title="Export failures and refused points per minute",
        unit="suffix: points/min",
        width=12,
        height=9,
        alerts=("RealtimeSpendTelemetryLost",),
        description="""
            When points were refused or lost, a live trend by rate(), which does not see the very first failure of a
            collector; the counts above do. When it looks wrong: see what happened at that time, and what the
            collector's log says then.
        """,
    )


def instances() -> AnyPanel:
    """How many processes report."""
    each = f"group by (job, instance) ({names.USAGES})"
    return framed(
        lines(over_time(f"count by (job) ({each})", "{{job}}")).decimals(0),
        title="Processes that report, by service",
        unit="short",
        width=12,
        height=9,
        alerts=("RealtimeSpendInstanceIdShared",),
        description="""
            Different service.instance.ids per service in the last five minutes. When it looks wrong: fewer than there
            are processes means that some share an id, whose counters then overwrite each other, or do not export; give
            each its own id, also after a fork. More than there are processes is restarts.
        """,
    )


def resets() -> AnyPanel:
    """Whether processes share an instance id."""
    usages, cost = (f"sum by (job) (resets({series}[$__range]))" for series in (names.USAGES, names.COST))
    return framed(
        # What each process reports once falls in one of them alone, and what has no price is in the first one only.
        values(at_the_end(f"({usages} + {cost}) or {usages}", "{{job}}"), decimals=0),
        title="Resets inside a series in the range",
        unit="short",
        width=6,
        height=9,
        warn_from=1,
        alerts=("RealtimeSpendInstanceIdShared",),
        description="""
            How often a counter fell back within one service.instance.id. It never does while each process has an id of
            its own, and totals rely on it. When it looks wrong: processes share an id, at once or one after the other
            (an id that is set by hand, or a fork with an older SDK); totals of that service are wrong until each has
            its own.
        """,
    )


def age_of_exports() -> AnyPanel:
    """How old what we see is."""
    return framed(
        lines(over_time(f"time() - max by (job) (timestamp({names.USAGES}))", "{{job}}")),
        title="Age of the newest export, by service",
        unit="s",
        width=6,
        height=9,
        alerts=("RealtimeSpendTelemetryDelayed",),
        description="""
            How long ago a service last exported. When it looks wrong: above the export interval
            (OTEL_METRIC_EXPORT_INTERVAL) the processes are stuck, gone, or the queue is behind; after five minutes
            the line ends. Where it says minutes all the time, the clocks of the machines differ.
        """,
    )


def memory() -> AnyPanel:
    """How much memory the collector holds."""
    return framed(
        lines(over_time(f"sum by (instance) ({_of(names.COLLECTOR_MEMORY)})", "{{instance}}")),
        title="Memory of the collector",
        unit="bytes",
        width=12,
        height=9,
        description="""
            What the collector holds resident. When it looks wrong: near the limit of its container or machine the
            memory limiter begins to refuse points; the queue is on disk and hardly counts, so look for a sender that
            sends very much.
        """,
    )


def pipeline_health() -> dashboard.Dashboard:
    """The dashboard for whoever doubts the figures of the other."""
    board = (
        dashboard.Dashboard("Pipeline health")
        .uid("realtime-spend-pipeline")
        .description("Whether what voice sessions cost arrives in Prometheus whole, and once.")
        .link(other_dashboards())
    )
    for variable in (datasource(), *addresses()):
        board.with_variable(variable)
    panels = (
        collector_up(),
        queue_in_use(),
        points_lost(),
        points_refused(),
        queue(),
        points_per_minute(),
        failures_per_minute(),
        memory(),
        instances(),
        resets(),
        age_of_exports(),
    )
    for number, panel in enumerate(panels, start=1):
        board.with_panel(panel.id(number))
    return board
