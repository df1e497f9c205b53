from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.ledger_records import response_record

from realtime_spend.core.usage import Reported
from realtime_spend.estimates.ledger import ledger_size, parse_entry, read_ledger

if TYPE_CHECKING:
    from pathlib import Path

_FROM_WORST_TO_BEST = ["lost", "missing", "estimated", "reported"]
_record = partial(
    response_record,
    at="2026-11-18T10:00:00.123456Z",
    version="2025-08-28",
    raw={"total_tokens": 10},
    quantities={"text.input": 4, "audio.output": 6},
    costs={"text.input": "0.000016", "audio.output": None},
    cost="0.000016",
)


def _line(**changes: Any) -> bytes:
    return json.dumps(_record(**changes)).encode()


def _write(folder: Path, *lines: bytes, name: str = "2026-11-18-w.jsonl") -> None:
    (folder / name).write_bytes(b"".join(line + b"\n" for line in lines))


def test_an_entry_holds_what_the_record_says() -> None:
    entry = parse_entry(_line())
    assert entry is not None
    assert entry.at == datetime(2026, 11, 18, 10, 0, 0, 123456, tzinfo=UTC)
    assert (entry.kind, entry.provider, entry.server) == ("response", "openai", "api.openai.com")
    assert (entry.account, entry.session, entry.id, entry.status) == (None, "sess_1", "resp_1", "completed")
    assert (entry.reported, entry.model, entry.version) == (Reported.REPORTED, "gpt-realtime", "2025-08-28")
    assert entry.scope == "global"
    assert entry.quantities == {"text.input": Decimal(4), "audio.output": Decimal(6)}
    assert entry.costs == {"text.input": Decimal("0.000016"), "audio.output": None}
    assert (entry.cost, entry.low, entry.high, entry.currency) == (Decimal("0.000016"), None, None, "USD")
    assert entry.attributes == {"tenant": "acme"}
    assert (entry.requested_model, entry.region, entry.service) == ("gpt-realtime", None, None)
    assert (entry.rate_card, entry.raw) == ("openai@2026-11-19", {"total_tokens": 10})


def test_bounds_and_seconds_are_exact() -> None:
    entry = parse_entry(_line(quantities={"audio.duration": "42.5"}, cost="0.3", low="0.1", high="0.3"))
    assert entry is not None
    assert entry.quantities == {"audio.duration": Decimal("42.5")}
    assert (entry.low, entry.high) == (Decimal("0.1"), Decimal("0.3"))


@pytest.mark.parametrize(
    "changes",
    [
        {"cost": 0.1},
        {"low": 0.1},
        {"high": 1},
        {"costs": {"text.input": 0.000016}},
        {"cost": "much"},
        {"cost": "NaN"},
        {"quantities": {"text.input": "some"}},
        {"quantities": None},
        {"costs": []},
        {"at": "2026-11-18T10:00:00"},
        {"at": "yesterday"},
        {"at": 1_795_000_000},
        {"usage": "guessed"},
        {"v": 2},
        {"v": None},
        {"v": "1"},
    ],
    ids=str,
)
def test_a_record_that_is_not_of_this_form_is_none(changes: dict[str, Any]) -> None:
    assert parse_entry(_line(**changes)) is None


@pytest.mark.parametrize("key", ["v", "at", "kind", "provider", "server", "id", "usage", "quantities", "costs"])
def test_a_record_without_one_of_these_keys_is_none(key: str) -> None:
    record = _record()
    del record[key]
    assert parse_entry(json.dumps(record).encode()) is None


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b"7", b'"v"', b"{", b"\x00" * 64, b"\xff\xfe", b"[" * 100_000])
def test_a_line_that_is_no_record_is_none(line: bytes) -> None:
    assert parse_entry(line) is None


def test_every_beginning_of_a_line_is_none_and_none_of_them_raises() -> None:
    line = _line()
    assert [parse_entry(line[:length]) for length in range(len(line))] == [None] * len(line)


@pytest.mark.parametrize("value", [[], {}], ids=str)
def test_a_record_whose_id_is_no_text_is_left_out(value: object, tmp_path: Path) -> None:
    _write(tmp_path, _line(id=value), _line())
    reading = read_ledger(tmp_path)
    assert [entry.id for entry in reading.entries] == ["resp_1"]
    assert reading.unreadable == [("2026-11-18-w.jsonl", 1)]


@pytest.mark.parametrize("changes", [{"attributes": [1]}, {"currency": ["USD"]}], ids=str)
def test_a_record_whose_attributes_or_currency_are_of_another_kind_is_left_out(changes: dict[str, Any]) -> None:
    assert parse_entry(_line(**changes)) is None


def test_lines_that_are_torn_anywhere_are_skipped_and_counted_by_file_and_line(tmp_path: Path) -> None:
    torn = _line(id="torn")[:50]
    _write(tmp_path, torn, _line(id="a"), b"", torn, _line(id="b"), torn)
    reading = read_ledger(tmp_path)
    assert sorted(entry.id or "" for entry in reading.entries) == ["a", "b"]
    assert reading.unreadable == [("2026-11-18-w.jsonl", number) for number in (1, 4, 6)]


def test_a_last_line_without_its_end_is_read_if_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "2026-11-18-w.jsonl").write_bytes(_line(id="a") + b"\n" + _line(id="b"))
    assert len(read_ledger(tmp_path).entries) == 2


def test_one_usage_in_several_files_counts_once(tmp_path: Path) -> None:
    for writer in "abc":
        _write(tmp_path, _line(session=f"sess_{writer}"), name=f"2026-11-18-{writer}.jsonl")
    reading = read_ledger(tmp_path)
    assert [entry.session for entry in reading.entries] == ["sess_a"]
    assert (reading.files, reading.repeated, reading.unreadable) == (3, 2, [])


@pytest.mark.parametrize(("worse", "better"), list(itertools.combinations(_FROM_WORST_TO_BEST, 2)))
@pytest.mark.parametrize("is_better_first", [True, False])
def test_of_two_accounts_of_one_usage_the_better_one_counts(
    *, worse: str, better: str, is_better_first: bool, tmp_path: Path
) -> None:
    lines = [_line(usage=worse), _line(usage=better)]
    _write(tmp_path, *(reversed(lines) if is_better_first else lines))
    [entry] = read_ledger(tmp_path).entries
    assert entry.reported == better


def test_of_equals_the_first_counts(tmp_path: Path) -> None:
    _write(tmp_path, _line(cost="1"), _line(cost="2"))
    [entry] = read_ledger(tmp_path).entries
    assert entry.cost == Decimal(1)


def test_usages_without_an_id_are_never_taken_for_one(tmp_path: Path) -> None:
    _write(tmp_path, _line(id=None), _line(id=None))
    reading = read_ledger(tmp_path)
    assert (len(reading.entries), reading.repeated) == (2, 0)


@pytest.mark.parametrize("key", ["provider", "server", "kind", "id"])
def test_usages_that_differ_in_one_part_of_the_key_are_two(key: str, tmp_path: Path) -> None:
    _write(tmp_path, _line(), _line(**{key: "another"}))
    assert len(read_ledger(tmp_path).entries) == 2


def test_the_session_is_no_part_of_the_key_because_a_sideband_does_not_learn_it(tmp_path: Path) -> None:
    _write(tmp_path, _line(), _line(session=None))
    assert len(read_ledger(tmp_path).entries) == 1


def test_of_running_totals_the_greatest_counts(tmp_path: Path) -> None:
    totals = ["10", "25", "20"]
    _write(
        tmp_path,
        *(_line(kind="live", id="sess_1", quantities={"audio.duration": total}, costs={}) for total in totals),
    )
    entries = read_ledger(tmp_path).entries
    assert sum(entry.quantities["audio.duration"] for entry in entries) == Decimal(25)


def test_each_day_has_its_own_part_of_a_running_total(tmp_path: Path) -> None:
    # 0.05 USD a minute; three days, of which the last month has one digit less in its day than the one before.
    told = [("2026-11-30T23:50:00Z", "60"), ("2026-11-30T23:59:00Z", "600"), ("2026-12-01T00:01:00Z", "720")]
    told += [("2026-12-02T00:00:00Z", "720"), ("2026-12-03T00:00:00Z", "900"), ("2026-12-03T00:00:01Z", "870")]
    _write(
        tmp_path,
        *(
            _line(
                at=at,
                kind="live",
                id="live_1",
                quantities={"audio.duration": total},
                costs={"audio.duration": str(Decimal(total) * 5 / 6000)},
                cost=str(Decimal(total) * 5 / 6000),
            )
            for at, total in told
        ),
    )
    entries = read_ledger(tmp_path).entries
    by_day = {entry.at.date().isoformat(): entry for entry in entries}
    assert len(by_day) == len(entries)
    assert {day: entry.quantities["audio.duration"] for day, entry in by_day.items()} == {
        "2026-11-30": Decimal(600),
        "2026-12-01": Decimal(120),
        "2026-12-03": Decimal(180),
    }
    minute = Decimal("0.05")
    assert {day: entry.cost for day, entry in by_day.items()} == {
        "2026-11-30": 10 * minute,
        "2026-12-01": 2 * minute,
        "2026-12-03": 3 * minute,
    }
    assert all(entry.costs == {"audio.duration": entry.cost} for entry in entries)


def test_a_running_total_that_got_its_price_late_is_priced(tmp_path: Path) -> None:
    seconds = {"audio.duration": "60"}
    unpriced = _line(kind="live", id="live_1", quantities=seconds, costs={"audio.duration": None}, cost=None)
    priced = _line(kind="live", id="live_1", quantities=seconds, costs={"audio.duration": "0.05"}, cost="0.05")
    _write(tmp_path, unpriced, priced)
    [entry] = read_ledger(tmp_path).entries
    assert entry.cost == Decimal("0.05")


def _told(total: str | None, usage: str = "reported", **others: object) -> bytes:
    """A running total of 0.05 USD a minute, as one of the processes wrote it down."""
    cost = None if total is None else str(Decimal(total) * 5 / 6000)
    quantities = {} if total is None else {"audio.duration": total}
    costs = {} if total is None else {"audio.duration": cost}
    return _line(kind="live", id="live_1", usage=usage, quantities=quantities, costs=costs, cost=cost, **others)


@pytest.mark.parametrize("is_turned", [False, True])
def test_the_start_of_a_call_is_charged_whoever_else_reported_that_less_was_used(
    tmp_path: Path, *, is_turned: bool
) -> None:
    lines = [_told("15", "estimated"), _told("4"), _told(None, "missing")]
    _write(tmp_path, *(reversed(lines) if is_turned else lines))
    [entry] = read_ledger(tmp_path).entries
    assert (entry.reported, entry.quantities, entry.cost) == (
        Reported.ESTIMATED,
        {"audio.duration": Decimal(15)},
        Decimal(15) * 5 / 6000,
    )


@pytest.mark.parametrize("is_turned", [False, True])
def test_the_greatest_total_has_the_price_that_another_process_knew(tmp_path: Path, *, is_turned: bool) -> None:
    unpriced = _line(
        kind="live",
        id="live_1",
        model=None,
        quantities={"audio.duration": "100"},
        costs={"audio.duration": None},
        cost=None,
    )
    lines = [_told("40", model="gpt-live-1"), unpriced]
    _write(tmp_path, *(reversed(lines) if is_turned else lines))
    [entry] = read_ledger(tmp_path).entries
    assert (entry.model, entry.quantities) == ("gpt-live-1", {"audio.duration": Decimal(100)})
    by_hand = (Decimal(100) * 5 / 6000).quantize(Decimal("1e-12"))
    assert abs((entry.cost or 0) - by_hand) <= Decimal("3e-12")
    assert entry.costs == {"audio.duration": entry.cost}


def test_what_was_missing_one_day_and_told_the_next_is_not_missing(tmp_path: Path) -> None:
    _write(tmp_path, _told(None, "missing", at="2026-11-18T23:59:59Z"), _told("20", at="2026-11-19T00:00:09Z"))
    [entry] = read_ledger(tmp_path).entries
    assert (entry.reported, entry.quantities) == (Reported.REPORTED, {"audio.duration": Decimal(20)})


def test_entries_come_in_the_order_of_their_instants(tmp_path: Path) -> None:
    _write(tmp_path, _line(id="late", at="2026-11-19T00:00:00Z"), _line(id=None, at="2026-11-18T12:00:00Z"))
    _write(tmp_path, _line(id="early", at="2026-11-18T01:00:00+02:00"), name="z.jsonl")
    assert [entry.id for entry in read_ledger(tmp_path).entries] == ["early", None, "late"]


def test_files_that_are_no_ledgers_are_left_alone(tmp_path: Path) -> None:
    _write(tmp_path, _line())
    (tmp_path / "notes.txt").write_text("not a ledger")
    reading = read_ledger(tmp_path)
    assert (reading.files, reading.unreadable) == (1, [])


def test_whoever_shows_progress_is_told_every_byte(tmp_path: Path) -> None:
    _write(tmp_path, _line(), b"torn", b"")
    _write(tmp_path, _line(id="b"), name="b.jsonl")
    told: list[int] = []
    read_ledger(tmp_path, told.append)
    assert sum(told) == ledger_size(tmp_path) == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere does not exist; name .* REALTIME_SPEND_LEDGER"):
        read_ledger(tmp_path / "nowhere")


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_bytes(_line())
    with pytest.raises(ValueError, match="is not a folder"):
        read_ledger(tmp_path / "ledger.jsonl")


def test_an_empty_folder_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no ledger file; .* REALTIME_SPEND_LEDGER"):
        read_ledger(tmp_path)
    assert ledger_size(tmp_path) == 0


def test_a_file_that_cannot_be_read_is_said_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "2026-11-18-w.jsonl").mkdir()
    with pytest.raises(ValueError, match=r"2026-11-18-w\.jsonl cannot be read: Is a directory"):
        read_ledger(tmp_path)
