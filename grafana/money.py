"""The panels that say what sessions cost, and what for."""

from grafana import names
from grafana.panels import AnyPanel, at_the_end, bars, framed, gauges, lines, over_time, values
from grafana.queries import STEP, by_choice, grown, grown_from_here, per_second

_AUDIO_OUTPUT = (f'{names.MODALITY}="audio"', f'{names.COMPONENT}="output"')
_RESPONSES = (f'{names.KIND}="response"',)
_INFERENCE = (f'{names.OPERATION}="realtime_inference"',)
_BUDGET = ("RealtimeSpendBudgetBurnFast", "RealtimeSpendBudgetBurnSlow", "RealtimeSpendBudgetSpent")


def total_cost() -> AnyPanel:
    """What the selected models cost, exactly."""
    return framed(
        values(at_the_end(f"sum({grown(names.COST)})", "total"), decimals=6),
        title="Total cost in the range",
        unit="currencyUSD",
        width=6,
        height=6,
        alerts=_BUDGET,
        description="""
            Exact: what every process said last in the range minus what it had said before, without the guesses of
            increase(). It leaves out what is unpriced and lags by one export interval. When it looks wrong: if it is
            too low, look at unpriced, missing and lost usages beside it; if it is too high, check that every process
            has its own service.instance.id (Pipeline health shows it); compare one response with
            `realtime-spend explain`.
        """,
    )


def cache_savings() -> AnyPanel:
    """What the cache saved, exactly."""
    return framed(
        values(at_the_end(f"sum({grown(names.CACHE_SAVINGS)})", "saved"), decimals=6),
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


def cost_per_response() -> AnyPanel:
    """What a response costs, without the transcription of its input."""
    responses = f"(sum({grown(names.USAGES, *_RESPONSES)}) > 0)"
    return framed(
        values(at_the_end(f"sum({grown(names.COST, *_INFERENCE)}) / {responses}", "per response"), decimals=6),
        title="Cost per response in the range",
        unit="currencyUSD",
        width=6,
        height=6,
        description="""
            The exact cost of inference divided by the responses counted, those without a known usage included; the
            transcription of input is not in it. When it looks wrong: it climbs with the length of conversations,
            because each response is sent all that came before; if it is too low, responses are missing, lost or
            unpriced.
        """,
    )


def cost_per_session_minute() -> AnyPanel:
    """What a minute of conversation costs."""
    minutes = f"(sum({grown(names.SESSION_SECONDS)}) / 60 > 0)"
    return framed(
        values(at_the_end(f"sum({grown(names.COST)}) / {minutes}", "per minute"), decimals=4),
        title="Cost per session minute in the range",
        unit="currencyUSD",
        width=6,
        height=6,
        description="""
            The exact cost, transcription included, divided by the minutes of the sessions that ended in the range, both
            totals that a forked process does not repeat.
            When it looks wrong: sessions that are still open have cost already and minutes not yet, so take a range
            that is long beside a session; with a transcription model selected there are no minutes, since the
            session belongs to the model that answers.
        """,
    )


def audio_output_share() -> AnyPanel:
    """Which part of the money the voice of the model takes."""
    return framed(
        values(
            at_the_end(f"sum({grown(names.COST, *_AUDIO_OUTPUT)}) / (sum({grown(names.COST)}) > 0)", "audio output"),
            decimals=1,
        ),
        title="Share of audio output in the cost",
        unit="percentunit",
        width=6,
        height=6,
        description="""
            The part of the cost in the range that is audio which the model spoke, the dearest token there is. When it
            looks wrong: a large share is long answers, so ask for short ones or set max_output_tokens; a small one
            beside a high cost is input that is sent again at the full rate, see the cache hit ratio.
        """,
    )


def cost_per_minute() -> AnyPanel:
    """How fast money is spent."""
    return framed(
        lines(over_time(f"{by_choice(per_second(names.COST))} * 60", "{{$by}}")),
        title="Cost per minute by $by",
        unit="currencyUSD",
        width=12,
        height=9,
        alerts=(*_BUDGET, "RealtimeSpendSpendFarAboveLastWeek"),
        description="""
            The pace of spending, a live trend and not a bill: rate() guesses at the ends of its window and does not see
            a process that exported only once, so take sums from the bars and totals, never from this line. When it
            looks wrong: a sudden rise with steady sessions is a costlier model or a cold cache (see the hit ratio);
            gaps mean that the services export less often than the data source's scrape interval says.
        """,
    )


def cost_by_hour() -> AnyPanel:
    """What each hour cost, exactly."""
    return framed(
        bars(
            over_time(by_choice(grown_from_here(names.COST, window=STEP)), "{{$by}}"),
            least="1h",
            back="2d",
        ),
        title="Cost by hour and $by",
        unit="currencyUSD",
        width=12,
        height=9,
        alerts=("RealtimeSpendBudgetBurnFast", "RealtimeSpendBudgetBurnSlow", "RealtimeSpendSpendFarAboveLastWeek"),
        description="""
            Exact: a bar begins where its hour begins (UTC), the last one is the hour that is running, and bars add up
            to the total without a rest, also where a long range makes Grafana draw one for several hours. What was
            earned since the last export before an hour ends lands in the next.
            When it looks wrong: a bar far above its neighbours and the same hour of the day before is worth a look
            by deployment and tenant (Cost by, above); an empty hour between full ones is a pipeline that stood still
            and caught up later, see Pipeline health.
        """,
    )


def cost_by_day() -> AnyPanel:
    """What each day cost, exactly."""
    return framed(
        bars(
            over_time(by_choice(grown_from_here(names.COST, window=STEP)), "{{$by}}"),
            least="1d",
            back="31d",
        ),
        title="Cost by day and $by",
        unit="currencyUSD",
        width=12,
        height=9,
        alerts=("RealtimeSpendBudgetSpent",),
        description="""
            Exact: a bar begins where its UTC day begins, as the bill has it, and today's is still growing. Bars add up
            to the total without a rest, also where a range of years makes Grafana draw one for several days; what was
            earned since the last export before midnight lands in the next day. When it looks wrong: compare a day with
            `realtime-spend report` over the ledger; days before Prometheus' retention began are empty.
        """,
    )


def cost_by_component() -> AnyPanel:
    """Which kind of token the money went to, exactly."""
    return framed(
        gauges(
            at_the_end(
                f"sum by ({names.COMPONENT}, {names.MODALITY}) ({grown(names.COST)})",
                f"{{{{{names.MODALITY}}}}} {{{{{names.COMPONENT}}}}}",
            ),
            decimals=6,
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


def cost_in_the_range() -> AnyPanel:
    """Who or what the money went to, exactly."""
    return framed(
        gauges(at_the_end(by_choice(grown(names.COST)), "{{$by}}"), decimals=6),
        title="Cost in the range by $by",
        unit="currencyUSD",
        width=12,
        height=9,
        description="""
            The exact total, split by what is chosen as Cost by. When it looks wrong: "not set" is spending without
            that attribute; for one of your own, allow it (REALTIME_SPEND_BAGGAGE_KEYS) and set it before the
            connection is opened. "other" gathers the values beyond the first 200; the ledger has each.
        """,
    )
