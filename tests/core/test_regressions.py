"""Faults that once were, each by its smallest case: money that was wrong, guessed or lost."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from tests.known_usage import mtok

from realtime_spend.core.card_format import parse_card
from realtime_spend.core.connection import Connection
from realtime_spend.core.endpoints import Endpoint, recognise
from realtime_spend.core.explanation import Assumptions, Explanation, explain
from realtime_spend.core.line_items import Modality, Provider, Scope, Sku
from realtime_spend.core.naming import Deployment, Naming
from realtime_spend.core.pricing import price
from realtime_spend.core.rates import Prices, RateBook, by_family
from realtime_spend.core.reading import read_amounts
from realtime_spend.core.session import Metered, Sessions
from realtime_spend.core.session_log import read_log
from realtime_spend.core.usage import Kind, Reported
from realtime_spend.rate_cards import load_book

if TYPE_CHECKING:
    from collections.abc import Callable

_AT = datetime(2026, 11, 22, tzinfo=UTC)


def _endpoint(query: str, port: int = 443, path: str = "/v1/realtime") -> Endpoint:
    endpoint = recognise("api.openai.com", port, path, query)
    assert endpoint is not None
    return endpoint


def _session(model: str = "gpt-realtime") -> dict[str, Any]:
    return {"type": "session.created", "session": {"id": "sess_1", "model": model}}


_CREATED = {"type": "response.created", "response": {"id": "resp_1"}}
_DONE = {"type": "response.done", "response": {"id": "resp_1", "usage": {"input_tokens": 1, "output_tokens": 0}}}


def _metered(learned: Any) -> list[Metered]:
    return [one for one in learned if isinstance(one, Metered)]


def test_a_sideband_that_sees_a_response_first_prices_it_at_the_model_of_its_session() -> None:
    sessions = Sessions()
    main, sideband = (
        Connection(_endpoint("model=gpt-realtime"), sessions),
        Connection(_endpoint("call_id=rtc_1"), sessions),
    )
    for event in (_session(), _CREATED):
        main.receive_event(event, 1)
    [first] = _metered(sideband.receive_event(_DONE, 2))
    assert (first.named.said, first.session) == ("gpt-realtime", "sess_1")
    assert _metered(main.receive_event(_DONE, 3)) == []


def test_a_response_goes_on_when_the_main_socket_closes_and_the_sideband_does_not() -> None:
    sessions = Sessions()
    main, sideband = (
        Connection(_endpoint("model=gpt-realtime"), sessions),
        Connection(_endpoint("call_id=rtc_1"), sessions),
    )
    for event in (_session(), _CREATED):
        main.receive_event(event, 1)
    sideband.receive_event(_CREATED, 1)
    assert _metered(main.close(2)) == []
    [done] = _metered(sideband.receive_event(_DONE, 3))
    assert (done.usage.reported, done.named.said) == (Reported.REPORTED, "gpt-realtime")


def test_two_services_on_one_machine_do_not_share_their_ids() -> None:
    sessions = Sessions()
    for port in (8001, 8002):
        connection = Connection(_endpoint("model=gpt-realtime", port), sessions)
        connection.receive_event(_session(), 1)
        assert len(_metered(connection.receive_event(_DONE, 2))) == 1


class _Interrupted(str):
    """A message that takes so long to be read that another thread does something meanwhile."""

    __slots__ = ("meanwhile",)

    meanwhile: Callable[[], object]

    def __contains__(self, part: object) -> bool:
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return super().__contains__(part)  # type: ignore[operator]  # what is looked for is text


@pytest.mark.parametrize("another", ["sends", "is told the session"])
def test_what_a_thread_sends_of_a_translation_is_counted_whatever_another_one_does_meanwhile(another: str) -> None:
    connection = Connection(_endpoint("model=gpt-realtime-translate", path="/v1/realtime/translations"), Sessions())
    # A second of sound, which is 48,000 bytes.
    append = json.dumps({"type": "session.input_audio_buffer.append", "audio": "AAAA" * 16_000})
    message = _Interrupted(append)
    if another == "sends":
        connection.receive_event(_session("gpt-realtime-translate"), 1)
        message.meanwhile = lambda: connection.sent(append, 1)
    else:
        connection.sent(append, 1)
        message.meanwhile = lambda: connection.receive_event(_session("gpt-realtime-translate"), 1)
    connection.sent(message, 2)
    [told] = _metered(connection.close(3))
    assert (told.usage.reported, told.usage.amounts.seconds) == (Reported.ESTIMATED, Decimal(2))


def test_a_translation_is_missing_since_no_event_tells_its_usage() -> None:
    connection = Connection(_endpoint("model=gpt-realtime-translate", path="/v1/realtime/translations"), Sessions())
    connection.receive_event(_session("gpt-realtime-translate"), 1)
    [missing] = _metered(connection.close(2))
    assert (missing.usage.kind, missing.usage.reported) == (Kind.TRANSLATION, Reported.MISSING)


def test_what_the_total_leaves_for_the_other_side_is_counted_there() -> None:
    usage = {"total_tokens": 300, "input_tokens": 100, "input_token_details": {"text_tokens": 100}}
    amounts = read_amounts(usage, text_output=False)
    assert amounts.tokens is not None
    assert amounts.tokens.output == {Modality.UNKNOWN: 200}
    prices = load_book().prices(Sku(provider=Provider.OPENAI, model="gpt-realtime"), _AT)
    priced = price(amounts, prices)
    assert priced.low == mtok("4", 100) + mtok("16", 200)
    assert priced.high == mtok("4", 100) + mtok("64", 200)


def _own(**tables: Any) -> RateBook:
    document = {
        "format": 1,
        "provider": "openai",
        "name": "own",
        "date": date(2026, 11, 1),
        "currency": "USD",
        **tables,
    }
    ours = load_book()
    card = parse_card(document)
    return RateBook([by_family(card, [card, *ours.cards]), *ours.cards])


def _text_input(book: RateBook, version: str | None) -> Decimal:
    prices = book.prices(Sku(provider=Provider.OPENAI, model="gpt-realtime", version=version), _AT)
    assert isinstance(prices, Prices)
    return next(rate.unit_price for part, rate in prices.rates.items() if part == "text.input")


def test_a_rate_of_ones_own_may_be_given_under_any_listed_name() -> None:
    book = _own(rate=[{"model": "gpt-realtime-2025-08-28", "text": {"input": "1"}}])
    assert _text_input(book, "2025-08-28") == 1
    assert _text_input(book, None) == 4, "the alias may be another version by now"


def test_a_discount_may_be_given_under_any_listed_name() -> None:
    book = _own(discount=[{"model": "gpt-realtime-2025-08-28", "off": "0.5"}])
    assert _text_input(book, "2025-08-28") == Decimal(4) * Decimal("0.5")
    assert _text_input(book, None) == 4


@pytest.mark.parametrize(
    "tables",
    [
        {"rate": [{"model": "gpt-realtme", "text": {"input": "1"}}]},
        {"discount": [{"model": "gpt-realtme", "off": "0.5"}]},
    ],
)
def test_a_misspelt_model_on_a_card_of_ones_own_is_refused(tables: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="lists 'gpt-realtme'"):
        _own(**tables)


def _explained(document: object, deployments: dict[str, Deployment] | None = None, **assumed: Any) -> Explanation:
    book = load_book()
    return explain(read_log(json.dumps(document)), Naming(book, deployments), book, Assumptions(at=_AT, **assumed))


@pytest.mark.parametrize(("model", "a_minute"), [("gpt-live-1", "0.05"), ("gpt-realtime-translate", "0.034")])
def test_seconds_of_live_and_translation_models_are_priced_on_their_own_cards(model: str, a_minute: str) -> None:
    explanation = _explained({"seconds": 90}, model=model)
    assert explanation.total == Decimal(a_minute) * 90 / 60
    assert explanation.problems == ()


def test_what_the_asker_says_of_the_scope_goes_before_the_deployment_map() -> None:
    deployments = {"gpt-realtime": Deployment(scope=Scope.DATAZONE)}
    usage = {"input_tokens": 10, "output_tokens": 0, "input_token_details": {"text_tokens": 10}}
    azure = {"model": "gpt-realtime", "provider": Provider.AZURE}
    assert _explained(usage, deployments, **azure).total == mtok("4.4", 10)
    assert _explained(usage, deployments, scope=Scope.GLOBAL, **azure).total == mtok("4", 10)


def test_no_wrong_sum_is_held_against_a_total_that_is_not_whole() -> None:
    details = {"text_tokens": 10, "image_tokens": 40, "cached_tokens": 5, "cached_tokens_details": {"text_tokens": 5}}
    usage = {"input_tokens": 50, "output_tokens": 0, "input_token_details": details}
    explanation = _explained(usage, model="gpt-4o-mini-realtime-preview")
    assert explanation.total == mtok("0.6", 5) + mtok("0.3", 5)
    assert explanation.naive == ()
