"""Chance that repeats itself: every id and every number of a session follows from the seed and the session's number."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

_WORDS = (
    "the", "order", "is", "on", "its", "way", "and", "should", "be", "with", "you", "by", "noon", "please", "hold",
    "while", "we", "look", "at", "that", "for", "today", "yes", "of", "course", "our", "shop", "opens", "nine",
    "but", "sunday", "it", "stays", "closed", "would", "like", "anything", "else", "thank",
)  # fmt: skip


class Dice:
    """The chance of one session.

    Each drawing gets a generator of its own, by what is drawn and its number: so it does not matter which of two
    things that happen at the same time is drawn first.
    """

    def __init__(self, seed: int, session: int, *, like: int | None = None) -> None:
        """Take the seed and the session's number; with `like`, draw as that session would, under ids of its own."""
        self._source = f"{seed}:{session if like is None else like}"
        self._mark = hashlib.sha256(f"{seed}:{session}".encode()).hexdigest()[:16]
        self._given: Counter[str] = Counter()

    def draw(self, purpose: str, number: int) -> random.Random:
        """Give the generator for the `number`-th drawing of this purpose."""
        return random.Random(f"{self._source}:{purpose}:{number}")  # noqa: S311 - made to be predicted

    def new_id(self, prefix: str) -> str:
        """Give the next id of a kind, unlike any other of this session, of other sessions and of other seeds."""
        self._given[prefix] += 1
        return f"{prefix}_{self._mark}{self._given[prefix]:06d}"


def speech(rng: random.Random, least: int, most: int) -> list[str]:
    """Make up the words of something that was said."""
    return [rng.choice(_WORDS) for _ in range(rng.randint(least, most))]
