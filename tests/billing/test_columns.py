"""Which column of a bill is which."""

from __future__ import annotations

import tomllib
from collections import Counter
from importlib import resources
from typing import Any

import pytest

from realtime_spend.billing.columns import REQUIRED, Family, charge_of, layout_of, plain_name


def _tables() -> dict[str, Any]:
    return tomllib.loads((resources.files("realtime_spend.billing") / "columns.toml").read_text(encoding="utf-8"))


def _aliases() -> list[tuple[str, str, str]]:
    tables = _tables()
    return [(family, role, name) for family in Family for role, names in tables[family].items() for name in names]


@pytest.mark.parametrize(
    "spell", [str, str.upper, str.lower, lambda name: f"  {name} ", lambda name: f"Etwas ({name})"]
)
def test_every_alias_is_found_however_it_is_spelled(spell: Any) -> None:
    for family, role, name in _aliases():
        assert plain_name(spell(name)) == plain_name(name)
        # Together with all that its family needs, so that it is this family's alias that is asked about.
        others = [names[0] for other, names in _tables()[family].items() if other != role and other in REQUIRED]
        layout = layout_of([*(other for other in others if plain_name(other) != plain_name(name)), spell(name)])
        assert len(layout.header) - 1 in layout.places[role], (family, role, name)


def test_no_name_is_of_two_columns_but_where_it_says_so() -> None:
    """A price may be the one that was paid or only the next best, a unit the consumed one; all else has one meaning."""
    shared = {"unitprice", "paygprice", "contractedunitprice", "listunitprice", "consumedunit"}
    shared |= {"consumedquantity", "xconsumedquantity", "usagequantity"}
    for family in Family:
        counted = Counter(
            name for _, name in {(role, plain_name(name)) for of, role, name in _aliases() if of == family}
        )
        assert {name for name, count in counted.items() if count > 1} <= shared


def test_the_first_of_several_names_is_taken() -> None:
    layout = layout_of(["Date", "CostInUsd", "Cost", "CostInBillingCurrency", "PreTaxCost"])
    assert layout.name_of("cost") == "CostInBillingCurrency"
    assert layout.name_of("usd_cost") == "CostInUsd"
    assert layout.name_of("meter") is None


def test_of_a_column_that_is_there_twice_the_first_counts() -> None:
    assert layout_of(["Date", "Cost", "cost"]).places["cost"] == (1,)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Usage", "usage"),
        ("", "usage"),
        (" usage ", "usage"),
        ("Nutzung", "usage"),
        ("Purchase", "purchases"),
        ("Refund", "refunds"),
        ("Credit", "credits"),
        ("Tax", "tax"),
        ("RoundingAdjustment", "rounding"),
        ("UnusedReservation", "unused reservations"),
        ("Unused Savings Plan", "unused reservations"),
        ("Adjustment", "adjustments"),
        ("Something New", "something new"),
    ],
)
def test_types_of_charges_have_one_word_each(text: str, meaning: str) -> None:
    assert charge_of(text) == meaning
