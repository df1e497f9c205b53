from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from realtime_spend.rate_cards import load_book

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_spend.core.rates import RateBook

# The usage of the README: one that people were billed half of what they had worked out for.
_FILE = Path(__file__).resolve().parents[2] / "examples" / "usage.json"
F1: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))["usage"]


@pytest.fixture
def f1() -> dict[str, Any]:
    """The usage of a forum thread whose author calculated more than twice what he was billed."""
    return F1


@pytest.fixture(scope="session")
def book() -> RateBook:
    return load_book()


@pytest.fixture(scope="session")
def mtok() -> Callable[[str, int], Decimal]:
    """What a number of tokens costs at a price per million."""
    return lambda unit_price, tokens: Decimal(unit_price) * tokens / 1_000_000
