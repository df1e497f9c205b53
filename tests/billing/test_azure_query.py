"""Azure's Cost Management over a real socket: its pages, its limits, and answers for fewer days than were asked."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from tests.billing.answering import Asked, Reply, answering

from realtime_spend.billing import azure_query
from realtime_spend.billing.azure_asking import CostQueries
from realtime_spend.billing.azure_query import fetch_azure
from realtime_spend.core.reconciliation.bills import LeftOut, Scale
from realtime_spend.rate_cards import load_book

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_spend.core.reconciliation.bills import Bill

SCOPE = "/subscriptions/1c4a2f6e-0000-4000-8000-000000000001"
ACCOUNT = f"{SCOPE}/resourcegroups/voice/providers/microsoft.cognitiveservices/accounts/Contoso-Voice"
PATH = f"{SCOPE}/providers/Microsoft.CostManagement/query"
TOKEN = "a-token-that-nobody-may-see"  # noqa: S105 - of nobody
AUDIO = "gpt rt aud mn in gl 1215 1M Tokens"
BOOK = load_book()
FIRST = date(2026, 10, 1)
COLUMNS = ["Cost", "UsageQuantity", "UsageDate", "Meter", "ResourceId", "Currency"]


class Credential:
    """Somebody who is signed in."""

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        return AccessToken(TOKEN, int(time.time()) + 3_600)


class NobodySignedIn(Credential):
    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        raise ClientAuthenticationError("Please run 'az login'\nto set up an account")


def row(day: date, cost: Any, quantity: Any, meter: str = AUDIO, currency: str = "USD") -> list[Any]:
    return [cost, quantity, int(day.strftime("%Y%m%d")), meter, ACCOUNT, currency]


def result(*rows: list[Any], following: str | None = None, columns: list[str] = COLUMNS) -> Reply:
    properties = {
        "nextLink": following,
        "columns": [{"name": name, "type": "Number"} for name in columns],
        "rows": list(rows),
    }
    return Reply({"id": f"{PATH}/1", "type": "Microsoft.CostManagement/query", "properties": properties})


def fetch(url: str, days: int = 1, scope: str = SCOPE, **options: Any) -> Bill:
    last = FIRST + timedelta(days=days - 1)
    return fetch_azure(scope, FIRST, last, **{"credential": Credential(), "endpoint": url, "book": BOOK, **options})


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited, without waiting."""
    waits: list[float] = []

    def queries(scope: str, **options: Any) -> CostQueries:
        return CostQueries(scope, **options, sleep=waits.append)

    monkeypatch.setattr(azure_query, "CostQueries", queries)
    return waits


def test_a_row_is_an_item_and_pages_are_followed() -> None:
    def answer(asked: Asked) -> Reply:
        if "page" in asked.query:
            return result(row(FIRST + timedelta(days=1), 0.4, 40_000))
        return result(row(FIRST, 11.00000001, 1_100_000), following=f"http://{asked.headers['host']}{PATH}?page=2")

    steps: list[int] = []
    with answering(answer) as service:
        bill = fetch(service.url, days=2, advance=steps.append)
    first, second = bill.items
    assert (first.day, first.account, first.cost, first.currency) == (
        FIRST,
        "contoso-voice",
        Decimal("11.00000001"),
        "USD",
    )
    assert (first.quantity, first.scale, first.to_usd) == (Decimal(1_100_000), Scale.SINGLE, Decimal(1))
    assert (first.meter.model, first.meter.version, first.meter.part) == (
        "gpt-realtime-mini",
        "2025-12-15",
        "audio.input",
    )
    assert (second.cost, second.quantity) == (Decimal("0.4"), Decimal(40_000))
    assert (bill.first, bill.last) == (FIRST, FIRST + timedelta(days=1))
    assert bill.made is not None
    assert bill.problems == []
    assert steps == [2]
    assert [asked.path for asked in service.asked] == [PATH, PATH]
    assert service.asked[0].body == service.asked[1].body
    assert all(asked.headers["authorization"] == f"Bearer {TOKEN}" for asked in service.asked)


def test_what_is_asked_is_what_the_service_promises_to_answer() -> None:
    with answering([result()]) as service:
        fetch(service.url, days=3)
    body = service.asked[0].body
    assert service.asked[0].method == "POST"
    assert service.asked[0].query == {"api-version": ["2025-03-01"]}
    assert body["timePeriod"] == {"from": "2026-10-01T00:00:00+00:00", "to": "2026-10-03T23:59:59+00:00"}
    dataset = body["dataset"]
    assert {one["name"] for one in dataset["aggregation"].values()} == {"Cost", "UsageQuantity"}
    assert [one["name"] for one in dataset["grouping"]] == ["Meter", "ResourceId"]
    categories, charges = (one["dimensions"]["values"] for one in dataset["filter"]["and"])
    assert set(categories) == {"Cognitive Services", "Foundry Models", "Azure OpenAI"}
    assert charges == ["Usage"]


def _days_asked(asked: Asked) -> tuple[str, str]:
    period = asked.body["timePeriod"]
    return period["from"][:10], period["to"][:10]


def test_long_times_are_asked_for_in_months() -> None:
    steps: list[int] = []
    with answering([result()]) as service:
        bill = fetch_azure(
            SCOPE,
            date(2026, 7, 1),
            date(2026, 9, 15),
            credential=Credential(),
            endpoint=service.url,
            book=BOOK,
            advance=steps.append,
        )
    assert [_days_asked(asked) for asked in service.asked] == [
        ("2026-07-01", "2026-07-31"),
        ("2026-08-01", "2026-08-31"),
        ("2026-09-01", "2026-09-15"),
    ]
    assert steps == [31, 31, 15]
    assert (bill.first, bill.last) == (date(2026, 7, 1), date(2026, 9, 15))


def test_an_answer_for_the_last_day_alone_is_asked_again_for_the_others() -> None:
    """As some have met it; every day that has costs is there in the end."""

    def answer(asked: Asked) -> Reply:
        last = date.fromisoformat(_days_asked(asked)[1])
        return result(*([row(last, 1, 100_000)] if last >= FIRST + timedelta(days=1) else []))

    with answering(answer) as service:
        bill = fetch(service.url, days=4)
    assert sorted(item.day for item in bill.items) == [FIRST + timedelta(days=number) for number in (1, 2, 3)]
    assert len(service.asked) == 4


def test_days_to_come_are_never_asked_for() -> None:
    today = datetime.now(UTC).date()
    with answering([result()]) as service:
        ahead: dict[str, Any] = {"credential": Credential(), "endpoint": service.url, "book": BOOK}
        bill = fetch_azure(SCOPE, today - timedelta(days=1), today + timedelta(days=40), **ahead)
        none = fetch_azure(SCOPE, today + timedelta(days=5), today + timedelta(days=9), **ahead)
    assert len(service.asked) == 1
    assert bill.last is not None
    assert bill.last <= datetime.now(UTC).date()
    assert (none.first, none.items) == (None, [])


@pytest.mark.parametrize(
    ("meter", "cost", "quantity", "expected"),
    [
        # 10 USD a million: tokens, thousands and millions of them.
        (AUDIO, "11", "1100000", ("1100000", Scale.SINGLE)),
        (AUDIO, "11", "1100", ("1100000", Scale.BLOCKS)),
        (AUDIO, "11", "1.1", ("1100000", Scale.BLOCKS)),
        # In a region and with a discount.
        (AUDIO, "13.2", "1", ("1000000", Scale.BLOCKS)),
        (AUDIO, "6", "1", ("1000000", Scale.BLOCKS)),
        (AUDIO, "300", "1", (None, Scale.UNSETTLED)),
        (AUDIO, "0", "0", ("0", Scale.SINGLE)),
        # 1.02 USD an hour.
        ("gpt-realtime-whisper Opt Gl Unit", "1.02", "1", ("3600", Scale.BLOCKS)),
        ("gpt-realtime-whisper Opt Gl Unit", "1.02", "3600", ("3600", Scale.SINGLE)),
        # Nothing to tell it by.
        ("gpt-transcribe Gl Unit", "0.27", "1", (None, Scale.UNSETTLED)),
    ],
)
def test_the_price_tells_the_scale(meter: str, cost: str, quantity: str, expected: tuple[str | None, Scale]) -> None:
    with answering([result(row(FIRST, float(cost), float(quantity), meter=meter))]) as service:
        (item,) = fetch(service.url).items
    tokens, scale = expected
    assert item.quantity == (None if tokens is None else Decimal(tokens))
    assert item.scale is scale
    assert item.cost == Decimal(cost)


def test_another_currency_is_converted_by_its_own_rows() -> None:
    def answer(asked: Asked) -> Reply:
        if asked.body["dataset"]["aggregation"]["totalCost"]["name"] == "CostUSD":
            return result(row(FIRST, 11, 1_100_000), columns=["CostUSD", *COLUMNS[1:]])
        return result(row(FIRST, 10, 1_100_000, currency="EUR"))

    with answering(answer) as service:
        (item,) = fetch(service.url).items
    assert (item.cost, item.currency, item.to_usd) == (Decimal(10), "EUR", Decimal("1.1"))
    assert item.quantity == Decimal(1_100_000)


def test_without_costs_in_usd_the_rate_is_asked_for() -> None:
    def answer(asked: Asked) -> Reply:
        if asked.body["dataset"]["aggregation"]["totalCost"]["name"] == "CostUSD":
            return Reply({"error": {"code": "BadRequest", "message": "Invalid column CostUSD"}}, 400)
        return result(row(FIRST, 10, 1_100_000, currency="EUR"))

    with answering(answer) as service:
        bill = fetch(service.url)
    assert [(item.to_usd, item.quantity, item.scale) for item in bill.items] == [(None, None, Scale.UNSETTLED)]
    assert "say it with --fx" in bill.problems[0].message


def test_other_meters_are_left_out_and_unread_ones_kept() -> None:
    rows = [
        row(FIRST, 1, 1, meter="gpt 5.6 inp Gl 1M Tokens"),
        row(FIRST, 2.5, 1, meter="gpt aud mini Inp glbl Tokens"),
        row(FIRST, 3, 1, meter="gpt rt hologram in gl 1M Tokens"),
        row(FIRST, 4, 1, meter="gpt rt hologram in gl 1M Tokens"),
    ]
    with answering([result(*rows)]) as service:
        bill = fetch(service.url)
    assert bill.left_out == [LeftOut(what="other meters", rows=2, cost=Decimal("3.5"), currency="USD")]
    assert [(item.cost, item.quantity, item.meter.part) for item in bill.items] == [
        (Decimal(3), None, None),
        (Decimal(4), None, None),
    ]
    assert ["'hologram'" in problem.message for problem in bill.problems] == [True]


def test_what_is_left_out_is_added_up_over_all_that_was_asked() -> None:
    def answer(asked: Asked) -> Reply:
        first = date.fromisoformat(_days_asked(asked)[0])
        return result(row(first, 1.5, 1, meter="gpt 5.6 inp Gl 1M Tokens"))

    with answering(answer) as service:
        bill = fetch(service.url, days=40)
    assert bill.left_out == [LeftOut(what="other meters", rows=2, cost=Decimal(3), currency="USD")]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.mgmt.costmanagement", None)
    with pytest.raises(ValueError, match=r"pip install 'realtime-spend\[reconcile\]'"):
        fetch("http://127.0.0.1:9")


def test_an_empty_answer_costs_nothing() -> None:
    with answering([Reply("", 204)]) as service:
        bill = fetch(service.url)
    assert (bill.items, bill.problems, bill.first) == ([], [], FIRST)


def test_rows_that_cannot_be_read_are_said_and_the_rest_counted() -> None:
    rows = [row(FIRST, "much", 1), row(FIRST, 1, 100_000), [1], row(date(2025, 10, 1), 1, 1)]
    with answering([result(*rows)]) as service:
        bill = fetch(service.url)
    assert [item.cost for item in bill.items] == [1]
    assert [(problem.row, problem.column) for problem in bill.problems] == [
        (1, "cost"),
        (3, "columns"),
        (4, "usagedate"),
    ]


def test_above_a_subscription_accounts_cannot_be_told() -> None:
    scope = "/providers/Microsoft.Management/managementGroups/Contoso"
    columns = [name for name in COLUMNS if name != "ResourceId"]
    cells = [cell for name, cell in zip(COLUMNS, row(FIRST, 1, 100_000), strict=True) if name != "ResourceId"]
    with answering([result(cells, columns=columns)]) as service:
        bill = fetch(service.url, scope=scope)
    assert [item.account for item in bill.items] == [None]
    assert "does not tell accounts apart" in bill.problems[0].message
    assert [one["name"] for one in service.asked[0].body["dataset"]["grouping"]] == ["Meter"]


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"x-ms-ratelimit-microsoft.costmanagement-qpu-retry-after": "17"}, 17),
        (
            {
                "x-ms-ratelimit-microsoft.costmanagement-entity-retry-after": "8",
                "x-ms-ratelimit-microsoft.costmanagement-tenant-retry-after": "31",
                "retry-after": "3",
            },
            31,
        ),
        ({"retry-after": "soon"}, 5),
        ({}, 5),
    ],
)
def test_the_longest_wait_that_any_limit_asks_for_is_obeyed(
    slept: list[float], headers: dict[str, str], waits: float
) -> None:
    busy = Reply({"error": {"code": "429", "message": "Too many requests"}}, 429, headers)
    with answering([busy, result(row(FIRST, 1, 100_000))]) as service:
        bill = fetch(service.url)
    assert len(bill.items) == 1
    assert slept == [waits]


@pytest.mark.parametrize(
    "trouble", [Reply("", 503), Reply("<html>", 502), Reply({"properties": {"rows": [[0]] * 900}}, cut=True)]
)
def test_trouble_that_passes_is_waited_for(slept: list[float], trouble: Reply) -> None:
    with answering([trouble, trouble, result(row(FIRST, 1, 100_000))]) as service:
        assert len(fetch(service.url).items) == 1
    assert slept == [5, 10]


def _sentence(answer: Callable[[Asked], Reply] | list[Reply], **options: Any) -> str:
    with answering(answer) as service, pytest.raises(ValueError, match=r"\w") as refused:
        fetch(service.url, **options)
    sentence = str(refused.value)
    assert TOKEN not in sentence
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply({"error": {"message": "no"}}, 401), r"does not let us read the costs of /subscriptions/.* \(401\)"),
        (Reply({"error": {"message": "no"}}, 403), r"role Cost Management Reader"),
        (Reply({"error": {"message": "no"}}, 404), r"knows no scope /subscriptions/"),
        (Reply({"error": {"message": "Invalid\ndimension"}}, 400), r"refused to answer \(400\): Invalid dimension"),
        (Reply("<html>", 400, {"content-type": "text/html"}), r"refused to answer \(400\): Bad Request"),
        (Reply("<html>Sign in</html>", 200, {"content-type": "text/html"}), r"no result of a query \(text/html\)"),
        (Reply({"value": []}), r"no result of a query"),
        (Reply("", 429, {"retry-after": "4000"}), r"asks to wait for 4000 seconds"),
        (result(following="https://elsewhere.example/next"), r"not where on the same host"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(slept: list[float], reply: Reply, why: str) -> None:
    assert re.search(why, _sentence([reply]))
    assert slept == []


def test_trouble_that_stays_ends(slept: list[float]) -> None:
    assert "did not answer in 6 tries: it answers 500" in _sentence([Reply("", 500)])
    assert slept == [5, 10, 20, 40, 80]


def test_who_is_not_signed_in_is_told_so() -> None:
    sentence = _sentence([result()], credential=NobodySignedIn())
    assert "does not let us in (Please run 'az login')" in sentence


class WrongSecret(Credential):
    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        raise ClientAuthenticationError(
            "DefaultAzureCredential failed to retrieve a token from the included credentials.\n"
            "Attempted credentials:\n"
            "\tEnvironmentCredential: Authentication failed: AADSTS7000215: Invalid client secret provided.\n"
            "To mitigate this issue, see the guidelines."
        )


def test_whom_azure_refuses_is_told_why() -> None:
    sentence = _sentence([result()], credential=WrongSecret())
    assert "does not let us in (EnvironmentCredential: Authentication failed: AADSTS7000215: Invalid client" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("scope", ["", "subscriptions/1", "/subscriptions/{1}", "/subscriptions/1?x=1"])
def test_what_is_no_scope_is_not_asked(scope: str) -> None:
    assert "is no scope of Azure's" in _sentence([result()], scope=scope)


def test_a_token_never_leaves_without_tls() -> None:
    with pytest.raises(ValueError, match=r"has no TLS, and a token is not sent without"):
        fetch("http://costs.example")
