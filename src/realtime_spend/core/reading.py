"""One usage object of the wire, read into disjoint quantities, with what is doubtful about it said as values.

The traps this module is for (each has its test):
- cached tokens are a subset of input tokens, by modality, and must not be added to them;
- reasoning tokens are a subset of output text tokens;
- the split of the cached tokens by modality may be absent (old services, gateways), and so may any detail;
- a transcription is counted in tokens or in seconds, and a service may send neither.
Nothing here raises, whatever JSON it is given.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from realtime_spend.core.line_items import Modality
from realtime_spend.core.raw_numbers import is_number, numbers_text
from realtime_spend.core.usage import MOST_TOKENS, Amounts, Problem, ProblemKind, Tokens
from realtime_spend.core.whole_usage import read_whole

_MOST_SECONDS = 10**9
_MODALITIES = (Modality.TEXT, Modality.AUDIO, Modality.IMAGE)


def read_usage(usage: object, *, text_output: bool) -> tuple[Amounts, str | None]:
    """Read a usage object, and its numbers as `raw_numbers` has them.

    `text_output`: output without a modality is text (a transcription has no other).
    """
    if isinstance(usage, dict) and (whole := read_whole(usage, text_output=text_output)) is not None:
        return Amounts(whole[0]), whole[1]
    return read_thoroughly(usage, text_output=text_output), numbers_text(usage)


def read_amounts(usage: object, *, text_output: bool) -> Amounts:
    """Read a usage object alone, as `read_usage` does."""
    return read_usage(usage, text_output=text_output)[0]


def read_thoroughly(usage: object, *, text_output: bool) -> Amounts:
    """Read a usage object whatever it holds and whatever it leaves out."""
    if usage is None or usage == {}:
        return Amounts()
    if not isinstance(usage, dict):
        return Amounts(problems=(_problem(ProblemKind.UNREADABLE, "the usage is not a JSON object"),))
    if (seconds := _seconds(usage.get("seconds"))) is not None and usage.get("type") != "tokens":
        return _duration(seconds)
    problems: list[Problem] = []
    tokens = _tokens(usage, text_output=text_output, problems=problems)
    if tokens is None:
        only_total = _count(usage.get("total_tokens")) is not None
        kind = ProblemKind.DIRECTION_NOT_SAID if only_total else ProblemKind.UNREADABLE
        what = "a total but neither input nor output" if only_total else "no count that we know"
        problems.append(_problem(kind, f"the usage holds {what}"))
    return Amounts(tokens=tokens, problems=tuple(problems))


def _duration(seconds: Decimal) -> Amounts:
    if seconds:
        return Amounts(seconds=seconds)
    # Azure has sent 0 seconds for audio that it metered: speech of no length is not a count, it is an absent one.
    return Amounts(problems=(_problem(ProblemKind.ZERO_DURATION, "the usage says 0 seconds for transcribed speech"),))


def _tokens(usage: dict[str, Any], *, text_output: bool, problems: list[Problem]) -> Tokens | None:
    into, out = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
    # Qwen writes the plural.
    input_details = _object(usage.get("input_token_details") or usage.get("input_tokens_details"))
    output_details = _object(usage.get("output_token_details") or usage.get("output_tokens_details"))
    sent = _by_modality(into, input_details, "input", problems)
    produced = _by_modality(out, output_details, "output", problems, otherwise=Modality.TEXT if text_output else None)
    if sent is None and produced is None:
        return None
    total = _count(usage.get("total_tokens"))
    if (sent is None) != (produced is None) and total is not None:
        sent, produced = _other_side(total, sent, produced, Modality.TEXT if text_output else Modality.UNKNOWN)
    if sent is None or produced is None:
        side = "input" if sent is None else "output"
        problems.append(_problem(ProblemKind.DIRECTION_NOT_SAID, f"the usage holds no {side} tokens"))
    sent, produced = sent or {}, produced or {}
    _check_total(total, sum(sent.values()) + sum(produced.values()), "total", problems)
    cached, unsplit = _cached(sent, input_details, problems)
    return Tokens(
        input=sent,
        cached=cached,
        unsplit=unsplit,
        output=produced,
        reasoning=_reasoning(produced, output_details, problems),
    )


def _other_side(
    total: int, sent: dict[Modality, int] | None, produced: dict[Modality, int] | None, otherwise: Modality
) -> tuple[dict[Modality, int] | None, dict[Modality, int] | None]:
    """Work out the side that is not told from the total: what is not input is output, and the other way round."""
    told = sent if sent is not None else produced or {}
    rest = total - sum(told.values())
    if rest < 0:
        return sent, produced
    if sent is None:
        return ({Modality.UNKNOWN: rest} if rest else {}), produced
    return sent, ({otherwise: rest} if rest else {})


def _by_modality(
    total: int | None,
    details: dict[str, Any],
    side: str,
    problems: list[Problem],
    otherwise: Modality | None = None,
) -> dict[Modality, int] | None:
    """Return counts by modality that add up to `total` where it is known; None where nothing is known."""
    said = {modality: _count(details.get(f"{modality}_tokens")) for modality in _MODALITIES}
    counts = {modality: count for modality, count in said.items() if count is not None}
    if not counts:
        if not total:
            return None if total is None else {}
        if otherwise is None:
            message = f"{total} {side} tokens come without their modality, so their cost lies between two bounds"
            problems.append(_problem(ProblemKind.MODALITY_NOT_SAID, message))
        return {otherwise or Modality.UNKNOWN: total}
    split = sum(counts.values())
    _check_total(total, split, side, problems)
    if total is not None and total > split:
        counts[Modality.UNKNOWN] = total - split
    return {modality: count for modality, count in counts.items() if count}


def _check_total(total: int | None, split: int, side: str, problems: list[Problem]) -> None:
    if total is not None and total != split:
        message = f"the {side} is {total} tokens but its parts add up to {split}"
        problems.append(_problem(ProblemKind.TOTAL_MISMATCH, message))


def _cached(
    sent: dict[Modality, int], details: dict[str, Any], problems: list[Problem]
) -> tuple[dict[Modality, int], tuple[int, int]]:
    """Return the cached tokens by modality and the bounds of those whose modality is not known."""
    split_details = _object(details.get("cached_tokens_details"))
    said = {modality: _count(split_details.get(f"{modality}_tokens")) or 0 for modality in _MODALITIES}
    known = {modality: count for modality, count in said.items() if count}
    total = _count(details.get("cached_tokens"))
    if total is None:
        total = sum(known.values())
        if Modality.UNKNOWN in sent and not known and len(sent) == 1:
            return {}, (0, sent[Modality.UNKNOWN])
    is_whole = all(_count(split_details.get(f"{modality}_tokens")) is not None for modality in sent)
    _check_total(total, sum(known.values()) if is_whole else max(total, sum(known.values())), "cached input", problems)
    _learn_modalities(sent, known)
    for modality, count in known.items():
        if count > sent.get(modality, 0):
            message = f"{count} cached {modality} tokens are more than the {sent.get(modality, 0)} of the input"
            problems.append(_problem(ProblemKind.CACHED_EXCEEDS_INPUT, message))
            known = {}
            break
    return _settle(sent, known, total, problems)


def _learn_modalities(sent: dict[Modality, int], known: dict[Modality, int]) -> None:
    """Cached tokens are input tokens: where the input came without its modalities, they tell some of them."""
    for modality, count in known.items():
        beyond = count - sent.get(modality, 0)
        if 0 < beyond <= sent.get(Modality.UNKNOWN, 0):
            sent[modality] = count
            sent[Modality.UNKNOWN] -= beyond
    if sent.get(Modality.UNKNOWN) == 0:
        del sent[Modality.UNKNOWN]


def _settle(
    sent: dict[Modality, int], known: dict[Modality, int], total: int, problems: list[Problem]
) -> tuple[dict[Modality, int], tuple[int, int]]:
    """Give the cached tokens beyond `known` to the one modality that can hold them, else leave them between bounds."""
    rest = max(total - sum(known.values()), 0)
    spare = {modality: count - known.get(modality, 0) for modality, count in sent.items()}
    room = {modality: count for modality, count in spare.items() if count}
    if not rest:
        return known, (0, 0)
    if rest > sum(room.values()):
        message = f"{total} cached tokens are more than the {sum(sent.values())} of the input"
        problems.append(_problem(ProblemKind.CACHED_EXCEEDS_INPUT, message))
        return known, (0, sum(room.values()))
    if rest == sum(room.values()) or len(room) == 1:
        return {modality: known.get(modality, 0) + min(rest, room.get(modality, 0)) for modality in sent}, (0, 0)
    message = f"{rest} cached tokens come without their split by modality, so their cost lies between two bounds"
    problems.append(_problem(ProblemKind.CACHED_NOT_SPLIT, message))
    return known, (rest, rest)


def _reasoning(produced: dict[Modality, int], details: dict[str, Any], problems: list[Problem]) -> int:
    reasoning = _count(details.get("reasoning_tokens")) or 0
    text = produced.get(Modality.TEXT, 0) + produced.get(Modality.UNKNOWN, 0)
    if reasoning > text:
        message = f"{reasoning} reasoning tokens are more than the {text} text tokens that hold them"
        problems.append(_problem(ProblemKind.REASONING_EXCEEDS_TEXT, message))
    return min(reasoning, text)


def _problem(kind: ProblemKind, message: str) -> Problem:
    return Problem(kind=kind, message=message)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int | None:
    """Return a token count; None for anything that is not one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS:
        return value
    return None


def _seconds(value: Any) -> Decimal | None:
    """Return seconds from a JSON number; a float by the shortest text that reads back as it."""
    if not is_number(value) or not 0 <= value <= _MOST_SECONDS:
        return None
    return Decimal(repr(value))
