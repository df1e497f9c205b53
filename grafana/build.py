"""Writes the Grafana dashboards in `grafana/dashboards/`, which are checked in: to use them nobody needs this program.

`python grafana/build.py` writes them; `python grafana/build.py --check` writes nothing and fails where one differs.
"""

# /// script
# requires-python = ">=3.11"
# # Without the exact version pip takes an older release, for Grafana 10.1, whose number sorts higher.
# dependencies = ["grafana-foundation-sdk==0.0.21"]
# ///

import argparse
import sys
from pathlib import Path
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

DASHBOARDS = Path(__file__).resolve().parent / "dashboards"

# Never a fixed uid: the dashboard must work with whatever name a Prometheus has in the reader's Grafana.
DATASOURCE = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")

COST = "realtime_spend_cost_USD_total"
CACHE_SAVINGS = "realtime_spend_cache_savings_USD_total"
INPUT_TOKENS = "gen_ai_client_inference_usage_input_tokens_total"
CACHED_TOKENS = "gen_ai_client_inference_usage_cache_read_input_tokens_total"
OUTPUT_TOKENS = "gen_ai_client_inference_usage_output_tokens_total"
SESSIONS = "realtime_spend_session_active"
USAGES = "realtime_spend_usages_total"
UNPRICED = "realtime_spend_unpriced_total"

CALM = models.Threshold(color="green")

Panel = TypeVar("Panel", timeseries.Panel, stat.Panel, bargauge.Panel)


def series(metric: str) -> str:
    """The series of the providers and models that are selected at the top of the dashboard."""
    return f'{metric}{{gen_ai_provider_name=~"$provider", realtime_spend_model=~"$model"}}'


def per_second(counter: str) -> str:
    """A trend for the eye: `rate()` guesses at the ends of its window and misses what a process exported only once."""
    return f"rate({series(counter)}[$__rate_interval])"


def over_range(counter: str) -> str:
    """The exact growth of each series over the dashboard's range, which `increase()` gets wrong for short sessions.

    The last value in the range minus the last one before it, or minus 0 where the series is new. The value before is
    looked for in a whole day, so that a pause in exports does not count a series a second time.
    """
    last = f"last_over_time({series(counter)}[$__range])"
    return f"{last} - (last_over_time({series(counter)}[1d] offset $__range) or {last} * 0)"


def framed(panel: Panel, *, title: str, unit: str, width: int, height: int, description: str) -> Panel:
    """Gives a panel what every panel must have; the description says what to do when the panel looks wrong."""
    return (
        panel.title(title)
        .unit(unit)
        .span(width)
        .height(height)
        .description(" ".join(description.split()))
        .datasource(DATASOURCE)
        # Said explicitly, because Grafana's own default turns everything above 80 red.
        .thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps([CALM]))
    )


def at_the_end(expr: str, legend: str) -> prometheus.Dataquery:
    """One value a series, at the end of the dashboard's range."""
    return prometheus.Dataquery().expr(expr).legend_format(legend).datasource(DATASOURCE).instant()


def over_time(expr: str, legend: str) -> prometheus.Dataquery:
    """A line a series over the dashboard's range."""
    return prometheus.Dataquery().expr(expr).legend_format(legend).datasource(DATASOURCE).range()


def last_value() -> common.ReduceDataOptions:
    """What a panel of single values shows of a query that was asked for one value."""
    return common.ReduceDataOptions().values(values=False).calcs(["lastNotNull"])


def total_cost() -> stat.Panel:
    """What the selected models cost, exactly."""
    panel = stat.Panel().reduce_options(last_value()).graph_mode(common_models.BigValueGraphMode.NONE).decimals(6)
    return framed(
        panel.with_target(at_the_end(f"sum({over_range(COST)})", "total").ref_id("A")),
        title="Total cost in the range",
        unit="currencyUSD",
        width=6,
        height=6,
        description="""
            Exact: what every process said last in the range minus what it had said before, without the guesses of
            increase(). It leaves out what is unpriced and lags by one export interval. When it looks wrong: if it is
            too low, look at unpriced, missing and lost usages beside it; if it is too high, check that every process
            has its own service.instance.id; compare one response with `realtime-spend explain`.
        """,
    )


def cache_savings() -> stat.Panel:
    """What the cache saved, exactly."""
    panel = stat.Panel().reduce_options(last_value()).graph_mode(common_models.BigValueGraphMode.NONE).decimals(6)
    return framed(
        panel.with_target(at_the_end(f"sum({over_range(CACHE_SAVINGS)})", "saved").ref_id("A")),
        title="Saved by the cache in the range",
        unit="currencyUSD",
        width=6,
        height=6,
        description="""
            What the cached input tokens would have cost more at the rate of uncached input. When it looks wrong: 0
            beside a high cost means that sessions start anew too often or that their instructions change between
            responses; see the cache hit ratio for which modality. This money is not part of the total cost.
        """,
    )


def usages_by_status() -> stat.Panel:
    """How much of the usage is known, and how much of it is priced."""
    alarmed = models.DynamicConfigValue(
        id_val="thresholds",
        value={"mode": "absolute", "steps": [{"value": None, "color": "green"}, {"value": 1, "color": "orange"}]},
    )
    panel = stat.Panel().reduce_options(last_value()).graph_mode(common_models.BigValueGraphMode.NONE).decimals(0)
    return framed(
        panel.with_target(
            at_the_end(
                f"sum by (realtime_spend_usage) ({over_range(USAGES)})",
                "{{realtime_spend_usage}}",
            ).ref_id("A")
        )
        .with_target(
            at_the_end(
                f"sum by (realtime_spend_reason) ({over_range(UNPRICED)})",
                "unpriced: {{realtime_spend_reason}}",
            ).ref_id("B")
        )
        .override_by_regexp("/^(missing|lost|unpriced.*)$/", [alarmed]),
        title="Responses and other usage events by status",
        unit="short",
        width=12,
        height=6,
        description="""
            How many usage events in the range were reported with their usage, had none (missing) or never ended before
            their session closed (lost), and how many could not be priced. When it looks wrong: anything but reported
            and estimated is money that the cost does not hold. Missing: the service or a proxy drops the usage. Lost:
            sockets close during a response. Unpriced: add the model to a rate card, or its deployment to
            REALTIME_SPEND_DEPLOYMENTS.
        """,
    )


def cost_per_hour() -> timeseries.Panel:
    """How fast money is spent."""
    return framed(
        timeseries.Panel()
        .min(0)
        .with_target(
            over_time(
                f"sum by (realtime_spend_model) ({per_second(COST)}) * 3600",
                "{{realtime_spend_model}}",
            ).ref_id("A")
        ),
        title="Cost per hour by model",
        unit="currencyUSD",
        width=12,
        height=9,
        description="""
            The pace of spending, a trend and not a bill: a rate guesses at the ends of its window, so take sums from
            the total, never from this line. When it looks wrong: a sudden rise with steady sessions is a costlier
            model or a cold cache (see the hit ratio); gaps mean that the services export less often than the data
            source's scrape interval says.
        """,
    )


def cost_by_component() -> bargauge.Panel:
    """Which kind of token the money went to, exactly."""
    return framed(
        bargauge.Panel()
        .reduce_options(last_value())
        .orientation(common_models.VizOrientation.HORIZONTAL)
        .display_mode(common_models.BarGaugeDisplayMode.BASIC)
        .min(0)
        .decimals(6)
        .with_target(
            at_the_end(
                f"sum by (realtime_spend_component, gen_ai_token_modality) ({over_range(COST)})",
                "{{gen_ai_token_modality}} {{realtime_spend_component}}",
            ).ref_id("A")
        ),
        title="Cost in the range by modality and component",
        unit="currencyUSD",
        width=12,
        height=9,
        description="""
            Where the money went, exact, and adding up to the total: input that was not cached, cached input, output,
            and what is billed by duration. When it looks wrong: a large audio input beside a small audio cached input
            means that the conversation is sent again at the full rate in every turn; truncate it less often, since
            every truncation empties the cache.
        """,
    )


def tokens_by_modality() -> timeseries.Panel:
    """How fast tokens are used."""
    return framed(
        timeseries.Panel()
        .min(0)
        .with_target(
            over_time(
                f"sum by (gen_ai_token_modality) ({per_second(INPUT_TOKENS)}) * 60",
                "{{gen_ai_token_modality}} input",
            ).ref_id("A")
        )
        .with_target(
            over_time(
                f"sum by (gen_ai_token_modality) ({per_second(OUTPUT_TOKENS)}) * 60",
                "{{gen_ai_token_modality}} output",
            ).ref_id("B")
        ),
        title="Tokens per minute by modality",
        unit="suffix: tokens/min",
        width=8,
        height=9,
        description="""
            The pace of tokens; input includes the cached ones, output the reasoning ones. When it looks wrong: tokens
            without cost are unpriced usage; input that climbs through a session is its growing conversation, which
            every response sends again.
        """,
    )


def cache_hit_ratio() -> timeseries.Panel:
    """How much of the input came from the cache."""
    cached = f"sum by (gen_ai_token_modality) ({per_second(CACHED_TOKENS)})"
    # Where no token came in there is no ratio: without the comparison the line would be NaN.
    everything = f"(sum by (gen_ai_token_modality) ({per_second(INPUT_TOKENS)}) > 0)"
    return framed(
        timeseries.Panel()
        .min(0)
        .max(1)
        .with_target(over_time(f"{cached} / {everything}", "{{gen_ai_token_modality}}").ref_id("A")),
        title="Cache hit ratio by modality",
        unit="percentunit",
        width=8,
        height=9,
        description="""
            The part of the input tokens that was read from the cache. When it looks wrong: a fall after a release
            means that instructions or tools changed or moved, since the cache holds only an unchanged beginning. Tokens
            that the service counts as cached without saying of which modality are in no line: then the cost is an
            upper bound, and realtime_spend_cost_uncertainty_USD_total says by how much.
        """,
    )


def active_sessions() -> timeseries.Panel:
    """How many sessions are open."""
    return framed(
        timeseries.Panel()
        .min(0)
        .decimals(0)
        .with_target(
            over_time(f"sum by (realtime_spend_model) ({series(SESSIONS)})", "{{realtime_spend_model}}").ref_id("A")
        ),
        title="Active sessions by model",
        unit="short",
        width=8,
        height=9,
        description="""
            Sessions that are open now, as the processes last said. When it looks wrong: a line that only climbs means
            that sessions are never closed, and each one keeps costing with every response; a process that died keeps
            its last value for five minutes.
        """,
    )


def label_variable(name: str, query: str) -> dashboard.QueryVariable:
    """A choice among the values of a label; "All" also takes in series without it: a model may be unknown."""
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(DATASOURCE)
        .query({"query": query, "refId": name})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def live_spend() -> dashboard.Dashboard:
    """The dashboard for whoever watches the spending as it happens."""
    board = (
        dashboard.Dashboard("Realtime spend: live")
        .uid("realtime-spend-live")
        .description("What voice sessions on the OpenAI Realtime API and Azure OpenAI cost, as they run.")
        .tags(["realtime-spend"])
        # Bills are by UTC day, so everything is shown in UTC.
        .timezone("utc")
        .refresh("30s")
        .time("now-6h", "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(label_variable("provider", f"label_values({USAGES}, gen_ai_provider_name)"))
        .with_variable(
            # From the usages, not from the cost: what is unpriced must be there to be chosen.
            label_variable(
                "model", f'label_values({USAGES}{{gen_ai_provider_name=~"$provider"}}, realtime_spend_model)'
            )
        )
    )
    panels: tuple[timeseries.Panel | stat.Panel | bargauge.Panel, ...] = (
        total_cost(),
        cache_savings(),
        usages_by_status(),
        cost_per_hour(),
        cost_by_component(),
        tokens_by_modality(),
        cache_hit_ratio(),
        active_sessions(),
    )
    # Numbered, so that a link to one panel outlives a new import.
    for number, panel in enumerate(panels, start=1):
        board.with_panel(panel.id(number))
    return board


def main() -> int:
    """Writes or checks every dashboard; 1 when one is not what this program makes."""
    parser = argparse.ArgumentParser(description="Writes the Grafana dashboards.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a dashboard differs")
    check = parser.parse_args().check
    stale = False
    for name, board in {"live-spend.json": live_spend()}.items():
        path = DASHBOARDS / name
        made = JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"
        if not check:
            path.write_text(made, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != made:
            sys.stderr.write(f"{path} is not what grafana/build.py makes: run python grafana/build.py\n")
            stale = True
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
