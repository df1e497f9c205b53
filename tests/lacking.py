"""What a test needs and this machine lacks: elsewhere the test is skipped and says why, in CI it fails."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def lacking(reason: str) -> NoReturn:
    """End the test: nothing may be skipped in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
