"""Usage that everybody can work out the price of, and the arithmetic for it, which shares nothing with the package."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

_FILE = Path(__file__).resolve().parents[1] / "examples" / "usage.json"
# The usage of the README: one that people were billed half of what they had worked out for.
F1: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))["usage"]
# Of transcriptions, in tokens and in seconds.
T1: dict[str, Any] = {
    "type": "tokens",
    "total_tokens": 57,
    "input_tokens": 41,
    "output_tokens": 16,
    "input_token_details": {"text_tokens": 15, "audio_tokens": 26},
}
T3: dict[str, Any] = {"type": "duration", "seconds": 9.3}


def mtok(unit_price: str, tokens: int) -> Decimal:
    """What a number of tokens costs at a price per million."""
    return Decimal(unit_price) * tokens / 1_000_000


# What `T1` costs on gpt-4o-transcribe.
T1_COST = mtok("2.5", 15) + mtok("6", 26) + mtok("10", 16)
