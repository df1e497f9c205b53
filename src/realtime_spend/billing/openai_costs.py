"""The costs of an OpenAI organization, one result a line item, project and day: live, or from saved pages.

The answer of `GET /v1/organization/costs` is a page of buckets, each a UTC day. A file holds one page, a list of them,
or one a line.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from realtime_spend.billing.openai_dashboard import read_dashboard
from realtime_spend.billing.openai_live import days_query, pages
from realtime_spend.billing.openai_results import LONGER_THAN_A_DAY, PART_OF_A_DAY, Result, Results, amount_of
from realtime_spend.billing.source_text import SourceError, source_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from realtime_spend.core.reconciliation.bills import Bill

__all__ = ["BASE_URL", "fetch_costs", "read_dashboard", "read_pages"]

BASE_URL = "https://api.openai.com/v1"
_DAY = 86_400
# Most days that one page may have.
_MOST_BUCKETS = 180
# What may have begun where a text breaks off.
_BEGUN = ("true", "false", "null", "-", ".", "e+", "e-", "E+", "E-")
_LINE_ITEM_KEY = ("line_item", "project_id", "api_key_id", "user_id", "api_source")


def read_pages(path: Path) -> Bill:
    """Return what the pages saved in the file at `path` say. Rows are counted by result, from 1."""
    results = Results(str(path))
    try:
        text = source_text(path)
    except SourceError as error:
        results.problem(str(error))
        return results.whole()
    reader = _Pages(results)
    for page in _saved(text, results):
        reader.read(page)
    if reader.is_cut_off:
        results.problem("its last page says that more pages follow, and they are not there; fetch the rest")
    return results.whole()


def fetch_costs(
    first: date,
    last: date,
    *,
    key: str,
    base_url: str = BASE_URL,
    project: str | None = None,
    advance: Callable[[int], None] = lambda _days: None,
) -> Bill:
    """Return what OpenAI says now that the days `first` to `last` cost. `advance` is told of each number of days read.

    Raises:
        ValueError: it does not say all of it; the sentence says what to do. A part of a bill would look like drift.
    """
    results = Results(None)
    reader = _Pages(results)
    query = days_query(first, last, group_by="line_item", limit=_MOST_BUCKETS, project=project)
    for page in pages(f"{base_url.rstrip('/')}/organization/costs", query, key=key):
        advance(reader.read(page))
    made = datetime.now(UTC)
    # What was asked for and is not there cost nothing.
    for day in (first, min(last, made.date())):
        if first <= day:
            results.cover(day)
    bill = results.whole()
    bill.made = made
    return bill


def _saved(text: str, results: Results) -> Iterator[Any]:
    """Yield the pages in a text: of one JSON value, or of one a line."""
    try:
        value = _json(text)
    except ValueError as error:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        if len(lines) == 1 or (_is_cut(error, text) and not any(_is_page(line) for _, line in lines)):
            results.problem(_why(error, text))
            return
    else:
        yield from value if isinstance(value, list) else [value]
        return
    for number, line in lines:
        try:
            yield _json(line)
        except ValueError as error:
            results.problem(f"line {number}: {_why(error, line)}")


def _json(text: str) -> Any:
    """Parse JSON without letting an amount become a binary fraction."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=str)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _is_page(line: str) -> bool:
    try:
        return isinstance(_json(line), dict)
    except ValueError:
        return False


def _is_cut(error: ValueError, text: str) -> bool:
    """Whether all of a text would be JSON, if only it went on."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    rest = text[error.pos :].strip()
    is_open = error.msg.startswith("Unterminated string") or ("escape" in error.msg and '"' not in rest)
    return is_open or any(word.startswith(rest) for word in _BEGUN)


def _why(error: ValueError, text: str) -> str:
    if _is_cut(error, text):
        return "it breaks off, as a file does that was not fetched to its end; fetch it again"
    return f"it is not JSON: {error}"


class _Pages:
    """Reads pages and buckets one after another, counting results."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._row = 0
        self.is_cut_off = False

    def read(self, page: Any) -> int:
        """Take one page, or a bucket on its own; return how many buckets it had."""
        if not isinstance(page, dict):
            self._results.problem("a page is not a JSON object; save the answer of /v1/organization/costs as it is")
            return 0
        if page.get("object") == "bucket" or ("results" in page and "data" not in page):
            self._bucket(page)
            return 1
        buckets = page.get("data")
        if not isinstance(buckets, list):
            self._results.problem(_not_a_page(page))
            return 0
        self.is_cut_off = page.get("has_more") is True
        for bucket in buckets:
            self._bucket(bucket)
        return len(buckets)

    def _bucket(self, bucket: Any) -> None:
        found = bucket.get("results", bucket.get("result")) if isinstance(bucket, dict) else None
        start, end = (bucket.get("start_time"), bucket.get("end_time")) if isinstance(bucket, dict) else (None, None)
        day = _day(start)
        if day is None or not isinstance(found, list):
            self._results.problem("a bucket has no start_time or no results", self._row + 1, "start_time")
            return
        unfit = self._unfit(day, start, end)
        if unfit is None:
            self._results.cover(day)
        for result in found:
            self._row += 1
            self._result(day, result, unfit=unfit)

    def _unfit(self, day: date, start: Any, end: Any) -> str | None:
        """Say of a bucket that is no whole day what it is instead; return what its costs are left out as."""
        begins_at, lasts = int(start) % _DAY, int(end) - int(start) if _day(end) else _DAY
        # Asked live, today's bucket may end now: that day is open.
        is_short = bool(begins_at) or (lasts < _DAY and self._results.file is not None)
        if lasts <= _DAY and not is_short:
            return None
        unfit, what, instead = (
            (LONGER_THAN_A_DAY, "is longer than a day, so its days cannot be told apart", "bucket_width=1d")
            if lasts > _DAY
            else (PART_OF_A_DAY, "has only a part of the day", "a start_time and an end_time at 00:00 UTC")
        )
        column = "start_time" if begins_at and lasts <= _DAY else "end_time"
        self._results.problem(f"the bucket of {day} {what}; ask for {instead}", self._row + 1, column)
        return unfit

    def _result(self, day: date, result: Any, *, unfit: str | None) -> None:
        amount = result.get("amount") if isinstance(result, dict) else None
        if not isinstance(amount, dict):
            self._results.problem(f"a result of {day} has no amount", self._row, "amount")
            return
        try:
            value, currency = _number(amount.get("value")), _currency(amount.get("currency"))
        except ValueError as error:
            self._results.problem(f"a result of {day} has no amount of money: {error}", self._row, "amount.value")
            return
        if unfit is not None:
            self._results.bill.leave_out(unfit, value, currency)
            return
        quantity = self._quantity(result.get("quantity"))
        line_item = result.get("line_item")
        self._results.add(
            Result(
                day=day,
                line_item=line_item if isinstance(line_item, str) else "",
                amount=value,
                currency=currency,
                quantity=quantity,
                quantity_unit=str(result.get("quantity_unit") or "") or None,
                account=str(result.get("project_id") or "") or None,
                key=(day, currency, *(str(result.get(name)) for name in _LINE_ITEM_KEY)),
                row=self._row,
            )
        )

    def _quantity(self, quantity: Any) -> Decimal | None:
        if quantity is None:
            return None
        try:
            return _number(quantity)
        except ValueError as error:
            self._results.problem(f"a quantity cannot be read: {error}", self._row, "quantity")
            return None


def _not_a_page(page: dict[str, Any]) -> str:
    """Say what an object is that is no page: most often what OpenAI answered instead of one."""
    error = page.get("error")
    said = error.get("message") if isinstance(error, dict) else None
    told = f": OpenAI answered {str(said)[:200]!r}" if said else ""
    return f"it is no page of costs, which has data{told}; save the answer of /v1/organization/costs"


def _day(start: Any) -> date | None:
    if not isinstance(start, int | Decimal) or isinstance(start, bool):
        return None
    try:
        return datetime.fromtimestamp(int(start), UTC).date()
    except (ValueError, OverflowError, OSError):
        return None


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError(f"{str(value)[:40]!r} is not a number")
    return amount_of(str(value))


def _currency(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("it names no currency")
    return value.strip().upper()
