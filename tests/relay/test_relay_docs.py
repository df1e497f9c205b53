"""What docs/relay.md says of options, defaults and close codes is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from realtime_spend.relay.endings import Ending
from realtime_spend.relay_command import relay

_PAGE = (Path(__file__).resolve().parents[2] / "docs" / "relay.md").read_text(encoding="utf-8")


def test_the_page_names_every_code_that_a_session_is_closed_with() -> None:
    told = {int(code) for code in re.findall(r"(?:with|closed with)\s+(\d{4})\b", _PAGE)}
    assert told == {ending.code for ending in Ending}


def test_the_page_names_options_that_there_are() -> None:
    options = {name for parameter in relay.params for name in parameter.opts}
    assert set(re.findall(r"--[a-z][a-z-]+", _PAGE)) <= options
    assert {name for name in options if name.startswith("--max")} <= set(re.findall(r"--[a-z][a-z-]+", _PAGE))


def test_the_page_names_the_defaults() -> None:
    defaults = {parameter.opts[0]: parameter.default for parameter in relay.params}
    for option in ("--max-sessions", "--max-idle", "--max-time"):
        assert re.search(rf"`{option}` \| {defaults[option]}\b", _PAGE)
