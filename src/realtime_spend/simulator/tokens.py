"""How many tokens a conversation comes to, and what of them is cached."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

# https://platform.openai.com/docs/guides/realtime-costs, seen in November 2026.
MS_PER_USER_TOKEN = 100
MS_PER_ASSISTANT_TOKEN = 50
_CACHE_STEP = 64
_CHARACTERS_PER_TOKEN = 4
# What recorded sessions show for a small picture.
IMAGE_TOKENS = 194
# Older items fall out of the context, as they do when a service truncates.
_MOST_ITEMS = 1000
# What is kept of an item to answer a client that asks for it again.
_NAMES = ("type", "role", "name", "call_id", "server_label", "approval_request_id")
_TEXTS = ("arguments", "output")
_LONGEST_NAME = 100
_MOST_PARTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A number of tokens by modality."""

    text: int = 0
    audio: int = 0
    image: int = 0

    @property
    def total(self) -> int:
        """All modalities together."""
        return self.text + self.audio + self.image

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(text=self.text + other.text, audio=self.audio + other.audio, image=self.image + other.image)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseTokens:
    """What one response used; cached is a part of input, and reasoning is a part of output text."""

    input: Tokens
    cached: Tokens
    output: Tokens
    reasoning: int = 0

    def after(self, produced: int, planned: int) -> ResponseTokens:
        """Say what was used when only so many of the planned deltas were produced."""
        if produced >= planned:
            return self
        text = math.ceil(self.output.text * produced / planned)
        audio = math.ceil(self.output.audio * produced / planned)
        return replace(self, output=Tokens(text=text, audio=audio), reasoning=min(self.reasoning, text))

    def quantities(self) -> dict[str, int]:
        """Count disjoint quantities: input without what was cached, reasoning inside output, nothing that is zero."""
        counted = {
            "text.input": self.input.text - self.cached.text,
            "text.cached_input": self.cached.text,
            "text.output": self.output.text,
            "audio.input": self.input.audio - self.cached.audio,
            "audio.cached_input": self.cached.audio,
            "audio.output": self.output.audio,
            "image.input": self.input.image - self.cached.image,
            "image.cached_input": self.cached.image,
        }
        return {component: count for component, count in counted.items() if count}


class Conversation:
    """The items a session remembers, as token counts and outlines; their content is never kept."""

    def __init__(self) -> None:
        self._items: dict[str, Tokens] = {}
        self._outlines: dict[str, dict[str, Any]] = {}
        # Items on their way; with the tokens that are to be kept of them where a client has cut them already.
        self._unfinished: dict[str, int | None] = {}

    @property
    def last_item_id(self) -> str | None:
        """The newest item, which the next one follows."""
        return next(reversed(self._items), None)

    def __contains__(self, item_id: str) -> bool:
        """Whether an item of this id is remembered."""
        return item_id in self._items

    def add(self, item_id: str, tokens: Tokens, item: dict[str, Any] | None = None) -> None:
        """Remember what an item weighs and what it is, a user's message by default; past a bound the oldest goes."""
        self._items[item_id] = tokens
        self._outlines[item_id] = _outline(item or {})
        if len(self._items) > _MOST_ITEMS:
            self.remove(next(iter(self._items)))

    def begin(self, item_id: str, item: dict[str, Any] | None = None) -> None:
        """Remember an item whose weight is known when it is finished."""
        self.add(item_id, Tokens(), item)
        self._unfinished[item_id] = None

    def finish(self, item_id: str, tokens: Tokens) -> None:
        """Say what an item weighs, unless it was removed in the meantime; one that was cut is no more than that."""
        heard = self._unfinished.pop(item_id, None)
        if item_id in self._items:
            self._items[item_id] = tokens if heard is None else Tokens(audio=min(tokens.audio, heard))

    def remove(self, item_id: str) -> bool:
        """Forget an item; `False` when there is no such item."""
        self._unfinished.pop(item_id, None)
        self._outlines.pop(item_id, None)
        return self._items.pop(item_id, None) is not None

    def truncate(self, item_id: str, audio_end_ms: int) -> bool:
        """Keep of an assistant's item only the audio the user heard; its transcript goes, as the service does it."""
        item = self._items.get(item_id)
        if item is None:
            return False
        heard = math.ceil(audio_end_ms / MS_PER_ASSISTANT_TOKEN)
        if item_id in self._unfinished:
            self._unfinished[item_id] = heard
        else:
            self._items[item_id] = Tokens(audio=min(item.audio, heard))
        return True

    def find(self, item_id: str) -> Tokens | None:
        """Count one item; `None` when there is no such item."""
        return self._items.get(item_id)

    def outline(self, item_id: str) -> dict[str, Any] | None:
        """Say what an item is, without what it says; `None` when there is no such item."""
        return self._outlines.get(item_id)

    def shorten(self, most: int) -> None:
        """Drop the oldest items until no more than so many tokens are left; the newest stays in any case."""
        left = self.tokens().total
        while left > most and len(self._items) > 1:
            oldest = next(iter(self._items))
            left -= self._items[oldest].total
            self.remove(oldest)

    def tokens(self, *, before: str | None = None) -> Tokens:
        """Count all that is remembered, or what stands before an item."""
        counted = takewhile(lambda item: item[0] != before, self._items.items())
        return sum((tokens for _, tokens in counted), Tokens())


def text_tokens(text: str) -> int:
    """Count the tokens of a text, roughly as a tokenizer would."""
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


def audio_tokens(milliseconds: int) -> int:
    """Count the tokens of a user's speech."""
    return math.ceil(milliseconds / MS_PER_USER_TOKEN)


def item_tokens(item: dict[str, Any], bytes_per_ms: int) -> Tokens:
    """Count the tokens of an item a client put into the conversation."""
    parts = item.get("content")
    counted = Tokens(text=sum(text_tokens(str(item[key])) for key in ("output", "arguments") if item.get(key)))
    for part in parts if isinstance(parts, list) else []:
        if not isinstance(part, dict):
            continue
        if part.get("type") == "input_image":
            counted += Tokens(image=IMAGE_TOKENS)
        elif isinstance(part.get("audio"), str):
            counted += Tokens(audio=audio_tokens(encoded_size(part["audio"]) // bytes_per_ms))
        else:
            counted += Tokens(text=text_tokens(str(part.get("text") or part.get("transcript") or "")))
    return counted


def _outline(item: dict[str, Any]) -> dict[str, Any]:
    """Keep of an item the names by which a client tells what it is; the texts that it must have are empty."""
    named = {key: item[key][:_LONGEST_NAME] for key in _NAMES if isinstance(item.get(key), str)}
    outline: dict[str, Any] = {"type": "message", **named, **{key: "" for key in _TEXTS if key in item}}
    if outline["type"] == "message":
        parts = item.get("content")
        types = [part.get("type") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
        outline["content"] = [_part(type_[:_LONGEST_NAME]) for type_ in types[:_MOST_PARTS] if isinstance(type_, str)]
        outline.setdefault("role", "user")
    return outline


def _part(type_: str) -> dict[str, Any]:
    return {"type": type_, "transcript": None} if type_.endswith("audio") else {"type": type_}


def encoded_size(base64_text: str) -> int:
    """Say how many bytes a base64 text stands for, without decoding it."""
    return max(0, len(base64_text) * 3 // 4 - base64_text[-2:].count("="))


def draw_cached(rng: random.Random, prefix: Tokens, of: Tokens, *, whole: bool) -> Tokens:
    """Choose what is cached of an input that begins like an earlier one: steps of 64, by modality, best effort."""
    lucky, share = rng.random(), rng.uniform(0.5, 1.0)
    if whole:
        share = 1.0
    elif lucky < 0.25:  # noqa: PLR2004 - one prompt in four finds nothing, as recorded sessions show
        share = 0.0

    def steps(before: int, now: int) -> int:
        return int(min(before, now) * share) // _CACHE_STEP * _CACHE_STEP

    return Tokens(
        text=steps(prefix.text, of.text), audio=steps(prefix.audio, of.audio), image=steps(prefix.image, of.image)
    )
