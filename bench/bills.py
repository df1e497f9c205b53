"""What reconciling a large bill costs beside DuckDB's bare scan of the same file: seconds and memory, by turns.

    python -m bench.bills [--quick]

The file is a cost export of an enterprise agreement, of which one row in a thousand is about Realtime; it is made for
the measurement and deleted afterwards. The bare scan takes the same columns as text and looks at each value once.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from bench.tables import Table, program, progress
from realtime_spend.rate_cards import load_book
from realtime_spend.reconciler import Question, answer

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROWS, _QUICK_ROWS = 10_000_000, 200_000
_ROUNDS, _QUICK_ROUNDS = 3, 1
_ONE_IN = 1000
_DAYS, _ACCOUNTS = 30, 32
_AT = datetime(2026, 12, 20, tzinfo=UTC)
# What is read of each row, by the names of the header below.
_READ = (
    "Date",
    "MeterCategory",
    "MeterName",
    "MeterId",
    "UnitOfMeasure",
    "Quantity",
    "EffectivePrice",
    "UnitPrice",
    "PayGPrice",
    "CostInBillingCurrency",
    "BillingCurrencyCode",
    "ResourceId",
    "ResourceLocation",
    "ChargeType",
)
_METERS = ("gpt rt aud 0828 Inp glbl Tokens", "gpt rt aud 0828 Outp glbl Tokens")
_PRICES = ("0.032", "0.064")
_TOKENS = (1000, 2000)
# Columns in the order of the export; those that no word below is for hold what such columns do.
_SELECT = """
    SELECT 'Voice and more' AS InvoiceSectionName, 'Contoso' AS AccountName, 'owner@contoso.example' AS AccountOwnerId,
        '11111111-2222-3333-4444-' || lpad((i % 40)::VARCHAR, 12, '0') AS SubscriptionId,
        'subscription-' || (i % 40) AS SubscriptionName, 'rg-' || (i % 400) AS ResourceGroup,
        'eastus2' AS ResourceLocation, strftime(DATE '2026-11-01' + day::INTEGER, '%m/%d/%Y') AS "Date",
        CASE WHEN ours THEN 'Azure OpenAI Media' ELSE 'Virtual Machines Dsv5 Series' END AS ProductName,
        CASE WHEN ours THEN 'Foundry Models' ELSE ['Virtual Machines', 'Storage', 'Bandwidth'][1 + i % 3] END
            AS MeterCategory,
        CASE WHEN ours THEN 'Azure OpenAI Media' ELSE 'Dsv5 Series' END AS MeterSubCategory,
        'a0b1c2d3-0000-4000-8000-' || lpad((i % 977)::VARCHAR, 12, '0') AS MeterId,
        CASE WHEN NOT ours THEN 'D' || (2 + i % 64) || 's v5' WHEN which = 0 THEN $first ELSE $second END AS MeterName,
        'US East 2' AS MeterRegion, CASE WHEN ours THEN '1K' ELSE '1 Hour' END AS UnitOfMeasure,
        CASE WHEN ours THEN [1000, 2000][1 + which]::VARCHAR ELSE (1 + i % 24)::VARCHAR || '.5' END AS Quantity,
        price AS EffectivePrice,
        CASE WHEN ours THEN ['0.032', '0.128'][1 + which]
             ELSE ((1 + i % 24 + 0.5) * 0.096)::DECIMAL(18, 9)::VARCHAR END AS CostInBillingCurrency,
        '' AS CostCenter, CASE WHEN ours THEN 'Microsoft.CognitiveServices' ELSE 'Microsoft.Compute' END
            AS ConsumedService,
        '/subscriptions/11111111-2222-3333-4444-000000000000/resourceGroups/rg-' || (i % 400) || CASE WHEN ours
            THEN '/providers/Microsoft.CognitiveServices/accounts/voice-' || account
            ELSE '/providers/Microsoft.Compute/virtualMachines/machine-' || (i % 4000) END AS ResourceId,
        '"environment": "production","team": "team-' || (i % 50) || '"' AS Tags, 'MS-AZR-0017P' AS OfferId,
        '{"UsageType":"ComputeHR","ImageType":"Canonical","VCPUs":' || (i % 64) || '}' AS AdditionalInfo,
        '' AS ServiceInfo1, '' AS ServiceInfo2, 'resource-' || (i % 4000) AS ResourceName, '' AS ReservationId,
        '' AS ReservationName, price AS UnitPrice, '' AS ProductOrderId, '' AS ProductOrderName, '' AS Term,
        'Azure' AS PublisherType, 'Microsoft' AS PublisherName, 'Usage' AS ChargeType, 'UsageBased' AS Frequency,
        'OnDemand' AS PricingModel, '' AS AvailabilityZone, '1234567' AS BillingAccountId,
        'Contoso' AS BillingAccountName, 'USD' AS BillingCurrencyCode, '11/01/2026' AS BillingPeriodStartDate,
        '11/30/2026' AS BillingPeriodEndDate, '1234567' AS BillingProfileId, 'Contoso' AS BillingProfileName,
        '99' AS InvoiceSectionId, 'True' AS IsAzureCreditEligible, 'AAA-12345' AS PartNumber, price AS PayGPrice,
        'Azure plan' AS PlanName, 'Compute' AS ServiceFamily, '' AS CostAllocationRuleName, '' AS benefitId,
        '' AS benefitName, '55' AS AccountId, 'eastus2' AS ResourceLocationNormalized
    FROM (SELECT *, CASE WHEN ours THEN ['0.032', '0.064'][1 + which] ELSE '0.096' END AS price
          FROM (SELECT i, i % $one_in = 0 AS ours, (i // $one_in) % 32 AS account,
                       CASE WHEN i % $one_in = 0 THEN i // $one_in // 32 ELSE i END % 30 AS day,
                       (i // $one_in // 960) % 2 AS which FROM range($rows) AS numbers(i)))"""


def measure(quick: bool) -> list[Table]:  # noqa: FBT001 - what every program of the bench is asked
    """Measure both by turns, each time in a process of its own."""
    rows, rounds = (_QUICK_ROWS, _QUICK_ROUNDS) if quick else (_ROWS, _ROUNDS)
    with tempfile.TemporaryDirectory(prefix="realtime-spend-bench-") as name:
        folder = Path(name)
        progress(f"bills: writing {rows:,} rows")
        _write(folder, rows)
        size = (folder / "bill.csv").stat().st_size
        found: dict[str, list[tuple[float, float]]] = {"scan": [], "reconcile": []}
        for number in range(rounds):
            progress(f"bills: round {number + 1} of {rounds}")
            for what in ("scan", "reconcile") if number % 2 else ("reconcile", "scan"):
                found[what].append(_in_a_process(what, folder))
    table = Table(
        title=f"A bill of {rows:,} rows ({size / 1e9:.1f} GB of CSV)",
        columns=["", "seconds", "of the bare scan", "peak MB"],
    )
    bare = statistics.median(seconds for seconds, _ in found["scan"])
    for what, title in (("scan", "DuckDB's bare scan"), ("reconcile", "reconcile with a ledger")):
        seconds = statistics.median(seconds for seconds, _ in found[what])
        peak = max(megabytes for _, megabytes in found[what])
        table.rows.append([title, f"{seconds:.2f}", f"{seconds / bare:.2f}x", f"{peak:.0f}"])
    share = rows // _ONE_IN
    table.notes = [
        (
            f"Medians of {rounds}, by turns; {share:,} rows are about Realtime. The bare scan takes the greatest value "
            f"of each of the same {len(_READ)} columns, as text. Each runs in a process of its own, whose peak is "
            "that of its resident set."
        ),
    ]
    return [table]


def _write(folder: Path, rows: int) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET memory_limit = '1GB'; SET preserve_insertion_order = true")
        select = _SELECT.replace("$rows", str(rows)).replace("$one_in", str(_ONE_IN))
        select = select.replace("$first", f"'{_METERS[0]}'").replace("$second", f"'{_METERS[1]}'")
        connection.execute(f"COPY ({select}) TO '{folder / 'bill.csv'}' (HEADER, DELIMITER ',')")
    ledger = folder / "ledger"
    ledger.mkdir()
    lines = [json.dumps(record) for record in _records()]
    (ledger / "2026-11-01-bench.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _records() -> Iterator[dict[str, object]]:
    """Yield a usage of each day and account, as the bill has them."""
    for day in range(1, _DAYS + 1):
        for account in range(_ACCOUNTS):
            yield {
                "v": 1,
                "at": f"2026-11-{day:02d}T10:00:00.000000Z",
                "writer": "bench",
                "source": "openai.hook",
                "kind": "response",
                "provider": "azure.ai.openai",
                "server": f"voice-{account}.openai.azure.com",
                "account": f"voice-{account}",
                "session": f"sess_{day}_{account}",
                "id": f"resp_{day}_{account}",
                "status": "completed",
                "usage": "reported",
                "model": "gpt-realtime",
                "version": "2025-08-28",
                "requested_model": "gpt-realtime",
                "scope": "global",
                "region": None,
                "raw": {"total_tokens": sum(_TOKENS)},
                "quantities": {"audio.input": _TOKENS[0], "audio.output": _TOKENS[1]},
                "costs": {"audio.input": "0.032", "audio.output": "0.128"},
                "cost": "0.16",
                "low": None,
                "high": None,
                "currency": "USD",
                "rate_card": "azure@2026-10-09",
                "attributes": {},
            }


def _in_a_process(what: str, folder: Path) -> tuple[float, float]:
    """Return the seconds that it took, and the megabytes of the process at its peak."""
    command = [sys.executable, "-m", "bench.bills", "--run", what, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900)  # noqa: S603 - ourselves
    seconds, megabytes = json.loads(done.stdout)
    return float(seconds), float(megabytes)


@contextmanager
def _timed() -> Iterator[None]:
    """Print what the block took, and the peak of this process, as JSON."""
    begun = time.perf_counter()
    yield
    seconds = time.perf_counter() - begun
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def _scan(folder: Path) -> None:
    """Look at each value of the columns once."""
    looked = ", ".join(f'max("{name}")' for name in _READ)
    with _timed(), duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT count(*), {looked} FROM read_csv('{folder / 'bill.csv'}', all_varchar = true)"  # noqa: S608
        ).fetchone()
    if found is None or not found[0]:
        raise ValueError("the scan found no row")


def _reconcile(folder: Path) -> None:
    """Do what the command does, but for printing."""
    question = Question(bills=(folder / "bill.csv",), ledger=folder / "ledger", at=_AT)
    with _timed():
        found = answer(question, book=load_book())
    if not found.rows or found.problems:
        raise ValueError(f"{len(found.rows)} rows, {found.problems[:3]}")


def main() -> None:
    """Measure, or be one of the measured processes."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--run", choices=["scan", "reconcile"])
    parser.add_argument("--folder", type=Path)
    arguments, _ = parser.parse_known_args()
    if arguments.run is None:
        program(measure)
    elif arguments.run == "scan":
        _scan(arguments.folder)
    else:
        _reconcile(arguments.folder)


if __name__ == "__main__":
    main()
