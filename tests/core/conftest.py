"""What the tests of the core share: money as arithmetic, usage objects as a service writes them, and the rate cards."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

import pytest

from realtime_spend.rate_cards import load_book

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_spend.core.rates import RateBook

_EXACT = Context(prec=60)


@pytest.fixture
def mtok() -> Callable[[str, int], Decimal]:
    """What a number of tokens costs at a price per million, by arithmetic that shares nothing with the package."""

    def cost(unit_price: str, tokens: int) -> Decimal:
        return _EXACT.divide(_EXACT.multiply(Decimal(unit_price), Decimal(tokens)), Decimal(1_000_000))

    return cost


@pytest.fixture
def minutes() -> Callable[[str, str], Decimal]:
    """What a number of seconds costs at a price per minute, to 12 places."""

    def cost(unit_price: str, seconds: str) -> Decimal:
        whole = _EXACT.divide(_EXACT.multiply(Decimal(unit_price), Decimal(seconds)), Decimal(60))
        return whole.quantize(Decimal("1e-12"), context=_EXACT)

    return cost


@pytest.fixture(scope="session")
def usage_of() -> Callable[..., dict[str, Any]]:
    """Build a response's usage object: (text, audio, image), the cached ones of them, and (text, audio) output."""

    def build(
        sent: tuple[int, int, int],
        cached: tuple[int, int, int] | None,
        produced: tuple[int, int],
        reasoning: int | None = None,
    ) -> dict[str, Any]:
        details: dict[str, Any] = _by_modality(sent)
        if cached is not None:
            details |= {"cached_tokens": sum(cached), "cached_tokens_details": _by_modality(cached)}
        output: dict[str, Any] = {"text_tokens": produced[0], "audio_tokens": produced[1]}
        if reasoning is not None:
            output["reasoning_tokens"] = reasoning
        return {
            "total_tokens": sum(sent) + sum(produced),
            "input_tokens": sum(sent),
            "output_tokens": sum(produced),
            "input_token_details": details,
            "output_token_details": output,
        }

    return build


@pytest.fixture(scope="session")
def book() -> RateBook:
    """The rate cards that the package brings."""
    return load_book()


def _by_modality(counts: tuple[int, int, int]) -> dict[str, int]:
    return dict(zip(("text_tokens", "audio_tokens", "image_tokens"), counts, strict=True))
