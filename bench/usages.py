"""What a usage costs on its way through to totals and ledger, beside merely parsing its JSON.

    python -m bench.usages [--quick]

Each response is begun before it is done, as in a session, so that its duration is measured too. Usages are added to the
totals by the thread that collects: that is timed as well, and told apart. Collections happen between rounds, untimed.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from bench import session_events as events
from bench.measuring import CELLS, clock, interleaved, rounds_of
from bench.tables import Table, program, progress
from realtime_spend import RealtimeInstrumentor
from realtime_spend.core.endpoints import recognise
from realtime_spend.observing import RUNNING
from realtime_spend.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

_TARGET = "≤ 60 µs"
_ROUNDS, _USAGES = 41, 60


class Usages:
    """A watched session in which usages come, one after another."""

    def __init__(self, begin: Callable[[int], bytes], end: Callable[[int], bytes]) -> None:
        endpoint = recognise("api.openai.com", 443, "/v1/realtime", "model=gpt-realtime")
        assert endpoint is not None  # noqa: S101 - it is the protocol's own URL
        self._watcher = Watcher(RUNNING[-1].metering, endpoint, {"tenant": "acme"})
        self._watcher.opened()
        self._watcher.frame(events.session_created())
        self._begin, self._end, self._number = begin, end, 0

    def in_the_session(self) -> float:
        """Return the microseconds that one usage takes of the thread that holds the session."""
        spent, _ = self._measure()
        return spent

    def in_all(self) -> float:
        """Return them with those of the thread that collects."""
        return sum(self._measure())

    def _measure(self) -> tuple[float, float]:
        """Return both, averaged over as many new usages as make a batch."""
        spent = 0
        for number in range(self._number, self._number + _USAGES):
            done = self._end(number)
            self._watcher.frame(self._begin(number))
            begun = clock()
            self._watcher.frame(done)
            spent += clock() - begun
        self._number += _USAGES
        begun = clock()
        RUNNING[-1].metering.count_all()
        return spent / _USAGES / 1000, (clock() - begun) / _USAGES / 1000

    def parse(self) -> float:
        """Return the microseconds that parsing the JSON of one such event takes."""
        spent = 0
        for number in range(_USAGES):
            done = self._end(number)
            begun = clock()
            json.loads(done)
            spent += clock() - begun
        return spent / _USAGES / 1000

    def close(self) -> None:
        """End the session."""
        self._watcher.closed()


def measure(quick: bool) -> list[Table]:  # noqa: FBT001 - what every program of the bench is asked
    """Measure both kinds of usage, with and without a ledger, to the end and as the session sees it."""
    table = Table(title="A usage: µs from its frame to totals and ledger", columns=["usage", *CELLS, "target"])
    for goes, with_ledger, in_all in (
        ("to totals and ledger", True, True),
        ("to totals and ledger, in the session's thread", True, False),
        ("to totals alone", False, True),
    ):
        for what, begin, end in (
            ("response.done", events.response_created, events.response_done),
            ("transcription", events.committed, events.transcribed),
        ):
            progress(f"usages: {what} {goes}")
            rounds = rounds_of(quick=quick, rounds=_ROUNDS)
            cells = _measure(begin, end, with_ledger=with_ledger, in_all=in_all, rounds=rounds)
            table.rows.append([f"{what}, {goes}", *cells, _TARGET if with_ledger else ""])
    table.notes = [
        (
            "“bare” is `json.loads` of the same event, which a client does as well; “with us” is all that we do, "
            "parsing included. The ledger has a usage before the session goes on; it is added to the totals by the "
            "thread that collects, which also records the histograms: see the collection for these."
        ),
    ]
    return [table]


def _measure(
    begin: Callable[[int], bytes], end: Callable[[int], bytes], *, with_ledger: bool, in_all: bool, rounds: int
) -> list[str]:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder) if with_ledger else None
        RealtimeInstrumentor().instrument(meter_provider=provider, ledger=ledger)
        try:
            usages = Usages(begin, end)
            ours = usages.in_all if in_all else usages.in_the_session
            cells = interleaved(usages.parse, ours, rounds, reader.collect).cells(1)
            usages.close()
        finally:
            RealtimeInstrumentor().uninstrument()
            provider.shutdown()
        records = [line for file in Path(folder).glob("*.jsonl") for line in file.read_text("utf-8").splitlines()]
    if with_ledger and len(records) < rounds * _USAGES:
        raise RuntimeError(f"only {len(records)} of {(rounds + 1) * _USAGES} usages came to the ledger")
    return cells


if __name__ == "__main__":
    program(measure)
