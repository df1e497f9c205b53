"""The forms that our PromQL takes. Totals are differences of counters, which are exact; `increase()` guesses."""

from grafana import names

# What a reader can choose at the top of the dashboard. "All" is sent as `.*`, which takes in series without the label.
# From one point that Grafana asks for to the next, whatever it chose.
STEP = "$__interval"
_CHOSEN = {
    names.PROVIDER: "$provider",
    names.MODEL: "$model",
    names.REQUEST_MODEL: "$deployment",
    names.ACCOUNT: "$account",
    "$attribute": "$tenant",
}


def series(metric: str, *matchers: str) -> str:
    """The series of what is selected at the top of the dashboard, further narrowed by `matchers`."""
    chosen = [f'{label}=~"{variable}"' for label, variable in _CHOSEN.items()]
    return f"{metric}{{{', '.join((*chosen, *matchers))}}}"


def per_second(counter: str) -> str:
    """A trend for the eye: `rate()` guesses at the ends of its window and misses what a process exported only once."""
    return f"rate({series(counter)}[$__rate_interval])"


def grown(counter: str, *matchers: str, window: str = "$__range") -> str:
    """The exact growth of each series in the window that ends now, which `increase()` gets wrong for short sessions.

    The last value in the window minus the last one before it, or minus 0 where the series is new. The value before is
    looked for in a whole day, so that a pause in exports does not count a series a second time.
    """
    selected = series(counter, *matchers)
    last = f"last_over_time({selected}[{window}])"
    return f"{last} - (last_over_time({selected}[1d] offset {window}) or {last} * 0)"


def grown_from_here(counter: str, *matchers: str, window: str) -> str:
    """The same for the window that begins now, so that a bar stands at the start of the hour or day that it is for."""
    selected = series(counter, *matchers)
    last = f"last_over_time({selected}[{window}] offset -{window})"
    return f"{last} - (last_over_time({selected}[1d]) or {last} * 0)"


def by_choice(amounts: str) -> str:
    """The sum by the label that the reader chose; series without that label are gathered under a name."""
    return f'label_replace(sum by ($by) ({amounts}), "$by", "not set", "$by", "")'
