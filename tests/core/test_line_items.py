from __future__ import annotations

from decimal import Decimal

from realtime_spend.core.line_items import Component, LineItem, Modality, Part, Rate, Unit


def test_a_part_is_written_as_modality_and_component() -> None:
    assert str(Part(Modality.AUDIO, Component.CACHED_INPUT)) == "audio.cached_input"


def test_durations_are_counted_in_seconds_and_everything_else_in_tokens() -> None:
    assert Part(Modality.AUDIO, Component.DURATION).unit is Unit.SECONDS
    assert {Part(Modality.TEXT, component).unit for component in Component if component is not Component.DURATION} == {
        Unit.TOKENS
    }


def test_a_line_costs_its_quantity_at_its_rate() -> None:
    rate = Rate(unit_price=Decimal(32), per=1_000_000)
    item = LineItem.of(part=Part(Modality.AUDIO, Component.INPUT), quantity=Decimal(1_200), rate=rate)
    assert item.cost == Decimal(32 * 1_200) / 1_000_000


def test_a_line_without_a_rate_has_no_cost_rather_than_a_cost_of_0() -> None:
    assert LineItem.of(part=Part(Modality.IMAGE, Component.INPUT), quantity=Decimal(5), rate=None).cost is None
