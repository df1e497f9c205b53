"""Which column of a bill is which: the aliases of `columns.toml`, found in a file's header."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from realtime_spend.core.line_items import Word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BRACKETED = re.compile(r"\(([^()]+)\)\s*$")
REQUIRED = ("date", "category", "meter", "unit", "quantity", "price", "cost", "currency")
# FOCUS makes prices conditional, and a provider may name its unit instead.
_REQUIRED_OF_FOCUS = tuple(role for role in REQUIRED if role != "price")
# Of these a row may leave one column empty and fill another; of all others the first that the file has is the one.
_INTERCHANGEABLE = frozenset(
    {"meter", "unit", "quantity", "consumed_quantity", "resource", "provider", "category", "region", "project"}
)
# A problem lists so many accepted names.
_SHOWN = 6


class Family(Word):
    """Which table of aliases a file is read by."""

    AZURE = "azure"
    FOCUS = "focus"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a file has what: positions in its header by role, most wanted first. `missing` are required roles."""

    family: Family
    header: tuple[str, ...]
    places: Mapping[str, tuple[int, ...]]
    missing: tuple[str, ...]

    def name_of(self, role: str) -> str | None:
        """Return what the file itself calls the column of a role."""
        places = self.places.get(role)
        return self.header[places[0]] if places else None


def layout_of(header: Sequence[str]) -> Layout:
    """Return the layout of a file with this header: the family that more of its required columns are of."""
    positions: dict[str, int] = {}
    for place, name in enumerate(header):
        positions.setdefault(plain_name(name), place)
    found = [_layout(family, tuple(header), positions) for family in (Family.FOCUS, Family.AZURE)]
    return min(found, key=lambda layout: len(layout.missing))


def accepted(family: Family, role: str) -> str:
    """Return the names that a column may have, as a problem lists them."""
    return ", ".join(_tables()[family][role][:_SHOWN])


def plain_name(name: str) -> str:
    """Return a column's name without case, blanks and punctuation; of `Kosten (PreTaxCost)` what is in brackets."""
    bracketed = _BRACKETED.search(name)
    text = bracketed[1] if bracketed and _letters(bracketed[1]) in _known() else name
    return _letters(text)


def charge_of(text: str) -> str:
    """Return what a charge's type means: `usage`, `credits`, ... or its own word where it is not known."""
    plain = _letters(text)
    if not plain:
        return "usage"
    for meaning, beginnings in _tables()["charges"].items():
        if plain.startswith(tuple(map(_letters, beginnings))):
            return str(meaning)
    return text.strip().lower()


def _letters(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in folded if letter.isalnum())


def _layout(family: Family, header: tuple[str, ...], positions: Mapping[str, int]) -> Layout:
    places: dict[str, tuple[int, ...]] = {}
    for role, aliases in _tables()[family].items():
        found = tuple(dict.fromkeys(positions[_letters(name)] for name in aliases if _letters(name) in positions))
        if found:
            places[role] = found if role in _INTERCHANGEABLE else found[:1]
    required = REQUIRED if family is Family.AZURE else _REQUIRED_OF_FOCUS
    missing = tuple(role for role in required if role not in places)
    return Layout(family=family, header=header, places=places, missing=missing)


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads((resources.files(__package__) / "columns.toml").read_text(encoding="utf-8"))


@cache
def _known() -> frozenset[str]:
    tables = _tables()
    return frozenset(_letters(name) for family in Family for aliases in tables[family].values() for name in aliases)
