"""The answer of `realtime-spend prices`: the rates that we price with, where each comes from, and how others differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from realtime_spend.core import money
from realtime_spend.reports.printing import print_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from rich.console import Console

    from realtime_spend.core.price_list import Difference, ListedRate

_REGIONS = 32
_PER = {1_000_000: "1M tokens", 60: "minute", 3600: "hour", 1: "second"}


def prices_json(rates: Iterable[ListedRate]) -> list[dict[str, Any]]:
    """Return one object a rate."""
    return [
        {
            "card": rate.card,
            "provider": rate.provider,
            "model": rate.row.model,
            "versions": sorted(version or "" for version in rate.row.versions) if rate.row.versions else None,
            "scopes": sorted(rate.row.scopes),
            "regions": sorted(rate.row.regions) if rate.row.regions else None,
            "from": rate.starts,
            "modality": rate.part.modality,
            "component": rate.part.component,
            "unit_price": money.plain(rate.rate.unit_price),
            "per": rate.rate.per,
            "currency": rate.currency,
            "contested": [money.plain(other) for other in rate.contested_by],
            "source": rate.row.source,
            "checked": rate.row.checked,
            "note": rate.row.note,
        }
        for rate in rates
    ]


def print_prices(console: Console, rates: Sequence[ListedRate], discounts: Sequence[str] = ()) -> None:
    """Print one line a row of a card; an asterisk marks a contested rate. `discounts` are sentences about them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("provider", "model", "version", "scope", "from", "modality", "input", "cached", "output", "per"):
        right = heading in ("input", "cached", "output")
        # A regional price holds in a list of regions.
        is_list = heading == "scope"
        table.add_column(
            heading,
            justify="right" if right else "left",
            no_wrap=not is_list,
            overflow="fold",
            max_width=_REGIONS if is_list else None,
        )
    for line in _rows(rates):
        table.add_row(*line)
    print_table(console, table)
    if any(rate.contested_by for rate in rates):
        console.print("* contested: sources disagree; `--json` gives the other figures and where each comes from")
    for discount in discounts:
        console.print(discount)


def _rows(rates: Sequence[ListedRate]) -> Iterable[tuple[str, ...]]:
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for rate in rates:
        row = rate.row
        scope = "/".join(sorted(row.scopes)) + (f" {','.join(sorted(row.regions))}" if row.regions else "")
        versions = ", ".join(sorted(version or "any" for version in row.versions)) if row.versions else "any"
        per = _PER.get(rate.rate.per, str(rate.rate.per))
        key: tuple[str, ...] = (
            str(rate.provider),
            row.model,
            versions,
            scope,
            rate.starts or "-",
            str(rate.part.modality),
            per,
        )
        price = money.plain(rate.rate.unit_price) + ("*" if rate.contested_by else "")
        found.setdefault(key, {})[rate.part.component] = price
    for key, prices in found.items():
        yield (
            *key[:6],
            prices.get("input") or prices.get("duration", "-"),
            prices.get("cached_input", "-"),
            prices.get("output", "-"),
            key[6],
        )


def differences_json(differences: Iterable[Difference]) -> list[dict[str, Any]]:
    """Return one object a rate that differs; a price of null is one that this side does not have."""
    return [
        {
            "provider": difference.sku.provider,
            "model": difference.sku.model,
            "version": difference.sku.version,
            "scope": difference.sku.scope,
            "region": difference.sku.region,
            "modality": difference.part.modality,
            "component": difference.part.component,
            "ours": _text(difference.ours),
            "theirs": _text(difference.theirs),
        }
        for difference in differences
    ]


def print_differences(console: Console, differences: Sequence[Difference]) -> None:
    """Print one line a rate that differs."""
    if not differences:
        console.print("no rate of that card differs from ours")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", "version", "scope", "region", "part", "ours", "theirs"):
        table.add_column(heading, justify="right" if heading in ("ours", "theirs") else "left", no_wrap=True)
    for difference in differences:
        sku = difference.sku
        names = (sku.model, sku.version or "any", sku.scope or "-", sku.region or "-", str(difference.part))
        table.add_row(*names, _text(difference.ours) or "-", _text(difference.theirs) or "-")
    print_table(console, table)


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else money.plain(amount)
