"""Three bills with every row and every cause written by hand: what finance would work out on paper."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.core.reconciliation.two_sides import (
    AUDIO_CACHED,
    AUDIO_IN,
    AUDIO_OUT,
    MONDAY,
    NEWER,
    SECONDS,
    TEXT_IN,
    TEXT_OUT,
    TUESDAY,
    WEDNESDAY,
    at,
    billed,
    compare,
    counted,
    gap,
    named,
    unseen,
)

from realtime_spend.core.line_items import Part, Provider, Scope

if TYPE_CHECKING:
    from realtime_spend.core.reconciliation.bills import BilledItem
    from realtime_spend.core.reconciliation.drift import Reconciliation
    from realtime_spend.core.reconciliation.estimated import Estimate

Rows = list[tuple[Any, ...]]
Causes = list[tuple[date, str | None, Part | None, str, Decimal]]


def _rows(found: Reconciliation) -> Rows:
    return [
        (
            row.day, row.model, row.part, row.estimated_quantity, row.billed_quantity, row.estimated_cost,
            row.billed_cost, str(row.state),
        )
        for row in found.rows
    ]  # fmt: skip


def _causes(found: Reconciliation) -> Causes:
    return [(share.row.day, share.row.model, share.row.part, str(share.cause), share.cost) for share in found.shares]


def test_a_deployment_in_a_data_zone_with_a_transcription_that_nobody_saw() -> None:
    """Nobody configured the scope, so that all is estimated as global; the bill is a tenth dearer on every meter.

    On Tuesday two transcriptions came without usage, and 5,000 tokens of audio are billed on Wednesday.
    """
    voice = named(scope=None, version="2025-08-28")
    speech = named(model="gpt-4o-transcribe", version=None, scope=None)
    zone = Scope.DATAZONE
    found = compare(
        [
            counted(MONDAY, AUDIO_OUT, 100_000, **voice),
            counted(TUESDAY, AUDIO_OUT, 120_000, **voice),
            counted(TUESDAY, AUDIO_IN, 40_000, price="6", **speech),
            counted(WEDNESDAY, AUDIO_OUT, 80_000, **voice),
        ],
        [
            billed(MONDAY, AUDIO_OUT, 100_000, price="70.4", scope=zone),
            billed(TUESDAY, AUDIO_OUT, 115_000, price="70.4", scope=zone),
            billed(TUESDAY, AUDIO_IN, 64_000, price="6.6", **(speech | {"scope": zone})),
            billed(WEDNESDAY, AUDIO_OUT, 85_000, price="70.4", scope=zone),
        ],
        gaps=[unseen(2, day=TUESDAY)],
        settings={"at": datetime(2026, 11, 10, tzinfo=UTC)},
    )
    voice_name, speech_name = "gpt-realtime", "gpt-4o-transcribe"
    assert _rows(found) == [
        (MONDAY, voice_name, AUDIO_OUT, 100_000, 100_000, Decimal("6.40"), Decimal("7.04"), "settled"),
        (TUESDAY, speech_name, AUDIO_IN, 40_000, 64_000, Decimal("0.24"), Decimal("0.4224"), "settled"),
        (TUESDAY, voice_name, AUDIO_OUT, 120_000, 115_000, Decimal("7.68"), Decimal("8.096"), "settled"),
        (WEDNESDAY, voice_name, AUDIO_OUT, 80_000, 85_000, Decimal("5.12"), Decimal("5.984"), "settled"),
    ]
    assert {row.scope for row in found.rows} == {Scope.DATAZONE}
    assert _causes(found) == [
        # 100,000 tokens at 6.40 more for each million.
        (MONDAY, voice_name, AUDIO_OUT, "price", Decimal("0.64")),
        # 64,000 at 0.60 more; 24,000 that were not seen, at 6.
        (TUESDAY, speech_name, AUDIO_IN, "price", Decimal("0.0384")),
        (TUESDAY, speech_name, AUDIO_IN, "transcription_unobserved", Decimal("0.144")),
        # 115,000 at 6.40 more; 5,000 at 64 are on the next day.
        (TUESDAY, voice_name, AUDIO_OUT, "price", Decimal("0.736")),
        (TUESDAY, voice_name, AUDIO_OUT, "day_shift", Decimal("-0.32")),
        (WEDNESDAY, voice_name, AUDIO_OUT, "price", Decimal("0.544")),
        (WEDNESDAY, voice_name, AUDIO_OUT, "day_shift", Decimal("0.32")),
    ]
    totals = found.totals
    assert totals.estimated_cost == Decimal("19.44")
    assert totals.billed_cost == Decimal("21.5424")
    assert totals.drift_cost == totals.explained_cost == Decimal("2.1024")
    assert totals.unexplained_cost == totals.unmapped_cost == 0
    assert found.is_beyond
    # The transcription is within 0.50; 0.416 of Tuesday is too.
    assert [row.is_beyond for row in found.rows] == [True, False, False, True]


def test_a_month_that_is_not_over_at_openai() -> None:
    """Monday is final, Tuesday's cache is billed in full and one response was lost, Wednesday is still open."""
    names = named(provider=Provider.OPENAI, account=None, version="2025-08-28")
    lost = gap(1, day=TUESDAY, provider=Provider.OPENAI, account=None, largest={AUDIO_OUT: Decimal(1_500)})

    def used(day: date, part: Part, quantity: int) -> Estimate:
        return counted(day, part, quantity, **names)

    def charged(day: date, part: Part, quantity: int) -> BilledItem:
        return billed(day, part, quantity, **(names | {"scope": None}))

    found = compare(
        [
            used(MONDAY, AUDIO_OUT, 10_000),
            used(TUESDAY, AUDIO_IN, 20_000),
            used(TUESDAY, AUDIO_CACHED, 60_000),
            used(TUESDAY, AUDIO_OUT, 30_000),
            used(WEDNESDAY, AUDIO_OUT, 25_000),
        ],
        [
            charged(MONDAY, AUDIO_OUT, 10_000),
            charged(TUESDAY, AUDIO_IN, 50_000),
            charged(TUESDAY, AUDIO_CACHED, 30_000),
            charged(TUESDAY, AUDIO_OUT, 32_000),
            charged(WEDNESDAY, AUDIO_OUT, 5_000),
        ],
        gaps=[lost],
        settings={"at": datetime(2026, 11, 5, 12, tzinfo=UTC)},
    )
    model = "gpt-realtime"
    assert _rows(found) == [
        (MONDAY, model, AUDIO_OUT, 10_000, 10_000, Decimal("0.64"), Decimal("0.64"), "final"),
        (TUESDAY, model, AUDIO_CACHED, 60_000, 30_000, Decimal("0.024"), Decimal("0.012"), "final"),
        (TUESDAY, model, AUDIO_IN, 20_000, 50_000, Decimal("0.64"), Decimal("1.6"), "final"),
        (TUESDAY, model, AUDIO_OUT, 30_000, 32_000, Decimal("1.92"), Decimal("2.048"), "final"),
        (WEDNESDAY, model, AUDIO_OUT, 25_000, 5_000, Decimal("1.6"), Decimal("0.32"), "open"),
    ]
    assert _causes(found) == [
        # 30,000 tokens at 0.4 less, and at 32 more.
        (TUESDAY, model, AUDIO_CACHED, "cache_not_billed", Decimal("-0.012")),
        (TUESDAY, model, AUDIO_IN, "cache_not_billed", Decimal("0.96")),
        # The lost response can have been 1,500 tokens; 500 are left over.
        (TUESDAY, model, AUDIO_OUT, "lost_responses", Decimal("0.096")),
        (TUESDAY, model, AUDIO_OUT, "unexplained", Decimal("0.032")),
        (WEDNESDAY, model, AUDIO_OUT, "not_settled", Decimal("-1.28")),
    ]
    totals = found.totals
    assert totals.drift_cost == Decimal("-0.204")
    assert totals.unexplained_cost == Decimal("0.032")
    assert totals.explained_cost == Decimal("-0.236")
    assert [row.is_beyond for row in found.rows] == [False, False, True, False, True]


def test_an_account_in_euros_with_an_agreed_price_and_another_team_on_it() -> None:
    """One euro is 1.25 USD, and 15 % are taken off every list price. Another team uses a model that we do not."""
    euro = named(currency="EUR", to_usd=Decimal("1.25"), precision=Decimal("0.000001"))
    whisper = named(model="gpt-realtime-whisper", version=None)
    unread = named(model=None, version=None, scope=None, part=None, quantity=None, problem="?")
    found = compare(
        [
            counted(MONDAY, AUDIO_OUT, 100_000),
            counted(MONDAY, TEXT_OUT, 50_000),
            counted(MONDAY, SECONDS, 3_600, price="1.02", **whisper),
            counted(MONDAY, AUDIO_OUT, 9_000, scope=Scope.PROVISIONED, price=None),
            counted(MONDAY, AUDIO_OUT, 1_000, model="gpt-realtime-9", version=None, price=None),
        ],
        [
            # 64 USD a million are 51.2 EUR, of which 85 % are 43.52; 16 are 12.8 and 10.88; 1.02 are 0.816 and 0.6936.
            billed(MONDAY, AUDIO_OUT, 100_000, cost=Decimal("4.352"), **euro),
            billed(MONDAY, TEXT_OUT, 50_000, cost=Decimal("0.544"), **euro),
            billed(MONDAY, SECONDS, 3_600, cost=Decimal("0.6936"), **euro, **whisper),
            billed(MONDAY, TEXT_IN, 200_000, cost=Decimal("0.544"), **euro, **NEWER),
            billed(MONDAY, AUDIO_OUT, 1_000, cost=Decimal("0.05"), **euro, model="gpt-realtime-9", version=None),
            billed(MONDAY, cost=Decimal("0.75"), name="gpt rt hlg 0828", **euro, **unread),
        ],
        settings={"at": datetime(2026, 11, 5, tzinfo=UTC)},
    )
    assert found.currency == "EUR"
    ours, theirs, nine, one = "gpt-realtime", "gpt-realtime-1.5", "gpt-realtime-9", "gpt-realtime-whisper"
    assert _rows(found) == [
        (MONDAY, None, None, None, None, Decimal(0), Decimal("0.75"), "settled"),
        (MONDAY, ours, AUDIO_OUT, 100_000, 100_000, Decimal("5.12"), Decimal("4.352"), "settled"),
        (MONDAY, ours, TEXT_OUT, 50_000, 50_000, Decimal("0.64"), Decimal("0.544"), "settled"),
        (MONDAY, ours, AUDIO_OUT, 9_000, 0, None, Decimal(0), "settled"),
        (MONDAY, theirs, TEXT_IN, 0, 200_000, Decimal(0), Decimal("0.544"), "settled"),
        (MONDAY, nine, AUDIO_OUT, 1_000, 1_000, None, Decimal("0.05"), "settled"),
        (MONDAY, one, SECONDS, 3_600, 3_600, Decimal("0.816"), Decimal("0.6936"), "settled"),
    ]
    assert _causes(found) == [
        (MONDAY, None, None, "unmapped_meter", Decimal("0.75")),
        (MONDAY, ours, AUDIO_OUT, "price", Decimal("-0.768")),
        (MONDAY, ours, TEXT_OUT, "price", Decimal("-0.096")),
        (MONDAY, ours, AUDIO_OUT, "provisioned", Decimal(0)),
        # 200,000 at 4 USD are 0.64 EUR; the account's 15 % are off these too.
        (MONDAY, theirs, TEXT_IN, "price", Decimal("-0.096")),
        (MONDAY, theirs, TEXT_IN, "unobserved_traffic", Decimal("0.64")),
        (MONDAY, nine, AUDIO_OUT, "unpriced", Decimal("0.05")),
        (MONDAY, one, SECONDS, "price", Decimal("-0.1224")),
    ]
    totals = found.totals
    assert totals.estimated_cost == Decimal("6.576")
    assert totals.billed_cost == Decimal("6.9336")
    assert totals.drift_cost == totals.explained_cost == Decimal("0.3576")
    assert totals.unmapped_cost == Decimal("0.75")
    assert at("51.2", 100_000) == Decimal("5.12")
