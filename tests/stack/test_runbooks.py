"""The runbooks: one for each alert, in one form, with queries and commands that exist."""

from __future__ import annotations

import re

import pytest
from tests.stack.test_rules import ALERTS, PAGES, RUNBOOKS, VALUES, blocks, unknown_names, values_asked_for

from realtime_spend.cli import main
from realtime_spend.core.rates import Reason

every_page = pytest.mark.parametrize("page", PAGES)


def test_there_is_a_runbook_for_every_alert_and_for_nothing_else() -> None:
    assert set(PAGES) == set(ALERTS)


def test_the_list_of_runbooks_says_what_the_alerts_say() -> None:
    readme = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \| (.+) \|$", readme, flags=re.MULTILINE)
    assert listed == [
        (alert, alert, rule["labels"]["severity"], rule["annotations"]["summary"]) for alert, rule in ALERTS.items()
    ]


@every_page
def test_a_runbook_begins_with_what_to_look_at(page: str) -> None:
    assert re.findall(r"^#+ .*", PAGES[page], flags=re.MULTILINE) == [
        f"# {page}",
        "## What to look at",
        "## What it means",
        "## How to find the cause",
        "## What to do",
        "## When it is a false alarm",
    ]
    look = PAGES[page].split("## What it means")[0]
    assert blocks(look, "promql")


@every_page
def test_a_runbook_names_only_what_there_is(page: str) -> None:
    for query in blocks(PAGES[page], "promql"):
        assert unknown_names(query) == set()
        assert [said for said in values_asked_for(query) if said[1] not in VALUES.get(said[0], {said[1]})] == []
    assert set(re.findall(r"\bRealtimeSpend\w+", PAGES[page])) <= set(ALERTS)
    linked = re.findall(r"\]\((.+?)\)", PAGES[page])
    assert [link for link in linked if not (RUNBOOKS / link).is_file()] == []


@every_page
def test_a_command_in_a_runbook_is_one_that_we_have(page: str) -> None:
    for line in re.findall(r"^\$ (.+)$", "\n".join(blocks(PAGES[page], "console")), flags=re.MULTILINE):
        program, command, *arguments = line.split()
        options = {option for parameter in main.commands[command].params for option in parameter.opts}
        assert program == "realtime-spend"
        assert {argument for argument in arguments if argument.startswith("--")} <= options


def test_the_runbook_of_unpriced_usage_explains_every_reason() -> None:
    explained = set(re.findall(r"^\| `(\w+)` \|", PAGES["RealtimeSpendUnpricedUsage"], flags=re.MULTILINE))
    assert explained == {str(reason) for reason in Reason if reason is not Reason.NOT_PRICED_BY_TOKEN}
