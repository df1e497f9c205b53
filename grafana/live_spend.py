"""The dashboard that says what sessions cost while they run."""

from grafana import doubts, money, use
from grafana.panels import other_dashboards
from grafana.variables import addresses, spending
from grafana_foundation_sdk.builders import dashboard


def live_spend() -> dashboard.Dashboard:
    """The dashboard for whoever watches the spending as it happens."""
    board = (
        dashboard.Dashboard("Live spend")
        .uid("realtime-spend-live")
        .description("What voice sessions on the OpenAI Realtime API and Azure OpenAI cost, as they run.")
        .link(other_dashboards())
    )
    for variable in (*spending(), *addresses()):
        board.with_variable(variable)
    panels = (
        money.total_cost(),
        money.cost_per_session_minute(),
        money.cost_per_response(),
        money.audio_output_share(),
        money.cost_per_minute(),
        money.cost_in_the_range(),
        money.cost_by_hour(),
        money.cost_by_day(),
        money.cost_by_component(),
        use.tokens_in_the_range(),
        doubts.usages_by_status(),
        use.cost_uncertainty(),
        money.cache_savings(),
        use.cache_hit_ratio(),
        use.cache_hits_in_the_range(),
        use.savings_by_modality(),
        doubts.without_cost_by_hour(),
        doubts.doubts_by_kind(),
        use.tokens_per_minute(),
        use.active_sessions(),
        use.time_to_first_audio(),
    )
    # Numbered, so that a link to one panel outlives a new import.
    for number, panel in enumerate(panels, start=1):
        board.with_panel(panel.id(number))
    return board
