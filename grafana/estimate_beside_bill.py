"""The dashboard that holds what was estimated beside what was billed, by UTC day and meter: `watch` reports both."""

from grafana import names
from grafana.by_label import DRIFT_STEPS, STATES, bars_by, table_of
from grafana.panels import AnyPanel, at_the_end, framed, other_dashboards, values
from grafana.variables import addresses, datasource, values_of
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models

# What a meter is; with it stands the day, or the cause.
_METER = (
    names.PROVIDER,
    names.ACCOUNT,
    names.MODEL,
    names.VERSION,
    names.SCOPE,
    names.MODALITY,
    names.COMPONENT,
)
_CHOSEN = f'{names.PROVIDER}=~"$provider", {names.MODEL}=~"$model", {names.ACCOUNT}=~"$account"'
_OF_PROVIDER = f'{names.PROVIDER}=~"$provider"'
_DRIFT = ("RealtimeSpendCostDriftFast", "RealtimeSpendCostDriftSlow")


def _once(gauge: str, label: str) -> str:
    # After a restart under another instance id the old series stay for five minutes beside the new.
    return f"max by ({', '.join((*_METER, label))}) ({gauge}{{{_CHOSEN}}})"


def _settled(gauge: str) -> str:
    return f"({_once(gauge, names.DAY)} and {_once(names.BILL_STATE, names.DAY)} >= 1)"


def _larger(one: str, other: str) -> str:
    return f"(({one} >= {other}) or {other})"


_BILLED, _ESTIMATED = _settled(names.BILLED_COST), _settled(names.ESTIMATED_COST)
_DRIFT_BY_CAUSE = _once(names.DRIFT_COST, names.CAUSE)


def settled_days() -> AnyPanel:
    """What the settled days come to."""
    return framed(
        values(
            at_the_end(f"sum({_BILLED})", "billed"),
            at_the_end(f"sum({_ESTIMATED})", "estimated"),
            at_the_end(f"sum({_DRIFT_BY_CAUSE})", "drift"),
            decimals=2,
        ),
        title="Billed, estimated and drift over the settled days",
        unit="currencyUSD",
        width=8,
        height=6,
        alerts=_DRIFT,
        description="""
            What all settled days of the reconciler come to; drift is billed minus estimated. The range of the dashboard
            does not matter: all days are reported again and again. When it looks wrong: see below where each dollar
            went; with no data nobody runs `realtime-spend watch`, or its bill is in a currency that nothing converts
            (--fx).
        """,
    )


def drift_share() -> AnyPanel:
    """How large the drift is beside the money."""
    sums = f"sum({_BILLED})", f"sum({_ESTIMATED})"
    return framed(
        values(at_the_end(f"sum({_DRIFT_BY_CAUSE}) / {_larger(*sums)}", "drift"), decimals=2),
        title="Drift as a share of the larger side",
        unit="percentunit",
        width=4,
        height=6,
        alerts=_DRIFT,
        description="""
            The drift of the settled days as a part of what was billed or estimated, whichever is more. Green is within
            2 %, what `realtime-spend reconcile` lets pass. When it looks wrong: a share that is small in all may hide
            two large ones that cancel each other, so look by model.
        """,
    ).thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(DRIFT_STEPS))


def days_by_state() -> AnyPanel:
    """How settled the days are."""
    state = f"min by ({names.DAY}) ({_once(names.BILL_STATE, names.DAY)})"
    words = ("open", "settled", "final")
    return framed(
        values(*(at_the_end(f"sum({state} == bool {number})", word) for number, word in enumerate(words)), decimals=0),
        title="Days by how settled their bill is",
        unit="short",
        width=6,
        height=6,
        alerts=("RealtimeSpendBillMissing",),
        description="""
            An open day is still being written down and decides nothing; it settles two days after it began. Final is
            what will not change: OpenAI's when settled, Azure's from the 6th of the next month. When it looks wrong:
            more than three open days, or none at all, means that the clock of the reconciler is off.
        """,
    )


def age_of_the_bill() -> AnyPanel:
    """How old the bill is, and the reading of it."""
    return framed(
        values(
            at_the_end(
                f"time() - max by ({names.PROVIDER}) ({names.LAST_SUCCESS}{{{_OF_PROVIDER}}})",
                f"{{{{{names.PROVIDER}}}}} was read",
            ),
            at_the_end(
                f"time() - max by ({names.PROVIDER}) ({names.LAST_SETTLED}{{{_OF_PROVIDER}}})",
                f"{{{{{names.PROVIDER}}}}} is settled to",
            ),
            decimals=1,
        ),
        title="How long ago the bill was read, and what it is settled to",
        unit="s",
        width=6,
        height=6,
        warn_from=4 * 86_400,
        alerts=("RealtimeSpendBillMissing", "RealtimeSpendReconcilerStale"),
        description="""
            When the bill was last read, and when its newest settled day ended; that is one to three days ago in the
            ordinary course. When it looks wrong: a bill that is read and not settled further is an export that has
            stopped; one that is not read any more is in the log of `realtime-spend watch`.
        """,
    )


def sides_by_day() -> AnyPanel:
    """Both sides of each day."""
    columns = {
        "billed": f"sum by ({names.DAY}) ({_once(names.BILLED_COST, names.DAY)})",
        "estimated": f"sum by ({names.DAY}) ({_once(names.ESTIMATED_COST, names.DAY)})",
    }
    return framed(
        bars_by(names.DAY, "day", columns),
        title="Billed and estimated by UTC day",
        unit="currencyUSD",
        width=12,
        height=9,
        alerts=("RealtimeSpendBillMissing",),
        description="""
            What each UTC day was billed and estimated, open days too, whose bill is still growing. A day that is
            restated is drawn anew. When it looks wrong: a settled day without its billed bar is missing in the export;
            one without its estimated bar was not observed, or its ledger is elsewhere.
        """,
    )


def drift_by_day() -> AnyPanel:
    """The drift of each settled day."""
    columns = {"drift": f"sum by ({names.DAY}) ({_BILLED}) - sum by ({names.DAY}) ({_ESTIMATED})"}
    return framed(
        bars_by(names.DAY, "day", columns),
        title="Drift by settled UTC day",
        unit="currencyUSD",
        width=12,
        height=9,
        alerts=("RealtimeSpendCostDriftFast",),
        description="""
            Billed minus estimated of each settled day; below 0 less was billed. When it looks wrong: one day alone is
            an outage or a release of that day, a step that stays is a price or a meter, two neighbours that cancel each
            other are usage that was billed on the other side of midnight.
        """,
    )


def drift_by_cause() -> AnyPanel:
    """Where each dollar went."""
    columns = {"drift": f"sort_desc(sum by ({names.CAUSE}) ({_DRIFT_BY_CAUSE}))"}
    return framed(
        bars_by(names.CAUSE, "cause", columns, lying=True),
        title="Where each dollar of drift went, by cause",
        unit="currencyUSD",
        width=12,
        height=9,
        alerts=("RealtimeSpendCostDriftSlow",),
        description="""
            The drift of the settled days, every dollar under one cause, so that the bars add up to it. When it looks
            wrong: docs/reconciliation.md says what each cause means and what to do; the evidence, with its numbers, is
            in the report of `realtime-spend reconcile` over the same bill. What stays unexplained was not guessed at.
        """,
    )


def sides_by_model() -> AnyPanel:
    """Which model drifts."""

    def by_model(amounts: str) -> str:
        summed = f"sum by ({names.MODEL}) ({amounts})"
        return f'label_replace({summed}, "{names.MODEL}", "cannot be read", "{names.MODEL}", "")'

    columns = {
        "billed": by_model(_BILLED),
        "estimated": by_model(_ESTIMATED),
        "drift": by_model(_DRIFT_BY_CAUSE),
    }
    return framed(
        bars_by(names.MODEL, "model", columns, lying=True),
        title="Billed, estimated and drift over the settled days, by model",
        unit="currencyUSD",
        width=12,
        height=9,
        alerts=("RealtimeSpendCostDriftSlow", "RealtimeSpendBilledWithoutEstimate"),
        description="""
            Which model the drift is in. When it looks wrong: billed without estimated is traffic that nobody observes,
            or a transcription model that the sessions do not name; "cannot be read" is meters whose names are unknown,
            which `realtime-spend meters` explains.
        """,
    )


def day_and_meter() -> AnyPanel:
    """Every row of the comparison."""
    billed, estimated = _once(names.BILLED_COST, names.DAY), _once(names.ESTIMATED_COST, names.DAY)
    drift = f"{billed} - {estimated}"
    labels = {
        names.DAY: "day",
        names.PROVIDER: "provider",
        names.ACCOUNT: "account",
        names.MODEL: "model",
        names.VERSION: "version",
        names.SCOPE: "scope",
        names.MODALITY: "modality",
        names.COMPONENT: "component",
    }
    columns = {
        "billed": billed,
        "estimated": estimated,
        "drift": drift,
        # An open day is billed too little by its nature: no colour shall say that something is wrong.
        "share": f"({drift}) / ({_larger(billed, estimated)} > 0) and {_once(names.BILL_STATE, names.DAY)} >= 1",
        "state": _once(names.BILL_STATE, names.DAY),
    }
    coloured = common.TableColoredBackgroundCellOptions(mode=common.TableCellBackgroundDisplayMode.BASIC)
    states = {key: models.ValueMappingResult(text, color) for key, (text, color) in STATES.items()}
    panel = framed(
        table_of(labels, columns, newest="day").decimals(4),
        title="Every day and meter",
        unit="currencyUSD",
        width=24,
        height=16,
        alerts=("RealtimeSpendBilledWithoutEstimate",),
        description="""
            One row a UTC day and meter, the newest first; click a heading to sort, its funnel to choose. The share is
            of the larger side, and said of settled days alone. When it looks wrong: red in one component and the
            opposite in another of the same model is money that moved between meters; red in a whole column of days is a
            price; red in all of one day is that day. `realtime-spend reconcile` on the same bill says the evidence.
        """,
    )
    steps = models.ThresholdsConfig(mode=models.ThresholdsMode.ABSOLUTE, steps=DRIFT_STEPS)
    panel.override_by_name(
        "share",
        [
            models.DynamicConfigValue(id_val="unit", value="percentunit"),
            models.DynamicConfigValue(id_val="decimals", value=1),
            models.DynamicConfigValue(id_val="custom.cellOptions", value=coloured),
            models.DynamicConfigValue(id_val="thresholds", value=steps),
        ],
    )
    return panel.override_by_name(
        "state",
        [
            models.DynamicConfigValue(id_val="unit", value="short"),
            models.DynamicConfigValue(id_val="mappings", value=[models.ValueMap(states)]),
            models.DynamicConfigValue(id_val="custom.cellOptions", value=coloured),
        ],
    )


def estimate_beside_bill() -> dashboard.Dashboard:
    """The dashboard for whoever answers for the bill."""
    board = (
        dashboard.Dashboard("Estimate beside the bill")
        .uid("realtime-spend-bill")
        .description("What voice sessions were billed beside what was estimated, by UTC day and meter.")
        .link(other_dashboards())
    )
    provider = f'{names.PROVIDER}=~"$provider"'
    variables = (
        datasource(),
        values_of("provider", "Provider", names.PROVIDER, series=names.BILLED_COST),
        values_of("model", "Model", names.MODEL, provider, series=names.BILLED_COST),
        values_of("account", "Account", names.ACCOUNT, provider, series=names.BILLED_COST),
    )
    for variable in (*variables, *addresses()):
        board.with_variable(variable)
    panels = (
        settled_days(),
        drift_share(),
        days_by_state(),
        age_of_the_bill(),
        sides_by_day(),
        drift_by_day(),
        drift_by_cause(),
        sides_by_model(),
        day_and_meter(),
    )
    # Numbered, so that the links of the alerts lead to them.
    for number, panel in enumerate(panels, start=1):
        board.with_panel(panel.id(number))
    return board
