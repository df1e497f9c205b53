"""What the commands share: reading an input, instants as arguments, printing, progress, and errors in one sentence."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_UNREADABLE = 2


class InputError(click.ClickException):
    """The input cannot be read; the sentence says what to do."""

    exit_code = _UNREADABLE


if TYPE_CHECKING:
    _InstantType = click.ParamType[datetime]
else:
    # Before 8.4 click's types could not be subscribed, and many environments hold it back.
    _InstantType = click.ParamType


class Instant(_InstantType):
    """A day or an instant in ISO 8601; UTC where it has no offset. With `ends` a day means the end of it."""

    name = "instant"

    def __init__(self, *, ends: bool = False) -> None:
        self._ends = ends

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the aware instant."""
        if isinstance(value, datetime):
            return value
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            how = "write 2026-11-22 or 2026-11-22T10:00:00Z"
            self.fail(f"{value!r} is neither a day nor an instant; {how}", param, ctx)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        if not self._ends or len(value) > len("2026-11-22"):
            return at
        # The last day there is has no day after it.
        return min(at, datetime.max.replace(tzinfo=UTC) - timedelta(days=1)) + timedelta(days=1)


@contextmanager
def progress(what: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show progress on standard error where somebody is looking; give what is to be told each step."""
    if not shown or not sys.stderr.isatty():
        yield lambda _step: None
        return
    with Progress(console=console_of(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda step: bar.advance(task, step)


def read_text(file: str) -> str:
    """Return the text of `file`, `-` for standard input; InputError if there is none."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}; give a file, or - for standard input") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name_of(file)}: it is not UTF-8 text; save it as that") from None


def name_of(file: str) -> str:
    """Return what to call `file` in a sentence."""
    return "standard input" if file == "-" else file


def console_of(*, stderr: bool = False) -> Console:
    """Return the console of standard output, or of standard error."""
    # Into a pipe or a file there is no width: tables are as wide as they need to be, not cut at 80.
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else 160
    # What we print comes from files and services: it is text, never markup.
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def print_json(value: Any) -> None:
    """Print `value` and nothing else."""
    click.echo(json.dumps(value, indent=2))
