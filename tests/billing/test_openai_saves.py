"""Pages of OpenAI's costs that were saved day after day: nothing of them is billed twice."""

from __future__ import annotations

import json
import os
from datetime import date
from decimal import Decimal
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from tests.billing.test_openai_costs import AUDIO_IN, DAY, START, bucket, page, result
from tests.billing.test_openai_dashboard import HEADER, row

from realtime_spend.billing.reading import read_bill
from realtime_spend.rate_cards import load_book

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from realtime_spend.core.reconciliation.bills import Bill

_BOOK = load_book()
_TEXT_IN = "gpt-realtime-2025-08-28 text, input"


def _save(path: Path, *buckets: Any, written: int = 1) -> Path:
    path.write_text(json.dumps(page(*buckets)), encoding="utf-8")
    os.utime(path, (written, written))
    return path


def _read(files: Sequence[Path], day: date | None = None) -> Bill:
    return read_bill(files, book=_BOOK, first=day, last=day)


def _costs(bill: Bill) -> dict[tuple[int, str | None, str], Decimal]:
    costs = {(item.day.day, item.account, item.meter.name): item.cost for item in bill.items}
    assert len(costs) == len(bill.items), "one row of each"
    return costs


def test_of_pages_that_were_saved_every_day_the_newest_counts_in_any_order(tmp_path: Path) -> None:
    # The file of the last day is the newest, whenever it was copied.
    first = _save(tmp_path / "a.json", bucket(result(AUDIO_IN, "1")), written=9)
    second = _save(
        tmp_path / "b.json", bucket(result(AUDIO_IN, "3")), bucket(result(AUDIO_IN, "4"), start=START + DAY), written=8
    )
    third = _save(
        tmp_path / "c.json",
        bucket(result(_TEXT_IN, "7"), start=START + DAY),
        bucket(result(AUDIO_IN, "5"), start=START + 2 * DAY),
        written=7,
    )
    for files in permutations((first, second, third)):
        bill = _read(files)
        assert _costs(bill) == {
            (18, "proj_voice", AUDIO_IN): 3,
            (19, "proj_voice", AUDIO_IN): 4,
            (19, "proj_voice", _TEXT_IN): 7,
            (20, "proj_voice", AUDIO_IN): 5,
        }
        assert [(problem.file, problem.message) for problem in bill.problems] == [
            (str(first), f"1 of its results are in {second} as well, which is newer; those count")
        ]


def test_of_two_saves_of_the_same_days_the_one_written_later_counts(tmp_path: Path) -> None:
    new = _save(tmp_path / "a.json", bucket(result(AUDIO_IN, "2")), written=2_000)
    old = _save(tmp_path / "b.json", bucket(result(AUDIO_IN, "1")), written=1_000)
    for files in permutations((new, old)):
        assert _costs(_read(files)) == {(18, "proj_voice", AUDIO_IN): 2}


def test_the_end_of_a_file_is_its_own_and_not_of_the_days_that_are_asked_for(tmp_path: Path) -> None:
    new = _save(tmp_path / "a.json", bucket(result(AUDIO_IN, "2")), bucket(start=START + DAY), written=1)
    old = _save(tmp_path / "b.json", bucket(result(AUDIO_IN, "1")), written=2)
    day = date(2026, 11, 18)
    assert _costs(_read([new, old], day)) == {(18, "proj_voice", AUDIO_IN): 2}


@pytest.mark.parametrize("is_old_split", [True, False])
def test_a_save_that_is_not_split_by_project_has_the_money_of_all_of_them(
    tmp_path: Path, *, is_old_split: bool
) -> None:
    split = bucket(result(AUDIO_IN, "1"), result(AUDIO_IN, "2", project_id="proj_b"))
    whole = bucket(result(AUDIO_IN, "3", project_id=None))
    old, new = (split, whole) if is_old_split else (whole, split)
    files = [_save(tmp_path / "old.json", old, written=1), _save(tmp_path / "new.json", new, written=2)]
    assert sum(_costs(_read(files)).values()) == 3


def test_projects_and_days_that_were_saved_apart_are_summed(tmp_path: Path) -> None:
    files = [
        _save(tmp_path / "a.json", bucket(result(AUDIO_IN, "1"))),
        _save(tmp_path / "b.json", bucket(result(AUDIO_IN, "2", project_id="proj_b"))),
        _save(tmp_path / "c.json", bucket(result(AUDIO_IN, "4"), start=START + DAY)),
    ]
    bill = _read(files)
    assert sum(_costs(bill).values()) == 7
    assert bill.problems == []


def test_keys_of_one_file_are_not_held_against_each_other(tmp_path: Path) -> None:
    keys = [result(AUDIO_IN, "1", api_key_id="key_1"), result(AUDIO_IN, "2", api_key_id="key_2")]
    old = _save(tmp_path / "old.json", bucket(result(AUDIO_IN, "2.5")), written=1)
    new = _save(tmp_path / "new.json", bucket(*keys), written=2)
    bill = _read([new, old])
    assert [item.cost for item in bill.items] == [1, 2]


def test_an_export_of_the_dashboard_is_held_against_pages_as_well(tmp_path: Path) -> None:
    export = tmp_path / "costs.csv"
    export.write_text(HEADER + row(), encoding="utf-8")
    exported = _read([export])
    (item,) = exported.items
    later = START + DAY * ((item.day - date(2026, 11, 18)).days + 1)
    same = bucket(result(item.meter.name, "9", project_id=item.account), start=later - DAY)
    saved = _save(tmp_path / "costs.json", same, bucket(start=later))
    assert [(one.cost, one.file) for one in _read([saved, export]).items] == [(Decimal(9), str(saved))]
