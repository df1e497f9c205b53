from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests import known_usage

from realtime_spend.rate_cards import load_book

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from realtime_spend.core.rates import RateBook


@pytest.fixture
def f1() -> dict[str, Any]:
    """The usage of a forum thread whose author calculated more than twice what he was billed."""
    return known_usage.F1


@pytest.fixture(scope="session")
def book() -> RateBook:
    return load_book()


@pytest.fixture(scope="session")
def mtok() -> Callable[[str, int], Decimal]:
    """What a number of tokens costs at a price per million."""
    return known_usage.mtok
