"""Bills that tests write for themselves: a few columns of Azure's cost details, one row a charge."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HEADER = (
    "Date",
    "ResourceGroup",
    "MeterCategory",
    "MeterName",
    "UnitOfMeasure",
    "Quantity",
    "EffectivePrice",
    "CostInBillingCurrency",
    "BillingCurrencyCode",
    "ResourceId",
    "ChargeType",
)
METER = "gpt rt aud 0828 Inp glbl Tokens"
# 258 x 0.032 / 1000 = 0.008256
CHARGE: Mapping[str, str] = {
    "Date": "2026-11-18",
    "ResourceGroup": "rg-voice",
    "MeterCategory": "Foundry Models",
    "MeterName": METER,
    "UnitOfMeasure": "1K",
    "Quantity": "258",
    "EffectivePrice": "0.032",
    "CostInBillingCurrency": "0.008256",
    "BillingCurrencyCode": "USD",
    "ResourceId": "/subscriptions/s/providers/Microsoft.CognitiveServices/accounts/voice",
    "ChargeType": "Usage",
}
MACHINE: Mapping[str, str] = {
    **CHARGE,
    "MeterCategory": "Virtual Machines",
    "MeterName": "D2s v5",
    "UnitOfMeasure": "1 Hour",
    "Quantity": "24",
    "EffectivePrice": "0.1",
    "CostInBillingCurrency": "2.4",
}


def text_of(
    charges: Iterable[Mapping[str, str]],
    header: Sequence[str] = HEADER,
    *,
    names: Sequence[str] | None = None,
    delimiter: str = ",",
    is_all_quoted: bool = False,
) -> str:
    """Return the text of a bill. `names` are what its header calls the columns, in place of what `charges` do."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL if is_all_quoted else csv.QUOTE_MINIMAL)
    writer.writerow(names or header)
    writer.writerows([charge.get(name, "") for name in header] for charge in charges)
    return text.getvalue()
