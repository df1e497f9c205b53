"""Records of a ledger by hand, as the instrumentation writes them, for whoever reads ledgers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def response_record(**changes: Any) -> dict[str, Any]:
    """One response of gpt-realtime: 1,000 tokens of text that it read and 500 of audio that it spoke."""
    return {
        "v": 1,
        "at": "2026-11-18T10:00:00.000000Z",
        "writer": "w",
        "source": "openai.hook",
        "kind": "response",
        "provider": "openai",
        "server": "api.openai.com",
        "account": None,
        "session": "sess_1",
        "id": "resp_1",
        "status": "completed",
        "usage": "reported",
        "model": "gpt-realtime",
        "version": None,
        "requested_model": "gpt-realtime",
        "scope": "global",
        "region": None,
        "raw": None,
        "quantities": {"text.input": 1_000, "audio.output": 500},
        "costs": {"text.input": "0.004", "audio.output": "0.032"},
        "cost": "0.036",
        "low": None,
        "high": None,
        "currency": "USD",
        "rate_card": "openai@2026-11-19",
        "attributes": {"tenant": "acme"},
        **changes,
    }


def write_records(folder: Path, *records: dict[str, Any] | str, name: str = "2026-11-18-w.jsonl") -> Path:
    """Write a file of these records, or of lines that are none, and return its folder."""
    folder.mkdir(exist_ok=True)
    lines = [one if isinstance(one, str) else json.dumps(one) for one in records]
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder
