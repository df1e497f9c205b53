"""One row of a bill, from its text to a billed item: days, amounts, meters, rates of exchange."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from realtime_spend.billing.azure_meters import read_meter
from realtime_spend.billing.openai_line_items import read_line_item
from realtime_spend.billing.scale import Block, Evidence, read_block, settle
from realtime_spend.billing.statement import DECIMAL_COMMA
from realtime_spend.core import money
from realtime_spend.core.line_items import Provider, Scope, Sku, Unit
from realtime_spend.core.rates import Prices
from realtime_spend.core.reconciliation.bills import BilledItem, Meter, Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from realtime_spend.core.rates import RateBook

_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ].*)?").fullmatch
_MONTH_FIRST = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?: .*)?").fullmatch
_DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?: .*)?").fullmatch
_BARE = re.compile(r"(\d{4})(\d{2})(\d{2})").fullmatch
_CURRENCY = re.compile(r"[A-Z]{3}").fullmatch
_WITH_COMMA = re.compile(DECIMAL_COMMA).fullmatch
_ACCOUNTS = re.compile(r"/accounts/([^/]+)", re.IGNORECASE)
_COUNTRY_FIRST = re.compile(r"(us)((?:north|south|west)?central|east|west)(\d?)").fullmatch
_REGIONS = {"euwest": "westeurope", "eunorth": "northeurope", "secentral": "swedencentral"}
USD = "USD"


class CellError(ValueError):
    """A cell that cannot be read; `role` says which, the message what is wrong with it."""

    def __init__(self, role: str, message: str) -> None:
        super().__init__(message)
        self.role = role


class ListPrices:
    """What lists say that one token or second of a meter costs. It only tells a token from a thousand of them."""

    def __init__(self, book: RateBook) -> None:
        self._book = book
        self._known: dict[tuple[Provider, Meter, str | None, date], Decimal | None] = {}

    def each(self, provider: Provider, meter: Meter, region: str | None, day: date) -> Decimal | None:
        """Return the price of one unit, None where no card has any."""
        key = (provider, meter, region, day)
        if key not in self._known:
            self._known[key] = self._found(provider, meter, region, day)
        return self._known[key]

    def _found(self, provider: Provider, meter: Meter, region: str | None, day: date) -> Decimal | None:
        if meter.model is None or meter.part is None:
            return None
        at = datetime.combine(day, time.max, UTC)
        # Any scope's price will do, where the meter's own is on no card.
        for scope, version in ((meter.scope, meter.version), (Scope.GLOBAL, meter.version), (Scope.GLOBAL, None)):
            sku = Sku(provider=provider, model=meter.model, version=version, scope=scope, region=region)
            prices = self._book.prices(sku, at)
            if isinstance(prices, Prices) and (rate := prices.rates.get(meter.part)) is not None:
                return money.divide(rate.unit_price, Decimal(rate.per))
        return None


class Row:
    """The cells of one row by role, and how their numbers are written."""

    def __init__(self, cells: Mapping[str, str | int | None], *, has_decimal_comma: bool) -> None:
        self._cells, self._has_decimal_comma = cells, has_decimal_comma
        place = cells.get("place")
        self.place = place if isinstance(place, int) else 0

    def text(self, role: str) -> str:
        """Return a cell's text, empty where there is none."""
        return str(self._cells.get(f"r_{role}") or "").strip()

    def amount(self, role: str) -> Decimal | None:
        """Return a cell's number, None where the cell is empty.

        Raises:
            CellError: it is no number.
        """
        text = self.text(role)
        if not text:
            return None
        try:
            return money.exact(plain_number(text) if self._has_decimal_comma else text)
        except ValueError as error:
            raise CellError(role, str(error)) from None

    def needed(self, role: str) -> Decimal:
        """Return a cell's number.

        Raises:
            CellError: it is no number, or empty.
        """
        found = self.amount(role)
        if found is None:
            raise CellError(role, "the cell is empty")
        return found


def plain_number(text: str) -> str:
    """Return a number that is written as `1.234,56` with a point instead; anything else as it is."""
    return text.replace(".", "").replace(",", ".") if _WITH_COMMA(text) else text


def day_of(text: str) -> date:
    """Return the UTC day that a date or an instant of a bill is about.

    Raises:
        CellError: there is no such day.
    """
    text = text.strip()
    try:
        if found := _ISO(text) or _BARE(text):
            return date(int(found[1]), int(found[2]), int(found[3]))
        if found := _MONTH_FIRST(text):
            return date(int(found[3]), int(found[1]), int(found[2]))
        if found := _DAY_FIRST(text):
            return date(int(found[3]), int(found[2]), int(found[1]))
    except ValueError:
        pass
    raise CellError("date", f"{text!r} is no day; they are written YYYY-MM-DD or MM/DD/YYYY")


def currency_of(text: str) -> str:
    """Return a currency's code.

    Raises:
        CellError: it is none.
    """
    code = text.strip().upper()
    if not _CURRENCY(code):
        raise CellError("currency", f"{text!r} is no currency's code")
    return code


def item_of(
    row: Row, day: date, currency: str, prices: ListPrices, note: Callable[[CellError], None]
) -> BilledItem | None:
    """Return the item that a row of usage is, None where its meter is of another family.

    `note` is told of cells that cannot be read where the row's money is counted all the same.

    Raises:
        CellError: the cost cannot be read, so that there is nothing to count.
    """
    is_openai = "openai" in row.text("provider").lower() and "azure" not in row.text("provider").lower()
    provider = Provider.OPENAI if is_openai else Provider.AZURE
    name = row.text("meter")
    meter = (
        read_line_item(name, row.text("consumed_unit") or row.text("unit"))
        if is_openai
        else _meter(name, row.text("meter_id") or None)
    )
    if not meter.is_realtime:
        return None
    cost = row.needed("cost")
    to_usd = _to_usd(row, cost, currency, note)
    region = region_of(row.text("region"))
    quantity, scale = (
        (None, Scale.UNSETTLED)
        if meter.part is None
        else _quantity(row, meter, cost, prices.each(provider, meter, region, day), note)
    )
    return BilledItem(
        day=day,
        provider=provider,
        account=(row.text("project") or None) if is_openai else account_of(row.text("resource")),
        meter=meter,
        quantity=quantity,
        cost=cost,
        currency=currency,
        scale=scale,
        precision=money.ZERO,
        to_usd=to_usd,
        region=region,
    )


@lru_cache(maxsize=4096)
def _meter(name: str, meter_id: str | None) -> Meter:
    return read_meter(name, meter_id)


@lru_cache(maxsize=4096)
def account_of(resource: str) -> str | None:
    """Return the account that a resource's id names: what follows `/accounts/`, else its last segment."""
    found = _ACCOUNTS.search(resource)
    name = found[1] if found else resource.rstrip("/").rpartition("/")[2]
    return name.strip().lower() or None


@lru_cache(maxsize=1024)
def region_of(text: str) -> str | None:
    """Return a region as deployments name it: `eastus2`, also where a bill says `US East 2`."""
    name = re.sub(r"\s", "", text).lower()
    if found := _COUNTRY_FIRST(name):
        return f"{found[2]}us{found[3]}"
    return _REGIONS.get(name, name) or None


def _to_usd(row: Row, cost: Decimal, currency: str, note: Callable[[CellError], None]) -> Decimal | None:
    """Return what one unit of the currency is in USD, as far as the row itself tells."""
    if currency == USD:
        return Decimal(1)
    try:
        rate, in_usd = row.amount("exchange_rate"), row.amount("usd_cost")
    except CellError as error:
        note(error)
        return None
    if rate and row.text("pricing_currency").upper() == USD:
        return money.divide(Decimal(1), rate)
    if in_usd and cost:
        return money.divide(in_usd, cost)
    return None


def _quantity(
    row: Row, meter: Meter, cost: Decimal, each: Decimal | None, note: Callable[[CellError], None]
) -> tuple[Decimal | None, Scale]:
    try:
        quantity = row.needed("quantity")
        block = _block(row, meter)
        evidence = Evidence(
            quantity=quantity,
            cost=cost,
            block=block,
            paid=_pairs(row, ("price", "second_price"), cost),
            listed=_pairs(row, ("list_price",), cost),
            each=each,
        )
    except CellError as error:
        note(error)
        return None, Scale.UNSETTLED
    return settle(evidence)


def _block(row: Row, meter: Meter) -> Block:
    # Where the quantity is that of pricing, the consumed unit is not about it.
    consumed = read_block(row.text("consumed_unit")) if row.text("consumed_quantity") else None
    is_ours = consumed is not None and consumed.unit is meter.unit
    if consumed is not None and consumed.is_single and is_ours:
        return consumed
    block = read_block(row.text("unit"), row.text("block") or None)
    if block is not None and block.unit is None and block.size == 1 and is_ours:
        # It says no more than `Units`.
        block = consumed
    if block is None:
        raise CellError("unit", f"{row.text('unit')!r} is no unit that is known")
    if block.unit not in {None, meter.unit} or (block.unit is None and meter.unit is Unit.SECONDS):
        raise CellError("unit", f"{row.text('unit')!r} is no unit of {meter.unit}, which {meter.name!r} counts")
    return block


def _pairs(row: Row, roles: tuple[str, ...], cost: Decimal) -> list[tuple[Decimal, Decimal]]:
    """Return each price with the costs that it may have led to, in the billing and the pricing currency."""
    costs = [cost] if (priced := row.amount("pricing_cost")) is None else [priced, cost]
    return [
        (price, led_to) for role in roles if (price := row.amount(role)) is not None for led_to in dict.fromkeys(costs)
    ]
