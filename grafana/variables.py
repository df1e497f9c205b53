"""What a reader can choose at the top of a dashboard."""

from grafana import names
from grafana.panels import DATASOURCE
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

# Where links lead to that leave Grafana, as compose.yaml publishes it: Prometheus serves the runbooks too. A reader can
# change both at the top of a dashboard.
PROMETHEUS = "http://127.0.0.1:9090"
RUNBOOKS = f"{PROMETHEUS}/user"


def datasource() -> dashboard.DatasourceVariable:
    """The Prometheus that is asked."""
    return dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def addresses() -> list[dashboard.TextBoxVariable]:
    """Where the links to alerts and runbooks lead: a browser may know Prometheus under another name than Grafana."""
    said = {
        "prometheus_url": ("Alerts at", PROMETHEUS, "Prometheus as your browser reaches it, for links to alerts"),
        "runbooks": ("Runbooks at", RUNBOOKS, "Where docs/runbooks of realtime-spend can be read"),
    }
    return [
        dashboard.TextBoxVariable(name).label(label).description(description).default_value(address)
        for name, (label, address, description) in said.items()
    ]


def values_of(
    variable: str, title: str, label: str, *matchers: str, series: str = names.USAGES
) -> dashboard.QueryVariable:
    """A choice among the values of a label; "All" also takes in series without it: a model may be unknown.

    From the usages, not from the cost: what is unpriced must be there to be chosen. Where no series has the label, the
    list holds nothing but "All".
    """
    query = f"label_values({series}{{{', '.join(matchers)}}}, {label})"
    return (
        dashboard.QueryVariable(variable)
        .label(title)
        .datasource(DATASOURCE)
        .query({"query": query, "refId": variable})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def one_of(variable: str, title: str, description: str, options: dict[str, str]) -> dashboard.CustomVariable:
    """A choice among labels, or one that the reader types: which attributes there are is the reader's affair.

    Never empty, as a text box may be: a query without a label where one must stand is an error in every panel.
    """
    first = next(iter(options))
    return (
        dashboard.CustomVariable(variable)
        .label(title)
        .description(description)
        .values(", ".join(f"{text} : {label}" for text, label in options.items()))
        .options(
            [models.VariableOption(selected=text == first, text=text, value=label) for text, label in options.items()]
        )
        .current(models.VariableOption(selected=True, text=first, value=options[first]))
        .allow_custom_value(allow_custom_value=True)
    )


def spending() -> list[dashboard.DatasourceVariable | dashboard.QueryVariable | dashboard.CustomVariable]:
    """Those that narrow the spending down, each among what the ones before it leave."""
    provider = f'{names.PROVIDER}=~"$provider"'
    model = f'{names.MODEL}=~"$model"'
    return [
        datasource(),
        values_of("provider", "Provider", names.PROVIDER),
        values_of("model", "Model", names.MODEL, provider),
        values_of("deployment", "Deployment", names.REQUEST_MODEL, provider, model),
        values_of("account", "Account", names.ACCOUNT, provider),
        one_of(
            "attribute",
            "Attribute",
            "An attribute of your own, from REALTIME_SPEND_BAGGAGE_KEYS or attributed(); dots become underscores",
            {"Tenant": "tenant", "Plan": "plan", "Team": "team", "Environment": names.ENVIRONMENT},
        ),
        values_of("tenant", "Its value", "$attribute", provider),
        one_of(
            "by",
            "Cost by",
            "What the panels of cost are split by; an attribute of your own can be typed, dots become underscores",
            {
                "Model": names.MODEL,
                "Modality": names.MODALITY,
                "Component": names.COMPONENT,
                "Provider": names.PROVIDER,
                "Deployment": names.REQUEST_MODEL,
                "Account": names.ACCOUNT,
                "Tenant": "tenant",
                "Environment": names.ENVIRONMENT,
            },
        ),
    ]
