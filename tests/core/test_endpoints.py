from __future__ import annotations

import pytest

from realtime_spend.core.endpoints import ExtraEndpoint, Service, parse_extra_endpoint, recognise
from realtime_spend.core.line_items import Provider, Scope


@pytest.mark.parametrize(
    ("host", "path", "provider", "service"),
    [
        ("api.openai.com", "/v1/realtime", Provider.OPENAI, Service.REALTIME),
        ("api.openai.com", "/v1/realtime/translations", Provider.OPENAI, Service.TRANSLATION),
        ("localhost", "/proxy/v1/realtime", Provider.OPENAI, Service.REALTIME),
        ("api.x.ai", "/v1/realtime", Provider.OPENAI, Service.REALTIME),
        ("acme.openai.azure.com", "/openai/realtime", Provider.AZURE, Service.REALTIME),
        ("acme.openai.azure.com", "/openai/v1/realtime", Provider.AZURE, Service.REALTIME),
        ("acme.openai.azure.us", "/openai/v1/realtime", Provider.AZURE, Service.REALTIME),
        ("acme.cognitiveservices.azure.com", "/openai/realtime", Provider.AZURE, Service.REALTIME),
        ("acme.openai.azure.com", "/v1/realtime", Provider.AZURE, Service.REALTIME),
        ("gateway.example.com", "/openai/realtime", Provider.AZURE, Service.REALTIME),
        ("acme.services.ai.azure.com", "/voice-live/realtime", Provider.AZURE, Service.VOICE_LIVE),
        ("gateway.example.com", "/voice-live/realtime", Provider.AZURE, Service.VOICE_LIVE),
        ("gateway.example.com", "/voice-live", Provider.AZURE, Service.VOICE_LIVE),
        ("gateway.example.com", "/voice-agent", Provider.AZURE, Service.VOICE_LIVE),
        ("acme.services.ai.azure.com", "/voice-agent/realtime", Provider.AZURE, Service.VOICE_LIVE),
        ("openai.azure.com.example.com", "/v1/realtime", Provider.OPENAI, Service.REALTIME),
    ],
)
def test_the_protocol_is_recognised_by_its_path_and_the_bill_by_host_and_path(
    host: str, path: str, provider: Provider, service: Service
) -> None:
    found = recognise(host, 443, path, "")
    assert found is not None
    assert (found.provider, found.service, found.server, found.port) == (provider, service, host, 443)


@pytest.mark.parametrize(
    "path", ["", "/", "/v1/chat/completions", "/v1/realtimes", "/realtime-docs", "/v1/not-realtime", "/openai/models"]
)
def test_other_paths_speak_something_else(path: str) -> None:
    assert recognise("api.openai.com", 443, path, "model=gpt-realtime") is None


def test_the_url_names_the_model_or_the_deployment_and_the_call() -> None:
    openai = recognise("api.openai.com", 443, "/v1/realtime", "model=gpt-realtime&call_id=rtc_1")
    azure = recognise("acme.openai.azure.com", None, "/openai/realtime", "api-version=x&deployment=my%20voice&model=m")
    silent = recognise("api.openai.com", 443, "/v1/realtime", "model=")
    assert openai is not None
    assert azure is not None
    assert silent is not None
    assert (openai.requested_model, openai.call_id, openai.model_is_deployment) == ("gpt-realtime", "rtc_1", False)
    assert (azure.requested_model, azure.call_id, azure.model_is_deployment) == ("my voice", None, True)
    assert (silent.requested_model, silent.call_id) == (None, None)


def test_an_azure_account_is_the_first_label_of_its_host_in_lower_case() -> None:
    azure = recognise("Acme-Voice.OpenAI.Azure.com", 443, "/openai/realtime", "")
    gateway = recognise("gateway.example.com", 443, "/openai/realtime", "")
    assert azure is not None
    assert gateway is not None
    assert (azure.account, azure.server) == ("acme-voice", "acme-voice.openai.azure.com")
    assert gateway.account is None


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("api.openai.com", Scope.GLOBAL),
        ("eu.api.openai.com", Scope.RESIDENCY),
        ("US.api.openai.com", Scope.RESIDENCY),
        ("gateway.example.com", Scope.GLOBAL),
        ("europe.api.openai.com", Scope.GLOBAL),
        ("acme.openai.azure.com", None),
    ],
)
def test_the_host_tells_openais_scope_and_nothing_tells_azures(host: str, scope: Scope | None) -> None:
    found = recognise(host, 443, "/v1/realtime", "")
    assert found is not None
    assert found.scope is scope


# --- what the user adds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("voice.example.com", ExtraEndpoint(host="voice.example.com", path="", provider=None)),
        ("Voice.Example.com:8443", ExtraEndpoint(host="voice.example.com", path="", provider=None)),
        ("/live", ExtraEndpoint(host=None, path="/live", provider=None)),
        (
            " voice.example.com/live=azure.ai.openai ",
            ExtraEndpoint(host="voice.example.com", path="/live", provider=Provider.AZURE),
        ),
        ("wss://voice.example.com/live", ExtraEndpoint(host="voice.example.com", path="/live", provider=None)),
        ("ws://localhost:9/x=openai", ExtraEndpoint(host="localhost", path="/x", provider=Provider.OPENAI)),
        ("https://h/x", ExtraEndpoint(host="h", path="/x", provider=None)),
        ("host = openai", ExtraEndpoint(host="host", path="", provider=Provider.OPENAI)),
        ("[::1]/x", ExtraEndpoint(host="::1", path="/x", provider=None)),
        ("[::1]:443", ExtraEndpoint(host="::1", path="", provider=None)),
    ],
)
def test_an_added_endpoint_is_a_host_a_path_or_both_with_or_without_its_provider(
    text: str, expected: ExtraEndpoint
) -> None:
    assert parse_extra_endpoint(text) == expected


@pytest.mark.parametrize("text", ["", "  ", "=openai", "wss://", "/", ":443", ":443=openai", "wss://:443/"])
def test_an_added_endpoint_without_host_and_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="names neither a host nor a path"):
        parse_extra_endpoint(text)


def test_an_added_endpoint_of_an_unknown_provider_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'google' is not a provider; write openai or azure\.ai\.openai"):
        parse_extra_endpoint("voice.example.com=google")


def test_an_added_endpoint_is_recognised_and_keeps_its_provider() -> None:
    extra = [parse_extra_endpoint("other.example.com"), parse_extra_endpoint("voice.example.com/live=azure.ai.openai")]
    found = recognise("VOICE.example.com", 80, "/live/now", "model=m", extra)
    assert found is not None
    assert (found.provider, found.scope, found.requested_model) == (Provider.AZURE, None, "m")
    assert recognise("voice.example.com", 80, "/dead", "", extra) is None


@pytest.mark.parametrize(
    ("added", "path", "is_meant"),
    [
        ("/live", "/live", True),
        ("/live", "/live/now", True),
        ("/live", "/livewire", False),
        ("/live", "/a/live", False),
        ("/live/", "/live", True),
        ("/live/", "/live/now", True),
        ("/live/", "/livewire", False),
        ("voice.example.com", "/anything", True),
        ("voice.example.com", "", True),
        ("voice.example.com/", "", True),
    ],
)
def test_an_added_path_means_itself_and_what_is_below_it(added: str, path: str, is_meant: bool) -> None:  # noqa: FBT001 - a table
    assert (recognise("voice.example.com", 80, path, "", [parse_extra_endpoint(added)]) is not None) is is_meant


def test_an_added_host_may_be_an_address() -> None:
    extra = [parse_extra_endpoint("[::1]/x")]
    assert recognise("::1", 80, "/x", "", extra) is not None
    assert recognise("::2", 80, "/x", "", extra) is None


def test_an_added_endpoint_without_a_provider_is_told_by_its_host_and_path() -> None:
    extra = [parse_extra_endpoint("/live")]
    openai = recognise("any.example.com", 80, "/live", "", extra)
    azure = recognise("acme.openai.azure.com", 80, "/live", "", extra)
    assert openai is not None
    assert azure is not None
    assert (openai.provider, azure.provider) == (Provider.OPENAI, Provider.AZURE)


def test_what_the_user_says_of_a_known_path_goes_before_what_we_think() -> None:
    extra = [parse_extra_endpoint("gateway.example.com=openai")]
    found = recognise("gateway.example.com", 443, "/openai/realtime", "", extra)
    assert found is not None
    assert found.provider is Provider.OPENAI
