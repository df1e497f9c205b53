"""Reads a usage that says everything and adds up, as nearly all do, many times as fast as `reading` does.

It is held to that by a law: whatever it answers, the thorough way answers too, without a problem.
"""

from __future__ import annotations

from typing import Any

from realtime_spend.core.line_items import Modality
from realtime_spend.core.usage import MOST_TOKENS, SPLIT, Tokens

_MODALITIES = (Modality.TEXT, Modality.AUDIO, Modality.IMAGE)
_NONE_OF_ANY = (0, 0, 0)
_INTEGERS = {int}
_Counts = tuple[int, int, int]


def read_whole(usage: dict[str, Any], *, text_output: bool) -> Tokens | None:
    """Return the tokens of a usage that says everything and whose every sum is right; None for any other."""
    if "seconds" in usage:
        return None
    try:
        into, out, sent = usage["input_tokens"], usage["output_tokens"], usage["input_token_details"]
        sent_counts = sent["text_tokens"], sent["audio_tokens"], sent.get("image_tokens", 0)
        cached_counts, of_cache = _NONE_OF_ANY, sent.get("cached_tokens", 0)
        if (cached := sent.get("cached_tokens_details")) is not None:
            cached_counts = cached["text_tokens"], cached["audio_tokens"], cached.get("image_tokens", 0)
        produced: Any = usage.get("output_token_details")
        if produced is None and text_output:
            produced = {"text_tokens": out, "audio_tokens": 0}
        produced_counts = produced["text_tokens"], produced["audio_tokens"], produced.get("image_tokens", 0)
        reasoning = produced.get("reasoning_tokens", 0)
        counts = (*sent_counts, *cached_counts, *produced_counts, reasoning)
        is_whole = (
            set(map(type, counts)) == _INTEGERS
            and min(counts) >= 0
            and sum(sent_counts) == into
            and sum(produced_counts) == out
            and sum(cached_counts) == of_cache
            and into + out == usage["total_tokens"] <= MOST_TOKENS
            and reasoning <= produced_counts[0]
        )
    except (KeyError, TypeError, AttributeError):
        return None
    return _disjoint(sent_counts, cached_counts, produced_counts, reasoning) if is_whole else None


def _disjoint(sent_counts: _Counts, cached_counts: _Counts, produced_counts: _Counts, reasoning: int) -> Tokens | None:
    """Return counts by modality, in the order of `_MODALITIES`, without their zeros."""
    of_input: dict[Modality, int] = {}
    in_cache: dict[Modality, int] = {}
    of_output: dict[Modality, int] = {}
    for modality, count, of_it, made in zip(_MODALITIES, sent_counts, cached_counts, produced_counts, strict=True):
        if of_it > count:
            return None
        if count:
            of_input[modality] = count
        if of_it:
            in_cache[modality] = of_it
        if made:
            of_output[modality] = made
    return Tokens(input=of_input, cached=in_cache, unsplit=SPLIT, output=of_output, reasoning=reasoning)
