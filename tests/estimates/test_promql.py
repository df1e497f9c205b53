"""What is asked of a PromQL server, what is taken from its answers, and what is said when there is none to take."""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from tests.http_server import Request, serving

from realtime_spend.core.line_items import Component, Modality
from realtime_spend.estimates.promql import Key, PromqlReader, Total, Totals, counter_name, label_name
from realtime_spend.estimates.promql_server import PromqlError, PromqlServer
from realtime_spend.sinks import metrics as names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AT = datetime(2026, 11, 22, tzinfo=UTC)


@dataclass
class Answering:
    """A server on a real socket that gives one answer and keeps what it was asked."""

    port: int
    asked: list[tuple[str, dict[str, str], dict[str, list[str]]]] = field(default_factory=list)
    answer: Callable[[Request, dict[str, list[str]]], None] = lambda *_: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def answering() -> Iterator[Answering]:
    def take(request: Request) -> None:
        form = parse_qs(request.body().decode())
        state.asked.append((request.path, dict(request.headers), form))
        state.answer(request, form)

    with serving(take) as port:
        state = Answering(port)
        yield state


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering() as running:
        yield running


def say(body: object, status: int = 200, *, promised: int | None = None, **headers: str) -> Callable[..., None]:
    text = (body if isinstance(body, str) else json.dumps(body)).encode()

    def answer(request: Request, _form: object) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(text) if promised is None else promised))
        request.end_headers()
        request.wfile.write(text)

    return answer


def vector(*samples: tuple[dict[str, str], str], **more: object) -> dict[str, Any]:
    result = [{"metric": labels, "value": [AT.timestamp(), value]} for labels, value in samples]
    return {"status": "success", "data": {"resultType": "vector", "result": result}, **more}


# --- The server -------------------------------------------------------------------------------------------------------


def test_amounts_are_taken_from_text_to_the_last_digit(server: Answering) -> None:
    server.answer = say(vector(({"a": "1"}, "0.1000000000000000055"), ({}, "1.2e-07")))
    found = PromqlServer(url=f"{server.url}/", token="secret", headers={"X-Scope-OrgID": "voice"}).ask("x + 1", AT)  # noqa: S106
    assert [(dict(one.labels), one.value) for one in found] == [
        ({"a": "1"}, Decimal("0.1000000000000000055")),
        ({}, Decimal("1.2e-07")),
    ]
    [(path, headers, form)] = server.asked
    assert path == "/api/v1/query"
    assert (headers["Authorization"], headers["X-Scope-Orgid"]) == ("Bearer secret", "voice")
    assert (form["query"], form["time"]) == (["x + 1"], ["1795305600.000"])


UNAUTHORIZED = {"status": "error", "errorType": "unauthorized", "error": "no such tenant"}


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (say(UNAUTHORIZED, 401), r"refuses us \(HTTP 401\); give the right token, or tenant, for it: no such tenant$"),
        (say("<html>", 403), r"refuses us \(HTTP 403\); give the right token, or tenant, for it$"),
        (say("404 page not found", 404), "has no /api/v1/query; give the address below which it is"),
        (say("", 302, Location="https://login.example.com"), r"leads elsewhere \(HTTP 302\)"),
        (say({"status": "error", "error": "too many samples"}, 422), r"\(HTTP 422\): too many samples$"),
        (say("overloaded", 503), r"did not answer the query \(HTTP 503\)$"),
        (say({"status": "error", "error": "odd"}), "did not answer the query: odd"),
        (say("<html>Sign in</html>"), "something other than JSON"),
        (say([1, 2]), "not a PromQL server's"),
        (say({"status": "ok"}), "not a PromQL server's"),
        (say({"status": "success"}), "cannot be read"),
        (say({"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}}), "cannot be read"),
        (say(vector(({}, "NaN"))), "cannot be read .*not a finite number"),
        (say('{"status": "success", "data"', promised=10_000), "broke off its answer"),
        (say('{"status": "success", "data"'), "something other than JSON"),
        (say(vector(({}, "1"), warnings=["store a:10901 is down"])), "may lack something: store a:10901 is down"),
        (say(vector(({}, "1"), isPartial=True)), "may lack something: some of its parts did not answer"),
    ],
)
def test_what_is_no_whole_answer_is_refused_in_a_sentence(
    server: Answering, answer: Callable[..., None], sentence: str
) -> None:
    server.answer = answer
    with pytest.raises(PromqlError, match=sentence) as raised:
        PromqlServer(url=server.url, token="secret").ask("up", AT)  # noqa: S106
    assert str(raised.value).startswith(server.url)
    assert "\n" not in str(raised.value)
    assert "secret" not in f"{raised.value}{raised.value.__context__}"
    assert len(server.asked) == 1


@pytest.mark.parametrize("bundle", ["", "/nowhere/ca.crt"])
@pytest.mark.parametrize("token", [None, ""])
def test_a_token_that_is_missing_is_said_whatever_other_programs_are_told_to_trust(
    server: Answering, monkeypatch: pytest.MonkeyPatch, token: str | None, bundle: str
) -> None:
    """As one that is wrong is: a variable for another library must not put another fault in its place."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, bundle)
    server.answer = say(UNAUTHORIZED, 401)
    with pytest.raises(PromqlError, match=r"refuses us \(HTTP 401\) without a token; give one, or a tenant, for it"):
        PromqlServer(url=server.url, token=token).ask("up", AT)
    [(_, headers, _)] = server.asked
    assert "Authorization" not in headers
    with pytest.raises(PromqlError, match="give the right token"):
        PromqlServer(url=server.url, headers={"authorization": "Basic wrong"}).ask("up", AT)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("127.0.0.1:9090", "no address of a server"),
        ("ftp://127.0.0.1", "no address of a server"),
        ("http://", "no address of a server"),
        ("http://127.0.0.1:nine", "no address of a server"),
        ("http://[::1", "no address of a server"),
        ("http://127.0.0.1:9090/graph?g0.expr=up", "no address of a server"),
        ("http://me:hidden@127.0.0.1:9090", "holds a user name; give user and password as an Authorization header"),
    ],
)
def test_an_address_that_is_none_is_not_asked(url: str, sentence: str) -> None:
    with pytest.raises(PromqlError, match=sentence) as raised:
        PromqlServer(url=url).ask("up", AT)
    assert "hidden" not in str(raised.value)


def test_a_server_that_is_not_there_or_says_nothing_is_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(PromqlError, match=r"did not answer within 0\.2 s"):
            PromqlServer(url=url, timeout_seconds=0.2).ask("up", AT)
    with pytest.raises(PromqlError, match=r"cannot be reached .*is the address right, and is it running"):
        PromqlServer(url=url).ask("up", AT)


def test_a_token_with_a_line_break_is_not_sent(server: Answering) -> None:
    with pytest.raises(PromqlError, match="a token with line breaks"):
        PromqlServer(url=server.url, token="secret\n").ask("up", AT)  # noqa: S106
    assert server.asked == []


def test_a_server_on_this_machine_is_asked_directly(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    server.answer = say(vector())
    assert PromqlServer(url=server.url).ask("up", AT) == []


def test_what_is_secret_is_not_shown() -> None:
    assert "secret" not in repr(PromqlServer(url="http://x", token="secret", headers={"Cookie": "secret"}))  # noqa: S106


# --- Names ------------------------------------------------------------------------------------------------------------


def test_counters_are_named_as_the_otlp_receiver_names_them() -> None:
    named = {metric: counter_name(metric, unit) for metric, (unit, _) in names.COUNTERS.items()}
    assert named[names.COST] == "realtime_spend_cost_USD_total"
    assert named[names.BILLABLE_DURATION] == "realtime_spend_billable_duration_seconds_total"
    assert named[names.INPUT_TOKENS] == "gen_ai_client_inference_usage_input_tokens_total"
    assert label_name(names.MODALITY) == "gen_ai_token_modality"


# --- Totals -----------------------------------------------------------------------------------------------------------


def reader_of(server: Answering, counters: dict[str, list[tuple[dict[str, str], str]]], **only: str) -> PromqlReader:
    """A reader of a server that knows these counters, each with what it was incremented by."""

    def answer(request: Request, form: dict[str, list[str]]) -> None:
        [query] = form["query"]
        if query.startswith("count(resets("):
            say(vector(*counters.get("resets", [])))(request, form)
            return
        [found] = [samples for metric, samples in all_.items() if f"last_over_time({metric}{{" in query]
        say(vector(*found))(request, form)

    all_ = {counter_name(metric, unit): counters.get(metric, []) for metric, (unit, _) in names.COUNTERS.items()}
    server.answer = answer
    return PromqlReader(server=PromqlServer(url=server.url), names=names, only=only)


WHO = {"gen_ai_provider_name": "openai", "realtime_spend_model": "m", "realtime_spend_version": "2025-12-15"}


def key(modality: Modality, component: Component) -> Key:
    return Key(
        provider="openai",
        account=None,
        model="m",
        version="2025-12-15",
        scope=None,
        modality=modality,
        component=component,
    )


def of(modality: str, **more: str) -> dict[str, str]:
    return {**WHO, "gen_ai_token_modality": modality, **more}


def test_parts_are_disjoint_and_what_has_no_price_has_no_cost(server: Answering) -> None:
    reader = reader_of(
        server,
        {
            names.INPUT_TOKENS: [(of("audio"), "2845"), (of("text"), "5378")],
            names.CACHE_READ_TOKENS: [(of("audio"), "2816"), (of("text"), "5376")],
            names.OUTPUT_TOKENS: [(of("audio"), "1019")],
            names.COST: [(of("audio", realtime_spend_component="input"), "0.00029")],
            names.BILLABLE_DURATION: [(WHO, "4.5")],
        },
    )
    found = reader.between(AT, AT + timedelta(hours=1))
    assert found.by_key == {
        key(Modality.AUDIO, Component.INPUT): Total(Decimal(29), Decimal("0.00029")),
        key(Modality.TEXT, Component.INPUT): Total(Decimal(2), None),
        key(Modality.AUDIO, Component.CACHED_INPUT): Total(Decimal(2816), None),
        key(Modality.TEXT, Component.CACHED_INPUT): Total(Decimal(5376), None),
        key(Modality.AUDIO, Component.OUTPUT): Total(Decimal(1019), None),
        key(Modality.AUDIO, Component.DURATION): Total(Decimal("4.5"), None),
    }
    assert (found.unsplit, found.problems) == ({}, [])


def test_cached_tokens_that_nobody_split_are_taken_from_no_modality(server: Answering) -> None:
    """Of 60 cached tokens without a modality 20 lie within input of none either; 40 lie within text or audio."""
    reader = reader_of(
        server,
        {
            names.INPUT_TOKENS: [(of("audio"), "100"), (of("text"), "50"), (of("unknown"), "20")],
            names.CACHE_READ_TOKENS: [(of("unknown"), "60")],
        },
    )
    found = reader.between(AT, AT + timedelta(hours=1))
    quantities = {(key.modality, key.component): total.quantity for key, total in found.by_key.items()}
    assert quantities == {
        (Modality.AUDIO, Component.INPUT): 100,
        (Modality.TEXT, Component.INPUT): 50,
        (Modality.UNKNOWN, Component.INPUT): 0,
        (Modality.UNKNOWN, Component.CACHED_INPUT): 20,
    }
    assert found.unsplit == {key(Modality.UNKNOWN, Component.CACHED_INPUT): 40}


def test_counters_that_fall_are_a_problem_that_is_said(server: Answering) -> None:
    reader = reader_of(server, {"resets": [({}, "3")]})
    [problem] = reader.between(AT, AT + timedelta(hours=1)).problems
    assert problem.startswith("3 series of realtime_spend.cost fell between 2026-11-22 00:00 and 2026-11-22 01:00 UTC")
    assert "share a service.instance.id" in problem


def test_a_range_is_asked_for_by_utc_days_that_meet(server: Answering) -> None:
    reader = reader_of(server, {names.BILLABLE_DURATION: [(WHO, "1.5")]})
    start = AT - timedelta(hours=30)
    found = reader.between(start.astimezone(), AT + timedelta(minutes=10))
    assert found.by_key == {key(Modality.AUDIO, Component.DURATION): Total(Decimal("4.5"))}
    billed = [form for _, _, form in server.asked if "billable" in form["query"][0]]
    assert [float(form["time"][0]) - AT.timestamp() for form in billed] == [-86400, 0, 600]
    for form, window in zip(billed, ("21600000ms", "86400000ms", "600000ms"), strict=True):
        series = "realtime_spend_billable_duration_seconds_total{}"
        inside = f"last_over_time({series}[{window}])"
        before = f"last_over_time({series}[86400000ms] offset {window})"
        assert form["query"][0].endswith(f"({inside} - ({before} or {inside} * 0))")
    days = list(reader.days(AT - timedelta(hours=1), AT + timedelta(hours=1)))
    assert [(day.start, day.end) for day in days] == [
        (AT - timedelta(days=1), AT),
        (AT, AT + timedelta(days=1)),
    ]


def test_only_the_series_that_were_asked_for_are(server: Answering) -> None:
    reader = reader_of(server, {}, job='voice "prod"\\eu')
    reader.between(AT, AT + timedelta(hours=1))
    assert all('{job="voice \\"prod\\"\\\\eu"}' in form["query"][0] for _, _, form in server.asked)


def test_a_part_of_a_later_version_is_said_and_not_dropped(server: Answering) -> None:
    reader = reader_of(server, {names.OUTPUT_TOKENS: [(of("video"), "1")]})
    with pytest.raises(PromqlError, match=r"series of video\.output are none that this version knows"):
        reader.between(AT, AT + timedelta(hours=1))


def test_what_is_known_and_what_is_not_add_up_to_what_is_known() -> None:
    place = key(Modality.TEXT, Component.INPUT)
    first, second = (Totals(start=AT, end=AT) for _ in range(2))
    first.of(place).cost = Decimal("0.5")
    second.of(place).quantity = Decimal(3)
    second.unsplit[place] = Decimal(2)
    second.problems.append("said")
    for _ in range(2):
        first.add(second)
    assert first.by_key == {place: Total(Decimal(6), Decimal("0.5"))}
    assert (first.unsplit, first.problems) == ({place: Decimal(4)}, ["said"])
