"""Where calls are, as the variables of the SDKs say it."""

from __future__ import annotations

import pytest

from realtime_spend.core.endpoints import recognise
from realtime_spend.core.line_items import Provider
from realtime_spend.sideband import Service

_OPENAI = {"OPENAI_API_KEY": "sk-1"}
_AZURE = {"AZURE_OPENAI_API_KEY": "az-1", "AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com/"}


@pytest.mark.parametrize(
    ("environment", "base_url", "url", "headers"),
    [
        (_OPENAI, None, "wss://api.openai.com/v1/realtime?call_id=rtc_1", {"Authorization": "Bearer sk-1"}),
        (
            {**_OPENAI, "OPENAI_BASE_URL": "https://eu.api.openai.com/v1/"},
            None,
            "wss://eu.api.openai.com/v1/realtime?call_id=rtc_1",
            {"Authorization": "Bearer sk-1"},
        ),
        (
            {**_OPENAI, "OPENAI_BASE_URL": "https://api.openai.com/v1"},
            "http://127.0.0.1:8080/v1",
            "ws://127.0.0.1:8080/v1/realtime?call_id=rtc_1",
            {"Authorization": "Bearer sk-1"},
        ),
        (_AZURE, None, "wss://res.openai.azure.com/openai/v1/realtime?call_id=rtc_1", {"api-key": "az-1"}),
        (
            {**_AZURE, "AZURE_OPENAI_AD_TOKEN": "token"},
            "https://other.services.ai.azure.com/openai/v1",
            "wss://other.services.ai.azure.com/openai/v1/realtime?call_id=rtc_1",
            {"Authorization": "Bearer token"},
        ),
    ],
)
def test_a_service_is_what_the_variables_of_the_sdk_name(
    environment: dict[str, str], base_url: str | None, url: str, headers: dict[str, str]
) -> None:
    service = Service.of(environment, base_url)
    assert (service.url("rtc_1"), service.headers) == (url, headers)


def test_a_session_of_gpt_live_is_known_by_its_id_or_by_who_says_so() -> None:
    service = Service.of(_OPENAI)
    for call in ("live_1", "sess_1"):
        assert service.url(call) == f"wss://api.openai.com/v1/live/sessions/{call}/attach"
    assert service.url("any_1") == "wss://api.openai.com/v1/realtime?call_id=any_1"
    assert service.url("any_1", is_live=True) == "wss://api.openai.com/v1/live/sessions/any_1/attach"
    assert service.url("sess_1", is_live=False) == "wss://api.openai.com/v1/realtime?call_id=sess_1"


def test_an_id_is_only_an_id_in_a_url() -> None:
    service = Service.of(_OPENAI)
    assert service.url("rtc_1&model=x#y") == "wss://api.openai.com/v1/realtime?call_id=rtc_1%26model%3Dx%23y"
    assert service.url("live_1/../x") == "wss://api.openai.com/v1/live/sessions/live_1%2F..%2Fx/attach"


@pytest.mark.parametrize("base_url", [None, "https://res.openai.azure.com/openai/v1"])
def test_the_url_is_one_that_the_core_knows(base_url: str | None) -> None:
    service = Service.of({**_OPENAI, "AZURE_OPENAI_API_KEY": "az-1"}, base_url)
    host, _, rest = service.url("rtc_1").removeprefix("wss://").partition("/")
    path, _, query = rest.partition("?")
    endpoint = recognise(host, 443, f"/{path}", query)
    assert endpoint is not None
    assert endpoint.provider is (Provider.AZURE if base_url else Provider.OPENAI)
    assert endpoint.call_id == "rtc_1"


@pytest.mark.parametrize(
    ("environment", "base_url", "sentence"),
    [
        ({}, None, "OPENAI_API_KEY is not set"),
        ({"OPENAI_API_KEY": " "}, None, "OPENAI_API_KEY is not set"),
        ({"AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com"}, None, "AZURE_OPENAI_API_KEY is not set"),
        (_OPENAI, "api.openai.com/v1", "is no address"),
        (_OPENAI, "ftp://api.openai.com", "is no address"),
        (_OPENAI, "https://", "is no address"),
    ],
)
def test_what_is_missing_or_wrong_is_said(environment: dict[str, str], base_url: str | None, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Service.of(environment, base_url)
