from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from tests.known_usage import F1, T1, T1_COST, T3, mtok

from realtime_spend.core.card_format import parse_card
from realtime_spend.core.explanation import Assumptions, Explanation, explain
from realtime_spend.core.line_items import Provider, Scope
from realtime_spend.core.naming import Deployment, Naming
from realtime_spend.core.rates import RateBook, Reason
from realtime_spend.core.session_log import Log, read_log
from realtime_spend.rate_cards import load_book

Explain = Callable[..., Explanation]
_AT = datetime(2026, 11, 18, 10, tzinfo=UTC)
_MINI = "gpt-4o-mini-realtime-preview-2024-12-17"


def _f1() -> Decimal:
    text = mtok("0.6", 5378 - 5376) + mtok("0.3", 5376) + mtok("2.4", 250)
    return text + mtok("10", 2845 - 2816) + mtok("0.3", 2816) + mtok("20", 1019)


def _done(usage: object, response_id: str = "resp_1") -> dict[str, Any]:
    return {"type": "response.done", "response": {"id": response_id, "status": "completed", "usage": usage}}


def _transcribed(usage: object, item_id: str = "item_1") -> dict[str, Any]:
    kind = "conversation.item.input_audio_transcription.completed"
    return {"type": kind, "item_id": item_id, "content_index": 0, "usage": usage}


def _session(model: str | None = None, transcription: str | None = None) -> dict[str, Any]:
    session: dict[str, Any] = {"id": "sess_1"}
    if model:
        session["model"] = model
    if transcription:
        session["audio"] = {"input": {"transcription": {"model": transcription}}}
    return {"type": "session.created", "session": session}


@pytest.fixture(scope="module")
def book() -> RateBook:
    return load_book()


@pytest.fixture
def explained(book: RateBook) -> Explain:
    def run(*values: object, deployments: dict[str, Deployment] | None = None, **assumed: Any) -> Explanation:
        naming = Naming(book, deployments)
        return explain(Log(values=values), naming, book, Assumptions(**{"at": _AT, **assumed}))

    return run


def _lines(explanation: Explanation) -> dict[str, Any]:
    return {str(line.part): (line.quantity, line.cost) for line in explanation.lines}


def _naive(explanation: Explanation) -> dict[str, Decimal]:
    return {naive.name: naive.total for naive in explanation.naive}


def _kinds(explanation: Explanation) -> list[str]:
    return [str(problem.kind) for problem in explanation.problems]


@pytest.mark.parametrize(
    "value",
    [F1, {"usage": F1}, {"response": {"usage": F1}}, _done(F1), {"object": "realtime.response", "usage": F1}],
    ids=["bare", "wrapped", "in a response", "event", "response object"],
)
def test_a_usage_costs_the_same_in_whatever_it_is_wrapped(value: object, explained: Explain) -> None:
    found = explained(value, model=_MINI)
    assert found.total == _f1() == Decimal("0.0237288")
    assert (found.low, found.high, found.currency, found.usages) == (None, None, "USD", 1)
    assert found.problems == ()
    assert _lines(found) == {
        "text.input": (2, mtok("0.6", 2)),
        "text.cached_input": (5376, mtok("0.3", 5376)),
        "text.output": (250, mtok("2.4", 250)),
        "audio.input": (29, mtok("10", 29)),
        "audio.cached_input": (2816, mtok("0.3", 2816)),
        "audio.output": (1019, mtok("20", 1019)),
    }
    assert {line.model for line in found.lines} == {"gpt-4o-mini-realtime-preview"}
    assert found.card is not None
    assert found.card.startswith("openai@")


def test_the_common_wrong_sums_are_those_that_people_arrive_at(explained: Explain) -> None:
    found = explained(F1, model=_MINI)
    ignored = mtok("0.6", 5378) + mtok("2.4", 250) + mtok("10", 2845) + mtok("20", 1019)
    cached = mtok("0.3", 5376) + mtok("0.3", 2816)
    text_alone = mtok("0.6", 2 + 29) + mtok("0.3", 5376 + 2816) + mtok("2.4", 250 + 1019)
    assert ignored == Decimal("0.0526568")
    assert _naive(found) == {
        "cache_ignored": ignored,
        "cache_added": ignored + cached,
        "modality_ignored": text_alone,
    }
    by_name = {naive.name: naive for naive in found.naive}
    ratio = by_name["cache_ignored"].ratio
    assert ratio == (ignored / _f1()).quantize(Decimal("1e-12"))
    assert all(naive.why for naive in found.naive)


def test_reasoning_counted_twice_is_a_wrong_sum(explained: Explain) -> None:
    usage = {
        "total_tokens": 100,
        "input_tokens": 60,
        "output_tokens": 40,
        "input_token_details": {"text_tokens": 60},
        "output_token_details": {"text_tokens": 40, "reasoning_tokens": 30},
    }
    found = explained(usage, model="gpt-realtime-2.1")
    right = mtok("4", 60) + mtok("24", 40)
    assert found.total == right
    assert _naive(found) == {"reasoning_added": right + mtok("24", 30)}


def test_leaving_the_transcriptions_out_is_a_wrong_sum(explained: Explain) -> None:
    found = explained(_session(_MINI, "whisper-1"), _done(F1), _transcribed(T3))
    speech = Decimal("0.006") * Decimal("9.3") / 60
    assert found.total == _f1() + speech
    assert _naive(found)["transcription_ignored"] == _f1()


def test_a_transcription_alone_has_nothing_to_leave_out(explained: Explain) -> None:
    assert "transcription_ignored" not in _naive(explained(_transcribed(T3), model="whisper-1"))


def test_a_part_without_a_text_rate_leaves_no_sum_at_text_rates(explained: Explain) -> None:
    mixed = explained(_session(_MINI), _done(F1), _transcribed(T1))
    assert "modality_ignored" not in _naive(mixed)


def test_a_log_is_priced_with_the_models_that_it_names(explained: Explain) -> None:
    found = explained(_session(_MINI, "gpt-4o-transcribe"), _done(F1), _transcribed(T1), _done(F1, "resp_2"))
    assert found.total == _f1() + _f1() + T1_COST
    assert found.usages == 3
    assert {line.model for line in found.lines} == {"gpt-4o-mini-realtime-preview", "gpt-4o-transcribe"}
    first = found.lines[0]
    assert (str(first.part), first.cost) == ("text.input", mtok("0.6", 2 + 2))
    assert first.quantity == 2 + 2


def test_a_running_total_is_not_added_up_and_a_delegated_model_keeps_its_name(explained: Explain) -> None:
    log: list[object] = [{"type": "session.started", "session": {"id": "live_1", "model": "gpt-live-1"}}]
    log += [{"type": "session.usage.updated", "usage": {"seconds": seconds}} for seconds in (20, 80, 120)]
    usage = {"input_tokens": 9, "output_tokens": 1, "total_tokens": 10}
    done = {"id": "resp_1", "model": "gpt-5.4-mini", "usage": usage}
    log.append({"type": "response.event", "event": {"type": "response.completed", "response": done}})
    for found in (explained(*log), explained(*log, model="gpt-live-1")):
        assert found.total == 2 * Decimal("0.05")
        assert found.usages == 2
        assert {(line.model, line.quantity) for line in found.lines if line.rate is None} == {
            ("gpt-5.4-mini", Decimal(9)),
            ("gpt-5.4-mini", Decimal(1)),
        }


def test_the_asker_knows_the_models_better_than_the_log(explained: Explain) -> None:
    log = [_session("gpt-realtime", "whisper-1"), _done(F1), _transcribed(T1)]
    found = explained(*log, model=_MINI, transcription_model="gpt-4o-transcribe")
    assert found.total == _f1() + T1_COST


def test_the_model_prices_a_lone_transcription_event_but_none_in_a_log(explained: Explain) -> None:
    assert explained(_transcribed(T1), model="gpt-4o-transcribe").total == T1_COST
    assert explained(T1, model="gpt-4o-transcribe").total == T1_COST
    log = explained(_done(F1), _transcribed(T1), model=_MINI)
    assert log.total == _f1()
    assert _kinds(log) == ["model_not_named"]


def test_the_transcription_model_prices_transcriptions_bare_ones_too(explained: Explain) -> None:
    assert explained(T1, transcription_model="gpt-4o-transcribe").total == T1_COST
    assert explained(T1, T3, transcription_model="whisper-1").usages == 2


def test_a_bare_usage_without_a_type_is_a_transcription_if_its_model_transcribes(explained: Explain) -> None:
    usage = {key: value for key, value in T1.items() if key != "type"}
    assert explained(usage, model="gpt-4o-transcribe").total == T1_COST


def test_seconds_are_priced_by_time(explained: Explain) -> None:
    found = explained(T3, model="whisper-1")
    assert found.total == Decimal("0.006") * Decimal("9.3") / 60 == Decimal("0.00093")
    assert _lines(found) == {"audio.duration": (Decimal("9.3"), Decimal("0.00093"))}


def test_a_transcription_is_never_priced_as_the_realtime_model(explained: Explain) -> None:
    found = explained(_transcribed(T1), model="gpt-realtime")
    assert found.total is None
    assert _kinds(found) == ["not_a_transcription_model"]
    assert "--transcription-model" in found.problems[0].message


def test_a_contested_rate_is_said_with_the_other_figure(explained: Explain) -> None:
    found = explained(T1, model="gpt-4o-transcribe")
    assert _kinds(found) == ["contested_rate"]
    assert "audio.input is contested: 6 is used, 2.5 is possible" in found.problems[0].message


def test_without_a_model_the_total_is_unknown_and_what_is_known_is_said(explained: Explain) -> None:
    found = explained(F1)
    assert (found.total, found.card, found.naive) == (None, None, ())
    assert _lines(found)["audio.output"] == (1019, None)
    assert {line.reason for line in found.lines} == {Reason.MODEL_NOT_NAMED}
    assert _kinds(found) == ["model_not_named"]
    assert "give --model" in found.problems[0].message


def test_an_unlisted_model_is_named_in_the_problem(explained: Explain) -> None:
    found = explained(F1, model="gpt-surprise")
    assert found.total is None
    assert _kinds(found) == ["model_not_listed"]
    assert "'gpt-surprise' is not on the rate cards" in found.problems[0].message


@pytest.mark.parametrize(
    ("assumed", "kind"),
    [
        ({"scope": Scope.PROVISIONED}, "provisioned"),
        ({"scope": Scope.REGIONAL}, "region_not_known"),
        ({"scope": Scope.REGIONAL, "region": "mars"}, "no_rate"),
        ({"at": datetime(2020, 1, 1, tzinfo=UTC)}, "no_rate"),
    ],
    ids=str,
)
def test_a_price_that_cannot_be_known_says_why(assumed: dict[str, Any], kind: str, explained: Explain) -> None:
    found = explained(F1, model="gpt-realtime-2025-08-28", provider=Provider.AZURE, **assumed)
    assert found.total is None
    assert _kinds(found) == [kind]


def test_an_alias_of_versions_with_different_rates_is_not_priced_at_random(book: RateBook, explained: Explain) -> None:
    names = [name for card in book.cards for name, listed in card.names.items() if listed.version is None]
    found = [explained(F1, model=name) for name in names]
    unknown = [entry for entry in found if "version_not_known" in _kinds(entry)]
    assert all(entry.total is None for entry in unknown)


def test_the_region_sets_the_price_on_the_scope_regional(explained: Explain) -> None:
    model, azure = "gpt-realtime-2025-08-28", Provider.AZURE
    found = explained(F1, model=model, provider=azure, scope=Scope.REGIONAL, region="northeurope")
    assert _lines(found)["audio.output"] == (1019, mtok("84.48", 1019))
    assert explained(F1, model=model, provider=azure).total == explained(F1, model="gpt-realtime").total


def test_a_deployment_is_priced_as_what_it_runs(explained: Explain) -> None:
    deployment = Deployment(model="gpt-realtime", version="2025-08-28", scope=Scope.DATAZONE)
    found = explained(F1, model="voice-prod", provider=Provider.AZURE, deployments={"voice-prod": deployment})
    assert _lines(found)["audio.output"] == (1019, mtok("70.4", 1019))
    assert {line.model for line in found.lines} == {"gpt-realtime"}


def test_an_event_without_usage_is_said_by_its_id(explained: Explain) -> None:
    found = explained(_done(None), model=_MINI)
    assert (found.total, found.lines) == (None, ())
    assert _kinds(found) == ["missing"]
    assert found.problems[0].message == "response resp_1 came without usage: what it cost is not known"


def test_a_response_that_was_never_finished_is_said(explained: Explain) -> None:
    found = explained({"type": "response.created", "response": {"id": "resp_9"}}, model=_MINI)
    assert _kinds(found) == ["lost"]
    assert "resp_9 was begun and never finished" in found.problems[0].message


def test_a_transcription_that_never_came_is_said(explained: Explain) -> None:
    committed = {"type": "input_audio_buffer.committed", "item_id": "item_7"}
    found = explained(_session(_MINI, "whisper-1"), committed)
    assert _kinds(found) == ["missing"]
    assert "transcription item_7#0" in found.problems[0].message


@pytest.mark.parametrize("values", [(), (7,), ("text",), ({"type": "error"},), ({"other": 1},)], ids=str)
def test_an_input_without_any_usage_says_so(values: tuple[object, ...], explained: Explain) -> None:
    found = explained(*values, model=_MINI)
    assert (found.total, found.usages) == (None, 0)
    assert _kinds(found) == ["no_usage"]


def test_a_repeated_event_is_counted_once_and_said(explained: Explain) -> None:
    found = explained(_done(F1), _done(F1), _done(F1), model=_MINI)
    assert found.total == _f1()
    assert _kinds(found) == ["repeated"]
    assert found.problems[0].message.startswith("2 ")


def test_bare_usages_have_no_id_and_are_all_counted(explained: Explain) -> None:
    assert explained(F1, F1, model=_MINI).total == _f1() * 2


def test_a_problem_of_a_usage_is_said_with_its_numbers(explained: Explain) -> None:
    found = explained(_done({**F1, "total_tokens": 9999}), model=_MINI)
    assert _kinds(found) == ["total_mismatch"]
    assert found.problems[0].message.startswith("response resp_1: ")
    assert "9999" in found.problems[0].message
    assert found.total == _f1()


def test_equal_problems_are_said_once(explained: Explain) -> None:
    assert _kinds(explained(T1, T1, model="gpt-4o-transcribe")) == ["contested_rate"]


def test_a_cache_without_its_split_gives_the_dearest_total_and_both_bounds(explained: Explain) -> None:
    unsplit = {
        "total_tokens": 3_000,
        "input_tokens": 3_000,
        "output_tokens": 0,
        "input_token_details": {"text_tokens": 2_000, "audio_tokens": 1_000, "cached_tokens": 600},
    }
    found = explained(_done(unsplit), _done(F1, "resp_2"), model="gpt-realtime")
    exact = explained(F1, model="gpt-realtime").total
    assert exact is not None
    assert found.high == found.total == mtok("4", 1_400) + mtok("0.4", 600) + mtok("32", 1_000) + exact
    assert found.low == mtok("4", 2_000) + mtok("0.4", 600) + mtok("32", 400) + exact


def test_a_usage_beside_an_interval_that_has_no_price_adds_nothing_to_its_bounds(explained: Explain) -> None:
    unsplit = {
        "total_tokens": 30,
        "input_tokens": 30,
        "output_tokens": 0,
        "input_token_details": {"text_tokens": 20, "audio_tokens": 10, "cached_tokens": 5},
    }
    found = explained(_session("gpt-realtime"), _done(unsplit), _transcribed(T1))
    assert found.high == mtok("4", 15) + mtok("0.4", 5) + mtok("32", 10)
    assert found.low == mtok("4", 20) + mtok("0.4", 5) + mtok("32", 5)


def test_rates_in_several_currencies_do_not_add_up_to_a_total(book: RateBook) -> None:
    own = parse_card(
        {
            "format": 1,
            "provider": "openai",
            "name": "own",
            "date": date(2026, 11, 1),
            "currency": "EUR",
            "rate": [{"model": "whisper-1", "duration": {"price": "0.36", "per": "hour"}}],
        }
    )
    both = RateBook([own, *book.cards])
    log = Log(values=(_session(_MINI, "whisper-1"), _done(F1), _transcribed(T3)))
    found = explain(log, Naming(both), both, Assumptions(at=_AT))
    assert (found.total, found.low, found.high) == (None, None, None)
    assert "currencies" in _kinds(found)
    euros = explain(Log(values=(T3,)), Naming(both), both, Assumptions(at=_AT, model="whisper-1"))
    assert euros.currency == "EUR"
    assert euros.total == Decimal("0.36") * Decimal("9.3") / 3600


def test_a_bad_value_anywhere_in_a_log_never_raises(explained: Explain) -> None:
    odd: list[object] = [
        None,
        [],
        7,
        {"type": "response.done"},
        {"type": "response.done", "response": []},
        {"usage": []},
    ]
    for value in odd:
        explained(value, _done(F1), model=_MINI)


def test_a_log_read_from_lines_is_priced_around_its_unreadable_ones(book: RateBook) -> None:
    text = "\n".join([json.dumps(_session(_MINI)), "half", json.dumps(_done(F1))])
    found = explain(read_log(text), Naming(book), book, Assumptions(at=_AT))
    assert found.total == _f1()


def test_a_usage_of_no_tokens_at_all_costs_nothing(explained: Explain) -> None:
    found = explained({"total_tokens": 0, "input_tokens": 0, "output_tokens": 0}, model=_MINI)
    assert found.problems == ()
    assert found.total == 0
