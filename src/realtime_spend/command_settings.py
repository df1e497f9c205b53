"""What the environment sets for a command: the configuration and the cards, with what is wrong of it said."""

# ruff: noqa: PLC0415 - as in the commands: what only some of them need is imported by those

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import click

from realtime_spend.terminal import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from realtime_spend.configuration import Configuration
    from realtime_spend.core.naming import Deployment
    from realtime_spend.core.rates import RateBook


def configured() -> Configuration:
    """Return the settings of the environment; what is wrong is set aside and said on standard error."""
    from realtime_spend.configuration import configure

    configuration = configure(os.environ, {})
    for problem in configuration.problems:
        click.echo(f"realtime-spend: {problem}", err=True)
    return configuration


def book_of(cards: Iterable[Path], *, is_needed: bool = True) -> RateBook:
    """Return the `cards` over ours. One that cannot be read is an InputError, or said and set aside if not needed."""
    from realtime_spend.rate_cards import load_book

    try:
        return load_book(cards)
    except ValueError as error:
        if is_needed:
            raise InputError(str(error)) from None
        click.echo(f"realtime-spend: {error}", err=True)
        return load_book()


def check_writable(folder: Path) -> None:
    """Say of a ledger at once what the first usage would: InputError if it cannot be kept there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"REALTIME_SPEND_LEDGER: {folder} cannot be written ({error.strerror}); name a folder"
        ) from None


def deployments_of(value: str) -> dict[str, Deployment]:
    """Return the deployments that JSON, or a file of it, tells; InputError if it tells none."""
    from realtime_spend.configuration import parse_deployments

    try:
        return parse_deployments(value)
    except OSError as error:
        raise InputError(f"--deployments: {error.filename} cannot be read: {error.strerror}") from None
    except (ValueError, RuntimeError) as error:
        # RuntimeError: a `~user` that does not exist.
        raise InputError(f"--deployments: {error}") from None
