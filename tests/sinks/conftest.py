from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from realtime_spend.rate_cards import load_book

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_spend.core.rates import RateBook

F1: dict[str, Any] = {
    "total_tokens": 9492,
    "input_tokens": 8223,
    "output_tokens": 1269,
    "input_token_details": {
        "text_tokens": 5378,
        "audio_tokens": 2845,
        "cached_tokens": 8192,
        "cached_tokens_details": {"text_tokens": 5376, "audio_tokens": 2816},
    },
    "output_token_details": {"text_tokens": 250, "audio_tokens": 1019},
}


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
