"""What PromQL servers say was spent by day is what the ledger says, each key over the period to the last token.

VictoriaMetrics holds the very samples that Prometheus took from the collector: Debian's release of it takes no OTLP.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
from tests.stack.conftest import free_port, running
from tests.stack.filling.recording import Replay

from realtime_spend.core.line_items import Component, Modality, Provider
from realtime_spend.core.usage import Kind, Reported
from realtime_spend.estimates.by_day import ledger_estimates, prometheus_estimates
from realtime_spend.estimates.promql import PromqlReader
from realtime_spend.estimates.promql_server import PromqlServer
from realtime_spend.simulator.bill.draft import draft_bill
from realtime_spend.simulator.bill.writing import BillForm, write_bill
from realtime_spend.sinks import metrics as names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from tests.conftest import Installed, Run
    from tests.stack.conftest import Lived, Prometheus, PrometheusWith
    from tests.stack.filling.recording import Recorded

    from realtime_spend.core.reconciliation.estimated import Estimate, Estimates, Gap

# The fleet is run within the setup of the first test.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

DAY = 86_400
NANO = 10**9
INPUTS = (Component.INPUT, Component.CACHED_INPUT)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Several days of programs in a ledger and in two PromQL servers."""

    ledger: Path
    servers: Mapping[str, str]
    replays: list[Replay]
    truth: Mapping[str, Any]
    first: date
    last: date

    def near(self, day: date) -> Decimal:
        """What was spent within one export interval of the midnights of a day, each program by its own interval."""
        midnights = [datetime.combine(day, clock(), UTC) + timedelta(days=days) for days in (0, 1)]
        return sum(
            (
                Decimal(record["cost"] or 0)
                for replay in self.replays
                for record in replay.records()
                for midnight in midnights
                if abs(datetime.fromisoformat(record["at"]) - midnight) <= timedelta(seconds=replay.interval / NANO)
            ),
            Decimal(0),
        )

    def billed(self) -> Iterator[dict[str, Any]]:
        """What the simulated service sent, at the instants at which it is said to have been."""
        sent = {(usage["kind"], usage["id"]): usage for usage in self.truth["usages"]}
        for replay in self.replays:
            for record, moved in zip(replay.recorded.records, replay.records(), strict=True):
                yield sent[record["kind"], record["id"]] | {"at": moved["at"], "id": moved["id"]}

    def by_ledger(self) -> Estimates:
        return ledger_estimates(self.ledger, first=self.first, last=self.last)

    def by(self, server: str) -> Estimates:
        reader = PromqlReader(server=PromqlServer(url=self.servers[server]), names=names)
        return prometheus_estimates(reader, first=self.first, last=self.last)


def placements(recorded: Mapping[str, Recorded], today: int) -> Iterator[Replay]:
    """Each program at noon of some day, and two of them across a midnight."""
    number = count(1)

    def at(name: str, instant: int, onto: int) -> Replay:
        return Replay(recorded=recorded[name], instant=instant, onto=onto * NANO, number=next(number))

    for day, name in enumerate(recorded):
        yield at(name, recorded[name].begin, today - (1 + day % 4) * DAY + DAY // 2)
    for name in ("long", "short-1"):
        yield at(name, recorded[name].waiting(), today - 2 * DAY)


@pytest.fixture(scope="module")
def victoria_metrics(installed: Installed, started: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> int:
    """The port of a VictoriaMetrics that runs until the last test."""
    program = installed("victoria_metrics")
    folder, port = tmp_path_factory.mktemp("victoria-metrics"), free_port()
    argv: list[str | Path] = [program, f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder / 'data'}"]
    # What it got is seen at once, instead of half a minute later.
    argv += ["-search.latencyOffset=0s", "-loggerLevel=WARN"]
    started.enter_context(running(argv, log=folder / "log", ready=(port, "/health"), environment={}))
    return port


def copy(prometheus: Prometheus, port: int) -> None:
    """Copies every sample as it is. Remote write would leave out all that is older than Prometheus is running."""
    found = prometheus.ask("query", query='{__name__=~"realtime_spend_.+|gen_ai_.+"}[7d]', time=time.time())["result"]
    lines = [
        json.dumps(
            {
                "metric": series["metric"],
                "values": [float(value) for _, value in series["values"]],
                "timestamps": [round(at * 1000) for at, _ in series["values"]],
            }
        )
        for series in found
        if "values" in series
    ]
    assert lines
    with urlopen(Request(f"http://127.0.0.1:{port}/api/v1/import", "\n".join(lines).encode()), timeout=30) as answer:
        assert answer.status == 204
    # Else it is searched some seconds later.
    with urlopen(f"http://127.0.0.1:{port}/internal/force_flush", timeout=30) as answer:
        assert answer.status == 200


@pytest.fixture(scope="module")
def kept(
    lived: Lived,
    victoria_metrics: int,
    prometheus_with: PrometheusWith,
    tmp_path_factory: pytest.TempPathFactory,
) -> Kept:
    folder = tmp_path_factory.mktemp("kept")
    today = int(time.time()) // DAY * DAY
    replays = list(placements(lived.recorded, today))
    prometheus = prometheus_with(replays, folder)
    copy(prometheus, victoria_metrics)
    day = datetime.fromtimestamp(today, UTC).date()
    return Kept(
        ledger=folder / "ledger",
        replays=replays,
        truth=lived.truth,
        servers={
            "Prometheus": f"http://127.0.0.1:{prometheus.port}",
            "VictoriaMetrics": f"http://127.0.0.1:{victoria_metrics}",
        },
        first=date.fromordinal(day.toordinal() - 4),
        last=day,
    )


def whose(one: Estimate) -> Hashable:
    return one.provider, one.account, one.model, one.version, one.scope, one.part


def sums(found: Estimates, by: Callable[[Estimate], Hashable], *, of: str) -> dict[Hashable, Decimal]:
    totals: defaultdict[Hashable, Decimal] = defaultdict(Decimal)
    for one in found.items:
        totals[by(one)] += getattr(one, of) or 0
    return dict(totals)


def is_split(one: Estimate, unsplit: Collection[tuple[Provider, str | None, str | None]]) -> bool:
    return one.part.component not in INPUTS or (one.provider, one.account, one.model) not in unsplit


@pytest.fixture(params=["Prometheus", "VictoriaMetrics"])
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_quantity_over_the_period_is_the_ledgers(kept: Kept, server: str) -> None:
    ledger, found = kept.by_ledger(), kept.by(server)
    unsplit = {(one.provider, one.account, one.model) for one in ledger.items if one.low is not None}
    quantities = {
        whose(one): sums(ledger, whose, of="quantity")[whose(one)] for one in ledger.items if is_split(one, unsplit)
    }
    assert len(quantities) > 20
    assert {key: sums(found, whose, of="quantity")[key] for key in quantities} == quantities
    assert {whose(one) for one in found.items if is_split(one, unsplit)} == quantities.keys()


def test_an_unsplit_cache_is_input_of_its_modality_there_and_is_said(kept: Kept, server: str) -> None:
    def modality(one: Estimate) -> Hashable:
        is_input = one.part.component in INPUTS
        return one.provider, one.account, one.model, one.part.modality, "input" if is_input else one.part.component

    ledger, found = kept.by_ledger(), kept.by(server)
    assert sums(found, modality, of="quantity") == sums(ledger, modality, of="quantity")
    [problem] = found.problems
    assert "cached tokens of gpt-realtime" in problem.message
    assert "have no modality" in problem.message
    assert any(one.low is not None and one.part.modality is Modality.TEXT for one in ledger.items)


def test_every_cost_over_the_period_is_the_ledgers(kept: Kept, server: str) -> None:
    def model(one: Estimate) -> Hashable:
        return one.provider, one.account, one.model, one.version

    ledger, found = sums(kept.by_ledger(), model, of="cost"), sums(kept.by(server), model, of="cost")
    assert found.keys() == ledger.keys()
    for key, cost in ledger.items():
        assert found[key] == pytest.approx(cost, rel=Decimal("1e-9"), abs=0), key
    assert not ledger[Provider.OPENAI, None, "gpt-realtime-9", None]
    assert all(one.cost is None for one in kept.by(server).items if one.model == "gpt-realtime-9")


def test_a_day_is_off_by_no_more_than_an_export_interval_at_its_midnights(kept: Kept, server: str) -> None:
    def by_day(found: Estimates) -> dict[date, Decimal]:
        costs: dict[date, Decimal] = dict.fromkeys((one.day for one in found.items), Decimal(0))
        for one in found.items:
            costs[one.day] += one.cost or 0
        return costs

    ledger, found = by_day(kept.by_ledger()), by_day(kept.by(server))
    off = {day: abs(found[day] - cost) for day, cost in ledger.items()}
    for one, difference in off.items():
        assert difference <= kept.near(one) + Decimal("1e-9"), one
    # Else the bound would say nothing.
    assert max(off.values()) > Decimal("1e-4")
    assert any(kept.near(one) < cost / 2 for one, cost in ledger.items())


def test_usages_without_numbers_are_as_many_as_in_the_ledger(kept: Kept, server: str) -> None:
    def counts(gaps: list[Gap]) -> dict[tuple[str | None, str | None, Kind, Reported], int]:
        found: defaultdict[tuple[str | None, str | None, Kind, Reported], int] = defaultdict(int)
        for gap in gaps:
            found[gap.account, gap.model, gap.kind, gap.reported] += gap.count
        return dict(found)

    ledger = counts(kept.by_ledger().gaps)
    assert counts(kept.by(server).gaps) == ledger
    assert {(kind, reported) for _, _, kind, reported in ledger} >= {
        (Kind.RESPONSE, Reported.LOST),
        (Kind.RESPONSE, Reported.MISSING),
        (Kind.TRANSCRIPTION, Reported.MISSING),
    }


# --- Beside a bill ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """The same bills beside a ledger and beside a PromQL server."""

    ledger: list[dict[str, Any]]
    server: list[dict[str, Any]]


@pytest.fixture
def reconciled(kept: Kept, server: str, run: Run, tmp_path: Path) -> Reconciled:
    bills: list[object] = []
    for form, account in ((BillForm.OPENAI_COSTS, "proj_1"), (BillForm.MCA, "contoso")):
        draft = draft_bill(kept.billed(), provider=form.provider, account=account)
        bills += ["--bill", write_bill(draft, form, tmp_path / form)]
    days = ["--from", kept.first, "--to", kept.last, "--at", kept.last + timedelta(days=40)]
    rows = []
    for source in (["--ledger", kept.ledger], ["--prometheus", kept.servers[server]]):
        answer = run("reconcile", *source, *bills, *days, "--json")
        assert answer.status == 0, answer.err
        rows.append(answer.json["rows"])
    return Reconciled(ledger=rows[0], server=rows[1])


def test_rows_beside_a_bill_are_those_of_the_ledger_over_the_period(reconciled: Reconciled) -> None:
    def by_key(rows: list[dict[str, Any]], amount: str) -> dict[tuple[str, ...], Decimal]:
        totals: defaultdict[tuple[str, ...], Decimal] = defaultdict(Decimal)
        for row in rows:
            key = tuple(str(row[name]) for name in ("provider", "account", "model", "modality", "component", "scope"))
            totals[key] += Decimal(row[amount] or 0)
        return dict(totals)

    unsplit = {tuple(row[name] for name in ("model", "modality")) for row in reconciled.ledger if row["estimated_low"]}
    assert len(unsplit) == 2
    for amount, exact in (("estimated_quantity", True), ("billed_cost", True), ("estimated_cost", False)):
        ledger, found = by_key(reconciled.ledger, amount), by_key(reconciled.server, amount)
        assert ledger.keys() == found.keys()
        assert len(ledger) > 20
        for key, total in ledger.items():
            _, _, model, modality, component, _ = key
            if amount == "estimated_quantity" and (model, modality) in unsplit and component in INPUTS:
                continue
            assert found[key] == (total if exact else pytest.approx(total, rel=Decimal("1e-9"), abs=0)), key


def test_a_day_beside_a_bill_is_off_by_no_more_than_an_export_interval_at_its_midnights(
    kept: Kept, reconciled: Reconciled
) -> None:
    def by_day(rows: list[dict[str, Any]]) -> dict[str, Decimal]:
        totals: defaultdict[str, Decimal] = defaultdict(Decimal)
        for row in rows:
            totals[row["day"]] += Decimal(row["estimated_cost"] or 0)
        return dict(totals)

    ledger, found = by_day(reconciled.ledger), by_day(reconciled.server)
    assert ledger.keys() == found.keys()
    for day, cost in ledger.items():
        assert abs(found[day] - cost) <= kept.near(date.fromisoformat(day)) + Decimal("1e-9"), day
