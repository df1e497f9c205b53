"""The page that `realtime-spend reconcile --html` writes: one file that needs no other, and may ask for none.

Its content security policy allows the style and the script that are in it, by their hashes, and nothing else at all.
All that comes from a bill or a ledger is escaped by the template.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from realtime_spend.core import money
from realtime_spend.core.reconciliation.drift import Cause, State
from realtime_spend.reports.page_bars import bars_of, slots_of, unit_of
from realtime_spend.reports.page_steps import steps_of
from realtime_spend.reports.page_words import MEANING, headline, remark, spoken, verdict
from realtime_spend.reports.printing import counted
from realtime_spend.reports.reconciliation import sentence_of
from realtime_spend.reports.reconciliation_sums import (
    Naming,
    Writing,
    by_cause,
    by_day,
    by_part,
    days_by_state,
    days_of,
    is_beyond,
    place_of,
    quantity,
)
from realtime_spend.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

    from realtime_spend.core.reconciliation.drift import Reconciliation, Row

_TEMPLATE = "page_template"
_MINUS, _GAP = "\N{MINUS SIGN}", "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What the answer is made from, to be said at the end of the page."""

    estimate: str
    bills: tuple[str, ...]
    tolerance: Decimal
    floor: Decimal
    at: datetime
    account: str | None = None
    fx: Mapping[str, Decimal]


def page(found: Reconciliation, basis: Basis) -> str:
    """Return the page as HTML."""
    style, script = _part("page.css"), _part("page.js")
    writing = Writing.of(found, _MINUS, _GAP)
    mark, said = verdict(found, basis.tolerance, basis.floor)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            found=found,
            basis=basis,
            writing=writing,
            naming=Naming.of(found),
            style=Markup(style),  # noqa: S704 - a file of ours
            script=Markup(script),  # noqa: S704 - a file of ours
            style_hash=_hash(style),
            script_hash=_hash(script),
            headline=headline(found, writing),
            verdict_mark=mark,
            verdict=said,
            remark=remark(found, writing),
            at=f"{basis.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
            days=days_of(found),
            days_by_state=days_by_state(found),
            day_sums=by_day(found),
            part_sums=by_part(found),
            cause_sums=by_cause(found),
            rows=sorted(found.rows, key=_order),
            version=__version__,
            **_pictures(found, writing),
        )
    )


def _pictures(found: Reconciliation, writing: Writing) -> dict[str, Any]:
    """Return both pictures in two sizes: on a phone, a wide one would be too small to read."""
    slots = slots_of(found)
    return {
        "unit": unit_of(slots),
        "bars": {
            "wide": bars_of(slots, writing, width=860, height=300, most_names=10),
            "narrow": bars_of(slots, writing, width=340, height=240, most_names=5),
        },
        "steps": {
            "wide": steps_of(found, writing, width=860, is_narrow=False),
            "narrow": steps_of(found, writing, width=340, is_narrow=True),
        },
    }


def _order(row: Row) -> tuple[Any, ...]:
    """What drifts beyond the tolerance first, then by day."""
    return not is_beyond(row), row.day, -abs(row.drift_cost or money.ZERO)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader(__package__, _TEMPLATE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["quantity"] = quantity
    made.filters["exact"] = lambda amount: "unknown" if amount is None else money.plain(amount)
    made.filters["spoken"] = spoken
    made.filters["meaning"] = MEANING.__getitem__
    made.filters["sentence"] = sentence_of
    made.filters["counted"] = counted
    made.filters["place"] = place_of
    made.filters["together"] = lambda shares: money.add(*(share.cost for share in shares))
    made.tests["beyond"] = is_beyond
    made.globals["State"] = State
    made.globals["Cause"] = Cause
    return made


def _part(name: str) -> str:
    return (resources.files(__package__) / _TEMPLATE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the hash by which a policy allows what stands between the tags of an element."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
