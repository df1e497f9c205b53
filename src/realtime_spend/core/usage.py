"""One usage object of the wire, read into disjoint quantities, with what is doubtful about it said as values.

The traps this module is for (each has its test):
- cached tokens are a subset of input tokens, by modality, and must not be added to them;
- reasoning tokens are a subset of output text tokens;
- the split of the cached tokens by modality may be absent (old services, gateways), and so may any detail;
- a transcription is counted in tokens or in seconds, and a service may send neither.
Nothing here raises, whatever JSON it is given.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any

from realtime_spend.core.line_items import Component, Modality, Part, Word

if TYPE_CHECKING:
    from collections.abc import Mapping

# More tokens than any event can hold; a larger number would also not survive the sums that metrics make of it.
_MOST_TOKENS = 10**15
_MOST_SECONDS = 10**9
# Python refuses to write integers of thousands of digits; no count needs more than these.
_LARGEST_KEPT = 10**30
_MODALITIES = (Modality.TEXT, Modality.AUDIO, Modality.IMAGE)
_AUDIO_DURATION = Part(Modality.AUDIO, Component.DURATION)
_RAW_DEPTH, _RAW_KEYS = 4, 64
_SPLIT = (0, 0)
_NONE_OF_ANY = (0, 0, 0)
# The keys of usage objects as JSON has them; a bounded number, since a service can make up any.
_KEYS: dict[str, str] = {}
_MOST_KEYS, _LONGEST_KEY = 1_000, 100
_INTEGERS = {int}
_Counts = tuple[int, int, int]


class Kind(Word):
    """What was metered, as the ledger says it."""

    RESPONSE = "response"
    TRANSCRIPTION = "transcription"
    TRANSLATION = "translation"
    LIVE = "live"


class Reported(Word):
    """How a usage is known: from the service, by our own estimate, not at all, or not even its end was seen."""

    REPORTED = "reported"
    ESTIMATED = "estimated"
    MISSING = "missing"
    LOST = "lost"


# Of several accounts of one usage the better one counts.
RANK = {Reported.LOST: 0, Reported.MISSING: 1, Reported.ESTIMATED: 2, Reported.REPORTED: 3}


class ProblemKind(Word):
    """What can be wrong with a usage that is counted all the same."""

    UNREADABLE = "usage_unreadable"
    TOTAL_MISMATCH = "total_mismatch"
    CACHED_EXCEEDS_INPUT = "cached_exceeds_input"
    CACHED_NOT_SPLIT = "cached_not_split"
    MODALITY_NOT_SAID = "modality_not_said"
    REASONING_EXCEEDS_TEXT = "reasoning_exceeds_text"
    DIRECTION_NOT_SAID = "direction_not_said"
    ZERO_DURATION = "zero_duration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something a reader of the figures should know. `message` is one sentence with the numbers in it."""

    kind: ProblemKind
    message: str


# These are made while a phone call waits, and freezing them would double the time that takes.
@dataclass(slots=True, kw_only=True)
class Tokens:
    """Token counts of one usage. `input` includes what is cached; `cached` holds what is cached by known modality.

    `unsplit` is the least and the most number of further cached tokens whose modality nobody said: (0, 0) as a rule.
    """

    input: Mapping[Modality, int]
    cached: Mapping[Modality, int]
    unsplit: tuple[int, int]
    output: Mapping[Modality, int]
    reasoning: int = 0

    @property
    def is_split(self) -> bool:
        """Whether each token has its modality and is known to be cached or not."""
        return self.unsplit == _SPLIT and Modality.UNKNOWN not in self.input and Modality.UNKNOWN not in self.output

    def spare(self) -> dict[Modality, int]:
        """Return, by modality, the input tokens that are not known to be cached."""
        return {modality: count - self.cached.get(modality, 0) for modality, count in self.input.items()}

    def quantities(self) -> dict[Part, int]:
        """Return disjoint quantities that add up to the totals; what is not split stands under `unknown`."""
        spare = self.spare()
        least, most = self.unsplit
        if most:
            spare = {Modality.UNKNOWN: sum(spare.values()) - least}
        cached = dict(self.cached)
        cached[Modality.UNKNOWN] = cached.get(Modality.UNKNOWN, 0) + least
        found = {Part(modality, Component.INPUT): count for modality, count in spare.items()}
        found |= {Part(modality, Component.CACHED_INPUT): count for modality, count in cached.items()}
        found |= {Part(modality, Component.OUTPUT): count for modality, count in self.output.items()}
        return {part: count for part, count in found.items() if count}


@dataclass(slots=True, kw_only=True)
class Amounts:
    """What a usage object says: tokens, or seconds, or neither (then the usage is missing), and its problems."""

    tokens: Tokens | None = None
    seconds: Decimal | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def is_missing(self) -> bool:
        """Whether there is nothing to price. That is not the same as nothing used."""
        return self.tokens is None and self.seconds is None

    def quantities(self) -> dict[Part, Decimal]:
        """Return the disjoint quantities, seconds or tokens, without zeros."""
        if self.seconds is not None:
            return {_AUDIO_DURATION: self.seconds} if self.seconds else {}
        return {part: Decimal(count) for part, count in self.tokens.quantities().items()} if self.tokens else {}


@dataclass(slots=True, kw_only=True)
class Usage:
    """One metered event. `id` is `response.id` or `item_1#0`; `raw` is the JSON of the usage object's numbers."""

    kind: Kind
    id: str | None
    status: str | None
    reported: Reported
    amounts: Amounts = field(default_factory=Amounts)
    raw: str | None = None


def read_amounts(usage: object, *, text_output: bool) -> Amounts:
    """Read a usage object. `text_output`: output without a modality is text (a transcription has no other)."""
    if usage is None or usage == {}:
        return Amounts()
    if not isinstance(usage, dict):
        return Amounts(problems=(_problem(ProblemKind.UNREADABLE, "the usage is not a JSON object"),))
    if (plain := _plain_tokens(usage, text_output=text_output)) is not None:
        return Amounts(tokens=plain)
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


def _plain_tokens(usage: dict[str, Any], *, text_output: bool) -> Tokens | None:
    """Read a usage that says everything and whose every sum is right, as nearly all do; None for any other.

    It answers what `_tokens` would, many times as fast.
    """
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
            and into + out == usage["total_tokens"] <= _MOST_TOKENS
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
    return Tokens(input=of_input, cached=in_cache, unsplit=_SPLIT, output=of_output, reasoning=reasoning)


def numbers_text(usage: object, depth: int = _RAW_DEPTH) -> str | None:
    """Write the finite numbers of a usage object as JSON, each under its own key, and its `type`, and nothing else."""
    if not isinstance(usage, dict):
        return None
    kept: list[str] = []
    for key, value in usage.items() if len(usage) <= _RAW_KEYS else list(usage.items())[:_RAW_KEYS]:
        name = _KEYS.get(key) or _key(key)
        if name is None:
            continue
        if type(value) is int and -_LARGEST_KEPT <= value <= _LARGEST_KEPT:
            kept.append(f"{name}{value}")
        elif isinstance(value, dict) and depth > 1:
            kept.append(f"{name}{numbers_text(value, depth - 1)}")
        elif _is_number(value) or (key == "type" and value in ("tokens", "duration")):
            kept.append(f"{name}{json.dumps(value)}")
    return f"{{{','.join(kept)}}}"


def _key(key: object) -> str | None:
    """Write a key as JSON has it; None for one of a length that no name of a count has."""
    name = str(key)
    if len(name) > _LONGEST_KEY:
        return None
    text = f"{json.dumps(name)}:"
    if len(_KEYS) < _MOST_KEYS:
        _KEYS[name] = text
    return text


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


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_KEPT


def _count(value: object) -> int | None:
    """Return a token count; None for anything that is not one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS:
        return value
    return None


def _seconds(value: Any) -> Decimal | None:
    """Return seconds from a JSON number; a float by the shortest text that reads back as it."""
    if not _is_number(value) or not 0 <= value <= _MOST_SECONDS:
        return None
    return Decimal(repr(value))
