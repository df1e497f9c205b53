"""One call on a relay and on two sidebands, each in a process of its own with a ledger of its own: counted once."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from decimal import Decimal
from typing import TYPE_CHECKING

import websockets
from tests.relay.programs import relay_process
from tests.sideband.conftest import Caller, costs, has_begun, records
from tests.sideband.test_attach_command import answer_of, last_cost, running, sidebands

from realtime_spend.simulator.bill.writing import BillForm, bill_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

    from realtime_spend.simulator import Simulator

_TRANSCRIBED = {"type": "realtime", "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}


async def test_a_call_on_a_relay_and_two_sidebands_is_counted_once(
    simulator: Simulator, run: Run, tmp_path: Path
) -> None:
    own = [tmp_path / name for name in ("relay", "observer", "counter")]
    told = {"OPENAI_BASE_URL": f"{simulator.url}/v1", "OTEL_METRICS_EXPORTER": "console"}
    observing = {**told, "REALTIME_SPEND_LEDGER": str(own[1]), "REALTIME_SPEND_ROLE": "observer"}
    counting = {**told, "REALTIME_SPEND_LEDGER": str(own[2])}
    with relay_process(own[0], "--openai", simulator.url) as relay:
        async with running("rtc_1", **observing) as one, running("rtc_1", **counting) as other:
            url = f"ws://127.0.0.1:{relay.port}/v1/realtime?model=gpt-realtime&sim_call_id=rtc_1"
            async with websockets.connect(url, proxy=None, max_queue=None) as socket:
                await has_begun(lambda: sidebands(simulator) == 2)
                client = Caller(socket=socket)
                # An answer to each of the two, and one to ours, after which all know both models.
                for _ in range(2):
                    await client.until("session.updated")
                await client.send("session.update", session=_TRANSCRIBED)
                await client.until("session.updated")
                await client.turns(3)
            seen = [await answer_of(one), await answer_of(other)]
        await asyncio.to_thread(relay.end, signal.SIGTERM)
    await simulator.wait_idle()
    truth = simulator.truth.as_json()
    assert len(truth["usages"]) == 6
    assert [status for status, _, _ in seen] == [0, 0]
    # Each of the three has all of it, and says who it is.
    assert [costs(records(folder)) for folder in own] == [costs(truth["usages"])] * 3
    assert [{record["source"] for record in records(folder)} for folder in own] == [
        {"openai.relay"},
        {"openai.sideband"},
        {"openai.sideband"},
    ]
    # On metrics it is counted by one of the two sidebands alone.
    assert "realtime_spend.cost" not in seen[0][1]
    assert float(truth["cost"]) == float(f"{last_cost(seen[1][1]):.12f}")
    together = tmp_path / "together"
    together.mkdir()
    for folder in own:
        for file in folder.iterdir():
            shutil.copy(file, together)
    assert len(records(together)) == 18
    said = run("report", together, "--by", "model", "--json").json
    assert sum(Decimal(row["cost"]) for row in said["rows"]) == Decimal(truth["cost"])
    assert sum(row["usages"] for row in said["rows"]) == 6
    bill_for(truth["usages"], BillForm.OPENAI_COSTS, tmp_path / "bill")
    compared = run("reconcile", "--ledger", together, "--bill", tmp_path / "bill", "--json").json
    assert json.dumps(compared)
    assert {row["estimated_quantity"] == row["billed_quantity"] for row in compared["rows"]} == {True}
    assert Decimal(compared["totals"]["estimated_cost"]) == Decimal(truth["cost"])
    assert Decimal(compared["totals"]["unexplained_cost"]) == 0
