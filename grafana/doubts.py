"""The panels that say what the cost does not hold, or may hold wrongly."""

from grafana import names
from grafana.panels import AnyPanel, at_the_end, bars, framed, gauges, over_time, values
from grafana.queries import STEP, grown, grown_from_here
from grafana_foundation_sdk.models import dashboard as models

_USAGE = f"{{{{{names.USAGE}}}}}"
_KIND = f"{{{{{names.KIND}}}}}"
_UNPRICED = f"unpriced: {{{{{names.REASON}}}}}"
_WITHOUT_COST = ("RealtimeSpendUsageLost", "RealtimeSpendUsageMissing", "RealtimeSpendUnpricedUsage")


def usages_by_status() -> AnyPanel:
    """How much of the usage is known, and how much of it is priced."""
    alarmed = models.DynamicConfigValue(
        id_val="thresholds",
        value={"mode": "absolute", "steps": [{"value": None, "color": "green"}, {"value": 1, "color": "orange"}]},
    )
    return framed(
        values(
            at_the_end(f"sum by ({names.KIND}, {names.USAGE}) ({grown(names.USAGES)})", f"{_KIND} {_USAGE}"),
            at_the_end(f"sum by ({names.REASON}) ({grown(names.UNPRICED)})", _UNPRICED),
            decimals=0,
        ).override_by_regexp("/(missing|lost)$|^unpriced/", [alarmed]),
        title="Responses and other usage events by status",
        unit="short",
        width=12,
        height=6,
        alerts=(*_WITHOUT_COST, "RealtimeSpendTranscriptionUnobserved"),
        description="""
            How many usage events in the range were reported with their usage, had none (missing) or never ended before
            their session closed (lost), and how many could not be priced. When it looks wrong: anything but reported
            and estimated is money that the cost does not hold. Missing: the service or a proxy drops the usage. Lost:
            sockets close during a response. Unpriced: add the model to a rate card, or its deployment to
            REALTIME_SPEND_DEPLOYMENTS. No transcription beside many responses: its events go elsewhere, or all fail.
        """,
    )


def without_cost_by_hour() -> AnyPanel:
    """When usage came without a cost."""
    no_usage = f'{names.USAGE}=~"missing|lost"'
    return framed(
        bars(
            over_time(f"sum by ({names.USAGE}) ({grown_from_here(names.USAGES, no_usage, window=STEP)})", _USAGE),
            over_time(f"sum by ({names.REASON}) ({grown_from_here(names.UNPRICED, window=STEP)})", _UNPRICED),
            least="1h",
            back="2d",
        ).decimals(0),
        title="Lost, missing and unpriced usage by hour",
        unit="short",
        width=12,
        height=9,
        alerts=_WITHOUT_COST,
        description="""
            Exact counts, each bar from the start of its hour (UTC). When it looks wrong: find the hour in which it
            began and what was deployed then. Lost in bursts: processes are stopped while they answer, so let them
            finish. Missing without pause: a proxy or an old API version. Unpriced since a day: a new model or
            deployment; after the card is there, `realtime-spend reprice` prices the ledger anew.
        """,
    )


def doubts_by_kind() -> AnyPanel:
    """What was doubtful, assumed or wrong."""
    return framed(
        gauges(
            at_the_end(f"sum by ({names.KIND}) ({grown(names.ERRORS)})", _KIND),
            at_the_end(f"sum({grown(names.DUPLICATES)})", "duplicates, not counted again"),
            decimals=0,
        ),
        title="Doubts, assumptions and errors in the range by kind",
        unit="short",
        width=12,
        height=9,
        description="""
            What the instrumentation was in doubt about and counted all the same, exact. When it looks wrong:
            scope_assumed is an Azure deployment whose type nobody configured (REALTIME_SPEND_DEPLOYMENTS); kinds that
            begin with cached, total or modality are usages that contradict themselves; ledger is a folder that cannot
            be written; internal is a fault of realtime-spend, whose log has one line for each kind.
        """,
    )
