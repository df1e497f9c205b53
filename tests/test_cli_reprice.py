"""`realtime-spend reprice` on ledgers that real sessions wrote, and on records at the edge of a rate change."""

from __future__ import annotations

import base64
import contextlib
import json
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from tests.known_usage import mtok
from tests.ledger_records import response_record, write_records
from websockets.sync.client import connect

from realtime_spend import RealtimeInstrumentor, attributed
from realtime_spend.simulator import Deployment, Scope, SimulatorOptions, run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Run

_PATIENCE = 10
_SOUND = base64.b64encode(bytes(48 * 600)).decode()
_DEPLOYED = {
    "voice": Deployment(model="gpt-realtime", version="2025-08-28", scope=Scope.REGIONAL),
    "unsaid": Deployment(model="gpt-realtime-mini", version="2025-12-15"),
    "odd": Deployment(model="gpt-odd"),
    "ears": Deployment(model="gpt-4o-transcribe"),
    "old-ears": Deployment(model="whisper-1"),
}
_SAID = {
    "voice": {"model": "gpt-realtime", "version": "2025-08-28", "scope": "regional", "region": "northeurope"},
    "ears": {"model": "gpt-4o-transcribe", "scope": "global"},
}
_CARD = """
format = 1
provider = "openai"
name = "own"
date = 2026-11-01
currency = "USD"
"""


# --- Ledgers of real sessions ----------------------------------------------------------------------------------------


def _converse(port: int, path: str, model: str, transcription: str | None, turns: int, **options: str) -> None:
    query = urlencode({"model": model, **{f"sim_{name}": value for name, value in options.items()}})
    with connect(f"ws://127.0.0.1:{port}{path}?{query}", proxy=None, max_queue=None) as socket:

        def until(kind: str) -> None:
            while json.loads(socket.recv(timeout=_PATIENCE))["type"] != kind:
                pass

        def send(kind: str, **fields: Any) -> None:
            socket.send(json.dumps({"type": kind, **fields}))

        until("session.created")
        if transcription is not None:
            audio = {"input": {"transcription": {"model": transcription}}}
            send("session.update", session={"type": "realtime", "audio": audio})
            until("session.updated")
        for _ in range(turns):
            send("input_audio_buffer.append", audio=_SOUND)
            until("response.done")
            send("input_audio_buffer.clear")
            until("input_audio_buffer.cleared")
        if options.get("outcomes") == "never_finished":
            send("response.create")
            until("response.created")


def _all_kinds_of_sessions(port: int) -> None:
    outcomes = "completed,cancelled,failed,usage_missing,unsplit_cache,no_details,completed"
    openai, azure = "/v1/realtime", "/openai/v1/realtime"
    with attributed(tenant="acme"):
        _converse(port, openai, "gpt-realtime", "gpt-4o-transcribe", 7, outcomes=outcomes)
    usages = "model,missing,duration,tokens"
    _converse(port, openai, "gpt-realtime-mini-2025-12-15", "whisper-1", 4, transcription_usage=usages)
    _converse(port, openai, "gpt-surprise", "strange-ears", 2, outcomes="completed,unsplit_cache")
    _converse(port, azure, "voice", "ears", 3, outcomes="completed,unsplit_cache")
    _converse(port, azure, "unsaid", "old-ears", 2)
    _converse(port, azure, "odd", None, 2, outcomes="completed,no_details")
    _converse(port, azure, "voice", None, 0, outcomes="never_finished")


@pytest.fixture
def lived(tmp_path: Path) -> Path:
    """The ledger of real sessions of every kind: bounds, seconds, unlisted models, deployments, missing and lost."""
    folder = tmp_path / "lived"
    with _instrumented(folder), run_in_thread(SimulatorOptions(seed=3, deployments=_DEPLOYED)) as simulator:
        _all_kinds_of_sessions(simulator.port)
        simulator.wait_idle()
    return folder


@contextlib.contextmanager
def _instrumented(folder: Path) -> Iterator[None]:
    provider = MeterProvider(shutdown_on_exit=False)
    RealtimeInstrumentor().instrument(meter_provider=provider, ledger=folder, deployments=_SAID)
    try:
        yield
    finally:
        RealtimeInstrumentor().uninstrument()
        provider.shutdown()


def _records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_sessions_left_every_kind_of_record(lived: Path) -> None:
    records = _records(lived)
    assert {record["usage"] for record in records} == {"reported", "missing", "lost"}
    assert {record["scope"] for record in records} == {"global", "regional", None}
    assert any(record["low"] for record in records)
    assert any("audio.duration" in record["quantities"] for record in records)
    assert any(record["kind"] == "transcription" and record["version"] is None for record in records)
    unlisted = {record["model"] for record in records if record["rate_card"] is None}
    assert unlisted == {"gpt-surprise", "strange-ears", "old-ears", "gpt-odd"}


@pytest.mark.parametrize("deployments", [None, json.dumps(_SAID)], ids=["without a map", "with the same map"])
def test_at_unchanged_rates_every_record_comes_out_as_it_was(
    deployments: str | None, lived: Path, tmp_path: Path, run: Run
) -> None:
    said = () if deployments is None else ("--deployments", deployments)
    answer = run("reprice", lived, *said, "--output", tmp_path / "copy", "--json")
    assert (answer.status, answer.err) == (0, "")
    assert _bytes(tmp_path / "copy") == _bytes(lived), "to the last byte"
    for sums in (*answer.json["rows"], *answer.json["totals"]):
        assert sums["before"] == sums["after"]
        assert (sums["changed"], sums["difference"] or "0") == (0, "0")
        assert sums["price_gained"] == sums["price_lost"] == {"usages": 0, "cost": None}
    assert sum(row["usages"] for row in answer.json["rows"]) == len(_records(lived))


def test_other_cards_and_maps_reach_what_had_no_price_and_the_copy_reports_the_same(
    lived: Path, tmp_path: Path, run: Run
) -> None:
    card = tmp_path / "own.toml"
    card.write_text(
        f"""{_CARD}
        [[model]]
        model = "gpt-surprise"
        kind = "realtime"
        [[rate]]
        model = "gpt-surprise"
        text = {{ input = "1", cached_input = "0.5", output = "2" }}
        audio = {{ input = "3", cached_input = "0.25", output = "4" }}
        [[rate]]
        model = "gpt-realtime"
        audio = {{ output = "50" }}
        """
    )
    deployments = tmp_path / "deployments.json"
    deployments.write_text(json.dumps({**_SAID, "odd": "gpt-realtime-mini", "old-ears": {"model": "whisper"}}))
    before = _bytes(lived)
    answer = run(
        "reprice", lived, "--rate-card", card, "--deployments", deployments, "--output", tmp_path / "copy", "--json"
    )
    assert answer.status == 0
    assert _bytes(lived) == before, "the ledger stays as it is"
    report = run("report", tmp_path / "copy", "--by", "day,model,version", "--json").json
    assert [
        ({name: row[name] for name in ("day", "model", "version", "currency")}, row["cost"], row["low"], row["high"])
        for row in report["rows"]
    ] == [
        (
            {name: row[name] for name in ("day", "model", "version", "currency")},
            row["after"]["cost"],
            row["after"]["low"],
            row["after"]["high"],
        )
        for row in answer.json["rows"]
    ]
    [after], [total] = report["totals"], answer.json["totals"]
    assert (after["cost"], after["low"]) == (total["after"]["cost"], total["after"]["low"])
    [was] = run("report", lived, "--json").json["totals"]
    assert (was["cost"], was["low"]) == (total["before"]["cost"], total["before"]["low"])
    gained = [record for record in _records(lived) if record["quantities"] and record["rate_card"] is None]
    gained = [record for record in gained if record["model"] != "strange-ears"]
    assert total["price_gained"]["usages"] == len(gained) > 0
    assert Decimal(total["difference"]) < 0
    for old, new in zip(_records(lived), _records(tmp_path / "copy"), strict=True):
        kept = {"at", "writer", "source", "kind", "provider", "server", "account", "session", "id", "status", "usage"}
        kept |= {"v", "requested_model", "raw", "attributes"}
        assert {name: old[name] for name in kept} == {name: new[name] for name in kept}
        assert list(old) == list(new)


def test_each_line_of_the_copy_is_its_quantities_at_the_rates_of_the_card(
    lived: Path, tmp_path: Path, run: Run
) -> None:
    card = tmp_path / "own.toml"
    card.write_text(f'{_CARD}[[rate]]\nmodel = "gpt-realtime"\naudio = {{ output = "50" }}\n')
    assert run("reprice", lived, "--rate-card", card, "--output", tmp_path / "copy").status == 0
    changed = [
        (old, new)
        for old, new in zip(_records(lived), _records(tmp_path / "copy"), strict=True)
        if old["costs"] != new["costs"]
    ]
    assert len(changed) >= 4
    for old, new in changed:
        assert (new["provider"], new["model"]) == ("openai", "gpt-realtime")
        assert Decimal(new["costs"]["audio.output"]) == mtok("50", new["quantities"]["audio.output"])
        assert {**new["costs"], "audio.output": None} == {**old["costs"], "audio.output": None}
        assert Decimal(new["cost"]) == sum(map(Decimal, new["costs"].values()))
        assert new["rate_card"] == "own@2026-11-01+openai@2026-11-19"


# --- Records at the edge of a rate change ----------------------------------------------------------------------------


_TEXT: dict[str, Any] = {
    "raw": {"input_tokens": 1_000, "output_tokens": 0, "input_token_details": {"text_tokens": 1_000}},
    "quantities": {"text.input": 1_000},
    "costs": {"text.input": "0.004"},
    "cost": "0.004",
}


def _record(number: int, at: str, **changes: Any) -> dict[str, Any]:
    return response_record(**{"id": f"resp_{number}", "at": at, **_TEXT, **changes})


_OLD, _NEW = mtok("4", 1_000), mtok("5", 1_000)
_UNPRICED: dict[str, Any] = {"costs": {"text.input": None}, "cost": None, "currency": None, "rate_card": None}


@pytest.fixture
def ledger(tmp_path: Path) -> Callable[..., Path]:
    return partial(write_records, tmp_path / "ledger")


@pytest.fixture
def card(tmp_path: Path) -> Callable[[str], Path]:
    def write(rates: str) -> Path:
        path = tmp_path / "own.toml"
        path.write_text(_CARD + rates)
        return path

    return write


@pytest.mark.parametrize(
    "edge",
    [
        ("2026-11-18T10:00:00.5Z", "2026-11-18T10:00:00.499999Z", "2026-11-18T10:00:00.500000Z"),
        ("2026-12-01", "2026-11-30T23:59:59.999999Z", "2026-12-01T00:00:00.000000Z"),
        ("2026-12-01", "2026-12-01T01:59:59.999999+02:00", "2026-12-01T02:00:00.000000+02:00"),
        ("2026-12-01T00:00:00+01:00", "2026-11-30T22:59:59.999999Z", "2026-11-30T23:00:00.000000Z"),
    ],
)
def test_a_session_over_a_change_of_rate_splits_at_its_very_instant(
    edge: tuple[str, str, str], ledger: Callable[..., Path], card: Callable[[str], Path], run: Run
) -> None:
    begins, last, first = edge
    folder = ledger(_record(1, last), _record(2, first))
    own = card(f'[[rate]]\nmodel = "gpt-realtime"\nfrom = {begins}\ntext = {{ input = "5" }}\n')
    output = folder.parent / "copy"
    answer = run("reprice", folder, "--rate-card", own, "--by", "session", "--output", output, "--json").json
    assert [Decimal(record["cost"]) for record in _records(output)] == [_OLD, _NEW]
    [row] = answer["rows"]
    assert (row["session"], row["usages"], row["changed"]) == ("sess_1", 2, 1)
    assert Decimal(row["before"]["cost"]) == 2 * _OLD
    assert Decimal(row["after"]["cost"]) == _OLD + _NEW
    assert Decimal(row["difference"]) == _NEW - _OLD


def test_only_the_time_asked_for_is_priced_again_and_the_copy_holds_the_rest_as_it_was(
    ledger: Callable[..., Path], card: Callable[[str], Path], run: Run
) -> None:
    days = (
        "2026-11-17T23:59:59.999999Z",
        "2026-11-18T00:00:00Z",
        "2026-11-18T23:59:59.999999Z",
        "2026-11-19T00:00:00Z",
    )
    folder = ledger(*(_record(number, at) for number, at in enumerate(days)))
    own = card('[[rate]]\nmodel = "gpt-realtime"\ntext = { input = "5" }\n')
    output = folder.parent / "copy"
    bounds = ("--since", "2026-11-18", "--until", "2026-11-18")
    answer = run("reprice", folder, "--rate-card", own, *bounds, "--output", output, "--json").json
    assert [Decimal(record["cost"]) for record in _records(output)] == [_OLD, _NEW, _NEW, _OLD]
    [total] = answer["totals"]
    assert (total["usages"], Decimal(total["after"]["cost"])) == (2, 2 * _NEW)
    [reported] = run("report", output, "--from", "2026-11-18", "--to", "2026-11-18", "--json").json["totals"]
    assert reported["cost"] == total["after"]["cost"]


# --- What is said ----------------------------------------------------------------------------------------------------


def test_without_an_output_nothing_is_written(
    ledger: Callable[..., Path], card: Callable[[str], Path], run: Run, tmp_path: Path
) -> None:
    folder = ledger(_record(1, "2026-11-18T10:00:00Z"))
    own = card('[[discount]]\noff = "0.25"\n')
    before = sorted(tmp_path.rglob("*"))
    answer = run("reprice", folder, "--rate-card", own)
    assert sorted(tmp_path.rglob("*")) == before
    heading, row, total, last = answer.out.splitlines()
    assert heading.split()[:5] == ["day", "model", "version", "usages", "changed"]
    assert row.split()[5:] == ["0.004", "USD", "0.003", "USD", "-0.001"]
    assert total.split()[0] == "total"
    assert last == "nothing is changed: --output DIR writes a copy"


def test_the_cards_and_deployments_of_the_environment_hold_unless_others_are_named(
    ledger: Callable[..., Path], card: Callable[[str], Path], run: Run, tmp_path: Path
) -> None:
    azure = {"provider": "azure.ai.openai", "requested_model": "voice-prod", "model": "voice-prod", "scope": None}
    folder = ledger(_record(1, "2026-11-18T10:00:00Z"), _record(2, "2026-11-18T10:00:00Z", **azure, **_UNPRICED))
    own = card('[[rate]]\nmodel = "gpt-realtime"\ntext = { input = "5" }\n')
    other = tmp_path / "other.toml"
    other.write_text(_CARD)
    environment = {
        "REALTIME_SPEND_RATE_CARDS": str(own),
        "REALTIME_SPEND_DEPLOYMENTS": '{"voice-prod": "gpt-realtime"}',
        "REALTIME_SPEND_LEDGER": str(folder),
    }
    [total] = run("reprice", "--json", **environment).json["totals"]
    assert Decimal(total["after"]["cost"]) == _NEW + _OLD
    [total] = run("reprice", "--rate-card", other, "--deployments", "{}", "--json").json["totals"]
    assert (Decimal(total["after"]["cost"]), total["after"]["unpriced"]) == (_OLD, 1)


def test_a_usage_of_several_records_counts_once_and_by_the_better_one_on_each_side(
    ledger: Callable[..., Path], run: Run
) -> None:
    at = "2026-11-18T10:00:00Z"
    # A sideband that did not learn the session's name for its model, on Azure, and the session's own record.
    unknown = {"provider": "azure.ai.openai", "requested_model": "odd", "model": "odd", "scope": None, **_UNPRICED}
    known = {"provider": "azure.ai.openai", "requested_model": "odd", "model": "gpt-realtime", "scope": None}
    folder = ledger(_record(1, at, **unknown), _record(1, at, **known))
    answer = run("reprice", folder, "--json").json
    [total] = answer["totals"]
    assert (total["usages"], total["changed"], Decimal(total["before"]["cost"])) == (1, 0, _OLD)
    said = '{"odd": {"model": "gpt-realtime", "scope": "datazone"}}'
    output = folder.parent / "copy"
    [total] = run("reprice", folder, "--deployments", said, "--output", output, "--json").json["totals"]
    assert (total["usages"], total["changed"]) == (1, 1)
    assert Decimal(total["after"]["cost"]) == mtok("4.4", 1_000)
    [reported] = run("report", output, "--json").json["totals"]
    assert (reported["usages"], reported["cost"]) == (1, total["after"]["cost"])


def test_usages_without_an_id_are_never_taken_for_one(ledger: Callable[..., Path], run: Run) -> None:
    folder = ledger(*(_record(0, "2026-11-18T10:00:00Z", id=None) for _ in range(2)))
    [total] = run("reprice", folder, "--json").json["totals"]
    assert (total["usages"], Decimal(total["after"]["cost"])) == (2, 2 * _OLD)


def test_what_cannot_be_priced_again_keeps_its_price_and_is_said(
    ledger: Callable[..., Path], card: Callable[[str], Path], run: Run
) -> None:
    at = "2026-11-18T10:00:00Z"
    torn = json.dumps(_record(9, at))[:40]
    folder = ledger(
        _record(1, at),
        torn,
        _record(2, at, raw=None),
        _record(3, at, usage="lost", raw=None, quantities={}, costs={}, cost=None, currency=None, rate_card=None),
        _record(4, at, model="gpt-surprise", requested_model="gpt-surprise", **_UNPRICED),
        _record(5, at, provider="azure.ai.openai", requested_model="odd", model="gpt-odd", scope=None, **_UNPRICED),
    )
    own = card('[[rate]]\nmodel = "gpt-realtime"\ntext = { input = "5" }\n')
    output = folder.parent / "copy"
    answer = run("reprice", folder, "--rate-card", own, "--output", output, "--by", "tenant,team", "--json").json
    lines = (output / "2026-11-18-w.jsonl").read_text().splitlines()
    assert lines[1] == torn
    assert [json.loads(lines[number])["cost"] for number in (0, 2, 3, 4, 5)] == ["0.005", "0.004", None, None, None]
    said = "\n".join(answer["problems"])
    for sentence in (
        "no usage has an attribute 'team'",
        "1 record left at the old price",
        "1 unreadable line left out, the first at 2026-11-18-w.jsonl:2",
        "1 response begun and never finished",
        "2 usages without a price",
        "'gpt-surprise' is not a model that our rate cards list",
        "no record says for certain what 'odd' runs: say it, --deployments '{\"odd\": \"gpt-realtime\"}'",
    ):
        assert sentence in said


def test_a_map_that_names_what_only_the_session_said_is_applied_or_said(ledger: Callable[..., Path], run: Run) -> None:
    azure = {"provider": "azure.ai.openai", "server": "contoso.openai.azure.com", "service": "realtime", "scope": None}
    at = "2026-11-18T10:00:00Z"
    folder = ledger(
        *(_record(number, at, **azure, requested_model=name) for number, name in enumerate(["chat1", "chat2"]))
    )
    said = json.dumps({"gpt-realtime": {"scope": "datazone"}})
    answer = run("reprice", folder, "--deployments", said, "--by", "scope", "--json").json
    assert [(row["scope"], row["changed"], row["after"]["cost"]) for row in answer["rows"]] == [
        ("datazone", 2, "0.0088")
    ]
    assert not any("deployment map" in problem for problem in answer["problems"])
    said = json.dumps({name: {"scope": "datazone"} for name in ["chat2", *(f"voice{number}" for number in range(6))]})
    answer = run("reprice", folder, "--deployments", said, "--json").json
    assert answer["totals"][0]["changed"] == 1
    sentence = "of 'voice0', 'voice1', 'voice2', 'voice3', 'voice4', … is not applied where only the session said"
    assert any(sentence in problem for problem in answer["problems"])


def test_another_currency_is_said_and_not_converted(
    ledger: Callable[..., Path], card: Callable[[str], Path], run: Run
) -> None:
    folder = ledger(_record(1, "2026-11-18T10:00:00Z"))
    own = card('[[rate]]\nmodel = "gpt-realtime"\ntext = { input = "5" }\n')
    own.write_text(own.read_text().replace("USD", "EUR"))
    answer = run("reprice", folder, "--rate-card", own, "--json").json
    assert {total["currency"]: (total["before"]["cost"], total["after"]["cost"]) for total in answer["totals"]} == {
        "USD": ("0.004", None),
        "EUR": (None, "0.005"),
    }
    assert all(total["difference"] is None for total in answer["totals"])
    assert "1 usage priced in another currency than before: nothing is converted" in answer["problems"]


def test_a_usage_that_loses_its_price_is_said(ledger: Callable[..., Path], run: Run) -> None:
    folder = ledger(_record(1, "2020-01-01T10:00:00Z"))
    answer = run("reprice", folder)
    assert "price lost" in answer.out.splitlines()[0]
    assert "-0.004 (1)" in answer.out
    assert "the rate cards have no rate for some of what 'gpt-realtime' used" in answer.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--rate-card", "none.toml"), "the rate card none.toml cannot be read: No such file"),
        (("--deployments", "{not json"), "--deployments: it is not JSON"),
        (("--deployments", "none.json"), "--deployments: none.json cannot be read: No such file"),
        (("--deployments", "[]"), "--deployments: it must be an object such as"),
        (("--from", "2026-11-19", "--to", "2026-11-18"), "--from is not before --to"),
        (("--output", "LEDGER"), "lies in the ledger"),
        (("--output", "LEDGER/copy"), "lies in the ledger"),
        (("--output", "TAKEN"), "is not empty; name a new folder, or empty this one"),
        (("--output", "TAKEN/file"), "is not a folder; name a new one"),
    ],
)
def test_wrong_input_is_said_in_one_sentence(
    arguments: tuple[str, ...], sentence: str, ledger: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    folder = ledger(_record(1, "2026-11-18T10:00:00Z"))
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").write_text("mine")
    given = [argument.replace("LEDGER", str(folder)).replace("TAKEN", str(taken)) for argument in arguments]
    before = _bytes(folder)
    answer = run("reprice", folder, *given, "--json")
    assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert answer.err.startswith("Error: ")
    assert sentence in answer.err
    assert (_bytes(folder), _bytes(taken)) == (before, {"file": b"mine"})


def test_a_folder_that_is_no_ledger_leaves_no_copy(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "log.jsonl").write_text('{"level": "info"}\n')
    for where, sentence in ((folder, "is a ledger record"), (tmp_path / "none", "does not exist")):
        answer = run("reprice", where, "--output", tmp_path / "copy")
        assert (answer.status, answer.out) == (2, "")
        assert sentence in answer.err
        assert not (tmp_path / "copy").exists()


def test_a_repricing_that_is_interrupted_says_so(
    ledger: Callable[..., Path], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("realtime_spend.repricing.reprice", interrupted)
    answer = run("reprice", ledger(_record(1, "2026-11-18T10:00:00Z")))
    assert (answer.status, answer.err) == (130, "interrupted\n")
