"""Prints a draft as Azure's cost details, with the columns of either agreement or of the older kind.

The services disagree on what `Quantity` and the prices beside it count, so each of the ways is here.
"""

from __future__ import annotations

import csv
import io
import uuid
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from realtime_spend.simulator.bill.columns import C360, EA, MCA
from realtime_spend.simulator.bill.draft import ONE, Charge, in_steps, over, times
from realtime_spend.simulator.bill.meters import BLOCK, MeterName, meter_name
from realtime_spend.simulator.prices import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from realtime_spend.simulator.bill.draft import Draft, OtherCharge

SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
_MOST_PLACES = -18


class Agreement(StrEnum):
    """Whose columns a cost details file has."""

    EA = "ea"
    MCA = "mca"
    C360 = "c360"


class Counting(StrEnum):
    """What quantities and prices of an export count."""

    TOKENS = "tokens"  # single units, and the price of a single unit
    TOKENS_OF_BLOCK_PRICE = "tokens_of_block_price"  # single units, and the price of a block
    BLOCKS = "blocks"  # blocks, and the price of a block


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """One row of a bill, as all of its forms need it. `price` and `cost` are in USD; the price is for `block` units."""

    day: date
    account: str
    region: str
    category: str
    meter: MeterName
    meter_id: str
    block: int
    quantity: Decimal
    price: Decimal
    cost: Decimal
    kind: str = "Usage"

    def counted(self, counting: Counting) -> tuple[Decimal, Decimal]:
        """Return quantity and price as this way of counting has them."""
        block = Decimal(self.block)
        if counting is Counting.BLOCKS or self.meter.unit == "1 Hour":
            return over(self.quantity, block), self.price
        return self.quantity, self.price if counting is Counting.TOKENS_OF_BLOCK_PRICE else over(self.price, block)


def printed_rows(draft: Draft) -> Iterator[Printed]:
    """Yield everything that an Azure bill has, voice among the rest."""
    for charge in draft.charges:
        yield _voice(charge)
    for other in draft.others:
        yield _other(other, draft)


def _voice(charge: Charge) -> Printed:
    meter = (
        MeterName(name=charge.meter, product="Azure OpenAI Media", unit="1K")
        if charge.meter
        else meter_name(charge.model, charge.version, charge.scope, charge.component)
    )
    block = BLOCK[meter.unit]
    return Printed(
        day=charge.day,
        account=charge.account,
        region=charge.region,
        # The category was renamed in place, so bills of one month can hold both.
        category="Cognitive Services" if meter.product == "Azure OpenAI" else "Foundry Models",
        meter=meter,
        meter_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{meter.name}/{charge.region}")),
        block=block,
        quantity=charge.quantity,
        price=over(times(charge.price, Decimal(block)), Decimal(charge.per)),
        cost=charge.cost,
    )


def _other(other: OtherCharge, draft: Draft) -> Printed:
    account = draft.charges[0].account if draft.charges else "contoso"
    block = BLOCK.get(other.unit, 1)
    return Printed(
        day=other.day,
        account=account,
        region="eastus2",
        category=other.category,
        meter=MeterName(name=other.meter, product=other.category, unit=other.unit),
        meter_id=str(uuid.uuid5(uuid.NAMESPACE_URL, other.meter)),
        block=block,
        quantity=other.quantity,
        price=times(other.price, Decimal(block)),
        cost=other.cost,
        kind=other.kind,
    )


def cost_details(draft: Draft, agreement: Agreement, counting: Counting = Counting.TOKENS) -> str:
    """Return the bill as the text of a CSV file."""
    cells = (_CELLS[agreement](row, draft, counting) for row in printed_rows(draft))
    return csv_text(_COLUMNS[agreement].split(), cells)


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    """Return a CSV file with these columns, of rows by the lower-case names; what a row lacks is empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([row.get(column.lower(), "") for column in columns] for row in rows)
    return text.getvalue()


def resource_id(account: str) -> str:
    """Return the id of a Cognitive Services account."""
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/voice"
    return f"{group}/providers/Microsoft.CognitiveServices/accounts/{account}"


def number(amount: Decimal) -> str:
    """Print a number as exports do: plain, and cut where it has no end."""
    exponent = amount.as_tuple().exponent
    has_no_end = isinstance(exponent, int) and exponent < _MOST_PLACES
    return plain(in_steps(amount, Decimal(1).scaleb(_MOST_PLACES)) if has_no_end else amount)


def american(day: date) -> str:
    """Print a day the way American spreadsheets do, as most cost details have it."""
    return f"{day:%m/%d/%Y}"


def month_of(day: date) -> tuple[date, date]:
    """Return the first and the last day of a day's month."""
    first = day.replace(day=1)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return first, date.fromordinal(following.toordinal() - 1)


def _cells(row: Printed, counting: Counting) -> dict[str, str]:
    """Return the cells that all cost details have, under lower-case names."""
    quantity, price = row.counted(counting)
    first, last = month_of(row.day)
    is_usage = row.kind == "Usage"
    return {
        "billingaccountid": "8608480",
        "billingaccountname": "Contoso",
        "billingprofileid": "8608480",
        "billingprofilename": "Contoso",
        "billingperiodstartdate": american(first),
        "billingperiodenddate": american(last),
        "invoicesectionname": "Voice",
        "accountname": "Voice",
        "subscriptionid": SUBSCRIPTION,
        "subscriptionname": "voice-production",
        "resourcegroup": "voice",
        "resourcegroupname": "voice",
        "resourcelocation": row.region,
        "location": row.region,
        "resourcelocationnormalized": row.region,
        "date": american(row.day),
        "product": f"{row.meter.product} - {row.meter.name}",
        "productname": f"{row.meter.product} - {row.meter.name}",
        "metercategory": row.category,
        "metersubcategory": row.meter.product,
        "meterid": row.meter_id,
        "metername": row.meter.name,
        "meterregion": row.region,
        "unitofmeasure": row.meter.unit,
        "quantity": number(quantity),
        "consumedservice": "Microsoft.CognitiveServices",
        "resourceid": resource_id(row.account) if is_usage else "",
        "resourcename": row.account if is_usage else "",
        "publishertype": "Microsoft",
        "publishername": "Microsoft",
        "chargetype": row.kind,
        "frequency": "UsageBased" if is_usage else "OneTime",
        "pricingmodel": "OnDemand" if is_usage else "",
        "servicefamily": "AI + Machine Learning",
        "isazurecrediteligible": "True",
        # Both in USD; those who bill in another currency put theirs over it.
        "effectiveprice": number(price),
        "unitprice": number(price),
        "paygprice": number(price),
    }


def _enterprise(row: Printed, draft: Draft, counting: Counting) -> dict[str, str]:
    price = number(draft.billed(row.counted(counting)[1]))
    return {
        **_cells(row, counting),
        "costinbillingcurrency": number(draft.billed(row.cost)),
        "billingcurrencycode": draft.currency,
        "effectiveprice": price,
        "unitprice": price,
        "paygprice": price,
    }


def _customer(row: Printed, draft: Draft, counting: Counting) -> dict[str, str]:
    """Prices are in the pricing currency there, which is USD, and each row has its own rate of exchange."""
    return {
        **_cells(row, counting),
        "billingcurrency": draft.currency,
        "pricingcurrency": "USD",
        "costinbillingcurrency": number(draft.billed(row.cost)),
        "costinpricingcurrency": number(row.cost),
        "costinusd": number(row.cost),
        "paygcostinbillingcurrency": number(draft.billed(row.cost)),
        "paygcostinusd": number(row.cost),
        "exchangeratepricingtobilling": number(over(ONE, draft.to_usd)),
        "exchangeratedate": american(month_of(row.day)[0]),
        "provider": "Microsoft.CognitiveServices",
    }


def _older(row: Printed, draft: Draft, counting: Counting) -> dict[str, str]:
    enterprise = _enterprise(row, draft, counting)
    return {
        **enterprise,
        "date": row.day.isoformat(),
        "cost": enterprise["costinbillingcurrency"],
        "billingcurrency": draft.currency,
    }


_CELLS = {Agreement.EA: _enterprise, Agreement.MCA: _customer, Agreement.C360: _older}
_COLUMNS = {Agreement.EA: EA, Agreement.MCA: MCA, Agreement.C360: C360}
