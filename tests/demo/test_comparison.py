"""When three accounts agree, and when they do not."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from realtime_spend.core.line_items import Component, Modality, Part
from realtime_spend.demo.comparison import Line, by_otlp, by_promql, compare
from realtime_spend.demo.receiver import Received
from realtime_spend.estimates.promql import Key, Totals
from realtime_spend.sinks import metrics as names

_AUDIO = Part(Modality.AUDIO, Component.INPUT)
_SENT = (Decimal(100), Decimal(32) * 100 / 1_000_000)


def _line(ledger: tuple[Decimal, Decimal] = _SENT, metrics: tuple[float, float] | None = (100, 0.0032)) -> Line:
    return Line(provider="openai", model="m", version=None, part=_AUDIO, sent=_SENT, ledger=ledger, metrics=metrics)


def test_equal_accounts_agree_and_a_metric_may_miss_by_what_a_double_holds() -> None:
    assert _line().agrees
    assert _line(metrics=(100, 0.0032 * (1 + 1e-12))).agrees
    assert _line(metrics=None).agrees


@pytest.mark.parametrize(
    "line",
    [
        _line(ledger=(Decimal(99), _SENT[1])),
        _line(ledger=(Decimal(100), _SENT[1] + Decimal("1e-12"))),
        _line(metrics=(99, 0.0032)),
        _line(metrics=(100, 0.0032 * (1 + 1e-8))),
    ],
)
def test_one_token_or_the_last_digit_is_a_disagreement(line: Line) -> None:
    assert not line.agrees


def test_what_one_account_alone_speaks_of_is_compared_with_nothing() -> None:
    total = {"provider": "openai", "model": "m", "version": None, "modality": "audio", "component": "duration"}
    [line] = compare([{**total, "quantity": "3", "cost": "0.0003"}], [], by_otlp(Received()))
    assert (line.sent, line.ledger, line.metrics) == (
        (Decimal(3), Decimal("0.006") * 3 / 60),
        (Decimal(0), Decimal(0)),
        (0, 0),
    )
    assert not line.agrees


def test_series_of_a_version_are_not_those_of_none() -> None:
    received = Received()
    received.series["i", "metric", frozenset({("realtime_spend.version", "2025-12-15")})] = 5
    received.series["i", "metric", frozenset()] = 2
    assert received.total("metric", {"realtime_spend.version": None}) == 2
    assert received.total("metric", {"realtime_spend.version": "2025-12-15"}) == 5


def test_prometheus_sums_over_accounts_and_scopes_and_an_unpriced_part_costs_nothing_there() -> None:
    instant = datetime(2026, 11, 22, tzinfo=UTC)
    totals = Totals(start=instant, end=instant)

    def key(account: str | None, model: str = "m", version: str | None = None) -> Key:
        return Key(
            provider="openai",
            account=account,
            model=model,
            version=version,
            scope=None,
            modality=Modality.AUDIO,
            component=Component.INPUT,
        )

    totals.of(key(None)).quantity = Decimal(3)
    totals.of(key("a")).quantity, totals.of(key("a")).cost = Decimal(4), Decimal("0.5")
    totals.of(key("a", model="other")).quantity = Decimal(100)
    totals.of(key("a", version="2025-12-15")).quantity = Decimal(1000)
    assert by_promql(totals)[("openai", "m", None), _AUDIO] == (7, 0.5)


_SENT_ALONE = {
    "provider": "openai",
    "model": "m",
    "version": None,
    "modality": "audio",
    "component": "input",
    "quantity": "100",
    "cost": "0.0032",
}


@pytest.mark.parametrize(
    ("model", "version", "part"),
    [
        ("other", None, _AUDIO),
        ("m", "2025-12-15", _AUDIO),
        ("m", None, Part(Modality.AUDIO, Component.OUTPUT)),
        ("m", None, Part(Modality.TEXT, Component.INPUT)),
    ],
)
@pytest.mark.parametrize("extra", [(1.0, 0.0), (0.0, 1e-12)])
def test_a_series_of_what_nobody_sent_is_a_disagreement(
    model: str, version: str | None, part: Part, extra: tuple[float, float]
) -> None:
    known = (("openai", "m", None), _AUDIO)
    metered = {known: (100.0, 0.0032), (("openai", model, version), part): extra}
    lines = compare([_SENT_ALONE], [], metered)
    [line] = [line for line in lines if (line.model, line.version, line.part) == (model, version, part)]
    assert len(lines) == 2
    assert (line.sent, line.metrics) == ((Decimal(0), Decimal(0)), extra)
    assert not line.agrees


def test_a_series_that_stands_at_0_says_nothing() -> None:
    [line] = compare([_SENT_ALONE], [], {(("openai", "other", None), _AUDIO): (0.0, 0.0)})
    assert (line.model, line.metrics) == ("m", (0, 0))


def test_what_the_small_receiver_got_is_told_by_part() -> None:
    received = Received()

    def series(metric: str, value: float, *, instance: str = "i", **own: str) -> None:
        labels = {names.PROVIDER_NAME: "openai", names.MODEL: "m"}
        labels |= {getattr(names, name.upper()): text for name, text in own.items()}
        received.series[instance, metric, frozenset(labels.items())] = value

    series(names.INPUT_TOKENS, 90, modality="audio")
    series(names.INPUT_TOKENS, 10, modality="audio", instance="another process")
    series(names.CACHE_READ_TOKENS, 64, modality="audio")
    series(names.CACHE_READ_TOKENS, 5, modality="unknown")
    series(names.OUTPUT_TOKENS, 7, modality="text", version="2025-12-15")
    series(names.BILLABLE_DURATION, 2.5)
    series(names.COST, 0.0032, modality="audio", component="input")
    series(names.USAGES, 4)
    plain, dated = ("openai", "m", None), ("openai", "m", "2025-12-15")
    unsplit = Part(Modality.UNKNOWN, Component.CACHED_INPUT)
    assert by_otlp(received) == {
        (plain, unsplit): (5, 0),
        (plain, _AUDIO): (36, 0.0032),
        (plain, Part(Modality.AUDIO, Component.CACHED_INPUT)): (64, 0),
        (dated, Part(Modality.TEXT, Component.OUTPUT)): (7, 0),
        (plain, Part(Modality.AUDIO, Component.DURATION)): (2.5, 0),
    }
