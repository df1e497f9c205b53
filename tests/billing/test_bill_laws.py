"""Laws of reading bills: whatever is written is read back, however a file is laid out, and no money goes missing."""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.billing.written import CHARGE, HEADER, MACHINE, METER, text_of

from realtime_spend.billing.reading import read_bill
from realtime_spend.billing.statement import NAMED
from realtime_spend.core import money
from realtime_spend.rate_cards import load_book

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_spend.core.reconciliation.bills import Bill

_BOOK = load_book()
_METERS = (
    METER,
    "gpt rt aud mn out DZ 1215 1M Tokens",
    "gpt rt aud something in gl",
    "Gpt-4o-Rt-Txt-1217 Inp Glbl Tokens",
)
_OTHERS = ("D2s v5", "gpt 4o mini Inp glbl Tokens", "gpt-4o-aud-out-glbl Tokens", "Standard Port Hours", "")
_ALIASES = {
    "Date": ["Date", "UsageDateTime", "Datum"],
    "MeterName": ["MeterName", "meter_name", "METER NAME", "Zähler (MeterName)"],
    "Quantity": ["Quantity", "consumedQuantity", "usage quantity"],
    "CostInBillingCurrency": ["CostInBillingCurrency", "PreTaxCost", "Kosten"],
    "BillingCurrencyCode": ["BillingCurrencyCode", "billingCurrency", "Währung"],
    "ResourceId": ["ResourceId", "InstanceId", "Instance ID"],
}
_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@st.composite
def _charges(draw: st.DrawFn) -> dict[str, str]:
    """One row, of Realtime or not, with text of all kinds where it does not matter."""
    meter = draw(st.sampled_from([*_METERS, *_OTHERS]))
    tokens = draw(st.integers(min_value=-(10**6), max_value=10**9))
    day = date(2026, 1, 1) + timedelta(days=draw(st.integers(min_value=0, max_value=700)))
    return {
        **CHARGE,
        "Date": day.strftime(draw(st.sampled_from(["%Y-%m-%d", "%m/%d/%Y", "%Y-%m-%dT00:00:00Z"]))),
        "ResourceGroup": draw(_text),
        "MeterCategory": draw(
            st.sampled_from(["Foundry Models", "Cognitive Services", "Azure OpenAI", "COGNITIVE SERVICES"])
        ),
        "MeterName": meter,
        "Quantity": str(tokens),
        "CostInBillingCurrency": draw(st.sampled_from(["{:f}", "{:E}"])).format(tokens * Decimal("0.000032")),
        "BillingCurrencyCode": draw(st.sampled_from(["USD", "EUR"])),
        "ResourceId": f"/subscriptions/s/accounts/Voice-{draw(st.integers(min_value=0, max_value=3))}",
    }


def _read(text: str, encoding: str) -> Bill:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bill.csv"
        path.write_bytes(text.encode(encoding))
        return read_bill([path], book=_BOOK)


def _day(text: str) -> date:
    if "/" in text:
        month, day, year = map(int, text.split("/"))
        return date(year, month, day)
    return date.fromisoformat(text[:10])


def _renamed(draw: st.DrawFn, header: Sequence[str]) -> list[str]:
    names = [draw(st.sampled_from(_ALIASES.get(name, [name]))) for name in header]
    return [draw(st.sampled_from([name, name.upper(), name.lower()])) for name in names]


def _is_kept(charge: dict[str, str]) -> bool:
    return charge["MeterName"] in _METERS


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data(), charges=st.lists(_charges(), min_size=1, max_size=12))
def test_what_is_written_is_read_back(data: st.DataObject, charges: list[dict[str, str]]) -> None:
    header = data.draw(st.permutations(HEADER))
    extra = data.draw(st.integers(min_value=0, max_value=3))
    text = text_of(
        [{**charge, **{f"More {number}": charge["ResourceGroup"] for number in range(extra)}} for charge in charges],
        [*header, *(f"More {number}" for number in range(extra))],
        names=[*data.draw(st.composite(_renamed)(header)), *(f"More {number}" for number in range(extra))],
        delimiter=data.draw(st.sampled_from(",;\t")),
        is_all_quoted=data.draw(st.booleans()),
    )
    bill = _read(text, data.draw(st.sampled_from(["utf-8", "utf-8-sig"])))
    assert bill.problems == []
    assert Counter(
        (item.day, item.account, item.meter.name, item.cost, item.currency, item.quantity) for item in bill.items
    ) == Counter(
        (
            _day(charge["Date"]),
            charge["ResourceId"].rpartition("/")[2].lower(),
            charge["MeterName"],
            Decimal(charge["CostInBillingCurrency"]),
            charge["BillingCurrencyCode"],
            None if "something" in charge["MeterName"] else Decimal(charge["Quantity"]),
        )
        for charge in charges
        if _is_kept(charge)
    )
    days = [_day(charge["Date"]) for charge in charges]
    assert (bill.first, bill.last) == (min(days), max(days))


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(charges=st.lists(_charges(), min_size=1, max_size=12), data=st.data())
def test_items_and_what_was_left_out_add_up_to_the_file(charges: list[dict[str, str]], data: st.DataObject) -> None:
    kinds = st.sampled_from(["Usage", "Refund", "Tax", "Purchase", "", "Something new"])
    rows = [{**charge, "ChargeType": data.draw(kinds)} for charge in charges]
    rows.append({**MACHINE, "CostInBillingCurrency": "0.000000000000000123"})
    bill = _read(text_of(rows), "utf-8")
    for currency in ("USD", "EUR"):
        read = [item.cost for item in bill.items if item.currency == currency]
        read += [entry.cost for entry in bill.left_out if entry.currency == currency]
        written = [Decimal(row["CostInBillingCurrency"]) for row in rows if row["BillingCurrencyCode"] == currency]
        assert money.add(*read) == money.add(*written)
    assert len(bill.items) + sum(entry.rows for entry in bill.left_out) == len(rows)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    data=st.binary(max_size=400),
    start=st.sampled_from([b"", b"\xef\xbb\xbf", b"\x1f\x8b", b"PAR1", text_of([CHARGE]).encode()]),
)
def test_no_file_is_too_odd_to_be_answered(data: bytes, start: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bill.csv"
        path.write_bytes(start + data)
        bill = read_bill([path], book=_BOOK)
    assert bill.items or bill.left_out or bill.problems


def test_the_filter_in_the_engine_passes_every_meter_that_is_known() -> None:
    with (Path(__file__).parent / "fixtures" / "azure_meters.csv").open(encoding="utf-8", newline="") as source:
        rows = list(csv.reader(source))
    place = next(
        number for number, name in enumerate(rows[0]) if name.lower().replace("_", "") in {"meter", "metername"}
    )
    names = [row[place].lower() for row in rows[1:]]
    assert len(names) > 200
    assert [name for name in names if not any(word in name for word in NAMED)] == []
