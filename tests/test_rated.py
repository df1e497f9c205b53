"""The rates that are remembered are those that the cards say, whichever way the clock goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from realtime_spend.core.card_format import parse_card
from realtime_spend.core.line_items import Provider, Scope, Sku
from realtime_spend.core.rates import RateBook, Reason
from realtime_spend.rated import Rated, instant_text

EPOCH = datetime.fromtimestamp(0, UTC)
CHANGES = [datetime(2026, 3, day, 12, tzinfo=UTC) for day in (1, 2, 3)]
CARD = {
    "format": 1,
    "provider": "openai",
    "name": "test",
    "date": CHANGES[0].date(),
    "currency": "USD",
    "model": [{"model": "gpt-realtime", "kind": "realtime", "names": {"gpt-realtime": ""}}],
    "rate": [
        {
            "model": "gpt-realtime",
            "from": change,
            "text": {"input": str(price)},
            "source": "a test",
            "checked": CHANGES[0].date(),
        }
        for price, change in enumerate(CHANGES, start=1)
    ],
}
BOOK = RateBook([parse_card(CARD)])
SKU = Sku(provider=Provider.OPENAI, model="gpt-realtime", scope=Scope.GLOBAL)
near = st.builds(
    lambda change, microseconds: change + timedelta(microseconds=microseconds),
    st.sampled_from(CHANGES),
    st.sampled_from([-(10**9), -1, 0, 1, 10**9]),
)


def rated(sku: Sku | None = SKU, reason: Reason | None = None) -> Rated:
    parts: Any = SimpleNamespace(sku=sku, reason=reason)
    return Rated(parts, parts, parts)


@given(st.lists(near, min_size=1, max_size=12))
def test_what_is_remembered_is_what_the_cards_say(instants: list[datetime]) -> None:
    remembered = rated()
    for instant in instants:
        nanoseconds = (instant - EPOCH) // timedelta(microseconds=1) * 1_000
        # The last nanosecond of a microsecond is still of it.
        for at in (nanoseconds, nanoseconds + 999):
            assert remembered.prices_at(at, BOOK) == BOOK.prices(SKU, instant)


def test_without_a_sku_the_reason_holds_for_ever() -> None:
    nothing = rated(None, Reason.MODEL_NOT_LISTED)
    assert [nothing.prices_at(at, BOOK) for at in (0, 10**18, -(10**18))] == [Reason.MODEL_NOT_LISTED] * 3


def test_an_instant_is_written_to_the_microsecond() -> None:
    assert instant_text(1_795_341_600_123_456_999) == "2026-11-22T10:00:00.123456Z"
