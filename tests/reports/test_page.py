"""The page of a reconciliation as text and as geometry; `tests/browser` looks at it in a browser."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reports.november import AT, FIRST, HARMFUL, LAST, november, totals_of
from tests.reports.test_reconciliation import reconciliation_of, row_of

from realtime_spend.core.reconciliation.bills import BillProblem
from realtime_spend.core.reconciliation.drift import Cause, DriftShare, State
from realtime_spend.reports.page import Basis, page
from realtime_spend.reports.page_bars import bars_of, round_step, slots_of, unit_of
from realtime_spend.reports.page_steps import steps_of
from realtime_spend.reports.page_words import MEANING, headline, remark, spoken, verdict
from realtime_spend.reports.reconciliation_sums import Writing, by_cause

if TYPE_CHECKING:
    from realtime_spend.core.reconciliation.drift import Reconciliation
    from realtime_spend.reports.page_bars import Bars
    from realtime_spend.reports.page_steps import Steps

_WRITING = Writing(2)
_TOLERANCE, _FLOOR = Decimal("0.02"), Decimal("0.50")


def _basis(**changes: Any) -> Basis:
    said: dict[str, Any] = {
        "estimate": "/srv/ledger",
        "bills": ("export/2026-11",),
        "tolerance": _TOLERANCE,
        "floor": _FLOOR,
        "at": AT,
        "fx": {},
        **changes,
    }
    return Basis(**said)


class _Elements(HTMLParser):
    """What elements a page has, with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def _drifting(cost: str, cause: Cause, **changes: Any) -> tuple[Reconciliation, DriftShare]:
    drift = Decimal(cost)
    row = row_of(billed_cost=64 + drift, drift_cost=drift, **changes)
    share = DriftShare(cause=cause, row=row, cost=drift, evidence="a sentence")
    return reconciliation_of([row], [share]), share


# --- The whole -------------------------------------------------------------------------------------------------------


def test_it_loads_nothing_and_allows_nothing_but_what_is_in_it() -> None:
    html = page(november(), _basis())
    found = _Elements(html).found
    assert not [
        attributes for _, attributes in found if set(attributes) & {"src", "srcset", "action", "style", "onclick"}
    ]
    assert [attributes["href"] for tag, attributes in found if tag == "link"] == ["data:,"]
    assert not [tag for tag, _ in found if tag in {"a", "img", "iframe", "object", "embed", "base"}]
    [policy] = [attributes["content"] for _, attributes in found if "http-equiv" in attributes]
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        [inside] = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_whatever_a_bill_says_is_text() -> None:
    harm = '"><script>alert(1)</script>&amp;<svg onload=x>'
    row = replace(row_of(), model=harm, version=harm, account=harm, meters=(harm,))
    share = DriftShare(cause=Cause.PRICE, row=row, cost=Decimal(1), evidence=harm)
    found = reconciliation_of([row], [share], currency="U<b>D", problems=[BillProblem(message=harm, file=harm)])
    html = page(found, _basis(estimate=harm, bills=(harm,), account=harm))
    elements = _Elements(html)
    assert [tag for tag, _ in elements.found].count("script") == 1
    assert not [attributes for _, attributes in elements.found if "onload" in attributes]
    assert not [tag for tag, _ in elements.found if tag == "b" and "U<b>D" not in elements.text]
    assert elements.text.count(harm) >= 5


def test_it_is_valid_where_there_is_nothing() -> None:
    elements = _Elements(page(reconciliation_of([]), _basis()))
    assert "Nothing was counted and nothing is billed" in elements.text
    assert not [tag for tag, _ in elements.found if tag in {"svg", "table"}]


def test_it_says_every_row_every_cause_and_every_problem() -> None:
    found = november()
    elements = _Elements(page(found, _basis()))
    rows = [attributes for tag, attributes in elements.found if tag == "tr" and "data-state" in attributes]
    assert len(rows) == len(found.rows)
    assert len([attributes for attributes in rows if "data-beyond" in attributes]) == 29
    for share in found.shares:
        assert share.evidence in elements.text
    assert HARMFUL in elements.text
    assert "export/part_0.csv, row 17, column Quantity: '12,x' is no amount" in elements.text
    assert "Other meters" in elements.text
    assert "2 open, 28 settled" in elements.text


def test_figures_have_all_their_digits_at_hand() -> None:
    row = row_of(billed_cost=Decimal("64.123456789"), drift_cost=Decimal("0.123456789"))
    titles = [attributes.get("title") for _, attributes in _Elements(page(reconciliation_of([row]), _basis())).found]
    assert {"64.123456789", "0.123456789"} <= set(titles)


def test_an_interval_and_a_rate_of_exchange_are_said() -> None:
    row = row_of(estimated_low=Decimal("60.1"), estimated_high=Decimal(64))
    text = _Elements(page(reconciliation_of([row]), _basis(fx={"EUR": Decimal("1.08")}))).text
    assert "60.10 to 64.00" in text
    assert "1 EUR = 1.08 USD" in text


# --- Words -----------------------------------------------------------------------------------------------------------


def test_every_cause_has_a_meaning() -> None:
    assert set(MEANING) == set(Cause)
    assert all(meaning.endswith(".") for meaning in MEANING.values())
    assert spoken(Cause.CACHE_NOT_BILLED) == "Cache not billed"


@pytest.mark.parametrize(
    ("cost", "cause", "end"),
    [
        ("6.4", Cause.PRICE, "above the estimate; all of it is explained, by another price."),
        ("-6.4", Cause.NOT_SETTLED, "below the estimate; all of it is explained, by days whose bill is still open."),
        ("6.4", Cause.UNEXPLAINED, "above the estimate, and nothing explains it."),
    ],
)
def test_the_headline_is_the_answer(cost: str, cause: Cause, end: str) -> None:
    assert headline(_drifting(cost, cause)[0], _WRITING) == f"The bill is 6.40 USD (10.0 %) {end}"


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause is not Cause.UNEXPLAINED])
def test_every_cause_can_be_in_the_headline(cause: Cause) -> None:
    assert headline(_drifting("1", cause)[0], _WRITING).startswith(
        "The bill is 1.00 USD (1.6 %) above the estimate; all"
    )


def test_the_headline_names_the_cause_that_goes_the_way_of_the_drift() -> None:
    assert headline(november(), _WRITING) == (
        "The bill is 44.75 USD (2.9 %) above the estimate, explained mostly by traffic that was not observed; "
        "2.93 USD stays unexplained."
    )


def test_the_headline_says_agreement_row_by_row_or_as_a_whole() -> None:
    row = row_of()
    assert headline(reconciliation_of([row]), _WRITING) == "Estimate and bill agree: 64.00 USD, row by row."
    more, less = (row_of(day=day, drift_cost=Decimal(drift)) for day, drift in ((FIRST, 1), (LAST, -1)))
    assert headline(reconciliation_of([more, less]), _WRITING) == "Estimate and bill agree: 128.00 USD as a whole."


def test_the_headline_does_not_compare_without_a_rate_of_exchange() -> None:
    row = row_of(drift_cost=None, estimated_cost=None)
    totals = replace(totals_of([row], []), estimated_cost=None, drift_cost=None)
    found = reconciliation_of([row], totals=totals, currency="EUR")
    sentence = "The bill is 64.00 EUR; without a rate of exchange only quantities are compared."
    assert headline(found, _WRITING) == sentence
    assert sentence in page(found, _basis())


def test_the_verdict_is_about_rows_that_are_settled() -> None:
    allowed = "the tolerance of 2 % or 0.50 USD, whichever is more."
    row = row_of(billed_cost=Decimal(100), drift_cost=Decimal(36), is_beyond=True)
    assert verdict(reconciliation_of([row]), _TOLERANCE, _FLOOR) == ("bad", f"1 of 1 settled row is beyond {allowed}")
    still = reconciliation_of([replace(row, state=State.OPEN)])
    assert verdict(still, _TOLERANCE, _FLOOR) == ("open", "No day is settled yet, so nothing is decided.")
    fine = reconciliation_of([row_of(), row_of(day=LAST)])
    assert verdict(fine, _TOLERANCE, _FLOOR) == ("good", f"All of 2 settled rows are within {allowed}")


def test_what_is_still_open_is_remarked() -> None:
    assert remark(november(), _WRITING) == "-83.33 USD of the drift are on 2 days still open, and will change."
    found, _ = _drifting("-1", Cause.NOT_SETTLED)
    assert remark(found, _WRITING) == "-1.00 USD of the drift is on 1 day still open, and will change."
    assert remark(_drifting("1", Cause.PRICE)[0], _WRITING) == ""


# --- Bars by day -----------------------------------------------------------------------------------------------------


def _bars(found: Reconciliation) -> Bars:
    return bars_of(slots_of(found), _WRITING, width=860, height=300, most_names=10)


def test_bars_are_as_high_as_the_money_they_stand_for() -> None:
    found = november()
    bars = [bar for bar in _bars(found).bars if bar.height > 3]
    costs = {
        f"{slot.name}: {what}": float(cost)
        for slot in slots_of(found)
        for what, cost in (("estimated", slot.sums.estimated_cost), ("billed", slot.sums.billed_cost))
        if cost
    }
    per = {bar.height / costs[" ".join(bar.tip.split()[:2])] for bar in bars}
    assert max(per) == pytest.approx(min(per), rel=0.01)
    assert len(_bars(found).bars) == 60


def test_bars_of_open_days_are_marked() -> None:
    kinds = [bar.kind for bar in _bars(november()).bars]
    assert kinds.count("estimated is-open") == kinds.count("billed is-open") == 2


def test_days_without_rows_have_their_place() -> None:
    found = reconciliation_of([row_of(), row_of(day=FIRST + timedelta(days=9))])
    slots = slots_of(found)
    assert [slot.name for slot in slots] == [f"2026-11-{day:02}" for day in range(1, 11)]
    first, second = (bar for bar in _bars(found).bars if bar.kind == "billed")
    assert second.x - first.x == pytest.approx(9 * (860 - _bars(found).left) / 10, abs=0.1)


def test_of_a_long_time_months_are_drawn() -> None:
    rows = [row_of(day=FIRST + timedelta(days=days)) for days in (0, 29, 31, 400)]
    slots = slots_of(reconciliation_of(rows))
    assert unit_of(slots) == "month"
    assert [slot.name for slot in slots][:3] == ["2026-11", "2026-12", "2027-01"]
    assert slots[-1].short == "Dec 2027"
    assert len(slots) == 14
    assert [len(slot.sums.rows) for slot in slots if slot.sums.rows] == [2, 1, 1]
    assert [slot.state for slot in slots[:3]] == [State.SETTLED, State.SETTLED, None]
    assert unit_of(slots_of(november())) == "day"


def test_a_wrong_date_on_a_bill_does_not_make_a_picture_of_all_time() -> None:
    rows = [row_of(day=day) for day in (date(1, 1, 1), FIRST, date(9999, 12, 31))]
    assert [slot.name for slot in slots_of(reconciliation_of(rows))] == ["0001-01", "2026-11", "9999-12"]
    assert page(reconciliation_of(rows), _basis()).endswith("</html>\n")


def test_what_is_given_back_goes_below_the_line_of_0() -> None:
    rows = [row_of(), row_of(day=LAST, estimated_cost=Decimal(0), billed_cost=Decimal(-20), drift_cost=Decimal(-20))]
    picture = _bars(reconciliation_of(rows))
    [zero] = [line.at for line in picture.lines if line.text == "0"]
    [back] = [bar for bar in picture.bars if "-20.00" in bar.tip]
    assert back.y == pytest.approx(zero, abs=0.02)
    assert all(bar.y + bar.height == pytest.approx(zero, abs=0.02) for bar in picture.bars if bar is not back)
    assert min(line.at for line in picture.lines) >= 0
    assert max(line.at for line in picture.lines) < picture.height


@given(st.lists(st.decimals(-(10**9), 10**9, places=6), min_size=2, max_size=40))
def test_every_bar_is_on_the_picture(costs: list[Decimal]) -> None:
    rows = [row_of(day=FIRST + timedelta(days=number), billed_cost=cost) for number, cost in enumerate(costs)]
    picture = _bars(reconciliation_of(rows))
    assert picture.left < picture.width / 2
    for bar in picture.bars:
        assert picture.left <= bar.x <= bar.x + bar.width <= picture.width + 0.02
        assert 0 <= bar.y <= bar.y + bar.height <= picture.height
    names = {line.text for line in picture.lines}
    assert len(names) == len(picture.lines), "each line has a name of its own"


@given(st.floats(1e-12, 1e12))
def test_a_round_step_is_round_and_just_large_enough(least: float) -> None:
    step = round_step(least)
    assert least * (1 - 1e-6) <= step <= least * 2.5 * (1 + 1e-6)
    assert f"{step:.1e}".partition("e")[0] in {"1.0", "2.0", "2.5", "5.0"}


# --- From estimate to bill -------------------------------------------------------------------------------------------


def _steps(found: Reconciliation, *, is_narrow: bool = False) -> Steps:
    steps = steps_of(found, _WRITING, width=860, is_narrow=is_narrow)
    assert steps is not None
    return steps


@pytest.mark.parametrize("is_narrow", [False, True])
def test_each_step_begins_where_the_one_above_ended(is_narrow: bool) -> None:  # noqa: FBT001 - both layouts
    found = november()
    picture = _steps(found, is_narrow=is_narrow)
    assert [step.name for step in picture.steps] == [
        "Estimate",
        *(spoken(one.cause) for one in by_cause(found)),
        "Bill",
    ]
    assert [step.bar.kind for step in picture.steps] == [
        "estimated",
        "is-open",
        "more",
        "more",
        "more",
        "more",
        "more",
        "billed",
    ]
    at = picture.steps[0].bar.x + picture.steps[0].bar.width
    for step, (joint, _, _) in zip(picture.steps[1:-1], picture.joints, strict=False):
        assert joint == pytest.approx(at, abs=0.02)
        left, right = step.bar.x, step.bar.x + step.bar.width
        begin, at = (right, left) if step.amount.startswith("-") else (left, right)
        assert begin == pytest.approx(joint, abs=0.02)
    assert at == pytest.approx(picture.steps[-1].bar.x + picture.steps[-1].bar.width, abs=1.5)


def test_where_causes_are_small_beside_the_whole_bars_begin_at_a_round_amount_and_say_so() -> None:
    assert _steps(november()).begin == "1,400"
    text = _Elements(page(november(), _basis())).text
    assert "bars begin at 1,400 USD, not at 0" in text


def test_where_causes_are_large_bars_begin_at_0() -> None:
    found, _ = _drifting("64", Cause.UNOBSERVED_TRAFFIC)
    picture = _steps(found)
    assert picture.begin is None
    estimate, traffic, bill = (step.bar.width for step in picture.steps)
    assert estimate == pytest.approx(traffic, abs=0.02)
    assert bill == pytest.approx(2 * estimate, abs=0.02)


def test_nothing_is_drawn_where_nothing_can_be_compared() -> None:
    row = row_of(drift_cost=None, estimated_cost=None)
    totals = replace(totals_of([row], []), estimated_cost=None, drift_cost=None)
    assert steps_of(reconciliation_of([row], totals=totals), _WRITING, width=860, is_narrow=False) is None
    assert steps_of(reconciliation_of([]), _WRITING, width=860, is_narrow=False) is None


@given(st.lists(st.tuples(st.sampled_from(list(Cause)), st.decimals(-1000, 1000, places=4)), max_size=12))
def test_every_step_is_on_the_picture(drifts: list[tuple[Cause, Decimal]]) -> None:
    rows = [
        row_of(version=str(number), billed_cost=64 + drift, drift_cost=drift)
        for number, (_, drift) in enumerate(drifts)
    ]
    shares = [
        DriftShare(cause=cause, row=row, cost=drift, evidence="x")
        for (cause, drift), row in zip(drifts, rows, strict=True)
        if drift
    ]
    found = reconciliation_of([row_of(), *rows], shares)
    for is_narrow in (False, True):
        picture = _steps(found, is_narrow=is_narrow)
        for step in picture.steps:
            assert -0.02 <= step.bar.x <= step.bar.x + step.bar.width <= picture.width + 1.5
            assert 0 <= step.bar.y <= step.bar.y + step.bar.height <= picture.height
            assert 0 < step.text_y < picture.height
