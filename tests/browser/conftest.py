"""A Chromium for a module of tests, and a page of its own for each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.browser.chromium import Browser, Page, browser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Installed


@pytest.fixture(scope="module")
def running(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(installed("chromium"), tmp_path_factory.mktemp("chromium") / "profile") as found:
        yield found


@pytest.fixture
def tab(running: Browser) -> Iterator[Page]:
    """A fresh tab, and a proxy that has been asked for nothing yet."""
    running.proxy.asked.clear()
    with running.page() as page:
        yield page
