"""The words that Azure's meters are named with, and the models that they come to, as `azure_meters.toml` lists them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SEPARATOR = re.compile(r"[\s_\-\u2010-\u2015]")
# Month and day; some names of chat models have the year after them.
_STAMP = re.compile(r"[01]\d[0-3]\d(?:20\d\d)?").fullmatch
_LONGEST = 200
_SHOWN = 20
_NEAR, _ENOUGH = 0.75, 5
# A shorter word may only stand alone, or half the alphabet could be read as something.
_SHORTEST_GLUED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """One model, and what its meters' names hold."""

    model: str
    family: frozenset[str]
    generation: str | None
    is_mini: bool
    is_diarize: bool
    is_by_the_hour: bool
    has_maker: bool
    is_preview: bool
    is_ever_cached: bool
    stamps: Mapping[str, str]
    unstamped: Mapping[str, str]

    def version(self, words: Words) -> str | None:
        """Return the version that the words tell, None where they do not; ValueError for an unknown stamp."""
        if not words.stamps:
            return next((version for word, version in self.unstamped.items() if word in words.spelled), None)
        found = {_version_of(self.stamps, stamp) for stamp in words.stamps}
        version = found.pop()
        if version is None or found:
            raise ValueError(f"its stamp {' '.join(words.stamps)} is no version of {self.model} that is known")
        return version


@dataclass(slots=True, kw_only=True)
class Words:
    """The words of a name, sorted: what each slot holds, the stamps, and what is not known."""

    spelled: list[str] = field(default_factory=list)
    slots: dict[str, set[str]] = field(default_factory=dict)
    stamps: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    has_gap: bool = False
    repeated: list[str] = field(default_factory=list)
    # The slots in the order of the words.
    order: list[str] = field(default_factory=list)

    def all_of(self, slot: str) -> frozenset[str]:
        """Return everything that the name says in this slot."""
        return frozenset(self.slots.get(slot, ()))

    def one_of(self, slot: str) -> str | None:
        """Return what the name says in this slot, None if nothing; ValueError where it contradicts itself."""
        found = sorted(self.all_of(slot))
        if len(found) > 1:
            raise ValueError(f"it says both {' and '.join(found)}")
        return found[0] if found else None


class Grammar:
    """What `azure_meters.toml` says, ready to read names with."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._words = {
            spelling: (slot, value)
            for slot, values in document["words"].items()
            for value, spellings in values.items()
            for spelling in spellings
        }
        self._glued = {word for word in self._words if len(word) >= _SHORTEST_GLUED and word.isalpha()} | {"4o"}
        self._after: Mapping[str, Mapping[str, str]] = document["after"]
        self._phrases = [
            (re.compile(phrase.replace(" ", f"{_SEPARATOR.pattern}+")), phrase.replace(" ", ""))
            for phrase in document["phrases"]
        ]
        self.ids: Mapping[str, str] = {key.lower(): name for key, name in document["ids"].items()}
        self.models = [_model(table) for table in document["model"]]

    def words(self, name: str) -> Words:
        """Return the words of `name`, which may be anything."""
        found = Words()
        text = name.strip().casefold()
        if len(text) > _LONGEST:
            found.unknown.append(text[_LONGEST:][:_SHOWN])
            text = text[:_LONGEST]
        for phrase, word in self._phrases:
            text = phrase.sub(word, text)
        for written in _SEPARATOR.split(text):
            self._sort(written, found)
        return found

    def _sort(self, written: str, found: Words) -> None:
        last = found.spelled[-1] if found.spelled else ""
        if not written:
            # Two separators in a row: a word of one letter may be missing, and one such tells models apart.
            found.has_gap = True
        elif written in self._after.get(last, {}):
            self._take(self._after[last][written], found)
        elif (parts := self._parted(written)) is None:
            found.unknown.append(written)
        else:
            for part in parts:
                self._take(part, found)

    def _take(self, word: str, found: Words) -> None:
        found.spelled.append(word)
        if word in self._words:
            slot, value = self._words[word]
            if value in found.slots.setdefault(slot, set()):
                found.repeated.append(word)
            found.slots[slot].add(value)
            found.order.append(slot)
        else:
            found.stamps.append(word)

    def _is_known(self, word: str) -> bool:
        return word in self._words or _STAMP(word) is not None

    def _parted(self, written: str) -> list[str] | None:
        """Return the words that are written as one, None where there are none, or several ways to part them."""
        if self._is_known(written):
            return [written]
        # The ways to read everything up to each place: no more than two are kept, as two are too many.
        ways: list[list[list[str]]] = [[[]]]
        for end in range(1, len(written) + 1):
            here = [
                [*before, written[start:end]]
                for start in range(end)
                if ways[start] and (written[start:end] in self._glued or _STAMP(written[start:end]))
                for before in ways[start]
            ]
            ways.append(here[:2])
        meanings = {tuple(map(self._meaning, way)) for way in ways[-1]}
        return ways[-1][0] if len(meanings) == 1 else None

    def _meaning(self, word: str) -> tuple[str, str]:
        return self._words.get(word, ("stamp", word))

    def model(self, words: Words) -> NamedModel:
        """Return the model that the words are of; ValueError where there is none."""
        generation = words.one_of("generation")
        is_by_the_hour = not words.all_of("modality") and not words.all_of("cached")
        for model in self.models:
            if (
                model.family == words.all_of("family")
                and model.generation == generation
                and model.is_mini == bool(words.all_of("size"))
                and model.is_diarize == bool(words.all_of("diarize"))
                and model.is_by_the_hour == is_by_the_hour
                and model.has_maker == bool(words.all_of("maker"))
                and model.is_preview >= bool(words.all_of("preview"))
            ):
                return model
        if is_by_the_hour and not words.all_of("tail") & {"time"}:
            raise ValueError("it says neither audio nor text nor image")
        raise ValueError("it is of no model that is known")


def near(words: Iterable[str], meant: Iterable[str]) -> bool:
    """Whether one of these words is nearly one of those that are meant, or begins or ends like it."""
    meant = tuple(meant)
    return any(
        get_close_matches(word, meant, n=1, cutoff=_NEAR)
        or any(whole[:_ENOUGH] in word or whole[-_ENOUGH:] in word for whole in meant)
        for word in words
    )


def _model(table: Mapping[str, Any]) -> NamedModel:
    return NamedModel(
        model=table["model"],
        family=frozenset(table["family"]),
        generation=table.get("generation"),
        is_mini=table.get("mini", False),
        is_diarize=table.get("diarize", False),
        is_by_the_hour=table.get("counts") == "hours",
        has_maker=table.get("maker", True),
        is_preview=table.get("preview", False),
        is_ever_cached=table.get("cached", True),
        stamps=table.get("stamps", {}),
        unstamped=table.get("unstamped", {}),
    )


def _version_of(stamps: Mapping[str, str], stamp: str) -> str | None:
    """Return the version of month and day, and of the year where the stamp has one."""
    version = stamps.get(stamp[:4])
    return version if version and version.startswith(stamp[4:]) else None


@cache
def built_in() -> Grammar:
    """Return the grammar that comes with this package."""
    return Grammar(tomllib.loads((resources.files(__package__) / "azure_meters.toml").read_text(encoding="utf-8")))
