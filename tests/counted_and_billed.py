"""A ledger of one response, bills for it, and `realtime-spend watch` as a program that holds one beside the other."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from tests.ledger_records import response_record, write_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKENS = 1_000_000
# 64 USD for a million tokens that the model spoke, as the card has it.
COST = Decimal(64)
# Settled, whatever the hour.
DAY = datetime.now(UTC).date() - timedelta(days=4)


def write_ledger(folder: Path) -> Path:
    """One response of a million tokens of audio, four days ago."""
    response = response_record(
        at=f"{DAY}T10:00:00.000000Z",
        account="proj_voice",
        version="2025-08-28",
        raw={"output_tokens": TOKENS, "output_token_details": {"audio_tokens": TOKENS}},
        quantities={"audio.output": TOKENS},
        costs={"audio.output": str(COST)},
        cost=str(COST),
        attributes={},
    )
    return write_records(folder, response, name=f"{DAY}-w.jsonl")


def write_bill(path: Path, tokens: int) -> Path:
    """A saved page of OpenAI's costs, for so many tokens at the price of the card; moved to its place whole."""
    start = int(datetime.combine(DAY, datetime.min.time(), UTC).timestamp())
    result = {
        "object": "organization.costs.result",
        "amount": {"value": str(COST * tokens / TOKENS), "currency": "usd"},
        "line_item": "gpt-realtime-2025-08-28 audio, output",
        "project_id": "proj_voice",
        "quantity": tokens,
        "quantity_unit": "tokens",
    }
    day = {"object": "bucket", "start_time": start, "end_time": start + 86_400, "results": [result]}
    page = {"object": "page", "data": [day], "has_more": False, "next_page": None}
    made = path.with_suffix(".new")
    made.write_text(json.dumps(page), encoding="utf-8")
    made.replace(path)
    return path


@contextmanager
def watching(*arguments: object, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", "realtime_spend.cli", "watch", *map(str, arguments)]
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
