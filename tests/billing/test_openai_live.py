"""OpenAI's Costs API over a real socket: paging, refusals, trouble that passes and trouble that stays."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.billing.answering import Asked, Reply, answering

from realtime_spend.billing import openai_costs, openai_live, openai_usage
from realtime_spend.billing.openai_costs import fetch_costs

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_spend.core.reconciliation.bills import Bill

KEY = "sk-admin-3f1d-not-to-be-seen"
FIRST = date(2026, 11, 18)
START = 1_794_960_000
DAY = 86_400


def bucket(number: int, value: str = "1") -> dict[str, Any]:
    """The `number`-th day, with one result."""
    result = {
        "object": "organization.costs.result",
        "amount": {"value": value, "currency": "usd"},
        "line_item": "gpt-realtime-2 audio, input",
        "project_id": "proj_voice",
        "quantity": 31_250,
        "quantity_unit": "tokens",
    }
    start = START + number * DAY
    return {"object": "bucket", "start_time": start, "end_time": start + DAY, "results": [result]}


def page(*buckets: Any, following: str | None = None) -> Reply:
    return Reply({"object": "page", "data": list(buckets), "has_more": following is not None, "next_page": following})


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited, without waiting."""
    waits: list[float] = []
    original = openai_live.pages

    def pages(*arguments: Any, **options: Any) -> Any:
        return original(*arguments, **options, sleep=waits.append)

    monkeypatch.setattr(openai_costs, "pages", pages)
    monkeypatch.setattr(openai_usage, "pages", pages)
    return waits


def fetch(url: str, days: int = 1, **options: Any) -> Bill:
    return fetch_costs(FIRST, FIRST + timedelta(days=days - 1), key=KEY, base_url=f"{url}/v1/", **options)


def test_every_page_is_fetched_and_said_to_whoever_waits() -> None:
    pages = {
        None: page(bucket(0, "1.000000000000000000001"), following="page_2="),
        "page_2=": page(bucket(1), bucket(2)),
    }

    def answer(asked: Asked) -> Reply:
        return pages[asked.query.get("page", [None])[0]]

    steps: list[int] = []
    with answering(answer) as service:
        bill = fetch(service.url, days=3, advance=steps.append)
    assert [item.cost for item in bill.items] == [Decimal("1.000000000000000000001"), 1, 1]
    assert (bill.first, bill.last) == (FIRST, FIRST + timedelta(days=2))
    assert bill.made is not None
    assert bill.problems == []
    assert steps == [1, 2]
    assert [asked.path for asked in service.asked] == ["/v1/organization/costs"] * 2
    assert service.asked[0].query == {
        "start_time": [str(START)],
        "end_time": [str(START + 3 * DAY)],
        "bucket_width": ["1d"],
        "group_by[]": ["line_item", "project_id"],
        "limit": ["180"],
    }
    assert all(asked.headers["authorization"] == f"Bearer {KEY}" for asked in service.asked)


def test_a_bucket_that_ends_now_is_a_day_that_is_open(slept: list[float]) -> None:
    begun = page({**bucket(0), "end_time": START + DAY // 2})
    with answering([begun]) as service:
        bill = fetch(service.url)
    assert [item.cost for item in bill.items] == [1]
    assert (bill.first, bill.last, bill.problems, slept) == (FIRST, FIRST, [], [])


def test_one_project_is_asked_for() -> None:
    with answering([page(bucket(0))]) as service:
        fetch(service.url, project="proj_voice")
    assert service.asked[0].query["project_ids[]"] == ["proj_voice"]


@pytest.mark.parametrize(("said", "low", "high"), [("7", 7, 7), ("soon", 0.5, 1), ("-4", 0, 0)])
def test_a_service_that_says_how_long_to_wait_is_obeyed(slept: list[float], said: str, low: float, high: float) -> None:
    with answering([Reply("", 429, {"retry-after": said}), page(bucket(0))]) as service:
        fetch(service.url)
    (waited,) = slept
    assert low <= waited <= high


@pytest.mark.parametrize(("ahead", "low", "high"), [(timedelta(seconds=50), 2, 50), (timedelta(days=-1), 0, 0)])
def test_a_service_that_says_until_when_is_obeyed(
    slept: list[float], ahead: timedelta, low: float, high: float
) -> None:
    """Without an instant that can be read it would be a second at most."""
    until = format_datetime(datetime.now(UTC) + ahead, usegmt=True)
    with answering([Reply("", 429, {"retry-after": until}), page(bucket(0))]) as service:
        fetch(service.url)
    (waited,) = slept
    assert low <= waited <= high


def _sentence(answer: Callable[[Asked], Reply] | list[Reply]) -> str:
    with answering(answer) as service, pytest.raises(ValueError, match=r"\w") as refused:
        fetch(service.url)
    sentence = str(refused.value)
    assert KEY not in sentence
    assert KEY not in "".join(map(str, _chain(refused.value)))
    assert "\n" not in sentence
    return sentence


def _chain(error: BaseException | None) -> list[BaseException]:
    return [] if error is None else [error, *_chain(error.__cause__), *_chain(error.__context__)]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply({"error": {"message": f"Incorrect API key provided: {KEY}"}}, 401), "does not know this key (401)"),
        (Reply({"error": {"message": "Missing scopes: api.usage.read"}}, 403), "may not read costs (403)"),
    ],
)
def test_a_key_without_the_right_is_told_which_right(slept: list[float], reply: Reply, why: str) -> None:
    sentence = _sentence([reply])
    assert why in sentence
    assert "admin key with the permission api.usage.read, in OPENAI_ADMIN_KEY" in sentence
    assert slept == []


def test_what_the_service_refuses_is_told_in_its_own_words(slept: list[float]) -> None:
    sentence = _sentence([Reply({"error": {"message": f"Invalid group_by\nfor {KEY}"}}, 400)])
    assert sentence == "OpenAI refused to answer (400): Invalid group_by for ..."
    assert "Not Found" in _sentence([Reply("<html>", 404)])
    assert slept == []


def test_trouble_that_stays_ends_and_gives_no_part_of_a_bill(slept: list[float]) -> None:
    pages = [page(bucket(0), following="page_2"), Reply("", 500)]
    assert "did not answer in 6 tries: it answers 500" in _sentence(pages)
    assert len(slept) == 5


def test_a_connection_that_is_cut_every_time_ends(slept: list[float]) -> None:
    cut = Reply({"object": "page", "data": [bucket(0)] * 50}, cut=True)
    assert "it cannot be reached (RemoteProtocolError)" in _sentence([cut])
    assert len(slept) == 5


def test_nobody_waits_for_minutes(slept: list[float]) -> None:
    assert "asks to wait for 3600 seconds" in _sentence([Reply("", 429, {"retry-after": "3600"})])
    assert slept == []


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (
            Reply("<!doctype html><title>Sign in</title>", 200, {"content-type": "text/html"}),
            "no page of costs (text/html)",
        ),
        (Reply([]), "no page of costs"),
        (Reply({"object": "page"}), "no page of costs"),
        (Reply("", 302, {"location": "http://127.0.0.1:9/elsewhere"}), "refused to answer (302)"),
        (page(bucket(0), following="same"), "does not say how to get them"),
        (Reply({"object": "page", "data": [], "has_more": True, "next_page": None}), "does not say how to get them"),
    ],
)
def test_answers_that_are_no_bill_are_one_sentence(slept: list[float], reply: Reply, why: str) -> None:
    assert why in _sentence([reply])
    assert slept == []


@pytest.mark.parametrize("key", ["", "  ", "sk-admin\nX-Other: 1", "sk-ädmin", "two words"])
def test_what_is_no_key_is_never_sent(key: str) -> None:
    with (
        answering([page(bucket(0))]) as service,
        pytest.raises(ValueError, match="OPENAI_ADMIN_KEY holds no key") as refused,
    ):
        fetch_costs(FIRST, FIRST, key=key, base_url=service.url)
    assert service.asked == []
    assert not key.strip() or key.strip() not in str(refused.value)


def test_a_line_end_around_a_key_is_no_part_of_it() -> None:
    with answering([page(bucket(0))]) as service:
        fetch_costs(FIRST, FIRST, key=f" {KEY}\n", base_url=service.url)
    assert service.asked[0].headers["authorization"] == f"Bearer {KEY}"


def test_days_without_a_bucket_cost_nothing_and_days_to_come_are_not_told() -> None:
    with answering([page(bucket(1))]) as service:
        bill = fetch(service.url, days=4_000)
    assert bill.first == FIRST
    assert bill.last is not None
    assert FIRST + timedelta(days=1) <= bill.last <= datetime.now(UTC).date()


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ValueError, match=r"pip install 'realtime-spend\[reconcile\]'"):
        fetch("http://127.0.0.1:9")


def test_the_fixture_is_what_the_service_sends() -> None:
    """As the types of OpenAI's own library read it."""
    from openai.types.admin.organization import UsageCostsResponse  # noqa: PLC0415 - for this test alone

    written = json.dumps(page(bucket(0)).body)
    parsed = UsageCostsResponse.model_validate_json(written)
    assert parsed.data[0].results[0].object == "organization.costs.result"
