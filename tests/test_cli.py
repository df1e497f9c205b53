from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.known_usage import F1, T1, T1_COST, T3, mtok
from tests.ledger_records import response_record, write_records

from realtime_spend.terminal import Instant
from realtime_spend.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Answer, Run

_MINI = "gpt-4o-mini-realtime-preview-2024-12-17"
_DONE = {"type": "response.done", "response": {"id": "resp_1", "status": "completed", "usage": F1}}
_TRANSCRIBED = {
    "type": "conversation.item.input_audio_transcription.completed",
    "item_id": "item_1",
    "content_index": 0,
    "usage": T1,
}
_SESSION = {
    "type": "session.created",
    "session": {"id": "sess_1", "model": _MINI, "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}},
}


def _is_one_sentence(answer: Answer) -> bool:
    return answer.err.startswith("Error: ") and answer.err.count("\n") == 1


# explain


@pytest.mark.parametrize(
    "given",
    [
        json.dumps(F1),
        json.dumps({"usage": F1}),
        json.dumps(_DONE, indent=2),
        json.dumps([_DONE]),
        f"{json.dumps({'type': 'session.updated'})}\n{json.dumps(_DONE)}\n",
        "\ufeff" + json.dumps(F1),
    ],
    ids=["bare", "wrapped", "event", "array", "lines", "with a byte order mark"],
)
def test_explain_answers_the_forum_thread_in_every_form_that_people_hold(given: str, run: Run) -> None:
    answer = run("explain", "--model", _MINI, "--json", given=given)
    assert (answer.status, answer.err) == (0, "")
    assert answer.json["total"] == "0.0237288"
    naive = {entry["name"]: entry["total"] for entry in answer.json["naive"]}
    assert naive["cache_ignored"] == "0.0526568"


def test_explain_prints_the_contract_and_nothing_else(run: Run) -> None:
    answer = run("explain", "-", "--model", _MINI, "--json", given=json.dumps(F1)).json
    assert list(answer) == ["currency", "total", "low", "high", "line_items", "naive", "unpriced", "problems"]
    assert (answer["currency"], answer["low"], answer["high"]) == ("USD", None, None)
    assert answer["line_items"][0] == {
        "model": "gpt-4o-mini-realtime-preview",
        "modality": "text",
        "component": "input",
        "quantity": 2,
        "unit": "tokens",
        "unit_price": "0.6",
        "per": 1_000_000,
        "cost": "0.0000012",
    }
    assert sum(Decimal(line["cost"]) for line in answer["line_items"]) == Decimal(answer["total"])
    assert [sorted(entry) for entry in answer["naive"]] == [["name", "ratio", "total", "why"]] * 3
    assert Decimal(answer["naive"][0]["ratio"]) == (Decimal("0.0526568") / Decimal("0.0237288")).quantize(
        Decimal("1e-12")
    )
    assert (answer["unpriced"], answer["problems"]) == ([], [])


def test_explain_reads_a_file_and_prints_a_table(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "usage.json"
    file.write_text(json.dumps(F1))
    answer = run("explain", file, "--model", _MINI)
    assert answer.status == 0
    for expected in ("0.0237288 USD", "cache_ignored", "0.0526568", "2.22x", "cached_input", "5376 tok", "0.3/1M"):
        assert expected in answer.out


def test_explain_prints_seconds_with_their_price(run: Run) -> None:
    answer = run("explain", "--model", "whisper-1", given=json.dumps(T3))
    assert "9.3 s" in answer.out
    assert "0.006/min" in answer.out
    as_json = run("explain", "--model", "whisper-1", "--json", given=json.dumps(T3)).json
    assert as_json["line_items"] == [
        {
            "model": "whisper-1",
            "modality": "audio",
            "component": "duration",
            "quantity": "9.3",
            "unit": "seconds",
            "unit_price": "0.006",
            "per": 60,
            "cost": "0.00093",
        }
    ]


def test_explain_prices_a_whole_session_log_by_the_models_it_names(run: Run) -> None:
    log = "\n".join(map(json.dumps, [_SESSION, _DONE, _TRANSCRIBED]))
    answer = run("explain", "--json", given=log).json
    assert Decimal(answer["total"]) == Decimal("0.0237288") + T1_COST
    assert {entry["name"] for entry in answer["naive"]} >= {"transcription_ignored"}


def test_explain_takes_the_transcription_model_of_a_log_from_the_command_line(run: Run) -> None:
    log = json.dumps([_DONE, _TRANSCRIBED])
    answer = run("explain", "--model", _MINI, "--transcription-model", "gpt-4o-transcribe", "--json", given=log).json
    assert Decimal(answer["total"]) == Decimal("0.0237288") + T1_COST


def test_explain_prices_a_lone_transcription_event_by_the_model(run: Run) -> None:
    answer = run("explain", "--model", "gpt-4o-transcribe", "--json", given=json.dumps(_TRANSCRIBED)).json
    assert Decimal(answer["total"]) == T1_COST


def test_explain_says_that_a_rate_is_contested(run: Run) -> None:
    answer = run("explain", "--model", "gpt-4o-transcribe", given=json.dumps(T1))
    assert "! the rate of gpt-4o-transcribe for audio.input is contested: 6 is used, 2.5 is possible" in answer.out


@pytest.mark.parametrize("given", [json.dumps(F1), json.dumps(_DONE)])
def test_explain_without_a_model_says_what_is_known_and_is_no_failure(given: str, run: Run) -> None:
    answer = run("explain", "--json", given=given)
    assert answer.status == 0
    assert answer.json["total"] is None
    assert [entry["quantity"] for entry in answer.json["unpriced"]] == [2, 5376, 250, 29, 2816, 1019]
    assert {entry["reason"] for entry in answer.json["unpriced"]} == {"model_not_named"}
    assert [problem["kind"] for problem in answer.json["problems"]] == ["model_not_named"]
    table = run("explain", given=given)
    assert table.status == 0
    assert "total: unknown" in table.out
    assert "unpriced" in table.out


@pytest.mark.parametrize(
    ("given", "kind"),
    [('{"type": "response.done", "response": {"id": "r", "usage": null}}', "missing"), ('{"usage": null}', "no_usage")],
)
def test_explain_without_usage_says_so_and_is_no_failure(given: str, kind: str, run: Run) -> None:
    answer = run("explain", "--model", _MINI, "--json", given=given)
    assert (answer.status, answer.json["total"]) == (0, None)
    assert [problem["kind"] for problem in answer.json["problems"]] == [kind]
    assert "total: unknown" in run("explain", "--model", _MINI, given=given).out


def test_explain_prints_both_bounds_of_an_inexact_cost(run: Run) -> None:
    unsplit = {
        "total_tokens": 3_000,
        "input_tokens": 3_000,
        "output_tokens": 0,
        "input_token_details": {"text_tokens": 2_000, "audio_tokens": 1_000, "cached_tokens": 600},
    }
    high = mtok("4", 1_400) + mtok("0.4", 600) + mtok("32", 1_000)
    low = mtok("4", 2_000) + mtok("0.4", 600) + mtok("32", 400)
    answer = run("explain", "--model", "gpt-realtime", "--json", given=json.dumps(unsplit)).json
    assert (Decimal(answer["high"]), Decimal(answer["low"])) == (high, low)
    assert answer["total"] == answer["high"]
    table = run("explain", "--model", "gpt-realtime", given=json.dumps(unsplit)).out
    assert f"{answer['high']} USD at most, {answer['low']} at least" in table


def test_explain_takes_the_rate_of_the_instant(run: Run) -> None:
    before = run("explain", "--model", "gpt-realtime", "--at", "2020-01-01", "--json", given=json.dumps(F1)).json
    assert [problem["kind"] for problem in before["problems"]] == ["no_rate"]
    for instant in ("2026-11-22", "2026-11-22T10:00:00", "2026-11-22T10:00:00+02:00"):
        answer = run("explain", "--model", "gpt-realtime", "--at", instant, "--json", given=json.dumps(F1)).json
        assert answer["total"] is not None


@pytest.mark.parametrize("provider", ["openai", "azure.ai.openai"])
def test_explain_takes_the_providers_of_the_contract(provider: str, run: Run) -> None:
    answer = run("explain", "--model", "gpt-realtime-2025-08-28", "--provider", provider, given=json.dumps(F1))
    assert answer.status == 0


def test_explain_takes_scope_and_region_of_the_contract(run: Run) -> None:
    azure = ("explain", "--model", "gpt-realtime-2025-08-28", "--provider", "azure.ai.openai", "--json")
    regional = run(*azure, "--scope", "regional", "--region", "northeurope", given=json.dumps(F1))
    assert regional.status == 0
    assert Decimal(regional.json["line_items"][-1]["cost"]) == mtok("84.48", 1019)
    datazone = run(*azure, "--scope", "datazone", given=json.dumps(F1))
    assert Decimal(datazone.json["line_items"][-1]["cost"]) == mtok("70.4", 1019)


def test_help_shows_the_defaults_as_they_are_written(run: Run) -> None:
    text = " ".join(run("explain", "--help").out.split())
    assert "default: openai]" in text
    assert "global, unless said." in text


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("", "the input is empty"),
        ("not json", "is not JSON, or is cut off"),
        (json.dumps(_DONE)[:-9], "is not JSON, or is cut off"),
        ("7", "not an object or an array"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "not UTF-8 text; save it as that"),
    ],
    ids=["empty", "words", "half", "number", "binary"],
)
def test_explain_says_in_one_sentence_what_is_wrong_with_an_input(given: str | bytes, sentence: str, run: Run) -> None:
    answer = run("explain", "--json", given=given)
    assert (answer.status, answer.out) == (2, "")
    assert _is_one_sentence(answer)
    assert "standard input" in answer.err
    assert sentence in answer.err


def test_explain_says_which_file_cannot_be_read(run: Run, tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.json", "No such file"), (tmp_path, "Is a directory")):
        answer = run("explain", path)
        assert (answer.status, answer.out) == (2, "")
        assert _is_one_sentence(answer)
        assert f"{path} cannot be read: {reason}" in answer.err


def test_explain_of_a_log_with_bad_lines_explains_the_rest_and_fails(run: Run) -> None:
    good = json.dumps(_DONE)
    answer = run("explain", "--model", _MINI, "--json", given=f'{good}\n{{"type": "resp\n')
    assert answer.status == 2
    assert answer.json["total"] == "0.0237288"
    assert _is_one_sentence(answer)
    assert "line 2 is not JSON; mend or remove it" in answer.err
    many = run("explain", "--model", _MINI, given="half\n" * 7 + good)
    assert "line 1, 2, 3, 4, 5 ... is not JSON" in many.err
    assert "0.0237288 USD" in many.out


@pytest.mark.parametrize("model", ["[/x]", "[red]x"])
def test_explain_prints_a_models_name_as_it_is(model: str, run: Run) -> None:
    answer = run("explain", "--model", model, given=json.dumps(F1))
    assert answer.status == 0
    assert answer.out.splitlines()[1].startswith(model)


def test_an_instant_that_is_none_is_refused(run: Run) -> None:
    answer = run("explain", "--at", "yesterday", given=json.dumps(F1))
    assert answer.status == 2
    assert "write 2026-11-22 or 2026-11-22T10:00:00Z" in answer.err


# The environment


_CARD = """
format = 1
provider = "openai"
name = "own"
date = 2026-11-01
currency = "USD"
"""


def test_your_own_card_wins_over_ours_part_by_part(run: Run, tmp_path: Path) -> None:
    card = tmp_path / "own.toml"
    card.write_text(_CARD + '[[rate]]\nmodel = "gpt-4o-mini-realtime-preview"\naudio = { output = "10" }\n')
    answer = run("explain", "--model", _MINI, "--json", given=json.dumps(F1), REALTIME_SPEND_RATE_CARDS=str(card))
    assert Decimal(answer.json["total"]) == Decimal("0.0237288") - mtok("20", 1019) + mtok("10", 1019)


def test_your_discount_is_taken_off_our_rates(run: Run, tmp_path: Path) -> None:
    card = tmp_path / "own.toml"
    card.write_text(_CARD + '[[discount]]\noff = "0.12"\n')
    answer = run("explain", "--model", _MINI, "--json", given=json.dumps(F1), REALTIME_SPEND_RATE_CARDS=str(card))
    assert Decimal(answer.json["total"]) == Decimal("0.0237288") * (1 - Decimal("0.12"))


def test_your_deployments_are_priced_as_what_they_run(run: Run) -> None:
    answer = run(
        "explain",
        "--model",
        "voice-prod",
        "--json",
        given=json.dumps(F1),
        REALTIME_SPEND_DEPLOYMENTS=json.dumps({"voice-prod": {"model": _MINI}}),
    )
    assert answer.json["total"] == "0.0237288"


def test_a_card_of_yours_that_cannot_be_read_is_an_input_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("format = 2")
    (tmp_path / "open.toml").write_text("garbage = [")
    (tmp_path / "other.toml").write_bytes(b"\xff\xfe")
    for name, reason in (
        ("own.toml", "is not valid: the card must say"),
        ("none.toml", "cannot be read: No such"),
        ("open.toml", "is not valid: it is no TOML: "),
        ("other.toml", "is not valid: it is no UTF-8 text"),
    ):
        answer = run("explain", given=json.dumps(F1), REALTIME_SPEND_RATE_CARDS=str(tmp_path / name))
        assert (answer.status, answer.out) == (2, "")
        assert _is_one_sentence(answer)
        assert reason in answer.err


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REALTIME_SPEND_DEPLOYMENTS", "{not json"),
        ("REALTIME_SPEND_DEPLOYMENTS", "/nowhere/deployments.json"),
        ("REALTIME_SPEND_ROLE", "watcher"),
        ("REALTIME_SPEND_ENDPOINTS", "voice.example.com=acme"),
        pytest.param(
            "REALTIME_SPEND_LEDGER",
            "~nobody-of-this-name/ledger",
        ),
        pytest.param(
            "REALTIME_SPEND_RATE_CARDS",
            "~nobody-of-this-name/own.toml",
        ),
    ],
)
def test_a_wrong_setting_is_said_on_standard_error_and_the_answer_stays_whole(
    variable: str, value: str, run: Run
) -> None:
    answer = run("explain", "--model", _MINI, "--json", given=json.dumps(F1), **{variable: value})
    assert answer.status == 0
    assert answer.json["total"] == "0.0237288"
    assert answer.err.startswith(f"realtime-spend: {variable} is set aside: ")
    assert answer.err.count("\n") == 1


# report


def _record(number: int, **changes: Any) -> dict[str, Any]:
    return response_record(**{"id": f"resp_{number}", **changes})


_COST = mtok("4", 1_000) + mtok("64", 500)
_NOTHING: dict[str, Any] = {"quantities": {}, "costs": {}, "cost": None, "currency": None}
_UNPRICED: dict[str, Any] = {
    "model": "gpt-surprise",
    "costs": {"text.input": None, "audio.output": None},
    "cost": None,
    "currency": None,
}


@pytest.fixture
def ledger(tmp_path: Path) -> Callable[..., Path]:
    return partial(write_records, tmp_path / "ledger")


def test_report_adds_up_by_day_and_model_unless_told_otherwise(run: Run, ledger: Callable[..., Path]) -> None:
    folder = ledger(
        _record(1),
        _record(2),
        _record(3, at="2026-11-19T00:30:00+01:00"),
        _record(4, at="2026-11-19T00:00:00Z", model="gpt-realtime-2"),
    )
    answer = run("report", folder, "--json")
    assert (answer.status, answer.err) == (0, "")
    assert [(row["day"], row["model"], Decimal(row["cost"]), row["usages"]) for row in answer.json["rows"]] == [
        ("2026-11-18", "gpt-realtime", 3 * _COST, 3),
        ("2026-11-19", "gpt-realtime-2", _COST, 1),
    ]
    [total] = answer.json["totals"]
    assert Decimal(total["cost"]) == 4 * _COST
    assert total["quantities"] == {"text.input": "4000", "audio.output": "2000"}
    assert answer.json["problems"] == []


@pytest.mark.parametrize(
    ("key", "groups"),
    [
        ("month", {"2026-11": 2}),
        ("day", {"2026-11-18": 2}),
        ("hour", {"2026-11-18T10:00Z": 2}),
        ("model", {"gpt-realtime": 2}),
        ("session", {"sess_1": 1, "sess_2": 1}),
        ("account", {None: 1, "contoso": 1}),
        ("provider", {"openai": 2}),
        ("kind", {"response": 2}),
        ("status", {"completed": 2}),
        ("usage", {"reported": 2}),
        ("requested_model", {"gpt-realtime": 2}),
        ("rate_card", {"openai@2026-11-19": 2}),
        ("tenant", {"acme": 1, None: 1}),
    ],
)
def test_report_groups_by_each_key_and_by_any_attribute(
    key: str, groups: dict[str | None, int], run: Run, ledger: Callable[..., Path]
) -> None:
    folder = ledger(_record(1), _record(2, session="sess_2", account="contoso", attributes={}))
    rows = run("report", folder, "--by", key, "--json").json["rows"]
    assert {row[key]: row["usages"] for row in rows} == groups


@pytest.mark.parametrize(
    "given",
    [
        ("--by", "tenant,session"),
        ("--by", "tenant", "--by", "session"),
        ("--by", " tenant , session,", "--by", "session"),
    ],
    ids=" ".join,
)
def test_report_groups_by_several_keys_however_they_are_given(
    given: tuple[str, ...], run: Run, ledger: Callable[..., Path]
) -> None:
    folder = ledger(_record(1), _record(2, session="sess_2"), _record(3, attributes={}))
    rows = run("report", folder, *given, "--json").json["rows"]
    assert [list(row)[:2] for row in rows] == [["tenant", "session"]] * 3
    assert [(row["tenant"], row["session"]) for row in rows] == [
        (None, "sess_1"),
        ("acme", "sess_1"),
        ("acme", "sess_2"),
    ]
    heading = run("report", folder, *given).out.splitlines()[0]
    assert heading.split()[:3] == ["tenant", "session", "input"]


def test_report_counts_hours_and_months_in_utc(run: Run, ledger: Callable[..., Path]) -> None:
    folder = ledger(_record(1, at="2026-12-01T00:30:00+01:00"), _record(2, at="2026-12-01T00:30:00Z"))
    rows = run("report", folder, "--by", "month,hour", "--json").json["rows"]
    assert [(row["month"], row["hour"]) for row in rows] == [
        ("2026-11", "2026-11-30T23:00Z"),
        ("2026-12", "2026-12-01T00:00Z"),
    ]


def test_report_says_that_a_key_is_on_no_usage(run: Run, ledger: Callable[..., Path]) -> None:
    [problem] = run("report", ledger(_record(1)), "--by", "tennant", "--json").json["problems"]
    assert problem.startswith(
        "no usage has an attribute 'tennant'; beside attributes there are month, day, hour, model"
    )


def test_report_takes_since_and_until_too(run: Run, ledger: Callable[..., Path]) -> None:
    folder = ledger(_record(1), _record(2, at="2026-11-19T00:00:00Z"))
    for bounds in (("--since", "2026-11-19"), ("--since", "2026-11-18", "--until", "2026-11-18")):
        assert [row["usages"] for row in run("report", folder, *bounds, "--json").json["totals"]] == [1]


def test_report_knows_the_region_of_a_regional_price(run: Run, ledger: Callable[..., Path]) -> None:
    regional = {"provider": "azure.ai.openai", "model": "gpt-4o-transcribe", "scope": "regional"}
    costs = {"costs": {"audio.input": "0.1"}, "cost": "0.1"}
    folder = ledger(_record(1, **regional, **costs, region="northeurope"), _record(2, **regional, **costs))
    rows = run("report", folder, "--by", "region", "--json").json["rows"]
    assert [row["region"] for row in rows] == [None, "northeurope"]


def test_report_prints_a_table_with_a_total(run: Run, ledger: Callable[..., Path]) -> None:
    out = run("report", ledger(_record(1), _record(2))).out
    assert "0.072 USD" in out
    assert out.splitlines()[-1].split()[:3] == ["total", "2000", "1000"]


def test_report_takes_the_folder_from_the_environment(run: Run, ledger: Callable[..., Path]) -> None:
    folder = ledger(_record(1))
    assert Decimal(run("report", "--json", REALTIME_SPEND_LEDGER=str(folder)).json["totals"][0]["cost"]) == _COST


def test_report_without_any_folder_says_what_to_do(run: Run) -> None:
    answer = run("report")
    assert (answer.status, answer.out) == (2, "")
    assert "set REALTIME_SPEND_LEDGER" in answer.err


def test_report_of_a_folder_without_a_ledger_says_what_to_do(run: Run, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        answer = run("report", folder, "--json")
        assert (answer.status, answer.out) == (2, "")
        assert _is_one_sentence(answer)


@pytest.mark.parametrize(
    ("bounds", "ids"),
    [
        (("--from", "2026-11-18"), {"b", "c", "d"}),
        (("--to", "2026-11-18"), {"a", "b", "c"}),
        (("--from", "2026-11-18", "--to", "2026-11-18"), {"b", "c"}),
        (("--from", "2026-11-18T12:00:00Z"), {"c", "d"}),
        (("--to", "2026-11-18T23:59:59Z"), {"a", "b"}),
        (("--from", "2026-11-20"), set()),
        pytest.param(
            ("--to", "2026-11-18T00:00:00Z"),
            {"a"},
        ),
        pytest.param(
            ("--to", "9999-12-31"),
            {"a", "b", "c", "d"},
        ),
    ],
    ids=lambda value: " ".join(value if isinstance(value, tuple) else sorted(value)),
)
def test_report_is_of_whole_utc_days_or_between_instants(
    bounds: tuple[str, ...], ids: set[str], run: Run, ledger: Callable[..., Path]
) -> None:
    instants = {
        "a": "2026-11-17T23:59:59.999999Z",
        "b": "2026-11-18T00:00:00Z",
        "c": "2026-11-18T23:59:59.999999Z",
        "d": "2026-11-19T00:00:00Z",
    }
    folder = ledger(*(_record(0, id=name, session=name, at=at) for name, at in instants.items()))
    rows = run("report", folder, "--by", "session", "--json", *bounds).json["rows"]
    assert {row["session"] for row in rows} == ids


def test_report_says_what_its_sums_leave_out(run: Run, ledger: Callable[..., Path]) -> None:
    folder = ledger(
        _record(1),
        "torn",
        _record(2, usage="lost", **_NOTHING),
        _record(3, usage="missing", **_NOTHING),
        _record(4, **_UNPRICED),
        _record(5, provider="azure.ai.openai", scope=None),
    )
    answer = run("report", folder, "--json").json
    assert [problem.split()[0] for problem in answer["problems"]] == ["1"] * 5
    for problem, word in zip(
        answer["problems"],
        ["2026-11-18-w.jsonl:2", "never finished", "without usage", "without a price", "names no scope"],
        strict=True,
    ):
        assert word in problem
    [total] = answer["totals"]
    assert Decimal(total["cost"]) == 2 * _COST
    assert (total["usages"], total["lost"], total["missing"], total["unpriced"]) == (5, 1, 1, 1)
    table = run("report", folder).out
    assert "! 1 unreadable line left out" in table
    assert "unknown" in table


def test_report_gives_both_bounds_of_an_inexact_sum(run: Run, ledger: Callable[..., Path]) -> None:
    folder = ledger(_record(1), _record(2, low="0.02", high="0.036"))
    [total] = run("report", folder, "--json").json["totals"]
    assert (Decimal(total["low"]), Decimal(total["high"])) == (_COST + Decimal("0.02"), 2 * _COST)
    assert "at most 0.072 USD" in run("report", folder).out


def test_report_keeps_currencies_apart(run: Run, ledger: Callable[..., Path]) -> None:
    folder = ledger(_record(1), _record(2, currency="EUR"))
    totals = run("report", folder, "--json").json["totals"]
    assert {total["currency"]: Decimal(total["cost"]) for total in totals} == {"USD": _COST, "EUR": _COST}
    out = run("report", folder).out
    assert "0.036 EUR" in out
    assert "! the costs are in EUR and USD: each has its own total, and nothing is converted" in out


def test_report_of_one_currency_says_nothing_of_currencies(run: Run, ledger: Callable[..., Path]) -> None:
    # What has no price has no currency either.
    folder = ledger(_record(1, currency="EUR"), _record(2, **_UNPRICED))
    problems = run("report", folder, "--json").json["problems"]
    assert not any("currenc" in problem or "costs are in" in problem for problem in problems)


@pytest.mark.parametrize("tenant", ["[/acme]", "[acme]"])
def test_report_prints_an_attribute_as_it_is(tenant: str, run: Run, ledger: Callable[..., Path]) -> None:
    answer = run("report", ledger(_record(1, attributes={"tenant": tenant})), "--by", "tenant")
    assert answer.status == 0
    assert tenant in answer.out


# prices


def test_prices_lists_each_rate_with_its_source(run: Run) -> None:
    rates = run("prices", "--json").json
    assert len(rates) > 100
    assert {rate["provider"] for rate in rates} == {"openai", "azure.ai.openai"}
    assert all(rate["source"].startswith("https://") and rate["checked"] for rate in rates)
    assert all(isinstance(rate["unit_price"], str) for rate in rates)


def test_prices_of_one_model_are_printed_on_a_line_a_modality(run: Run) -> None:
    out = run("prices", "--model", "gpt-realtime-2025-08-28").out
    [text] = [line.split() for line in out.splitlines() if line.startswith("openai") and " text " in line]
    assert text[-5:-1] == ["4", "0.4", "16", "1M"]
    assert "contested" not in out


def test_prices_marks_contested_rates_and_prices_by_time(run: Run) -> None:
    out = run("prices", "--model", "gpt-4o-transcribe").out
    assert "6*" in out
    assert "* contested" in out
    assert "minute" in run("prices", "--model", "whisper-1").out
    [contested] = [rate for rate in run("prices", "--model", "gpt-4o-transcribe", "--json").json if rate["contested"]]
    assert (contested["unit_price"], contested["contested"]) == ("6", ["2.5"])


def test_prices_of_one_provider(run: Run) -> None:
    rates = run("prices", "--provider", "azure.ai.openai", "--json").json
    assert {rate["provider"] for rate in rates} == {"azure.ai.openai"}


def test_prices_of_an_unknown_model_says_what_to_do(run: Run) -> None:
    answer = run("prices", "--model", "gpt-surprise")
    assert (answer.status, answer.out) == (2, "")
    assert _is_one_sentence(answer)


def test_prices_are_yours_too(run: Run, tmp_path: Path) -> None:
    card = tmp_path / "own.toml"
    card.write_text(
        _CARD
        + '[[model]]\nmodel = "own-model"\nkind = "realtime"\n[[rate]]\nmodel = "own-model"\n'
        + 'versions = ["", "2026-01-01"]\nscopes = ["global", "regional"]\n'
        + 'regions = ["northeurope"]\nfrom = 2026-01-01\ntext = { input = "1.50" }\n'
    )
    [rate] = run("prices", "--model", "own-model", "--json", REALTIME_SPEND_RATE_CARDS=str(card)).json
    assert rate == {
        "card": "own@2026-11-01",
        "provider": "openai",
        "model": "own-model",
        "versions": ["", "2026-01-01"],
        "scopes": ["global", "regional"],
        "regions": ["northeurope"],
        "from": "2026-01-01",
        "modality": "text",
        "component": "input",
        "unit_price": "1.5",
        "per": 1_000_000,
        "currency": "USD",
        "contested": [],
        "source": "",
        "checked": "",
        "note": "",
    }
    table = run("prices", "--model", "own-model").out
    assert "global/regional northeurope" in table
    assert "2026-01-01, any" in table


def test_prices_check_says_how_old_and_how_contested_each_card_is(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        _CARD
        + '[[model]]\nmodel = "own-model"\nkind = "realtime"\n'
        + '[[rate]]\nmodel = "own-model"\ntext = { input = "1", output = "2" }\n'
    )
    cards = run("prices", "--check", "--json", REALTIME_SPEND_RATE_CARDS=str(tmp_path / "own.toml")).json
    assert [card["card"].partition("@")[0] for card in cards] == ["own", "openai", "azure", "azure-voice-live"]
    own, ours = cards[0], cards[1]
    assert (own["models"], own["rates"], own["contested"], own["without_source"]) == (1, 2, 0, 1)
    assert (ours["without_source"], ours["contested"] > 0) == (0, True)
    assert all(isinstance(card["days_old"], int) for card in cards)
    assert "own@2026-11-01: 2 rates of 1 models, " in run("prices", "--check").out


def test_prices_check_reads_a_card_whose_date_is_an_instant(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(_CARD.replace("2026-11-01", "2026-11-01T10:00:00Z"))
    answer = run("prices", "--check", "--json", REALTIME_SPEND_RATE_CARDS=str(tmp_path / "own.toml"))
    assert answer.status == 0


def test_prices_compare_says_where_another_card_differs(run: Run, tmp_path: Path) -> None:
    card = tmp_path / "theirs.toml"
    card.write_text(_CARD + '[[rate]]\nmodel = "gpt-realtime"\ntext = { input = "5", cached_input = "0.40" }\n')
    answer = run("prices", "--compare", card, "--json", "--at", "2026-11-22").json
    assert {
        (found["component"], found["ours"], found["theirs"]) for found in answer if found["modality"] == "text"
    } == {
        ("input", "4", "5"),
        ("output", "16", None),
    }
    assert answer[0]["provider"] == "openai"
    out = run("prices", "--compare", card).out
    assert "text.input" in out
    assert out.splitlines()[0].split() == ["model", "version", "scope", "region", "part", "ours", "theirs"]


def test_prices_compare_says_that_nothing_differs_or_that_the_card_cannot_be_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text(_CARD)
    assert "no rate of that card differs" in run("prices", "--compare", tmp_path / "empty.toml").out
    answer = run("prices", "--compare", tmp_path / "none.toml")
    assert answer.status == 2
    assert _is_one_sentence(answer)


# As a program


def test_an_instant_that_is_one_already_is_taken_as_it_is() -> None:
    at = datetime(2026, 11, 22, tzinfo=UTC)
    assert Instant().convert(at, None, None) is at


def _program(*arguments: object, given: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "realtime_spend.cli", *map(str, arguments)],
        input=given,
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
        timeout=60,
    )


def test_the_program_answers_on_standard_output() -> None:
    done = _program("explain", "--model", _MINI, "--json", given=json.dumps(F1).encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["total"] == "0.0237288"


def test_the_program_prints_a_table_into_a_pipe_without_colours_and_without_cutting_it() -> None:
    done = _program("explain", "-", "--model", _MINI, given=json.dumps(F1).encode())
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout
    assert b"0.0237288 USD" in done.stdout


def test_the_program_fails_with_two_and_a_sentence(tmp_path: Path) -> None:
    done = _program("explain", tmp_path / "none.json")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"Error: ")
    assert b"Traceback" not in done.stderr


def test_the_program_says_its_version_and_helps() -> None:
    assert _program("--version").stdout.decode().split()[-1] == __version__
    for command in ((), ("explain",), ("report",), ("reprice",), ("prune",), ("prices",)):
        assert _program(*command, "-h").stdout.startswith(b"Usage: ")


def test_the_program_prints_an_inexact_sum_where_the_terminal_is_not_of_unicode(ledger: Callable[..., Path]) -> None:
    folder = ledger(_record(1, low="0.02", high="0.036"))
    done = _program("report", folder, PYTHONIOENCODING="cp1252")
    assert done.returncode == 0
    assert b"0.036 USD" in done.stdout


def test_a_name_cannot_move_the_terminal(run: Run, tmp_path: Path) -> None:
    record = {
        "v": 1, "at": "2026-11-18T10:00:00Z", "kind": "response", "provider": "openai", "server": "s", "session": "s",
        "id": "r", "usage": "reported", "model": "gpt\x1b[2J", "quantities": {}, "costs": {},
    }  # fmt: skip
    (tmp_path / "2026-11-18-w.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    answer = run("report", tmp_path)
    assert "gpt\N{REPLACEMENT CHARACTER}[2J" in answer.out
    assert "\x1b[2J" not in answer.out
