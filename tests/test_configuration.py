from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from realtime_spend.configuration import Configuration, Role, configure, parse_deployments
from realtime_spend.core.endpoints import ExtraEndpoint
from realtime_spend.core.line_items import Provider, Scope
from realtime_spend.core.naming import Deployment

_ARGUMENTS: dict[str, tuple[str, object]] = {
    "ledger": ("/var/ledger", Path("/var/ledger")),
    "rate_cards": ("a.toml, b.toml,", (Path("a.toml"), Path("b.toml"))),
    "deployments": ('{"voice": "gpt-realtime"}', {"voice": Deployment(model="gpt-realtime")}),
    "account": ("contoso", "contoso"),
    "role": ("observer", Role.OBSERVER),
    "disabled_libraries": ("websockets, ", frozenset({"websockets"})),
    "endpoints": (
        "voice.example.com/live=azure.ai.openai,/speech",
        (
            ExtraEndpoint(host="voice.example.com", path="/live", provider=Provider.AZURE),
            ExtraEndpoint(host=None, path="/speech", provider=None),
        ),
    ),
    "baggage_keys": ("tenant, team", ("tenant", "team")),
}


def test_nothing_set_is_the_default_of_everything() -> None:
    assert configure({}, {}) == Configuration()
    assert Configuration().role is Role.COUNTER


@pytest.mark.parametrize("name", _ARGUMENTS)
def test_each_setting_is_read_from_its_variable_or_from_the_argument_of_the_same_name(name: str) -> None:
    text, value = _ARGUMENTS[name]
    variable = f"REALTIME_SPEND_{name.upper()}"
    for found in (configure({variable: f"  {text} "}, {}), configure({}, {name: text})):
        assert getattr(found, name) == value
        assert found.problems == ()


@pytest.mark.parametrize("name", _ARGUMENTS)
@pytest.mark.parametrize("empty", ["", "   "])
def test_an_empty_variable_is_one_that_is_not_set(name: str, empty: str) -> None:
    assert configure({f"REALTIME_SPEND_{name.upper()}": empty}, {name: None}) == Configuration()


def test_an_argument_wins_over_its_variable() -> None:
    environment = {"REALTIME_SPEND_ACCOUNT": "theirs", "REALTIME_SPEND_ROLE": "observer"}
    found = configure(environment, {"account": "mine"})
    assert (found.account, found.role) == ("mine", Role.OBSERVER)


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
def test_an_argument_may_be_a_list_instead_of_text_with_commas(kind: Any) -> None:
    found = configure({}, {"baggage_keys": kind(["tenant"]), "rate_cards": kind([Path("a.toml")])})
    assert (found.baggage_keys, found.rate_cards) == (("tenant",), (Path("a.toml"),))


def test_a_path_may_be_given_as_a_path() -> None:
    found = configure({}, {"ledger": Path("/var/ledger"), "rate_cards": Path("a.toml")})
    assert (found.ledger, found.rate_cards) == (Path("/var/ledger"), (Path("a.toml"),))


def test_a_tilde_stands_for_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "map.json").write_text("{}")
    found = configure({}, {"ledger": "~/ledger", "rate_cards": "~/a.toml", "deployments": "~/map.json"})
    assert (found.ledger, found.rate_cards) == (tmp_path / "ledger", (tmp_path / "a.toml",))
    assert found.problems == ()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("rate_cards", 7, "it must be text with commas, or a list"),
        ("deployments", "{", "it is not JSON ("),
        ("deployments", "/nowhere/map.json", "/nowhere/map.json cannot be read (No such file or directory)"),
        ("deployments", ["voice"], "it must be an object such as"),
        ("deployments", {"voice": 7}, "the deployment 'voice' must be a model's name or an object of texts"),
        ("deployments", {"voice": {"model": 7}}, "the deployment 'voice' must be a model's name or an object of texts"),
        ("deployments", {"voice": {"modle": "x"}}, "the deployment 'voice' has no 'modle'; it has model, version"),
        ("deployments", {"voice": {"scope": "galaxy"}}, "the scope of 'voice' is 'galaxy'; it must be one of global,"),
        ("role", "watcher", "'watcher' is not a role; write counter or observer"),
        ("role", ["observer"], "is not a role"),
        ("disabled_libraries", 7, "it must be text with commas, or a list"),
        ("endpoints", "=openai", "'=openai' names neither a host nor a path"),
        ("endpoints", "a.example.com=acme", "'acme' is not a provider; write openai or azure.ai.openai"),
        ("baggage_keys", 7, "it must be text with commas, or a list"),
        pytest.param(
            "ledger",
            "~nobody-of-this-name/ledger",
            "",
        ),
        pytest.param(
            "disabled_libraries",
            "websocket",
            "websocket",
        ),
    ],
    ids=str,
)
def test_a_wrong_value_is_set_aside_for_the_default_and_said_in_a_sentence(
    name: str, value: object, sentence: str
) -> None:
    found = configure({}, {name: value, "account": "contoso"} if name != "account" else {name: value})
    [problem] = found.problems
    assert problem.startswith(f"REALTIME_SPEND_{name.upper()} is set aside: {sentence}") or sentence in problem
    assert getattr(found, name) == getattr(Configuration(), name)
    assert found.account == "contoso"


def test_each_wrong_value_is_said() -> None:
    found = configure({"REALTIME_SPEND_ROLE": "watcher", "REALTIME_SPEND_ENDPOINTS": "="}, {})
    assert [problem.partition(" ")[0] for problem in found.problems] == [
        "REALTIME_SPEND_ROLE",
        "REALTIME_SPEND_ENDPOINTS",
    ]


def test_deployments_are_read_from_text_from_a_file_or_from_a_dict(tmp_path: Path) -> None:
    entries: dict[str, Any] = {
        "whole": {"model": "gpt-realtime", "version": "2025-08-28", "scope": "regional", "region": "northeurope"},
        "scope only": {"scope": "datazone", "model": None},
        "model only": "gpt-realtime-mini",
        "empty": {},
    }
    expected = {
        "whole": Deployment(model="gpt-realtime", version="2025-08-28", scope=Scope.REGIONAL, region="northeurope"),
        "scope only": Deployment(scope=Scope.DATAZONE),
        "model only": Deployment(model="gpt-realtime-mini"),
        "empty": Deployment(),
    }
    file = tmp_path / "map.json"
    file.write_text(json.dumps(entries))
    assert parse_deployments(entries) == parse_deployments(json.dumps(entries)) == expected
    assert parse_deployments(str(file)) == expected
    assert parse_deployments(f"  {json.dumps(entries)}") == expected
