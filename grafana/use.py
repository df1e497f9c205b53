"""The panels that say how much is used: tokens, the cache, sessions and how long a person waits."""

from grafana import names
from grafana.panels import AnyPanel, at_the_end, framed, gauges, lines, over_time, values
from grafana.queries import grown, per_second, series

_MODALITY = f"{{{{{names.MODALITY}}}}}"
_MODEL = f"{{{{{names.MODEL}}}}}"


def tokens_per_minute() -> AnyPanel:
    """How fast tokens are used."""
    return framed(
        lines(
            over_time(f"sum by ({names.MODALITY}) ({per_second(names.INPUT_TOKENS)}) * 60", f"{_MODALITY} input"),
            over_time(f"sum by ({names.MODALITY}) ({per_second(names.OUTPUT_TOKENS)}) * 60", f"{_MODALITY} output"),
        ),
        title="Tokens per minute by modality",
        unit="suffix: tokens/min",
        width=12,
        height=9,
        description="""
            The pace of tokens, a live trend by rate(), which misses what a process exported only once; input includes
            the cached ones, output the reasoning ones. When it looks wrong: tokens without cost are unpriced usage;
            input that climbs through a session is its growing conversation, which every response sends again.
        """,
    )


def tokens_in_the_range() -> AnyPanel:
    """How many tokens were used, exactly."""
    return framed(
        gauges(
            at_the_end(f"sum by ({names.MODALITY}) ({grown(names.INPUT_TOKENS)})", f"{_MODALITY} input"),
            at_the_end(f"sum by ({names.MODALITY}) ({grown(names.CACHED_TOKENS)})", f"{_MODALITY} of it cached"),
            at_the_end(f"sum by ({names.MODALITY}) ({grown(names.OUTPUT_TOKENS)})", f"{_MODALITY} output"),
            decimals=0,
        ),
        title="Tokens in the range by modality",
        unit="short",
        width=12,
        height=9,
        description="""
            Exact counts as the service reported them. Cached tokens are part of the input: never add them. When it
            looks wrong: "unknown of it cached" is a count that the service did not split by modality, which makes the
            cost an upper bound; text output without audio output is a session that answers in text.
        """,
    )


def cache_hit_ratio() -> AnyPanel:
    """How much of the input came from the cache."""
    cached = f"sum by ({names.MODALITY}) ({per_second(names.CACHED_TOKENS)})"
    # Where no token came in there is no ratio: without the comparison the line would be NaN.
    everything = f"(sum by ({names.MODALITY}) ({per_second(names.INPUT_TOKENS)}) > 0)"
    return framed(
        lines(over_time(f"{cached} / {everything}", _MODALITY)).max(1),
        title="Cache hit ratio by modality",
        unit="percentunit",
        width=8,
        height=9,
        description="""
            The part of the input tokens that was read from the cache, a live trend by rate(). When it looks wrong: a
            fall after a release means that instructions or tools changed or moved, since the cache holds only an
            unchanged beginning. Tokens that the service counts as cached without saying of which modality are in no
            line: then the cost is an upper bound, and the panel of the uncertainty says by how much.
        """,
    )


def cache_hits_in_the_range() -> AnyPanel:
    """How much of the input came from the cache, exactly."""
    cached = f"sum by ({names.MODALITY}) ({grown(names.CACHED_TOKENS)})"
    everything = f"(sum by ({names.MODALITY}) ({grown(names.INPUT_TOKENS)}) > 0)"
    return framed(
        gauges(at_the_end(f"{cached} / {everything}", _MODALITY), decimals=1).max(1),
        title="Cache hit ratio in the range by modality",
        unit="percentunit",
        width=8,
        height=9,
        description="""
            The cached part of all input tokens in the range, exact. When it looks wrong: near 0 with long sessions
            means that something at the beginning of the conversation changes in every turn (a time of day in the
            instructions is enough) or that truncation moves the beginning; keep it unchanged and truncate rarely.
        """,
    )


def savings_by_modality() -> AnyPanel:
    """Of which modality the cache saved money, exactly."""
    return framed(
        gauges(at_the_end(f"sum by ({names.MODALITY}) ({grown(names.CACHE_SAVINGS)})", _MODALITY), decimals=6),
        title="Saved by the cache in the range by modality",
        unit="currencyUSD",
        width=8,
        height=9,
        description="""
            What the cached tokens of each modality would have cost more as plain input, exact. When it looks wrong:
            cached audio saves many times what cached text does, so little for audio beside a good text ratio means
            that audio falls out of the conversation or of its unchanged beginning.
        """,
    )


def active_sessions() -> AnyPanel:
    """How many sessions are open."""
    return framed(
        lines(over_time(f"sum by ({names.MODEL}) ({series(names.ACTIVE_SESSIONS)})", _MODEL)).decimals(0),
        title="Active sessions by model",
        unit="short",
        width=12,
        height=9,
        description="""
            Sessions that are open now, as the processes last said. When it looks wrong: a line that only climbs means
            that sessions are never closed, and each one keeps costing with every response; a process that died keeps
            its last value for five minutes.
        """,
    )


def time_to_first_audio() -> AnyPanel:
    """How long a person waits for an answer."""
    # Growth, not rate(): a histogram begins with its first measurement, which rate() would not see.
    buckets = f"sum by (le) ({grown(names.FIRST_AUDIO, window='$__rate_interval')})"
    return framed(
        lines(
            *(
                over_time(f"histogram_quantile({share}, {buckets})", f"{share:.0%} wait no longer")
                for share in (0.5, 0.95, 0.99)
            )
        ),
        title="Time to first audio",
        unit="s",
        width=12,
        height=9,
        description="""
            From the end of the user's speech to the first audio of the answer, as this side of the socket saw it;
            quantiles are guessed within buckets that double. A forked child says once more, with its first export, what
            its parent had measured until the fork, so that the lines lean towards the past for a moment. When it looks
            wrong: if all lines rise, the service is slow or far away; if only the highest does, look at long inputs and
            tool calls. No line means that nothing spoke, or that the end of speech is not reported by the service.
        """,
    )


def cost_uncertainty() -> AnyPanel:
    """By how much the cost may be too high."""
    return framed(
        values(at_the_end(f"sum({grown(names.COST_UNCERTAINTY)}) or vector(0)", "at most"), decimals=6),
        title="Uncertainty of the cost in the range",
        unit="currencyUSD",
        width=6,
        height=6,
        warn_from=0.000001,
        alerts=("RealtimeSpendCostUncertain",),
        description="""
            By how much the total cost may be too high, because the service or a gateway counted cached tokens without
            saying of which modality; the total holds the upper bound. When it looks wrong: anything above 0 comes from
            responses without cached_tokens_details; see which deployment they are from, and ask for a newer API
            version or a gateway that passes the details on.
        """,
    )
