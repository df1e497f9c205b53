"""The prices themselves, as dated data with sources, and the one function that reads them from disk."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import TYPE_CHECKING

from realtime_spend.core.card_format import parse_card
from realtime_spend.core.rates import RateBook, RateCard, by_family

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BUILT_IN = ("openai.toml", "azure.toml", "azure_voice_live.toml")


def load_book(own_cards: Iterable[Path] = ()) -> RateBook:
    """Return the user's cards at the paths `own_cards`, in that order, followed by ours.

    Raises:
        ValueError: a card cannot be read or is not one; the sentence names the file.
    """
    ours = [built_in(name) for name in BUILT_IN]
    own = [(path, read_card(path)) for path in own_cards]
    known = [*(card for _, card in own), *ours]
    settled = []
    for path, card in own:
        try:
            settled.append(by_family(card, known))
        except ValueError as error:
            raise ValueError(f"the rate card {path} is not valid: {error}") from None
    return RateBook([*settled, *ours])


def built_in(name: str) -> RateCard:
    """Return the card of ours in the file `name`, one of `BUILT_IN`."""
    with resources.as_file(resources.files(__package__) / name) as path:
        return read_card(path)


def read_card(path: Path) -> RateCard:
    """Return the card in the file at `path`; ValueError with one sentence that names the file."""
    try:
        return parse_card(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"the rate card {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"the rate card {path} is not valid: it is no UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"the rate card {path} is not valid: it is no TOML: {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"the rate card {path} is not valid: {error}") from error
