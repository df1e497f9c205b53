"""The cells of a bill's rows."""

from __future__ import annotations

from datetime import date

import pytest

from realtime_spend.billing.rows import CellError, account_of, currency_of, day_of, plain_number, region_of

_WRITTEN = """2026-11-08|11/08/2026|11/8/2026|2026-11-08T00:00:00Z|2026-11-08 00:00:00+00|11/08/2026 00:00:00|08.11.2026
20261108| 2026-11-08 """


@pytest.mark.parametrize("text", _WRITTEN.replace("\n", "|").split("|"))
def test_days_are_written_in_several_ways(text: str) -> None:
    assert day_of(text) == date(2026, 11, 8)


@pytest.mark.parametrize(
    "text", ["", "2026", "2026-13-01", "2026-11", "13/13/2026", "0000-01-01", "18/11/2026", "yesterday"]
)
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(CellError, match="is no day"):
        day_of(text)


@pytest.mark.parametrize(
    ("resource", "account"),
    [
        ("/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/Voice-Prod", "voice-prod"),
        ("/subscriptions/s/providers/Microsoft.CognitiveServices/ACCOUNTS/Voice/projects/p", "voice"),
        ("/subscriptions/s/providers/other/Thing/", "thing"),
        ("Voice", "voice"),
        ("", None),
        ("/", None),
    ],
)
def test_an_account_is_what_a_resource_id_ends_with(resource: str, account: str | None) -> None:
    assert account_of(resource) == account


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("eastus2", "eastus2"),
        ("EastUS2", "eastus2"),
        ("US East 2", "eastus2"),
        ("US South Central", "southcentralus"),
        ("Sweden Central", "swedencentral"),
        ("SE Central", "swedencentral"),
        ("EU North", "northeurope"),
        ("", None),
    ],
)
def test_regions_have_one_name_each(text: str, region: str | None) -> None:
    assert region_of(text) == region


@pytest.mark.parametrize(
    ("text", "plain"),
    [("1.234.567,89", "1234567.89"), ("0,5", "0.5"), ("-0,5", "-0.5"), ("1.234", "1234"), ("1,2E-5", "1.2E-5")],
)
def test_a_decimal_comma_becomes_a_point(text: str, plain: str) -> None:
    assert plain_number(text) == plain


@pytest.mark.parametrize("text", ["12", "0.5", "1,2,3", "12.34.56", ""])
def test_what_has_no_decimal_comma_stays_as_it_is(text: str) -> None:
    assert plain_number(text) == text


def test_a_currency_is_three_letters() -> None:
    assert currency_of(" eur ") == "EUR"
    with pytest.raises(CellError, match="'€' is no currency's code"):
        currency_of("€")
