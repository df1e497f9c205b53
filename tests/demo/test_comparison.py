"""When three accounts agree, and when they do not."""

from __future__ import annotations

from decimal import Decimal

import pytest

from realtime_spend.core.line_items import Component, Modality, Part
from realtime_spend.demo.comparison import Line, compare
from realtime_spend.demo.receiver import Received

_AUDIO = Part(Modality.AUDIO, Component.INPUT)
_SENT = (Decimal(100), Decimal(32) * 100 / 1_000_000)


def _line(ledger: tuple[Decimal, Decimal] = _SENT, otlp: tuple[float, float] | None = (100, 0.0032)) -> Line:
    return Line(provider="openai", model="m", version=None, part=_AUDIO, sent=_SENT, ledger=ledger, otlp=otlp)


def test_equal_accounts_agree_and_a_metric_may_miss_by_what_a_double_holds() -> None:
    assert _line().agrees
    assert _line(otlp=(100, 0.0032 * (1 + 1e-12))).agrees
    assert _line(otlp=None).agrees


@pytest.mark.parametrize(
    "line",
    [
        _line(ledger=(Decimal(99), _SENT[1])),
        _line(ledger=(Decimal(100), _SENT[1] + Decimal("1e-12"))),
        _line(otlp=(99, 0.0032)),
        _line(otlp=(100, 0.0032 * (1 + 1e-8))),
    ],
)
def test_one_token_or_the_last_digit_is_a_disagreement(line: Line) -> None:
    assert not line.agrees


def test_what_one_account_alone_speaks_of_is_compared_with_nothing() -> None:
    total = {"provider": "openai", "model": "m", "version": None, "modality": "audio", "component": "duration"}
    [line] = compare([{**total, "quantity": "3", "cost": "0.0003"}], [], Received())
    assert (line.sent, line.ledger, line.otlp) == (
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
