"""Real programs through the real collector into a real Prometheus: what PromQL adds up to is what the ledger holds.

Run it with `-s` to see the accounts side by side, with what `increase()` would have said.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING

import pytest
from grafana.names import COST
from tests.stack.filling.recording import Replay, entries_of
from tests.stack.filling.totals import accounts, growth, spent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.stack.conftest import Lived, Prometheus, PrometheusWith
    from tests.stack.filling.recording import Recorded

    from realtime_spend.estimates.ledger import Entry

# The fleet is run within the setup of the first test.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

DAY = 86_400
NANO = 10**9
EVERYTHING = ".+"
# Of the programs, by service.name: those that end with their first export, that export a few times, and so on.
KINDS = ["once-.+", "short-.+", "long", "forking", "doubtful", EVERYTHING]


def of_kind(jobs: str) -> str:
    return f'{COST}{{job=~"{jobs}"}}'


# --- As it happened ---------------------------------------------------------------------------------------------------


def lived_entries(lived: Lived, jobs: str) -> list[Entry]:
    folders = [lived.ledgers / name for name in lived.recorded if is_kind(name, jobs)]
    return [entry for folder in folders for entry in entries_of(folder)]


def is_kind(name: str, jobs: str) -> bool:
    return jobs in (EVERYTHING, name) or (jobs.endswith(".+") and name.startswith(jobs[:-2]))


def test_the_ledger_is_what_the_service_sent(lived: Lived) -> None:
    written = {(entry.kind, entry.id): entry for entry in lived_entries(lived, EVERYTHING)}
    sent = {(usage["kind"], usage["id"]): usage for usage in lived.truth["usages"]}
    assert written.keys() == sent.keys()
    # What is lost has a price that nobody is told, and of an unsplit count only the bounds are known.
    told = {key: usage["cost"] for key, usage in sent.items() if usage["usage"] == "reported" and usage["cached_split"]}
    assert len(told) > len(sent) / 2
    assert {key: written[key].cost for key in told} == {
        key: None if cost is None else Decimal(cost) for key, cost in told.items()
    }
    assert {key: written[key].quantities for key in told} == {
        key: {part: Decimal(quantity) for part, quantity in sent[key]["quantities"].items() if quantity} for key in told
    }


def test_the_programs_ran_as_they_were_meant_to(lived: Lived) -> None:
    exports = {name: sorted(map(len, recorded.exports.values())) for name, recorded in lived.recorded.items()}
    # A process that is slow to end sends the same totals twice.
    assert exports["once-1"] in ([1], [2])
    assert exports["once-2"] in ([1], [2])
    assert min(exports["short-1"] + exports["short-2"]) >= 3
    assert min(exports["long"]) >= 10
    assert len(exports["forking"]) == 2
    overlapping = [recorded for recorded in lived.recorded.values() if recorded.begin < lived.recorded["long"].end]
    assert len(overlapping) > 3


@pytest.mark.parametrize("jobs", KINDS)
def test_consecutive_windows_add_up_to_the_ledger(lived: Lived, jobs: str) -> None:
    begin, seconds = round(lived.begin, 3), 3
    edges = [begin + seconds * n for n in range(2 + int(lived.end - lived.begin) // seconds)]
    entries = lived_entries(lived, jobs)
    took = accounts(lived.prometheus, entries, what=f"{seconds} s each, {jobs}", series=of_kind(jobs), edges=edges)
    assert sum(took.ledger) == spent(entries) > 0
    assert sum(took.exact) == pytest.approx(float(spent(entries)), rel=1e-9), str(took)


def test_increase_does_not_see_what_a_program_exported_only_once(lived: Lived) -> None:
    edges = [round(lived.begin, 3), round(lived.end, 3)]
    took = accounts(
        lived.prometheus, lived_entries(lived, "once-.+"), what="all at once", series=of_kind("once-.+"), edges=edges
    )
    assert took.guessed == (0,)


def test_each_process_adds_up_by_itself(lived: Lived) -> None:
    """A child that repeated its parent's money would be seen here, whatever the other programs spent."""
    begin, end = round(lived.begin, 3), round(lived.end, 3)
    for name, recorded in lived.recorded.items():
        series = [f'{COST}{{job="{name}", instance="{instance}"}}' for instance in recorded.exports]
        grown = sorted(growth(lived.prometheus, one, begin=begin, end=end) for one in series)
        written: defaultdict[str, Decimal] = defaultdict(Decimal)
        for record in recorded.records:
            written[record["writer"]] += Decimal(record["cost"] or 0)
        assert grown == pytest.approx(sorted(map(float, written.values())), rel=1e-9), name


# --- Over days --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Days:
    """The recorded programs again and again over several days, in a Prometheus and in a ledger."""

    prometheus: Prometheus
    entries: list[Entry]
    replays: Sequence[Replay]
    edges: list[int]

    def of(self, replay: Replay) -> list[Entry]:
        return [entry for entry in self.entries if entry.id and entry.id.endswith(f"-{replay.number}")]

    def near(self, midnight: int) -> Decimal:
        """What was spent within one export interval of a midnight, each program by its own interval."""
        return sum(
            (
                spent(self.of(replay), begin=midnight - replay.interval / NANO, end=midnight + replay.interval / NANO)
                for replay in self.replays
            ),
            Decimal(0),
        )


def placements(recorded: Mapping[str, Recorded], today: int) -> Iterator[Replay]:
    """Programs inside days, across midnights and on them, and one that runs for two days."""
    number = count(1)

    def at(name: str, instant: int, onto: float, *, stretch: int = 1) -> Replay:
        return Replay(
            recorded=recorded[name], instant=instant, onto=round(onto) * NANO, stretch=stretch, number=next(number)
        )

    yield at("once-1", recorded["once-1"].end, time.time() - 60)
    for day, name in enumerate(recorded):
        yield at(name, recorded[name].begin, today - (1 + day % 5) * DAY + 43_200)
    for name in ("long", "short-1", "doubtful"):
        yield at(name, recorded[name].waiting(), today - 3 * DAY)
    for name in ("short-2", "forking"):
        yield at(name, recorded[name].waiting(), today - DAY)
    # The very millisecond of an export, and that of a usage.
    (exports,) = recorded["long"].exports.values()
    yield at("long", exports[len(exports) // 2], today - 2 * DAY)
    yield at("short-1", recorded["short-1"].spending[3], today - 2 * DAY)
    yield at("long", recorded["long"].begin, today - 5 * DAY + 21_600, stretch=10_000)


@pytest.fixture(scope="module")
def days(
    lived: Lived,
    prometheus_with: PrometheusWith,
    tmp_path_factory: pytest.TempPathFactory,
) -> Days:
    folder = tmp_path_factory.mktemp("days")
    today = int(time.time()) // DAY * DAY
    # The newest first, so that all others are older than what Prometheus has.
    replays = list(placements(lived.recorded, today))
    prometheus = prometheus_with(replays, folder)
    return Days(
        prometheus=prometheus,
        entries=entries_of(folder / "ledger"),
        replays=replays,
        edges=[today + DAY * day for day in range(-6, 2)],
    )


def test_consecutive_days_add_up_to_the_ledger(days: Days) -> None:
    took = accounts(days.prometheus, days.entries, what="UTC days", series=COST, edges=days.edges)
    assert sum(took.ledger) == spent(days.entries) > 0
    assert sum(took.exact) == pytest.approx(float(spent(days.entries)), rel=1e-9), str(took)


def test_a_single_day_is_off_by_no_more_than_an_export_interval_at_its_midnights(days: Days) -> None:
    took = accounts(days.prometheus, days.entries, what="UTC days", series=COST, edges=days.edges)
    off = [abs(exact - float(ledger)) for ledger, exact in zip(took.ledger, took.exact, strict=True)]
    bounds = [days.near(begin) + days.near(begin + DAY) for begin in days.edges[:-1]]
    assert all(one <= float(bound) + 1e-12 for one, bound in zip(off, bounds, strict=True)), f"{off}\n{bounds}\n{took}"
    # Else the bound would say nothing.
    assert sum(off) > 1e-4
    assert sum(bound < ledger / 2 for bound, ledger in zip(bounds, took.ledger, strict=True)) >= 3


def test_money_that_waited_for_its_export_over_midnight_is_in_the_next_day(days: Days) -> None:
    replay = next(one for one in days.replays if one.onto == days.edges[3] * NANO and one.recorded.name == "long")
    ((instance, exports),) = replay.recorded.exports.items()
    series = f'{COST}{{instance="{instance}-{replay.number}"}}'
    exported = max(replay.moved(time) for time in exports if replay.moved(time) <= replay.onto) / NANO
    midnight = replay.onto // NANO
    until = growth(days.prometheus, series, begin=midnight - DAY, end=midnight)
    after = growth(days.prometheus, series, begin=midnight, end=midnight + DAY)
    entries = days.of(replay)
    # What was written down while the export was being made may be in it or not.
    least, most = (float(spent(entries, end=exported + seconds)) for seconds in (-0.05, 0.05))
    assert least * (1 - 1e-9) <= until <= most * (1 + 1e-9)
    assert until + after == pytest.approx(float(spent(entries)), rel=1e-9)
    assert spent(entries, begin=exported, end=midnight) > 0


def test_a_program_that_ran_for_days_is_in_each_of_them(days: Days) -> None:
    replay = next(one for one in days.replays if one.stretch > 1)
    (instance,) = replay.recorded.exports
    series = f'{COST}{{instance="{instance}-{replay.number}"}}'
    took = accounts(days.prometheus, days.of(replay), what="UTC days, one process", series=series, edges=days.edges)
    assert sum(exact > 0 for exact in took.exact) >= 2
    assert sum(took.exact) == pytest.approx(float(spent(days.of(replay))), rel=1e-9), str(took)
