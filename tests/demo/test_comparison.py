"""When three accounts agree, and when they do not."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from realtime_spend.core.line_items import Component, Modality, Part
from realtime_spend.demo.comparison import Line, by_otlp, by_promql, compare
from realtime_spend.demo.receiver import Received
from realtime_spend.estimates.promql import Key, Totals

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
    assert by_promql(totals)(("openai", "m", None), _AUDIO) == (7, 0.5)
