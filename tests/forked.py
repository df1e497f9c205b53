"""What a test finds in a forked child of its own process."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# Python warns of a fork beside threads: what becomes of it is what these tests are about.
forks = pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")


def in_a_child(work: Callable[[], Any]) -> Any:
    """Run `work` in a forked child and return what it returns."""
    source, drain = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(drain, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(drain)
    with os.fdopen(source, "rb") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    assert text, "the child failed"
    return json.loads(text)
