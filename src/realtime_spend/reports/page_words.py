"""What the page says in words: its headline, whether the drift is fine, and what each cause means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_spend.core import money
from realtime_spend.core.reconciliation.drift import Cause, State
from realtime_spend.reports.printing import counted
from realtime_spend.reports.reconciliation_sums import by_cause, is_beyond

if TYPE_CHECKING:
    from decimal import Decimal

    from realtime_spend.core.reconciliation.drift import DriftTotals, Reconciliation
    from realtime_spend.reports.reconciliation_sums import Writing

MEANING = {
    Cause.NOT_SETTLED: "These days are still open: the provider may add to their bill.",
    Cause.PRICE: "As much was billed as was counted, at another price.",
    Cause.CACHE_NOT_BILLED: "The bill has fewer cached tokens than were counted, and as many more that are not cached.",
    Cause.CACHE_OVERBILLED: "The bill has more cached tokens than were counted, and as many fewer that are not cached.",
    Cause.TRANSCRIPTION_UNOBSERVED: "Input was transcribed, and the service did not say how much of it.",
    Cause.LOST_RESPONSES: "Responses began and their end was not seen: they are billed, but not counted.",
    Cause.UNOBSERVED_TRAFFIC: "Sessions that nobody counted: another program, or another team on the same account.",
    Cause.OBSERVED_TWICE: "The same sessions were counted more than once.",
    Cause.SPLIT_UNKNOWN: "The service did not say which cached tokens were audio: the bill is within what it can be.",
    Cause.PROVISIONED: "Provisioned capacity is billed by the hour, not by the token.",
    Cause.DAY_SHIFT: "What one day lacks, the next to it has: the bill puts it on another day.",
    Cause.UNMAPPED_METER: "Meters with a name that cannot be read; their money is counted here.",
    Cause.UNPRICED: "Usage that no rate card has a price for.",
    Cause.UNIT_SCALE: "The bill does not let it be told whether it counts tokens or blocks of them.",
    Cause.ROUNDING: "Less than the last digit that the bill states.",
    Cause.UNEXPLAINED: "Nothing that is known supports any other cause.",
}


# How each cause ends the sentence "explained mostly by".
_BY = {
    Cause.NOT_SETTLED: "days whose bill is still open",
    Cause.PRICE: "another price",
    Cause.CACHE_NOT_BILLED: "cached tokens that are billed as others",
    Cause.CACHE_OVERBILLED: "tokens that are billed as cached",
    Cause.TRANSCRIPTION_UNOBSERVED: "transcription that was not observed",
    Cause.LOST_RESPONSES: "responses that were lost",
    Cause.UNOBSERVED_TRAFFIC: "traffic that was not observed",
    Cause.OBSERVED_TWICE: "sessions that were counted twice",
    Cause.SPLIT_UNKNOWN: "a cache whose split is not known",
    Cause.PROVISIONED: "provisioned capacity",
    Cause.DAY_SHIFT: "usage that is billed on another day",
    Cause.UNMAPPED_METER: "meters that cannot be read",
    Cause.UNPRICED: "usage that has no price",
    Cause.UNIT_SCALE: "quantities whose unit is not known",
    Cause.ROUNDING: "rounding",
}


def spoken(cause: Cause) -> str:
    """Return the cause's word as people read it."""
    return cause.replace("_", " ").capitalize()


def headline(found: Reconciliation, writing: Writing) -> str:
    """Return the answer in one sentence."""
    totals, currency = found.totals, found.currency
    bill = f"{writing.amount(totals.billed_cost)} {currency}"
    if not found.rows:
        return "Nothing was counted and nothing is billed for these models."
    if totals.drift_cost is None:
        if totals.unconverted:
            return "Without a rate of exchange for all of the bill, only quantities are compared."
        return f"The bill is {bill}; without a rate of exchange only quantities are compared."
    if not totals.drift_cost:
        exactly = all(not row.drift_cost for row in found.rows)
        return f"Estimate and bill agree: {bill}{', row by row' if exactly else ' as a whole'}."
    side = "above" if totals.drift_cost > 0 else "below"
    part = writing.share(abs(totals.drift_cost), totals.estimated_cost)
    by = f"{writing.amount(abs(totals.drift_cost))} {currency}" + (f" ({part.removeprefix('+')})" if part else "")
    return f"The bill is {by} {side} the estimate{_reason(found, totals, writing)}."


def _reason(found: Reconciliation, totals: DriftTotals, writing: Writing) -> str:
    is_above = (totals.drift_cost or money.ZERO) > 0
    known = [one for one in by_cause(found) if one.cause is not Cause.UNEXPLAINED and one.cost]
    # A cause that goes the other way explains none of it.
    same = [one for one in known if (one.cost > 0) is is_above]
    if not same:
        return ", and nothing explains it"
    mostly = f"{'mostly ' if len(known) > 1 else ''}by {_BY[same[0].cause]}"
    if not totals.unexplained_cost:
        return f"; all of it is explained, {mostly}"
    return f", explained {mostly}; {writing.amount(abs(totals.unexplained_cost))} {found.currency} stays unexplained"


def remark(found: Reconciliation, writing: Writing) -> str:
    """Return what of the drift will change by itself; empty where nothing will."""
    settling = [one for one in by_cause(found) if one.cause is Cause.NOT_SETTLED and one.cost]
    if not settling:
        return ""
    days = len({share.row.day for share in settling[0].shares})
    amount = f"{writing.change(settling[0].cost)} {found.currency}"
    return (
        f"{amount} of the drift {'is' if days == 1 else 'are'} on {counted(days, 'day')} still open, and will change."
    )


def verdict(found: Reconciliation, tolerance: Decimal, floor: Decimal) -> tuple[str, str]:
    """Return what the tolerance makes of it, as a class of the style and as a sentence."""
    share = money.plain(money.multiply(tolerance, money.exact("100")))
    allowed = f"{share} % or {floor:f} {found.currency}, whichever is more"
    decided = [row for row in found.rows if row.state is not State.OPEN]
    if beyond := sum(is_beyond(row) for row in decided):
        of_all = counted(len(decided), "settled row")
        return "bad", f"{beyond} of {of_all} {'is' if beyond == 1 else 'are'} beyond the tolerance of {allowed}."
    if not decided:
        return "open", "No day is settled yet, so nothing is decided."
    return "good", f"All of {counted(len(decided), 'settled row')} are within the tolerance of {allowed}."
