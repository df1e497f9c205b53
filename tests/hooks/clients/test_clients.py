"""What real clients were sent is what is counted, they notice nothing, and the documentation names them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.hooks.clients.conftest import Client, Ran, RunClient
    from tests.hooks.conftest import MeterOf

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "clients.md"
FEWEST_RESPONSES = 3


@pytest.mark.timeout(900)
def test_what_the_client_was_sent_is_what_is_counted(client: Client, run_client: RunClient, meter_of: MeterOf) -> None:
    ran = run_client(client)
    assert ran.truth["counts"]["responses"] >= FEWEST_RESPONSES
    meter_of(ran.metrics, ran.ledger).agrees_with(ran.truth)
    assert ran.strangers == []
    assert "realtime_spend" not in ran.stderr
    assert "Traceback" not in ran.stderr
    assert documented().get(client.name) == row_of(client, ran)


@pytest.mark.timeout(900)
def test_the_client_sees_the_same_with_its_library_left_alone_and_then_nothing_is_counted(
    client: Client, run_client: RunClient, meter_of: MeterOf
) -> None:
    alone = run_client(client, disabled_libraries=client.library)
    meter = meter_of(alone.metrics, alone.ledger)
    assert meter.records() == []
    assert meter.sum("realtime_spend.usages") == 0
    assert run_client(client).stdout == alone.stdout != ""


def test_the_document_lists_these_clients_and_no_other(clients: list[Client]) -> None:
    assert list(documented()) == [client.name for client in clients]


def documented() -> dict[str, str]:
    """Find the rows of the document's table, by the programs they link to."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return {row[1]: row[0] for row in re.finditer(r"^\| \[.+\]\(\S+/programs/(\w+)\.py\) \|.*$", text, re.MULTILINE)}


def row_of(client: Client, ran: Ran) -> str:
    program = f"[{client.distribution}](../tests/hooks/clients/programs/{client.name}.py)"
    library = f"{client.library} {ran.versions[client.library]}"
    cells = (program, ran.versions[client.distribution], library, client.reaches, what_ran(ran.truth))
    return f"| {' | '.join(cells)} |"


def what_ran(truth: dict[str, Any]) -> str:
    """Say how many responses and transcriptions there were, and how responses ended that were not completed."""
    ends = Counter(usage["status"] for usage in truth["usages"] if usage["kind"] == "response")
    otherwise = ", ".join(f"{count} {status}" for status, count in sorted(ends.items()) if status != "completed")
    responses = f"{ends.total()} responses" + (f" ({otherwise})" if otherwise else "")
    transcriptions = truth["counts"]["transcriptions"]
    return f"{responses}, {transcriptions} transcription{'' if transcriptions == 1 else 's'}"
